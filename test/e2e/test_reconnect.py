"""Connections that are lost: nothing old arrives late, nothing is tried that a person must do, and the way back is quick."""

import os
import signal
import subprocess

import pytest

from conftest import login_args
from mount import run_sftpfs
from program import Program
from server import Sshd, keygen, kill_all
from test_commands import status
from waiting import wait_until

pytestmark = pytest.mark.own_user

QUICK = {"ServerAliveInterval": "1", "ServerAliveCountMax": "2"}
HANG = 60.0


@pytest.fixture
def own_sshd(top, people, area):
    """A server that may be harmed."""
    server = Sshd(top / f"sshd-{area.name}", users=people.values())
    yield server
    server.stop()


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def reconnects(who, mount):
    return status(who, mount.dir)["reconnects"]


def connected(who, mount):
    return status(who, mount.dir)["state"] == "connected"


def test_old_server_that_wakes_up_overwrites_nothing_newer(who, own_sshd, mounter, area):
    """Its processes are stopped when a WRITE comes. After the reconnect the same bytes are written again; then the old
    server goes on, and finds its connection reset."""
    (area / "target").write_bytes(b"-" * 4096)
    os.chown(area / "target", who.uid, who.gid)
    mount = mounter(who, own_sshd.target(who, area), login_args(own_sshd, who, **QUICK))
    ready, go = os.pipe(), os.pipe()

    def writer():
        target = os.open(mount.dir / "target", os.O_WRONLY)
        os.write(ready[1], b"r")
        os.read(go[0], 1)
        os.pwrite(target, b"OLD." * 1024, 0)
        os.fsync(target)  # ends when the new server has it
        os.pwrite(target, b"NEW!" * 1024, 0)
        os.close(target)

    program = Program(who, writer)
    assert os.read(ready[0], 1) == b"r"
    old = own_sshd.session_pids() + own_sshd.sftp_server_pids()
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    try:
        os.write(go[1], b"g")
        program.result(HANG)
        assert reconnects(who, mount) == 1
        assert (area / "target").read_bytes() == b"NEW!" * 1024
    finally:
        for pid in old:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), what="the old server ends")
    assert (area / "target").read_bytes() == b"NEW!" * 1024
    for end in (*ready, *go):
        os.close(end)


def test_stopped_sftp_server_is_a_pause(who, own_sshd, mounter, area):
    """sshd answers while sftp-server does not: many times the limit of silence pass without a reconnect or an error.
    SFTPFS_PAUSE=90 makes it as many seconds."""
    write(area / "f", b"x" * 100_000)
    mount = mounter(who, own_sshd.target(who, area), [*login_args(own_sshd, who, **QUICK), "-o", "log_level=3"])
    who.call(contents, mount.dir / "f")
    lanes = wait_until(lambda: status(who, mount.dir)["lanes"])
    pids = wait_until(lambda: len(own_sshd.sftp_server_pids()) == lanes and own_sshd.sftp_server_pids())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        program = Program(who, contents, mount.dir / "never-seen")
        before = mount.log_text().count("sign of life")
        silences = int(os.environ.get("SFTPFS_PAUSE", "6"))  # of a second each; 2 unanswered would end it
        wait_until(lambda: mount.log_text().count("sign of life") >= before + silences, 30 + 2 * silences)
        assert not program.ended()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    with pytest.raises(AssertionError, match="FileNotFoundError"):
        program.result(HANG)
    assert reconnects(who, mount) == 0
    assert set(pids) <= set(own_sshd.sftp_server_pids())


@pytest.mark.parametrize("harm", ["sftp-server", "session", "sshd"])
def test_killed_server_is_reached_again(who, own_sshd, mounter, area, harm):
    """While a large file is written and another is read: both are whole."""
    source = os.urandom(1 << 20) * 24
    write(area / "source", source)
    mount = mounter(who, own_sshd.target(who, area), login_args(own_sshd, who))
    writer = Program(who, write, mount.dir / "copy", source)
    reader = Program(who, lambda: contents(mount.dir / "source") == source)
    wait_until(lambda: os.path.exists(area / "copy") and os.path.getsize(area / "copy") > 1 << 20 or writer.ended())
    if harm == "sshd":
        own_sshd.stop()
        own_sshd.start()
    else:
        kill_all(own_sshd.sftp_server_pids() if harm == "sftp-server" else own_sshd.session_pids())
    writer.result(HANG)
    assert reader.result(HANG)
    assert (area / "copy").read_bytes() == source
    assert wait_until(lambda: connected(who, mount))


def waits_for_a_person(who, mount):
    return status(who, mount.dir)["state"] == "needs attention"


def test_refused_login_needs_attention(who, own_sshd, mounter, area):
    """No attempt after the refusal, until someone asks for one: by the subcommand, or SIGUSR1."""
    write(area / "f", b"still here")
    mount = mounter(who, own_sshd.target(who, area), login_args(own_sshd, who, IdentitiesOnly="yes"))
    for ask in (lambda: run_sftpfs(who, ["reconnect", mount.dir]), lambda: mount.process.send_signal(signal.SIGUSR1)):
        allowed = own_sshd.authorized.read_text()
        own_sshd.authorized.write_text("")
        own_sshd.stop()
        own_sshd.start()
        wait_until(lambda: waits_for_a_person(who, mount), what="the refusal is noticed")
        assert "needs attention" in mount.log_text()
        program = Program(who, contents, mount.dir / "f")
        attempts = mount.log_text().count("connecting again")
        own_sshd.authorized.write_text(allowed)
        assert waits_for_a_person(who, mount) and not program.ended()
        assert mount.log_text().count("connecting again") == attempts
        ask()
        assert program.result(HANG) == b"still here"
        assert connected(who, mount)


def test_changed_host_key_is_refused_for_the_life_of_the_mount(who, own_sshd, mounter, area):
    """Pinned under every policy: StrictHostKeyChecking=no would have taken any."""
    write(area / "f", b"still here")
    mount = mounter(who, own_sshd.target(who, area),
                    login_args(own_sshd, who, StrictHostKeyChecking="no", UserKnownHostsFile="/dev/null"))
    own_sshd.stop()
    true_keys = own_sshd.host_keys
    own_sshd.host_keys = [keygen(own_sshd.dir / "other", "ed25519")]
    own_sshd.start()
    wait_until(lambda: waits_for_a_person(who, mount), what="the other key is refused")
    program = Program(who, contents, mount.dir / "f")
    own_sshd.stop()
    own_sshd.host_keys = true_keys
    own_sshd.start()
    assert run_sftpfs(who, ["reconnect", mount.dir]).code == 0
    assert program.result(HANG) == b"still here"


@pytest.mark.parametrize("keep", ["yes", "no"])
def test_password_is_kept_or_not(who, people, own_sshd, mounter, area, keep):
    """keep_password=no: after a loss a person is needed."""
    if "user" not in people:
        pytest.skip("the password of the account is known only when root made it")
    login = people["user"]
    write(area / "f", b"still here")
    mount = mounter.background(who, own_sshd.target(login, area),
                               [*login_args(own_sshd, who, IdentityFile=None, PubkeyAuthentication="no",
                                            PreferredAuthentications="password"),
                                "-o", "password_stdin", "-o", f"keep_password={keep}", "-o", f"log_file={area}/log"],
                               input=login.password.encode() + b"\n")
    own_sshd.stop()
    own_sshd.start()
    if keep == "yes":
        assert who.call(contents, mount / "f") == b"still here"
    else:
        wait_until(lambda: status(who, mount)["state"] == "needs attention", what="it says that a person is needed")


def test_other_directory_after_the_reconnect_stays_lost(who, own_sshd, mounter, area):
    """The disk is not mounted there any more: rsync --delete must not see an empty tree."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = area / "disk"
    disk.mkdir(mode=0o700)
    mount_tmpfs(disk, who)
    try:
        write(disk / "f", b"on the disk")
        mount = mounter(who, own_sshd.target(who, disk), login_args(own_sshd, who))
        subprocess.run(["umount", "-l", disk], check=True)
        os.chmod(disk, 0o711)
        own_sshd.stop()
        own_sshd.start()
        wait_until(lambda: waits_for_a_person(who, mount), what="the other directory is noticed")
        assert "is not the directory that was mounted" in mount.log_text()
        program = Program(who, os.listdir, mount.dir)
        mount_tmpfs(disk, who)
        write(disk / "f", b"on the disk")
        assert not program.ended()
        assert run_sftpfs(who, ["reconnect", mount.dir]).code == 0
        assert program.result(HANG) == ["f"]
        mount.umount()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def mount_tmpfs(place, who):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,uid={who.uid},gid={who.gid},mode=755", "tmpfs", place],
                   check=True)


SOON = 2.5  # seconds: before the next attempt, which after five is 3.2 s away


def lost_for_long(who, mount, relay):
    """The network is gone, and some attempts have failed: the next one is far away."""
    relay.command("refuse on")
    relay.command("cut")
    wait_until(lambda: mount.log_text().count("connecting again") >= 5, what="attempts fail")


def test_new_route_ends_the_pause_between_attempts(who, direct, mounter, relays, area):
    if os.geteuid() != 0:
        pytest.skip("adding a route needs root")
    relay = relays(direct.port)
    mount = mounter.direct(who, relay.port, "-o", "log_level=2", directory=area)
    lost_for_long(who, mount, relay)
    relay.command("refuse off")
    route = ["203.0.113.77/32", "dev", "lo"]  # TEST-NET-3: nobody's
    subprocess.run(["ip", "route", "add", *route], check=True)
    try:
        wait_until(lambda: connected(who, mount), SOON, "an attempt that is not waited for")
        assert "a route has appeared" in mount.log_text()
    finally:
        subprocess.run(["ip", "route", "del", *route], check=True)


SLEEP = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	if (id == CLOCK_BOOTTIME && access(getenv("HAS_SLEPT"), F_OK) == 0)
		ts->tv_sec += 3600;
	return r;
}
"""


@pytest.fixture
def sleepy(area, who):
    """(environment of a daemon, function that puts its machine to sleep for an hour and wakes it up)"""
    (area / "sleep.c").write_text(SLEEP)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", area / "sleep.so", area / "sleep.c"], check=True)
    environment = {"LD_PRELOAD": str(area / "sleep.so"), "HAS_SLEPT": str(area / "slept")}
    for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
        if name in os.environ:
            environment[name] = os.environ[name] + ":verify_asan_link_order=0"
    return environment, (area / "slept").touch


def test_waking_up_asks_at_once(who, sshd, mounter, relays, area, sleepy):
    """Without the wake-up nothing would be asked for a quarter of an hour."""
    environment, sleep = sleepy
    relay = relays(sshd.port)
    login = login_args(sshd, who, port=relay.port, ServerAliveInterval="900")
    mount = mounter(who, sshd.target(who, area), [*login, "-o", "log_level=3"], env=environment)
    assert "sign of life" not in mount.log_text()
    sleep()
    status(who, mount.dir)  # on a real machine the timers wake it
    wait_until(lambda: "the machine has slept" in mount.log_text())
    wait_until(lambda: "sign of life" in mount.log_text())
    assert reconnects(who, mount) == 0


def test_waking_up_ends_the_pause_between_attempts(who, direct, mounter, relays, area, sleepy):
    environment, sleep = sleepy
    relay = relays(direct.port)
    mount = mounter.direct(who, relay.port, directory=area, env=environment)
    lost_for_long(who, mount, relay)
    relay.command("refuse off")
    sleep()
    status(who, mount.dir)
    wait_until(lambda: connected(who, mount), SOON, "an attempt that is not waited for")
