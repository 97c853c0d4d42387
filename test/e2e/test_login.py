"""Ways in that work: terminal, password, passphrase, a new host key, ssh_command, configuration file."""

import os
import pwd

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, run_on_terminal, run_sftpfs
from server import Sshd, keygen
from waiting import wait_until

pytestmark = pytest.mark.own_user


@pytest.fixture
def mounted(who, sshd, area):
    """Try a mount in the background; it must be there, and the given words must not be in what was said."""
    def attempt(args, login=who, run=run_sftpfs, secret=None, **kwargs):
        result = run(who, [*args, sshd.target(login, "/etc"), area], **kwargs)
        try:
            assert result.code == 0, result.err
            assert is_mounted(area)
            assert who.call(os.path.exists, area / "passwd")
            if secret:
                assert secret not in result.err
                for pid in daemons_of(area):
                    assert secret not in open(f"/proc/{pid}/cmdline", "rb").read()
                    assert secret not in open(f"/proc/{pid}/environ", "rb").read()
        finally:
            who.run(["fusermount3", "-u", str(area)], check=False)
        wait_until(lambda: not daemons_of(area), what="the daemon ends")
        return result
    return attempt


@pytest.fixture
def with_password(people):
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    return people["user"]


NO_KEY = {"IdentityFile": None, "PubkeyAuthentication": "no", "PreferredAuthentications": "password"}


def test_password_on_stdin(who, sshd, mounted, with_password):
    secret = with_password.password.encode()
    mounted([*login_args(sshd, who, **NO_KEY), "-o", "password_stdin"], login=with_password, secret=secret,
            input=secret + b"\n")


def test_password_on_the_terminal(who, sshd, mounted, with_password):
    secret = with_password.password.encode()
    mounted(login_args(sshd, who, **NO_KEY), login=with_password, secret=secret, run=run_on_terminal,
            dialogue=[(b"password", secret)])


def test_password_typed_right_at_the_second_time(who, sshd, mounted, with_password):
    secret = with_password.password.encode()
    mounted(login_args(sshd, who, **NO_KEY), login=with_password, secret=secret, run=run_on_terminal,
            dialogue=[(b"password", b"typo"), (b"password", secret)])


def test_passphrase_on_the_terminal(who, sshd, mounted, top):
    key = keygen(top / f"locked-{who.name}", "ed25519", "open sesame")
    os.chown(key, who.uid, who.gid)
    with open(sshd.authorized, "a") as f:
        f.write(open(f"{key}.pub").read())
    mounted(login_args(sshd, who, IdentityFile=key, IdentitiesOnly="yes"), secret=b"open sesame", run=run_on_terminal,
            dialogue=[(b"passphrase", b"open sesame")])


def test_unknown_host_key_answered_yes_is_kept(who, sshd, mounted):
    known = f"{who.home}/new_known_hosts"
    args = login_args(sshd, who, UserKnownHostsFile=known, StrictHostKeyChecking="ask")
    result = mounted(args, run=run_on_terminal, dialogue=[(b"(yes/no", b"yes")])
    assert b"SHA256:" in result.err
    mounted(login_args(sshd, who, UserKnownHostsFile=known))


def test_accept_new_asks_nothing_and_keeps_the_key(who, sshd, mounted):
    known = f"{who.home}/accepted"
    mounted(login_args(sshd, who, UserKnownHostsFile=known, StrictHostKeyChecking="accept-new"))
    mounted(login_args(sshd, who, UserKnownHostsFile=known))


def test_configuration_file_is_read(who, sshd, area, mounter):
    config = area / "config"
    config.write_text(f"Host short\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {who.name}\n"
                      f"  IdentityFile {sshd.identity_for(who)}\n  UserKnownHostsFile {sshd.known_hosts()}\n")
    mount = mounter(who, "short:/etc", ["-F", config])
    assert who.call(os.path.exists, mount.dir / "passwd")


def test_ssh_command_is_the_byte_pipe(who, sshd, mounter):
    command = (f"ssh -F /dev/null -o IdentityFile={sshd.identity_for(who)} "
               f"-o UserKnownHostsFile={sshd.known_hosts()} -o BatchMode=yes")
    mount = mounter(who, sshd.target(who, "/etc"), ["-p", sshd.port, "-o", f"ssh_command={command}"])
    assert who.call(os.path.exists, mount.dir / "passwd")


def test_home_directory_when_no_directory_is_given(who, sshd, mounter):
    mount = mounter(who, f"{who.name}@127.0.0.1:", login_args(sshd, who))
    home = pwd.getpwnam(who.name).pw_dir
    assert sorted(who.call(os.listdir, mount.dir)) == sorted(who.call(os.listdir, home))


def test_one_session_channel_is_enough(who, top, people, mounter, area):
    sshd = Sshd(top / f"one-{who.name}", {"MaxSessions": "1"}, people.values())
    try:
        mount = mounter(who, sshd.target(who, area), login_args(sshd, who))
        who.run(["sh", "-c", "head -c 9000000 /dev/urandom > big && cp big copy && cmp big copy"], cwd=mount.dir)
        mount.umount()
    finally:
        sshd.stop()
