"""SFTP folds errors into few codes; programs must get the errno a local filesystem gives."""

import errno
import os
import subprocess

import pytest

import rawsftp as fx
from conftest import login_args
from test_basics import raises, write


def test_enoent(who, mnt, srv):
    for call in (os.stat, os.listdir, os.unlink, os.rmdir, os.readlink):
        raises(errno.ENOENT, call, mnt / "none")
    raises(errno.ENOENT, os.open, mnt / "none", os.O_RDWR)
    raises(errno.ENOENT, os.mkdir, mnt / "none" / "d")


def test_enotdir_when_a_parent_is_a_file(who, mnt, srv):
    write(mnt / "f", b"")
    raises(errno.ENOTDIR, os.stat, mnt / "f" / "x")
    raises(errno.ENOTDIR, os.listdir, mnt / "f")
    raises(errno.ENOTDIR, os.rmdir, mnt / "f")


def test_eloop(who, mnt, srv):
    os.symlink("b", mnt / "a")
    os.symlink("a", mnt / "b")
    raises(errno.ELOOP, os.stat, mnt / "a")
    raises(errno.ELOOP, os.open, mnt / "a", os.O_RDONLY)


def test_eexist(who, mnt, srv):
    os.mkdir(mnt / "d")
    write(mnt / "f", b"")
    raises(errno.EEXIST, os.mkdir, mnt / "d")
    raises(errno.EEXIST, os.mkdir, mnt / "f")
    raises(errno.EEXIST, os.symlink, "x", mnt / "f")
    raises(errno.EEXIST, os.link, mnt / "f", mnt / "d")
    raises(errno.EEXIST, os.open, mnt / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_eexist_of_a_name_that_appeared_behind_our_back(who, mnt, srv):
    raises(errno.ENOENT, os.stat, mnt / "d")
    raises(errno.ENOENT, os.stat, mnt / "f")
    os.mkdir(srv / "d")
    write(srv / "f", b"")
    raises(errno.EEXIST, os.mkdir, mnt / "d")
    raises(errno.EEXIST, os.open, mnt / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_enotempty_and_eisdir(who, mnt, srv):
    os.mkdir(mnt / "d")
    write(srv / "d" / "f", b"")
    raises(errno.ENOTEMPTY, os.rmdir, mnt / "d")
    raises(errno.EISDIR, os.unlink, mnt / "d")
    raises(errno.EISDIR, os.open, mnt / "d", os.O_WRONLY)


def test_eacces_and_eperm(who, mnt, srv):
    write(mnt / "f", b"")
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", srv / "f"], check=False)  # root is refused nothing else; not on every fs
        try:
            if b"i" in subprocess.run(["lsattr", srv / "f"], capture_output=True).stdout.split(b" ")[0]:
                raises(errno.EPERM, os.chmod, mnt / "f", 0o600)
        finally:
            subprocess.run(["chattr", "-i", srv / "f"], check=False)
        return
    os.chmod(mnt / "f", 0)
    raises(errno.EACCES, os.open, mnt / "f", os.O_RDONLY)
    raises(errno.EPERM, os.chown, mnt / "f", 0, 0)
    os.mkdir(mnt / "d")
    write(mnt / "d" / "f", b"")
    os.chmod(mnt / "d", 0o500)
    raises(errno.EACCES, os.unlink, mnt / "d" / "f")
    raises(errno.EACCES, os.mkdir, mnt / "d" / "new")
    raises(errno.EACCES, os.rename, mnt / "d" / "f", mnt / "d" / "g")
    os.chmod(mnt / "d", 0o700)


def test_enametoolong(who, mnt, srv):
    for length in (256, 300):
        raises(errno.ENAMETOOLONG, os.mkdir, mnt / ("n" * length))
        raises(errno.ENAMETOOLONG, os.stat, mnt / ("n" * length))
        raises(errno.ENAMETOOLONG, os.open, mnt / ("n" * length), os.O_CREAT | os.O_WRONLY)


def test_einval_of_readlink(who, mnt, srv):
    write(mnt / "f", b"")
    raises(errno.EINVAL, os.readlink, mnt / "f")


def test_wrong_direction_of_a_descriptor_is_ebadf(who, mnt, srv):
    write(mnt / "f", b"x")
    fd = os.open(mnt / "f", os.O_RDONLY)
    raises(errno.EBADF, os.write, fd, b"y")
    os.close(fd)


@pytest.fixture
def small_disks(top, sshd, who, mounter):
    """A mount of a directory that holds two tmpfs of 1 MiB and a read-only one. Only root can make these."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    base = top / f"disks-{who.name}"
    made = []
    for name, opts in (("one", "size=1m,nr_inodes=40"), ("two", "size=1m"), ("ro", "size=1m,ro")):
        (base / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{opts},uid={who.uid},gid={who.gid},mode=755", "tmpfs",
                        base / name], check=True)
        made.append(base / name)
    mount = mounter(who, sshd.target(who, base), login_args(sshd, who))
    yield mount
    mount.discard()
    for directory in made:
        subprocess.run(["umount", "-l", directory], check=False)


def test_exdev_between_server_filesystems(who, small_disks):
    m = small_disks.dir
    write(m / "one" / "f", b"x")
    raises(errno.EXDEV, os.rename, m / "one" / "f", m / "two" / "f")
    raises(errno.EXDEV, os.link, m / "one" / "f", m / "two" / "f")
    who.run(["mv", str(m / "one" / "f"), str(m / "two" / "f")])
    assert os.listdir(m / "one") == [] and os.listdir(m / "two") == ["f"]


def test_erofs(who, small_disks):
    m = small_disks.dir
    raises(errno.EROFS, os.mkdir, m / "ro" / "d")
    raises(errno.EROFS, os.open, m / "ro" / "f", os.O_CREAT | os.O_WRONLY)


def test_enospc_of_data_is_reported_and_cured(who, small_disks):
    target = small_disks.dir / "two" / "big"

    def fill(size):
        fd = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            for _ in range(size // 65536):
                os.write(fd, bytes(65536))
            os.fsync(fd)
        finally:
            os.close(fd)

    raises(errno.ENOSPC, fill, 4 << 20)
    os.unlink(target)
    fill(512 << 10)
    assert os.stat(target).st_size == 512 << 10


def test_enospc_of_inodes(who, small_disks):
    def fill():
        for i in range(100):
            write(small_disks.dir / "one" / f"n{i}", b"")

    raises(errno.ENOSPC, fill)


# --- every status for every request, from a peer that says what we want ---

STATUS = {
    2: errno.ENOENT, 3: errno.EACCES, 4: errno.EIO, 5: errno.EINVAL, 7: errno.EIO, 8: errno.EOPNOTSUPP, 9: errno.EBADF,
    10: errno.ENOENT, 11: errno.EEXIST, 12: errno.EROFS, 13: errno.ENOMEDIUM, 14: errno.ENOSPC, 15: errno.EDQUOT,
    16: errno.EINVAL, 17: errno.EAGAIN, 18: errno.ENOTEMPTY, 19: errno.ENOTDIR, 20: errno.EINVAL, 21: errno.ELOOP,
    22: errno.EPERM, 23: errno.EINVAL, 24: errno.EISDIR, 1: errno.EIO, 99: errno.EIO,
}


def read_it(m):
    fd = os.open(m / "f", os.O_RDONLY)
    try:
        return os.pread(fd, 10, 0)
    finally:
        os.close(fd)


def write_it(m):
    fd = os.open(m / "f", os.O_WRONLY)
    try:
        os.pwrite(fd, b"x", 0)
        os.fsync(fd)
    finally:
        os.close(fd)


# name: (packet types or extensions that fail, call, what differs from STATUS; None: not tested)
REQUESTS = {
    "open": ((fx.OPEN,), lambda m: os.close(os.open(m / "f", os.O_RDWR)), {2: None, 10: None}),
    "read": ((fx.READ,), read_it, {2: errno.EBADF, 1: None, 10: None}),
    "write": ((fx.WRITE,), write_it, {2: errno.EBADF, 10: None}),
    "opendir": ((fx.OPENDIR,), lambda m: os.listdir(m / "d"), {2: None, 10: None}),
    "mkdir": ((fx.MKDIR,), lambda m: os.mkdir(m / "new"), {}),
    "rmdir": ((fx.RMDIR,), lambda m: os.rmdir(m / "d"), {}),
    "unlink": ((fx.REMOVE,), lambda m: os.unlink(m / "f"), {}),
    "rename": ((b"posix-rename@openssh.com", fx.RENAME), lambda m: os.rename(m / "f", m / "g"), {}),
    "symlink": ((fx.SYMLINK,), lambda m: os.symlink("t", m / "new"), {8: errno.EPERM}),
    "link": ((b"hardlink@openssh.com",), lambda m: os.link(m / "f", m / "new"), {3: errno.EPERM, 8: errno.EPERM}),
    "readlink": ((fx.READLINK,), lambda m: os.readlink(m / "l"), {2: None, 10: None}),
    "chmod": ((b"lsetstat@openssh.com", fx.SETSTAT, fx.FSETSTAT), lambda m: os.chmod(m / "f", 0o600),
              {3: errno.EPERM}),
}


@pytest.mark.own_user
@pytest.mark.parametrize("request_name", REQUESTS)
def test_status_to_errno(who, scripted, mounter, request_name):
    """One call fails with the errno of the status; the next one works: nothing is remembered, nobody is dropped."""
    kinds, call, differs = REQUESTS[request_name]
    scripted.tree.entries.update({b"/f": b"0123456789", b"/d": None, b"/l": "target"})
    mount = mounter.direct(who, scripted.port, "-o", "dir_cache=no")
    wrong = []
    for status, code in STATUS.items():
        code = differs.get(status, code)
        if code is None:
            continue
        for kind in kinds:
            scripted.on(kind, lambda r, status=status: r.status(status, "no"))
        got = who.call(errno_of, call, mount.dir)
        if got != code:
            wrong.append(f"status {status}: {errno.errorcode.get(got, got)}, not {errno.errorcode[code]}")
        scripted.ordinary()
    assert not wrong, "\n".join(wrong)
    assert who.call(errno_of, lambda m: os.stat(m / "f") and None, mount.dir) == 0


def errno_of(call, m):
    try:
        call(m)
    except OSError as error:
        return error.errno
    return 0


@pytest.mark.own_user
def test_quota_in_the_text_is_edquot(who, scripted, mounter):
    scripted.on(fx.MKDIR, lambda r: r.status(4, "Disk quota exceeded"))
    mount = mounter.direct(who, scripted.port)
    assert who.call(errno_of, lambda m: os.mkdir(m / "d"), mount.dir) == errno.EDQUOT
