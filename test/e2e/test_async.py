"""-o async: changes are acknowledged at once and carried out afterwards. What is promised of them: counts, barriers,
whole files whatever happens, and failures that somebody is told."""

import errno
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from mount import run_sftpfs
from trees import same
from waiting import wait_until

pytestmark = pytest.mark.own_user

DELAY = 40  # ms each way: a program that waited for the server would take long enough to be counted
FILES = 200


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def small_tree(top, directories=10, files=FILES):
    """Like a source tree: small files in a few directories, modes and old times."""
    for d in range(directories):
        where = Path(top) / f"d{d}"
        where.mkdir(parents=True)
        for i in range(files // directories):
            write(where / f"f{i}", b"%d.%d " % (d, i) * (i * 40 + 1))
            os.chmod(where / f"f{i}", 0o755 if i % 7 == 0 else 0o640)
            os.utime(where / f"f{i}", (1_000_000_000, 1_100_000_000 + i))
        os.utime(where, (1_000_000_000, 1_200_000_000 + d))
    os.utime(top, (1_000_000_000, 1_300_000_000))


def sync(directory):
    """What `sync DIRECTORY` does: the barrier of the whole mount."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@pytest.fixture
def source(area, who):
    who.call(small_tree, area / "source")
    return area / "source"


@pytest.fixture
def far(area, who, direct, relays, mounter):
    """(mount, relay, directory on the server): far away, with -o async, and warm: it has made one file."""
    base = area / "base"
    who.call(os.mkdir, base)
    relay = relays(direct.port, delay=DELAY, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir)) and None)
    return mount, relay, base


COPIES = {
    "cp -r": ["cp", "-r", "{source}", "{target}"],
    "cp -a": ["cp", "-a", "{source}", "{target}"],
    "tar x": ["sh", "-c", "tar -C {source}/.. -cf - source | (mkdir {target}.up && tar -C {target}.up -xpf - && "
                          "mv {target}.up/source {target})"],
    "rsync -a": ["rsync", "-a", "{source}/", "{target}/"],
}


@pytest.mark.parametrize("tool", COPIES)
def test_round_trips_of_a_copy(who, far, source, tool):
    """A copy of 200 small files waits for the server less than 0.15 times a file, and is there after the barrier."""
    mount, relay, base = far
    relay.command("reset")
    who.run([word.format(source=source, target=mount.dir / "in") for word in COPIES[tool]])
    who.call(sync, mount.dir)
    assert relay.stats()["round_trips"] < 0.15 * FILES
    same(source, base / "in", times="-r" not in tool)
    relay.command("delay 0")
    who.call(same, source, mount.dir / "in", times="-r" not in tool)


def test_round_trips_of_a_copy_inside(who, area, direct, relays, mounter):
    """The same from the mount to the mount: what is read comes ahead, what is written is postponed."""
    base = area / "base"
    who.call(small_tree, base / "from")
    relay = relays(direct.port, delay=DELAY, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir)) and None)
    relay.command("reset")
    who.run(["cp", "-a", str(mount.dir / "from"), str(mount.dir / "to")])
    who.call(sync, mount.dir)
    assert relay.stats()["round_trips"] < 0.15 * FILES
    same(base / "from", base / "to")


def test_round_trips_of_rm_rf(who, area, direct, relays, mounter):
    base = area / "base"
    who.call(small_tree, base / "in", directories=4)
    relay = relays(direct.port, delay=DELAY, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir)) and None)
    relay.command("reset")
    who.run(["rm", "-rf", str(mount.dir / "in")])
    who.call(sync, mount.dir)
    assert relay.stats()["round_trips"] < 0.15 * FILES
    assert os.listdir(base) == ["warm"]


def names_below(top):
    return sorted(os.path.relpath(os.path.join(where, name), top) for where, _, files in os.walk(top) for name in files)


@pytest.mark.parametrize("way", ["sync", "fsync of another file", "sftpfs umount", "SIGTERM", "fusermount3 -u"])
def test_everything_is_on_the_server_after(who, far, source, way):
    """The barriers, and the ways a mount ends: each leaves the server complete. A mount ends with 0."""
    mount, _, base = far
    who.run(["cp", "-a", str(source), str(mount.dir / "in")])
    if way == "sync":
        who.run(["sync", str(mount.dir)])
    elif way == "fsync of another file":
        who.call(write_and_sync, mount.dir / "other")
    elif way == "sftpfs umount":
        assert run_sftpfs(who, ["umount", mount.dir]).code == 0
        same(source, base / "in")  # when it returns, not later
        mount.wait_ended()
    elif way == "SIGTERM":
        mount.process.send_signal(signal.SIGTERM)
        mount.wait_ended()
    else:
        mount.umount()
    same(source, base / "in")


def write_and_sync(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, b"other")
    os.fsync(fd)
    os.close(fd)


def test_synchronous_writes_are_on_the_server(who, far):
    mount, _, base = far

    def work():
        write(mount.dir / "before", b"b" * 1000)
        fd = os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DSYNC)
        os.write(fd, b"x" * 1000)
        found = [(base / name).read_bytes() for name in ("before", "f")]
        os.close(fd)
        return found
    assert who.call(work) == [b"b" * 1000, b"x" * 1000]


def test_the_mount_shows_what_is_pending(who, far):
    """Names, sizes, contents, listings and links are what programs have made of them, with nothing on the server yet."""
    mount, relay, _ = far
    relay.command("hold up on")  # nothing of it gets to the server

    def work():
        top = mount.dir
        os.mkdir(top / "warm" / "d")
        with open(top / "warm" / "d" / "f", "x+b") as f:
            f.write(b"0123456789")
            f.flush()
            os.fchmod(f.fileno(), 0o600)
            f.seek(5)
            assert f.read() == b"56789"
        os.utime(top / "warm" / "d" / "f", (1, 1_000_000_000))
        os.rename(top / "warm" / "d" / "f", top / "warm" / "d" / "g")
        os.symlink("g", top / "warm" / "d" / "l")
        info = os.stat(top / "warm" / "d" / "l")
        assert (info.st_size, info.st_mode & 0o7777, info.st_mtime) == (10, 0o600, 1_000_000_000)
        assert os.readlink(top / "warm" / "d" / "l") == "g"
        assert not os.path.exists(top / "warm" / "d" / "f")
        assert sorted(os.listdir(top / "warm" / "d")) == ["g", "l"]
        os.unlink(top / "warm" / "d" / "l")
        assert os.listdir(top / "warm" / "d") == ["g"]
    who.call(work)
    relay.command("hold up off")
    assert who.call(Path.read_bytes, mount.dir / "warm" / "d" / "g") == b"0123456789"  # delivered for it


OLD, NEW = b"old " * 300, b"new " * 5000
NAMES = [f"n{i}" for i in range(40)]


def make_old(directory):
    directory.mkdir()
    for name in NAMES:
        write(directory / name, OLD)


def make_new(directory):
    directory.mkdir()
    for name in NAMES:
        write(directory / name, NEW)


def whole(directory):
    """How many of the names are old and new; anything else fails."""
    found = [(directory / name).read_bytes() for name in NAMES]
    assert all(data in (OLD, NEW) for data in found), [len(d) for d in found if d not in (OLD, NEW)]
    return found.count(OLD), found.count(NEW)


# An editor saves with a new file beside the old one, then a rename over it.
SAVE_COMMANDS = {
    "editor": lambda area, top: ["sh", "-c", 'for n in $(ls "$0/new"); do cp "$0/new/$n" "$1/in/.$n.tmp" && '
                                             'mv "$1/in/.$n.tmp" "$1/in/$n"; done', str(area), str(top)],
    "rsync": lambda area, top: ["rsync", "-a", f"{area}/new/", f"{top}/in/"],
}
# tar removes the old file and writes the new one under its name: in the middle of it there may be none.
TAR = {"tar": lambda area, top: ["sh", "-c", 'tar -C "$0/new" -cf - . | tar -C "$1/in" -xf -', str(area), str(top)]}


# Where the connection breaks: (trigger, type of frame, which one). All of them with SFTPFS_ASYNC_CUTS=36.
KINDS = {"before-request": ("OPEN", "WRITE", "FSETSTAT", "EXTENDED"), "at-request": ("OPEN", "WRITE", "EXTENDED", ""),
         "at-reply": ("HANDLE", "STATUS", "ATTRS", "")}
CUTS = random.Random(5).sample([(when, kind, n) for when, kinds in KINDS.items() for kind in kinds for n in (2, 7, 20)],
                               int(os.environ.get("SFTPFS_ASYNC_CUTS", "2")))


@pytest.mark.parametrize("cut", CUTS, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.parametrize("save", SAVE_COMMANDS | TAR)
def test_a_cut_loses_nothing(who, area, direct_alone, relays, mounter, save, cut):
    """Broken at some request or reply it goes on: after the barrier all is new, and nothing else is there."""
    base = area / "base"
    who.call(lambda: (os.mkdir(base), make_old(base / "in"), make_new(area / "new")) and None)
    relay = relays(direct_alone.port, delay=5, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir / "in")) and None)
    when, kind, n = cut
    relay.command(f"cut-{when} {kind} {n}".replace("  ", " "))
    who.run((SAVE_COMMANDS | TAR)[save](area, mount.dir))
    who.run(["sync", str(mount.dir)])
    if (save, kind) != ("tar", "EXTENDED"):  # tar renames nothing
        relay.event()
    assert whole(base / "in") == (0, len(NAMES))
    assert names_below(base) == sorted(f"in/{name}" for name in NAMES)


@pytest.mark.parametrize("cut", CUTS, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.parametrize("save", SAVE_COMMANDS)
def test_a_killed_daemon_leaves_whole_files(who, area, direct, relays, mounter, save, cut):
    """The cable is pulled at some request and the daemon dies: what stands under its final name is old or new."""
    base = area / "base"
    who.call(lambda: (os.mkdir(base), make_old(base / "in"), make_new(area / "new")) and None)
    relay = relays(direct.port, delay=5, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir / "in")) and None)
    when, kind, n = cut
    relay.command(f"stall-{when} {kind} {n}".replace("  ", " "))
    with subprocess.Popen(SAVE_COMMANDS[save](area, mount.dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          **who.popen_args()) as worker:
        relay.event()
        mount.process.kill()
        mount.process.wait()
        who.run(["fusermount3", "-uz", str(mount.dir)])
        worker.wait(60)
    relay.close()
    whole(base / "in")


@pytest.fixture
def disk(top, who):
    """A small disk of the server, 96 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a tmpfs")
    path = top / f"disk-{who.name}"
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=96m,mode=755,uid={who.uid}", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("save", SAVE_COMMANDS)
def test_a_full_disk_leaves_the_old_version_and_is_reported(who, area, disk, direct, relays, mounter, save):
    """The disk fills up behind the mount's back, which acknowledges for seconds what cannot be done any more: every
    name stays whole, and the failure is told, by the barrier if not by a call, and by the end of the mount."""
    who.call(lambda: (make_old(disk / "in"), make_new(area / "new")) and None)
    relay = relays(direct.port, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=disk)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir / "in")) and None)
    fill(disk)
    done = subprocess.run(SAVE_COMMANDS[save](area, mount.dir), capture_output=True, check=False, **who.popen_args())
    told = subprocess.run(["sync", str(mount.dir)], capture_output=True, check=False, **who.popen_args())
    old, new = whole(disk / "in")
    assert old > 0, (old, new)
    assert done.returncode or told.returncode
    who.run(["fusermount3", "-u", str(mount.dir)])
    code = mount.process.wait(60)
    assert code == (9 if "not delivered: " in mount.log_text() else 0)
    if save == "editor":
        assert b"No space left" in told.stderr and code == 9


def fill(disk):
    with open(disk / "filler", "wb", buffering=0) as f:
        while True:
            try:
                f.write(b"x" * 65536)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                return


def test_what_cannot_be_delivered_after_the_unmount_is_told(who, area, direct, relays, mounter):
    """The server is gone: the mount ends with 9 after drain_timeout, with a line for each file."""
    base = area / "base"
    who.call(os.mkdir, base)
    relay = relays(direct.port, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async,drain_timeout=1", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir)) and None)
    relay.command("stall on")
    who.call(lambda: [write(mount.dir / "warm" / name, b"x") for name in NAMES] and None)
    mount.umount(expect=9)
    for name in NAMES:
        assert f"not delivered: '{base}/warm/{name}'" in mount.log_text()


def test_a_failure_is_told_by_the_next_call_on_the_name(who, far):
    """Somebody else makes the name in the same moment: the loser is told, and the winner's file is untouched."""
    mount, relay, base = far
    relay.command("hold up on")
    who.call(write_new, mount.dir / "warm" / "f", b"mine")
    who.call(write, base / "warm" / "f", b"theirs")
    relay.command("hold up off")
    wait_until(lambda: "failed: File exists" in mount.log_text(), what="the failure")
    assert who.call(error_of, Path.read_bytes, mount.dir / "warm" / "f") == errno.EEXIST
    assert wait_until(lambda: who.call(Path.read_bytes, mount.dir / "warm" / "f") == b"theirs")
    status = json.loads(run_sftpfs(who, ["status", mount.dir]).out)
    assert status["postponed_errors"] == 1 and status["postponed_pending"] == 0


# A change, what somebody else does on the server before it gets there, and the words for what comes of it.
SPOILT = {
    "new": (lambda d: write_new(d / "new", b"mine"), lambda d: os.mkdir(d / "new"), "File exists"),
    "dir": (lambda d: os.mkdir(d / "dir"), lambda d: write(d / "dir", b""), "File exists"),
    "sym": (lambda d: os.symlink("x", d / "sym"), lambda d: os.mkdir(d / "sym"), "File exists"),
    "hard": (lambda d: os.link(d / "source", d / "hard"), lambda d: os.mkdir(d / "hard"), "File exists"),
    "mode": (lambda d: os.chmod(d / "mode", 0o600), lambda d: os.unlink(d / "mode"), "No such file or directory"),
    "time": (lambda d: os.utime(d / "time", (1, 1)), lambda d: os.unlink(d / "time"), "No such file or directory"),
    "gone": (lambda d: os.unlink(d / "gone"), lambda d: os.unlink(d / "gone"), "No such file or directory"),
    "full": (lambda d: os.rmdir(d / "full"), lambda d: write(d / "full" / "f", b""), "Directory not empty"),
    "moved": (lambda d: os.rename(d / "from", d / "moved"), lambda d: os.unlink(d / "from"), "No such file or directory"),
    "onto": (lambda d: os.rename(d / "from2", d / "onto"), lambda d: os.mkdir(d / "onto"), "Is a directory"),
}


def test_no_failure_is_lost(who, area, direct, relays, mounter):
    """Every kind of change fails after it was acknowledged: each is counted and logged, the barrier reports that there was
    one, and what no program was told of a name is told by the end of the mount."""
    base = area / "base"

    def prepare():
        os.makedirs(base / "full")
        for name in ("source", "mode", "time", "gone", "from", "from2"):
            write(base / name, b"as it was")
        for where in (*base.iterdir(), base):
            os.utime(where, (1_000_000_000, 1_000_000_000))
    who.call(prepare)
    relay = relays(direct.port, sftp=True)
    mount = mounter.direct(who, relay.port, "-o", "async", directory=base)
    who.call(lambda: (os.mkdir(mount.dir / "warm"), os.listdir(mount.dir), os.listdir(mount.dir / "full")) and None)
    relay.command("hold up on")
    who.call(lambda: [change(mount.dir) for change, _, _ in SPOILT.values()] and None)
    who.call(lambda: [spoil(base) for _, spoil, _ in SPOILT.values()] and None)
    relay.command("hold up off")
    assert who.call(error_of, sync, mount.dir) != 0
    assert who.call(error_of, sync, mount.dir) == 0  # it was told
    status = json.loads(run_sftpfs(who, ["status", mount.dir]).out)
    assert status["postponed_errors"] == len(SPOILT) and status["postponed_pending"] == 0
    mount.umount(expect=9)
    for name, (_, _, words) in SPOILT.items():
        assert f"not delivered: '{base}/{name}': {words}" in mount.log_text(), name
    assert (base / "source").read_bytes() == b"as it was"


def write_new(path, data):
    with open(path, "xb") as f:
        f.write(data)


def error_of(function, *args):
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return 0
