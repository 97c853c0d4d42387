"""Bulk data: what a reader or writer costs in requests, round trips and bytes, and what it must not cost others.

Over `direct` the relay sees every SFTP frame, so counts are exact; what needs several lanes goes by ssh. Nothing here
asserts a time: where a line is full, the bytes that it has carried are the clock.
"""

import errno
import json
import os
import random
import re
import subprocess
import threading
from pathlib import Path

import pytest

import rawsftp as fx
from conftest import _own_dir, login_args, serial
from mount import options, run_sftpfs
from server import Sshd
from waiting import wait_until

pytestmark = [pytest.mark.own_user,
              pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True)]

KIB, MIB = 1 << 10, 1 << 20
RTT_MS = 20
OLD = 1_600_000_000  # an mtime that nobody doubts


def pattern(length, seed=1):
    return random.Random(seed).randbytes(length)


def put(path, content):
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))
    return content


def status(who, place):
    return json.loads(run_sftpfs(who, ["status", place]).out)


class Line:
    """A mount over a relay that sees its frames, or only bytes when it goes by ssh."""

    def __init__(self, who, base, relay, mount):
        self.who, self.base, self.relay, self.mount, self.dir = who, base, relay, mount, mount.dir

    def counts(self):
        return self.relay.stats()

    def requests(self, name):
        return self.counts()["requests"].get(name, 0)

    def status(self):
        return status(self.who, self.dir)

    def reset(self):
        self.relay.command("reset")


@pytest.fixture
def near(top, who, direct, relays, mounter):
    """near(*arguments of sftpfs, directory, rate): over a byte pipe, one lane."""
    def make(*args, directory=None, rate=0, delay=RTT_MS // 2):
        base = directory or _own_dir(top / f"near{next(serial)}", who)
        relay = relays(direct.port, delay=delay, rate=rate, sftp=True)
        return Line(who, base, relay, mounter.direct(who, relay.port, *args, directory=base))
    return make


@pytest.fixture
def far(top, who, sshd, relays, mounter):
    """far(*arguments): by ssh, with all its lanes."""
    def make(*args, server=None, rate=0, delay=RTT_MS // 2):
        server = server or sshd
        base = _own_dir(top / f"far{next(serial)}", who)
        relay = relays(server.port, delay=delay, rate=rate)
        login = login_args(server, who, StrictHostKeyChecking="no", UserKnownHostsFile="/dev/null")
        login[login.index("-p") + 1] = relay.port
        return Line(who, base, relay, mounter(who, server.target(who, base), [*login, *args]))
    return make


def together(jobs):
    """Each in a thread of its own; their exceptions are ours."""
    errors = []

    def run(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    return threads, errors


def finish(threads, errors):
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not errors, errors


# --- reading ---------------------------------------------------------------------------------------------------------

def test_random_reader_moves_its_bytes_and_no_more(near):
    line = near()
    content = put(line.base / "f", pattern(16 * MIB))
    offsets = [4 * KIB * n for n in random.Random(3).sample(range(len(content) // (4 * KIB)), 150)]
    with open(line.dir / "f", "rb", buffering=0) as f:
        line.reset()
        for off in offsets:
            assert os.pread(f.fileno(), 4 * KIB, off) == content[off:off + 4 * KIB]
        counts = line.counts()
    assert counts["requests"] == {"READ": 150}
    assert counts["round_trips"] == 150
    assert counts["down_bytes"] < 1.2 * 150 * 4 * KIB


def test_parallel_random_readers_pay_one_round_trip_together(near):
    line = near()
    content = put(line.base / "f", pattern(16 * MIB))
    with open(line.dir / "f", "rb", buffering=0) as f:
        line.reset()
        line.relay.command("hold up on")  # counted, and not passed on until all are there

        def read(number):
            off = 492 * KIB * (number + 1)
            assert os.pread(f.fileno(), 4 * KIB, off) == content[off:off + 4 * KIB]

        running = together([lambda n=n: read(n) for n in range(32)])
        wait_until(lambda: line.requests("READ") == 32, what="32 READs under way")
        line.relay.command("hold up off")
        finish(*running)
        counts = line.counts()
    assert counts["requests"] == {"READ": 32} and counts["round_trips"] == 1
    assert counts["down_bytes"] < 1.2 * 32 * 4 * KIB


def test_end_of_file_costs_no_request(near):
    line = near()
    content = put(line.base / "f", pattern(1_000_001))
    with open(line.dir / "f", "rb", buffering=0) as f:
        line.reset()
        got = b""
        while piece := os.read(f.fileno(), 64 * KIB):
            got += piece
        assert os.pread(f.fileno(), 100, 2_000_000) == b""
        counts = line.counts()
    assert got == content
    assert set(counts["requests"]) == {"READ"} and "STATUS" not in counts["replies"]


def test_sequential_reader_is_fetched_ahead(near):
    line = near()
    content = put(line.base / "f", pattern(24 * MIB))
    line.reset()
    assert (line.dir / "f").read_bytes() == content
    counts = line.counts()
    assert counts["down_bytes"] < 1.02 * len(content)
    assert counts["round_trips"] < 20  # 24 MiB in pieces of 128 KiB would be 192


def test_forward_skips_do_not_end_read_ahead(near):
    """A reader that leaves out a part of each piece, in steps that the kernel takes for random."""
    line = near()
    content = put(line.base / "f", pattern(12 * MIB))
    with open(line.dir / "f", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        line.reset()
        for off in range(0, len(content), 96 * KIB):
            assert os.pread(f.fileno(), 32 * KIB, off) == content[off:off + 32 * KIB]
        counts = line.counts()
    assert counts["round_trips"] < 64  # of 128 reads
    assert counts["down_bytes"] < 1.1 * len(content)


def test_interleaved_readers_of_one_descriptor_are_both_followed(near):
    line = near()
    content = put(line.base / "f", pattern(16 * MIB))
    with open(line.dir / "f", "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        line.reset()
        for off in range(0, 8 * MIB, 64 * KIB):
            for at in (off, 8 * MIB + off):
                assert os.pread(f.fileno(), 64 * KIB, at) == content[at:at + 64 * KIB]
        counts = line.counts()
    assert counts["round_trips"] < 50  # of 256 reads
    assert counts["down_bytes"] < 1.5 * len(content)  # the first one comes to where the second began


@pytest.mark.alone
def test_several_files_get_fair_shares(near):
    """When the first of eight readers is done, nobody has less than half of a fair share."""
    line = near(rate=200_000_000)
    length, readers = 16 * MIB, 8
    content = [put(line.base / f"f{n}", pattern(length, n)) for n in range(readers)]
    done = [0] * readers
    shares = []

    def read(number):
        with open(line.dir / f"f{number}", "rb", buffering=0) as f:
            got = b""
            while piece := f.read(128 * KIB):
                got += piece
                done[number] += len(piece)
        shares.append(list(done))
        assert got == content[number]

    finish(*together([lambda n=n: read(n) for n in range(readers)]))
    first = shares[0]
    assert min(first) >= sum(first) / readers / 2, first


def test_closing_ends_what_was_asked_for_ahead(near):
    """What has not left yet when the file is closed never does."""
    line = near(rate=40_000_000)
    put(line.base / "big", pattern(48 * MIB))
    with open(line.dir / "big", "rb", buffering=0) as f:
        f.read(2 * MIB)
    asked = line.requests("READ")
    wait_until(lambda: line.status()["in_flight"] == 0, what="all answered")
    after = line.counts()
    assert after["requests"]["READ"] <= asked + 4  # sent while the close was on its way to the daemon
    assert after["down_bytes"] < 12 * MIB


def test_files_that_say_nothing_of_their_size(near):
    """/proc: size 0, and content."""
    line = near(directory=Path("/proc"))
    assert (line.dir / "version").read_bytes() == Path("/proc/version").read_bytes()
    assert (line.dir / "filesystems").read_bytes() == Path("/proc/filesystems").read_bytes()
    shown = (line.dir / "cpuinfo").read_text()
    assert shown.count("processor\t:") == os.cpu_count()


def test_growing_file_shows_what_was_added(near):
    line = near("-o", "open_window=0")
    content = put(line.base / "log", pattern(50_000))
    assert (line.dir / "log").read_bytes() == content
    for number in range(3):
        with open(line.base / "log", "ab") as log:
            log.write(pattern(70_000, number))
        content += pattern(70_000, number)
        assert (line.dir / "log").read_bytes() == content


# --- pages over opens --------------------------------------------------------------------------------------------------

def test_proven_pages_stay_over_opens_and_changed_ones_go(near):
    line = near("-o", "open_window=0")
    content = put(line.base / "f", pattern(300_000))
    assert (line.dir / "f").read_bytes() == content
    line.reset()
    assert (line.dir / "f").read_bytes() == content
    assert line.counts()["down_bytes"] < 30_000  # on a busy machine the kernel drops a page or two by itself
    changed = put(line.base / "f", pattern(300_000, 2))
    os.utime(line.base / "f", (OLD, OLD + 1))
    assert (line.dir / "f").read_bytes() == changed
    assert line.requests("READ") > 0


def test_young_pages_are_not_trusted(near):
    """An mtime of now says nothing about bytes read now: the file may change again within the same second."""
    line = near("-o", "open_window=0")
    (line.base / "f").write_bytes(pattern(100_000))
    os.utime(line.base / "f")
    stat = os.stat(line.base / "f")
    assert (line.dir / "f").read_bytes() == pattern(100_000)
    (line.base / "f").write_bytes(pattern(100_000, 2))
    os.utime(line.base / "f", (stat.st_atime, int(stat.st_mtime)))
    assert (line.dir / "f").read_bytes() == pattern(100_000, 2)


# --- writing -----------------------------------------------------------------------------------------------------------

def test_contiguous_writes_merge(near):
    line = near()
    content = pattern(2 * MIB)
    line.reset()
    with open(line.dir / "f", "wb", buffering=0) as f:
        for off in range(0, len(content), 4 * KIB):
            f.write(content[off:off + 4 * KIB])
    counts = line.counts()
    assert (line.base / "f").read_bytes() == content
    assert counts["requests"]["WRITE"] <= 2 * MIB // 261_120 + 1
    assert counts["round_trips"] <= 8


def test_overlapping_writes_over_all_lanes_keep_their_order(far):
    line = far()
    length, rng = 24 * MIB, random.Random(5)
    model = bytearray(pattern(length))
    with open(line.dir / "f", "wb", buffering=0) as f:
        f.write(model)
        for n in range(240):
            off, piece = rng.randrange(length - 300_000), rng.randbytes(rng.randrange(1, 300_000))
            os.pwrite(f.fileno(), piece, off)
            model[off:off + len(piece)] = piece
            if n == 150:
                os.ftruncate(f.fileno(), length // 2)
                os.ftruncate(f.fileno(), length)
                model[length // 2:] = bytes(length - length // 2)
    assert (line.base / "f").read_bytes() == model
    assert line.status()["lanes"] >= 7


def test_own_size_and_bytes_are_seen_while_nothing_has_arrived(near):
    line = near()
    content = pattern(MIB)
    with open(line.dir / "f", "w+b", buffering=0) as f:
        line.relay.command("hold up on")
        f.write(content)
        assert os.fstat(f.fileno()).st_size == os.stat(line.dir / "f").st_size == MIB
        assert os.pread(f.fileno(), MIB, 0) == content
        assert os.path.getsize(line.base / "f") == 0
        line.relay.command("hold up off")
    assert (line.base / "f").read_bytes() == content


def test_data_does_not_sit_unsent(near):
    """flush_age: 100 bytes of a file that stays open arrive without anybody asking."""
    line = near("-o", "flush_age=0.1")
    with open(line.dir / "f", "wb", buffering=0) as f:
        f.write(b"x" * 100)
        wait_until(lambda: os.path.getsize(line.base / "f") == 100, what="arrival")


@pytest.mark.parametrize("flag", ["O_SYNC", "O_DSYNC", "O_DIRECT"])
def test_synchronous_writes_are_there_when_they_return(near, flag):
    line = near()
    fd = os.open(line.dir / "f", os.O_WRONLY | os.O_CREAT | getattr(os, flag))
    try:
        for n in range(5):
            os.write(fd, bytes([n]) * 4096)
            assert (line.base / "f").read_bytes()[n * 4096:] == bytes([n]) * 4096
    finally:
        os.close(fd)


FULL_DISK = (4096, 4096, 1 << 20, 0, 0, 1 << 16, 1 << 15, 1 << 15, 7, 0, 255)


@pytest.mark.parametrize("name, code, text", [
    ("ENOSPC", fx.FX_FAILURE, "Failure"), ("EDQUOT", fx.FX_FAILURE, "Disk quota exceeded"),
    ("EACCES", 3, "Permission denied"), ("EIO", fx.FX_FAILURE, "Failure")])
@pytest.mark.parametrize("by", ["fsync", "close"])
def test_first_write_error_is_reported(who, scripted, mounter, name, code, text, by):
    """The first WRITE fails as it says, the others in another way; then the file is as good as new."""
    failed = []

    def answer(request):
        failed.append(request.id)
        return request.status(code, text) if len(failed) == 1 else request.status(fx.FX_FAILURE, "other")

    if name == "ENOSPC":
        scripted.on(b"statvfs@openssh.com", lambda r: fx.packet(
            fx.EXTENDED_REPLY, fx.u32(r.id) + b"".join(map(fx.u64, FULL_DISK))))
    mount = mounter.direct(who, scripted.port)
    fd = os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT)
    scripted.on(fx.WRITE, answer)
    reported = 0
    try:
        for n in range(3):
            os.pwrite(fd, b"x" * 1000, n * 100_000)
        if by == "fsync":
            os.fsync(fd)
    except OSError as error:
        reported = error.errno
    try:
        os.close(fd)
    except OSError as error:
        reported = reported or error.errno
    assert failed
    assert errno.errorcode.get(reported) == name
    scripted.ordinary()
    (mount.dir / "f").write_bytes(b"good")
    assert scripted.tree.entries[b"/f"] == b"good"


def memory_kib(pid, key):
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key + ":"))


def is_instrumented(pid):
    return b"asan" in Path(f"/proc/{pid}/maps").read_bytes() or b"tsan" in Path(f"/proc/{pid}/maps").read_bytes()


def test_writer_to_a_narrow_line_is_held_back_by_the_budget(far):
    """1 GB to 10 Mbit/s with cache_size=64M: the writer waits, the process stays below 64 + 32 MB."""
    line = far("-o", "cache_size=64M", rate=10_000_000)
    pid = line.mount.pid
    before = memory_kib(pid, "VmRSS")
    writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={line.dir}/big", "bs=1M", "count=1000", "status=none"])
    try:
        wait_until(lambda: line.status()["dirty_bytes"] > 40 * MIB, what="a full budget")
        start = line.status()["written_bytes"]
        wait_until(lambda: line.status()["written_bytes"] > start + 3 * MIB, what="the line at work")
        assert writer.poll() is None
        now = line.status()
        assert now["dirty_bytes"] <= 64 * MIB and now["cached_bytes"] <= 64 * MIB, now
        if not is_instrumented(pid):
            assert memory_kib(pid, "VmHWM") - before <= 96 * 1000
    finally:
        writer.kill()
        line.relay.command("rate 0")
        writer.wait()


# --- lanes -------------------------------------------------------------------------------------------------------------

def test_lanes_are_opened_for_a_large_write_and_not_before(far, sshd):
    line = far()
    (line.dir / "small").write_bytes(b"x" * 500_000)
    few = line.status()["lanes"]
    (line.dir / "large").write_bytes(pattern(16 * MIB))
    many = line.status()["lanes"]
    assert few <= 4 and 7 <= many <= 8
    assert (line.base / "large").read_bytes() == pattern(16 * MIB)


@pytest.mark.parametrize("connections", [1, 2])
def test_no_connection_has_more_than_eight_channels(top, who, far, connections):
    """Those that stand by count, too."""
    server = Sshd(top / f"eight{next(serial)}", {"MaxSessions": "8", "LogLevel": "DEBUG1"}, users=[who])
    try:
        line = far("-o", f"max_conns={connections}", server=server)
        for name in ("one", "two"):
            (line.dir / name).write_bytes(bytes(10 * MIB))
        wait_until(lambda: line.status()["lanes"] == 8, what="all lanes")
        assert line.counts()["connections"] == connections
        assert "ctype session" in server.log_text() and "no more sessions" not in server.log_text()
        line.mount.umount()
    finally:
        server.stop()


@pytest.mark.parametrize("connections", [1, 3])
def test_a_server_that_grants_one_session(top, who, far, connections):
    """One lane for each connection."""
    server = Sshd(top / f"one{next(serial)}", {"MaxSessions": "1"}, users=[who])
    try:
        line = far("-o", f"max_conns={connections}", server=server)
        content = pattern(12 * MIB)
        (line.dir / "d").mkdir()
        (line.dir / "d" / "f").write_bytes(content)
        assert (line.base / "d" / "f").read_bytes() == content
        put(line.base / "g", content)
        assert (line.dir / "g").read_bytes() == content
        assert sorted(os.listdir(line.dir)) == ["d", "g"]
        wait_until(lambda: line.status()["lanes"] == connections, what="a lane of each connection")
        assert line.counts()["connections"] == connections and line.status()["reconnects"] == 0
        line.mount.umount()
    finally:
        server.stop()


def passed_during(log, name, most=MIB):
    """For each LSTAT of a `name`: the bytes of file data that were answered between its request and its reply, at most
    `most` for each READ."""
    passed, asked = [], {}
    for said in re.finditer(r"req=(\d+) (?:lane=\d+ )?([A-Z]+)(.*)", log):
        req, kind, rest = said.groups()
        length = re.search(r"len=(\d+): ok", rest)
        if kind == "LSTAT" and rest.startswith(" sent"):
            asked[req] = 0
        elif kind == "LSTAT" and req in asked:
            if f"/{name}" in rest:
                passed.append(asked[req])
            del asked[req]
        elif kind in ("READ", "WRITE") and length:
            asked = {other: count + min(int(length[1]), most) for other, count in asked.items()}
    return passed


@pytest.mark.alone
@pytest.mark.parametrize("way", ["read", "write", "look ahead"])
def test_cold_stat_during_a_copy(far, way):
    """While a copy fills the line, a stat takes two round trips at most and the time of a packet: no more than that
    many bytes are answered between its request and its reply, in the order in which the daemon saw them."""
    rate, delay = 100_000_000, 25
    line = far(*options(log_level="1:sftp=3"), rate=rate, delay=delay)
    for n in range(9):
        (line.base / f"cold{n}").write_bytes(b"x")
    copy = ["dd", "bs=1M", "count=200", "status=none"]
    copy += [f"if={line.dir}/big", "of=/dev/null"] if way == "read" else ["if=/dev/zero", f"of={line.dir}/big"]
    if way == "read":
        with open(line.base / "big", "wb") as big:
            big.truncate(200 * MIB)
    if way == "look ahead":
        (line.base / "tree").mkdir()
        for n in range(240):
            (line.base / f"tree/f{n:03d}").write_bytes(b"x" * 261_120)  # as much as one READ asks for
            os.utime(line.base / f"tree/f{n:03d}", (1e9, 1e9))
        copy = ["sh", "-c", 'exec cat "$0"/tree/* > /dev/null', line.dir]
    key = "written_bytes" if way == "write" else "read_bytes"
    copier = subprocess.Popen(copy)
    try:
        wait_until(lambda: line.status()[key] > 16 * MIB, what="a copy under way")
        for n in range(9):
            os.stat(line.dir / f"cold{n}")
        assert copier.poll() is None
    finally:
        copier.kill()
        line.relay.command("rate 0")
        copier.wait()
    passed = sorted(passed_during(line.mount.log_text(), "cold"))
    assert len(passed) >= 3 and passed[0] > 0, passed  # then a listing may come to help
    assert passed[len(passed) // 2] <= 2 * (2 * delay / 1000) * rate / 8 + 261_120, passed


@pytest.mark.alone
def test_cold_stat_while_small_files_come_ahead_on_a_slow_line(far):
    """10 Mbit/s carry 62 KB in a round trip: no more than two of them and one file are before a stat."""
    rate, delay, size = 10_000_000, 25, 18_000
    line = far(*options(log_level="1:sftp=3"), rate=rate, delay=delay)
    (line.base / "tree").mkdir()
    for n in range(300):
        (line.base / f"tree/f{n:03d}").write_bytes(bytes(size))
        os.utime(line.base / f"tree/f{n:03d}", (OLD, OLD))
    for n in range(5):
        (line.base / f"cold{n}").mkdir()
        (line.base / f"cold{n}/file").write_bytes(b"x")
    os.listdir(line.dir)
    reader = subprocess.Popen(["sh", "-c", 'exec cat "$0"/tree/* > /dev/null', line.dir])
    try:
        wait_until(lambda: line.status()["read_bytes"] > MIB, what="files on their way")
        for n in range(5):
            os.stat(line.dir / f"cold{n}/file")
        assert reader.poll() is None
    finally:
        reader.kill()
        line.relay.command("rate 0")
        reader.wait()
    passed = sorted(passed_during(line.mount.log_text(), "file", size))
    assert len(passed) == 5 and passed[0] > 0, passed
    assert passed[2] <= 2 * (2 * delay / 1000) * rate / 8 + size, passed


def test_cipher_choice(far):
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        has_aes = any(line.startswith("flags") and " aes " in line for line in info)
    assert line_cipher(far()) == ("aes128-gcm@openssh.com" if has_aes else "chacha20-poly1305@openssh.com")
    assert line_cipher(far(*options(Ciphers="aes256-ctr"))) == "aes256-ctr"


def line_cipher(line):
    return line.status()["cipher"]
