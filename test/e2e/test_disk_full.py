"""Data that cannot be written or read: nobody is told that all is well, and what is cured works again."""

import errno
import os
import subprocess

import pytest

import rawsftp as fx
from conftest import login_args
from program import Program, errno_of
from waiting import wait_until

pytestmark = pytest.mark.own_user

MIB = 1 << 20
HANG = 60.0


@pytest.fixture
def small_disk(area, who, sshd, mounter):
    """A mount of a remote filesystem of 16 MiB: (mount, the same on the server)."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = area / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=16m,uid={who.uid},gid={who.gid},mode=755", "tmpfs", disk],
                   check=True)
    mount = mounter(who, sshd.target(who, disk), login_args(sshd, who))
    yield mount, disk
    mount.discard()
    subprocess.run(["umount", "-l", disk], check=False)


def copy(who, source, target):
    return Program(who, lambda: subprocess.run(["cp", source, target], capture_output=True, check=False))


def test_full_remote_disk(who, small_disk, area):
    """Six copies of 5 MiB at once, where three fit: those that say 0 are whole, the others say ENOSPC. Then it is cured."""
    mount, disk = small_disk
    sources = [area / f"source{i}" for i in range(6)]
    for source in sources:
        source.write_bytes(os.urandom(5 * MIB))
    copies = [copy(who, source, mount.dir / source.name) for source in sources]
    results = [program.result(HANG) for program in copies]
    for source, result in zip(sources, results):
        if result.returncode == 0:
            assert (disk / source.name).read_bytes() == source.read_bytes()
        else:
            assert b"No space left on device" in result.stderr, result
    assert any(r.returncode == 0 for r in results) or all(r.returncode for r in results)
    assert sum(r.returncode != 0 for r in results) >= 3
    for source in sources:
        who.call(os.unlink, mount.dir / source.name)
    for source in sources[:2]:
        assert copy(who, source, mount.dir / source.name).result(HANG).returncode == 0
        assert (disk / source.name).read_bytes() == source.read_bytes()


def test_one_after_the_other_until_it_is_full(who, small_disk, area):
    mount, disk = small_disk
    source = area / "source"
    source.write_bytes(os.urandom(3 * MIB + 17))
    codes = [copy(who, source, mount.dir / f"copy{i}").result(HANG).returncode for i in range(8)]
    assert codes[:4] == [0] * 4 and codes[-1] != 0
    for i, code in enumerate(codes):
        assert code or (disk / f"copy{i}").read_bytes() == source.read_bytes()


# --- errors that only a scripted server has ---

@pytest.fixture
def peer(who, scripted, mounter):
    scripted.tree.entries.update({b"/f": b"0123456789" * 100_000, b"/d": None})
    mount = mounter.direct(who, scripted.port)
    yield scripted, mount
    scripted.ordinary()


def failing(status, text="no", good=0):
    """The first `good` are done, the others fail."""
    left = [good]

    def answer(request):
        left[0] -= 1
        return None if left[0] >= 0 else request.status(status, text)
    return answer


def every_descriptor(path, ways):
    """Three descriptors of one file write; each then ends in its own way. The errno that each has seen, 0 for none."""
    fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in ways]
    seen = [errno_of(os.pwrite, fd, b"x" * 50_000, i * 50_000) for i, fd in enumerate(fds)]
    for i, way in enumerate(ways):
        if way == "fsync":
            seen[i] = seen[i] or errno_of(os.fsync, fds[i])
        elif way == "write":
            for _ in range(1000):  # until the answer has come
                seen[i] = seen[i] or errno_of(os.pwrite, fds[i], b"y", i * 50_000)
                if seen[i]:
                    break
    for i, fd in enumerate(fds):
        code = errno_of(os.close, fd)
        seen[i] = seen[i] or code
    return seen


@pytest.mark.parametrize("status, text, code", [
    (14, "no", errno.ENOSPC), (15, "no", errno.EDQUOT), (4, "Disk quota exceeded", errno.EDQUOT),
    (4, "File too large", errno.EFBIG), (12, "no", errno.EROFS), (3, "no", errno.EACCES), (4, "Failure", errno.EIO)])
def test_every_descriptor_that_wrote_is_told(who, peer, status, text, code):
    server, mount = peer
    server.on(fx.WRITE, failing(status, text))
    assert who.call(every_descriptor, mount.dir / "f", ["close", "fsync", "close"]) == [code] * 3


def test_failure_in_the_middle_is_told(who, peer):
    """The first WRITEs are done: the file is longer, and no success is reported."""
    server, mount = peer

    def fill():
        fd = os.open(mount.dir / "new", os.O_WRONLY | os.O_CREAT)
        first = errno_of(lambda: [os.write(fd, bytes(32768)) for _ in range(40)])
        return first or errno_of(os.fsync, fd), errno_of(os.close, fd)

    server.on(fx.WRITE, failing(4, "Failure", good=5))
    said, _ = who.call(fill)
    assert said == errno.EIO
    server.ordinary()
    assert who.call(fill) == (0, 0)


def test_descriptor_that_only_reads_is_told_nothing(who, peer):
    server, mount = peer

    def both():
        reader, writer = os.open(mount.dir / "f", os.O_RDONLY), os.open(mount.dir / "f", os.O_WRONLY)
        os.write(writer, b"x")
        return errno_of(os.close, writer), errno_of(os.close, reader)

    server.on(fx.WRITE, failing(14))
    assert who.call(both) == (errno.ENOSPC, 0)


def test_failed_fsync_is_told(who, peer):
    server, mount = peer

    def sync():
        fd = os.open(mount.dir / "f", os.O_WRONLY)
        os.write(fd, b"x")
        try:
            return errno_of(os.fsync, fd)
        finally:
            os.close(fd)

    server.on(b"fsync@openssh.com", failing(4, "Failure"))
    assert who.call(sync) == errno.EIO


def test_read_error_is_no_end_of_file(who, peer, area):
    """A copy that stops where READ fails does not end with success."""
    server, mount = peer
    server.on(fx.READ, lambda r: r.status(4, "Failure") if fx.Reader(r.rest.data).u64() >= 65536 else None)
    result = copy(who, mount.dir / "f", area / "copy").result(HANG)
    assert result.returncode != 0 and b"Input/output error" in result.stderr
    server.ordinary()
    assert copy(who, mount.dir / "f", area / "copy").result(HANG).returncode == 0
    assert (area / "copy").read_bytes() == b"0123456789" * 100_000


def test_mapped_pages_that_cannot_be_read_are_sigbus(who, peer):
    server, mount = peer

    def touch():
        import mmap
        fd = os.open(mount.dir / "f", os.O_RDONLY)
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)[500_000]

    server.on(fx.READ, lambda r: r.status(4, "Failure"))
    program = Program(who, touch)
    assert os.WTERMSIG(program.wait(HANG)) == 7
    server.ordinary()
    assert who.call(touch) == ord("0")


def test_space_that_comes_back(who, peer):
    """The same descriptor goes on when the server has room again; what it is told is told once."""
    server, mount = peer

    def on_and_on(pipe_in, pipe_out):
        fd = os.open(mount.dir / "f", os.O_WRONLY)
        os.write(fd, b"first")
        seen = [errno_of(os.fsync, fd)]
        os.write(pipe_out, b".")
        os.read(pipe_in, 1)
        os.write(fd, b"later")
        return [*seen, errno_of(os.fsync, fd), errno_of(os.close, fd)]

    server.on(fx.WRITE, failing(14))
    cured, full = os.pipe(), os.pipe()
    program = Program(who, on_and_on, cured[0], full[1])
    wait_until(lambda: program.ended() or select_in(full[0]))
    server.ordinary()
    os.write(cured[1], b".")
    assert program.result(HANG) == [errno.ENOSPC, 0, 0]
    assert server.tree.entries[b"/f"][5:10] == b"later"
    for end in (*cured, *full):
        os.close(end)


def select_in(fd):
    import select
    return select.select([fd], [], [], 0)[0]
