"""-o delay_connect: mount first, connect with the first use."""

import errno
import os

import pytest

from conftest import login_args
from server import Sshd

pytestmark = pytest.mark.own_user


def error_of(who, function, *args):
    try:
        who.call(function, *args)
    except AssertionError as e:
        return str(e)
    return ""


def test_mount_waits_for_its_first_use(who, top, people, area, mounter):
    """The server is down at the mount; a use fails; when it is up the next use succeeds."""
    sshd = Sshd(top / f"delayed-{who.name}", users=people.values())
    (area / "f").write_text("hello\n")
    try:
        sshd.stop()
        mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", "delay_connect,idmap=user"])
        assert f"Errno {errno.EIO}" in error_of(who, os.listdir, mount.dir)
        sshd.start()
        assert who.call(os.listdir, mount.dir) == ["f"]
        assert who.call((mount.dir / "f").read_text) == "hello\n"
        who.call((mount.dir / "new").write_text, "new\n")
        assert (area / "new").read_text() == "new\n"
        assert who.call(os.stat, mount.dir / "new").st_uid == who.uid
        mount.umount()
    finally:
        sshd.stop()


def test_nobody_is_asked_before_the_first_use(who, top, people, area, mounter):
    sshd = Sshd(top / f"unasked-{who.name}", users=people.values())
    try:
        mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", "delay_connect"])
        mount.umount()
        assert "Accepted" not in sshd.log_text()
    finally:
        sshd.stop()


def test_relative_directory_starts_at_the_login_directory(who, top, people, sshd, mounter):
    mount = mounter(who, f"{who.name}@127.0.0.1:", [*login_args(sshd, who), "-o", "delay_connect"])
    who.call((mount.dir / ".sftpfs-delayed").write_text, "x")
    assert who.call(os.path.exists, mount.dir / ".sftpfs-delayed")
    who.call(os.unlink, mount.dir / ".sftpfs-delayed")


def test_missing_directory_shows_at_the_first_use(who, sshd, area, mounter):
    mount = mounter(who, sshd.target(who, area / "nowhere"), [*login_args(sshd, who), "-o", "delay_connect"])
    assert f"Errno {errno.EIO}" in error_of(who, os.listdir, mount.dir)
    (area / "nowhere").mkdir()
    assert who.call(os.listdir, mount.dir) == []
