"""Fixtures. A test that takes `who` (also through `mnt`, `srv`, `area`...) runs as root and as an ordinary user: its
fixtures are made by the user who started the tests, its body runs as `who`."""

import contextlib
import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import account  # noqa: E402
from mount import Mount, daemons_of, is_mounted, options, run_sftpfs  # noqa: E402
from relay import Relay  # noqa: E402
from scripted import ScriptedServer  # noqa: E402
from server import DirectServer, Sshd  # noqa: E402
from trees import make_tree  # noqa: E402

serial = itertools.count()

# For what does not depend on who mounts.
anybody = pytest.mark.parametrize("who", ["user" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")


def pytest_pyfunc_call(pyfuncitem):
    """Run the body of the test as `who`."""
    who = pyfuncitem.funcargs.get("who")
    if who is None or pyfuncitem.get_closest_marker("own_user"):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    who.call(lambda: pyfuncitem.obj(**arguments) and None)
    return True


def pytest_configure(config):
    config.addinivalue_line("markers", "own_user: the body runs as the user who started the tests, not as `who`")
    config.addinivalue_line("markers", "alone: what passes in some time is counted; test/run gives it the machine")


# The files that take longest, these first: workers of pytest-xdist take whole files, in this order.
LONG = ["test_model", "test_scp", "test_limits", "test_way", "test_outage", "test_async", "test_tools", "test_reconnect"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: LONG.index(item.module.__name__) if item.module.__name__ in LONG else len(LONG))


def pytest_sessionfinish(session, exitstatus):
    """A skipped test is a failure, unless that was asked for."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and os.environ.get("SFTPFS_ALLOW_SKIP") != "1":
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    counts = {key: len(terminalreporter.stats.get(key, [])) for key in ("passed", "failed", "error", "skipped")}
    terminalreporter.write_line("e2e: " + " ".join(f"{key}={value}" for key, value in counts.items()))


def pytest_generate_tests(metafunc):
    given = any("who" in str(mark.args[:1]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "who" in metafunc.fixturenames and not given:
        names = ["root", "user"] if os.geteuid() == 0 else ["myself"]
        names = [name for name in names if name in os.environ.get("SFTPFS_WHO", name)]
        metafunc.parametrize("who", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def top():
    """A directory that every user can enter (pytest's own are private)."""
    path = Path(tempfile.mkdtemp(prefix="sftpfs-e2e-"))
    path.chmod(0o755)
    yield path
    if os.environ.get("SFTPFS_KEEP") != "1":
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def fuse_for_all():
    """/dev/fuse as Debian's udev rules make it; containers have it for root only. It stays so: putting it back would
    pull it away from another run."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    if os.geteuid() == 0 and mode & 0o066 != 0o066:
        os.chmod("/dev/fuse", mode | 0o666)


@pytest.fixture(scope="session")
def people(top, fuse_for_all):
    """Everybody who takes part, each with a home below `top`."""
    found = {"root": account.root(), "user": account.ordinary()} if os.geteuid() == 0 \
        else {"myself": account.myself()}
    for person in found.values():
        person.home = str(top / f"home-{person.name}")
        os.mkdir(person.home, 0o755)
        os.chown(person.home, person.uid, person.gid)
    return found


@pytest.fixture(scope="session")
def who(request, people):
    return people[request.param]


@pytest.fixture(scope="session")
def sshd(top, people):
    server = Sshd(top / "sshd", users=people.values())
    yield server
    server.stop()


def _own_dir(path, who):
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    os.chown(path, who.uid, who.gid)
    return path


@pytest.fixture(scope="session")
def tree(top, who):
    """A tree with everything that is hard to copy, on the local disk; made once for each user."""
    path = _own_dir(top / f"tree-{who.name}", who) / "tree"
    who.call(make_tree, path)
    return path


@pytest.fixture
def area(top, who):
    """A new directory for this test and user. What a failed test left mounted on it goes with the test."""
    path = _own_dir(top / f"t{next(serial)}", who)
    yield path
    for pid in daemons_of(path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if is_mounted(path):
        subprocess.run(["fusermount3", "-uz", str(path)], capture_output=True, check=False)


def login_args(sshd, who, port=None, **changes):
    """What every mount by ssh needs so that it depends on nothing outside the test. A change to None drops it.
    `port`: of a relay before the server."""
    empty = sshd.dir / "empty"
    empty.touch()
    known_hosts = sshd.known_hosts(f"known_hosts_{port or sshd.port}", port=port)
    values = {"IdentityFile": sshd.identity_for(who), "UserKnownHostsFile": known_hosts,
              "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes"}
    values.update(changes)
    return ["-F", empty, "-p", port or sshd.port, *options(**{k: v for k, v in values.items() if v is not None})]


class Mounter:
    """Makes mounts and ends them; a mount that the test did not end is unmounted and checked."""

    def __init__(self, top):
        self.top = top
        self.mounts = []
        self.places = []

    def place(self, who):
        return _own_dir(self.top / f"mnt{next(serial)}", who)

    def __call__(self, who, source, args, mountpoint=None, env=None):
        mountpoint = mountpoint or self.place(who)
        mount = Mount(who, source, mountpoint, args, self.top / f"{mountpoint.name}.log", env)
        self.mounts.append(mount)
        return mount

    def background(self, who, source, args, **kwargs):
        """As users do it, without -f. The mount point; it is unmounted in the end."""
        place = self.place(who)
        result = run_sftpfs(who, [*args, source, place], **kwargs)
        self.places.append((who, place))
        assert result.code == 0, result
        return place

    def direct(self, who, port, *args, directory="/", **kwargs):
        """Over a plain byte pipe, without ssh."""
        return self(who, f"127.0.0.1:{directory}", ["-o", f"directport={port}", *args], **kwargs)

    def finish(self):
        problems = []
        for mount in reversed(self.mounts):  # one may lie where an earlier one was killed
            try:
                mount.finish()
            except (AssertionError, subprocess.TimeoutExpired) as problem:
                problems.append(str(problem))
            finally:
                mount.discard()
        for who, place in self.places:
            who.run(["fusermount3", "-uz", str(place)], check=False)
            for pid in daemons_of(place):  # one that is lost would try to deliver for a while
                os.kill(pid, signal.SIGKILL)
        assert not problems, "\n".join(problems)


@pytest.fixture
def mounter(top):
    made = Mounter(top)
    yield made
    made.finish()


@pytest.fixture(scope="module")
def shared_mount(top, sshd, who):
    """One mount by ssh for all tests of a module and user: .dir is the mount, .base what it shows."""
    made = Mounter(top)
    base = _own_dir(top / f"base{next(serial)}", who)
    mount = made(who, sshd.target(who, base), login_args(sshd, who))
    yield SimpleNamespace(dir=mount.dir, base=base, mount=mount)
    made.finish()


@pytest.fixture
def pair(shared_mount, who):
    """(directory in the mount, the same on the server), new and empty. Made through the mount, which may know by a
    cached listing that nothing else is there."""
    name = f"p{next(serial)}"
    who.call(os.mkdir, shared_mount.dir / name)
    yield shared_mount.dir / name, shared_mount.base / name
    shared_mount.mount.check_alive()


@pytest.fixture
def mnt(pair):
    return pair[0]


@pytest.fixture
def srv(pair):
    return pair[1]


@pytest.fixture
def direct(who):
    server = DirectServer(who)
    yield server
    server.close()


@pytest.fixture
def direct_alone(who):
    """For one mount whose connection is cut."""
    server = DirectServer(who, alone=True)
    yield server
    server.close()


@pytest.fixture
def scripted():
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def relays():
    """Makes relays: relays(port, delay=25, sftp=True)."""
    made = []

    def make(*args, **kwargs):
        made.append(Relay(*args, **kwargs))
        return made[-1]

    yield make
    for relay in made:
        relay.close()
