"""The way to the server: addresses, the local end, time limits, proxies, jump hosts, several connections, algorithms."""

import json
import os
import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, run_on_terminal, run_sftpfs
from proxies import Forwarder, Listener, Proxy, Sayer
from relay import Relay
from server import Sshd, command_of, descendants, free_port, keygen
from waiting import wait_until

pytestmark = pytest.mark.own_user

USAGE, NETWORK, HOST_KEY, LOGIN, REMOTE, PROXY, MOUNT_POINT = range(1, 8)


@contextmanager
def running(server):
    try:
        yield server
    finally:
        (getattr(server, "close", None) or server.stop)()


class Way:
    """Mounts /etc by ways that differ in `changes` (options of ssh_config) and `extra`."""

    def __init__(self, who, sshd, place, mounter):
        self.who, self.sshd, self.place, self.mounter = who, sshd, place, mounter

    def args(self, *extra, port=None, **changes):
        # by alias, so that one known_hosts file serves every way
        known = self.sshd.dir / "known_by_alias"
        known.write_text("".join(f"way {Path(f'{key}.pub').read_text()}" for key in self.sshd.host_keys))
        known.chmod(0o644)
        changes = {"UserKnownHostsFile": known, "HostKeyAlias": "way", **changes}
        args = [*login_args(self.sshd, self.who, **changes), *extra]
        if port:
            args[args.index("-p") + 1] = port
        return args

    def mount(self, *extra, host="127.0.0.1", env=None, directory="/etc", **changes):
        mount = self.mounter(self.who, f"{self.who.name}@{host}:{directory}", self.args(*extra, **changes), env=env)
        if directory == "/etc":
            assert self.who.call((mount.dir / "passwd").read_bytes) == Path("/etc/passwd").read_bytes()
        return mount

    def fails(self, code, words, *extra, host="127.0.0.1", env=None, run=run_sftpfs, dialogue=None, **changes):
        kwargs = {"dialogue": dialogue} if dialogue else {}
        result = run(self.who, [*self.args(*extra, **changes), f"{self.who.name}@{host}:/etc", self.place], env=env,
                     **kwargs)
        text = result.err.decode(errors="replace")
        assert result.code == code, f"exit {result.code}, not {code}: {text}"
        for word in [words] if isinstance(words, str) else words:
            assert word in text, f"{word!r} is not in: {text}"
        assert dialogue or len(result.lines) == 1, text
        assert not is_mounted(self.place)
        wait_until(lambda: not daemons_of(self.place), what="the process is gone")
        return text


@pytest.fixture
def way(who, sshd, area, mounter):
    return Way(who, sshd, area, mounter)


def status_of(mount):
    return json.loads(mount.who.run([os.environ["SFTPFS"], "status", str(mount.dir)]).stdout)


# --- addresses and the local end


def test_address_family(way, sshd):
    with running(Forwarder(sshd.port, host="::1")) as v6:
        way.mount("-6", host="[::1]", port=v6.port)
        way.mount(host="[::1]", port=v6.port)
        way.fails(NETWORK, ["::1", "not supported"], "-4", host="[::1]", port=v6.port)


def test_every_address_of_a_name_is_tried(who, way, sshd, area):
    """In a mount namespace of its own, where a name has two addresses."""
    if os.geteuid() != 0 or who.uid != 0:
        return  # only root can make one
    hosts = area / "hosts"
    hosts.write_text("::1 both\n127.0.0.1 both\n")
    script = 'mount --bind "$0" /etc/hosts && "$@" && cat "$MNT/passwd" && fusermount3 -u "$MNT"'
    place = way.mounter.place(who)

    def run(port):
        argv = [os.environ["SFTPFS"], *way.args(port=port), "root@both:/etc", place]
        return who.run(["unshare", "-m", "sh", "-c", script, str(hosts), *map(str, argv)], check=False,
                       env={"MNT": str(place)})
    with running(Forwarder(sshd.port)) as v4:
        done = run(v4.port)
        assert done.stdout == Path("/etc/passwd").read_bytes(), done.stderr
        assert len(v4.peers) == 1
    text = run(v4.port).stderr.decode()
    assert re.search(r"::1: Connection refused, 127\.0\.0\.1: Connection refused", text), text


def test_local_address_and_port(way, sshd):
    port = free_port()
    with running(Forwarder(sshd.port)) as seen:
        way.mount("-o", f"bind_port={port}", BindAddress="127.0.0.2", port=seen.port)
        assert seen.peers == [("127.0.0.2", port)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        way.fails(NETWORK, [f"address '127.0.0.1' port {port}", "in use"], "-o", f"bind_port={port}",
                  BindAddress="127.0.0.1")
    way.fails(NETWORK, ["address '203.0.113.1'", "Cannot assign"], BindAddress="203.0.113.1")
    way.fails(NETWORK, ["interface 'nosuch0'"], BindInterface="nosuch0")


# --- time limits: what is said, not how long it took


def test_port_that_never_accepts(way):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # the queue is full when a connection is not made at once
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        way.fails(NETWORK, "timed out", ConnectTimeout=1, port=full.getsockname()[1])
        for s in waiting:
            s.close()


def test_server_that_says_nothing(way):
    with running(Listener()) as silent:
        way.fails(NETWORK, "no SSH banner", "-o", "banner_timeout=1", port=silent.port)
        way.fails(NETWORK, ["no SSH banner", "within 1 s"], ConnectTimeout=1, port=silent.port)


def test_server_that_stalls_in_the_key_exchange(way):
    with running(Sayer(b"some text first\r\nSSH-2.0-Stalls\r\n")) as stalls:
        way.fails(NETWORK, ["key exchange", "within 1 s"], "-o", "login_timeout=1", port=stalls.port)


def test_version_1_is_refused(way):
    with running(Sayer(b"SSH-1.5-Old\r\n")) as old:
        way.fails(NETWORK, "version", port=old.port)


# --- proxies


def by(proxy, scheme, user=None):
    return ["-o", f"proxy={scheme}://{user + '@' if user else ''}127.0.0.1:{proxy.port}"]


@pytest.mark.parametrize("scheme, protocol, host", [
    ("socks4", "socks4", "127.0.0.1"), ("socks4a", "socks4a", "localhost"), ("socks5", "socks5", "localhost"),
    ("http", "http", "localhost")])
def test_proxy(way, sshd, scheme, protocol, host):
    """All but SOCKS 4 are given the name."""
    with running(Proxy()) as proxy:
        way.mount(*by(proxy, scheme), host="localhost")
        assert proxy.asked == [(protocol, host, sshd.port)]


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_proxy_with_a_password(who, way, area, scheme):
    right, wrong = area / "right", area / "wrong"
    right.write_text("pr0xy-s3cret\n")
    wrong.write_text("n0nsense\n")
    with running(Proxy(login=("me", "pr0xy-s3cret"))) as proxy:
        mount = way.mount(*by(proxy, scheme, "me"), "-o", f"proxy_password_file={right}", "-o", "log_level=3")
        for seen in (mount.log.read_bytes(), Path(f"/proc/{mount.pid}/cmdline").read_bytes(),
                     Path(f"/proc/{mount.pid}/environ").read_bytes()):
            assert b"pr0xy-s3cret" not in seen
        text = way.fails(PROXY, "proxy authentication failed", *by(proxy, scheme, "me"), "-o",
                         f"proxy_password_file={wrong}")
        assert "n0nsense" not in text
        way.fails(PROXY, "no password for user 'me'", *by(proxy, scheme, "me"))
        way.fails(PROXY, "proxy authentication", *by(proxy, scheme))
        # asked for on a terminal, and known after a loss
        text = way.fails(PROXY, "proxy authentication failed", *by(proxy, scheme, "me"), run=run_on_terminal,
                         dialogue=[(b"password for the proxy", b"typ0")])
        assert "typ0" not in text
    way.fails(USAGE, "does not belong", "-o", f"proxy={scheme}://me:pr0xy-s3cret@127.0.0.1")


def test_proxy_that_refuses(way):
    with running(Proxy(refuse=True)) as proxy:
        way.fails(PROXY, "rejected", *by(proxy, "socks4"))
        way.fails(PROXY, "not allowed", *by(proxy, "socks5"))
        way.fails(PROXY, "403 Forbidden by house rules", *by(proxy, "http"))
    way.fails(PROXY, ["proxy", "refused"], *by(proxy, "socks5"))
    with running(Sayer(b"220 mail.example ESMTP\r\n")) as mail:
        for scheme in ("socks4", "socks5", "http"):
            way.fails(PROXY, "does not speak", *by(mail, scheme))
    with running(Listener()) as silent:
        way.fails(PROXY, "does not answer", *by(silent, "socks5"), ConnectTimeout=1)


def test_proxy_of_the_environment(way, sshd):
    with running(Proxy(login=("me", "a:b"))) as proxy:
        env = {"ALL_PROXY": f"socks5h://me:a%3ab@127.0.0.1:{proxy.port}"}
        way.mount(env=env)
        way.mount("-o", "proxy=auto", env={**env, "NO_PROXY": "example,127.0.0.1"})
        assert proxy.asked == []
        way.mount("-o", "proxy=auto", env={**env, "NO_PROXY": "7.0.0.1,other"})
        assert proxy.asked == [("socks5", "127.0.0.1", sshd.port)]


def test_reconnect_through_a_proxy(who, way, area):
    password = area / "password"
    password.write_text("again")
    with running(Proxy(login=("me", "again"))) as proxy:
        mount = way.mount(*by(proxy, "http", "me"), "-o", f"proxy_password_file={password}")
        password.unlink()
        for pid in way.sshd.session_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
        assert who.call((mount.dir / "group").read_bytes) == Path("/etc/group").read_bytes()
