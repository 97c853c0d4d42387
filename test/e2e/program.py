"""A program that runs beside the test: a function in a forked child of some user, with a result and a deadline."""

import os
import pickle
import select
import signal
import sys
import time


class Hangs(AssertionError):
    pass


class Program:
    def __init__(self, who, function, *args, **kwargs):
        self.name = getattr(function, "__name__", "program")
        self.who = who
        sys.stdout.flush()
        self._pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            answer = who._in_child(function, args, kwargs)
            with os.fdopen(end, "wb") as pipe:
                pipe.write(answer)
            os._exit(0)
        os.close(end)
        self.status = None
        self._answer = b""

    def ended(self):
        """Also takes in what it says: a pipe that is full would keep it from ending."""
        while self._pipe is not None and select.select([self._pipe], [], [], 0)[0]:
            piece = os.read(self._pipe, 1 << 20)
            self._answer += piece
            if not piece:
                os.close(self._pipe)
                self._pipe = None
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def wait(self, timeout=60.0):
        """Until it has ended; its wait status."""
        deadline = time.monotonic() + timeout
        while not self.ended():
            if time.monotonic() > deadline:
                raise Hangs(f"{self.name} has not ended after {timeout} s")
            if self._pipe is not None:
                select.select([self._pipe], [], [], 0.05)
            else:
                time.sleep(0.002)
        return self.status

    def result(self, timeout=60.0):
        status = self.wait(timeout)
        self.ended()
        if not self._answer:
            raise AssertionError(f"{self.name} died with status {status}")
        good, value = pickle.loads(self._answer)
        if not good:
            raise AssertionError(f"{self.name} as {self.who.name}:\n{value}")
        return value

    def kill(self, number=signal.SIGKILL):
        if self.status is None:
            os.kill(self.pid, number)


def errno_of(function, *args, **kwargs):
    """The errno of the exception that it raises, 0 for none."""
    try:
        function(*args, **kwargs)
    except OSError as error:
        return error.errno
    return 0
