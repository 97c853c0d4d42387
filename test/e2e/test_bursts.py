"""Round trips, counted by the relay: dependent requests that leave together, and servers where they cannot."""

import os
import stat
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

import rawsftp as fx
from scripted import OPENSSH_EXTENSIONS
from waiting import wait_until

pytestmark = pytest.mark.own_user

PROVABLE = {**OPENSSH_EXTENSIONS, "limits@openssh.com": b"1", "expand-path@openssh.com": b"1"}


@pytest.fixture
def counted(who, area, direct, relays, mounter):
    """A mount of area/srv through a relay; .trips(work) tells how many round trips `work` took."""
    srv = area / "srv"
    who.call(os.mkdir, srv)
    relay = relays(direct.port, delay=2, sftp=True)
    mount = mounter.direct(who, relay.port, directory=srv)

    def calm():
        stats = relay.stats()
        sent = sum(stats["requests"].values())
        # the proof of the start, CLOSEs and what else nobody waits for
        wait_until(lambda: sum(relay.stats()["replies"].values()) >= sent, 10, "answers")

    def trips(work):
        calm()
        relay.command("reset")
        who.call(work)
        calm()
        stats = relay.stats()
        return SimpleNamespace(trips=stats["round_trips"], requests=stats["requests"], stats=stats)

    return SimpleNamespace(srv=srv, dir=mount.dir, trips=trips, who=who, relay=relay)


def fill(who, directory, count=10, length=100):
    """Files of long ago: with times of now every lifetime would be the shortest."""
    def work():
        directory.mkdir(exist_ok=True)
        for i in range(count):
            (directory / f"f{i}").write_bytes(b"%d" % i * length)
        for path in [*directory.iterdir(), directory]:
            os.utime(path, (1e9, 1e9))
    who.call(work)


def test_small_file_in_one_round_trip(counted):
    fill(counted.who, counted.srv / "d")
    assert counted.trips(lambda: os.listdir(counted.dir / "d")).trips <= 2  # LSTAT, then the listing in one write
    found = counted.trips(lambda: (counted.dir / "d/f3").read_bytes())
    # OPEN, FSTAT and READ together; the CLOSE is not waited for
    assert found.trips <= 2
    assert found.requests == {"OPEN": 1, "FSTAT": 1, "READ": 1, "CLOSE": 1}
    assert counted.who.call(lambda: (counted.dir / "d/f3").read_bytes()) == b"3" * 100


def test_known_names_cost_nothing(counted):
    fill(counted.who, counted.srv / "d")
    d = counted.dir / "d"
    counted.who.call(os.listdir, d)
    assert counted.trips(lambda: [os.stat(d / f"f{i}") for i in range(10)]).trips == 0
    assert counted.trips(lambda: [(d / f"none{i}").exists() for i in range(10)]).trips == 0


def test_links_travel_with_the_listing(counted):
    """Where the links of a listed directory lead costs one round trip for all of them, and then nothing."""
    fill(counted.who, counted.srv / "d")
    for i in range(20):
        counted.who.call(os.symlink, f"f{i % 10}", counted.srv / f"d/l{i}")
    targets = {f"l{i}": f"f{i % 10}" for i in range(20)}

    def look():
        assert {name: os.readlink(counted.dir / "d" / name) for name in targets} == targets

    assert counted.trips(lambda: [os.listdir(counted.dir / "d"), look()]).trips <= 3
    assert counted.trips(look).trips == 0


@pytest.mark.parametrize("name, work, most", [
    ("chmod", lambda d: os.chmod(d / "f1", 0o600), 1),
    ("chown", lambda d: os.chown(d / "f1", os.getuid(), os.getgid()), 1),
    ("utime", lambda d: os.utime(d / "f1", (1e9, 1e9)), 1),
    ("truncate", lambda d: os.truncate(d / "f1", 3), 1),
    ("rename", lambda d: os.rename(d / "f1", d / "other"), 1),
    ("unlink", lambda d: os.unlink(d / "f1"), 1),
    ("mkdir", lambda d: os.mkdir(d / "new"), 1),
    ("symlink", lambda d: os.symlink("f1", d / "new"), 1),
    ("link", lambda d: os.link(d / "f1", d / "new"), 1),
])
def test_one_change_one_round_trip(counted, name, work, most):
    fill(counted.who, counted.srv / "d")
    counted.who.call(os.listdir, counted.dir / "d")
    assert counted.trips(lambda: work(counted.dir / "d")).trips <= most


def write_new(path):
    with open(path, "xb", buffering=0) as file:
        file.write(b"x" * 4096)


def overwrite(path):
    with open(path, "wb", buffering=0) as file:
        file.write(b"y" * 4096)


# Round trips of one, on names of a listed directory ("d") and on the only name, "f", of directories that are not.
COSTS = [
    ("stat, cold", 1, lambda m, i: os.stat(m / f"cold/stat{i}/f")),
    ("stat again", 0, lambda m, i: os.stat(m / f"cold/stat{i}/f")),
    ("stat four levels down, cold", 4, lambda m, i: os.stat(m / f"cold/deep{i}/a/b/c/f")),
    ("stat of no file, cold", 1, lambda m, i: os.path.exists(m / f"cold/none{i}/g")),
    ("stat of no file, again", 0, lambda m, i: os.path.exists(m / f"cold/none{i}/g")),
    ("stat of no file, listed", 0, lambda m, i: os.path.exists(m / f"d/none{i}")),
    ("open, read, cold", 2, lambda m, i: (m / f"cold/read{i}/f").read_bytes()),
    ("open, read, listed", 1, lambda m, i: (m / f"d/r{i}").read_bytes()),
    ("read again", 1, lambda m, i: (m / f"d/r{i}").read_bytes()),
    ("create, write", 2, lambda m, i: write_new(m / f"d/new{i}")),
    ("stat after it", 0, lambda m, i: os.stat(m / f"d/new{i}")),
    ("overwrite", 2, lambda m, i: overwrite(m / f"d/f{i}")),
    ("mkdir", 1, lambda m, i: os.mkdir(m / f"d/dir{i}")),
    ("rmdir", 1, lambda m, i: os.rmdir(m / f"d/dir{i}")),
    ("symlink", 1, lambda m, i: os.symlink("f0", m / f"d/link{i}")),
    ("readlink, cold", 2, lambda m, i: os.readlink(m / f"cold/link{i}/f")),
    ("link", 1, lambda m, i: os.link(m / f"d/f{i}", m / f"d/hard{i}")),
    ("chmod", 1, lambda m, i: os.chmod(m / f"d/f{i}", 0o600)),
    ("chmod, cold", 2, lambda m, i: os.chmod(m / f"cold/chmod{i}/f", 0o600)),
    ("chown", 1, lambda m, i: os.chown(m / f"d/f{i}", os.getuid(), os.getgid())),
    ("utime", 1, lambda m, i: os.utime(m / f"d/f{i}", (1e9, 1e9))),
    ("truncate", 1, lambda m, i: os.truncate(m / f"d/f{i}", 7)),
    ("rename", 1, lambda m, i: os.rename(m / f"d/f{i}", m / f"d/moved{i}")),
    ("rename, replacing", 1, lambda m, i: os.rename(m / f"d/moved{i}", m / f"d/r{i}")),
    ("rename, cold", 3, lambda m, i: os.rename(m / f"cold/rename{i}/f", m / f"cold/rename{i}/g")),
    ("unlink", 1, lambda m, i: os.unlink(m / f"d/r{i}")),
    ("unlink, cold", 2, lambda m, i: os.unlink(m / f"cold/unlink{i}/f")),
    ("statvfs", 1, lambda m, i: os.statvfs(m / f"d/s{i}")),
]
TIMES = 3


def test_what_each_operation_costs(counted):
    """Exact round trips of one operation after another; a CLOSE that nobody waits for may be the last of them."""
    srv = counted.srv

    def make():
        for i in range(TIMES):
            for name in ("stat", "deep", "none", "read", "link", "chmod", "rename", "unlink"):
                place = srv / f"cold/{name}{i}/{'a/b/c' if name == 'deep' else ''}"
                place.mkdir(parents=True)
                if name == "link":
                    os.symlink("f0", place / "f")
                elif name != "none":
                    (place / "f").write_bytes(b"content")
        (srv / "d").mkdir()
        for name in (f"{c}{i}" for c in "frs" for i in range(TIMES)):
            (srv / "d" / name).write_bytes(b"content")
        for top, _, names in os.walk(srv, topdown=False):
            for name in names:
                os.utime(os.path.join(top, name), (1e9, 1e9), follow_symlinks=False)
            os.utime(top, (1e9, 1e9))

    counted.who.call(make)
    counted.who.call(os.listdir, counted.dir / "cold")
    counted.who.call(os.listdir, counted.dir / "d")
    wrong = []
    for name, cost, work in COSTS:
        found = counted.trips(lambda work=work: [work(counted.dir, i) for i in range(TIMES)])
        closes = 1 if found.requests.get("CLOSE") else 0
        if not TIMES * cost <= found.trips <= TIMES * cost + closes:
            wrong.append((name, cost, found.trips, found.requests))
    assert not wrong, "\n".join(map(str, wrong))


def test_fsync_is_one_round_trip(counted):
    """What was written and fsync@openssh.com leave together."""
    path = counted.dir / "f"
    counted.who.call(path.write_bytes, b"x")
    read, write = os.pipe()
    go, going = os.pipe()

    def hold():
        with open(path, "r+b", buffering=0) as file:
            os.write(write, b"!")
            os.read(go, 1)
            file.write(b"y" * 5000)
            os.fsync(file.fileno())
            os.write(write, b"!")
            os.read(go, 1)

    holder = threading.Thread(target=counted.who.call, args=(hold,))
    holder.start()
    os.read(read, 1)

    def sync():
        os.write(going, b"!")
        os.read(read, 1)

    found = counted.trips(sync)
    os.write(going, b"!")
    holder.join()
    for fd in (read, write, go, going):
        os.close(fd)
    assert found.trips == 1 and found.requests["WRITE"] == 1


def test_listings_in_few_round_trips(counted):
    """The name, and the entries in windows that grow; the last round trip or two only find the end, and nobody waits."""
    for count, most in ((10, 2), (1000, 6), (10000, 8)):
        place = counted.srv / f"n{count}"

        def make(place=place, count=count):
            place.mkdir()
            for i in range(count):
                os.close(os.open(place / f"entry{i:05}", os.O_CREAT | os.O_WRONLY, 0o644))

        counted.who.call(make)
        found = counted.trips(lambda count=count: len(os.listdir(counted.dir / f"n{count}")) == count or 1 / 0)
        assert found.trips <= most, (count, found.requests)


def test_new_tree_in_two_round_trips_a_file(counted):
    """git looks at each directory when it has made the first file in it; it has not to wait for that"""
    def checkout():
        top = counted.dir / "new"
        os.mkdir(top)
        for d in range(4):
            os.mkdir(top / f"d{d}")
            for f in range(5):
                (top / f"d{d}/f{f}").write_bytes(b"x" * 1000)
                os.lstat(top / f"d{d}")

    # `new` is looked up and made; each directory, two for a file; the last CLOSE
    assert counted.trips(checkout).trips <= 2 + 4 * (1 + 5 * 2) + 1


def test_new_file_in_two_round_trips(counted):
    fill(counted.who, counted.srv / "d")
    d = counted.dir / "d"
    counted.who.call(os.listdir, d)

    def write_two():
        for name in ("one", "two"):
            with open(d / name, "wb") as file:
                file.write(b"x" * 5000)
            os.stat(d / name)

    # create, write at close; the second one's create leaves with the first one's CLOSE
    assert counted.trips(write_two).trips <= 2 * 2 + 1


def test_new_file_is_read_back_without_a_read(counted):
    """Also where the kernel has not kept its pages: git reads its pack so, a linker what it has written."""
    content = os.urandom(3_000_000)

    def forget_and_read(path):
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for place in (2_999_000, 1_234_567, 70_000, 0, 2_000_000):
                assert os.pread(file.fileno(), 10_000, place) == content[place:place + 10_000]

    def work():
        with open(counted.dir / "new", "xb", buffering=0) as file:
            for place in range(0, len(content), 30_000):
                file.write(content[place:place + 30_000])
            os.fsync(file.fileno())
        os.rename(counted.dir / "new", counted.dir / "renamed")
        forget_and_read(counted.dir / "renamed")
        forget_and_read(counted.dir / "renamed")

    found = counted.trips(work)
    assert "READ" not in found.requests, found.requests
    counted.who.call(lambda: (counted.srv / "renamed").write_bytes(content[::-1]))
    os.utime(counted.srv / "renamed", (1e9, 1e9))
    assert counted.who.call((counted.dir / "renamed").read_bytes) == content[::-1]


def test_parallel_stats_are_not_serialised(counted):
    fill(counted.who, counted.srv, 40)
    counted.relay.command("delay 100")

    def work():
        start = threading.Barrier(40)

        def look(i):
            start.wait()
            os.stat(counted.dir / f"f{i}")

        threads = [threading.Thread(target=look, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert counted.trips(work).trips <= 3


def run(*argv):
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL)


def test_trees_in_and_out(counted, area):
    """cp -r in and out, tar x and rm -rf: round trips a file."""
    fill(counted.who, area / "from", 50, 1000)
    counted.who.call(run, "tar", "cf", area / "t.tar", "-C", area, "from")
    counted.who.call(os.mkdir, counted.dir / "t")
    assert counted.trips(lambda: run("cp", "-r", area / "from", counted.dir / "to")).trips <= 50 * 2.2
    assert counted.trips(lambda: run("tar", "xf", area / "t.tar", "-C", counted.dir / "t")).trips <= 50 * 3
    assert counted.trips(lambda: run("cp", "-r", counted.dir / "to", area / "back")).trips <= 50 * 1.2
    run("diff", "-r", area / "from", area / "back")
    run("diff", "-r", area / "from", counted.srv / "t/from")
    assert counted.trips(lambda: run("rm", "-rf", counted.dir / "to")).trips <= 50 * 1.15
    for i in range(50):
        assert os.stat(counted.srv / f"t/from/f{i}").st_mtime == 1e9


def test_git_clone_in_two_round_trips_a_file(counted, area):
    """Two for a file, one for a directory, and what git does before and after the checkout: 17 small files, 9 locks, 15
    directories, the pack."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "safe.directory=*"]
    source = area / "source"

    counted.who.call(os.mkdir, source)
    for d in range(10):
        fill(counted.who, source / f"d{d}", 10)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        counted.who.call(run, *git, "-C", source, *words)
    found = counted.trips(lambda: run(*git, "clone", "-q", f"file://{source}", counted.dir / "clone"))
    assert found.trips <= 10 * (1 + 10 * 2) + 190, found.requests
    run("diff", "-r", "-x", ".git", source, counted.srv / "clone")


def test_rsync_into_the_mount(counted, area):
    """create, write, and one each for times, mode and rename of the temporary file; nothing is read back."""
    fill(counted.who, area / "from", 50, 1000)
    found = counted.trips(lambda: run("rsync", "-a", f"{area / 'from'}/", counted.dir / "to"))
    assert found.trips <= 50 * 5 + 8
    assert found.requests["OPEN"] == 50 and "READ" not in found.requests
    run("diff", "-r", area / "from", counted.srv / "to")
    for i in range(50):
        assert os.stat(counted.srv / f"to/f{i}").st_mtime == 1e9


def test_reopened_after_its_write(counted):
    """Read just after it was written: known here, but neither its permissions nor another's word are passed over."""
    path, other = counted.dir / "f", counted.srv / "f"

    def write():
        path.unlink(missing_ok=True)
        path.write_bytes(b"ours" * 100)
        os.utime(path, (1e9, 1e9))

    def read_back():
        assert path.read_bytes() == b"ours" * 100

    counted.who.call(write)
    assert counted.trips(read_back).trips == 0

    def times_hide_nothing():
        write()
        other.write_bytes(b"else" * 100)
        os.utime(path, (2e9, 2e9))  # now no time tells that the bytes are others
        wait_until(lambda: path.read_bytes() == b"else" * 100, 10, "the other program's bytes")

    counted.who.call(times_hide_nothing)

    def unreadable():
        write()
        os.chmod(path, 0o200)
        if os.getuid():
            with pytest.raises(PermissionError):
                path.read_bytes()

    counted.who.call(unreadable)


def test_modes_and_times_of_copies_stay(counted, area):
    """Setuid survives tar xp and cp -a, and so do times: owner, mode, data, times arrive in an order that keeps them."""
    source = area / "from"
    fill(counted.who, source, 3)
    for i, mode in enumerate((0o4755, 0o2711, 0o640)):
        counted.who.call(os.chmod, source / f"f{i}", mode)
    counted.who.call(run, "tar", "cf", area / "t.tar", "-C", area, "from")
    counted.who.call(os.mkdir, counted.dir / "t")
    counted.who.call(run, "tar", "xpf", area / "t.tar", "-C", counted.dir / "t")
    counted.who.call(run, "cp", "-a", source, counted.dir / "a")
    counted.who.call(run, "rsync", "-a", f"{source}/", counted.dir / "r")
    for copy in ("t/from", "a", "r"):
        for i, mode in enumerate((0o4755, 0o2711, 0o640)):
            found = os.stat(counted.srv / copy / f"f{i}")
            assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (mode, 1e9), (copy, i)


def test_narrowed_before_the_data(counted):
    """fchmod 0600 is on the server when it returns, and before any data."""
    def work():
        fd = os.open(counted.dir / "secret", os.O_CREAT | os.O_WRONLY, 0o666)
        os.fchmod(fd, 0o600)
        assert stat.S_IMODE(os.stat(counted.srv / "secret").st_mode) == 0o600
        assert os.stat(counted.srv / "secret").st_size == 0
        os.write(fd, b"x" * 100)
        os.close(fd)
        assert (counted.srv / "secret").read_bytes() == b"x" * 100

    counted.who.call(work)


def test_times_stick_and_end(counted):
    """Times set between writes: those after the last write stay, a write after them moves mtime."""
    def work():
        with open(counted.dir / "stays", "wb", buffering=0) as file:
            file.write(b"x")
            os.utime(file.fileno(), (1e9, 1e9))
        assert os.stat(counted.srv / "stays").st_mtime == 1e9
        assert os.stat(counted.dir / "stays").st_mtime == 1e9
        before = int(time.time()) - 2
        with open(counted.dir / "moves", "wb", buffering=0) as file:
            os.utime(file.fileno(), (1e9, 1e9))
            file.write(b"x")
        assert os.stat(counted.srv / "moves").st_mtime >= before

    counted.who.call(work)


def test_attributes_before_the_rename(counted):
    """A file that is renamed while open has its mode and times under the new name at once."""
    def work():
        with open(counted.dir / "tmp", "wb", buffering=0) as file:
            file.write(b"x")
            os.fchmod(file.fileno(), 0o755)
            os.utime(file.fileno(), (1e9, 1e9))
            os.rename(counted.dir / "tmp", counted.dir / "final")
            found = os.stat(counted.srv / "final")
            assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o755, 1e9)
        assert os.stat(counted.srv / "final").st_mtime == 1e9

    counted.who.call(work)


def test_copy_within_the_server(counted):
    """cp inside the mount: no data on the wire, holes and the rest right."""
    def make():
        with open(counted.srv / "big", "wb") as file:
            file.write(os.urandom(1 << 20))
            file.seek(64 << 20)
            file.write(os.urandom(1 << 20))

    counted.who.call(make)
    found = counted.trips(lambda: run("cp", counted.dir / "big", counted.dir / "copy"))
    assert found.requests.get("WRITE", 0) == 0
    assert found.trips <= 10
    assert found.stats["up_bytes"] + found.stats["down_bytes"] < 1 << 20
    run("cmp", counted.srv / "big", counted.srv / "copy")


class Handles:
    """Handle numbers as a server gives them out."""

    def __init__(self, server, take):
        self.server, self.take, self.free, self.live, self.made = server, take, [], {}, 0
        for kind in (fx.OPEN, fx.OPENDIR):
            server.on(kind, self.open)
        server.on(fx.CLOSE, self.close)

    def open(self, request):
        plain = (self.server._do_open if request.kind == fx.OPEN else self.server._do_opendir)
        try:
            plain(request)
        except KeyError:
            return request.status(fx.FX_NO_SUCH_FILE)
        inner = list(self.server.handles)[-1]
        handle = self.take(self)
        assert handle not in self.live
        self.server.handles[handle] = self.server.handles.pop(inner)
        self.live[handle] = request.path
        return request.handle(handle)

    def close(self, request):
        if self.live.pop(request.path, None) is not None:
            self.free.append(request.path)
        return None

    def new(self):
        self.made += 1
        return fx.u32(self.made - 1)


def last_freed(h):
    return h.free.pop() if h.free else h.new()


def first_freed(h):
    return h.free.pop(0) if h.free else h.new()


def counting(h):
    return h.new()


def lowest_free(h):
    return h.free.pop(h.free.index(min(h.free))) if h.free else h.new()


def random_after(count):
    def take(h):
        h.opened = getattr(h, "opened", 0) + 1
        return os.urandom(8) if h.opened > count else last_freed(h)
    return take


@pytest.mark.parametrize("take, proven, refuted", [
    pytest.param(last_freed, True, False, id="as OpenSSH"),
    pytest.param(first_freed, True, True, id="first freed first"),
    pytest.param(counting, False, False, id="never reused"),
    pytest.param(random_after(0), False, False, id="random"),
    pytest.param(random_after(2), True, True, id="random after the proof"),
    pytest.param(random_after(9), True, True, id="random later"),
    pytest.param(lowest_free, True, True, id="lowest free"),
])
def test_other_handles(who, scripted, mounter, take, proven, refuted):
    """However a server numbers its handles: everything is read right, opened once, and closed."""
    scripted.extensions = PROVABLE
    handles = Handles(scripted, take)
    for i in range(12):
        scripted.tree.entries[b"/d%d" % i] = None
        for j in range(3):
            scripted.tree.entries[b"/d%d/f%d" % (i, j)] = b"content %d %d" % (i, j)
    mount = mounter.direct(who, scripted.port)

    def work():
        held = [open(mount.dir / f"d{i}/f0", "rb") for i in range(0, 6, 2)]
        for i in range(12):
            assert sorted(os.listdir(mount.dir / f"d{i}")) == ["f0", "f1", "f2"]
            for j in range(3):
                assert (mount.dir / f"d{i}/f{j}").read_bytes() == b"content %d %d" % (i, j)
            if i % 4 == 3:
                held.pop(0).close()
            (mount.dir / f"d{i}/new").write_bytes(b"new %d" % i)
        for file in held:
            file.close()

    who.call(work)
    assert [scripted.tree.entries[b"/d%d/new" % i] for i in range(12)] == [b"new %d" % i for i in range(12)]
    wait_until(lambda: not handles.live, 10, "every handle closed")
    created = [path for kind, path in scripted.seen if kind == "OPEN" and path.endswith(b"/new")]
    assert len(created) == len(set(created)), "opened twice"
    assert ("can be foretold" in mount.log_text()) == proven
    assert ("no more bursts" in mount.log_text()) == refuted
