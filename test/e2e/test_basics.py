"""Every call of a filesystem, through the mount (m) and seen on the server (s)."""

import ctypes
import errno
import mmap
import os
import stat
import time

import pytest

from waiting import wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2

ODD_NAMES = [b"new\nline", b'quo"te', b"apo'strophe", b"back\\slash", b"n" * 255, b"\xff\xfe\x80", b" lead", b"trail ",
             b"-rf", b"*?[", b"$(HOME)`id`", b"\x01\x1b[31m", "Grüße €".encode(), b"...", b"tab\there", b"a" * 64]


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def raises(code, function, *args, **kwargs):
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


def renameat2(old, new, flags):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def test_list_shows_what_the_server_has(who, mnt, srv):
    for i in range(300):
        write(srv / f"file{i}", b"x" * i)
    os.mkdir(srv / "sub")
    assert sorted(os.listdir(mnt)) == sorted(os.listdir(srv))
    for entry in os.scandir(mnt):
        assert entry.is_dir() == (entry.name == "sub")
        assert entry.stat().st_mode == os.stat(srv / entry.name).st_mode
        if entry.is_file():
            assert entry.stat().st_size == int(entry.name[4:])


def test_written_bytes_arrive_and_read_bytes_are_right(who, mnt, srv):
    data = os.urandom(3_000_001)
    write(srv / "out", data)  # first: what is not there is believed for a while
    write(mnt / "in", data)
    assert read(srv / "in") == data
    assert read(mnt / "out") == data
    assert read(mnt / "in") == data


def test_read_at_any_offset(who, mnt, srv):
    data = os.urandom(500_000)
    write(srv / "f", data)
    fd = os.open(mnt / "f", os.O_RDONLY)
    for offset in (0, 1, 4095, 32768, 261119, 261120, 499_999, 123, 500_000, 700_000):
        assert os.pread(fd, 5000, offset) == data[offset:offset + 5000]
    os.close(fd)


def test_write_in_place_and_beyond_the_end(who, mnt, srv):
    write(mnt / "f", b"0123456789")
    fd = os.open(mnt / "f", os.O_RDWR)
    os.pwrite(fd, b"AB", 3)
    os.pwrite(fd, b"Z", 20)
    assert os.pread(fd, 100, 0) == b"012AB56789" + bytes(10) + b"Z"
    os.close(fd)
    assert read(srv / "f") == b"012AB56789" + bytes(10) + b"Z"


def test_mkdir_rmdir_unlink(who, mnt, srv):
    os.mkdir(mnt / "d", 0o750)
    assert stat.S_IMODE(os.stat(srv / "d").st_mode) == 0o750
    write(mnt / "d" / "f", b"")
    raises(errno.ENOTEMPTY, os.rmdir, mnt / "d")
    os.unlink(mnt / "d" / "f")
    raises(errno.ENOENT, os.stat, mnt / "d" / "f")
    os.rmdir(mnt / "d")
    assert os.listdir(mnt) == os.listdir(srv) == []


RENAMES = [
    ("file", None, 0), ("file", "file", 0), ("file", "empty", errno.EISDIR), ("file", "full", errno.EISDIR),
    ("link", "file", 0), ("file", "link", 0),
    ("empty", None, 0), ("empty", "empty", 0), ("full", "empty", 0), ("full", "full", errno.ENOTEMPTY),
    ("full", "file", errno.ENOTDIR), ("full", "link", errno.ENOTDIR), (None, "file", errno.ENOENT),
]


def make(path, kind):
    if kind == "file":
        write(path, os.path.basename(path).encode())
    elif kind == "link":
        os.symlink("somewhere", path)
    elif kind in ("empty", "full"):
        os.mkdir(path)
        if kind == "full":
            write(path / "inside", b"")


@pytest.mark.parametrize("source,target,code", RENAMES)
def test_rename(who, mnt, srv, source, target, code):
    make(mnt / "a", source)
    make(mnt / "b", target)
    if code:
        raises(code, os.rename, mnt / "a", mnt / "b")
        assert sorted(os.listdir(srv)) == [n for n, kind in (("a", source), ("b", target)) if kind]
        return
    was = os.lstat(mnt / "a").st_mode
    os.rename(mnt / "a", mnt / "b")
    raises(errno.ENOENT, os.lstat, mnt / "a")
    assert os.lstat(mnt / "b").st_mode == was == os.lstat(srv / "b").st_mode
    if source == "file":
        assert read(mnt / "b") == b"a"
    assert os.listdir(srv) == os.listdir(mnt) == ["b"]


def test_rename_into_itself_is_einval_and_to_itself_is_nothing(who, mnt, srv):
    os.mkdir(mnt / "d")
    raises(errno.EINVAL, os.rename, mnt / "d", mnt / "d" / "x")
    os.rename(mnt / "d", mnt / "d")
    assert os.listdir(srv) == ["d"]


def test_rename_of_a_tree_moves_what_is_below(who, mnt, srv):
    os.makedirs(mnt / "a" / "b")
    write(mnt / "a" / "b" / "f", b"deep")
    assert read(mnt / "a" / "b" / "f") == b"deep"
    os.mkdir(mnt / "other")
    os.rename(mnt / "a", mnt / "other" / "c")
    assert read(mnt / "other" / "c" / "b" / "f") == b"deep"
    raises(errno.ENOENT, os.stat, mnt / "a" / "b" / "f")


def test_rename_noreplace_never_replaces(who, mnt, srv):
    make(mnt / "a", "file")
    make(mnt / "b", "file")
    raises(errno.EEXIST, renameat2, mnt / "a", mnt / "b", RENAME_NOREPLACE)
    assert read(srv / "a") == b"a" and read(srv / "b") == b"b"
    renameat2(mnt / "a", mnt / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(srv)) == ["b", "c"]


def test_rename_exchange_is_einval(who, mnt, srv):
    make(mnt / "a", "file")
    make(mnt / "b", "file")
    raises(errno.EINVAL, renameat2, mnt / "a", mnt / "b", RENAME_EXCHANGE)
    assert read(srv / "a") == b"a" and read(srv / "b") == b"b"


def test_symlinks_are_raw(who, mnt, srv):
    for i, target in enumerate([b"x", b"/abs/olute", b"../../up", b"\xff\xfe", b"t" * 1000, b"a//b/./c"]):
        os.symlink(target, os.fsencode(mnt / f"l{i}"))
        assert os.readlink(os.fsencode(mnt / f"l{i}")) == target == os.readlink(os.fsencode(srv / f"l{i}"))
        assert os.lstat(mnt / f"l{i}").st_size == len(target)
    raises(errno.EEXIST, os.symlink, "y", mnt / "l0")
    raises(errno.EINVAL, os.readlink, mnt)
    raises(errno.ENOENT, os.stat, mnt / "l0")


def test_chmod_and_chown(who, mnt, srv):
    write(mnt / "f", b"")
    for mode in (0o600, 0o777, 0o4755, 0o000, 0o644):
        os.chmod(mnt / "f", mode)
        assert stat.S_IMODE(os.stat(mnt / "f").st_mode) == mode == stat.S_IMODE(os.stat(srv / "f").st_mode)
    os.chown(mnt / "f", os.geteuid(), os.getegid())
    if os.geteuid() == 0:
        os.chown(mnt / "f", 1234, 5678)
        found = os.stat(srv / "f")
        assert (found.st_uid, found.st_gid) == (1234, 5678)
        for uid, gid, seen in ((-1, 99, (1234, 99)), (77, -1, (77, 99))):
            os.chown(mnt / "f", uid, gid)
            found = os.stat(srv / "f")
            assert (found.st_uid, found.st_gid) == seen
    else:
        raises(errno.EPERM, os.chown, mnt / "f", 0, 0)


def test_create_mode_is_what_was_asked(who, mnt, srv):
    old = os.umask(0o027)
    for mode in (0o666, 0o777, 0o600, 0o400):
        os.close(os.open(mnt / f"f{mode}", os.O_CREAT | os.O_WRONLY, mode))
        assert stat.S_IMODE(os.stat(srv / f"f{mode}").st_mode) == mode & ~0o027
    os.umask(old)


def seconds(path):
    found = os.lstat(path)
    return int(found.st_atime), int(found.st_mtime)


def test_utime_sets_both_times(who, mnt, srv):
    write(mnt / "f", b"x")
    for times in ((1, 2), (1_000_000_000, 999_999_999), (0, 0)):
        os.utime(mnt / "f", times)
        assert seconds(mnt / "f") == times == seconds(srv / "f")


def test_touch_changes_only_what_it_says(who, mnt, srv):
    """UTIME_NOW and UTIME_OMIT, in both places; -h is the link itself."""
    write(mnt / "f", b"x")
    os.symlink("f", mnt / "l")
    os.utime(mnt / "f", (1000, 2000))
    now = time.time() - 5
    who.run(["touch", "-a", str(mnt / "f")])
    assert seconds(srv / "f")[0] >= now and seconds(srv / "f")[1] == 2000
    os.utime(mnt / "f", (1000, 2000))
    who.run(["touch", "-m", str(mnt / "f")])
    assert seconds(srv / "f")[0] == 1000 and seconds(srv / "f")[1] >= now
    os.utime(mnt / "f", (1000, 2000))
    who.run(["touch", "-m", "-d", "@3000", str(mnt / "f")])
    assert seconds(srv / "f") == (1000, 3000)
    who.run(["touch", "-h", "-d", "@4000", str(mnt / "l")])
    assert seconds(srv / "l") == (4000, 4000) and seconds(srv / "f") == (1000, 3000)
    who.run(["touch", str(mnt / "f")])
    assert min(seconds(srv / "f")) >= now


def test_truncate_shorter_and_longer(who, mnt, srv):
    write(mnt / "f", b"0123456789")
    os.truncate(mnt / "f", 3)
    assert read(srv / "f") == b"012" == read(mnt / "f")
    os.truncate(mnt / "f", 10)
    assert read(srv / "f") == b"012" + bytes(7) == read(mnt / "f")
    with open(mnt / "f", "r+b") as f:
        f.truncate(3)
        assert os.fstat(f.fileno()).st_size == 3
        f.truncate(10)
        assert f.read() == b"012" + bytes(7)


def test_o_trunc_empties(who, mnt, srv):
    write(mnt / "f", b"long content")
    os.close(os.open(mnt / "f", os.O_WRONLY | os.O_TRUNC))
    assert os.stat(mnt / "f").st_size == os.stat(srv / "f").st_size == 0


def test_append_goes_to_the_end_the_server_has(who, mnt, srv):
    write(mnt / "f", b"one")
    fd = os.open(mnt / "f", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"two")
    os.close(fd)
    with open(srv / "f", "ab") as f:
        f.write(b"THREE")
    fd = os.open(mnt / "f", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"four")
    os.close(fd)
    assert read(srv / "f") == b"onetwoTHREEfour"


def in_children(count, job):
    """Run job(number) in that many processes; return the numbers of those that returned true."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                code = 0 if job(number) else 1
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert 2 not in codes
    return [number for number, code in enumerate(codes) if code == 0]


def test_o_excl_has_one_winner(who, mnt, srv):
    def create(round_number):
        try:
            os.close(os.open(mnt / f"lock{round_number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return True
        except FileExistsError:
            return False

    for i in range(20):
        assert len(in_children(4, lambda number, i=i: create(i))) == 1
    assert len(os.listdir(srv)) == 20


def test_two_processes_append_whole_records(who, mnt, srv):
    write(mnt / "log", b"")

    def append(number):
        fd = os.open(mnt / "log", os.O_WRONLY | os.O_APPEND)
        for i in range(50):
            os.write(fd, b"%d:%03d\n" % (number, i))
        os.close(fd)
        return True

    in_children(2, append)
    lines = read(srv / "log").split()
    assert sorted(lines) == sorted(b"%d:%03d" % (n, i) for n in range(2) for i in range(50))


def test_hard_link_shows_two_names_on_both(who, mnt, srv):
    write(mnt / "a", b"content")
    os.link(mnt / "a", mnt / "b")
    assert os.stat(srv / "a").st_ino == os.stat(srv / "b").st_ino
    assert os.stat(mnt / "a").st_nlink == os.stat(mnt / "b").st_nlink == 2
    assert os.stat(mnt / "a").st_ino == os.stat(mnt / "b").st_ino
    with open(mnt / "b", "ab") as f:
        f.write(b"+")
    assert read(mnt / "a") == b"content+"
    os.unlink(mnt / "a")
    assert read(mnt / "b") == b"content+"


def test_truncating_open_is_seen_by_other_descriptors(who, mnt, srv):
    """Also by one whose first bytes came with its open; nothing was written where it reads."""
    for n in range(8):
        write(srv / f"f{n}", b"o" * 200_000)
        os.utime(srv / f"f{n}", (1_600_000_000, 1_600_000_000))
    for n in range(8):
        reader = os.open(mnt / f"f{n}", os.O_RDONLY | (os.O_DIRECT if n % 2 else 0))
        writer = os.open(mnt / f"f{n}", os.O_RDWR | os.O_TRUNC)
        try:
            os.pwrite(writer, b"n" * 1000, 51204)
            with mmap.mmap(-1, 4096) as page:  # aligned, as O_DIRECT wants it
                assert os.preadv(reader, [page], 45056) == 4096
                assert page[:] == bytes(4096)
        finally:
            os.close(writer)
            os.close(reader)


def test_unlinked_open_file_stays_usable(who, mnt, srv):
    fd = os.open(mnt / "f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    os.unlink(mnt / "f")
    os.write(fd, b"after")
    assert os.pread(fd, 100, 0) == b"beforeafter"
    assert os.fstat(fd).st_size == 11 and os.fstat(fd).st_nlink == 0
    os.ftruncate(fd, 4)
    assert os.pread(fd, 100, 0) == b"befo"
    write(mnt / "f", b"another")
    assert os.pread(fd, 100, 0) == b"befo"
    os.close(fd)
    assert read(srv / "f") == b"another"
    assert os.listdir(srv) == ["f"]


def test_renamed_open_file_stays_usable(who, mnt, srv):
    fd = os.open(mnt / "a", os.O_CREAT | os.O_RDWR)
    os.rename(mnt / "a", mnt / "b")
    os.write(fd, b"late")
    os.fchmod(fd, 0o640)
    os.close(fd)
    assert read(srv / "b") == b"late" and stat.S_IMODE(os.stat(srv / "b").st_mode) == 0o640


def test_mmap_reads_and_shared_writes_reach_the_server(who, mnt, srv):
    data = os.urandom(100_000)
    write(mnt / "f", data)
    fd = os.open(mnt / "f", os.O_RDWR)
    with mmap.mmap(fd, 0) as view:
        assert view[:] == data
        view[5000:5003] = b"NEW"
        view.flush()
    os.fsync(fd)
    os.close(fd)
    assert read(srv / "f") == data[:5000] + b"NEW" + data[5003:]


def test_sparse_files_keep_their_holes_as_zeros(who, mnt, srv):
    with open(mnt / "f", "wb") as f:
        f.write(b"start")
        f.seek(1_000_000)
        f.write(b"end")
    assert read(srv / "f") == b"start" + bytes(999_995) + b"end" == read(mnt / "f")


def test_files_above_4_gib(who, mnt, srv):
    size = 5 << 30
    with open(mnt / "f", "wb") as f:
        f.truncate(size)
        f.seek(size - 3)
        f.write(b"end")
    assert os.stat(mnt / "f").st_size == size == os.stat(srv / "f").st_size
    with open(mnt / "f", "rb") as f:
        f.seek(size - 5)
        assert f.read() == b"\0\0end"
        f.seek((4 << 30) + 7)
        assert f.read(3) == bytes(3)


def test_statfs_is_the_servers(who, mnt, srv):
    ours, theirs = os.statvfs(mnt), os.statvfs(srv)
    assert ours.f_blocks * ours.f_frsize == theirs.f_blocks * theirs.f_frsize
    assert ours.f_namemax == theirs.f_namemax
    assert ours.f_files == theirs.f_files
    assert abs(ours.f_bavail * ours.f_frsize - theirs.f_bavail * theirs.f_frsize) < 2 << 30  # others write, too


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda n: repr(n)[:24])
def test_odd_names(who, mnt, srv, name):
    m, s = os.fsencode(mnt), os.fsencode(srv)
    write(os.path.join(m, name), name)
    assert os.listdir(s) == [name] == os.listdir(m)
    assert read(os.path.join(s, name)) == name
    os.rename(os.path.join(m, name), os.path.join(m, b"plain"))
    os.rename(os.path.join(m, b"plain"), os.path.join(m, name))
    os.unlink(os.path.join(m, name))
    os.mkdir(os.path.join(m, name))
    write(os.path.join(m, name, b"f"), b"1")
    assert read(os.path.join(s, name, b"f")) == b"1"


def test_mv_then_new_file_is_another_file(who, mnt, srv):
    """Tools that see equal inode numbers call different files identical."""
    write(mnt / "a", b"old\n")
    who.run(["sh", "-c", "mv a b && echo x > a && ! cmp -s a b && cp a b && cmp a b"], cwd=mnt)
    assert read(srv / "b") == b"x\n"


def test_cp_onto_a_name_that_was_linked_elsewhere(who, mnt, srv):
    write(mnt / "a", b"1")
    os.link(mnt / "a", mnt / "b")
    os.unlink(mnt / "b")
    write(mnt / "b", b"2")
    assert os.stat(mnt / "a").st_ino != os.stat(mnt / "b").st_ino
    assert read(mnt / "a") == b"1"


def only_one_version(data):
    assert len(set(data)) <= 1, f"a mixture of {sorted(set(data))}"
    return data[:1]


def test_file_replaced_on_the_server_is_never_mixed(who, mnt, srv):
    size = 400_000
    write(srv / "f", b"A" * size)
    fd = os.open(mnt / "f", os.O_RDONLY)
    view = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    assert only_one_version(os.pread(fd, 1000, 0) + view[200_000:200_010]) == b"A"
    write(srv / "new", b"B" * (size + 1000))
    os.rename(srv / "new", srv / "f")
    wait_until(lambda: only_one_version(read(mnt / "f")) == b"B", what="new readers see the new file")
    assert only_one_version(os.pread(fd, size, 0)) == b"A"
    assert only_one_version(view[:]) == b"A"
    assert len(read(mnt / "f")) == size + 1000
    view.close()
    os.close(fd)


def test_file_rewritten_on_the_server_is_seen_by_new_readers(who, mnt, srv):
    write(srv / "f", b"A" * 300_000)
    os.utime(srv / "f", (1000, 1000))
    fd = os.open(mnt / "f", os.O_RDONLY)
    assert only_one_version(os.pread(fd, 300_000, 0)) == b"A"
    with open(srv / "f", "r+b") as f:
        f.write(b"B" * 300_000)
    wait_until(lambda: only_one_version(read(mnt / "f")) == b"B", what="new readers see the new content")
    os.close(fd)


def test_file_grown_on_the_server_shows_its_end(who, mnt, srv):
    write(srv / "log", b"line 1\n")
    fd = os.open(mnt / "log", os.O_RDONLY)
    assert os.read(fd, 100) == b"line 1\n"
    with open(srv / "log", "ab") as f:
        f.write(b"line 2\n")

    def whole():
        data = read(mnt / "log")
        assert data in (b"line 1\n", b"line 1\nline 2\n")
        return len(data) == 14

    wait_until(whole, what="the new line")
    assert os.pread(fd, 100, 0) == b"line 1\nline 2\n"
    os.close(fd)


def test_access_and_special_files(who, mnt, srv):
    write(mnt / "f", b"")
    assert os.access(mnt / "f", os.R_OK | os.W_OK) and not os.access(mnt / "f", os.X_OK)
    os.mknod(mnt / "g", 0o644 | stat.S_IFREG)
    assert os.stat(srv / "g").st_size == 0
    raises(errno.EPERM, os.mkfifo, mnt / "p")


def test_fsync_of_files_and_directories(who, mnt, srv):
    fd = os.open(mnt / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"safe")
    os.fsync(fd)
    assert read(srv / "f") == b"safe"
    os.fdatasync(fd)
    os.close(fd)
    fd = os.open(mnt, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def test_large_directory_is_complete_and_has_no_doubles(who, mnt, srv):
    for i in range(3000):
        os.close(os.open(srv / f"n{i}", os.O_CREAT))
    found = os.listdir(mnt)
    assert len(found) == 3000 == len(set(found))
