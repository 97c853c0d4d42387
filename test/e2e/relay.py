"""The TCP relay as an object; test/relay/relay.c lists its commands."""

import contextlib
import json
import os
import queue
import subprocess
import threading

from waiting import TooLate


class Relay:
    def __init__(self, target_port, delay=0, rate=0, sftp=False, shared=False, host="127.0.0.1"):
        if "RELAY" not in os.environ:
            raise AssertionError("set RELAY to sftpfs-relay")
        argv = [os.environ["RELAY"], "--delay", str(delay), "--rate", str(rate)]
        argv += ["--sftp"] if sftp else []
        argv += ["--shared"] if shared else []
        self.process = subprocess.Popen(argv + [host, str(target_port)], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answers = queue.Queue()
        self._events = queue.Queue()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self._take(self._answers, 10, "port").removeprefix("port "))

    def _read(self):
        for line in self.process.stdout:
            (self._events if line.startswith("event ") else self._answers).put(line.strip())
        self._answers.put(None)

    @staticmethod
    def _take(source, timeout, what):
        try:
            line = source.get(timeout=timeout)
        except queue.Empty:
            raise TooLate(f"relay: no {what} within {timeout} s") from None
        if line is None:
            raise AssertionError("the relay ended")
        return line

    def command(self, line):
        with self._lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self._take(self._answers, 10, f"answer to {line!r}")
        if answer == "error":
            raise ValueError(f"relay refused {line!r}")
        return answer

    def stats(self):
        return json.loads(self.command("stats"))

    def event(self, timeout=30):
        """The next trigger that fired: the command that armed it."""
        return self._take(self._events, timeout, "event").removeprefix("event ")

    def disarm(self):
        """Forget all triggers, and the events of those that have fired unseen: the next one is taken for another's."""
        self.command("disarm")
        with contextlib.suppress(queue.Empty):
            while True:
                self._events.get_nowait()

    def no_event(self):
        return self._events.empty()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(timeout=10)
