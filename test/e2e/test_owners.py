"""Whose the files are, which mode new ones get, and how symbolic links are shown."""

import os
import re
import stat
import subprocess
import time

import pytest

from mount import run_sftpfs
from server import SFTP_SERVER, DirectServer, in_namespace
from waiting import wait_until

pytestmark = pytest.mark.own_user  # the tests make mounts, and files of others


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def root_server(people, area):
    """sftp-server as root: it may give files away."""
    if "root" not in people:
        pytest.skip("a login as root needs root")
    server = DirectServer(people["root"], cwd=str(area))
    yield server
    server.close()


@pytest.fixture
def strict_umask_server(who, area):
    """sftp-server that takes permissions from everything it makes."""
    server = DirectServer(who, argv=[SFTP_SERVER, "-u", "077"], cwd=str(area))
    yield server
    server.close()


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_new_files_of_a_root_login_belong_to_their_maker(who, people, root_server, area, mounter):
    user = people["user"]
    area.chmod(0o777)
    mount = mounter.direct(who, root_server.port, "-o", "allow_other", directory=area)
    user.run(["sh", "-c", "umask 022; echo x > f; mkdir d; ln -s f l; chmod 4755 f; mkfifo p || true"], cwd=mount.dir)
    for name, bits in (("f", 0o4755), ("d", 0o755), ("l", None)):
        st = os.lstat(area / name)
        assert (st.st_uid, st.st_gid) == (user.uid, user.gid), name
        assert bits is None or stat.S_IMODE(st.st_mode) == bits
    who.run(["touch", str(mount.dir / "of-root")])
    assert os.stat(area / "of-root").st_uid == 0


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_nobody_gets_in_before_owner_and_mode_are_right(who, people, area, mounter):
    """What the server does for one create: without permissions for others, the owner, then the mode."""
    user = people["user"]
    area.chmod(0o777)
    trace = area / "trace"
    server = DirectServer(people["root"], cwd=str(area), argv=[
        "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=open,openat,mkdir,fchown,lchown,fchownat,fchmod,chmod",
        SFTP_SERVER])
    mount = mounter.direct(who, server.port, "-o", "allow_other", directory=area)
    user.run(["sh", "-c", "umask 022; echo x > file; umask 007; mkdir directory"], cwd=mount.dir)
    mount.umount()
    wait_until(lambda: not server.alive(), what="the trace is whole")
    server.close()
    # fchown and fchmod name a descriptor
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if " = 0" in line or "O_CREAT" in line]
    made = [call for call in calls if "O_CREAT" in call or re.match(r"(f|l)?(mkdir|chown|chmod)", call)]
    shape = [r'open.*/file", .*O_CREAT.*, 0600\) = \d+', rf"fchown\(\d+, {user.uid}, {user.gid}\)",
             r"fchmod\(\d+, 0644\)", r'mkdir\(".*/directory", 0700\)', rf".*chown.*/directory.*{user.uid}, {user.gid}",
             r"chmod\(.*, 0770\)"]
    assert len(made) == len(shape) and all(re.match(s, call) for s, call in zip(shape, made)), made


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_setgid_directory_gives_its_group(who, people, root_server, area, mounter):
    user = people["user"]
    os.chown(area, 0, 12345)
    area.chmod(0o2777)
    mount = mounter.direct(who, root_server.port, "-o", "allow_other", directory=area)
    user.run(["sh", "-c", "umask 022; echo x > f; mkdir d"], cwd=mount.dir)
    assert (os.stat(area / "f").st_uid, os.stat(area / "f").st_gid) == (user.uid, 12345)
    assert (os.stat(area / "d").st_uid, os.stat(area / "d").st_gid, mode(area / "d")) == (user.uid, 12345, 0o2755)


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_create_as_login_leaves_new_files_to_root(who, people, root_server, area, mounter):
    area.chmod(0o777)
    mount = mounter.direct(who, root_server.port, "-o", "allow_other,create_as=login", directory=area)
    people["user"].run(["sh", "-c", "echo x > f"], cwd=mount.dir)
    assert os.stat(area / "f").st_uid == 0


def test_mode_of_new_files_is_as_asked(who, strict_umask_server, area, mounter):
    mount = mounter.direct(who, strict_umask_server.port, directory=area)
    who.run(["sh", "-c", "umask 022; echo x > f; mkdir d; umask 002; echo x > g; umask 077; echo x > h"], cwd=mount.dir)
    assert [mode(area / name) for name in "fdgh"] == [0o644, 0o755, 0o664, 0o600]


def test_create_mode_server_takes_what_the_server_gives(who, strict_umask_server, area, mounter):
    mount = mounter.direct(who, strict_umask_server.port, "-o", "create_mode=server", directory=area)
    who.run(["sh", "-c", "umask 022; echo x > f; mkdir d"], cwd=mount.dir)
    assert [mode(area / name) for name in "fd"] == [0o600, 0o700]
    assert who.call(lambda: mode(mount.dir / "f")) == 0o600


def test_masks_hide_permissions(who, area, mounter):
    (area / "f").touch()
    (area / "f").chmod(0o777)
    (area / "d").mkdir()
    (area / "d").chmod(0o777)
    server = DirectServer(who, cwd=str(area))
    try:
        mount = mounter.direct(who, server.port, "-o", "umask=077,fmask=133", directory=area)
        assert who.call(lambda: (mode(mount.dir / "f"), mode(mount.dir / "d"))) == (0o644, 0o700)
        mount.umount()
    finally:
        server.close()


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_idmap_file_maps_both_ways(who, people, root_server, area, mounter, top):
    user = people["user"]
    table = top / f"uids-{time.monotonic_ns()}"
    table.write_text(f"# theirs\n{user.name}:40001\nnobody-here:40002\n")
    groups = top / f"gids-{time.monotonic_ns()}"
    groups.write_text(f"{user.name}:x:40011:\n")
    (area / "f").touch()
    os.chown(area / "f", 40001, 40011)
    (area / "stranger").touch()
    os.chown(area / "stranger", 40003, 40011)
    table.chmod(0o644)
    mount = mounter.direct(who, root_server.port, "-o", f"idmap=file,uidfile={table},gidfile={groups}", directory=area)
    st = os.stat(mount.dir / "f")
    assert (st.st_uid, st.st_gid) == (user.uid, user.gid)
    assert os.stat(mount.dir / "stranger").st_uid == 40003
    (mount.dir / "new").touch()
    os.chown(mount.dir / "new", user.uid, user.gid)
    st = os.stat(area / "new")
    assert (st.st_uid, st.st_gid) == (40001, 40011)
    mount.umount()
    mount = mounter.direct(who, root_server.port, "-o", f"idmap=file,uidfile={table},gidfile={groups},nomap=error",
                           directory=area)
    assert os.stat(mount.dir / "f").st_uid == user.uid
    assert "stranger" in os.listdir(mount.dir)
    with pytest.raises(PermissionError):
        os.stat(mount.dir / "stranger")


def test_idmap_file_that_others_can_write_is_refused(who, top, area):
    table = top / f"uids-{time.monotonic_ns()}"
    table.write_text("a:1\n")
    table.chmod(0o666)
    os.chown(table, who.uid, who.gid)
    server = DirectServer(who, cwd=str(area))
    try:
        done = run_sftpfs(who, ["-o", f"directport={server.port},idmap=file,uidfile={table}", f"127.0.0.1:{area}",
                                str(area)])
    finally:
        server.close()
    assert done.code == 1
    assert "writable by nobody else" in done.lines[0]


def test_idmap_all_shows_everything_as_mine(who, people, area, mounter):
    other = next((p for p in people.values() if p.uid != who.uid), None)
    if other is None:
        pytest.skip("a second account is known only when root made it")
    for uid in (0, 1, other.uid):
        (area / f"of-{uid}").touch()
        os.chown(area / f"of-{uid}", uid, uid)
    server = DirectServer(other, cwd=str(area))
    try:
        mount = mounter.direct(who, server.port, "-o", "idmap=all", directory=area)
        seen = who.call(lambda: {(e.stat().st_uid, e.stat().st_gid) for e in os.scandir(mount.dir)})
        assert seen == {(who.uid, who.gid)}
        mount.umount()
    finally:
        server.close()


@pytest.mark.parametrize("who", ["root"], indirect=True)
def test_idmap_name_translates_by_name(who, people, area, mounter, top):
    """The server has another passwd: the same name, another number."""
    user = people["user"]
    passwd = top / "passwd-of-server"
    passwd.write_text(f"root:x:0:0::/:/bin/sh\n{user.name}:x:45678:45678::/:/bin/sh\nonly-there:x:45679:45679::/:/bin/sh\n")
    server = DirectServer(who, argv=in_namespace(f"mount --bind {passwd} /etc/passwd && exec {SFTP_SERVER}"), cwd=str(area))
    for name, uid in (("known", 45678), ("theirs", 45679), ("nameless", 45680)):
        (area / name).touch()
        os.chown(area / name, uid, 0)
    try:
        mount = mounter.direct(who, server.port, "-o", "idmap=name", directory=area)
        listed = {e.name: e.stat().st_uid for e in os.scandir(mount.dir)}
        assert listed == {"known": user.uid, "theirs": 45679, "nameless": 45680}
        os.chown(mount.dir / "theirs", user.uid, -1)
        assert os.stat(area / "theirs").st_uid == 45678
        with pytest.raises(OSError, match="Invalid argument"):
            os.chown(mount.dir / "theirs", 999999, -1)
        mount.umount()
    finally:
        server.close()


def links_of(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        try:
            found[name] = os.readlink(directory / name)
        except OSError as e:
            found[name] = type(e).__name__
    return found


@pytest.fixture
def links(who, area):
    def make():
        (area / "d").mkdir()
        (area / "d" / "file").write_text("hello\n")
        os.symlink(area / "d" / "file", area / "d" / "absolute-in")
        os.symlink("/etc/passwd", area / "d" / "absolute-out")
        os.symlink("../d/file", area / "d" / "up")
        os.symlink("../../x", area / "d" / "out")
        os.symlink("file", area / "d" / "beside")
        os.symlink("file/../../../x", area / "d" / "sly")
        os.symlink("nowhere", area / "d" / "dangling")
        (area / "d" / "file").rename(area / "d" / "file")
    who.call(make)
    server = DirectServer(who, cwd=str(area))
    yield server
    server.close()


def shown(who, mount):
    found = who.call(links_of, mount.dir / "d")
    found.pop("file")
    return found


def test_links_are_shown_as_they_are(who, links, area, mounter):
    mount = mounter.direct(who, links.port, directory=area)
    assert shown(who, mount) == {name: os.readlink(area / "d" / name) for name in shown(who, mount)}
    assert len(shown(who, mount)) == 7


def test_contain_symlinks_refuses_what_may_leave(who, links, area, mounter):
    mount = mounter.direct(who, links.port, "-o", "contain_symlinks", directory=area)
    refused = {name for name, target in shown(who, mount).items() if target == "PermissionError"}
    assert refused == {"absolute-in", "absolute-out", "out", "sly"}
    assert who.call((mount.dir / "d" / "up").read_text) == "hello\n"


def test_transform_symlinks_makes_inner_links_relative(who, links, area, mounter):
    mount = mounter.direct(who, links.port, "-o", "transform_symlinks", directory=area)
    found = shown(who, mount)
    assert found["absolute-in"] == "../d/file"
    assert found["absolute-out"] == "/etc/passwd"
    assert who.call((mount.dir / "d" / "absolute-in").read_text) == "hello\n"


def test_transform_comes_before_contain(who, links, area, mounter):
    mount = mounter.direct(who, links.port, "-o", "transform_symlinks,contain_symlinks", directory=area)
    found = shown(who, mount)
    assert found["absolute-in"] == "../d/file"
    assert {name for name, target in found.items() if target == "PermissionError"} == {"absolute-out", "out", "sly"}


@pytest.mark.parametrize("option", ["modules=iconv", "modules=subdir", "nosymfollow"])
def test_what_is_not_done_is_said(who, direct, area, option):
    """Of the options of sshfs and libfuse, those that would show something else: one line, and the mount is there."""
    result = run_sftpfs(who, ["-o", f"directport={direct.port},{option}", "127.0.0.1:/etc", area])
    who.run(["fusermount3", "-u", str(area)])
    assert result.code == 0 and len(result.lines) == 1 and option in result.lines[0], result
    assert "not supported" in result.lines[0]


def test_follow_symlinks_shows_what_they_lead_to(who, links, area, mounter):
    """Changes go to what they lead to; a link that leads nowhere stays a link."""
    mount = mounter.direct(who, links.port, "-o", "follow_symlinks", directory=area)

    def check():
        at = mount.dir / "d"
        assert stat.S_ISREG(os.lstat(at / "beside").st_mode)
        assert (at / "absolute-in").read_text() == "hello\n"
        assert stat.S_ISLNK(os.lstat(at / "dangling").st_mode)
        assert os.readlink(at / "dangling") == "nowhere"
        os.chmod(at / "beside", 0o640)
        os.utime(at / "beside", (1000, 2000))
        (at / "up").write_text("changed\n")
        return {line.split()[-1]: line[0] for line in subprocess.run(
            ["ls", "-l", str(at)], capture_output=True, text=True, check=False).stdout.splitlines()[1:]}

    kinds = who.call(check)
    assert kinds["beside"] == "-" and kinds["up"] == "-"
    assert mode(area / "d" / "file") == 0o640
    assert (area / "d" / "file").read_text() == "changed\n"
    assert os.path.islink(area / "d" / "beside") and os.path.islink(area / "d" / "up")
