# SPDX-License-Identifier: BSD-2-Clause
"""
The works, how much of each a tool is given, and how each is done and checked. Times are of the work alone: a mount
exists before, a command includes its login. What was read is compared with what is on the server afterwards.
"""

import filecmp
import mmap
import os
import resource
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

import data as files
from data import MIB

# What a tool gets through, roughly, so that slow ones can be given less: bytes of data in one round trip, and round trips
# for the whole work. The values come from runs at 50 and 200 ms; they decide how long a run takes, not what it says.
READ_WINDOW = {"sshfs": 0.5e6, "rclone": 1.8e6, "scp": 1.8e6, "sftp": 1.8e6, "rsync": 1.9e6}
WRITE_WINDOW = {"sshfs": 1.8e6, "rclone": 1.8e6, "scp": 1.8e6, "sftp": 1.8e6, "rsync": 1.9e6}
WINDOWS = {
    "read": READ_WINDOW, "read again": READ_WINDOW, "stat": READ_WINDOW, "write": WRITE_WINDOW,
    "both ways": {"sshfs": 0.48e6, "rclone": 0.7e6}, "readers": {"sshfs": 1.7e6},
    "cp inside": {"sshfs": 0.5e6, "rclone": 1.6e6},
}
LISTING = {"sshfs": 242, "rclone": 561}
ROUND_TRIPS = {
    "find": LISTING, "du": LISTING, "ls": LISTING,
    "tar": {"sshfs": 980, "rclone": 1800, "scp": 1950},
    "cp in": {"sftpfs": 421, "sshfs": 920, "rclone": 1350, "scp": 870},
    "rsync in": {"sftpfs": 1060, "sshfs": 3460, "rclone": 2620},
    "rm": {"sftpfs": 223, "sshfs": 252, "rclone": 295},
    "cp out": {"sshfs": 4570, "rclone": 10000, "scp": 8960},
    "git clone": {"sftpfs": 268, "sshfs": 909, "rclone": 968},
}
TRIP_OVERHEAD = 0.001  # seconds of each round trip that are not the line's
# Round trips that a work costs however little of it is done: a login, rclone's second connection, the first look-ups,
# windows that have to open.
ONCE_TRIPS = {"sftpfs": 4, "sshfs": 12, "rclone": 12, "scp": 15, "sftp": 20, "ssh tar": 10, "rsync": 13}
SECOND_WORKS, SECOND_TRIPS = ("read again", "rm"), 4  # on a mount that has worked before
BYTES = {"tar": files.PART_LEN, "cp in": files.PART_LEN // 2, "rsync in": files.PART_LEN // 2, "cp out": files.TREE_LEN,
         "git clone": 2 * files.CLONED_FILES * files.CLONED_LEN}
NO_DELAY_RATE = 120e6  # bytes/s that any tool reaches without delay

TITLES = {
    "login": "log in and do nothing",
    "read": "read 256 MiB, fresh mount",
    "read again": "read another 256 MiB, same mount",
    "write": "write 256 MiB until close",
    "both ways": "read and write 256 MiB together",
    "readers": "eight readers, 32 MiB each",
    "find": "find -ls, 111 directories, 2,000 files",
    "du": "du of the same",
    "ls": "ls -lR of the same",
    "tar": "tar c of 400 small files",
    "cp in": "cp -r of 200 small files in",
    "rsync in": "rsync -a of 200 small files in",
    "rm": "rm -rf of them",
    "cp out": "cp -r of the 2,000 files out",
    "git clone": "git clone into the mount",
    "cp inside": "cp of 256 MiB inside the mount",
    "stat": "cold stat during the tool's own copy",
}

# Works that share a mount, in this order.
SESSIONS = [["login"], ["read", "read again"], ["write"], ["both ways"], ["readers"], ["find"], ["du"], ["ls"], ["tar"],
            ["cp in", "rm"], ["rsync in"], ["cp out"], ["git clone"], ["cp inside"], ["stat"]]


@dataclass
class Scale:
    """How much of a work is done: a share of the whole, as bytes or as parts of a tree."""
    share: float
    length: int = 0
    parts: list = field(default_factory=list)
    file: str = ""
    once: float = 0.0  # seconds that the whole would not take more often


@dataclass(frozen=True)
class Budget:
    """Seconds for one run. What is expected to take a third longer, or less, is done whole, other works in part."""
    ours: float
    others: float
    longest: float  # a work is left out where even its least part takes a tool longer

    def of(self, tool):
        return self.ours if tool == "sftpfs" else self.others


def expected_seconds(work, tool, link):
    """Of the whole work; 0 where nothing slow is known."""
    if work in WINDOWS:
        window = WINDOWS[work].get(tool)
        if work == "cp inside" and not window:
            return 0  # the server copies
        rate = min(NO_DELAY_RATE, link.line)
        return files.BIG_LEN / (min(rate, window / link.rtt) if link.rtt and window else rate)
    trips = ROUND_TRIPS.get(work, {}).get(tool, 0)
    return trips * (link.rtt + TRIP_OVERHEAD) + BYTES.get(work, 0) / link.line


def once_trips(work, tool):
    return SECOND_TRIPS if work in SECOND_WORKS else ONCE_TRIPS[tool]


def scale(work, tool, link, budget):
    once = once_trips(work, tool) * link.rtt
    if work == "rm":
        work = "cp in"  # of what that has made
    seconds, limit = expected_seconds(work, tool, link), budget.of(tool)
    share = limit / seconds if seconds > limit * 4 / 3 else 1.0
    made = Scale(share, once=once)
    count, name = {"find": (10, "dir{}"), "du": (10, "dir{}"), "ls": (10, "dir{}"), "cp out": (10, "dir{}"), "tar": (files.PARTS, "part{:02}"),
                   "cp in": (files.NEW_PARTS, "part{:02}"), "rsync in": (files.NEW_PARTS, "part{:02}")}.get(work, (0, ""))
    if count:
        number = max(1, int(count * share))
        made.share = number / count
        made.parts = [name.format(i) for i in range(number)]
        if work in ("cp in", "rsync in") and number == 1 and part_seconds(work, tool, link, made) > budget.longest:
            made.share /= 2
            made.parts = [files.HALF_PART]
    elif work == "git clone":
        made.share = 1.0  # it has no parts
    elif work != "login":
        whole = files.BIG_LEN // files.READERS if work == "readers" else files.BIG_LEN
        made.length = max(MIB, int(whole * share) // MIB * MIB)
        made.share = made.length / whole
    return made


def part_seconds(work, tool, link, amount):
    whole = expected_seconds(work, tool, link)
    once = min(whole, amount.once)
    return once + (whole - once) * amount.share


def fits(work, tool, link, budget):
    return part_seconds(work, tool, link, scale(work, tool, link, budget)) <= budget.longest


class Wrong(Exception):
    """The tool did not do what it was asked to."""


def expect(condition, what):
    if not condition:
        raise Wrong(what)


class Reader(threading.Thread):
    """Reads `length` bytes of a file into memory that is there before the clock starts; check() compares later."""

    def __init__(self, path, length):
        super().__init__(daemon=True)
        self.path, self.length = path, length
        self.buffer = memoryview(mmap.mmap(-1, length, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
        self.done = 0
        self.error = None
        self.seconds = 0.0

    def run(self):
        begin = time.monotonic()
        try:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # cat and cp do: the kernel reads twice as far ahead
                while self.done < self.length:
                    got = os.readv(fd, [self.buffer[self.done:self.done + MIB]])
                    if not got:
                        raise Wrong(f"{self.path} ends at {self.done}")
                    self.done += got
            finally:
                os.close(fd)
        except (OSError, Wrong) as error:
            self.error = error
        self.seconds = time.monotonic() - begin

    def check(self, original):
        if self.error:
            raise Wrong(str(self.error))
        with open(original, "rb") as f:
            for off in range(0, self.length, 16 * MIB):
                piece = f.read(min(16 * MIB, self.length - off))
                expect(self.buffer[off:off + len(piece)] == piece, f"{self.path} was read wrong near {off}")


class Writer(threading.Thread):
    """Writes the first `length` bytes of `source` to a new file, until close returns."""

    def __init__(self, path, source, length):
        super().__init__(daemon=True)
        self.path, self.source, self.length = path, source, length
        self.error = None
        self.seconds = 0.0
        with open(source, "rb") as f:
            self.content = memoryview(mmap.mmap(f.fileno(), length, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
                                                prot=mmap.PROT_READ))

    def run(self):
        begin = time.monotonic()
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                done = 0
                while done < self.length:
                    done += os.write(fd, self.content[done:done + MIB])
            finally:
                os.close(fd)
        except OSError as error:
            self.error = error
        self.seconds = time.monotonic() - begin

    def check(self, arrived):
        if self.error:
            raise Wrong(str(self.error))
        with open(arrived, "rb") as f:
            for off in range(0, self.length, 16 * MIB):
                want = self.content[off:off + 16 * MIB]
                expect(f.read(len(want)) == want, f"{arrived} differs near {off}")
            expect(not f.read(1), f"{arrived} is too long")


def shell(command, timeout, output=None):
    """Run to the end; the whole group is killed when it takes too long. Return: seconds, CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    with open(output or os.devnull, "wb") as out:
        process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                   start_new_session=True)
        try:
            _, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Wrong(f"no end within {timeout:.0f} s") from None
    seconds = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    expect(process.returncode == 0, f"exit code {process.returncode}: {err.decode(errors='replace')[-300:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def same_trees(one, two, parts):
    for part in parts:
        done = subprocess.run(["diff", "-r", one / part, two / part], capture_output=True, check=False)
        expect(done.returncode == 0, f"{part}: {done.stdout.decode(errors='replace')[:300]}")


def lines(path):
    with open(path, "rb") as f:
        return sum(1 for _ in f)


LIST_COMMANDS = {"find": "find {} -ls", "du": "du {}", "ls": "ls -lR {}"}


def check_listing(work, data, amount, output):
    """As many lines as the same command gives on the server."""
    here = subprocess.run(LIST_COMMANDS[work].format(" ".join(str(data.remote / "tree" / p) for p in amount.parts)),
                          shell=True, capture_output=True, check=True).stdout.count(b"\n")
    expect(lines(output) == here, f"{lines(output)} lines, {here} on the server")


def check_result(work, data, amount):
    """What a command has left behind."""
    if work == "read":
        expect(filecmp.cmp(data.scratch / "got", data.remote / amount.file, shallow=False), "what was read differs")
    elif work == "write":
        expect(filecmp.cmp(data.remote / "new", data.local / amount.file, shallow=False), "what was written differs")
    elif work == "tar":
        same_trees(data.scratch / "got", data.remote / "small", amount.parts)
    elif work == "cp in":
        same_trees(data.remote / "new", data.local / "new", amount.parts)
    elif work == "cp out":
        same_trees(data.scratch / "got", data.remote / "tree", amount.parts)
    elif work == "rm":
        expect(not (data.remote / "new").exists(), "it is still there")
    elif work == "cp inside":
        expect(filecmp.cmp(data.remote / "new", data.remote / amount.file, shallow=False), "the copy differs")


class MountWorks:
    """The works on a mount. Each returns a dict: seconds, and what else it has found; it is checked after the clock stopped."""

    def __init__(self, mounted, data, link, timeout):
        self.mounted, self.dir, self.data, self.link, self.timeout = mounted, mounted.dir, data, link, timeout
        self.checks = []  # called when the counts have been taken

    def run(self, work, amount):
        guard = threading.Timer(self.timeout, self.mounted.abort)
        guard.start()
        try:
            return getattr(self, work.replace(" ", "_"))(amount)
        finally:
            guard.cancel()

    def _together(self, *threads):
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        for thread in threads:
            expect(thread.error is None, f"{thread.path}: {thread.error}")
        return seconds

    def _read(self, name, amount):
        reader = Reader(self.dir / name, amount.length)
        seconds = self._together(reader)
        self.checks.append(lambda: reader.check(self.data.remote / name))
        return {"seconds": seconds, "bytes": amount.length}

    def read(self, amount):
        return self._read("big0", amount)

    def read_again(self, amount):
        return self._read("big1", amount)

    def write(self, amount):
        writer = Writer(self.dir / "new", self.data.local / "big", amount.length)
        seconds = self._together(writer)
        self.checks.append(lambda: writer.check(self.data.remote / "new"))
        return {"seconds": seconds, "bytes": amount.length}

    def both_ways(self, amount):
        reader = Reader(self.dir / "big0", amount.length)
        writer = Writer(self.dir / "new", self.data.local / "big", amount.length)
        seconds = self._together(reader, writer)
        self.checks.append(lambda: reader.check(self.data.remote / "big0"))
        self.checks.append(lambda: writer.check(self.data.remote / "new"))
        return {"seconds": seconds, "bytes": amount.length, "read_seconds": reader.seconds,
                "write_seconds": writer.seconds}

    def readers(self, amount):
        """The smallest share of the eight when the first of them is done."""
        readers = [Reader(self.dir / f"reader{i}", amount.length) for i in range(files.READERS)]
        shares = []

        def watch():
            while all(reader.done < amount.length and not reader.error for reader in readers):
                time.sleep(0.005)
            done = [reader.done for reader in readers]
            shares.append(min(done) / (sum(done) / len(done)) if sum(done) else 0)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        seconds = self._together(*readers)
        watcher.join()
        for i, reader in enumerate(readers):
            self.checks.append(lambda r=reader, n=i: r.check(self.data.remote / f"reader{n}"))
        return {"seconds": seconds, "bytes": amount.length * files.READERS, "least_share": shares[0]}

    def _list(self, work, amount):
        output = self.data.scratch / "listing"
        paths = " ".join(shlex.quote(str(self.dir / "tree" / part)) for part in amount.parts)
        seconds, _ = shell(LIST_COMMANDS[work].format(paths), self.timeout, output)
        self.checks.append(lambda: check_listing(work, self.data, amount, output))
        return {"seconds": seconds}

    def find(self, amount):
        return self._list("find", amount)

    def du(self, amount):
        return self._list("du", amount)

    def ls(self, amount):
        return self._list("ls", amount)

    def tar(self, amount):
        archive = self.data.scratch / "tar"
        seconds, _ = shell(f"tar -C {self.dir}/small -c {' '.join(amount.parts)} | cat >{archive}", self.timeout)

        def check():
            (self.data.scratch / "got").mkdir()
            subprocess.run(["tar", "-C", self.data.scratch / "got", "-xf", archive], check=True)
            same_trees(self.data.scratch / "got", self.data.remote / "small", amount.parts)

        self.checks.append(check)
        return {"seconds": seconds}

    def cp_in(self, amount):
        sources = " ".join(str(self.data.local / "new" / part) for part in amount.parts)
        seconds, _ = shell(f"mkdir {self.dir}/new && cp -r {sources} {self.dir}/new", self.timeout)
        self.checks.append(lambda: same_trees(self.data.remote / "new", self.data.local / "new", amount.parts))
        return {"seconds": seconds}

    def rsync_in(self, amount):
        sources = " ".join(str(self.data.local / "new" / part) for part in amount.parts)
        seconds, _ = shell(f"rsync -a {sources} {self.dir}/new", self.timeout)
        self.checks.append(lambda: same_trees(self.data.remote / "new", self.data.local / "new", amount.parts))
        return {"seconds": seconds}

    def cp_out(self, amount):
        sources = " ".join(str(self.dir / "tree" / part) for part in amount.parts)
        seconds, _ = shell(f"mkdir {self.data.scratch}/got && cp -r {sources} {self.data.scratch}/got", self.timeout)
        self.checks.append(lambda: check_result("cp out", self.data, amount))
        return {"seconds": seconds}

    def git_clone(self, amount):
        seconds, _ = shell(f"git clone -q file://{self.data.local}/repository {self.dir}/new", self.timeout)
        self.checks.append(lambda: same_trees(self.data.remote / "new", self.data.local / "repository", ["files"]))
        return {"seconds": seconds}

    def rm(self, amount):
        seconds, _ = shell(f"rm -rf {self.dir}/new", self.timeout)
        self.checks.append(lambda: check_result("rm", self.data, amount))
        return {"seconds": seconds}

    def cp_inside(self, amount):
        seconds, _ = shell(f"cp {self.dir}/{amount.file} {self.dir}/new", self.timeout)
        self.checks.append(lambda: check_result("cp inside", self.data, amount))
        return {"seconds": seconds, "bytes": amount.length}

    def stat(self, amount):
        """The median of cold stats, one after another, from when the copy has reached a third."""
        os.stat(self.dir / "cold")
        reader = Reader(self.dir / "big0", amount.length)
        reader.start()
        while reader.done < amount.length // 3 and reader.is_alive():
            time.sleep(0.002)
        times = []
        while reader.done < amount.length * 0.9 and reader.is_alive() and len(times) < files.COLD_FILES:
            begin = time.monotonic()
            os.stat(self.dir / "cold" / f"f{len(times)}")
            times.append(time.monotonic() - begin)
        reader.join()
        self.checks.append(lambda: reader.check(self.data.remote / "big0"))
        expect(times, "the copy was over before the first stat")
        times.sort()
        return {"seconds": times[len(times) // 2], "worst": times[-1], "samples": len(times), "copy": reader.seconds}
