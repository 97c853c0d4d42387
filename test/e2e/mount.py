"""Running sftpfs: as a mount that is watched, or as a command whose exit code and words are looked at."""

import errno
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from dataclasses import dataclass
from pathlib import Path

from waiting import TooLate, wait_until

SUSPICIOUS = re.compile(rb"Sanitizer|runtime error:|assert|internal error|\bBUG\b|Segmentation|stack smashing|"
                        rb"double free|corrupted", re.IGNORECASE)

# An instrumented daemon is slow to start, and looks for leaks when it ends.
MOUNT_TIMEOUT = 60
UMOUNT_TIMEOUT = 60


def sftpfs_binary():
    if "SFTPFS" not in os.environ:
        raise AssertionError("set SFTPFS to the binary under test")
    return os.environ["SFTPFS"]


def mounts():
    """Mount points of this mount namespace -> filesystem type."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        found[re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), left.split()[4])] = right.split()[0]
    return found


def is_mounted(directory):
    return str(directory) in mounts()


def options(**values):
    """-o arguments; a value of None is a bare word, underscores stay."""
    args = []
    for key, value in values.items():
        args += ["-o", key if value is None else f"{key}={value}"]
    return args


class Mount:
    """A mount in the foreground (-f) with its daemon as our child; everything it says goes to a log that is scanned."""

    def __init__(self, who, source, mountpoint, args, log, env=None):
        self.who = who
        self.dir = Path(mountpoint)
        self.log = Path(log)
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen([sftpfs_binary(), "-f", *map(str, args), source, str(mountpoint)],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            **who.popen_args(**(env or {})))
        try:
            wait_until(self._up_or_ended, MOUNT_TIMEOUT, "mount")
        except TooLate as late:
            self.discard()
            raise AssertionError(f"{late}\n{self.log_text()}") from None
        if self.process.poll() is not None:
            raise AssertionError(f"sftpfs ended with {self.process.returncode}:\n{self.log_text()}")

    def _up_or_ended(self):
        return is_mounted(self.dir) or self.process.poll() is not None

    @property
    def pid(self):
        return self.process.pid

    def log_text(self):
        return self.log.read_text(errors="replace")

    def check_log(self):
        found = SUSPICIOUS.search(self.log.read_bytes())
        if found:
            raise AssertionError(f"the daemon's log has {found[0]!r}:\n{self.log_text()[-8000:]}")

    def check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log_text()[-8000:]}")

    def umount(self, expect=0):
        """Unmount as a user does; the daemon must end with `expect` within the deadline and have said nothing bad."""
        self.check_alive()
        self.who.run(["fusermount3", "-u", str(self.dir)])
        self.wait_ended(expect)

    def finish(self):
        """Bring what the test left to a good end; it may have unmounted, and its daemon be about to end."""
        if self.process.poll() is not None:
            self.check_log()
        elif is_mounted(self.dir):
            self.umount()
        else:
            self.wait_ended()

    def wait_ended(self, expect=0):
        try:
            code = self.process.wait(UMOUNT_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon is still there {UMOUNT_TIMEOUT} s after the unmount:\n"
                                 f"{self.log_text()[-8000:]}") from None
        if code != expect:
            raise AssertionError(f"the daemon ended with {code}, not {expect}:\n{self.log_text()[-8000:]}")
        self.check_log()

    def discard(self):
        """Leave nothing behind, whatever happened."""
        if is_mounted(self.dir):
            subprocess.run(["fusermount3", "-uz", str(self.dir)], capture_output=True, check=False)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@dataclass
class Result:
    code: int
    out: bytes
    err: bytes

    @property
    def lines(self):
        return self.err.decode(errors="replace").strip().splitlines()


# What to do, behind a semicolon.
REMEDY = re.compile(r"[;(] ?(allow|check|choose|chmod|connect|correct|create|give|if the server's owner|leave|log in|make|"
                    r"mount|name|open|see|set|the server must|try|unmount|use)\b")


def run_sftpfs(who, args, env=None, input=b"", timeout=60):
    """Run sftpfs to its end, without a terminal. A daemon that goes to the background ends the wait here."""
    process = subprocess.Popen([sftpfs_binary(), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True, **who.popen_args(**(env or {})))
    try:
        out, err = process.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"sftpfs {args} did not end in {timeout} s: {err!r}") from None
    if SUSPICIOUS.search(err):
        raise AssertionError(f"sftpfs said: {err.decode(errors='replace')}")
    return Result(process.returncode, out, err)


def _as_a_shell_would(who, argv, env):
    """In the first process of a new terminal: run argv in a foreground process group of its own, then take the
    terminal back. Without this the end of the command would be the end of the session, and hang up on its daemon."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        if who.uid != os.geteuid():
            os.setgroups([])
            os.setgid(who.gid)
            os.setuid(who.uid)
        os.execve(argv[0], argv, env)
    _, status = os.waitpid(pid, 0)
    os.tcsetpgrp(0, os.getpgrp())
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def run_on_terminal(who, args, dialogue, env=None, timeout=60, echoes=None):
    """Run sftpfs on a terminal of its own. `dialogue`: (text to wait for, line to type) pairs; None types nothing.
    Result.err is all that the terminal showed. `echoes` gets whether the terminal shows what is typed, when something
    new has appeared on it."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            _as_a_shell_would(who, [sftpfs_binary(), *map(str, args)], who.env(**(env or {})))
        finally:
            os._exit(127)
    shown, seen, steps = b"", 0, list(dialogue)
    deadline = time.monotonic() + timeout
    try:
        while True:
            if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"no end within {timeout} s; the terminal shows {shown!r}")
            try:
                piece = os.read(terminal, 4096)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                piece = b""  # the last process has closed the terminal
            if not piece:
                break
            shown += piece
            if echoes is not None:
                echoes.append(bool(termios.tcgetattr(terminal)[3] & termios.ECHO))
            if steps and steps[0][0].lower() in shown[seen:].lower():
                seen = len(shown)
                line = steps.pop(0)[1]
                if line is not None:
                    os.write(terminal, line + b"\n")
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    return Result(os.waitstatus_to_exitcode(status), b"", shown)


def daemons_of(mountpoint):
    """Pids of sftpfs processes that were started with this mount point on their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            argv = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(argv[0]) == os.path.basename(sftpfs_binary()).encode() and \
           str(mountpoint).encode() in argv:
            found.append(int(entry))
    return found
