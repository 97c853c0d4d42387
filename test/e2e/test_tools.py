"""Ordinary programs at work on the mount: each must do what it does on a local disk."""

import os
import sqlite3
import time

import pytest

from test_basics import in_children, read, write
from trees import same
from waiting import wait_until


def test_cp_a_in_and_out_is_identical(who, mnt, srv, area, tree):
    who.run(["cp", "-a", str(tree), str(mnt / "in")])
    same(tree, srv / "in")
    same(tree, mnt / "in")
    who.run(["cp", "-a", str(mnt / "in"), str(area / "out")])
    same(tree, area / "out")
    who.run(["rm", "-rf", str(mnt / "in")])
    assert os.listdir(srv) == []


def test_cp_r_inside_the_mount(who, mnt, srv, tree):
    who.run(["cp", "-a", str(tree / "odd"), str(mnt / "one")])
    who.run(["cp", "-a", str(mnt / "one"), str(mnt / "two")])
    same(tree / "odd", srv / "two")


def test_tar_both_ways(who, mnt, srv, area, tree):
    who.run(["sh", "-c", 'tar -C "$0" -cf - . | tar -C "$1" -xpf -', str(tree), str(mnt)])
    same(tree, srv)
    who.run(["sh", "-c", 'tar -C "$0" -cf all.tar .', str(mnt)], cwd=area)
    (area / "back").mkdir()
    who.run(["tar", "-C", "back", "-xpf", "all.tar"], cwd=area)
    same(tree, area / "back")


def test_rsync_twice_transfers_nothing_the_second_time(who, mnt, srv, area, tree):
    for source, target in ((tree, mnt / "in"), (mnt / "in", area / "out")):
        who.run(["rsync", "-a", f"{source}/", str(target)])
        same(tree, target)
        again = who.run(["rsync", "-ai", "--stats", f"{source}/", str(target)]).stdout.decode(errors="replace")
        assert "Number of regular files transferred: 0" in again, again
        assert not [line for line in again.splitlines() if line[:2] in ("<f", ">f", "cd", ".d", ".f")], again


GIT = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A",
       "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_NOSYSTEM": "1"}


def test_git_clone_commit_status_gc_fsck(who, mnt, srv, area):
    def git(*args, cwd):
        return who.run(["git", *args], cwd=cwd, env=GIT).stdout.decode()

    source = area / "source"
    source.mkdir()
    git("init", "-q", "-b", "main", cwd=source)
    for i in range(150):
        (source / f"d{i % 7}").mkdir(exist_ok=True)
        (source / f"d{i % 7}" / f"f{i}").write_text(f"content {i}\n" * i)
    git("add", ".", cwd=source)
    git("commit", "-q", "-m", "first", cwd=source)
    git("clone", "-q", str(source), str(mnt / "clone"), cwd=area)
    clone = mnt / "clone"
    assert git("status", "--porcelain", cwd=clone) == ""
    (clone / "d1" / "f1").write_text("changed\n")
    (clone / "new").write_text("new\n")
    assert sorted(git("status", "--porcelain", cwd=clone).splitlines()) == [" M d1/f1", "?? new"]
    git("add", "-A", cwd=clone)
    git("commit", "-q", "-m", "second", cwd=clone)
    git("checkout", "-q", "-b", "side", "HEAD~1", cwd=clone)
    git("merge", "-q", "main", cwd=clone)
    git("gc", "-q", cwd=clone)
    git("fsck", "--full", "--strict", cwd=clone)
    assert git("status", "--porcelain", cwd=clone) == ""
    git("clone", "-q", str(clone), str(area / "back"), cwd=area)
    assert read(area / "back" / "d1" / "f1") == b"changed\n"


def test_sqlite_with_four_processes(who, mnt, srv):
    path = str(mnt / "data.db")
    base = sqlite3.connect(path, timeout=60)
    base.execute("pragma journal_mode=delete")
    base.execute("create table t (process int, n int, pad text)")
    base.commit()
    base.close()

    def insert(number):
        db = sqlite3.connect(path, timeout=120, isolation_level=None)
        for i in range(25):
            db.execute("begin immediate")
            db.execute("insert into t values (?, ?, ?)", (number, i, "x" * 1000))
            db.execute("commit")
        db.close()
        return True

    assert in_children(4, insert) == [0, 1, 2, 3]
    for place in (path, str(srv / "data.db")):
        db = sqlite3.connect(place)
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("select count(*), count(distinct process * 100 + n) from t").fetchone() == (100, 100)
        db.close()


def test_editor_save_by_rename(who, mnt, srv):
    """Write new, rename over, keep a backup: as vim, emacs and most others save."""
    write(mnt / "text", b"version 0\n")
    os.chmod(mnt / "text", 0o640)
    for i in range(1, 6):
        write(mnt / ".text.swp", b"swap")
        os.rename(mnt / "text", mnt / "text~")
        fd = os.open(mnt / "text", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(fd, b"version %d\n" % i)
        os.fchmod(fd, 0o640)
        os.fsync(fd)
        os.close(fd)
        assert read(mnt / "text") == b"version %d\n" % i == read(srv / "text")
        assert read(mnt / "text~") == b"version %d\n" % (i - 1)
        os.unlink(mnt / "text~")
        os.unlink(mnt / ".text.swp")
    assert os.listdir(srv) == ["text"] and os.stat(srv / "text").st_mode & 0o777 == 0o640


def test_vim_saves(who, mnt, srv):
    write(mnt / "text", b"hello\n")
    who.run(["vim", "-es", "-u", "NONE", "-N", "-c", "set backup writebackup backupskip=", "-c", "%s/hello/goodbye/", "-c", "wq",
             "text"], cwd=mnt)
    assert read(srv / "text") == b"goodbye\n"
    assert read(srv / "text~") == b"hello\n"


MESON = """project('demo', 'c')
conf = configuration_data()
conf.set10('HAVE_STRLCPY', meson.get_compiler('c').has_function('strlcpy'))
configure_file(output: 'config.h', configuration: conf)
lib = static_library('demo', %s)
test('demo', executable('demo', 'main.c', link_with: lib))
"""


def test_c_project_is_configured_built_and_tested(who, mnt, srv):
    source = mnt / "project"
    source.mkdir()
    files = []
    for i in range(15):
        (source / f"part{i}.c").write_text(f'#include "config.h"\nint part{i}(void);\nint part{i}(void) {{ return {i}; }}\n')
        files.append(f"'part{i}.c'")
    calls = " + ".join(f"part{i}()" for i in range(15))
    declarations = "\n".join(f"int part{i}(void);" for i in range(15))
    (source / "main.c").write_text(f"{declarations}\nint main(void) {{ return {calls} == 105 ? 0 : 1; }}\n")
    (source / "meson.build").write_text(MESON % ", ".join(files))
    who.run(["meson", "setup", "build"], cwd=source)
    who.run(["ninja", "-C", "build"], cwd=source)
    who.run(["meson", "test", "-C", "build"], cwd=source)
    again = who.run(["ninja", "-C", "build"], cwd=source).stdout
    assert b"no work to do" in again
    # SFTP v3 has whole seconds: what is edited in the second of its build looks as old as it.
    built = (source / "build" / "demo").stat().st_mtime
    wait_until(lambda: time.time() >= built + 1, what="the next second")
    (source / "part3.c").write_text("int part3(void);\nint part3(void) { return 4; }\n")
    assert b"part3.c" in who.run(["ninja", "-v", "-C", "build"], cwd=source).stdout
    assert who.run(["build/demo"], cwd=source, check=False).returncode == 1


def test_make_with_a_configure_script_of_the_old_kind(who, mnt, srv):
    write(mnt / "configure", b"#!/bin/sh\nset -e\ncat > conftest.c <<X\nint main(void){return 0;}\nX\n"
                             b"cc conftest.c -o conftest\n./conftest\nrm -f conftest*\nsed s/@CC@/cc/ Makefile.in > Makefile\n")
    os.chmod(mnt / "configure", 0o755)
    write(mnt / "Makefile.in", b"CC=@CC@\nprog: a.o b.o\n\t$(CC) -o $@ a.o b.o\ncheck: prog\n\t./prog\n")
    write(mnt / "a.c", b"int b(void);\nint main(void){return b();}\n")
    write(mnt / "b.c", b"int b(void);\nint b(void){return 0;}\n")
    who.run(["sh", "-c", "./configure && make -s && make check && make -q prog"], cwd=mnt)


@pytest.fixture
def backup_env(area):
    return {"BORG_BASE_DIR": str(area), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "RESTIC_PASSWORD": "x", "XDG_CACHE_HOME": str(area / "cache")}


def test_borg_backs_up_onto_the_mount_and_restores(who, mnt, srv, area, tree, backup_env):
    def borg(*args, cwd="/"):
        who.run(["borg", *args], env=backup_env, cwd=cwd, timeout=300)

    borg("init", "--encryption=none", str(mnt / "repo"))
    borg("create", f"{mnt}/repo::first", "tree", cwd=tree.parent)
    borg("create", f"{mnt}/repo::second", "tree", cwd=tree.parent)
    borg("check", "--verify-data", str(mnt / "repo"))
    (area / "out").mkdir()
    borg("extract", f"{mnt}/repo::second", cwd=area / "out")
    same(tree, area / "out" / "tree")
    borg("delete", f"{mnt}/repo::first")
    borg("check", str(srv / "repo"))


def test_restic_backs_up_onto_the_mount_and_restores(who, mnt, srv, area, tree, backup_env):
    def restic(*args, repo=mnt / "repo", cwd="/"):
        who.run(["restic", "--no-cache", "-r", str(repo), *args], env=backup_env, cwd=cwd, timeout=300)

    restic("init")
    restic("backup", "tree", cwd=tree.parent)
    restic("backup", "tree", cwd=tree.parent)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(area / "out"))
    same(tree, area / "out" / "tree")
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data", repo=srv / "repo")


def test_backup_reads_from_the_mount(who, mnt, srv, area, tree, backup_env):
    who.run(["cp", "-a", str(tree), str(srv / "tree")])
    who.run(["borg", "init", "--encryption=none", str(area / "repo")], env=backup_env)
    who.run(["borg", "create", f"{area}/repo::one", "tree"], cwd=mnt, env=backup_env)
    (area / "out").mkdir()
    who.run(["borg", "extract", f"{area}/repo::one"], cwd=area / "out", env=backup_env)
    same(tree, area / "out" / "tree")


def test_find_and_grep_see_what_is_there(who, mnt, srv, tree):
    who.run(["cp", "-a", str(tree), str(srv / "t")])
    for command in (r'find . ! -type d -printf "%p %y %s %m %Ts\n" | sort', "grep -rac e . | sort",
                    "find . -type f -print0 | sort -z | xargs -0 sha256sum"):
        ours = who.run(["sh", "-c", command], cwd=mnt / "t").stdout
        theirs = who.run(["sh", "-c", command], cwd=srv / "t").stdout
        assert ours == theirs
