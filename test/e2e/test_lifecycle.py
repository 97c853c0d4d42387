"""From start to end: what is in the foreground, in the background, and left behind (nothing)."""

import os
import re
import signal

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, run_sftpfs
from program import Program
from server import descendants
from waiting import wait_until

pytestmark = pytest.mark.own_user


def test_background_returns_when_mounted_and_ends_with_the_mount(who, sshd, area):
    result = run_sftpfs(who, [*login_args(sshd, who), sshd.target(who, "/etc"), area])
    try:
        assert result.code == 0 and result.err == b"", result
        assert is_mounted(area)
        (pid,) = daemons_of(area)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) != os.getsid(0)
        assert who.call(os.path.exists, area / "passwd")
    finally:
        who.run(["fusermount3", "-u", str(area)])
    wait_until(lambda: not daemons_of(area), what="the daemon ends")
    wait_until(lambda: not sshd.sftp_server_pids(), what="its server processes end")


def test_relative_mount_point_survives_the_background(who, sshd, area):
    target = area / "below"
    target.mkdir()
    os.chown(target, who.uid, who.gid)
    done = who.run([os.environ["SFTPFS"], *map(str, login_args(sshd, who)), sshd.target(who, "/etc"), "below"],
                   cwd=area)
    assert done.returncode == 0 and is_mounted(target)
    who.run(["fusermount3", "-u", str(target)])
    wait_until(lambda: not daemons_of("below"), what="the daemon ends")


def test_fusermount_ends_the_daemon_with_0(who, sshd, mounter):
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    assert who.call(os.path.exists, mount.dir / "passwd")
    start = len(sshd.log_text())
    mount.umount()
    assert not is_mounted(mount.dir)
    # SSH_MSG_DISCONNECT with reason 11, by application, and not a mere end of the connection
    wait_until(lambda: re.search(r"Received disconnect from 127\.0\.0\.1 port \d+:11: unmounted", sshd.log_text()[start:]),
               what="a goodbye in sshd's log")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_unmounts_and_ends_with_0(who, sshd, mounter, number):
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    who.call(os.listdir, mount.dir)
    mount.process.send_signal(number)
    mount.wait_ended()
    assert not is_mounted(mount.dir)


def test_signal_delivers_what_was_written(who, sshd, mounter, area):
    """Also what lies in a file that is still open, and would not be sent for a minute."""
    mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", "flush_age=60"])

    def write_and_hold():
        fd = os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * 100_000)
        os.kill(mount.pid, signal.SIGTERM)
        wait_until(lambda: not is_mounted(mount.dir))
        os.close(fd)

    Program(who, write_and_hold).wait()  # its close is told nothing good: the mount is gone
    mount.wait_ended()
    assert (area / "f").read_bytes() == b"x" * 100_000


def write_and_close(path):
    with open(path, "wb") as f:
        f.write(b"x" * 1_000_000)


def test_no_child_process_is_left(who, sshd, mounter):
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    below = descendants(mount.pid)
    mount.umount()
    wait_until(lambda: not [p for p in below if os.path.exists(f"/proc/{p}")], what="children end")


def test_two_mounts_of_one_directory(who, sshd, mounter, area):
    one = mounter(who, sshd.target(who, area), login_args(sshd, who))
    two = mounter(who, sshd.target(who, area), login_args(sshd, who))
    who.call(write_and_close, one.dir / "f")
    assert wait_until(lambda: who.call(os.path.exists, two.dir / "f") and
                      who.call(os.path.getsize, two.dir / "f") == 1_000_000)


def test_umount_right_after_mount_many_times(who, direct, mounter):
    for _ in range(10):
        mounter.direct(who, direct.port).umount()
    wait_until(lambda: not direct.alive(), what="server processes end")


def test_version_and_help(who):
    for option, word in (("-V", b"sftpfs"), ("--version", b"sftpfs"), ("-h", b"directport"), ("--help", b"directport")):
        result = run_sftpfs(who, [option])
        assert result.code == 0 and word in (result.out + result.err).lower()


def test_dead_mount_point_can_be_mounted_again(who, sshd, mounter):
    """kill -9 leaves a dead mount; after the unmount that the message asks for, everything works again."""
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    mount.process.kill()
    mount.process.wait()
    result = run_sftpfs(who, [*login_args(sshd, who), sshd.target(who, "/etc"), mount.dir])
    if result.code == 0:
        assert who.call(os.path.exists, mount.dir / "passwd")
        who.run(["fusermount3", "-u", str(mount.dir)])
        wait_until(lambda: not daemons_of(mount.dir), what="the daemon ends")
    else:
        assert result.code == 7 and b"fusermount3 -u" in result.err, result
    if is_mounted(mount.dir):
        who.run(["fusermount3", "-u", str(mount.dir)])
    again = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who), mountpoint=mount.dir)
    assert who.call(os.path.exists, again.dir / "passwd")
