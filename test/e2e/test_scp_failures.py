"""Hosts without SFTP when things go wrong: cuts, stalls, killed programs on either side, full disks, `soft=`. As root
with BusyBox and cat, as an ordinary user with a shell and scp."""

import errno
import os
import signal
import subprocess

import pytest

import test_outage
from conftest import login_args
from program import Program, errno_of
from server import descendants, kill_all
from test_outage import HANG, Outage, blocked, in_sub, waiting
from test_reconnect import QUICK, connected, contents, write
from test_scp import hosts  # a fixture
from test_commands import status
from waiting import wait_until

pytestmark = pytest.mark.own_user

MIB = 1 << 20


@pytest.fixture
def host(hosts, who):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return hosts("bare" if who.uid else "busybox")


def prepare(who, area):
    for i in range(10):
        who.call(write, area / f"f{i}", b"content %d\n" % i)
        who.call(os.mkdir, area / f"sub{i}")


@pytest.fixture
def outage(who, host, mounter, relays, area, request):
    """Its parameter: keywords for ssh; by default silence is soon taken for a loss."""
    prepare(who, area)
    relay = relays(host.port)
    alive = getattr(request, "param", QUICK)
    mount = mounter(who, host.target(who, area), login_args(host, who, port=relay.port, **alive))
    made = Outage(mount, relay, area)
    yield made
    made.end()
    mount.umount()  # while the relay is there


@pytest.mark.parametrize("outage", [{}], ids=["patient"], indirect=True)
def test_what_waits_goes_on_when_the_network_is_back(who, outage):
    """On the same connection: a mkdir whose answer was lost with one may be EEXIST."""
    test_outage.test_what_waits_goes_on_when_the_network_is_back(who, outage)


def test_silent_network_is_noticed(who, outage):
    """The connection is given up, a new one goes on with what waits."""
    if not who.uid:
        return  # as slow as it is, once is enough
    outage.begin()
    programs = blocked(who, outage, 1, contents, outage.dir / "f0") + \
        blocked(who, outage, 1, os.mkdir, outage.dir / "sub1" / "d")
    wait_until(lambda: status(who, outage.dir)["state"] == "connecting", HANG, what="the loss is noticed")
    assert not any(program.ended() for program in programs)
    outage.relay.command("cut")
    outage.end()
    assert [program.result(HANG) for program in programs] in ([0, 0], [0, errno.EEXIST])  # its answer may be lost
    assert (outage.base / "sub1" / "d").is_dir()
    assert connected(who, outage.mount)


@pytest.mark.parametrize("used", [False, True], ids=["empty", "used"])
def test_directory_whose_answer_was_lost(who, outage, used):
    """It is ours; but where somebody has put something in it, it may be another's lock."""
    place = outage.base / "sub1" / "d"
    who.call(os.path.exists, outage.dir / "sub1" / "d")
    outage.relay.command("hold down on")
    program = Program(who, errno_of, os.mkdir, outage.dir / "sub1" / "d")
    wait_until(place.is_dir, what="the server makes it")
    if used:
        (place / "somebody").touch()
    outage.relay.command("cut")
    assert program.result(HANG) == (errno.EEXIST if used else 0)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_transfers_go_on_after_cuts(who, outage, direction):
    """Cut three times in the middle of a file, in its first, later and last bytes."""
    data = os.urandom(12 * MIB)
    if direction == "down":
        who.call(write, outage.base / "big", data)
    for place in (200_000, 5 * MIB, 11 * MIB):
        name = f"big{place}"
        outage.relay.command(f"cut-after-bytes {direction} {place}")
        if direction == "down":
            os.link(outage.base / "big", outage.base / name)
            assert Program(who, contents, outage.dir / name).result(HANG) == data
        else:
            Program(who, write, outage.dir / name, data).result(HANG)
            assert contents(outage.base / name) == data
        assert outage.relay.event(HANG).startswith("cut-after-bytes")
    assert not [name for name in os.listdir(outage.base) if name.startswith(".sftpfs")]
    wait_until(lambda: outage.mount.log_text().count("connected again") >= 3, what="three new connections")


def test_changes_go_on_after_cuts(who, outage):
    """Every kind of change, each cut off in the middle of its question or answer: done once, and no error but the
    one of a directory that may be another's."""
    m = outage.dir
    changes = [lambda: os.mkdir(m / "sub0" / "d"), lambda: os.rename(m / "f0", m / "sub0" / "f"),
               lambda: os.symlink("target", m / "sub0" / "s"), lambda: os.link(m / "f1", m / "sub0" / "l"),
               lambda: os.unlink(m / "f2"), lambda: os.rmdir(m / "sub9"), lambda: os.chmod(m / "f3", 0o640),
               lambda: os.utime(m / "f3", (10 ** 9, 10 ** 9)), lambda: os.truncate(m / "f4", 3)]
    for i, change in enumerate(changes):
        outage.relay.command(f"cut-after-bytes {('up', 'down')[i % 2]} {1 + 40 * (i % 3)}")
        program = Program(who, errno_of, change)
        assert outage.relay.event(HANG).startswith("cut-after-bytes")
        wait_until(lambda: status(who, m)["state"] != "connected" or program.ended(), what="the loss is noticed")
        outage.mount.process.send_signal(signal.SIGUSR1)  # at once: losses that follow each other make it wait longer
        code = program.result(HANG)
        assert code == 0 or (i == 0 and code == errno.EEXIST), (i, errno.errorcode[code])
    base = outage.base
    assert sorted(os.listdir(base / "sub0")) == ["d", "f", "l", "s"]
    assert not (base / "f0").exists() and not (base / "f2").exists() and not (base / "sub9").exists()
    info = os.stat(base / "f3")
    assert (info.st_mode & 0o777, info.st_mtime, (base / "f4").read_bytes()) == (0o640, 10 ** 9, b"con")


def test_killed_programs_go_while_the_network_is_dead(who, outage):
    outage.begin()
    programs = blocked(who, outage, 2, contents, lambda i: outage.dir / f"f{i}") + \
        blocked(who, outage, 2, os.mkdir, in_sub(outage, "d")) + \
        blocked(who, outage, 1, write, outage.dir / "sub3" / "new", b"x") + \
        blocked(who, outage, 1, os.listdir, outage.dir / "sub5")
    for program in programs:
        program.kill(signal.SIGKILL)
    for program in programs:
        assert os.WTERMSIG(program.wait(10)) == signal.SIGKILL
    assert waiting(who, outage) == 0


def test_soft_limit_is_eio(who, host, mounter, relays, area):
    """Every call, also a close with bytes to deliver; afterwards the mount works, and they are delivered."""
    if who.uid:
        return  # as slow as it is, once is enough
    prepare(who, area)
    relay = relays(host.port)
    mount = mounter(who, host.target(who, area), [*login_args(host, who, port=relay.port, **QUICK), "-o", "soft=1"])
    m = mount.dir
    step, go = os.pipe(), os.pipe()

    def writer():
        fd = os.open(m / "w", os.O_WRONLY | os.O_CREAT)
        os.write(step[1], b".")
        os.read(go[0], 1)
        os.write(fd, b"acknowledged")
        return errno_of(os.close, fd)

    program = Program(who, writer)
    os.read(step[0], 1)
    relay.command("stall on")
    calls = [lambda: os.open(m / "f0", os.O_RDONLY), lambda: os.stat(m / "none"), lambda: os.mkdir(m / "d"),
             lambda: os.listdir(m), lambda: os.unlink(m / "f5"), lambda: os.chmod(m / "f6", 0o600),
             lambda: os.statvfs(m / "sub1")]
    waiting_ones = [Program(who, errno_of, call) for call in calls]
    os.write(go[1], b".")
    assert program.result(30) == errno.EIO
    assert {p.result(30) for p in waiting_ones} == {errno.EIO}
    relay.command("cut")
    relay.command("stall off")
    wait_until(lambda: who.call(errno_of, contents, m / "f0") == 0)
    wait_until(lambda: (area / "w").read_bytes() == b"acknowledged", what="it is delivered")
    for end in (*step, *go):
        os.close(end)
    mount.umount()  # while the relay is there


def programs_of(host, *names):
    """The server's processes with these names or command lines."""
    found = []
    for pid in descendants(host.process.pid):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(line.startswith(name) for name in names):
            found.append(pid)
    return found


def test_the_remote_shell_is_killed(who, host, outage):
    """Not the connection: a shell is started anew, and what it was asked is asked again."""
    for _ in range(3):
        before = status(who, outage.dir)["reconnects"]
        pids = wait_until(lambda: programs_of(host, "sh ", "-sh"), what="a shell")
        kill_all(pids)
        assert who.call(errno_of, contents, outage.dir / "f1") == 0
        assert who.call(errno_of, write, outage.dir / "new", b"text") == 0
        wait_until(lambda: status(who, outage.dir)["reconnects"] > before)
    assert contents(outage.base / "new") == b"text"
    assert sorted(set(os.listdir(outage.base))) == sorted(who.call(os.listdir, outage.dir))


def test_the_remote_transfer_is_killed(who, host, outage):
    """The program that writes on the server dies in the middle: an error for close, the old file as it was, nothing
    left beside it; then all is well again."""
    who.call(write, outage.base / "big", b"old")
    data = os.urandom(24 * MIB)
    outage.relay.command("rate 200000000")
    outage.relay.command("reset")
    program = Program(who, errno_of, write, outage.dir / "big", data)
    wait_until(lambda: outage.relay.stats()["up_bytes"] > 4 * MIB, what="it is on its way")
    pids = programs_of(host, "scp ", "cat")
    assert pids
    kill_all(pids)
    assert program.result(HANG) == errno.EIO
    outage.relay.command("rate 0")
    wait_until(lambda: not [name for name in os.listdir(outage.base) if name.startswith(".sftpfs")])
    assert contents(outage.base / "big") == b"old"
    assert who.call(errno_of, write, outage.dir / "big", data) == 0
    assert contents(outage.base / "big") == data


@pytest.fixture
def small_disk(top, who, people, mounter, area):
    """A remote filesystem of 8 MiB; the host comes after it, as it has its own view of mounts."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    from busybox import BusyBoxHost
    disk = area / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=8m,uid={who.uid},gid={who.gid},mode=755", "tmpfs", disk],
                   check=True)
    host = BusyBoxHost(area.parent / f"{area.name}-host", top, people.values(), scp=bool(who.uid))
    mount = mounter(who, host.target(who, disk), login_args(host, who))
    yield mount, disk
    mount.discard()
    host.stop()
    subprocess.run(["umount", "-l", disk], check=False)


def test_full_remote_disk(who, small_disk):
    """ENOSPC by close and fsync, by scp and by cat; the old file as it was, nothing left, and then it is cured."""
    mount, disk = small_disk
    who.call(write, mount.dir / "f", b"old")
    big = os.urandom(12 * MIB)

    def fill():
        codes = []
        for name in ("f", "new"):
            fd = os.open(mount.dir / name, os.O_WRONLY | os.O_CREAT)
            os.write(fd, big)
            codes += [errno_of(os.fsync, fd), errno_of(os.close, fd)]
        with open(mount.dir / "f", "ab", buffering=0) as f:
            f.write(big)
            codes.append(errno_of(f.close))
        return codes

    codes = who.call(fill)
    assert codes[0] == codes[2] == codes[4] == errno.ENOSPC, [errno.errorcode.get(code) for code in codes]
    wait_until(lambda: sorted(os.listdir(disk)) == ["f", "new"], what="nothing is left beside them")
    assert contents(disk / "new") == b""
    who.call(lambda: [os.unlink(mount.dir / name) for name in ("f", "new")])
    who.call(write, mount.dir / "f", big[:5 * MIB])
    assert contents(disk / "f") == big[:5 * MIB]


@pytest.mark.parametrize("said,code", [("Disk quota exceeded", errno.EDQUOT), ("File too large", errno.EFBIG)])
def test_words_of_scp_are_errnos(said, code, hosts, who, mounter, area):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if who.uid:
        return  # the host's programs are changed: once is enough
    host = hosts("busybox-scp")
    scp = host.root / "usr" / "bin" / "scp"
    real = scp.with_name("real-scp")
    mount = mounter(who, host.target(who, area), login_args(host, who))
    write(mount.dir / "f", b"old")
    scp.rename(real)
    try:
        scp.write_text(f"#!/bin/sh\nprintf '\\0\\001scp: f: {said}\\n'; cat >/dev/null; exit 1\n")
        scp.chmod(0o755)
        assert errno_of(write, mount.dir / "f", b"new") == code
    finally:
        real.rename(scp)
    assert contents(area / "f") == b"old" and os.listdir(area) == ["f"]
