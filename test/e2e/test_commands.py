"""Subcommands, the names the program is called by, and what the kernel hands over."""

import json
import os
import signal
import subprocess

import pytest

from conftest import login_args
from mount import daemons_of, is_mounted, run_sftpfs
from server import in_namespace
from waiting import wait_until

pytestmark = pytest.mark.own_user


def status(who, place):
    result = run_sftpfs(who, ["status", place])
    assert result.code == 0, result
    return json.loads(result.out)


def test_status_is_json_and_counts(who, sshd, mounter):
    source = sshd.target(who, "/etc")
    mount = mounter(who, source, login_args(sshd, who))
    before = status(who, mount.dir)
    assert before["source"] == source and before["root"] == "/etc" and before["state"] == "connected"
    assert "OpenSSH" in before["server"]
    assert before["host"] == "127.0.0.1" and before["user"] == who.name
    assert {"posix-rename@openssh.com", "fsync@openssh.com"} <= set(before["extensions"])
    assert before["write_bytes_max"] < before["packet_bytes_max"] <= 256 * 1024
    assert before["handles_max"] > 100 and before["uptime_s"] <= 60
    who.call(lambda: open(mount.dir / "services", "rb").read())
    after = status(who, mount.dir)
    assert after["read_bytes"] - before["read_bytes"] >= os.path.getsize("/etc/services")
    assert after["requests"].get("read", 0) > before["requests"].get("read", 0)


def test_umount_returns_when_the_daemon_has_ended(who, sshd, area):
    result = run_sftpfs(who, [*login_args(sshd, who), sshd.target(who, "/etc"), area])
    assert result.code == 0, result
    assert run_sftpfs(who, ["umount", area]).code == 0
    assert not is_mounted(area)
    assert not daemons_of(area)


def test_umount_of_a_busy_mount_says_so(who, sshd, mounter):
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    holder = subprocess.Popen(["sh", "-c", f"cd '{mount.dir}' && echo in && exec sleep 60"],
                              stdout=subprocess.PIPE, **who.popen_args())
    try:
        assert holder.stdout.readline() == b"in\n"
        result = run_sftpfs(who, ["umount", mount.dir])
        assert result.code == 7 and b"busy" in result.err.lower(), result
        assert is_mounted(mount.dir)
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")
def test_umount_tells_of_copies_in_other_namespaces(who, direct, mounter):
    """A container or service that was started meanwhile has a copy, and the daemon serves it until that is gone."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    mount = mounter.direct(who, direct.port, directory="/etc")
    # it keeps this mount alone, not those of tests that run at the same time
    keep = "awk '$3 ~ /^fuse/ && $2 != keep { print $2 }' keep=\"$0\" /proc/self/mounts | xargs -r umount -i -l; "
    holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c",
                               keep + "echo in && exec sleep 600", mount.dir], stdout=subprocess.PIPE)
    without = subprocess.Popen(in_namespace("echo in && exec sleep 600"), stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == without.stdout.readline() == b"in\n"
        result = run_sftpfs(who, ["umount", mount.dir])
        assert result.code == 7 and f"process {holder.pid} (sleep)".encode() in result.err, result
        assert not is_mounted(mount.dir) and mount.process.poll() is None
        assert os.path.exists(f"/proc/{holder.pid}/root{mount.dir}/passwd")
        holder.kill()
        mount.wait_ended()
        assert without.poll() is None
    finally:
        for process in (holder, without):
            process.kill()
            process.wait()


@pytest.mark.parametrize("command", ["status", "umount", "reconnect", "quiesce"])
def test_what_is_no_mount_is_refused(who, area, command):
    result = run_sftpfs(who, [command, area])
    assert result.code == 7 and len(result.lines) == 1 and str(area).encode() in result.err, result
    assert run_sftpfs(who, [command]).code == 1


def test_reconnect_keeps_the_mount(who, sshd, mounter):
    mount = mounter(who, sshd.target(who, "/etc"), login_args(sshd, who))
    assert run_sftpfs(who, ["reconnect", mount.dir]).code == 0
    mount.process.send_signal(signal.SIGUSR1)
    assert who.call(os.path.exists, mount.dir / "passwd")
    assert status(who, mount.dir)["state"] == "connected"


def start_stat(who, path):
    return subprocess.Popen(["stat", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            **who.popen_args())


def test_killed_program_is_let_go_while_the_server_is_silent(who, direct, mounter):
    mount = mounter.direct(who, direct.port, directory="/")
    direct.signal_all(signal.SIGSTOP)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            waiting = start_stat(who, mount.dir / f"never-seen-{number}")
            wait_until(lambda: status(who, mount.dir)["kernel_requests"] > 0)
            waiting.send_signal(number)
            assert waiting.wait(timeout=30) == -number
            waiting.communicate()
    finally:
        direct.signal_all(signal.SIGCONT)


def test_quiesce_answers_what_waits(who, direct, mounter):
    mount = mounter.direct(who, direct.port, directory="/")
    direct.signal_all(signal.SIGSTOP)
    try:
        waiting = start_stat(who, mount.dir / "never-seen")
        wait_until(lambda: status(who, mount.dir)["kernel_requests"] > 0)
        assert run_sftpfs(who, ["quiesce", mount.dir]).code == 0
        waiting.communicate(timeout=30)
        assert waiting.returncode == 1
    finally:
        direct.signal_all(signal.SIGCONT)
    assert who.call(os.path.exists, mount.dir / "etc")


@pytest.mark.parametrize("name, kind", [("mount.sftpfs", "fuse.sftpfs"), ("sshfs", "fuse.sshfs")])
def test_called_by_another_name(who, sshd, area, top, name, kind):
    link = top / f"{name}-{who.name}" / name
    link.parent.mkdir(exist_ok=True, mode=0o755)
    link.unlink(missing_ok=True)
    link.symlink_to(os.environ["SFTPFS"])
    args = ["-o", "ro,noauto,_netdev,user=x,nofail"] if name.startswith("mount") else ["-o", "ro,reconnect"]
    login = [str(word) for word in login_args(sshd, who)]
    if name.startswith("mount"):  # mount(8)'s grammar has neither -F nor -p
        login = [*login[4:], "-o", f"Port={sshd.port}"]
    done = who.run([str(link), sshd.target(who, "/etc"), str(area), *login, *args])
    try:
        assert done.returncode == 0, done
        line = next(line for line in open("/proc/self/mountinfo") if f" {area} " in line)
        assert f" - {kind} " in line and " ro," in line
    finally:
        who.run(["fusermount3", "-u", str(area)])


def test_writes_arrive_in_whole_mebibytes(who, sshd, mounter, area):
    """max_write is 1 MiB: the kernel splits nothing smaller."""
    mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-d"])
    who.call(lambda: os.write(os.open(mount.dir / "f", os.O_WRONLY | os.O_CREAT, 0o600), b"x" * (1 << 20)))
    assert wait_until(lambda: "opcode: WRITE (16)" in mount.log_text())
    wrote = [line for line in mount.log_text().splitlines() if "opcode: WRITE (16)" in line]
    assert len(wrote) == 1, wrote
