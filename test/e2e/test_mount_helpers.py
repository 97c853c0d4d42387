"""mount(8), fstab, units and maps: sftpfs called by the name mount.TYPE."""

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, sftpfs_binary
from server import in_namespace
from waiting import wait_until

pytestmark = [pytest.mark.own_user, pytest.mark.parametrize("who", ["root"], indirect=True)]

MANUAL = Path(__file__).resolve().parents[2] / "man" / "sftpfs.1"


@pytest.fixture
def helper(who, top, sshd, area, mounter):
    """A type of this run's own: mount(8) finds its helpers in /sbin only."""
    name = f"sftpfs{os.getpid()}"
    links = [Path("/usr/sbin") / kind for kind in (f"mount.{name}", f"mount.fuse.{name}", name)]
    for link in links:
        link.symlink_to(sftpfs_binary())
    place = mounter.place(who)
    (area / "f").write_text("hello\n")
    arguments = [str(a) for a in login_args(sshd, who)]
    values = [arguments[i + 1] for i, a in enumerate(arguments) if a == "-o"]
    words = ",".join([*values, f"Port={sshd.port}"])  # -F and -p have no place among mount's options
    yield SimpleNamespace(type=name, place=place, words=words, source=f"{who.name}@127.0.0.1:{area}")
    if is_mounted(place):
        subprocess.run(["umount", "-l", str(place)], check=False)
    for link in links:
        link.unlink()


def run(*argv):
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=60, check=False)


def good(helper, *argv):
    done = run(*argv)
    assert done.returncode == 0, done.stderr
    assert (helper.place / "f").read_text() == "hello\n"
    assert run("umount", helper.place).returncode == 0
    wait_until(lambda: not is_mounted(helper.place), what="unmount")


@pytest.mark.parametrize("prefix", ["", "fuse."])
def test_mount_by_type(helper, who, prefix):
    good(helper, "mount", "-t", prefix + helper.type, "-o", helper.words, helper.source, helper.place)


def test_a_line_of_fstab(helper, who, top):
    words = f"noauto,x-systemd.automount,_netdev,nofail,users,rw,{helper.words}"
    fstab = top / f"fstab-{helper.place.name}"
    fstab.write_text(f"{helper.source} {helper.place} fuse.{helper.type} {words} 0 0\n")
    good(helper, "mount", "-T", fstab, helper.place)


def test_a_user_mounts_what_fstab_lets_him(helper, who, top, people, sshd):
    """`users`: mount(8), setuid, reads only /etc/fstab, which is another one in a namespace of its own."""
    user = people["user"]
    os.chown(helper.place, user.uid, user.gid)
    words = helper.words.replace(str(sshd.identity_for(who)), str(sshd.identity_for(user)))
    fstab = top / f"fstab-{helper.place.name}"
    fstab.write_text(f"{user.name}@127.0.0.1:/etc {helper.place} fuse.{helper.type} noauto,users,{words} 0 0\n")
    command = f'mount "{helper.place}" && cat "{helper.place}/passwd" && umount "{helper.place}"'
    done = run(*in_namespace('mount --bind "$0" /etc/fstab && su -s /bin/sh "$1" -c "$2"', str(fstab), user.name, command))
    assert done.returncode == 0 and done.stdout == Path("/etc/passwd").read_text(), done
    wait_until(lambda: not daemons_of(helper.place), what="the daemon ends")


def test_old_form_through_mount_fuse(helper, who, top):
    """`program#host:dir` with type fuse: mount.fuse3 looks for the program in the system's directories."""
    good(helper, "mount", "-t", "fuse3", "-o", helper.words, f"{helper.type}#{helper.source}", helper.place)


def test_autofs_calls_it_sloppy(helper, who):
    """automount(8) runs mount -n -s, and what is unknown is let pass."""
    good(helper, "mount", "-n", "-s", "-t", f"fuse.{helper.type}", "-o", f"{helper.words},nonsense=1", helper.source,
         helper.place)


def test_unknown_option_is_an_error_otherwise(helper, who):
    done = run("mount", "-t", f"fuse.{helper.type}", "-o", f"{helper.words},nonsense=1", helper.source, helper.place)
    assert done.returncode != 0 and "nonsense" in done.stderr
    assert not is_mounted(helper.place)


def test_fake_mount_does_nothing(helper, who):
    assert run("mount", "-f", "-t", f"fuse.{helper.type}", "-o", helper.words, helper.source, helper.place).returncode == 0
    assert not is_mounted(helper.place)


def test_remount_says_what_to_do(helper, who):
    words = ("mount", "-t", f"fuse.{helper.type}", "-o", helper.words, helper.source, helper.place)
    assert run(*words).returncode == 0
    done = run("mount", "-t", f"fuse.{helper.type}", "-o", "remount,ro", helper.source, helper.place)
    assert done.returncode != 0 and "unmount" in done.stderr
    assert (helper.place / "f").read_text() == "hello\n"
    assert run("umount", helper.place).returncode == 0


def test_units_of_the_manual_are_units(who, top):
    """systemd's own parser has nothing to say about them."""
    text = MANUAL.read_text()
    parts = re.split(r"^# (mnt-srv\.\w+)\n", text[text.index("# mnt-srv.mount"):], flags=re.M)
    directory = top / "units"
    directory.mkdir(exist_ok=True)
    for name, body in zip(parts[1::2], parts[2::2]):
        (directory / name).write_text(body.split("\n.Ed")[0] + "\n")
    for name in ("mnt-srv.mount", "mnt-srv.automount"):
        done = run("systemd-analyze", "verify", "--man=no", directory / name)
        about = [line for line in done.stderr.splitlines() if "mnt-srv" in line]
        assert about == [], done.stderr
