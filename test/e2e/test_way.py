"""The way to the server: addresses, the local end, time limits, proxies, jump hosts, several connections, algorithms."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import scripted_ssh
from conftest import anybody, login_args, serial
from mount import REMEDY, daemons_of, is_mounted, run_on_terminal, run_sftpfs, sftpfs_binary
from proxies import Forwarder, Listener, Proxy, Sayer
from relay import Relay
from server import Sshd, command_of, descendants, free_port, in_namespace, keygen, kill_all
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
        changes = {key: value.replace(",", "\\,") if isinstance(value, str) else value for key, value in changes.items()}
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
        assert REMEDY.search(result.lines[-1]), f"nothing to be done about: {text}"
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
        return who.run(in_namespace(script, str(hosts), *map(str, argv)), check=False, env={"MNT": str(place)})
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
        # a port that tells a server that root has connected
        args = ["-o", f"bind_port={900 + os.getpid() % 100}"]
        if way.who.uid == 0:
            way.mount(*args, BindAddress="127.0.0.3", port=seen.port)
            assert seen.peers[1][1] < 1024
        else:
            way.fails(NETWORK, "Permission denied; choose a local end", *args, BindAddress="127.0.0.3", port=seen.port)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        way.fails(NETWORK, [f"address '127.0.0.1' port {port}", "in use"], "-o", f"bind_port={port}",
                  BindAddress="127.0.0.1")
    way.fails(NETWORK, ["address '203.0.113.1'", "Cannot assign"], BindAddress="203.0.113.1")
    way.fails(NETWORK, ["interface 'nosuch0'"], BindInterface="nosuch0")


# --- time limits: what is said, not how long it took


@anybody
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


@anybody
def test_server_that_says_nothing(way):
    with running(Listener()) as silent:
        way.fails(NETWORK, "no SSH banner", "-o", "banner_timeout=1", port=silent.port)
        way.fails(NETWORK, ["no SSH banner", "within 1 s"], ConnectTimeout=1, port=silent.port)


@anybody
def test_server_that_stalls_in_the_key_exchange(way):
    with running(Sayer(b"some text first\r\nSSH-2.0-Stalls\r\n")) as stalls:
        way.fails(NETWORK, ["key exchange", "within 1 s"], "-o", "login_timeout=1", port=stalls.port)


@anybody
def test_version_1_is_refused(way):
    with running(Sayer(b"SSH-1.5-Old\r\n")) as old:
        way.fails(NETWORK, ["SSH-1", "version"], port=old.port)


class Open(scripted_ssh.Login):
    def begin_auth(self, _username):
        return False


class Old(Open):
    """Also speaks version 1, and knows nothing of strict key exchange."""
    version = "SSH-1.99-"

    def connection_made(self, connection):
        super().connection_made(connection)
        connection.__class__ = type("OldConnection", (type(connection),), {
            "_get_extra_kex_algs": lambda self: [b"ext-info-s"],
            "_strict_kex": property(lambda self: False, lambda self, value: None)})


@anybody
@pytest.mark.parametrize("login, strict", [(Open, "yes"), (Old, "no")])
def test_versions_that_are_accepted(who, area, mounter, login, strict):
    with running(scripted_ssh.ScriptedSsh(area, login)) as server:
        mount = mounter(who, "127.0.0.1:/etc", server.args())
        status = status_of(mount)
        assert status["server"].startswith(login.version or "SSH-2.0-") and status["strict_kex"] == strict
        assert who.call((mount.dir / "passwd").read_bytes) == Path("/etc/passwd").read_bytes()
        mount.umount()


@anybody
def test_text_before_the_version(way, sshd):
    with running(Forwarder(sshd.port, first=b"".join(b"line %d of the house rules\r\n" % i for i in range(20)))) as wordy:
        status = status_of(way.mount(port=wordy.port))
        assert status["server"].startswith("SSH-2.0-OpenSSH") and status["strict_kex"] == "yes"


@anybody
def test_connection_is_tried_as_often_as_asked(way, sshd, area):
    with socket.socket() as deaf:  # a port that refuses until somebody listens
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        way.fails(NETWORK, "refused", ConnectionAttempts=1, port=port)
        log = area / "log"
        mount = threading.Thread(target=way.mount, args=("-o", f"log_file={log},log_level=1"),
                                 kwargs={"ConnectionAttempts": 3, "port": port})
        mount.start()
        wait_until(lambda: log.exists() and "attempt 1 of 3" in log.read_text(), what="the first refusal")
        deaf.close()
        with running(Forwarder(sshd.port, port=port)) as there:
            mount.join(60)
            assert len(there.peers) == 1 and len(way.mounter.mounts) == 1
            way.mounter.mounts[0].umount()


# --- proxies


def by(proxy, scheme, user=None):
    return ["-o", f"proxy={scheme}://{user + '@' if user else ''}127.0.0.1:{proxy.port}"]


@anybody
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


@anybody
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


@anybody
def test_reconnect_through_a_proxy(who, way, area):
    password = area / "password"
    password.write_text("again")
    with running(Proxy(login=("me", "again"))) as proxy:
        mount = way.mount(*by(proxy, "http", "me"), "-o", f"proxy_password_file={password}")
        password.unlink()
        kill_all(way.sshd.session_pids())
        wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
        assert who.call((mount.dir / "group").read_bytes) == Path("/etc/group").read_bytes()


# --- jump hosts


@pytest.fixture(scope="module")
def hop(top, people):
    """A second server: the way to the first one. Jump hosts are set up by the configuration file, as with ssh."""
    server = Sshd(top / f"hop{next(serial)}", users=people.values())
    yield server
    server.stop()


def jump_args(who, sshd, hop, area, first_port=None, policy="yes", known=None, extra=""):
    """hop1 and hop2 are both `hop`; hop1's socket is the one that leaves the machine."""
    known = known or hop.dir / "known_by_alias"
    if not known.exists():
        known.write_text("".join(f"hop {Path(f'{key}.pub').read_text()}" for key in hop.host_keys) +
                         "".join(f"far {Path(f'{key}.pub').read_text()}" for key in sshd.host_keys))
    config = area / "config"
    config.write_text(
        f"Host hop1\n  Port {first_port or hop.port}\nHost hop2\n  Port {hop.port}\nHost hop*\n  HostKeyAlias hop\n"
        f"  IdentityFile {hop.identity_for(who)}\nHost far\n  HostKeyAlias far\n  Port {sshd.port}\n"
        f"  IdentityFile {sshd.identity_for(who)}\nHost *\n  HostName 127.0.0.1\n  User {who.name}\n"
        f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking {policy}\n{extra}")
    return ["-F", config]


def test_jump_hosts(who, sshd, hop, area, mounter):
    (area / "data").write_bytes(os.urandom(3_000_000))
    before = hop.log_text().count("Accepted publickey")
    mount = mounter(who, f"far:{area}", [*jump_args(who, sshd, hop, area), "-J", "hop1,hop2"])
    who.run(["cp", "data", "copy"], cwd=mount.dir)
    assert (area / "copy").read_bytes() == (area / "data").read_bytes()
    assert hop.log_text().count("Accepted publickey") == before + 2
    assert not descendants(mount.pid), "no process helps"
    mount.umount()


def test_unknown_key_of_a_jump_host_names_it(who, sshd, hop, area):
    (area / "empty").touch()
    args = jump_args(who, sshd, hop, area, known=area / "empty")
    result = run_sftpfs(who, [*args, "-J", "hop1", "far:/etc", area])
    assert result.code == HOST_KEY and b"jump host 'hop1'" in result.err and b"SHA256:" in result.err, result.err


def test_jump_hosts_ask_one_after_the_other(who, sshd, hop, area):
    """Two unknown keys, two questions, and both are kept."""
    known = Path(who.home) / "new_hosts"
    args = [*jump_args(who, sshd, hop, area, policy="ask", known=known), "-J", "hop1"]
    known.unlink()
    place = area / "mnt"
    who.run(["mkdir", str(place)])
    result = run_on_terminal(who, [*args, "far:/etc", place], [(b"'hop1", b"yes"), (b"'far", b"yes")])
    try:
        assert result.code == 0, result.err
        assert {line.split()[0] for line in known.read_text().splitlines()} == {"hop", "far"}
    finally:
        who.run(["fusermount3", "-u", str(place)], check=False)
    wait_until(lambda: not daemons_of(place), what="the daemon ends")


@anybody
def test_jump_host_that_cannot_be_passed(who, sshd, hop, area, top):
    args = jump_args(who, sshd, hop, area, first_port=free_port())
    result = run_sftpfs(who, [*args, "-J", "hop1", "far:/etc", area])
    assert result.code == PROXY and b"jump host 'hop1'" in result.err and b"refused" in result.err, result.err
    closed = free_port()
    result = run_sftpfs(who, [*args, "-J", "hop2", "-p", closed, "far:/etc", area])
    assert result.code == PROXY and b"jump host 'hop2'" in result.err and str(closed).encode() in result.err, result.err


def test_lost_jump_host_is_gone_through_again(who, sshd, hop, area, mounter):
    (area / "data").write_bytes(os.urandom(20_000_000))
    mount = mounter(who, f"far:{area}", [*jump_args(who, sshd, hop, area), "-J", "hop1"])
    for direction in (["cp", str(area / "data"), "copy"], ["sh", "-c", "cat data > /dev/null; cmp data copy"]):
        copy = subprocess.Popen(["sh", "-c", 'cd "$0" && exec "$@"', str(mount.dir), *direction], **who.popen_args())
        before = status_of(mount)
        wait_until(lambda: status_of(mount)["read_bytes"] + status_of(mount)["written_bytes"] >
                   before["read_bytes"] + before["written_bytes"] or copy.poll() is not None, what="bytes on their way")
        kill_all(hop.session_pids())
        assert copy.wait(60) == 0
    assert (area / "copy").read_bytes() == (area / "data").read_bytes()
    wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")


@anybody
def test_fence_resets_the_first_hop(who, sshd, hop, area, mounter):
    """A way that is silent is given up: its socket ends with a reset, so nothing unsent arrives later."""
    with running(Forwarder(hop.port)) as road:
        args = jump_args(who, sshd, hop, area, first_port=road.port)
        mount = mounter(who, "far:/etc", [*args, "-J", "hop1", "-o", "ServerAliveInterval=1,ServerAliveCountMax=1"])
        road.hang()
        wait_until(lambda: road.ends, what="the connection is given up")
        assert road.ends[0] == "reset"
        wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
        assert who.call((mount.dir / "passwd").read_bytes) == Path("/etc/passwd").read_bytes()
        mount.umount()


@anybody
def test_proxy_before_jump_hosts(who, sshd, hop, area, mounter):
    with running(Proxy()) as proxy:
        mounter(who, "far:/etc", [*jump_args(who, sshd, hop, area), "-J", "hop1,hop2", *by(proxy, "socks5")])
        assert proxy.asked == [("socks5", "127.0.0.1", hop.port)]


# --- a program as the way

@pytest.mark.parametrize("passes", [False, True], ids=["pipe", "socket"])
def test_proxy_command(who, way, sshd, passes):
    """It is run again after a loss, and ends with the mount or as soon as it has handed over its socket."""
    changes = {"ProxyCommand": "nc -F %h %p" if passes else "nc %h %p", "ProxyUseFdpass": "yes" if passes else "no"}
    mount = way.mount(**changes, ServerAliveInterval=1)  # nc notices the end of its peer when it sends something
    helpers = descendants(mount.pid)
    assert [command_of(pid) for pid in helpers] == ([] if passes else ["nc"])
    kill_all(sshd.session_pids())
    wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
    assert who.call((mount.dir / "group").read_bytes) == Path("/etc/group").read_bytes()
    mount.umount()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in helpers)
    for bad, words in (("echo no road today >&2; exit 7", "ended: no road today"), ("true", "ended without a word")):
        result = run_sftpfs(who, [*way.args(**{**changes, "ProxyCommand": f"sh -c '{bad}'"}),
                                  sshd.target(who, "/etc"), way.place])
        assert result.code == PROXY and words in result.lines[-1], result


# --- several connections


@anybody
def test_more_connections_carry_a_large_file(who, sshd, area, mounter):
    data = area / "data"
    data.write_bytes(os.urandom(30_000_000))
    with running(Relay(sshd.port, delay=20)) as relay:
        args = login_args(sshd, who, HostKeyAlias=f"[127.0.0.1]:{sshd.port}")
        args[args.index("-p") + 1] = relay.port
        mount = mounter(who, sshd.target(who, area), [*args, "-o", "max_conns=3"])
        assert relay.stats()["connections"] == 1, "only when they are of use"
        who.run(["cp", str(data), "one"], cwd=mount.dir)  # they are opened meanwhile
        wait_until(lambda: status_of(mount)["lanes"] >= 6, what="further lanes")
        who.run(["cp", str(data), "two"], cwd=mount.dir)
        stats = relay.stats()
        assert stats["connections"] == 3
        assert all(c["up_bytes"] > 2_000_000 for c in stats["per_connection"]), stats
        # one of them is lost: nothing of what it carried is
        relay.command("cut-after-bytes up 5000000 one")
        who.run(["cp", str(data), "three"], cwd=mount.dir)
        for name in ("one", "two", "three"):
            assert (area / name).read_bytes() == data.read_bytes()
        wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
        mount.umount()


@anybody
@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_further_connections_never_ask(who, top, area, people, method):
    """What was typed once, on standard input or a terminal, serves them all."""
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    login, place = people["user"], area / "mnt"
    who.run(["mkdir", str(place)])
    os.chmod(area, 0o777)
    asked = area / "asked"
    (area / "askpass").write_text(f"#!/bin/sh\ntouch {asked}\n")
    (area / "askpass").chmod(0o755)
    with running(Sshd(top / f"asks{next(serial)}", {"UsePAM": "yes", "KbdInteractiveAuthentication": "yes"},
                      people.values())) as sshd, running(Relay(sshd.port, delay=10)) as relay:
        args = login_args(sshd, who, IdentityFile=None, PubkeyAuthentication="no", PreferredAuthentications=method,
                          HostKeyAlias=f"[127.0.0.1]:{sshd.port}")
        args[args.index("-p") + 1] = relay.port
        args += ["-o", "max_conns=2", sshd.target(login, area), place]
        env = {"SSH_ASKPASS": str(area / "askpass"), "DISPLAY": ":99"}
        if method == "password":
            result = run_sftpfs(who, ["-o", "password_stdin", *args], input=login.password.encode() + b"\n", env=env)
        else:
            result = run_on_terminal(who, args, [(b"password:", login.password.encode())], env=env)
        try:
            assert result.code == 0, result.err
            who.run(["sh", "-c", "head -c 12000000 /dev/zero > big && sync big"], cwd=place)
            wait_until(lambda: sshd.log_text().count(f"Accepted {method}") == 2, what="the second login")
        finally:
            who.run(["fusermount3", "-u", str(place)], check=False)
        wait_until(lambda: not daemons_of(place), what="the daemon ends")
        assert not asked.exists()


@anybody
def test_further_connections_that_are_refused_are_done_without(who, sshd, area, mounter):
    with running(Relay(sshd.port, delay=10)) as relay:
        args = login_args(sshd, who, HostKeyAlias=f"[127.0.0.1]:{sshd.port}")
        args[args.index("-p") + 1] = relay.port
        mount = mounter(who, sshd.target(who, area), [*args, "-o", "max_conns=4"])
        relay.command("refuse on")
        who.run(["sh", "-c", "head -c 30000000 /dev/urandom > big && cp big copy && cmp big copy"], cwd=mount.dir)
        assert status_of(mount)["reconnects"] == 0
        mount.umount()


# --- ssh_command


def ssh_command(who, sshd, *more):
    return ["-F", "/dev/null", "-p", sshd.port, "-o",
            f"ssh_command=ssh,IdentityFile={sshd.identity_for(who)},UserKnownHostsFile={sshd.known_hosts()},BatchMode=yes",
            *more]


def socket_dirs(who):
    return {d for d in os.listdir("/tmp") if os.path.exists(f"/tmp/{d}/m") and os.stat(f"/tmp/{d}").st_uid == who.uid}


def ssh_pids(mount):
    return [pid for pid in descendants(mount.pid) if command_of(pid) == "ssh"]


def test_ssh_processes_share_one_login(who, sshd, area, mounter):
    before, dirs_before = sshd.log_text().count("Accepted publickey"), socket_dirs(who)
    mount = mounter(who, sshd.target(who, area), ssh_command(who, sshd))
    who.run(["sh", "-c", "head -c 9000000 /dev/urandom > big && cp big copy && cmp big copy"], cwd=mount.dir)
    wait_until(lambda: len(ssh_pids(mount)) > 1, what="further processes")
    assert sshd.log_text().count("Accepted publickey") == before + 1
    # the loss of one is the loss of all; none is left behind
    lost = ssh_pids(mount)
    os.kill(lost[-1], signal.SIGKILL)
    wait_until(lambda: status_of(mount)["reconnects"] >= 1, what="reconnect")
    assert not set(lost) & set(ssh_pids(mount))
    assert who.call((mount.dir / "copy").read_bytes) == (area / "big").read_bytes()
    assert len(socket_dirs(who) - dirs_before) == 1
    mount.umount()
    assert socket_dirs(who) <= dirs_before


def test_ssh_command_with_one_session(who, top, people, area, mounter):
    with running(Sshd(top / f"single-{who.name}", {"MaxSessions": "1"}, people.values())) as sshd:
        mount = mounter(who, sshd.target(who, area), ssh_command(who, sshd))
        who.run(["sh", "-c", "head -c 9000000 /dev/urandom > big && cp big copy && cmp big copy"], cwd=mount.dir)
        mount.umount()


@pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True)
def test_ssh_command_without_a_place_for_a_socket(who, sshd, area):
    """One lane, no failure."""
    if os.geteuid() != 0:
        pytest.skip("has a /tmp of its own")
    who.run(["mkdir", str(area / "mnt")])
    script = ('mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && cd "$0" && "$@" mnt && cp /bin/sh mnt/copy && '
              'cmp /bin/sh mnt/copy && "$1" status mnt && "$1" umount mnt')
    done = who.run(in_namespace(script, str(area), sftpfs_binary(), sshd.target(who, area),
                                *map(str, ssh_command(who, sshd))))
    assert json.loads(done.stdout)["lanes"] == 1


def test_words_of_ssh_are_shown(who, sshd, area):
    def fails(code, words, args):
        result = run_sftpfs(who, [*args, sshd.target(who, "/etc"), area])
        assert result.code == code and words in result.err.lower(), result
    fails(LOGIN, b"permission denied (", ssh_command(who, sshd, "-o", "PubkeyAuthentication=no"))
    args = ssh_command(who, sshd)
    fails(NETWORK, b"refused", [free_port() if a == sshd.port else a for a in args])
    fails(HOST_KEY, b"host key verification failed",
          [str(a).replace(str(sshd.known_hosts()), "/dev/null") for a in args])
    fails(REMOTE, b"subsystem", [*args, "-o", "sftp_server=nosuch"])


# --- algorithms


@pytest.fixture(scope="module")
def strict(top, people):
    """A server with one algorithm of each kind, which writes down every key exchange."""
    server = Sshd(top / f"strict{next(serial)}", {"Ciphers": "aes128-ctr", "MACs": "hmac-sha2-256", "KexAlgorithms": "curve25519-sha256",
                                   "LogLevel": "DEBUG1", "Compression": "no"}, people.values())
    yield server
    server.stop()


@anybody
@pytest.mark.parametrize("changes, expected", [
    ({"Ciphers": "aes256-ctr,aes128-ctr", "MACs": "hmac-sha2-512"}, {"cipher": "aes256-ctr", "mac": "hmac-sha2-512"}),
    ({"Ciphers": "^aes192-ctr"}, {"cipher": "aes192-ctr"}),
    ({"Ciphers": "-chacha20*,aes*-gcm*"}, {"cipher": "aes128-ctr"}),
    ({"KexAlgorithms": "+diffie-hellman-group14-sha1"}, {"kex": "curve25519-sha256"}),
    ({"KexAlgorithms": "ecdh-sha2-nistp384"}, {"kex": "ecdh-sha2-nistp384"}),
], ids=lambda v: " ".join(v.values()))
def test_algorithms_are_those_asked_for(way, changes, expected):
    status = status_of(way.mount(**changes))
    assert expected.items() <= status.items(), status


@anybody
def test_facts_are_those_of_the_server(who, strict, area, mounter):
    """What `sftpfs status` says of the connection is what sshd's own log says of it."""
    start = len(strict.log_text())
    facts = status_of(Way(who, strict, area, mounter).mount())
    log = strict.log_text()[start:]
    cipher, mac = re.search(r"kex: client->server cipher: (\S+) MAC: (\S+) compression: none", log).groups()
    assert (facts["cipher"], facts["mac"]) == (cipher, mac)
    assert facts["kex"] == re.search(r"kex: algorithm: (\S+)", log)[1]
    assert facts["server"] == re.search(r"Local version string (.+?)( \[preauth\])?$", log, re.M)[1].strip()
    version, software = re.search(r"client protocol version (\S+); client software version (\S+)|"
                                  r"Remote protocol version (\S+), remote software version (\S+)", log).groups()[-2:]
    assert facts["client"] == f"SSH-{version}-{software}"
    assert facts["sftp_version"] == 3 and f"Accepted publickey for {facts['user']}" in log


@anybody
def test_no_algorithm_in_common_names_both_lists(who, strict, area, mounter):
    way = Way(who, strict, area, mounter)
    for changes, ours, theirs in (
            ({"Ciphers": "aes256-gcm@openssh.com"}, "aes256-gcm@openssh.com", "aes128-ctr"),
            ({"MACs": "hmac-sha2-512", "Ciphers": "aes128-ctr"}, "hmac-sha2-512", "hmac-sha2-256"),
            ({"KexAlgorithms": "ecdh-sha2-nistp256"}, "ecdh-sha2-nistp256", "curve25519-sha256"),
            ({"HostKeyAlgorithms": "ecdsa-sha2-nistp256"}, "ecdsa-sha2-nistp256", "ssh-ed25519")):
        way.fails(NETWORK, ["no algorithm in common", f"[{ours}", theirs], **changes)
    way.fails(NETWORK, ["libssh", "umac-64@openssh.com"], MACs="umac-64@openssh.com")


def kexinit(cipher):
    """A packet, before any key: RFC 4253, sections 6 and 7.1."""
    lists = ["curve25519-sha256", "ssh-ed25519", cipher, cipher, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""]
    payload = b"\x14" + bytes(16) + b"".join(struct.pack(">I", len(x)) + x.encode() for x in lists) + bytes(5)
    padding = 8 - (5 + len(payload)) % 8 + 8
    return struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


@anybody
def test_no_algorithm_in_common_with_a_hasty_server(way):
    """It says everything before it is asked: libssh then forgets why it gave up."""
    with running(Sayer(b"SSH-2.0-Hasty\r\n" + kexinit("rot13"))) as hasty:
        way.fails(NETWORK, ["no algorithm in common", "[rot13]", "aes128-ctr", "-o Ciphers=+NAME"], port=hasty.port)


@anybody
def test_short_rsa_keys_are_refused(way):
    way.fails(HOST_KEY, ["RSA", "2048", "3072"], HostKeyAlgorithms="rsa-sha2-512", RequiredRSASize=3072)
    way.mount(HostKeyAlgorithms="rsa-sha2-512", RequiredRSASize=2048)


@anybody
def test_rsa_key_signs_with_sha2(who, top, people, area, mounter):
    """Never with SHA-1, which the server would refuse; the hash is the one asked for."""
    with running(Sshd(top / f"sha2-{who.name}", {"LogLevel": "DEBUG1"}, people.values())) as sshd:
        way = Way(who, sshd, area, mounter)
        key = keygen(area / "rsa", "rsa")
        sshd.authorized.write_text(Path(f"{key}.pub").read_text())
        os.chown(key, who.uid, who.gid)

        def algorithms(**changes):
            start = len(sshd.log_text())
            way.mount(IdentityFile=key, **changes).umount()
            return set(re.findall(r"pkalg (\S+)", sshd.log_text()[start:]))
        assert algorithms() == {"rsa-sha2-512"}
        assert algorithms(PubkeyAcceptedAlgorithms="+ssh-rsa") == {"rsa-sha2-512"}
        assert algorithms(PubkeyAcceptedAlgorithms="rsa-sha2-256") == {"rsa-sha2-256"}
        way.fails(LOGIN, "", IdentityFile=key, PubkeyAcceptedAlgorithms="ssh-ed25519", PasswordAuthentication="no")


@anybody
def test_compression_that_the_server_lacks(who, strict, area, mounter):
    """As with ssh it is a wish."""
    Way(who, strict, area, mounter).mount("-C")


@anybody
def test_compression(who, way, sshd, area):
    (area / "zeros").write_bytes(bytes(10_000_000))
    for args, at_most in ((["-C"], 1_000_000), ([], 12_000_000)):
        with running(Relay(sshd.port)) as relay:
            mount = way.mount(*args, directory=area, port=relay.port)
            who.run(["cmp", str(area / "zeros"), "zeros"], cwd=mount.dir)
            who.run(["cp", str(area / "zeros"), "copy"], cwd=mount.dir)
            stats = relay.stats()
            assert stats["up_bytes"] < at_most and stats["down_bytes"] < at_most, stats
            if not args:
                assert stats["up_bytes"] > 10_000_000 and stats["down_bytes"] > 10_000_000, stats
            mount.umount()


@anybody
@pytest.mark.parametrize("side", ["client", "server"])
def test_traffic_goes_on_across_key_exchanges(who, top, people, area, mounter, side):
    """Both directions at once, each several lanes."""
    data = area / "data"
    data.write_bytes(os.urandom(72_000_000))
    directives = {"LogLevel": "DEBUG1", **({"RekeyLimit": "1M"} if side == "server" else {})}
    with running(Sshd(top / f"rekey-{side}-{who.name}", directives, people.values())) as sshd:
        mount = Way(who, sshd, area, mounter).mount(directory=area, **({"RekeyLimit": "1M"} if side == "client" else {}))
        before = sshd.log_text().count("SSH2_MSG_NEWKEYS received")
        who.run(["sh", "-c", "cat data > copy & cmp data $0 & wait; cmp copy $0", str(data)], cwd=mount.dir)
        assert sshd.log_text().count("SSH2_MSG_NEWKEYS received") - before >= 60
        assert status_of(mount)["reconnects"] == 0
        assert (area / "copy").read_bytes() == data.read_bytes()
        mount.umount()
