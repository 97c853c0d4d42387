"""A program of 300 operations while the connection is cut, or falls silent, at every point in turn: it must see what it sees
on a sound connection, and leave the same tree.

SFTPFS_SWEEP=full takes every point (6 minutes), SFTPFS_SWEEP=N one in N; the default is one in 20. Over a plain byte pipe the
relay knows requests from replies and cuts at a chosen one; through SSH it cuts at a byte.

What the old server had received when it was cut off, and carries out after the new one has got newer data, is no part of the
promise: there is no second server before the first has ended."""

import contextlib
import hashlib
import os
import random
import re
import stat
import time

import pytest

from conftest import login_args
from everything import FUSE_OPERATIONS, OLD, differences, run
from program import Program
from waiting import wait_until

pytestmark = [pytest.mark.own_user,
              pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")]

STEP = {"full": 1}.get(os.environ.get("SFTPFS_SWEEP", "20")) or int(os.environ.get("SFTPFS_SWEEP", "20"))
HANG = 60.0  # seconds that one repetition may take


def snapshot(top):
    """What the server has: kind, mode, size, content, link target; times where the program has set them."""
    found = {}
    for where, directories, files in os.walk(top):
        for path in [where, *(os.path.join(where, name) for name in directories + files)]:
            info = os.lstat(path)
            content = None
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                content = (info.st_size, hashlib.sha256(open(path, "rb").read()).hexdigest())
            mtime = int(info.st_mtime) if abs(info.st_mtime - OLD) < 1000 else None
            found[os.path.relpath(path, top)] = (oct(info.st_mode), content, mtime)
    return found


def run_and_deliver(top):
    """With -o async the tree is what it should be behind a barrier, which may tell of the unlinked file."""
    seen = run(top)
    fd = os.open(top, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(fd)
    os.close(fd)
    return seen


class Sweep:
    def __init__(self, who, mount, base, relay, function=run):
        self.who, self.mount, self.base, self.relay, self.function = who, mount, base, relay, function
        self.serial = 0
        self.excused = []
        self.expected = self.tree = None

    def connected(self):
        """The connection stands and nothing of the last repetition is on its way."""
        self.who.call(lambda: os.path.exists(self.mount.dir / f"ask{time.monotonic_ns()}"))

    def once(self, arm=None, release=()):
        """One repetition; `arm` is told to the relay before, `release` to bring it back. True: the trigger has fired."""
        self.serial += 1
        name = f"r{self.serial}"
        self.connected()
        self.relay.command("reset")
        if arm:
            self.relay.command(arm)
        program = Program(self.who, self.function, self.mount.dir / name)
        try:
            fired = self._watch(program, arm, release)
            seen = program.result(HANG)
        except AssertionError as problem:
            raise AssertionError(f"{arm}: {problem}\n{self.mount.log_text()[-6000:]}") from None
        finally:
            program.kill()
            self.relay.disarm()
            self.relay.command("stall off")
        tree = snapshot(self.base / name)
        if self.expected is None:
            self.expected, self.tree = seen, tree
        wrong, excused = differences(self.expected, seen)
        assert not wrong, f"{arm}: {wrong[:10]}\n{self.mount.log_text()[-6000:]}"
        self.excused += [(arm, *one) for one in excused]
        self._same_tree(arm, tree, {step[1].split(", ")[0] for step in excused})
        self.mount.check_alive()
        return fired

    def _watch(self, program, arm, release):
        if not arm:
            return False
        wait_until(lambda: program.ended() or not self.relay.no_event(), HANG, "the program ends or the trigger fires")
        if self.relay.no_event():
            return False
        self.relay.event()
        for command in release:
            self.relay.command(command)
        return True

    def _same_tree(self, arm, tree, excused):
        differing = {name: (self.tree.get(name), tree.get(name)) for name in self.tree.keys() | tree.keys()
                     if self.tree.get(name) != tree.get(name)}
        assert not differing, f"{arm}: on the server {differing} (excused: {excused})\n{self.mount.log_text()[-6000:]}"

    def everywhere(self, form, count, release=(), first=1):
        """Every STEP-th of `count` points, a different set for each form."""
        fired = sum(self.once(form.format(n), release) for n in range(first, count + 1, STEP))
        points = len(range(first, count + 1, STEP))
        print(f"{form}: {points} points, {fired} fired, {len(self.excused)} excused")
        # What is sent depends on time a little: a point near the end may not be reached.
        assert fired >= points * 0.8, f"only {fired} of {points} triggers fired"


@pytest.fixture
def base(area, who):
    return area


@pytest.fixture
def direct_sweep(who, direct_alone, mounter, relays, base):
    relay = relays(direct_alone.port, sftp=True)
    return Sweep(who, mounter.direct(who, relay.port, directory=base), base, relay)


def counts(sweep):
    """(requests, replies) of an undisturbed repetition."""
    sweep.once()
    sweep.once()
    stats = sweep.relay.stats()
    return sum(stats["requests"].values()), sum(stats["replies"].values())


def test_every_fuse_operation_appears(who, direct, mounter, base):
    """And is asked of us: the kernel's requests, as libfuse prints them."""
    mount = mounter.direct(who, direct.port, "-d", directory=base)
    seen = who.call(run, mount.dir / "r")
    assert len(seen) >= 300
    asked = set(re.findall(r"opcode: (\w+) \(", mount.log_text()))
    assert not FUSE_OPERATIONS - asked, FUSE_OPERATIONS - asked


@pytest.mark.parametrize("form, release", [
    ("cut-at-request {}", []),
    ("cut-at-reply {}", []),
    ("stall-at-request {}", ["stall off"]),
    ("stall-at-reply {}", ["stall off"]),
    ("stall-at-reply {}", ["cut", "stall off"]),
], ids=["cut-request", "cut-reply", "stall-request", "stall-reply", "stall-then-cut"])
def test_at_every_frame(direct_sweep, form, release):
    requests, replies = counts(direct_sweep)
    count = requests if "request" in form else replies
    direct_sweep.everywhere(form, count, release, first=1 + sum(map(ord, form)) % STEP)


@pytest.mark.parametrize("function, options", [(run, []), (run_and_deliver, ["-o", "async"])], ids=["default", "async"])
def test_at_random_bytes_through_ssh(who, sshd, mounter, relays, base, function, options):
    """100 cuts, 100 stalls that end with a cut; with handshake and login counted too."""
    relay = relays(sshd.port)
    args = [*login_args(sshd, who, port=relay.port), *options]
    sweep = Sweep(who, mounter(who, sshd.target(who, base), args), base, relay, function)
    sweep.once()
    sweep.once()
    stats = relay.stats()
    rng = random.Random(4)
    points = 0
    for number in range(rng.randrange(STEP), 200, STEP):
        way = rng.choice(["up", "down"])
        arm = f"{'cut' if number < 100 else 'stall'}-after-bytes {way} {rng.randrange(1, int(stats[f'{way}_bytes'] * 0.95))}"
        points += sweep.once(arm, [] if number < 100 else ["cut", "stall off"])
    print(f"{points} cuts through ssh, {len(sweep.excused)} excused")
    assert points
