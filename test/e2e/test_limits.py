"""What a server or its user has not without end: handles, sessions, memory here, names looked up."""

import errno
import os
import re
import signal
from pathlib import Path

import pytest

from conftest import anybody
from program import Program, errno_of
from rawsftp import FX_FAILURE, OPEN, OPENDIR
from server import SFTP_SERVER, DirectServer
from test_commands import status
from test_reconnect import write
from waiting import wait_until

pytestmark = pytest.mark.own_user

HANG = 60.0
MIB = 1 << 20
LOOKUPS = int(os.environ.get("SFTPFS_LOOKUPS", "40000"))
ENTRIES = int(os.environ.get("SFTPFS_ENTRIES", "20000"))  # more than are ever cached


@pytest.fixture(params=["openssh", "scripted"])
def few_handles(request, who, scripted, mounter, area):
    """A server process that cannot hold 30 handles, and tells so, or one that has 20 and does not; a mount of 60 files."""
    server = DirectServer(who, ["prlimit", "--nofile=32:32", SFTP_SERVER, "-e"])

    def limited(request):
        with request.server._lock:
            full = len(request.server.handles) >= 20
        return request.status(FX_FAILURE, "Failure") if full else None

    for i in range(60):
        write(area / f"f{i}", b"content of file %02d\n" % i)
        os.chown(area / f"f{i}", who.uid, who.gid)
        scripted.tree.entries[b"/f%d" % i] = b"content of file %02d\n" % i
    scripted.on(OPEN, limited)
    scripted.on(OPENDIR, limited)
    mount = mounter.direct(who, server.port, directory=area) if request.param == "openssh" else \
        mounter.direct(who, scripted.port)
    mount.limit = request.param
    yield mount
    wait_until(lambda: not scripted.handles, what="every handle is closed")  # not by the end of the connection
    mount.umount()
    server.close()


def open_all(mount, flags=os.O_RDONLY):
    return [os.open(mount.dir / f"f{i}", flags) for i in range(60)]


def test_more_files_open_than_the_server_has_handles(who, few_handles):
    """60 files stay open and are read in turn, another is written, a directory is listed: idle handles are given back."""
    def use():
        fds = open_all(few_handles)
        for _ in range(2):
            for i, fd in enumerate(fds):
                assert os.pread(fd, 100, 0) == b"content of file %02d\n" % i
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert len(os.listdir(few_handles.dir)) == 60
        write(few_handles.dir / "new", b"x" * 100)
        assert os.path.getsize(few_handles.dir / "new") == 100
        for fd in fds:
            os.close(fd)

    who.call(use)


@pytest.mark.parametrize("few_handles", ["openssh"], indirect=True)
def test_file_whose_handle_was_given_back_can_be_removed_and_replaced(who, few_handles):
    def use():
        fds = open_all(few_handles)
        for fd in fds:
            os.pread(fd, 100, 0)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.unlink(few_handles.dir / "f0")
        os.rename(few_handles.dir / "f1", few_handles.dir / "f2")
        for i in range(3):
            assert os.pread(fds[i], 100, 0) == b"content of file %02d\n" % i

    who.call(use)


def test_handles_that_cannot_be_given_back(who, few_handles):
    """Files that are open for writing keep theirs: the program is told that there are too many, and what is open goes on."""
    def use():
        fds, code = [], 0
        while not code and len(fds) < 60:
            code = errno_of(lambda: fds.append(os.open(few_handles.dir / f"f{len(fds)}", os.O_RDWR)))
        for i, fd in enumerate(fds):
            os.pwrite(fd, b"CONTENT", 0)
            os.close(fd)
        texts = [open(few_handles.dir / f"f{i}", "rb").read() for i in range(len(fds))]
        return code, len(fds), all(text.startswith(b"CONTENT of file") for text in texts)

    code, count, whole = Program(who, use).result(HANG)
    assert code == (errno.ENFILE if few_handles.limit == "openssh" else errno.EIO)
    assert 15 < count < 30 and whole


def resident(pid, what="VmRSS"):
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


@anybody
def test_fast_writer_and_stopped_server_stay_within_the_budget(who, direct, mounter, area):
    """200 MiB are written to a server that takes nothing: the writer waits, the daemon keeps no more than it may."""
    budget = 16 * MIB
    mount = mounter.direct(who, direct.port, "-o", f"cache_size={budget}", directory=area)
    data = os.urandom(MIB) * 200
    fds = os.pipe()

    def slow_start():
        fd = os.open(mount.dir / "big", os.O_WRONLY | os.O_CREAT)
        os.write(fds[1], b".")
        for i in range(200):
            os.write(fd, data[i * MIB:(i + 1) * MIB])
        os.close(fd)

    program = Program(who, slow_start)
    assert os.read(fds[0], 1) == b"."
    direct.signal_all(signal.SIGSTOP)
    try:
        before = status(who, mount.dir)["written_bytes"]
        wait_until(lambda: status(who, mount.dir)["cached_bytes"] > budget / 2, what="the budget is used")
        seen = [status(who, mount.dir) for _ in range(20)]
        assert all(one["cached_bytes"] <= budget + 2 * MIB for one in seen), seen[-1]
        assert not program.ended() and seen[-1]["written_bytes"] - before < 100 * MIB
        if "ASAN_OPTIONS" not in os.environ:
            assert resident(mount.pid) < 6 * budget
    finally:
        direct.signal_all(signal.SIGCONT)
    program.result(HANG)
    assert (area / "big").read_bytes() == data


@anybody
def test_lookups_without_end(who, direct, mounter, area):
    """Of names that are not there: what is remembered of them is bounded. SFTPFS_LOOKUPS=1000000 takes a few minutes."""
    # A listing would answer all of them.
    mount = mounter.direct(who, direct.port, "-o", "dcache_dir_timeout=0,negative_timeout=600", directory=area)

    def look(first, count):
        for i in range(first, first + count):
            os.path.exists(mount.dir / f"no-such-name-{i}")

    who.call(look, 0, 20_000)  # more than are remembered
    before = resident(mount.pid, "VmHWM")
    who.call(look, 20_000, LOOKUPS)
    state = status(who, mount.dir)
    assert state["requests"]["lstat"] >= LOOKUPS
    assert state["nodes"] < 100
    if "ASAN_OPTIONS" not in os.environ:  # which keeps what was freed
        assert resident(mount.pid, "VmHWM") - before < 4 * MIB
    assert who.call(os.listdir, mount.dir) == []


@anybody
def test_names_that_the_kernel_forgets_are_forgotten(who, direct, mounter, area):
    """A node lives as long as the kernel knows it: many files, made and removed, leave none behind."""
    mount = mounter.direct(who, direct.port, directory=area)

    def make_and_remove():
        for i in range(2000):
            write(mount.dir / f"f{i}", b"x")
        for i in range(2000):
            os.unlink(mount.dir / f"f{i}")

    who.call(make_and_remove)
    wait_until(lambda: status(who, mount.dir)["nodes"] < 100, what="the nodes are gone")


@anybody
def test_huge_directory_streams(who, direct, mounter, area):
    """A directory of more entries than are cached: every name once. With SFTPFS_ENTRIES=200000 all of them would be 38 MB."""
    names = {f"a-name-of-some-length-{i:06d}" for i in range(ENTRIES)}

    def fill():
        for name in names:
            os.close(os.open(area / name, os.O_CREAT | os.O_WRONLY))

    who.call(fill)
    mount = mounter.direct(who, direct.port, directory=area)

    def look():
        seen = [entry.name for entry in os.scandir(mount.dir)]
        return len(seen), set(seen) == names

    assert who.call(look) == (ENTRIES, True)
    assert status(who, mount.dir)["cached_bytes"] < MIB
    if "ASAN_OPTIONS" not in os.environ:
        assert resident(mount.pid, "VmHWM") < 32 * MIB
