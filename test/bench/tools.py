# SPDX-License-Identifier: BSD-2-Clause
"""The tools: each mounts the server's directory, or does a work with a command of its own."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from mount import is_mounted
from waiting import wait_until

TICK = os.sysconf("SC_CLK_TCK")


def version(argv):
    """The first line that has the program's name in it, or just the first."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    text = (done.stdout + done.stderr).strip()
    name = os.path.basename(argv[0]).lower()
    return next((line for line in text.splitlines() if name in line.lower()), text.partition("\n")[0] or "?")


def cpu_seconds(pid):
    """Of a process, its session (sshfs leaves its ssh to init), and those children of it that have ended."""
    total = 0.0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(entry), int(fields[1]), int(fields[3])):
            total += sum(int(n) for n in fields[11:15 if int(entry) == pid else 13]) / TICK
    return total


class Mounted:
    """A mount in the foreground, its daemon as our child."""

    def __init__(self, argv, directory, log):
        self.dir = Path(directory)
        self.dir.mkdir(exist_ok=True)
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            cwd="/", start_new_session=True)
        try:
            wait_until(lambda: is_mounted(self.dir) or self.process.poll() is not None, 30, "mount")
        except AssertionError:
            self.abort()
            raise
        if self.process.poll() is not None:
            raise RuntimeError(f"{argv[0]} ended with {self.process.returncode}: {Path(log).read_text()[-1000:]}")

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def abort(self):
        """The end of whatever hangs in it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if is_mounted(self.dir):
            subprocess.run(["fusermount3", "-uz", str(self.dir)], capture_output=True, check=False)

    def umount(self):
        subprocess.run(["fusermount3", "-u", str(self.dir)], capture_output=True, check=False)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            pass
        self.abort()


class MountTool:
    """sftpfs and sshfs: they take the same arguments."""

    mounts = True

    def __init__(self, name, program, extra=()):
        self.name = name
        self.program = program
        self.extra = list(extra)

    def available(self):
        return shutil.which(self.program) is not None

    def version(self):
        return version([self.program, "--version"])

    def mount(self, server, data, directory, log):
        args = ["-f", "-F", server.empty, "-p", server.port, *server.ssh_options(), *self.extra]
        return Mounted([self.program, *args, f"{server.user.name}@127.0.0.1:{data.remote}", directory], directory, log)


class Rclone(MountTool):
    """With its default --vfs-cache-mode off: only so does close() wait for the server as it does elsewhere."""

    def __init__(self):
        super().__init__("rclone", "rclone")

    def version(self):
        return version(["rclone", "version"])

    def mount(self, server, data, directory, log):
        home = server.dir / "rclone"
        home.mkdir(exist_ok=True)
        args = ["--config", home / "none", "--cache-dir", home, "--sftp-host", "127.0.0.1", "--sftp-port", server.port,
                "--sftp-user", server.user.name, "--sftp-key-file", server.sshd.identity,
                "--sftp-known-hosts-file", server.known_hosts, "--sftp-disable-hashcheck"]
        return Mounted(["rclone", "mount", f":sftp:{data.remote}", directory, *args], directory, log)


class CommandTool:
    """`commands` maps a work to a function (tool, data, amount) -> shell command; amount is a Scale (works.py)."""

    mounts = False

    def __init__(self, name, program, version_argv, commands):
        self.name = name
        self.program = program
        self.version_argv = version_argv
        self.commands = commands
        self.server = None

    def available(self):
        return shutil.which(self.program) is not None

    def version(self):
        return version(self.version_argv)

    def words(self, program, port="-p"):
        return shlex.join(map(str, [program, "-F", self.server.empty, port, self.server.port,
                                    *self.server.ssh_options()]))

    @property
    def ssh(self):
        return f"{self.words('ssh')} {self.host}"

    @property
    def rsh(self):
        return "rsync --rsh=" + shlex.quote(self.words("ssh"))

    @property
    def host(self):
        return f"{self.server.user.name}@127.0.0.1"

    def command(self, server, work, data, amount):
        self.server = server
        return self.commands[work](self, data, amount)


def under(top, names):
    return " ".join(f"{top}/{name}" for name in names)


SCP = {
    "read": lambda t, d, a: f"{t.words('scp', '-P')} -q {t.host}:{d.remote}/{a.file} {d.scratch}/got",
    "write": lambda t, d, a: f"{t.words('scp', '-P')} -q {d.local}/{a.file} {t.host}:{d.remote}/new",
    "tar": lambda t, d, a: f"mkdir {d.scratch}/got && {t.words('scp', '-P')} -qr "
                           f"{' '.join(f'{t.host}:{d.remote}/small/{n}' for n in a.parts)} {d.scratch}/got",
    "cp in": lambda t, d, a: f"mkdir {d.remote}/new && {t.words('scp', '-P')} -qr {under(d.local / 'new', a.parts)} "
                             f"{t.host}:{d.remote}/new",
    "cp out": lambda t, d, a: f"mkdir {d.scratch}/got && {t.words('scp', '-P')} -qr "
                              f"{' '.join(f'{t.host}:{d.remote}/tree/{n}' for n in a.parts)} {d.scratch}/got",
}
SFTP = {
    "read": lambda t, d, a: f"echo 'get {d.remote}/{a.file} {d.scratch}/got' | {t.words('sftp', '-P')} -q -b - {t.host}",
    "write": lambda t, d, a: f"echo 'put {d.local}/{a.file} {d.remote}/new' | {t.words('sftp', '-P')} -q -b - {t.host}",
}
SSH = {
    "login": lambda t, d, a: f"{t.ssh} true",
    "find": lambda t, d, a: f"{t.ssh} find {under(d.remote / 'tree', a.parts)} -ls",
    "du": lambda t, d, a: f"{t.ssh} du {under(d.remote / 'tree', a.parts)}",
    "ls": lambda t, d, a: f"{t.ssh} ls -lR {under(d.remote / 'tree', a.parts)}",
    "tar": lambda t, d, a: f"mkdir {d.scratch}/got && {t.ssh} tar -C {d.remote}/small -c {' '.join(a.parts)} | "
                           f"tar -C {d.scratch}/got -x",
    "cp in": lambda t, d, a: f"mkdir {d.remote}/new && tar -C {d.local}/new -c {' '.join(a.parts)} | "
                             f"{t.ssh} tar -C {d.remote}/new -x",
    "cp out": lambda t, d, a: f"mkdir {d.scratch}/got && {t.ssh} tar -C {d.remote}/tree -c {' '.join(a.parts)} | "
                              f"tar -C {d.scratch}/got -x",
    "rm": lambda t, d, a: f"{t.ssh} rm -rf {d.remote}/new",
    "cp inside": lambda t, d, a: f"{t.ssh} cp {d.remote}/{a.file} {d.remote}/new",
}
RSYNC = {
    "read": lambda t, d, a: f"{t.rsh} -W {t.host}:{d.remote}/{a.file} {d.scratch}/got",
    "write": lambda t, d, a: f"{t.rsh} -W {d.local}/{a.file} {t.host}:{d.remote}/new",
    "tar": lambda t, d, a: f"mkdir {d.scratch}/got && {t.rsh} -a "
                           f"{' '.join(f'{t.host}:{d.remote}/small/{n}' for n in a.parts)} {d.scratch}/got",
    "cp in": lambda t, d, a: f"mkdir {d.remote}/new && {t.rsh} -a {under(d.local / 'new', a.parts)} "
                             f"{t.host}:{d.remote}/new",
    "cp out": lambda t, d, a: f"mkdir {d.scratch}/got && {t.rsh} -a "
                              f"{' '.join(f'{t.host}:{d.remote}/tree/{n}' for n in a.parts)} {d.scratch}/got",
}


def all_tools(sftpfs, extra=()):
    return [
        MountTool("sftpfs", sftpfs, extra),
        MountTool("sshfs", "sshfs"),
        Rclone(),
        CommandTool("scp", "scp", ["ssh", "-V"], SCP),
        CommandTool("sftp", "sftp", ["ssh", "-V"], SFTP),
        CommandTool("ssh tar", "ssh", ["ssh", "-V"], SSH),
        CommandTool("rsync", "rsync", ["rsync", "--version"], RSYNC),
    ]


def sshd_version():
    return re.sub(r"^.*?(OpenSSH\S*).*$", r"\1", version(["ssh", "-V"]))
