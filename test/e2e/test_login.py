"""Ways in that work: terminal, askpass, password, passphrase, a new host key, configuration file, a jump host, other
servers and byte pipes."""

import os
import pwd
import socket
import subprocess

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, run_on_terminal, run_sftpfs
from server import SFTP_SERVER, DirectServer, Sshd, keygen, kill_all
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


def test_askpass_is_asked_for_host_key_and_password(who, sshd, mounted, with_password, top):
    """Without a terminal, SSH_ASKPASS is; a host key is confirmed by "yes" on its output."""
    secret = with_password.password
    helper, asked = top / f"askpass-{who.name}", top / f"asked-{who.name}"
    helper.write_text(f'#!/bin/sh\necho "$1" >> {asked}\ncase $1 in *yes/no*) echo yes;; *) echo {secret};; esac\n')
    helper.chmod(0o755)
    asked.touch()
    os.chown(asked, who.uid, who.gid)
    mounted(login_args(sshd, who, **NO_KEY, UserKnownHostsFile=f"{who.home}/asked_hosts", StrictHostKeyChecking="ask"),
            login=with_password, secret=secret.encode(), env={"SSH_ASKPASS": str(helper), "DISPLAY": ":0"})
    assert "SHA256:" in asked.read_text() and "password" in asked.read_text()


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


def jump_config(who, sshd, area):
    config = area / "jump"
    config.write_text(f"Host *\n  IdentityFile {sshd.identity_for(who)}\n  UserKnownHostsFile /dev/null\n"
                      "  StrictHostKeyChecking no\n  LogLevel ERROR\n")
    return config


def test_jump_host_that_is_an_address(who, sshd, area, mounter):
    mount = mounter(who, f"{who.name}@localhost:/etc", ["-F", jump_config(who, sshd, area), "-p", sshd.port,
                                                        "-J", f"{who.name}@127.0.0.1:{sshd.port}"])
    assert who.call(os.path.exists, mount.dir / "passwd")


def test_relative_configuration_file_serves_the_reconnect(who, sshd, area):
    """The daemon works in /, and goes through the jump host again without a look at the file."""
    jump_config(who, sshd, area)
    place = area / "mnt"
    who.run(["mkdir", str(place)])
    who.run([os.environ["SFTPFS"], "-F", "jump", "-p", str(sshd.port), "-J", f"127.0.0.1:{sshd.port}",
             f"{who.name}@localhost:/etc", str(place)], cwd=area)
    try:
        (area / "jump").unlink()
        kill_all(sshd.session_pids())
        assert who.run(["cat", str(place / "passwd")]).stdout == open("/etc/passwd", "rb").read()
    finally:
        who.run(["fusermount3", "-u", str(place)], check=False)
    wait_until(lambda: not daemons_of(place), what="the daemon ends")


def test_variables_for_the_server(who, top, people, area, mounter):
    """What SetEnv and SendEnv say, as far as the server accepts it; a locale is not worth a round trip."""
    seen, server = area / "seen", area / "server"
    server.write_text(f"#!/bin/sh\nenv > {seen}.$$ && mv {seen}.$$ {seen}\nexec {SFTP_SERVER}\n")
    server.chmod(0o755)
    sshd = Sshd(top / f"env-{who.name}", {"AcceptEnv": "TEST_* LC_*", "Subsystem": f"sftp {server}"}, [who])
    try:
        mount = mounter(who, sshd.target(who, "/etc"), [
            *login_args(sshd, who), "-o", 'SetEnv=TEST_A="b  c" REFUSED=1', "-o", "SetEnv=ignored=", "-o",
            "SendEnv=TEST_S* LC_*", "-o", "SendEnv=TEST_T"],
            env={"TEST_S1": "1=1", "TEST_S2": "", "TEST_T": "t", "TEST_U": "u"})
        lines = set(seen.read_text().splitlines())
        assert {"TEST_A=b  c", "TEST_S1=1=1", "TEST_S2=", "TEST_T=t"} <= lines
        assert not {line.split("=")[0] for line in lines} & {"TEST_U", "REFUSED", "LC_ALL"}
        mount.umount()
    finally:
        sshd.stop()


def test_sftp_server_is_a_command(who, sshd, mounter, area):
    """-R: read-only, so that it is seen that this command ran and not the subsystem."""
    (area / "f").write_text("hello\n")
    mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", f"sftp_server={SFTP_SERVER} -R"])
    assert who.call((mount.dir / "f").read_bytes) == b"hello\n"
    assert who.run(["touch", str(mount.dir / "new")], check=False).returncode != 0


@pytest.mark.parametrize("word", ["passive", "slave"])
def test_passive_speaks_over_standard_input_and_output(who, area, mounter, word):
    place = mounter.place(who)
    ours, theirs = socket.socketpair()
    server = subprocess.Popen([SFTP_SERVER, "-e"], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([os.environ["SFTPFS"], "-o", word, ":/etc", str(place)], stdin=ours, stdout=ours,
                               stderr=subprocess.DEVNULL, **who.popen_args())
    ours.close()
    theirs.close()
    try:
        wait_until(lambda: is_mounted(place) or process.poll() is not None, what="mount")
        assert who.call((place / "passwd").read_bytes) == open("/etc/passwd", "rb").read()
    finally:
        who.run(["fusermount3", "-u", str(place)], check=False)
        assert process.wait(30) == 0
        assert server.wait(30) == 0


def test_idmap_user_shows_the_login_as_the_mounting_user(who, people, area, mounter):
    """The server's files belong to its login; here they are those of whoever mounted."""
    other = next((p for p in people.values() if p.uid != who.uid), None)
    if other is None:
        pytest.skip("a second account is known only when root made it")
    os.chown(area, other.uid, other.gid)
    server = DirectServer(other, cwd=str(area))
    try:
        mount = mounter.direct(who, server.port, "-o", "idmap=user", directory=area)
        who.run(["sh", "-c", "echo x > new && chown $(id -u):$(id -g) new"], cwd=mount.dir)
        seen = who.call(os.stat, mount.dir / "new")
        assert (seen.st_uid, seen.st_gid) == (who.uid, who.gid)
        real = os.stat(area / "new")
        assert (real.st_uid, real.st_gid) == (other.uid, other.gid)
        mount.umount()
    finally:
        server.close()


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
