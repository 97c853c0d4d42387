"""What the tests of logins share: servers, an agent, a mount that is tried and left again."""

import os
import re
import subprocess

import pytest

from mount import daemons_of, is_mounted, run_on_terminal, run_sftpfs
from scripted_ssh import ScriptedSsh
from server import Sshd, keygen
from waiting import wait_until

LOGIN = 4
INSTRUMENTED = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ


@pytest.fixture
def serve(area):
    """serve(Login class) -> ScriptedSsh"""
    made = []

    def start(login):
        made.append(ScriptedSsh(area, login))
        return made[-1]
    yield start
    for server in made:
        server.close()


@pytest.fixture
def login(who, area):
    """login(server, dialogue): mounts /etc of a scripted server on a terminal; `fails` is the exit code expected."""
    place = area / "mnt"
    who.run(["mkdir", str(place)])

    def attempt(server, dialogue=(), fails=0, args=(), run=run_on_terminal, **kwargs):
        if run is run_on_terminal:
            kwargs["dialogue"] = dialogue
        result = run(who, [*server.args(), *args, f"{who.name}@127.0.0.1:/etc", place], **kwargs)
        try:
            assert result.code == fails, result.err
            assert is_mounted(place) == (fails == 0)
        finally:
            who.run(["fusermount3", "-u", str(place)], check=False)
        wait_until(lambda: not daemons_of(place), what="the daemon ends")
        return result.err.decode(errors="replace")
    return attempt


@pytest.fixture
def special(people, area):
    """special(directives) -> an sshd with these."""
    made = []

    def start(**directives):
        made.append(Sshd(area / f"sshd-{len(made)}", directives, people.values()))
        return made[-1]
    yield start
    for sshd in made:
        sshd.stop()


def mount_and_leave(who, sshd, area, args, code=0, run=run_sftpfs, **kwargs):
    place = area / "mnt"
    who.run(["mkdir", "-p", str(place)])
    result = run(who, [*args, sshd.target(who, "/etc"), place], **kwargs)
    try:
        assert result.code == code, result.err
    finally:
        if is_mounted(place):
            who.run(["fusermount3", "-u", str(place)])
    wait_until(lambda: not daemons_of(place), what="the daemon ends")
    return result.err.decode(errors="replace")


def own_key(who, path, kind="ed25519"):
    keygen(path, kind)
    os.chown(path, who.uid, who.gid)
    return path


def fingerprint(key):
    return subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True,
                          text=True).stdout.split()[1]


@pytest.fixture
def agent(who, area):
    """An agent of the user; agent.add(key)."""
    class Agent:
        socket = area / "agent.sock"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", str(area / "agent.sock")], stdout=subprocess.DEVNULL,
                                   **who.popen_args())

        def add(self, key):
            who.run(["ssh-add", "-q", str(key)], env={"SSH_AUTH_SOCK": str(self.socket)})
    made = Agent()
    wait_until(made.socket.exists, what="the agent")
    yield made
    made.process.terminate()
    made.process.wait()


def memory_with(pid, secret):
    """(what the kernel says about the mapping, its flags) for each place of the process's memory that has it."""
    found, name, flags, regions = [], None, None, []
    for line in open(f"/proc/{pid}/smaps"):
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
        if match:
            name = line.strip()
            regions.append([name, int(match[1], 16), int(match[2], 16), match[3], ""])
        elif line.startswith("VmFlags:"):
            regions[-1][4] = line.split()[1:]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for name, start, end, mode, flags in regions:
            if "r" not in mode or "[v" in name or end - start > 1 << 30:  # a sanitizer's own, mostly holes
                continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            if content and secret in content:
                found.append((name, flags))
    return found
