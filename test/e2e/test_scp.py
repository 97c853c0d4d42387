"""Hosts without SFTP, and `-o transfer=`: contents by SCP or cat, everything else through a shell."""

import errno
import hashlib
import itertools
import os
import subprocess
import threading
from types import SimpleNamespace

import pytest

import userland
from busybox import BusyBoxHost
from conftest import Mounter, _own_dir, login_args
from server import Sshd, in_namespace, kill_all
from test_basics import ODD_NAMES, read, write
from trees import make_tree, same

serial = itertools.count()

HIDE_SFTP_SERVER = in_namespace('mount --bind /dev/null /usr/lib/openssh/sftp-server && exec "$0" "$@"')


@pytest.fixture(scope="module")
def hosts(top, people, sshd):
    """Made when first used: name -> server."""
    made = {"full": sshd}

    def get(name):
        if name not in made:
            place = top / f"host-{name}-{next(serial)}"
            if name == "bare":
                made[name] = Sshd(place, {"Subsystem": None}, people.values(), HIDE_SFTP_SERVER)
            elif name in ("bsd", "ls"):
                path = userland.make(place / "bin", name)
                made[name] = Sshd(place, {"Subsystem": None, "SetEnv": f"SHLVL=1 PATH={path}"}, people.values(),
                                  HIDE_SFTP_SERVER)
            elif name == "exec":
                made[name] = Sshd(place, {"Subsystem": None}, people.values())
            else:
                made[name] = BusyBoxHost(place, top, people.values(), scp=name == "busybox-scp")
        return made[name]

    yield get
    for name, server in made.items():
        if name != "full":
            server.stop()


def mount_args(host, name, who):
    args = login_args(host, who)
    return [*args, "-o", "transfer=scp"] if name == "full" else args


@pytest.fixture(scope="module", params=["busybox", "busybox-scp", "bare", "full"])
def scp_mount(request, top, hosts, who):
    """A mount whose contents go by SCP or cat: .dir is the mount, .base what it shows."""
    if request.param != "full" and os.geteuid() != 0:
        pytest.skip("needs root")
    host = hosts(request.param)
    made = Mounter(top)
    base = _own_dir(top / f"scpbase{next(serial)}", who)
    mount = made(who, host.target(who, base), mount_args(host, request.param, who))
    yield SimpleNamespace(dir=mount.dir, base=base, mount=mount, host=host, name=request.param)
    made.finish()


@pytest.fixture
def there(scp_mount, who):
    """(directory in the mount, the same on the server)"""
    name = f"s{next(serial)}"
    who.call(os.mkdir, scp_mount.dir / name)
    yield scp_mount.dir / name, scp_mount.base / name
    scp_mount.mount.check_alive()


@pytest.fixture(scope="module")
def small_tree(top, who):
    path = _own_dir(top / f"small-{who.name}-{next(serial)}", who) / "tree"
    who.call(make_tree, path, 12, 80)
    return path


@pytest.fixture(scope="module")
def tiny_tree(top, who):
    path = _own_dir(top / f"tiny-{who.name}-{next(serial)}", who) / "tree"
    who.call(make_tree, path, 3, 10)
    return path


def run(*argv, **kwargs):
    done = subprocess.run(argv, capture_output=True, check=False, **kwargs)
    assert done.returncode == 0, (argv, (done.stdout + done.stderr).decode(errors="replace")[-3000:])
    return done.stdout


def test_the_log_says_which_way_and_why(scp_mount):
    text = scp_mount.mount.log_text()
    assert "transfer: contents by SCP" in text
    assert text.count("transfer: contents") == 1


def test_cp_a_and_back(there, small_tree, tmp_path_factory, who):
    mnt, srv = there
    run("cp", "-a", small_tree, mnt / "tree")
    same(small_tree, srv / "tree")
    same(small_tree, mnt / "tree")
    assert run("find", mnt / "tree", "-printf", "%P %y\\0") .count(b"\0") == \
        run("find", small_tree, "-printf", "%P %y\\0").count(b"\0")


def test_tar_rsync_git(there, small_tree, who):
    mnt, srv = there
    archive = run("tar", "-C", small_tree.parent, "-cf", "-", "tree")
    run("tar", "-C", mnt, "-xpf", "-", input=archive)
    same(small_tree, srv / "tree")
    run("rsync", "-a", f"{small_tree}/", f"{mnt}/copy/")
    assert run("rsync", "-an", "--itemize-changes", f"{small_tree}/", f"{mnt}/copy/") == b""
    same(small_tree, srv / "copy")
    repo = mnt / "repo"
    run("git", "-c", "init.defaultBranch=main", "init", "-q", repo)
    (repo / "file").write_text("text\n")
    for args in (["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "first"]):
        run("git", "-c", "safe.directory=*", "-C", repo, *args)
    run("git", "-c", "safe.directory=*", "clone", "-q", repo, mnt / "clone")
    assert (srv / "clone" / "file").read_text() == "text\n"
    run("git", "-c", "safe.directory=*", "-C", mnt / "clone", "fsck", "--full")
    run("diff", "-r", "--exclude=.git", repo, mnt / "clone")
    run("rm", "-rf", mnt / "tree", mnt / "copy", mnt / "repo", mnt / "clone")
    assert os.listdir(srv) == []


def test_odd_names_are_never_interpreted(there):
    mnt, srv = there
    names = [*ODD_NAMES, b"$(touch pwned)", b"`touch pwned`", b"a;touch pwned", b"-rf", b"it's", b"a\nb", b"\n", b"x\n",
             b"*", b"\\n", b"\"", b"~", b"#x", b"a b", b"&", b"%s", b"'", b"''"]
    for name in dict.fromkeys(names):
        path = os.path.join(os.fsencode(mnt), name)
        write(path, name * 2)
        assert read(os.path.join(os.fsencode(srv), name)) == name * 2
        os.chmod(path, 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_001))
        os.rename(path, path[:-len(name)] + b"renamed")
        os.rename(path[:-len(name)] + b"renamed", path)
        assert os.stat(os.path.join(os.fsencode(srv), name)).st_mtime == 1_000_000_001
    assert sorted(os.listdir(os.fsencode(mnt))) == sorted(dict.fromkeys(names))
    assert sorted(os.listdir(os.fsencode(srv))) == sorted(dict.fromkeys(names))
    for name in dict.fromkeys(names):
        assert read(os.path.join(os.fsencode(mnt), name)) == name * 2
        os.unlink(os.path.join(os.fsencode(mnt), name))
    assert os.listdir(srv) == []


def test_a_partial_change_keeps_the_rest(there):
    mnt, srv = there
    data = bytearray(os.urandom(3_000_000))
    (srv / "f").write_bytes(data)
    os.chmod(srv / "f", 0o741)
    with open(mnt / "f", "r+b", buffering=0) as f:
        f.seek(1_234_567)
        f.write(b"changed")
        f.seek(2_999_990)
        f.write(b"over the end of it")
        os.utime(f.fileno(), (1_000_000_000, 1_000_000_002))
    data[1_234_567:1_234_574] = b"changed"
    data[2_999_990:] = b"over the end of it"
    assert (srv / "f").read_bytes() == data
    info = os.stat(srv / "f")
    assert (info.st_mode & 0o7777, int(info.st_mtime)) == (0o741, 1_000_000_002)
    os.truncate(mnt / "f", 1000)
    assert (srv / "f").read_bytes() == data[:1000]
    with open(mnt / "f", "ab") as f:
        f.write(b"appended")
    assert (srv / "f").read_bytes() == data[:1000] + b"appended"
    assert os.listdir(srv) == ["f"]


def test_seeks_and_files_without_a_size(there):
    mnt, srv = there
    data = os.urandom(9_000_000)
    (srv / "big").write_bytes(data)
    (srv / "empty").touch()
    with open(mnt / "big", "rb", buffering=0) as f:
        for at in (8_999_000, 5_000_000, 100, 7_654_321, 0, 4_194_304):
            assert os.pread(f.fileno(), 5000, at) == data[at:at + 5000]
        assert f.read() == data
    assert (mnt / "empty").read_bytes() == b""


def test_links_keep_their_file(there):
    mnt, srv = there
    (mnt / "one").write_text("1")
    os.link(mnt / "one", mnt / "two")
    with open(mnt / "one", "w") as f:
        f.write("both")
    assert (srv / "two").read_text() == "both"
    assert os.stat(srv / "one").st_ino == os.stat(srv / "two").st_ino
    os.symlink("one", mnt / "s")
    assert os.readlink(srv / "s") == os.readlink(mnt / "s") == "one"


def test_removed_and_replaced_open_files_stay_readable(there):
    mnt, srv = there
    data = os.urandom(2_000_000)
    (srv / "a").write_bytes(data)
    with open(mnt / "a", "rb", buffering=0) as f:
        os.unlink(mnt / "a")
        assert f.read() == data
    (mnt / "b").write_text("new")
    (mnt / "c").write_bytes(data)
    with open(mnt / "c", "rb", buffering=0) as f:
        os.rename(mnt / "b", mnt / "c")
        assert f.read() == data
    assert (mnt / "c").read_text() == "new"


def test_errors_are_those_of_a_local_disk(there, who):
    mnt, srv = there
    os.mkdir(mnt / "d")
    (mnt / "d" / "f").touch()
    for call, codes in ((lambda: os.rmdir(mnt / "d"), "ENOTEMPTY"), (lambda: os.mkdir(mnt / "d"), "EEXIST"),
                        (lambda: os.stat(mnt / "no"), "ENOENT"), (lambda: os.rmdir(mnt / "d" / "f"), "ENOTDIR"),
                        (lambda: os.unlink(mnt / "d"), "EISDIR"), (lambda: open(mnt / "d", "wb"), "EISDIR"),
                        (lambda: os.open(mnt / "d" / "f", os.O_CREAT | os.O_EXCL), "EEXIST"),
                        (lambda: os.rename(mnt / "d" / "f", mnt / "d"), "EISDIR|ENOTEMPTY"),
                        (lambda: os.link(mnt / "d" / "f", mnt / "d" / "f"), "EEXIST")):
        with pytest.raises(OSError) as caught:
            call()
        assert errno.errorcode[caught.value.errno] in codes.split("|"), caught.value
    if who.uid:
        os.chmod(srv / "d" / "f", 0)
        with pytest.raises(PermissionError):
            open(mnt / "d" / "f", "rb")
    assert os.statvfs(mnt).f_blocks == os.statvfs(srv).f_blocks


def test_hash_is_the_servers(there):
    mnt, srv = there
    data = os.urandom(100_000)
    names = ("f", "it's $(touch pwned)", "a\nb")
    for name in names:
        (srv / name).write_bytes(data)
    for name in names:
        out = run(os.environ["SFTPFS"], "hash", mnt / name)
        assert out.startswith(hashlib.sha256(data).hexdigest().encode())
    with open(mnt / "g", "wb", buffering=0) as f:
        f.write(b"not closed yet")
        out = run(os.environ["SFTPFS"], "hash", mnt / "g")
    assert out.startswith(hashlib.sha256(b"not closed yet").hexdigest().encode())


@pytest.mark.own_user
def test_verify(top, hosts, who, small_tree, mounter):
    """Whole copies both ways are compared with the server's hash; what others have changed is EIO."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = "busybox-scp" if who.uid else "busybox"
    host = hosts(name)
    base = _own_dir(top / f"scpverify{next(serial)}", who)
    mount = mounter(who, host.target(who, base), [*mount_args(host, name, who), "-o", "verify"])
    data = os.urandom(3_000_000)

    def good():
        run("cp", "-a", small_tree, mount.dir / "tree")
        (base / "f").write_bytes(data)
        assert read(mount.dir / "f") == data
        assert "verify:" not in mount.log_text()

    def bad():
        f = open(mount.dir / "h", "wb", buffering=0)
        f.write(data)
        os.fsync(f.fileno())
        with open(base / "h", "r+b") as other:
            other.write(b"other")
        with pytest.raises(OSError) as caught:
            f.close()
        assert caught.value.errno == errno.EIO
        assert mount.log_text().count("verify: '") == 1
        (base / "g").write_bytes(data)
        with open(mount.dir / "g", "rb", buffering=0) as f:
            f.read(4096)
            with open(base / "g", "r+b") as other:
                other.write(b"other")
            with pytest.raises(OSError):
                while f.read(1 << 20):
                    pass

    who.call(good)
    who.call(bad)


@pytest.mark.own_user
def test_a_cut_in_the_middle_is_not_seen(top, hosts, who):
    """Transfers both ways, and a listing, while the server's processes are killed: all of it starts again."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if who.uid:
        return  # the body is root's, who kills them, and root may not enter another user's mount
    host = hosts("bare")
    made = Mounter(top)
    base = _own_dir(top / f"scpcut{next(serial)}", who)
    mount = made(who, host.target(who, base), login_args(host, who))
    data = os.urandom(48_000_000)
    write(base / "there", data)

    def cut():
        kill_all(host.session_pids())

    with open(mount.dir / "there", "rb", buffering=0) as f:
        got = f.read(1 << 20)
        cut()
        while part := f.read(1 << 20):
            got += part
    assert got == data
    with open(mount.dir / "new", "wb", buffering=0) as f:
        f.write(data)
        closing = threading.Thread(target=cut)
        closing.start()
        os.fsync(f.fileno())
        closing.join()
    cut()
    assert sorted(os.listdir(mount.dir)) == ["new", "there"]
    assert read(base / "new") == data
    assert sorted(os.listdir(base)) == ["new", "there"]
    assert mount.log_text().count("connected again") >= 1
    made.finish()


@pytest.mark.own_user
def test_other_userlands(top, hosts, who, tiny_tree, mounter):
    """BSD's stat and mv; no stat at all, where ls tells names and attributes, to the minute or the day."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = "bsd" if who.uid else "ls"
    host = hosts(name)
    base = _own_dir(top / f"scpother{next(serial)}", who)
    mount = mounter(who, host.target(who, base), login_args(host, who))
    times = name == "bsd"

    def body():
        (base / "now").touch()
        (base / "new\nline").mkdir()
        run("cp", "-a", tiny_tree, mount.dir / "tree")
        same(tiny_tree, base / "tree")
        same(tiny_tree, mount.dir / "tree", times)
        assert abs(os.stat(mount.dir / "now").st_mtime - os.stat(base / "now").st_mtime) < 61
        assert sorted(os.listdir(mount.dir)) == sorted(os.listdir(base))
        for path in ("tree/odd", "tree/link", "tree/hard", "tree"):
            there, here = os.lstat(base / path), os.lstat(mount.dir / path)
            assert (here.st_mode, here.st_uid, here.st_gid) == (there.st_mode, there.st_uid, there.st_gid)
        assert os.stat(mount.dir / "tree" / "hard").st_nlink == os.stat(base / "tree" / "hard").st_nlink
        os.mkdir(mount.dir / "d")
        os.mkdir(mount.dir / "e")
        (mount.dir / "d" / "f").write_text("text")
        os.rename(mount.dir / "d", mount.dir / "e")  # replaces the empty directory, does not move into it
        assert (base / "e" / "f").read_text() == "text" and not (base / "d").exists()
        os.symlink("e", mount.dir / "to-e")
        (mount.dir / "g").write_text("g")
        os.rename(mount.dir / "g", mount.dir / "to-e")  # replaces the link
        assert (base / "to-e").read_text() == "g" and os.listdir(base / "e") == ["f"]
        os.truncate(mount.dir / "to-e", 100)
        assert (base / "to-e").read_bytes() == b"g".ljust(100, b"\0")
        for call, code in ((lambda: os.rename(mount.dir / "to-e", mount.dir / "e"), "EISDIR"),
                           (lambda: os.rmdir(mount.dir / "e"), "ENOTEMPTY"),
                           (lambda: os.stat(mount.dir / "no\nsuch"), "ENOENT"),
                           (lambda: os.mkdir(mount.dir / "e"), "EEXIST")):
            with pytest.raises(OSError) as caught:
                call()
            assert errno.errorcode[caught.value.errno] == code
        assert abs(os.statvfs(mount.dir).f_blocks * os.statvfs(mount.dir).f_frsize -
                   os.statvfs(base).f_blocks * os.statvfs(base).f_frsize) < 1 << 20
        run("rm", "-rf", mount.dir / "tree")
        assert not (base / "tree").exists()

    who.call(body)


HOSTILE = {
    "another name": r"printf 'C0644 5 other\nhello\0'",
    "a directory": r"printf 'D0755 0 f\n'",
    "short data": r"printf 'C0644 %s f\nhel' $(stat -c %s \"$2\")",
    "an endless line": r"yes C | tr -d '\n' | head -c 100000",
    "a huge size": r"printf 'C0644 9223372036854775808 f\n'; cat /dev/zero",
    "no protocol": r"echo welcome",
}


@pytest.mark.own_user
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_scp_leaves_nothing_wrong(what, top, hosts, who):
    """`scp -f` says something else than it was asked for: an error for the reader, and the file is as it was."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    host = hosts("busybox-scp")
    if who.uid:
        return  # the host's programs are changed: once is enough
    scp = host.root / "usr" / "bin" / "scp"
    real = scp.with_name("real-scp")
    made = Mounter(top)
    base = _own_dir(top / f"scphostile{next(serial)}", who)
    write(base / "f", b"good content\n" * 100)
    mount = made(who, host.target(who, base), mount_args(host, "busybox-scp", who))
    try:
        scp.rename(real)
        scp.write_text("#!/bin/sh\n" + HOSTILE[what].replace('\\"', '"') + "\n")
        scp.chmod(0o755)
        with pytest.raises(OSError):
            read(mount.dir / "f")
        with pytest.raises(OSError), open(mount.dir / "f", "r+b", buffering=0) as f:
            f.write(b"x")
            os.fsync(f.fileno())
        mount.umount()
    finally:
        real.rename(scp)
    # the last close may have delivered it after all, whole; never a part of what scp said
    good = b"good content\n" * 100
    assert read(base / "f") in (good, b"x" + good[1:])
    assert os.listdir(base) == ["f"]
    made.finish()


@pytest.mark.own_user
def test_without_subsystem_sftp_server_is_run(top, hosts, who):
    host = hosts("exec")
    made = Mounter(top)
    base = _own_dir(top / f"scpexec{next(serial)}", who)
    mount = made(who, host.target(who, base), login_args(host, who))
    who.call(write, mount.dir / "f", b"text")
    assert read(base / "f") == b"text"
    assert "transfer: by SFTP, through sftp-server" in mount.log_text()
    assert len(host.sftp_server_pids()) >= 1
    made.finish()
