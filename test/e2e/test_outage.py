"""The network falls silent or the server is gone: what still works, what waits, and who can leave."""

import errno
import multiprocessing
import os
import re
import signal
import time

import pytest

from conftest import login_args
from mount import is_mounted, run_sftpfs
from program import Program, errno_of
from test_commands import status
from test_reconnect import QUICK, connected, contents, write
from waiting import wait_until

pytestmark = pytest.mark.own_user

HANG = 60.0


class Outage:
    """A mount through a relay that can be turned into a black hole; `base` is what it shows."""

    def __init__(self, mount, relay, base):
        self.mount, self.relay, self.base, self.dir = mount, relay, base, mount.dir

    def begin(self):
        self.relay.command("stall on")

    def end(self):
        self.relay.command("stall off")


@pytest.fixture(params=["ssh", "pipe"])
def outage(request, who, sshd, direct, mounter, relays, area):
    """By ssh with a limit of 2 s of silence, and over a byte pipe."""
    for i in range(60):
        write(area / f"f{i}", b"content %d\n" % i)
    for i in range(8):
        place = area / f"sub{i}"
        place.mkdir()
        os.chown(place, who.uid, who.gid)
    relay = relays(sshd.port if request.param == "ssh" else direct.port)
    if request.param == "ssh":
        mount = mounter(who, sshd.target(who, area), login_args(sshd, who, port=relay.port, **QUICK))
    else:
        mount = mounter.direct(who, relay.port, directory=area)
    made = Outage(mount, relay, area)
    yield made
    made.end()


def waiting(who, outage):
    return status(who, outage.dir)["kernel_requests"]


def blocked(who, outage, count, function, *args):
    """Programs that wait for the server. Changes in one directory wait for each other in the kernel, before they ask us."""
    before = waiting(who, outage)
    programs = [Program(who, errno_of, function, *[a(i) if callable(a) else a for a in args]) for i in range(count)]
    wait_until(lambda: waiting(who, outage) >= before + count, what=f"{count} requests wait")
    return programs


def in_sub(outage, name, first=0):
    return lambda i: outage.dir / f"sub{first + i}" / name


def test_what_waits_goes_on_when_the_network_is_back(who, outage):
    outage.begin()
    programs = blocked(who, outage, 5, contents, lambda i: outage.dir / f"f{i}") + \
        blocked(who, outage, 5, write, in_sub(outage, "w", 3), b"written")
    making = blocked(who, outage, 3, os.mkdir, in_sub(outage, "d"))
    outage.end()
    for program in programs:
        assert program.result(HANG) == 0
    codes = {program.result(HANG) for program in making}
    # On a slow machine the loss is noticed, and what the old server makes much later may be another's.
    assert codes <= ({0, errno.EEXIST} if "connection lost" in outage.mount.log_text() else {0})
    for i in range(5):
        assert (outage.base / f"sub{3 + i}/w").read_bytes() == b"written"


@pytest.mark.parametrize("outage", ["ssh"], indirect=True)
def test_silent_network_is_noticed(who, outage):
    """After ServerAliveInterval times ServerAliveCountMax the connection is given up; a new one goes on."""
    outage.begin()
    program, = blocked(who, outage, 1, contents, outage.dir / "f0")
    wait_until(lambda: status(who, outage.dir)["state"] == "connecting", HANG, what="the loss is noticed")
    assert "has not answered for" in outage.mount.log_text() and not program.ended()
    outage.relay.command("cut")
    outage.end()
    assert program.result(HANG) == 0
    assert connected(who, outage.mount)


def test_byte_pipe_asks_the_machine_behind_it(who, direct, mounter, area):
    """A busy server process cannot be told from a dead network by asking it, but its kernel answers: within 15 s."""
    mount = mounter.direct(who, direct.port, directory=area)
    shown = who.run(["ss", "-tnoH", "dport", "=", f":{direct.port}"]).stdout.decode()
    timers = re.findall(r"timer:\(keepalive,(\d+)(sec|\.)", shown)
    assert timers and all(int(seconds) <= 15 for seconds, _ in timers), shown
    mount.umount()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_programs_go_while_the_network_is_dead(who, outage, number):
    """Also those in the middle of a change; nothing has come back when they are gone."""
    names = [in_sub(outage, "d")(i) for i in range(2)] + [in_sub(outage, "new", 2)(i) for i in range(2)]
    who.call(lambda: [os.path.exists(name) for name in names])  # the kernel knows: it will ask for the change at once
    outage.begin()
    programs = blocked(who, outage, 2, contents, lambda i: outage.dir / f"f{i}") + \
        blocked(who, outage, 2, os.mkdir, in_sub(outage, "d")) + \
        blocked(who, outage, 2, write, in_sub(outage, "new", 2), b"x") + \
        blocked(who, outage, 1, os.listdir, outage.dir / "sub5")
    for program in programs:
        program.kill(number)
    for program in programs:
        assert os.WTERMSIG(program.wait(10)) == number
    assert waiting(who, outage) == 0


def test_cached_data_is_served_beside_50_blocked_programs(who, outage):
    def cached():
        return contents(outage.dir / "f7"), os.stat(outage.dir / "f8").st_size, len(os.listdir(outage.dir))

    expected = who.call(cached)
    holder, hold = os.pipe(), os.pipe()

    def hold_open():
        fd = os.open(outage.dir / "f7", os.O_RDONLY)
        os.pread(fd, 100, 0)
        os.write(hold[1], b".")
        os.read(holder[0], 1)
        return os.pread(fd, 100, 0), os.stat(outage.dir / "f8").st_size, len(os.listdir(outage.dir))

    program = Program(who, hold_open)
    assert os.read(hold[0], 1) == b"."
    outage.begin()
    crowd = blocked(who, outage, 50, contents, lambda i: outage.dir / "sub0" / f"missing{i}")
    os.write(holder[1], b".")
    assert program.result(10) == expected
    assert not any(one.ended() for one in crowd)
    outage.end()
    assert {one.result(HANG) for one in crowd} == {errno.ENOENT}
    for end in (*holder, *hold):
        os.close(end)


@pytest.mark.parametrize("how", ["stalled", "lost"])
def test_neighbours_do_not_hang(who, direct, mounter, relays, area, how):
    """ls of the parent directory, which looks at every mount point there, and df of all mounts, or of this one, which it
    opens: they are told what was known last, however old that is."""
    write(area / "f0", b"content")
    relay = relays(direct.port)
    outage = Outage(mounter.direct(who, relay.port, "-o", "dcache_dir_timeout=1", directory=area), relay, area)
    before = who.run(["df", str(outage.dir)]).stdout
    if how == "stalled":
        outage.begin()
    else:
        relay.command("refuse on")
        relay.command("cut")
    waits, = blocked(who, outage, 1, contents, outage.dir / "f0")
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() > begin + 2, what="everything that was cached has expired")
    for _ in range(2):
        listed = who.run(["ls", "-la", str(outage.dir.parent)], timeout=30).stdout.decode()
        assert outage.dir.name in listed
        after = who.run(["df", str(outage.dir)], timeout=30).stdout
        assert after.split()[-5:-3] == before.split()[-5:-3]  # the sizes
        wait_until(lambda: status(who, outage.dir)["kernel_requests"] >= 1)
    assert not waits.ended()
    waits.kill()
    outage.end()
    relay.command("refuse off")


@pytest.mark.parametrize("how", ["fusermount3", "lazy", "sftpfs"])
def test_mount_can_be_left_while_the_network_is_dead(who, outage, how):
    """Nothing was written, so nothing is kept back; blocked programs were killed first, or are answered (lazy)."""
    outage.begin()
    program, = blocked(who, outage, 1, contents, outage.dir / "f0")
    if how != "lazy":
        program.kill()
        program.wait(10)
    if how == "sftpfs":
        assert run_sftpfs(who, ["umount", outage.dir]).code == 0
    else:
        who.run(["fusermount3", "-uz" if how == "lazy" else "-u", str(outage.dir)], timeout=20)
        program.kill()
        program.wait(10)
    assert not is_mounted(outage.dir)
    outage.mount.wait_ended()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_not_delivered_is_told_at_the_end(who, direct, mounter, relays, area, number):
    """A program is killed, and leaves, with data that the server never took; unmounted after drain_timeout the daemon ends
    with 9 and says so."""
    relay = relays(direct.port)
    mount = mounter.direct(who, relay.port, "-o", "drain_timeout=1", directory=area)

    def write_and_leave():
        fd = os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT)
        silent.wait(HANG)
        os.write(fd, b"never delivered")
        os.kill(os.getpid(), number)

    silent = multiprocessing.Event()
    program = Program(who, write_and_leave)
    wait_until(lambda: (area / "f").exists())
    wait_until(lambda: status(who, mount.dir)["open_files"] == 1)
    relay.command("stall on")
    silent.set()
    program.wait(HANG)
    mount.umount(expect=9)
    assert "undelivered" in mount.log_text()


def test_quiesce_answers_everything_that_waits(who, outage):
    """Of every kind; then the mount works again."""
    write(outage.base / "sub3/x", b"")
    names = [in_sub(outage, "new")(0), in_sub(outage, "w", 2)(0), in_sub(outage, "x", 3)(0), in_sub(outage, "y", 3)(0)]
    who.call(lambda: [os.path.exists(name) for name in names])  # the kernel knows: it will ask for the change at once
    outage.begin()
    programs = blocked(who, outage, 2, contents, lambda i: outage.dir / f"f{i + 1}") + \
        blocked(who, outage, 1, os.mkdir, in_sub(outage, "new")) + \
        blocked(who, outage, 1, os.listdir, outage.dir / "sub1") + \
        blocked(who, outage, 1, write, in_sub(outage, "w", 2), b"x" * 100_000) + \
        blocked(who, outage, 1, os.rename, in_sub(outage, "x", 3), in_sub(outage, "y", 3))
    assert run_sftpfs(who, ["quiesce", outage.dir]).code == 0
    for program in programs:
        assert program.result(10) == errno.EIO
    outage.end()
    assert who.call(contents, outage.dir / "f9") == b"content 9\n"


def test_written_data_is_kept_for_the_server(who, direct, mounter, relays, area):
    """Writes are taken while it is silent, up to the budget; close waits, and everything arrives."""
    relay = relays(direct.port)
    mount = mounter.direct(who, relay.port, "-o", "cache_size=64M", directory=area)
    data = os.urandom(20 << 20)
    step = os.pipe()

    def writer():
        fd = os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT)
        relay.process.stdin.write("stall on\n")
        relay.process.stdin.flush()
        os.write(fd, data)
        os.write(step[1], b".")
        os.close(fd)

    program = Program(who, writer)
    assert os.read(step[0], 1) == b"."
    wait_until(lambda: status(who, mount.dir)["dirty_bytes"] > 0)
    assert not program.ended()
    relay.command("stall off")
    program.result(HANG)
    assert (area / "f").read_bytes() == data
    for end in step:
        os.close(end)


# --- soft= ---

@pytest.fixture
def soft(who, direct, mounter, relays, area):
    write(area / "f", b"content")
    relay = relays(direct.port)
    made = Outage(mounter.direct(who, relay.port, "-o", "soft=1", directory=area), relay, area)
    yield made
    made.end()


CALLS = {
    "open": lambda m: os.open(m / "f", os.O_RDONLY), "stat": lambda m: os.stat(m / "none"),
    "mkdir": lambda m: os.mkdir(m / "d"), "listdir": lambda m: os.listdir(m), "unlink": lambda m: os.unlink(m / "f"),
    "create": lambda m: os.open(m / "new", os.O_CREAT | os.O_WRONLY), "statvfs": lambda m: os.statvfs(m),
    "symlink": lambda m: os.symlink("t", m / "s"), "chmod": lambda m: os.chmod(m / "f", 0o600),
}


@pytest.mark.parametrize("how", ["stalled", "lost"])
def test_soft_limit_ends_every_call_with_eio(who, soft, how):
    """Never ENOENT, ENOTCONN or ETIMEDOUT; afterwards the mount works again."""
    who.call(os.stat, soft.dir / "f")
    if how == "stalled":
        soft.begin()
    else:
        soft.relay.command("refuse on")
        soft.relay.command("cut")
    programs = {name: Program(who, errno_of, call, soft.dir) for name, call in CALLS.items()}
    assert {name: program.result(30) for name, program in programs.items()} == dict.fromkeys(CALLS, errno.EIO)
    soft.end()
    soft.relay.command("refuse off")
    wait_until(lambda: who.call(errno_of, contents, soft.dir / "f") in (0, errno.ENOENT))  # unlink may have been done


def test_soft_limit_keeps_what_was_acknowledged(who, soft):
    """close() that gave up has said EIO; what write() had taken is sent when the server is back."""
    step = os.pipe()

    def writer():
        fd = os.open(soft.dir / "w", os.O_WRONLY | os.O_CREAT)
        os.write(step[1], b".")
        os.read(go[0], 1)
        os.write(fd, b"acknowledged")
        return errno_of(os.close, fd)

    go = os.pipe()
    program = Program(who, writer)
    os.read(step[0], 1)
    soft.begin()
    os.write(go[1], b".")
    assert program.result(30) == errno.EIO
    soft.end()
    wait_until(lambda: (soft.base / "w").read_bytes() == b"acknowledged")
    for end in (*step, *go):
        os.close(end)


@pytest.mark.parametrize("soft_limit", ["1", "0"])
def test_slow_call_on_a_healthy_server_takes_its_time(who, scripted, mounter, soft_limit):
    """An fsync that takes three times soft=, while other requests are answered, is neither given up nor interrupted."""
    scripted.tree.entries[b"/f"] = b"x"
    slow = []
    scripted.on(b"fsync@openssh.com", lambda r: slow.append(r.status(0)) or b"")
    scripted.on(7, lambda r: r.server._plain(r) + (slow.pop() if slow and time.monotonic() > release[0] else b""))
    mount = mounter.direct(who, scripted.port, "-o", f"soft={soft_limit}", "-o", "dir_cache=no")
    release = [float("inf")]

    def sync():
        fd = os.open(mount.dir / "f", os.O_WRONLY)
        os.write(fd, b"y")
        os.fsync(fd)
        os.close(fd)

    program = Program(who, errno_of, sync)
    wait_until(lambda: slow)
    release[0] = time.monotonic() + 3
    deadline = wait_until(lambda: who.call(errno_of, os.stat, mount.dir / f"none{time.monotonic()}") == errno.ENOENT and
                          program.ended(), 30)
    assert deadline and program.result(HANG) == 0
