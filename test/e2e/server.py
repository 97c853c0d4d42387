"""Real servers: a private sshd, and sftp-server behind a plain TCP port."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from waiting import wait_until

SFTP_SERVER = os.environ.get("SFTP_SERVER", "/usr/lib/openssh/sftp-server")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def in_namespace(script, *words):
    """A command: `script` for sh, with "$0", "$@" of `words`, in a mount namespace of its own. The mounts that tests, of
    other runs too, have there are dropped: a copy would keep their daemons alive after the unmount."""
    drop = "umount -i -c -l -a -t fuse,fuse.sftpfs,fuse.sshfs; "
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", drop + script, *words]


def descendants(pid):
    """Pids below pid, from /proc: sshd changes user, but parent links stay readable."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue  # ended meanwhile
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_all(pids):
    """The end of one can be that of the next."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def keygen(path, kind, passphrase=""):
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", "", "-f", str(path)], check=True)
    return path


class Sshd:
    """An sshd of our own on 127.0.0.1. `directives` replace or add lines of its configuration; `wrapper` is put in
    front of its command line."""

    def __init__(self, directory, directives=None, users=(), wrapper=()):
        self.wrapper = list(wrapper)
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        self.directives = dict(directives or {})
        self.host_keys = [keygen(self.dir / f"host_{kind}", kind) for kind in ("ed25519", "rsa")]
        self.identity = keygen(self.dir / "id_ed25519", "ed25519")
        self.authorized = self.dir / "authorized_keys"
        self.authorized.write_text((self.dir / "id_ed25519.pub").read_text())
        self.authorized.chmod(0o644)
        self._identities = {}
        for who in users:
            self._identities[who.name] = self._own_copy(who)
        self.log = self.dir / "sshd.log"
        self.port = None
        self.process = None
        self.start()

    def _own_copy(self, who):
        """ssh refuses a private key that another user owns."""
        copy = self.dir / f"id_{who.name}"
        copy.write_bytes(self.identity.read_bytes())
        copy.chmod(0o600)
        os.chown(copy, who.uid, who.gid)
        return copy

    def identity_for(self, who):
        return self._identities.get(who.name, self.identity)

    def known_hosts(self, name="known_hosts", keys=None, host="127.0.0.1", port=None):
        """Write a known_hosts file that names this server; returns its path."""
        lines = []
        for key in keys or self.host_keys:
            lines.append(f"[{host}]:{port or self.port} " + Path(f"{key}.pub").read_text().strip())
        path = self.dir / name
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o644)
        return path

    def _config(self):
        config = {
            "ListenAddress": "127.0.0.1",
            "StrictModes": "no",
            "PidFile": "none",
            "UsePAM": "no",
            "PasswordAuthentication": "yes",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "AuthorizedKeysFile": str(self.authorized),
            "MaxStartups": "200",
            "LogLevel": "VERBOSE",
            "Subsystem": f"sftp {SFTP_SERVER}",
            # bash reads the tester's .bashrc for a command of sshd's, unless it is not the first shell.
            "SetEnv": "SHLVL=1",
        }
        config.update(self.directives)
        lines = [f"{key} {value}" for key, value in config.items() if value is not None]
        lines += [f"HostKey {key}" for key in self.host_keys]
        path = self.dir / "sshd_config"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self):
        """Start, on the port of last time if there was one. The kernel picks the first one."""
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for _ in range(5):
            port = self.port or free_port()
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [*self.wrapper, "/usr/sbin/sshd", "-D", "-e", "-f", str(self._config()), "-p", str(port)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
            if self._answers(port):
                self.port = port
                return
            self.process.wait()
        raise AssertionError(f"sshd does not start:\n{self.log_text()[-3000:]}")

    def _answers(self, port):
        def probe():
            if self.process.poll() is not None:
                return "ended"
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                    return "up" if s.recv(4) == b"SSH-" else None
            except OSError:
                return None
        return wait_until(probe, what="sshd answers") == "up"

    def log_text(self):
        return self.log.read_text(errors="replace")

    def sftp_server_pids(self):
        return [p for p in descendants(self.process.pid) if command_of(p) == "sftp-server"]

    def session_pids(self):
        return [p for p in descendants(self.process.pid) if command_of(p).startswith("sshd")]

    def stop(self, sessions=True):
        """Kill the listener and, unless told otherwise, its sessions; nothing else."""
        if self.process is None:
            return
        doomed = descendants(self.process.pid) if sessions else []
        self.process.kill()
        self.process.wait()
        kill_all(doomed)
        self.process = None

    def target(self, who, directory):
        return f"{who.name}@127.0.0.1:{directory}"


class DirectServer:
    """For `-o directport=`: each TCP connection is the standard input and output of a new sftp-server. `alone`: it starts
    when those before it have ended. What a server has received when its connection is cut it carries out when its machine
    lets it run, on a busy one after its successor has got newer data: what nobody can take back over SFTP."""

    def __init__(self, who=None, argv=None, cwd="/", alone=False):
        self.argv = argv or [SFTP_SERVER, "-e"]
        self.alone = alone
        self.who = who
        self.cwd = cwd
        self.children = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            user = self.who.popen_args() if self.who else {}
            for child in self.children if self.alone else ():
                child.wait()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                child = subprocess.Popen(self.argv, stdin=connection, stdout=connection,
                                         stderr=subprocess.DEVNULL, cwd=self.cwd, **user)
            self.children.append(child)

    def alive(self):
        return [c for c in self.children if c.poll() is None]

    def signal_all(self, number):
        for child in self.alive():
            child.send_signal(number)

    def close(self):
        # shutdown, not only close: a thread inside accept() keeps a closed listener alive
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.signal_all(signal.SIGKILL)
        self._thread.join(timeout=10)
        self.signal_all(signal.SIGKILL)
        for child in self.children:
            child.wait()
