"""Who runs the mount and the tools: root or an ordinary user."""

import os
import pickle
import pwd
import secrets
import subprocess
import sys
import traceback
from dataclasses import dataclass, field

# Two runs on one machine at the same time need a user each, and so does each worker of pytest-xdist.
TEST_USER = "-".join(filter(None, [os.environ.get("SFTPFS_TEST_USER", "sftpfs-test"), os.environ.get("PYTEST_XDIST_WORKER")]))


@dataclass
class Who:
    name: str
    uid: int
    gid: int
    home: str = ""
    password: str = field(default="", repr=False)

    def env(self, **extra):
        """A small, known environment: no agent, no configuration of the person who runs the tests."""
        keep = ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")
        env = {k: os.environ[k] for k in keep if k in os.environ}
        env.update(HOME=self.home, USER=self.name, LOGNAME=self.name, LC_ALL="C.UTF-8")
        env.update(extra)
        return env

    def popen_args(self, **extra_env):
        args = {"env": self.env(**extra_env)}
        if self.uid != os.geteuid():
            args.update(user=self.uid, group=self.gid, extra_groups=[])
        return args

    def run(self, argv, timeout=120, check=True, env=None, **kwargs):
        """Run a tool as this user; its output is in the message when it fails."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        if kwargs.get("cwd") and self.uid != os.geteuid():
            # subprocess changes directory before it changes user, and root may not enter another user's mount
            argv = ["sh", "-c", 'cd "$0" && exec "$@"', str(kwargs.pop("cwd")), *argv]
        done = subprocess.run(argv, timeout=timeout, capture_output=True, **self.popen_args(**(env or {})), **kwargs)
        if check and done.returncode != 0:
            out = (done.stdout + done.stderr).decode(errors="replace")[-4000:]
            raise AssertionError(f"{argv} ended with {done.returncode}:\n{out}")
        return done

    def call(self, function, *args, **kwargs):
        """Call a function as this user, in a forked child, which hands back value or traceback. A child also when it
        is our own user: descriptors that a failed test leaves open end with it and keep no mount busy."""
        sys.stdout.flush()
        rfd, wfd = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(rfd)
            answer = self._in_child(function, args, kwargs)
            with os.fdopen(wfd, "wb") as pipe:
                pipe.write(answer)
            os._exit(0)
        os.close(wfd)
        with os.fdopen(rfd, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
        if not answer:
            raise AssertionError(f"the child that ran as {self.name} died")
        good, value = pickle.loads(answer)
        if not good:
            raise AssertionError(f"as {self.name}:\n{value}")
        return value

    def _in_child(self, function, args, kwargs):
        try:
            if self.uid != os.geteuid():
                os.setgroups([])
                os.setgid(self.gid)
                os.setuid(self.uid)
            os.environ.update(self.env())
            return pickle.dumps((True, function(*args, **kwargs)))
        except BaseException:  # also pytest.fail and SystemExit: the parent must see all of it
            return pickle.dumps((False, traceback.format_exc()))


def root():
    return Who("root", 0, 0)


def myself():
    entry = pwd.getpwuid(os.geteuid())
    return Who(entry.pw_name, entry.pw_uid, entry.pw_gid)


def ordinary():
    """The ordinary user, made when it does not exist and kept. Needs root. Sets a new password for this run."""
    try:
        entry = pwd.getpwnam(TEST_USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", TEST_USER], check=True)
        entry = pwd.getpwnam(TEST_USER)
    password = secrets.token_hex(8)
    subprocess.run(["chpasswd"], input=f"{TEST_USER}:{password}\n".encode(), check=True)
    return Who(entry.pw_name, entry.pw_uid, entry.pw_gid, password=password)
