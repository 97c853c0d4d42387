"""A server that sends short, long, reordered, duplicated and nonsensical bytes. The mount may fail calls with EIO or
end the connection; it may not crash, hang, or believe what cannot be."""

import errno
import os
import random
import threading

import pytest

import rawsftp as fx
from mount import run_sftpfs
from rawsftp import attrs, packet, string, u32
from scripted import Hangup, ScriptedServer

pytestmark = pytest.mark.own_user

TRIES = 20.0  # seconds a call may take before we call it a hang


def bounded(who, function, *args):
    """Run in a child that is killed when it takes too long: a hang is a failure, not a hang of the tests. Returns the
    errno of what it raised, 0 for none."""
    box = []

    def attempt():
        box.append(who.call(errno_of, function, *args))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(TRIES)
    assert box, f"{function.__name__} hangs"
    return box[0]


def errno_of(function, *args):
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return 0


def use_everything(m):
    """Every call that makes a request; what they return is not looked at."""
    def open_and(flags, *jobs):
        fd = os.open(m / "f", flags)
        try:
            for job in jobs:
                job(fd)
        finally:
            os.close(fd)

    for job in (lambda: os.listdir(m), lambda: os.lstat(m / "f"), lambda: os.readlink(m / "l"),
                lambda: open_and(os.O_RDONLY, lambda fd: os.pread(fd, 100_000, 0)),
                lambda: open_and(os.O_RDWR, lambda fd: os.pwrite(fd, b"y", 0), os.fsync, lambda fd: os.ftruncate(fd, 2)),
                lambda: os.statvfs(m), lambda: os.mkdir(m / "n"), lambda: os.rmdir(m / "n"),
                lambda: os.chmod(m / "f", 0o600), lambda: os.utime(m / "f", (1, 1)),
                lambda: os.rename(m / "f", m / "g"), lambda: os.rename(m / "g", m / "f"),
                lambda: os.symlink("t", m / "s"), lambda: os.link(m / "f", m / "h"), lambda: os.unlink(m / "f")):
        errno_of(job)


@pytest.fixture
def peer(scripted):
    scripted.tree.entries.update({b"/f": b"0123456789" * 100, b"/d": None, b"/l": "target"})
    return scripted


@pytest.fixture
def hostile(who, peer, mounter):
    """A mount whose daemon must survive the test. soft=: a lost server is an error and not a wait."""
    mount = mounter.direct(who, peer.port, "-o", "soft=0.5", "-o", "dir_cache=no")
    yield mount
    peer.ordinary()
    mount.check_alive()


NONSENSE = {
    "length 0": lambda r: u32(0),
    "length 4 GiB": lambda r: u32(0xFFFFFFFF) + b"x" * 100,
    "length 1": lambda r: u32(1) + bytes([fx.STATUS]),
    "no id": lambda r: packet(fx.STATUS, b"\0\0"),
    "unknown type": lambda r: packet(77, u32(r.id)),
    "a request": lambda r: packet(fx.OPEN, u32(r.id) + string("x") + u32(1) + u32(0)),
    "version again": lambda r: packet(fx.VERSION, u32(3)),
    "unknown id": lambda r: r.status(0, request_id=r.id + 1_000_000),
    "text too long": lambda r: packet(fx.STATUS, u32(r.id) + u32(4) + u32(0x7FFFFFFF)),
    "status without text": lambda r: packet(fx.STATUS, u32(r.id) + u32(4)),
    "empty handle": lambda r: r.handle(b""),
    "long handle": lambda r: r.handle(b"h" * 257),
    "huge data": lambda r: r.data(bytes(300_000)),
    "data length lies": lambda r: packet(fx.DATA, u32(r.id) + u32(0x7FFFFFFF) + b"x"),
    "empty data": lambda r: r.data(b""),
    "name count lies": lambda r: packet(fx.NAME, u32(r.id) + u32(0xFFFFFFFF) + string("x")),
    "no names": lambda r: r.names([]),
    "attributes cut": lambda r: packet(fx.ATTRS, u32(r.id) + u32(0xF) + b"\0"),
    "no attributes": lambda r: r.attrs(),
    "all attribute bits": lambda r: packet(fx.ATTRS, u32(r.id) + u32(0xFFFFFFFF) + bytes(64)),
    "extended attributes lie": lambda r: packet(fx.ATTRS, u32(r.id) + u32(0x80000000) + u32(0xFFFFFFFF)),
    "negative size": lambda r: r.attrs(size=1 << 63, mode=0o100644),
    "extended reply": lambda r: packet(fx.EXTENDED_REPLY, u32(r.id) + b"\xff" * 11),
    "end of file": lambda r: r.status(1),
    "success": lambda r: r.status(0),
    "twice": lambda r: r.server._plain(r) * 2,
    "bytes of noise": lambda r: random.Random(r.id).randbytes(3000),
}
KINDS = [fx.OPEN, fx.READ, fx.WRITE, fx.CLOSE, fx.LSTAT, fx.STAT, fx.FSTAT, fx.OPENDIR, fx.READDIR, fx.READLINK,
         fx.REALPATH, fx.MKDIR, fx.REMOVE, fx.SETSTAT, fx.FSETSTAT, b"statvfs@openssh.com",
         b"posix-rename@openssh.com", b"lsetstat@openssh.com", b"fsync@openssh.com"]
KIND_STEP = 5


@pytest.mark.parametrize("who", ["root"], indirect=True, scope="session")
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_as_answer_to_anything(who, peer, hostile, nonsense):
    """Some request types in turn get the nonsense (all of them over the whole list); afterwards the peer behaves, and
    the mount works again or says EIO."""
    first = list(NONSENSE).index(nonsense) % KIND_STEP  # each costs a reconnection
    for kind in KINDS[first::KIND_STEP]:
        peer.on(kind, once(NONSENSE[nonsense]))
        bounded(who, use_everything, hostile.dir)
        peer.ordinary()
        peer.tree.entries.update({b"/f": b"0123456789" * 100})
        hostile.check_alive()


def once(handler):
    """Only the first such request is answered badly: a peer that never stops would keep the mount reconnecting."""
    left = [1]

    def answer(request):
        if not left:
            return None
        left.pop()
        return handler(request)
    return answer


@pytest.mark.parametrize("name", [b"a/b", b"..", b".", b"", b"nul\0byte", b"/etc", b"../../etc/passwd", b"x" * 1025],
                         ids=lambda name: repr(name[:20]))
def test_hostile_names_are_not_listed(who, peer, hostile, name):
    peer.offered.append((b"/", name, attrs(size=1, uid=0, gid=0, mode=0o100644, mtime=1)))
    assert sorted(who.call(os.listdir, hostile.dir)) == ["d", "f", "l"]


def test_long_name_is_listed(who, peer, hostile):
    """Windows and ZFS servers have names of more than 255 bytes; a backup that does not see them loses them."""
    peer.offered.append((b"/", b"x" * 300, attrs(size=1, uid=0, gid=0, mode=0o100644, mtime=1)))
    assert "x" * 300 in who.call(os.listdir, hostile.dir)


def test_name_twice_in_a_listing_is_no_crash(who, peer, hostile):
    for _ in range(3):
        peer.offered.append((b"/", b"f", attrs(size=1, mode=0o100644, mtime=1)))
    assert "f" in who.call(os.listdir, hostile.dir)


def test_listing_that_never_ends(who, peer, hostile):
    """The peer sends the same names for ever; reading some of them must work and closing must end it."""
    def endless(r):
        return r.names([(b"n%d" % i, b"", attrs(size=0, mode=0o100644, mtime=1)) for i in range(50)])

    def first_ten(path):
        with os.scandir(path) as entries:
            for _ in range(10):
                next(entries, None)

    peer.on(fx.READDIR, endless)
    assert bounded(who, first_ten, hostile.dir) in (0, errno.EIO)


def test_read_short_answers_are_asked_again(who, peer, hostile):
    data = bytes(range(256)) * 20
    peer.tree.entries[b"/f"] = data

    def short(r):
        offset = r.rest.u64()
        return r.data(data[offset:offset + 7]) if offset < len(data) else r.status(fx.FX_EOF)

    peer.on(fx.READ, short)
    assert who.call(contents, hostile.dir / "f") == data


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def test_more_data_than_asked_is_never_shown(who, peer, hostile):
    peer.on(fx.READ, lambda r: r.data(b"Z" * (1 + r.rest.u64() * 0 + r.rest.u32())))
    assert bounded(who, contents, hostile.dir / "f") == errno.EIO


def test_replies_in_reverse_order(who, peer, hostile):
    """Answers may come in any order; the peer keeps back up to four and sends them last first."""
    data = os.urandom(2_000_000)
    peer.tree.entries[b"/f"] = data
    kept = []

    def keep(r):
        kept.append(peer._plain(r))
        if len(kept) < 4 and len(kept[-1]) > 1000 and r.server.count("READ") % 4:
            return b""
        answer = b"".join(reversed(kept))
        kept.clear()
        return answer

    peer.on(fx.READ, keep)
    thread = threading.Timer(TRIES / 2, peer.hang_up)  # a client with one request in flight would wait for ever
    thread.start()
    code = bounded(who, compare, hostile.dir / "f", data)
    thread.cancel()
    assert code in (0, errno.EIO)


def compare(path, data):
    assert contents(path) == data


def test_hangup_in_the_middle_of_a_packet(who, peer, hostile):
    def half(r):
        raise Hangup

    peer.on(fx.READ, once(half))
    bounded(who, use_everything, hostile.dir)


def test_version_answers_that_are_no_version(who, peer, area):
    """At mount time: exit 5, one line, no crash, whatever the first packet is."""
    for answer in (u32(0), packet(fx.VERSION, b"\0"), packet(fx.VERSION, u32(2)), packet(fx.STATUS, u32(0) + u32(4)),
                   packet(fx.VERSION, u32(3) + string("x")), u32(0xFFFFFFFF), b"SSH-2.0-OpenSSH_9.2\r\n" * 3,
                   packet(fx.VERSION, u32(3) + u32(0xFFFFFFF0))):
        peer.on(fx.INIT, lambda body, answer=answer: answer)
        result = run_sftpfs(who, ["-o", f"directport={peer.port}", "127.0.0.1:/", area])
        assert result.code == 5 and len(result.lines) == 1, (answer, result)


def test_server_without_any_extension(who, mounter):
    bare = ScriptedServer(extensions={})
    bare.tree.entries.update({b"/f": b"data", b"/d": None})
    mount = mounter.direct(who, bare.port)
    assert who.call(contents, mount.dir / "f") == b"data"
    assert bounded(who, os.rename, mount.dir / "f", mount.dir / "g") == 0
    assert bounded(who, os.link, mount.dir / "g", mount.dir / "h") in (errno.EPERM, errno.EOPNOTSUPP)
    assert bounded(who, os.statvfs, mount.dir) == 0
    mount.umount()
    bare.close()


def test_silent_peer_is_no_prison(who, peer, hostile):
    """Nothing is answered any more: calls give up after soft=, and the mount can be left."""
    for kind in KINDS:
        peer.on(kind, lambda r: b"")
    assert bounded(who, contents, hostile.dir / "f") in (errno.EIO, 0)
    peer.ordinary()
