"""The server's own SHA-256: `sftpfs hash`, user.sftpfs.sha256, and `-o verify`."""

import errno
import hashlib
import os
import shutil
import subprocess

import pytest

import rawsftp as fx
from conftest import _own_dir, login_args
from rawsftp import packet, string, u32
from scripted import OPENSSH_EXTENSIONS, ScriptedServer
from server import Sshd
from test_basics import ODD_NAMES, read, write
from trees import make_tree, same

XATTR = "user.sftpfs.sha256"


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def small_tree(top, who):
    path = _own_dir(top / f"verify-{who.name}", who) / "tree"
    who.call(make_tree, path, 12, 80)
    return path


@pytest.fixture
def ssh_mount(request, mounter, sshd, who, area):
    """With the options that the test is parametrized with."""
    return mounter(who, sshd.target(who, area), [*login_args(sshd, who), *request.param])


def mounted_with(options):
    return pytest.mark.parametrize("ssh_mount", [["-o", options] if options else []], indirect=True, ids=[options or "-"])


def hash_command(path):
    done = subprocess.run([os.environ["SFTPFS"], "hash", path], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.strip()


@pytest.fixture
def peer():
    servers = []

    def start(extensions=None):
        servers.append(ScriptedServer({**OPENSSH_EXTENSIONS, **(extensions or {})}))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


def check_file(server, answer):
    """The extension check-file: `answer` makes the hash out of the file's bytes."""
    def handler(request):
        assert request.rest.string() == b"sha256"
        assert (request.rest.u64(), request.rest.u64(), request.rest.u32()) == (0, 0, 0)
        value = answer(server.tree.entries[request.path])
        return packet(fx.EXTENDED_REPLY, u32(request.id) + string(b"sha256") + value)
    server.on(b"check-file-name", handler)


def honest(data):
    return hashlib.sha256(data).digest()


def lie(data):
    return hashlib.sha256(data + b"!").digest()


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    return errno.errorcode[caught.value.errno]


@mounted_with("")
def test_hash_is_the_servers(ssh_mount, area, who):
    data = os.urandom(300_000)
    write(area / "f", data)
    code, out, err = hash_command(ssh_mount.dir / "f")
    assert (code, out) == (0, f"{digest(data)}  {ssh_mount.dir}/f\n"), err
    subprocess.run(["sha256sum", "-c", "--quiet"], input=out, text=True, check=True)
    # without -o xattr, which costs every write something
    assert errno_of(os.getxattr, ssh_mount.dir / "f", XATTR) == "ENOTSUP"
    assert hash_command(ssh_mount.dir)[2].endswith("Is a directory")
    assert hash_command(area / "f")[2].endswith("not a file of an sftpfs mount")


@mounted_with("xattr")
def test_hash_holds_what_was_written_here(ssh_mount, area, who):
    mount = ssh_mount
    with open(mount.dir / "f", "wb", buffering=0) as f:
        f.write(b"written and not closed")
        assert os.getxattr(mount.dir / "f", XATTR).decode() == digest(b"written and not closed")
    for name in dict.fromkeys([*ODD_NAMES, b"$(touch pwned)", b"-", b"a\nb", b"it's", b"a:b"]):
        path = os.path.join(os.fsencode(mount.dir), name)
        write(path, name)
        assert os.getxattr(path, XATTR).decode() == digest(name)
    assert errno_of(os.getxattr, mount.dir / "f", "user.other") == "ENOTSUP"
    assert not (area / "pwned").exists()


@pytest.mark.own_user
def test_servers_without_means(mounter, who, peer, area, top, people):
    """Neither check-file nor programs: ENOTSUP; -o verify says so once, and copies."""
    server = peer()
    server.tree.entries[b"/f"] = b"text"
    mount = mounter.direct(who, server.port, "-o", "xattr,verify")
    code, _, err = who.call(hash_command, mount.dir / "f")
    assert code != 0 and "no means" in err
    assert who.call(errno_of, os.getxattr, mount.dir / "f", XATTR) == "ENOTSUP"
    who.call(write, mount.dir / "g", b"content")
    assert who.call(read, mount.dir / "g") == b"content"
    assert mount.log_text().count("no means to hash") == 1


@pytest.mark.own_user
def test_a_server_that_runs_nothing_else(mounter, top, people, who, area):
    server = Sshd(top / f"sftp-only-{who.name}", {"ForceCommand": "internal-sftp", "Subsystem": "sftp internal-sftp"},
                  people.values())
    mount = mounter(who, server.target(who, area), login_args(server, who))
    who.call(write, mount.dir / "f", b"text")
    code, _, err = who.call(hash_command, mount.dir / "f")
    assert code != 0 and "no means" in err
    mount.umount()
    server.stop()


@pytest.mark.own_user
def test_check_file_extension(mounter, who, peer):
    server = peer({"check-file": b""})
    server.tree.entries[b"/f"] = b"text"
    check_file(server, honest)
    mount = mounter.direct(who, server.port, "-o", "xattr,verify")
    assert who.call(os.getxattr, mount.dir / "f", XATTR).decode() == digest(b"text")
    who.call(write, mount.dir / "g", b"content" * 100_000)
    assert who.call(read, mount.dir / "g") == b"content" * 100_000
    assert server.count("EXTENDED") >= 2


@pytest.mark.own_user
def test_verify_finds_a_mismatch(mounter, who, peer):
    """A server whose hash is another: EIO by the read that ends the file, and by close."""
    server = peer({"check-file": b""})
    server.tree.entries[b"/f"] = bytes(300_000)
    check_file(server, lie)
    mount = mounter.direct(who, server.port, "-o", "verify")
    assert who.call(errno_of, read, mount.dir / "f") == "EIO"
    assert who.call(errno_of, write, mount.dir / "g", b"content") == "EIO"
    assert "differs: what was read here" in mount.log_text()
    assert mount.log_text().count("verify: '") >= 2


@pytest.mark.own_user
def test_verify_finds_a_write_that_was_dropped(mounter, who, peer):
    """A server that acknowledges a WRITE and forgets it."""
    server = peer({"check-file": b""})
    check_file(server, honest)
    mount = mounter.direct(who, server.port, "-o", "verify")
    server.on(fx.WRITE, lambda request: request.status(fx.FX_OK))
    assert who.call(errno_of, write, mount.dir / "f", b"content") == "EIO"


@mounted_with("verify")
def test_verify_of_copies_both_ways(ssh_mount, area, small_tree, who):
    subprocess.run(["cp", "-a", small_tree, ssh_mount.dir / "tree"], check=True)
    shutil.copytree(small_tree, area / "there", symlinks=True)
    subprocess.run(["diff", "-r", "--no-dereference", small_tree, ssh_mount.dir / "there"], check=True)
    same(small_tree, area / "tree")
    assert "verify:" not in ssh_mount.log_text()


@mounted_with("verify")
def test_verify_of_what_was_changed_on_the_server_meanwhile(ssh_mount, area, who):
    data = bytearray(os.urandom(3_000_000))
    mount = ssh_mount
    f = open(mount.dir / "up", "wb", buffering=0)
    f.write(data)
    os.fsync(f.fileno())
    with open(area / "up", "r+b") as other:
        other.write(b"other")
    assert errno_of(f.close) == "EIO"

    (area / "down").write_bytes(data)
    with open(mount.dir / "down", "rb", buffering=0) as f:
        f.read(4096)
        with open(area / "down", "r+b") as other:
            other.write(b"other")

        def rest():
            while f.read(1 << 20):
                pass
        assert errno_of(rest) == "EIO"
        assert errno_of(os.pread, f.fileno(), 1, 2_999_999) == "EIO"
    with open(mount.dir / "down", "rb") as f:
        assert f.read(5) == b"other"


@mounted_with("verify,xattr")
def test_verify_leaves_other_uses_alone(ssh_mount, area, who):
    """Appends, changes in the middle, random reads, two writers: nothing is whole, nothing is compared."""
    mount = ssh_mount
    write(mount.dir / "f", bytes(100_000))
    with open(mount.dir / "f", "r+b") as f:
        f.seek(5000)
        f.write(b"x")
    with open(mount.dir / "f", "r+b") as f:
        f.write(b"first bytes only")
    with open(mount.dir / "f", "ab") as f:
        f.write(b"end")
    with open(mount.dir / "f", "r+b") as f:
        f.write(b"a" * 1000)
        os.truncate(mount.dir / "f", 10)
        os.truncate(mount.dir / "f", 1000)
    with open(mount.dir / "g", "wb") as f, open(mount.dir / "g", "r+b") as g:
        f.write(b"1" * 1000)
        f.flush()
        g.write(b"2")
    with open(mount.dir / "g", "wb") as f:
        subprocess.run(["sh", "-c", "echo one; (echo two; true); echo three"], stdout=f, check=True)
    assert (area / "g").read_text() == "one\ntwo\nthree\n"
    assert "verify:" not in mount.log_text()


@mounted_with("verify,async")
def test_verify_with_async_waits_at_close(ssh_mount, area, who):
    mount = ssh_mount
    write(mount.dir / "f", b"content")
    assert (area / "f").read_bytes() == b"content"
    with pytest.raises(OSError):
        with open(mount.dir / "g", "wb", buffering=0) as f:
            f.write(b"content")
            os.fsync(f.fileno())
            (area / "g").write_bytes(b"CONTENT")
    assert "verify:" in mount.log_text()
