"""What is logged: levels and categories, one line per event of the connection, the server's words, and no contents."""

import os
import signal

import pytest

import rawsftp as fx

from conftest import login_args
from mount import run_sftpfs
from server import free_port
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


def test_level_0_is_silent(logged, who):
    mount, base, log = logged("log_level=0")
    use(who, mount, base)
    mount.umount()
    assert log.read_bytes() == b"" and mount.log_text() == ""


def test_level_2_has_a_line_per_request(logged, who):
    mount, base, log = logged("log_level=2")
    use(who, mount, base)
    mount.umount()
    requests = [text for level, category, text in lines_of(log) if level == "verbose" and category == "sftp"]
    assert any("OPEN" in text and "/f" in text and "req=" in text and " ms" in text for text in requests), requests


def test_level_3_has_no_contents(logged, who):
    mount, base, log = logged("log_level=3")
    use(who, mount, base)
    mount.umount()
    assert SECRET not in log.read_bytes() and len(lines_of(log)) > 50


def test_levels_of_categories(logged, who):
    mount, base, log = logged("log_level=0:sftp=2")
    use(who, mount, base)
    mount.umount()
    assert {category for _, category, _ in lines_of(log)} == {"sftp"}


def test_one_line_for_each_event_of_the_connection(logged, who, sshd):
    mount, base, log = logged("log_level=1")
    use(who, mount, base)
    for pid in sshd.session_pids():
        os.kill(pid, signal.SIGKILL)
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
    assert "mkdir" in line and "d" in line


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
