"""Look-ahead over trees and small files: counts of round trips, what is never fetched, and what a second program that
changes the directory on the server may make the mount show. LOOKAHEAD_FULL=1 runs the long consistency test."""

import os
import random
import shutil
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import _own_dir, serial
from mount import options
from waiting import wait_until

# The daemon's part does not depend on who mounts; the counts are read where the relay was started.
pytestmark = [pytest.mark.own_user,
              pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")]

FULL = os.environ.get("LOOKAHEAD_FULL") == "1"
LONG_AGO = 1_600_000_000


def make_files(root, dirs, per_dir, size=3000):
    """dirs: paths below root. Files old enough to be proven."""
    for name in dirs:
        path = root / name
        path.mkdir(parents=True, exist_ok=True)
        for i in range(per_dir):
            file = path / f"file{i:03d}"
            file.write_bytes(f"{name}/{i} ".encode() * (size // 10))
            os.utime(file, (LONG_AGO, LONG_AGO))
    for path, _, _ in os.walk(root, topdown=False):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def far(top, who, direct, relays, mounter):
    """A tree on the server, and a function that mounts it anew through a relay that counts."""
    base = _own_dir(top / f"ahead{next(serial)}", who)
    relay = relays(direct.port, delay=5, sftp=True)

    def mount(*args, mountpoint=None):
        made = mounter.direct(who, relay.port, *args, directory=base, mountpoint=mountpoint)
        relay.command("reset")
        return made

    return SimpleNamespace(base=base, relay=relay, server=direct, mount=mount)


def requests(far, kind):
    return far.relay.stats()["requests"].get(kind, 0)


def trips(far):
    return far.relay.stats()["round_trips"]


TREE = [f"a{i}/b{j}" for i in range(4) for j in range(5)]
MODES = {"default": (), "async": ("-o", "async")}


@pytest.mark.parametrize("command", ["find . -ls", "du -a .", "ls -lR ."])
def test_a_tree_is_listed_level_by_level(who, far, command):
    """one round trip or two for a level, whatever the number of directories"""
    make_files(far.base, TREE, 5)
    mount = far.mount()
    here = subprocess.run(command.split(), cwd=far.base, capture_output=True, check=True).stdout
    there = subprocess.run(command.split(), cwd=mount.dir, capture_output=True, check=True).stdout
    assert len(there.splitlines()) == len(here.splitlines())
    assert trips(far) <= 8
    assert requests(far, "LSTAT") == 0
    assert requests(far, "OPENDIR") <= 27


@pytest.mark.parametrize("command", ["find {} -ls", "du {}", "ls -lR {}"])
def test_trees_given_one_by_one_are_listed_level_by_level(who, far, command):
    """arguments: after the first tree the directory that holds them is listed, and the others all at once"""
    make_files(far.base, [f"a{i}/b{j}" for i in range(8) for j in range(10)], 2)
    mount = far.mount()
    command = command.format(" ".join(f"a{i}" for i in range(8))).split()
    here = subprocess.run(command, cwd=far.base, capture_output=True, check=True).stdout
    there = subprocess.run(command, cwd=mount.dir, capture_output=True, check=True).stdout
    assert len(there.splitlines()) == len(here.splitlines())
    assert trips(far) <= 7
    assert requests(far, "OPENDIR") <= 1 + 8 + 80 + 2  # a listing or two of the beginning may be asked for again


@pytest.mark.parametrize("mode", ["default", "async"])
@pytest.mark.parametrize("command", ["tar c . | tar x -C {}", "cp -r . {}", "rsync -a ./ {}"])
def test_small_files_come_ahead_of_the_program(who, far, area, command, mode):
    """120 files in 24 directories cost far fewer round trips than files, and each is fetched once"""
    make_files(far.base, TREE, 6)
    mount = far.mount(*MODES[mode])
    out = area / "out"
    out.mkdir()
    subprocess.run(command.format(out), shell=True, cwd=mount.dir, check=True)
    subprocess.run(["diff", "-r", str(far.base), str(out)], check=True)
    assert trips(far) <= 40
    assert requests(far, "OPEN") <= 130


@pytest.mark.parametrize("command", ["tar -C {top} -c {names} | tar x -C {out}", "cp -r {paths} {out}",
                                     "tar c {paths} | tar x --strip-components={depth} -C {out}"])
def test_directories_given_one_by_one_are_a_tree(who, far, area, command):
    """arguments: the files of the directories behind the second come ahead too, and each once"""
    names = [f"part{i:02d}" for i in range(12)]
    make_files(far.base, reversed(names), 10)  # so that the listing's order is not that of the arguments, on tmpfs
    mount = far.mount()
    out = area / "out"
    out.mkdir()
    words = {"top": mount.dir, "out": out, "names": " ".join(names), "depth": len(mount.dir.parts) - 1,
             "paths": " ".join(str(mount.dir / name) for name in names)}
    subprocess.run(command.format(**words), shell=True, check=True)
    subprocess.run(["diff", "-r", str(far.base), str(out)], check=True)
    assert trips(far) <= 40
    assert requests(far, "OPEN") <= 130


def test_a_reread_asks_the_server_at_every_open_when_the_window_is_zero(who, far):
    """open_window=0: no open is answered from cache"""
    make_files(far.base, ["d"], 10)
    mount = far.mount(*options(open_window=0))
    for _ in range(2):
        for name in sorted(os.listdir(mount.dir / "d")):
            (mount.dir / "d" / name).read_bytes()
    assert requests(far, "OPEN") >= 20


def test_what_is_never_fetched_unasked(who, far):
    """large files, empty files, links and what is no regular file are left to the program: an OPEN of a fifo would stop the
    server for ever"""
    make_files(far.base, ["d"], 6)
    (far.base / "d" / "empty").write_bytes(b"")
    (far.base / "d" / "large").write_bytes(b"x" * 300_000)
    os.symlink("file000", far.base / "d" / "link")
    for i in range(6):
        os.mkfifo(far.base / "d" / f"file{i:03d}.fifo")
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(far.base / "d" / "file001.socket"))
    if os.geteuid() == 0:
        os.mknod(far.base / "d" / "file002.device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    os.utime(far.base / "d" / "large", (LONG_AGO, LONG_AGO))
    mount = far.mount()
    assert len(os.listdir(mount.dir / "d")) == len(os.listdir(far.base / "d"))
    for i in range(6):  # by name: what lies between two of them would be next
        (mount.dir / "d" / f"file{i:03d}").read_bytes()
    wait_until(lambda: requests(far, "CLOSE") >= 7, what="the files")
    assert requests(far, "OPEN") == 6
    assert far.relay.stats()["down_bytes"] < 100_000


def test_a_file_that_grew_or_shrank_is_read_to_its_end(who, far):
    """an open sees the size that the file has on the server, not the one of an earlier stat"""
    file = far.base / "f"
    file.write_bytes(b"A" * 10_000)
    os.utime(file, (LONG_AGO, LONG_AGO))
    mount = far.mount()
    seen = mount.dir / "f"
    assert seen.stat().st_size == 10_000
    for letter, size in ((b"B", 20_000), (b"C", 5_000), (b"D", 60_000)):
        file.write_bytes(letter * size)
        assert seen.read_bytes() == letter * size
    with open(seen, "rb") as old:
        file.write_bytes(b"E" * 90_000)
        assert seen.read_bytes() == b"E" * 90_000
        assert len(os.pread(old.fileno(), 200_000, 0)) == 90_000


def test_an_open_file_keeps_its_bytes_when_its_name_goes(who, far):
    """descriptors answered from what was fetched survive unlink and rename over their name"""
    make_files(far.base, ["d"], 8)
    mount = far.mount()
    d = mount.dir / "d"
    names = os.listdir(d)
    want = {name: (far.base / "d" / name).read_bytes() for name in names}
    held = {name: os.open(d / name, os.O_RDONLY) for name in names}
    os.unlink(d / names[5])
    os.rename(d / names[6], d / names[7])
    (far.base / "d" / names[4]).unlink()
    for name, fd in held.items():
        assert os.pread(fd, 10_000, 0) == want[name]
        os.fstat(fd)
        os.close(fd)
    assert (d / names[7]).read_bytes() == want[names[6]]


@pytest.mark.parametrize("mode", ["default", "async"])
def test_what_was_fetched_is_not_served_after_our_own_change(who, far, mode):
    """a file overwritten here between fetch and open reads as written; so does one held open"""
    make_files(far.base, ["d"], 8)
    mount = far.mount(*MODES[mode])
    d = mount.dir / "d"
    names = os.listdir(d)
    held = [os.open(d / name, os.O_RDONLY) for name in names[:4]]
    for name in names:
        with open(d / name, "wb") as f:
            f.write(b"new " + name.encode())
    for name, fd in zip(names, held):
        assert os.pread(fd, 10_000, 0) == b"new " + name.encode()
        os.close(fd)
    for name in names:
        assert (d / name).read_bytes() == b"new " + name.encode()


def open_on_server(far, path):
    return any(os.path.exists(link) and os.readlink(link) == str(path)
               for child in far.server.alive() for link in Path(f"/proc/{child.pid}/fd").iterdir())


def test_a_file_held_open_shows_what_is_appended(who, far):
    """a descriptor without a handle gets one while the file is open"""
    make_files(far.base, ["d"], 6)
    mount = far.mount(*options(dcache_timeout=1, attr_timeout=1))
    names = os.listdir(mount.dir / "d")
    held = [os.open(mount.dir / "d" / name, os.O_RDONLY) for name in names]
    wait_until(lambda: open_on_server(far, far.base / "d" / names[5]), what="a handle")
    with open(far.base / "d" / names[5], "ab") as f:
        f.write(b"more")
    size = (far.base / "d" / names[5]).stat().st_size

    def whole():
        os.stat(mount.dir / "d" / names[5])
        return len(os.pread(held[5], 100_000, 0)) == size

    wait_until(whole, 30, "what was appended")
    for fd in held:
        os.close(fd)


def test_parallel_programs_do_not_disturb_each_other(who, far, area):
    """two trees copied at the same time are both right"""
    make_files(far.base, [f"x/{d}" for d in TREE] + [f"y/{d}" for d in TREE], 4)
    mount = far.mount()
    running = [subprocess.Popen(["cp", "-r", str(mount.dir / name), str(area / name)]) for name in "xy"]
    assert [p.wait() for p in running] == [0, 0]
    for name in "xy":
        subprocess.run(["diff", "-r", str(far.base / name), str(area / name)], check=True)


def test_lookups_of_many_names_become_a_listing(who, far):
    """a program that asks for one name after another, as git status does, soon gets them from listings"""
    make_files(far.base, ["d"], 60)
    mount = far.mount()
    for i in range(60):
        assert os.stat(mount.dir / "d" / f"file{i:03d}").st_size > 0
        assert not os.path.exists(mount.dir / "d" / f"none{i:03d}")
    assert requests(far, "OPENDIR") == 1
    assert requests(far, "LSTAT") <= 20


# What the server is asked for a second time: stat of a file, of no file, a listing, where a link leads.
AGAIN = {
    "": (),
    "cache=no": ("file", "none", "list", "link"),
    "dir_cache=no": ("file", "none", "list", "link"),
    "dcache_timeout=0": ("file", "none", "list", "link"),
    "cache_timeout=0": ("file", "none", "list", "link"),
    "dcache_stat_timeout=0": ("file",),
    "dcache_dir_timeout=0": ("none", "list"),
    "dcache_link_timeout=0": ("link",),
    "negative_timeout=0": ("none",),
    "dcache_timeout=0,attr_timeout=600,entry_timeout=600": ("none", "list", "link"),
    "dcache_timeout=0,negative_timeout=600": ("file", "list", "link"),
}


@pytest.mark.parametrize("words", AGAIN)
def test_lifetimes_are_those_of_the_options(who, far, words):
    """the options of sshfs and of libfuse: what they name is asked for again, or not, and nothing else is"""
    make_files(far.base, ["d"], 1)
    (far.base / "file").write_bytes(b"x")
    os.symlink("target", far.base / "link")
    mount = far.mount(*(["-o", words] if words else []))
    works = {"file": lambda: os.stat(mount.dir / "file"), "none": lambda: os.path.exists(mount.dir / "none"),
             "list": lambda: os.listdir(mount.dir / "d"), "link": lambda: os.readlink(mount.dir / "link")}
    kinds = {"list": "OPENDIR", "link": "READLINK"}
    found = []
    for name, work in works.items():
        work()
        before = requests(far, kinds.get(name, "LSTAT"))
        work()
        if requests(far, kinds.get(name, "LSTAT")) > before:
            found.append(name)
    assert tuple(found) == AGAIN[words]


# --- a second program on the server -----------------------------------------------------------------------------------

def text(name, version, size):
    """Says on every line which file and version it is of, and its whole size in the first."""
    line = f"{name} {version:08d} {size:08d}\n".encode()
    return (line * (size // len(line) + 1))[:size - 1] + b"\n"


def check_text(name, data):
    """One version, whole. Return: the version."""
    first = data.split(b"\n", 1)[0].split()
    assert first[0] == name.encode(), data[:80]
    assert data == text(name, int(first[1]), int(first[2])), \
        f"{name}: {len(data)} bytes, of which the first say {first}, are not one version"
    return int(first[1])


GROWTH = b"".join(b"line %09d\n" % i for i in range(100_000))


class Writer(threading.Thread):
    """Changes the directory on the server: replaces, extends, removes and makes files, renames directories."""

    def __init__(self, base, seed):
        super().__init__(daemon=True)
        self.base, self.random, self.stopping = base, random.Random(seed), threading.Event()
        self.lock = threading.Lock()
        self.since = {}  # (dir, name) -> [(monotonic time, version)], the latest last
        self.version = 0
        self.grown = {}  # dir -> [(monotonic time, size)] of the file that is appended to
        for d in range(4):
            (base / f"d{d}").mkdir()
            for i in range(12):
                self.put(f"d{d}", f"f{i}")
            self.grow(f"d{d}")
            (base / f"d{d}" / "n0").write_bytes(b"")

    def put(self, directory, name):
        self.version += 1
        size = self.random.choice((100, 3_000, 40_000))
        temporary = self.base / f".{name}.new"
        temporary.write_bytes(text(name, self.version, size))
        os.replace(temporary, self.base / directory / name)
        with self.lock:
            self.since.setdefault((directory, name), []).append((time.monotonic(), self.version))

    def grow(self, directory):
        with self.lock:
            sizes = self.grown.setdefault(directory, [(0, 0)])
        size = sizes[-1][1]
        end = size + 15 * self.random.choice((1, 100, 1000))
        with open(self.base / directory / "grown", "ab", buffering=0) as f:
            f.write(GROWTH[size:end])
        with self.lock:
            sizes.append((time.monotonic(), min(end, len(GROWTH))))

    def another(self, directory):
        """The name n.. is another one from now on."""
        old, = (self.base / directory).glob("n*")
        new = old.with_name(f"n{int(old.name[1:]) + 1}")
        new.write_bytes(b"")
        old.unlink()

    def run(self):
        while not self.stopping.wait(0.002):
            directory, name = f"d{self.random.randrange(4)}", f"f{self.random.randrange(12)}"
            what = self.random.random()
            if what < 0.8:
                self.put(directory, name)
            elif what < 0.85:
                self.grow(directory)
            elif what < 0.9:
                self.another(directory)
            elif what < 0.95:
                (self.base / directory / name).unlink(missing_ok=True)
                self.put(directory, name)
            else:
                os.rename(self.base / directory, self.base / "moved")
                os.rename(self.base / "moved", self.base / directory)

    def oldest_allowed(self, directory, name, when):
        """The version that an open at `when` may show at worst."""
        with self.lock:
            old = [v for t, v in self.since[directory, name] if t <= when]
        return old[-1] if old else 0

    def least_size(self, directory, when):
        with self.lock:
            return [size for t, size in self.grown[directory] if t <= when][-1]


@pytest.mark.parametrize("mode", ["default", "async"])
def test_a_second_program_never_makes_a_mixture(who, far, area, mode):
    """files replaced on the server all the time: each read is one version, not older than open_window at its open; what
    grows is read to the end that it had then; and no listing of those times stays"""
    seed = int(os.environ.get("LOOKAHEAD_SEED", random.randrange(2 ** 32)))
    print("LOOKAHEAD_SEED", seed)
    writer = Writer(far.base, seed)
    mount = far.mount(*MODES[mode])
    writer.start()
    reads, slack = 0, 0.3
    try:
        for _ in range(200 if FULL else 12):
            for directory in os.listdir(mount.dir):
                if not directory.startswith("d"):
                    continue
                try:
                    names = os.listdir(mount.dir / directory)
                except FileNotFoundError:
                    continue
                for name in names:
                    opened = time.monotonic()
                    try:
                        with open(mount.dir / directory / name, "rb") as f:
                            data = f.read()
                    except FileNotFoundError:
                        continue
                    if name.startswith("n"):
                        continue
                    if name == "grown":
                        assert data == GROWTH[:len(data)]
                        assert len(data) >= writer.least_size(directory, opened - 1 - slack)
                        continue
                    version = check_text(name, data)
                    assert version >= writer.oldest_allowed(directory, name, opened - 1 - slack)
                    reads += 1
    finally:
        writer.stopping.set()
        writer.join()
    assert reads > 100

    def settled():
        return all(sorted(os.listdir(mount.dir / d)) == sorted(os.listdir(far.base / d)) for d in writer.grown) and \
            all(check_text(name, (mount.dir / d / name).read_bytes()) == versions[-1][1]
                for (d, name), versions in writer.since.items())

    wait_until(settled, 30, "the last versions")


# --- nothing is read twice --------------------------------------------------------------------------------------------

def down_bytes(far):
    return far.relay.stats()["down_bytes"]


@pytest.fixture
def sources(who, far):
    make_files(far.base, TREE, 5, size=20_000)
    (far.base / "newest").write_text("borg reads the files of the latest second again\n")
    return far


def test_second_git_status_on_a_new_mount_reads_nothing(who, sources):
    """the index knows the numbers and times that the next mount shows"""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "safe.directory=*"]
    first = sources.mount()
    for args in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["status", "--short"]):
        subprocess.run([*git, "-C", str(first.dir), *args], check=True)
    # what was written in the second of the index is looked at once more
    subprocess.run([*git, "-C", str(first.dir), "status", "--short"], check=True)
    first.umount()
    second = sources.mount()
    done = subprocess.run([*git, "-C", str(second.dir), "status", "--short"], check=True, capture_output=True)
    assert done.stdout == b""
    assert down_bytes(sources) < 400_000


def test_second_rsync_and_make_on_a_new_mount_do_nothing(who, sources, area):
    out = area / "copy"
    (sources.base / "Makefile").write_text("all: out\nout: a0/b0/file000\n\tcp $< $@\n")
    first = sources.mount()
    subprocess.run(["rsync", "-a", f"{first.dir}/", str(out)], check=True)
    subprocess.run(["make", "-s", "-C", str(first.dir)], check=True)
    first.umount()
    shutil.copy2(sources.base / "out", out / "out")
    shutil.copystat(sources.base, out)
    second = sources.mount()
    done = subprocess.run(["rsync", "-ain", f"{second.dir}/", str(out)], check=True, capture_output=True)
    assert done.stdout == b""
    done = subprocess.run(["make", "-C", str(second.dir)], check=True, capture_output=True)
    assert b"Nothing to be done" in done.stdout
    assert requests(sources, "OPEN") <= 3


@pytest.mark.parametrize("tool", ["borg", "restic"])
def test_second_backup_of_a_new_mount_reads_nothing(who, sources, area, tool):
    """restic compares names, numbers and times; borg (by ctime, size and inode) opens each file before that, and that it
    does not read them is noticed after the first one"""
    where = {"HOME": str(area), "BORG_REPO": str(area / "repo"), "RESTIC_REPOSITORY": str(area / "repo"),
             "RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "PATH": os.environ["PATH"]}
    init, create = (["borg", "init", "-e", "none"], ["borg", "create", "::{}", "."]) if tool == "borg" else \
        (["restic", "init"], ["restic", "backup", "--host", "h", "."])
    subprocess.run(init, env=where, check=True, capture_output=True, timeout=60)
    place, seen = None, []
    for turn in ("one", "two"):
        mount = sources.mount(mountpoint=place)
        place = mount.dir
        subprocess.run([word.format(turn) for word in create], env=where, cwd=place, check=True, capture_output=True,
                       timeout=120)
        seen.append(sources.relay.stats())
        mount.umount()
    first, second = seen
    files = list(sources.base.rglob("file*"))
    assert first["down_bytes"] > sum(f.stat().st_size for f in files)
    assert first["round_trips"] < len(files) / 2
    assert second["requests"].get("READ", 0) <= (8 if tool == "borg" else 0)  # the first one, and the newest
    assert second["round_trips"] < 1.3 * len(files)  # borg opens each, and the kernel once more for FS_IOC_GETFLAGS
    assert second["down_bytes"] < 150_000
