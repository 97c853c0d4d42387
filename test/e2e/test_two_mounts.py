"""Two daemons on one directory, as two machines would have them: close-to-open, and what must be atomic between them; and a
daemon that is killed."""

import errno
import os
import time

import pytest

import rawsftp as fx
from conftest import login_args
from mount import run_sftpfs
from program import Program, errno_of
from test_commands import status
from test_outage import HANG
from test_reconnect import contents, write
from waiting import wait_until

pytestmark = pytest.mark.own_user


@pytest.fixture
def two(who, sshd, mounter, area):
    """(one, two): directories of two mounts of `area`."""
    mounts = [mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", "open_window=0"]) for _ in range(2)]
    return [mount.dir for mount in mounts]


def test_what_is_closed_here_is_read_there(who, two):
    """With open_window=0 the very next open sees it, 30 times, sizes growing, shrinking and staying; the reader has not
    written meanwhile, so its kernel believes what it was told before."""
    def to_and_fro():
        write(two[0] / "f", b"")
        for turn in range(30):
            data = b"%02d " % turn * (turn // 2 * 37 % 1000 + 1)
            writer = turn // 3 % 2
            write(two[writer] / "f", data)
            seen = contents(two[1 - writer] / "f")
            assert seen == data, (turn, len(seen), len(data), seen[:20], data[:20])

    who.call(to_and_fro)


def test_o_excl_has_one_winner_between_two_daemons(who, two):
    def try_all(place):
        won = []
        for i in range(60):
            try:
                os.close(os.open(place / f"lock{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won.append(i)
            except FileExistsError:
                pass
        return won

    programs = [Program(who, try_all, place) for place in two * 2]
    winners = sorted(i for program in programs for i in program.result(HANG))
    assert winners == list(range(60))


def test_mkdir_has_one_winner_between_two_daemons(who, two):
    def try_all(place):
        return [i for i in range(40) if errno_of(os.mkdir, place / f"lock{i}") == 0]

    programs = [Program(who, try_all, place) for place in two]
    assert sorted(i for program in programs for i in program.result(HANG)) == list(range(40))


@pytest.mark.parametrize("kind", ["create", "mkdir"])
def test_lock_that_another_took_meanwhile_is_not_ours(who, direct, mounter, relays, area, kind):
    """The connection is lost before the server sees the request; while it is lost, another machine makes the same lock."""
    relay = relays(direct.port, sftp=True)
    mount = mounter.direct(who, relay.port, directory=area)

    def lock(place):
        if kind == "mkdir":
            os.mkdir(place / "lock")
        else:
            os.close(os.open(place / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

    who.call(os.mkdir, mount.dir / "first")  # so it is known who we are there
    relay.command("refuse on")
    relay.command(f"cut-before-request {'MKDIR' if kind == 'mkdir' else 'OPEN'} 1")
    program = Program(who, errno_of, lock, mount.dir)
    relay.event()
    later = time.time() + 60
    who.call(lambda: (lock(area), os.utime(area / "lock", (later, later))))
    relay.command("refuse off")
    assert program.result(HANG) == errno.EEXIST


def append_records(place, name, count):
    for i in range(count):
        with open(place / "log", "ab", buffering=0) as f:
            f.write(b"%s %05d %s\n" % (name, i, b"x" * (i * 37 % 3000)))


def expected_records(names, count):
    return sorted(b"%s %05d %s" % (name, i, b"x" * (i * 37 % 3000)) for name in names for i in range(count))


def read_until(place, over):
    while not over.exists():
        contents(place / "log")


def test_o_append_is_atomic_between_two_daemons(who, two, area):
    """Also across pages, at which the kernel cuts a write(2), and while programs here look at the file."""
    (area / "log").touch()
    os.chown(area / "log", who.uid, who.gid)
    readers = [Program(who, read_until, place, area / "over") for place in two]
    programs = [Program(who, append_records, place, name, 100)
                for place, name in zip(two * 2, (b"a", b"b", b"c", b"d"))]
    for program in programs:
        program.result(HANG)
    (area / "over").touch()
    for program in readers:
        program.result(HANG)
    assert sorted((area / "log").read_bytes().splitlines()) == expected_records((b"a", b"b", b"c", b"d"), 100)


def test_server_that_ignores_append(who, scripted, mounter):
    """Many do not know FXF_APPEND: the data is put at the end that we know, never over what was there."""
    scripted.tree.entries[b"/log"] = b"first\n"
    mount = mounter.direct(who, scripted.port)
    who.call(append_records, mount.dir, b"a", 5)
    lines = scripted.tree.entries[b"/log"].splitlines()
    assert lines[0] == b"first" and sorted(lines[1:]) == expected_records((b"a",), 5)
    with_flag = [r for r in scripted.seen if r[0] == fx.TYPE_NAMES[fx.OPEN]]
    assert with_flag


@pytest.mark.parametrize("last", [41, 42], ids=["fsync", "close"])
def test_killed_daemon_loses_nothing_acknowledged(who, direct, mounter, relays, area, last):
    """What fsync or close had acknowledged is on the server after kill -9, in the moment when a WRITE does not get there;
    programs are let go, and the next mount over the dead mount point works."""
    told = os.pipe()
    relay = relays(direct.port, sftp=True)
    mount = mounter.direct(who, relay.port, directory=area)
    relay.command(f"stall-before-request WRITE {last}")

    def writer():
        kept = os.open(mount.dir / "kept", os.O_WRONLY | os.O_CREAT)
        for i in range(1000):
            if i % 2:
                write(mount.dir / f"closed{i}", b"content %d " % i * 500)
            else:
                os.pwrite(kept, b"%08d" % i, i * 4)
                os.fsync(kept)
            os.write(told[1], b"%08d" % i)

    program = Program(who, errno_of, writer)
    relay.event()
    wait_until(lambda: status(who, mount.dir)["kernel_requests"], what="the program waits")
    mount.process.kill()
    mount.process.wait()
    assert program.result(HANG) in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
    os.set_blocking(told[0], False)
    while True:
        try:
            acknowledged = int(os.read(told[0], 8))
        except BlockingIOError:
            break
    assert acknowledged == last - 2  # counted from 0, and the last one waits
    kept = (area / "kept").read_bytes()
    for i in range(acknowledged + 1):
        if i % 2:
            assert (area / f"closed{i}").read_bytes() == b"content %d " % i * 500
        else:
            assert kept[i * 4:i * 4 + 8] == b"%08d" % i
    result = run_sftpfs(who, ["-o", f"directport={direct.port}", f"127.0.0.1:{area}", mount.dir])
    if result.code:
        assert result.code == 7 and b"fusermount3 -u" in result.err, result
        who.run(["fusermount3", "-u", str(mount.dir)])
        mounter.direct(who, direct.port, directory=area, mountpoint=mount.dir)
    assert who.call(contents, mount.dir / "kept") == kept
    who.run(["fusermount3", "-u", str(mount.dir)])
    for end in told:
        os.close(end)
