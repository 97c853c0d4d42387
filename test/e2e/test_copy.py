"""copy_file_range: the server copies, and what a program sees is what a local disk shows."""

import errno
import mmap
import os
import random
import signal
import threading

import pytest

import rawsftp as fx
from mount import options
from program import Program, errno_of
from scripted import OPENSSH_EXTENSIONS

pytestmark = pytest.mark.own_user

# Only who may signal and look at whom depends on the user.
once = pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")

MIB = 1 << 20
LONG_AGO = 1_600_000_000
COPY = b"copy-data"
OP_UNSUPPORTED = 8


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    os.utime(path, (LONG_AGO, LONG_AGO))


def bytes_of(seed, size):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def far(who, area, direct, relays, mounter):
    """(mount, relay, directory on the server) with a relay that counts."""
    base = area / "base"
    who.call(os.mkdir, base)
    relay = relays(direct.port, delay=2, sftp=True)
    return mounter.direct(who, relay.port, directory=base), relay, base


def copy_range(source, target, count, off_in, off_out, size=None):
    """As cp does: until nothing more is copied. Return: how much was."""
    with open(source, "rb", buffering=0) as i, open(target, "r+b", buffering=0) as o:
        if size is not None:
            os.ftruncate(o.fileno(), size)
        done = 0
        while done < count:
            n = os.copy_file_range(i.fileno(), o.fileno(), count - done, off_in + done, off_out + done)
            if n == 0:
                break
            done += n
    return done


@once
@pytest.mark.parametrize("tool", [["cp"], ["cp", "-a"], ["cp", "--sparse=always"]], ids=" ".join)
def test_cp_of_256_mib_moves_no_bytes(who, far, tool):
    """less than 1 MB on the wire, at most 10 round trips; holes are zeros (a server knows no holes)"""
    mount, relay, base = far
    sparse = "--sparse=always" in tool
    with open(base / "big", "wb") as f:  # cp looks for holes where fewer blocks are than bytes, and there only
        for mib in range(1, 2 if sparse else 256, 50):
            f.seek(mib * MIB + 1234)
            f.write(bytes_of(mib, 100_000))
        f.truncate((4 if sparse else 256) * MIB)
    os.utime(base / "big", (LONG_AGO, LONG_AGO))
    who.call(os.listdir, mount.dir)
    relay.command("reset")
    who.run([*tool, str(mount.dir / "big"), str(mount.dir / "copy")])
    stats = relay.stats()
    who.run(["cmp", str(base / "big"), str(base / "copy")])
    if sparse:
        return  # it reads, to see where zeros are
    assert stats["requests"].get("WRITE", 0) == 0
    assert stats["round_trips"] <= 10
    assert stats["up_bytes"] + stats["down_bytes"] < MIB
    assert (os.stat(base / "copy").st_mtime == LONG_AGO) == ("-a" in tool)


@once
def test_any_range_is_what_a_local_disk_makes_of_it(who, far, area):
    """sizes and offsets around pages and ends: holes, nothing beyond the source's end, the target's rest as it was"""
    mount, _, base = far
    local = area / "local"
    local.mkdir()
    os.chown(local, who.uid, who.gid)
    chance = random.Random(7)
    edges = (0, 1, 511, 4095, 4096, 4097, 70_000, 299_999, 300_000, 300_001, 500_000)
    ranges = [(chance.choice(edges), chance.choice(edges), chance.choice(edges)) for _ in range(40)]

    def work():
        for top in (local, mount.dir):
            write(top / "from", bytes_of(1, 300_000))
            write(top / "to", bytes_of(2, 100_000))
        for off_in, off_out, count in ranges:
            args = count, off_in, off_out, chance.choice((None, None, 0, 50_000, 400_000))
            done = [copy_range(top / "from", top / "to", *args) for top in (local, mount.dir)]
            assert done[0] == done[1], args
            want = (local / "to").read_bytes()
            assert (mount.dir / "to").read_bytes() == want, args
            assert (base / "to").read_bytes() == want, args
        assert (base / "from").read_bytes() == bytes_of(1, 300_000)
    who.call(work)


@once
def test_same_file(who, far):
    """ranges that overlap are EINVAL, others are copied; also of two descriptors and two names"""
    mount, _, base = far

    def work():
        top = mount.dir
        write(top / "f", bytes_of(3, 300_000))
        os.link(top / "f", top / "other name")
        want = bytearray(bytes_of(3, 300_000))
        for one, two in (("f", "f"), ("f", "other name")):
            assert errno_of(copy_range, top / one, top / two, 1000, 100, 500) == errno.EINVAL
            assert errno_of(copy_range, top / one, top / two, 1000, 500, 100) == errno.EINVAL
            assert copy_range(top / one, top / two, 100_000, 0, 150_000) == 100_000
            assert copy_range(top / one, top / two, 10_000, 200_000, 300_000) == 10_000  # behind its end
            want[150_000:250_000] = want[:100_000]
            want[300_000:310_000] = want[200_000:210_000]
            assert (top / "f").read_bytes() == want
            assert (base / "f").read_bytes() == want
        fd = os.open(top / "f", os.O_RDWR)
        assert os.copy_file_range(fd, fd, 5000, 0, 6000) == 5000
        os.close(fd)
        want[6000:11_000] = want[:5000]
        assert (top / "f").read_bytes() == want
    who.call(work)


@once
def test_descriptors_that_must_not_copy(who, far):
    mount, _, _ = far

    def work():
        write(mount.dir / "a", b"a" * 300_000)
        write(mount.dir / "b", b"b" * 300_000)

        def between(flags_in, flags_out):
            i, o = os.open(mount.dir / "a", flags_in), os.open(mount.dir / "b", flags_out)
            try:
                return errno_of(os.copy_file_range, i, o, 1000, 0, 0)
            finally:
                os.close(i)
                os.close(o)
        assert between(os.O_WRONLY, os.O_WRONLY) == errno.EBADF
        assert between(os.O_RDONLY, os.O_RDONLY) == errno.EBADF
        assert between(os.O_RDONLY, os.O_WRONLY | os.O_APPEND) == errno.EBADF
        assert (mount.dir / "b").read_bytes() == b"b" * 300_000
    who.call(work)


@once
def test_what_was_not_sent_yet_is_copied(who, far, mounter, relays, direct):
    """the source's bytes that only this mount has, and its new size; the target's that are older lose, newer win"""
    _, _, base = far
    mount = mounter.direct(who, direct.port, *options(flush_age=60), directory=base)

    def work():
        write(base / "from", b"-" * 300_000)
        write(base / "to", b"=" * 1_000_000)
        with open(mount.dir / "from", "r+b", buffering=0) as i, open(mount.dir / "to", "r+b", buffering=0) as o:
            i.seek(250_000)
            i.write(b"new" * 50_000)  # the file grows by 100,000
            o.write(b"older" * 1000)
            assert (base / "from").read_bytes() == b"-" * 300_000
            assert os.copy_file_range(i.fileno(), o.fileno(), 1_000_000, 200_000, 0) == 200_000
            o.seek(100_000)
            o.write(b"newer" * 1000)
            assert os.pread(o.fileno(), 300_000, 0) == want[:300_000]
        assert (base / "to").read_bytes() == want

    want = bytearray(b"-" * 50_000 + b"new" * 50_000 + b"=" * 800_000)
    want[100_000:105_000] = b"newer" * 1000
    who.call(work)


@once
def test_pages_of_the_target_are_replaced(who, far):
    """what the kernel has cached of the target is not shown afterwards, on no descriptor and in no mapping"""
    mount, relay, base = far

    def work():
        write(base / "from", bytes_of(4, 400_000))
        write(base / "to", bytes_of(5, 400_000))
        want = bytearray(bytes_of(5, 400_000))
        want[10_001:310_001] = bytes_of(4, 400_000)[5000:305_000]
        with open(mount.dir / "to", "rb") as seen, mmap.mmap(seen.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert seen.read() == bytes_of(5, 400_000) == mapped[:]
            assert copy_range(mount.dir / "from", mount.dir / "to", 300_000, 5000, 10_001) == 300_000
            assert os.pread(seen.fileno(), 400_000, 0) == want
            assert mapped[:] == want
        assert (mount.dir / "to").read_bytes() == want

    who.call(work)
    assert relay.stats()["requests"].get("WRITE", 0) == 0


@once
def test_reflink_is_not_claimed(who, far):
    """cp --reflink=always says that it cannot be done; auto copies"""
    mount, _, base = far
    who.call(write, base / "f", bytes_of(6, 500_000))
    always = who.run(["cp", "--reflink=always", str(mount.dir / "f"), str(mount.dir / "g")], check=False)
    assert always.returncode != 0 and b"Operation not supported" in always.stderr
    who.run(["cp", "--reflink=auto", str(mount.dir / "f"), str(mount.dir / "h")])
    assert (base / "h").read_bytes() == bytes_of(6, 500_000)


@once
def test_between_two_mounts(who, far, direct, mounter):
    """two connections cannot copy for each other: the kernel reads and writes, or says EXDEV and cp does"""
    mount, relay, base = far
    who.call(lambda: (os.mkdir(base / "other"), write(base / "f", bytes_of(8, 700_000))) and None)
    other = mounter.direct(who, direct.port, directory=base / "other")
    relay.command("reset")
    who.run(["cp", str(mount.dir / "f"), str(other.dir / "f")])
    assert (base / "other" / "f").read_bytes() == bytes_of(8, 700_000)
    assert who.call(errno_of, copy_range, mount.dir / "f", other.dir / "f", 1000, 0, 0) in (0, errno.EXDEV)
    assert "EXTENDED" not in relay.stats()["requests"]  # which copy-data would be


# --- servers that are made for it -------------------------------------------------------------------------------------

@pytest.fixture
def made(scripted, mounter, who):
    """(mount, server) of a server with copy-data, two files on it, the second one read through the mount."""
    scripted.extensions = {**OPENSSH_EXTENSIONS, "copy-data": b"1"}
    scripted.tree.entries[b"/from"] = bytes_of(9, 600_000)
    scripted.tree.entries[b"/to"] = bytes_of(10, 600_000)

    def copy(request):
        off_in, length = request.rest.u64(), request.rest.u64()
        handle, off_out = request.rest.string(), request.rest.u64()
        old = scripted.tree.entries[scripted.handles[request.path][0]]
        path = scripted.handles[handle][0]
        with scripted._lock:
            new = bytearray(scripted.tree.entries[path])
            new[off_out:off_out + length] = old[off_in:off_in + length]
            scripted.tree.entries[path] = bytes(new)
        return request.status(fx.FX_OK)

    scripted.copy = copy
    scripted.on(COPY, copy)
    return mounter.direct(who, scripted.port), scripted


@once
@pytest.mark.parametrize("answer", ["not offered", "unsupported", "failure", "end of file"])
def test_read_and_written_where_the_server_does_not_copy(who, made, mounter, answer):
    """the program sees a copy all the same"""
    mount, server = made
    if answer == "not offered":
        server.extensions = OPENSSH_EXTENSIONS
        mount = mounter.direct(who, server.port)
    else:
        code = {"unsupported": OP_UNSUPPORTED, "failure": fx.FX_FAILURE, "end of file": fx.FX_EOF}[answer]
        server.on(COPY, lambda request: request.status(code, "no"))
    assert who.call(copy_range, mount.dir / "from", mount.dir / "to", 500_000, 1000, 2000) == 500_000
    want = bytearray(bytes_of(10, 600_000))
    want[2000:502_000] = bytes_of(9, 600_000)[1000:501_000]
    assert server.tree.entries[b"/to"] == want
    assert who.call((mount.dir / "to").read_bytes) == want
    assert server.count("WRITE") > 0


@once
def test_a_full_disk_is_told(who, made):
    """a copy that fails for a reason is not tried in another way"""
    mount, server = made
    server.on(COPY, lambda request: request.status(fx.FX_FAILURE, "No space left on device"))
    assert who.call(errno_of, copy_range, mount.dir / "from", mount.dir / "to", 500_000, 1000, 2000) == errno.ENOSPC
    assert server.count("WRITE") == 0


class Slow:
    """A server that copies when it is told to."""

    def __init__(self, server):
        self.server, self.asked, self.go, self.done = server, threading.Event(), threading.Event(), threading.Event()
        server.on(COPY, self)

    def __call__(self, request):
        self.asked.set()
        self.go.wait(60)
        answer = self.server.copy(request)
        self.done.set()
        return answer


def copy_as_cp(*args):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which Python handles, and what is handled does not show
    copy_range(*args)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_cp_can_be_killed(who, made, number):
    """It is gone while the server still copies. What the server does then is what the next open shows, whatever the
    kernel's pages hold; others are served meanwhile."""
    mount, server = made
    slow = Slow(server)
    assert who.call((mount.dir / "to").read_bytes) == bytes_of(10, 600_000)
    try:
        copier = Program(who, copy_as_cp, mount.dir / "from", mount.dir / "to", 600_000, 0, 0)
        assert slow.asked.wait(20)
        who.call(os.stat, mount.dir / "from")
        copier.kill(number)
        copier.wait(20)
        assert not slow.done.is_set()
    finally:
        slow.go.set()
    assert slow.done.wait(20)
    assert who.call((mount.dir / "to").read_bytes) == bytes_of(9, 600_000)
    assert who.call((mount.dir / "to").read_bytes) == bytes_of(9, 600_000)


@once
def test_a_write_after_a_killed_copy_wins(who, made):
    """what is written after the program is gone waits for the slice that the server still copies"""
    mount, server = made
    slow = Slow(server)
    copier = Program(who, copy_range, mount.dir / "from", mount.dir / "to", 600_000, 0, 0)
    assert slow.asked.wait(20)
    copier.kill()
    copier.wait(20)

    def overwrite():
        with open(mount.dir / "to", "r+b") as f:
            f.write(b"newer")
    writer = Program(who, overwrite)
    slow.go.set()
    writer.result()
    assert server.tree.entries[b"/to"] == b"newer" + bytes_of(9, 600_000)[5:]
