"""What is logged: levels and categories, one line per event of the connection, the server's words, and no contents."""

import contextlib
import os
import re
import socket
import subprocess
from base64 import b64encode

import pytest

import rawsftp as fx

from conftest import login_args
from logins import login, serve  # noqa: F401
from mount import run_sftpfs, sftpfs_binary
from scripted_ssh import Login
from server import free_port, in_namespace, kill_all
from test_commands import status
from waiting import wait_until

pytestmark = pytest.mark.own_user

SECRET = b"content-that-is-nobodys-business"


def lines_of(log):
    """(level, category, text) of each line of a log file."""
    found = []
    for line in log.read_text().splitlines():
        _, level, rest = line.split(" ", 2)
        category, text = rest.split(": ", 1)
        found.append((level, category, text))
    return found


@pytest.fixture
def logged(who, sshd, area, mounter):
    """logged(options) -> (mount, base directory on the server, log file)"""
    def make(options):
        base = area / "base"
        who.run(["mkdir", str(base)])
        log = area / "log"
        mount = mounter(who, sshd.target(who, base), [*login_args(sshd, who), "-o", f"log_file={log},{options}"])
        return mount, base, log
    return make


def use(who, mount, base):
    (base / "f").write_bytes(SECRET)
    assert who.call((mount.dir / "f").read_bytes) == SECRET
    who.call((mount.dir / "g").write_bytes, 100 * SECRET)


@pytest.mark.parametrize("level", [0, 1])
def test_level_0_is_silent(who, sshd, area, mounter, level):
    """On standard error, where level 1 speaks: of the mount, its use and its end, and of what fails meanwhile."""
    base = area / "base"
    who.run(["mkdir", str(base)])
    mount = mounter(who, sshd.target(who, base), [*login_args(sshd, who), "-o", f"log_level={level}"])
    use(who, mount, base)
    assert who.run(["rmdir", str(mount.dir / "none")], check=False).returncode != 0
    mount.umount()
    assert (mount.log_text() == "") == (level == 0), mount.log_text()


def test_level_2_has_a_line_per_request(logged, who):
    """With its number, type, name or place, what came of it and the time it took: as many lines as requests."""
    mount, base, log = logged("log_level=2")
    use(who, mount, base)
    who.run(["mv", str(mount.dir / "g"), str(mount.dir / "h")])
    wait_until(lambda: status(who, mount.dir)["in_flight"] == 0, what="all replies")
    sent = sum(status(who, mount.dir)["requests"].values())
    requests = [text for level, category, text in lines_of(log) if (level, category) == ("verbose", "sftp")
                and text.startswith("req=")]
    assert len(requests) == sent
    shape = re.compile(r'req=(\d+) [\w-]+( handle=\d+)?( "[^"]*"( to "[^"]*")?| off=\d+ len=\d+)?: .+ in \d+ ms$')
    assert all(shape.match(text) for text in requests), requests
    assert len({shape.match(text)[1] for text in requests}) == sent
    for part in (rf'OPEN .*"{base}/f": ok', rf'(READ|WRITE) .*off=0 len={100 * len(SECRET)}: ok',
                 rf'"{base}/g" to "{base}/h": ok'):
        assert any(re.search(part, text) for text in requests), (part, requests)


def test_level_3_has_no_contents(logged, who):
    """Of what is read, written and linked to only lengths, in our lines and in libssh's."""
    mount, base, log = logged("log_level=3")
    use(who, mount, base)
    mount.umount()
    text = log.read_bytes()
    for content in (SECRET, SECRET.hex().encode(), b64encode(SECRET)[:24]):
        assert content not in text
    assert f"WRITE sent, {len(SECRET) * 100 + 29} bytes".encode() in text
    assert f"len={len(SECRET)}: ok".encode() in text and b"libssh: " in text


def test_levels_of_categories(logged, who):
    mount, base, log = logged("log_level=0:sftp=2")
    use(who, mount, base)
    mount.umount()
    assert {category for _, category, _ in lines_of(log)} == {"sftp"}


def test_one_line_for_each_event_of_the_connection(logged, who, sshd):
    mount, base, log = logged("log_level=1")
    use(who, mount, base)
    kill_all(sshd.session_pids())
    wait_until(lambda: "continuing" in log.read_text(), what="a new connection")
    assert who.call((mount.dir / "f").read_bytes) == SECRET
    mount.umount()
    texts = [text for _, _, text in lines_of(log)]
    words = ["connected to", "host key of", "logged in to", "mounted", "connection lost", "connecting again",
             "connected to", "host key of", "logged in to", "connected again", "unmounted"]
    at = -1
    for word in words:
        at = next((i for i in range(at + 1, len(texts)) if texts[i].startswith(word)), None)
        assert at is not None, (word, texts)
    for word in set(words):
        assert sum(text.startswith(word) for text in texts) == words.count(word), (word, texts)


def test_server_s_own_words_are_in_the_log(who, scripted, area, mounter):
    """The errno of a refusal is one of few; why is what the server said."""
    log = area / "log"
    scripted.on(fx.MKDIR, lambda request: request.status(fx.FX_FAILURE, "group 7 has had enough"))
    mount = mounter.direct(who, scripted.port, "-o", f"log_file={log}")
    assert who.run(["mkdir", str(mount.dir / "d")], check=False).returncode != 0
    mount.umount()
    line, = [text for level, _, text in lines_of(log) if "group 7 has had enough" in text]
    assert line == "mkdir '/d' failed: Input/output error; the server says \"group 7 has had enough\""


def test_failed_start_in_the_foreground_says_why_once(who, sshd, area):
    for args in (login_args(sshd, who, UserKnownHostsFile="none"), login_args(sshd, who, IdentityFile="none"),
                 ["-F", "none", "-p", free_port()]):
        result = run_sftpfs(who, ["-f", *args, sshd.target(who, "/etc"), area])
        reasons = [line for line in result.lines if "127.0.0.1:/etc: " in line]
        assert result.code and len(reasons) == 1, result.err
        reason = reasons[0].split(":/etc: ", 1)[1]
        assert result.err.decode().count(reason) == 1, result.err


def test_versions(who):
    said = who.run([os.environ["SFTPFS"], "-V"]).stdout.decode()
    for word in ("sftpfs ", "libfuse 3.", "libssh 0.", "OpenSSL "):
        assert word in said, said


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_in_the_background_the_system_log_is_written(who, sshd, area):
    """/dev/log of a namespace is ours; the mount is used and ended in it."""
    place = area / "mnt"
    place.mkdir()
    missing = not os.path.exists("/dev/log")
    if missing:
        open("/dev/log", "x").close()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(area / "log"))
            log.setblocking(False)
            script = f'mount --bind {area}/log /dev/log && "$@" && cat {place}/hostname && {sftpfs_binary()} umount {place}'
            done = subprocess.run(
                in_namespace(script, "sh", sftpfs_binary(), *map(str, login_args(sshd, who)), sshd.target(who, "/etc"),
                             str(place)), capture_output=True, env=who.env(), timeout=60, check=False)
            assert done.returncode == 0 and done.stderr == b"", done
            lines = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    lines.append(log.recv(4096).decode().rstrip("\0\n"))
    finally:
        if missing:
            os.unlink("/dev/log")
    texts = [re.sub(r"^<30>.* sftpfs\[\d+\]: ", "", line) for line in lines]
    assert [t.split(" ")[1] for t in texts if t.startswith("main: ")] == ["mounted", "unmounted"], lines


def test_what_the_server_says_besides(serve, login, area):
    """Its banner is for the user; its debug messages are harmless, and only their coming is in the log, at level 2
    (libssh keeps their words to itself)."""
    class Talking(Login):
        def begin_auth(self, username):
            self.connection.send_debug("debug-words", always_display=True)
            self.connection.send_auth_banner("banner-words\n")
            return False
    log = area / "log"
    said = login(serve(Talking), run=run_sftpfs, args=["-o", f"log_level=2,log_file={log}"])
    assert "banner-words" in said and "debug-words" not in said
    assert ("verbose", "ssh", "the server sent a debug message") in lines_of(log)


def test_live_counters(who, sshd, area, mounter, relays):
    """They move while a file is written, and are zero when nothing happens."""
    relay = relays(sshd.port, rate=24_000_000)
    mount = mounter(who, sshd.target(who, area), login_args(sshd, who, port=relay.port))
    before = status(who, mount.dir)
    writing = subprocess.Popen(["dd", "if=/dev/zero", f"of={mount.dir}/f", "bs=1M", "count=8", "conv=fsync"],
                               stderr=subprocess.DEVNULL, **who.popen_args())
    moving = wait_until(lambda: (now := status(who, mount.dir))["in_flight_bytes"] > 0 and now, what="requests in flight")
    assert moving["in_flight"] > 0 and moving["dirty_bytes"] > 0 and moving["open_files"] == 1
    wait_until(lambda: status(who, mount.dir)["written_bytes_per_s"] > 100_000, what="a rate")
    assert writing.wait(60) == 0
    idle = wait_until(lambda: (now := status(who, mount.dir))["open_files"] == 0 and now["in_flight"] == 0 and now,
                      what="an idle mount")
    assert idle["in_flight_bytes"] == idle["dirty_bytes"] == idle["kernel_requests"] == 0
    assert idle["written_bytes"] - before["written_bytes"] == 8 << 20
    wait_until(lambda: status(who, mount.dir)["written_bytes_per_s"] == 0, what="no rate")


def test_hits_of_the_cache_are_counted(who, sshd, area, mounter):
    """A name and a listing come from the server the first time, from the cache the second time."""
    (area / "d").mkdir()
    (area / "d" / "f").write_bytes(b"x" * 100_000)
    mount = mounter(who, sshd.target(who, area), [*login_args(sshd, who), "-o", "entry_timeout=0,attr_timeout=0"])

    def use():
        before = status(who, mount.dir)
        who.call(lambda: [os.listdir(mount.dir / "d"), os.stat(mount.dir / "d" / "f"),
                          (mount.dir / "d" / "f").read_bytes()])
        after = status(who, mount.dir)
        return {key: after[key] - before[key] for key in after if key.endswith(("_hits", "_misses"))}
    first, second = use(), use()
    for kind in ("attr", "list"):
        assert first[f"{kind}_misses"] and second[f"{kind}_hits"] and not second[f"{kind}_misses"], (kind, first, second)
    assert all(now["open_hits"] + now["open_misses"] == 1 for now in (first, second)), (first, second)
    assert first["read_misses"] + first["read_hits"] > 0, first
