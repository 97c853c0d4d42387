"""A host with dropbear and BusyBox and nothing else: no coreutils, no sftp-server, no scp unless asked for."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from server import descendants, free_port, in_namespace, keygen, kill_all
from waiting import wait_until

BUSYBOX = "/bin/busybox"
DROPBEAR = "/usr/sbin/dropbear"


def _with_libraries(root, program):
    """Copy a program and the libraries it needs to the same places below root."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    needed = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
    for path in [program, *needed]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(os.path.realpath(path), target)


class BusyBoxHost:
    """Needs root: dropbear runs in a root directory of its own, where `top` is mounted at its own place."""

    def __init__(self, directory, top, users, scp=False):
        self.dir = Path(directory)
        self.root = self.dir / "root"
        self.top = Path(top)
        self.users = list(users)
        (self.root / "bin").mkdir(parents=True)
        for path in (self.dir, self.root):
            path.chmod(0o755)
        shutil.copy(BUSYBOX, self.root / "bin" / "busybox")
        for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                (self.root / "bin" / applet).symlink_to("busybox")
        _with_libraries(self.root, DROPBEAR)
        if scp:
            _with_libraries(self.root, "/usr/bin/scp")
            (self.root / "bin" / "scp").symlink_to("/usr/bin/scp")
        self._make_users()
        for name, minor in (("null", 3), ("zero", 5), ("urandom", 9), ("random", 8)):
            path = self.root / "dev" / name
            path.parent.mkdir(exist_ok=True)
            os.mknod(path, 0o20666, os.makedev(1, minor))
            path.chmod(0o666)
        for place in ("tmp", "proc", str(self.top).lstrip("/")):
            (self.root / place).mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        self.host_key = keygen(self.dir / "host_rsa", "rsa")
        key = self.root / "host_key"
        pem = self.dir / "host_pem"
        shutil.copy(self.host_key, pem)
        pem.chmod(0o600)
        subprocess.run(["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "", "-f", str(pem)], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run(["dropbearconvert", "openssh", "dropbear", str(pem), str(key)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.log = self.dir / "dropbear.log"
        self.port = None
        self.process = None
        self.start()

    def _make_users(self):
        self.identity = keygen(self.dir / "id_ed25519", "ed25519")
        self._identities = {}
        etc = self.root / "etc"
        etc.mkdir()
        passwd, group = [], []
        for who in self.users:
            home = self.root / "home" / who.name
            (home / ".ssh").mkdir(parents=True)
            (home / ".ssh" / "authorized_keys").write_text((self.dir / "id_ed25519.pub").read_text())
            for path in (home, home / ".ssh", home / ".ssh" / "authorized_keys"):
                os.chown(path, who.uid, who.gid)
                path.chmod(0o700)
            passwd.append(f"{who.name}:*:{who.uid}:{who.gid}::/home/{who.name}:/bin/sh")
            group.append(f"{who.name}:x:{who.gid}:")
            copy = self.dir / f"id_{who.name}"
            copy.write_bytes(self.identity.read_bytes())
            copy.chmod(0o600)
            os.chown(copy, who.uid, who.gid)
            self._identities[who.name] = copy
        (etc / "passwd").write_text("\n".join(passwd) + "\n")
        (etc / "group").write_text("\n".join(group) + "\n")
        (etc / "shells").write_text("/bin/sh\n")

    def start(self):
        inside = self.root / str(self.top).lstrip("/")
        port = self.port or free_port()
        # in a mount namespace of its own, which ends with it
        script = (f"mount --rbind '{self.top}' '{inside}' && "
                  f"exec chroot '{self.root}' {DROPBEAR} -F -E -r /host_key -p 127.0.0.1:{port}")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(in_namespace(script),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                            env={"PATH": os.environ["PATH"]})

        def answers():
            assert self.process.poll() is None, self.log.read_text()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                    return s.recv(4) == b"SSH-"
            except OSError:
                return False
        wait_until(answers, what="dropbear answers")
        self.port = port

    def identity_for(self, who):
        return self._identities.get(who.name, self.identity)

    def known_hosts(self, name="known_hosts", port=None):
        path = self.dir / name
        path.write_text(f"[127.0.0.1]:{port or self.port} " + Path(f"{self.host_key}.pub").read_text())
        path.chmod(0o644)
        return path

    def target(self, who, directory):
        return f"{who.name}@127.0.0.1:{directory}"

    def stop(self):
        if self.process is None:
            return
        doomed = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        kill_all(doomed)
        self.process = None
