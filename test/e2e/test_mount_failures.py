"""What cannot be mounted says so in one line and its exit code, mounts nothing and leaves no process.

1 usage, 2 name/network/handshake, 3 host key, 4 authentication, 5 SFTP or remote directory, 6 proxy, 7 mount point."""

import os
import socket

import pytest

from conftest import login_args
from mount import REMEDY, daemons_of, is_mounted, run_on_terminal, run_sftpfs
from server import DirectServer, Sshd, free_port, keygen
from waiting import wait_until

pytestmark = pytest.mark.own_user

USAGE, NETWORK, HOST_KEY, LOGIN, REMOTE, PROXY, MOUNT_POINT = range(1, 8)


class Attempt:
    def __init__(self, who, sshd, place):
        self.who = who
        self.sshd = sshd
        self.place = place
        self.remote = "/tmp"

    def args(self, source=None, extra=(), **changes):
        return [*login_args(self.sshd, self.who, **changes), *extra,
                source or self.sshd.target(self.who, self.remote), self.place]

    def fails(self, code, *words, args=None, one_line=True, run=run_sftpfs, **kwargs):
        result = run(self.who, args or self.args(), **kwargs)
        text = result.err.decode(errors="replace")
        assert result.code == code, f"exit {result.code}, not {code}: {text}"
        for word in words:
            assert str(word).lower() in text.lower(), f"{word!r} is not in: {text}"
        assert REMEDY.search(result.lines[-1]), f"nothing to be done about: {text}"
        if one_line:
            assert len(result.lines) == 1, text
        self.nothing_left()
        return text

    def nothing_left(self):
        assert not is_mounted(self.place)
        wait_until(lambda: not daemons_of(self.place), what="the process is gone")


@pytest.fixture
def attempt(who, sshd, area):
    return Attempt(who, sshd, area)


def test_unknown_host_name(attempt):
    attempt.fails(NETWORK, "nowhere.invalid", "check the name", args=attempt.args("x@nowhere.invalid:/"))


def test_closed_port(attempt, who):
    port = free_port()
    args = [a if a != attempt.sshd.port else port for a in attempt.args()]
    attempt.fails(NETWORK, "refused", "check that the server runs and listens on this port", args=args)


def test_server_that_is_no_ssh_server(attempt):
    server = DirectServer(argv=["/bin/echo", "220 mail.example ESMTP"])
    args = [a if a != attempt.sshd.port else server.port for a in attempt.args()]
    attempt.fails(NETWORK, "check that this is an SSH server", args=args)
    server.close()


def test_server_that_never_answers_is_given_up(attempt):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        args = attempt.args(extra=["-o", "ConnectTimeout=2"])
        args = [a if a != attempt.sshd.port else silent.getsockname()[1] for a in args]
        attempt.fails(NETWORK, "no SSH banner", "check that this is an SSH server, or raise -o banner_timeout", args=args,
                      timeout=30)


def test_wrong_key(attempt, area, who):
    key = keygen(area / "stranger", "ed25519")
    os.chown(key, who.uid, who.gid)
    attempt.fails(LOGIN, who.name, "check the user, and name the right key with IdentityFile",
                  args=attempt.args(IdentityFile=key, PreferredAuthentications="publickey", IdentitiesOnly="yes"))


def test_missing_key_file(attempt):
    attempt.fails(LOGIN, "'/nonexistent/key': No such file", "check IdentityFile",
                  args=attempt.args(IdentityFile="/nonexistent/key", PreferredAuthentications="publickey"))


def password_args(attempt, extra=()):
    return attempt.args(extra=extra, IdentityFile=None, PreferredAuthentications="password",
                        PubkeyAuthentication="no")


def test_wrong_password_on_stdin(attempt):
    attempt.fails(LOGIN, "(password)", "check the user and the password",
                  args=password_args(attempt, ["-o", "password_stdin"]), input=b"not the password\n")


def test_password_on_stdin_is_not_tried_for_ever(attempt):
    before = attempt.sshd.log_text().count("Failed password")
    attempt.fails(LOGIN, args=password_args(attempt, ["-o", "password_stdin"]), input=b"wrong\n")
    assert attempt.sshd.log_text().count("Failed password") - before <= 3


def test_no_password_on_stdin(attempt):
    attempt.fails(LOGIN, "no password on standard input; give it as the first line", args=password_args(attempt, ["-o", "password_stdin"]))


def test_password_without_a_terminal_is_refused(attempt):
    attempt.fails(LOGIN, "no terminal", "see password_stdin", args=password_args(attempt))


def test_wrong_password_on_the_terminal(attempt):
    text = attempt.fails(LOGIN, "password", args=password_args(attempt), one_line=False, run=run_on_terminal,
                         dialogue=[(b"password", b"s3cret-typo")] * 3)
    assert "s3cret-typo" not in text


def test_changed_host_key(attempt, area):
    other = keygen(area / "other_host", "ed25519")
    known = attempt.sshd.known_hosts("changed", keys=[other])
    for policy in ("yes", "accept-new", "no", "ask"):
        attempt.fails(HOST_KEY, "HAS CHANGED", "SHA256:", f"'{known}' line 1; if the server's owner confirms",
                      args=attempt.args(UserKnownHostsFile=known, StrictHostKeyChecking=policy))


@pytest.mark.parametrize("policy", ["yes", "ask", None])
def test_unknown_host_key_without_a_terminal(attempt, area, policy):
    attempt.fails(HOST_KEY, "SHA256:", "connect once with ssh", "-o host_key=", "StrictHostKeyChecking=accept-new",
                  args=attempt.args(UserKnownHostsFile=area / "none", StrictHostKeyChecking=policy))


def test_unknown_host_key_answered_no(attempt, area):
    attempt.fails(HOST_KEY, "SHA256:", one_line=False, run=run_on_terminal, dialogue=[(b"(yes/no", b"no")],
                  args=attempt.args(UserKnownHostsFile=area / "none", StrictHostKeyChecking="ask"))


def test_missing_remote_directory(attempt):
    attempt.remote = "/nonexistent/dir"
    attempt.fails(REMOTE, "/nonexistent/dir", "check what stands behind the colon")


def test_remote_directory_that_is_a_file(attempt):
    attempt.remote = "/etc/passwd"
    attempt.fails(REMOTE, "/etc/passwd", "not a directory", "choose the one that it is in")


def test_server_without_sftp(who, top, area, people):
    sshd = Sshd(top / f"nosftp-{who.name}", {"Subsystem": None, "ForceCommand": "/bin/false"}, people.values())
    try:
        attempt = Attempt(who, sshd, area)
        attempt.fails(REMOTE, "no sftp subsystem", "name its program with -o sftp_server",
                      args=attempt.args(extra=["-o", "transfer=sftp"]))
    finally:
        sshd.stop()


def test_direct_port_that_is_closed(attempt):
    attempt.fails(NETWORK, "listens on this port", args=["-o", f"directport={free_port()}", "127.0.0.1:/", attempt.place])


def test_direct_port_that_speaks_no_sftp(attempt):
    server = DirectServer(argv=["sh", "-c", "echo hello && exec cat >/dev/null"])  # a reset could overtake the word
    attempt.fails(REMOTE, "does not speak SFTP", "check what", args=["-o", f"directport={server.port}", "127.0.0.1:/", attempt.place])
    server.close()


def test_missing_mount_point(attempt):
    attempt.place = attempt.place / "none"
    attempt.fails(MOUNT_POINT, attempt.place, "create it first")


def test_mount_point_that_is_a_file(attempt, who):
    attempt.place = attempt.place / "file"
    attempt.place.touch()
    os.chown(attempt.place, who.uid, who.gid)
    attempt.fails(MOUNT_POINT, attempt.place, "choose another mount point")


def test_busy_mount_point(attempt, mounter, who, sshd):
    """Mounting over our own live mount is refused, and the first one lives on."""
    mount = mounter(who, sshd.target(who, "/tmp"), login_args(sshd, who))
    result = run_sftpfs(who, [*login_args(sshd, who), sshd.target(who, "/usr"), mount.dir])
    assert result.code == MOUNT_POINT and len(result.lines) == 1 and b"unmount it first" in result.err, result.err
    assert daemons_of(mount.dir) == [mount.pid]
    who.call(os.stat, mount.dir)


def test_unreadable_config(attempt, area):
    text = attempt.fails(USAGE, area / "none", "correct it", args=["-F", area / "none", *attempt.args()[2:]])
    assert not text.endswith(" \n"), text


def test_configuration_that_ssh_refuses(attempt, area):
    (area / "config").write_text("Host *\n  NoSuchKeyword x\n")
    attempt.fails(USAGE, area / "config", "nosuchkeyword", args=["-F", area / "config", *attempt.args()[2:]])


@pytest.mark.parametrize("server, words", [("nosuchsubsystem", "check -o sftp_server"),
                                           ("/nonexistent/server", "127")])
def test_sftp_server_that_does_not_run(attempt, server, words):
    attempt.fails(REMOTE, words, args=attempt.args(extra=["-o", f"sftp_server={server}", "-o", "transfer=sftp"]))


@pytest.mark.parametrize("port", ["0", "65536", "x", "", "22x", "-1"])
def test_bad_port(attempt, port):
    args = attempt.args()
    args[args.index("-p") + 1] = port
    attempt.fails(USAGE, port or "port", args=args)


@pytest.mark.parametrize("bad", ["nosuchoption", "cache_size=12abc", "dcache_timeout=x", "transfer=pigeon", "umask=9"])
def test_bad_option(attempt, bad):
    attempt.fails(USAGE, bad.split("=")[-1], args=attempt.args(extra=["-o", bad]))


def test_missing_arguments(attempt, who):
    for args in ([], ["host:"], ["nocolon", attempt.place]):
        result = run_sftpfs(who, args)
        assert result.code == USAGE and result.lines, result
    attempt.nothing_left()


def test_fuse_device_that_cannot_be_used(attempt, mounter):
    """allow_other by an ordinary user without user_allow_other is fusermount3's to refuse."""
    if attempt.who.uid == 0 or b"\nuser_allow_other" in open("/etc/fuse.conf", "rb").read():
        return  # root and such hosts are allowed: nothing to refuse
    attempt.fails(MOUNT_POINT, "allow_other", "check /dev/fuse, package fuse3 and /etc/fuse.conf",
                  args=attempt.args(extra=["-o", "allow_other"]))
