"""A program of some 300 operations in which every FUSE operation appears; what it sees does not depend on time or chance,
so that two runs can be compared: run(top) makes the directory `top` and returns (label, outcome) of every step."""

import ctypes
import errno
import fcntl
import mmap
import os
import stat

OLD = 1_000_000_000
RENAME_NOREPLACE = 1
AT_FDCWD = -100

# Labels that begin with this word may fail with the errno behind it after a lost connection: the documented exceptions.
EXEMPT = {"unlinked": errno.ESTALE, "exclusive": errno.EEXIST}

FUSE_OPERATIONS = {
    "LOOKUP", "GETATTR", "SETATTR", "READLINK", "SYMLINK", "MKNOD", "MKDIR", "UNLINK", "RMDIR", "RENAME2", "LINK",
    "OPEN", "READ", "WRITE", "STATFS", "RELEASE", "FSYNC", "FLUSH", "OPENDIR", "READDIR", "READDIRPLUS", "RELEASEDIR",
    "FSYNCDIR", "CREATE", "COPY_FILE_RANGE",
}

libc = ctypes.CDLL(None, use_errno=True)


def renameat2(one, two, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def pattern(length, seed=1):
    """Bytes in which no piece looks like another."""
    line = b"".join(b"%08d:%d\n" % (i, seed) for i in range(length // 11 + 1))
    return line[:length]


def facts(info):
    return stat.filemode(info.st_mode), info.st_size if stat.S_ISREG(info.st_mode) else None


class Run:
    def __init__(self, top):
        self.top = os.fspath(top)
        self.seen = []

    def __call__(self, label, function, *args, **kwargs):
        """One step: its value or the name of its error is noted. A value that cannot be compared counts as success."""
        value = None
        try:
            value = function(*args, **kwargs)
            outcome = facts(value) if isinstance(value, os.stat_result) else value
        except OSError as error:
            outcome = errno.errorcode[error.errno]
        if not isinstance(outcome, (bytes, str, int, list, tuple)) or label.startswith("open"):
            outcome = outcome if isinstance(outcome, str) else "ok"
        self.seen.append((label, outcome))
        return value

    def path(self, name):
        return os.path.join(self.top, name)

    def open(self, name, flags, mode=0o644):
        return self(f"open {name} {flags:#o}", os.open, self.path(name), flags, mode)

    def close(self, fd):
        if fd is not None:
            self("close", os.close, fd)

    def write(self, name, data):
        fd = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if fd is not None:
            self(f"write {name}", os.write, fd, data)
            self.close(fd)

    def read(self, name):
        fd = self.open(name, os.O_RDONLY)
        if fd is not None:
            self(f"read {name}", read_all, fd)
            self.close(fd)

    def stat(self, name):
        self(f"stat {name}", os.lstat, self.path(name))

    def list(self, name):
        self(f"list {name}", lambda: sorted(os.listdir(self.path(name))))

    def walk(self, name):
        def walked():
            return sorted((os.path.relpath(where, self.top), sorted(dirs), sorted(files))
                          for where, dirs, files in os.walk(self.path(name)))
        self(f"walk {name}", walked)


def read_all(fd):
    data = b""
    while piece := os.read(fd, 1 << 17):
        data += piece
    return data


def directories(do):
    p = do.path
    for name in ("d", "d/e", "d/e/f", "g", "full"):
        do(f"mkdir {name}", os.mkdir, p(name), 0o755)
    do("mkdir again", os.mkdir, p("d"))
    do("mkdir without parent", os.mkdir, p("none/x"))
    do.write("full/x", b"x")
    do("rmdir of a full one", os.rmdir, p("full"))
    do("rmdir of none", os.rmdir, p("nothing"))
    do("rmdir g", os.rmdir, p("g"))
    do.stat("g")
    do("mkdir g again", os.mkdir, p("g"), 0o700)
    do.list("")
    do.list("d")
    do.walk("d")
    fd = do.open("d", os.O_RDONLY | os.O_DIRECTORY)
    if fd is not None:
        do("list an open directory", lambda: sorted(os.listdir(fd)))
        do("mkdir below it", os.mkdir, "late", dir_fd=fd)
        do("list it again", lambda: sorted(os.listdir(fd)))
        do("fsync of a directory", os.fsync, fd)
        do.close(fd)
    do("fill", lambda: [os.mkdir(p(f"g/n{i}")) for i in range(10)] and "ok")
    do("list by scandir", lambda: sorted((e.name, e.is_dir(), stat.filemode(e.stat(follow_symlinks=False).st_mode))
                                         for e in os.scandir(p("g"))))


def files(do):
    p = do.path
    for size in (0, 1, 4096, 70_000, 300_000):
        do.write(f"size{size}", pattern(size))
        do.stat(f"size{size}")
        do.read(f"size{size}")
    fd = do.open("mixed", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    if fd is not None:
        for i in range(8):
            do("pwrite", os.pwrite, fd, pattern(10_000, i), i * 9_000)
            do("pread", os.pread, fd, 5_000, i * 9_000 - 2_500 if i else 0)
        do("fsync", os.fsync, fd)
        do("fstat", os.fstat, fd)
        do("pwrite far", os.pwrite, fd, b"far", 200_000)
        do("pread hole", os.pread, fd, 1_000, 150_000)
        do("fdatasync", os.fdatasync, fd)
        do("ftruncate down", os.ftruncate, fd, 50_000)
        do("ftruncate up", os.ftruncate, fd, 60_000)
        do("pread end", os.pread, fd, 20_000, 45_000)
        do("seek", os.lseek, fd, 0, os.SEEK_END)
        do("lock", fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        do("unlock", fcntl.lockf, fd, fcntl.LOCK_UN)
        do.close(fd)
    do.read("mixed")
    do("truncate", os.truncate, p("mixed"), 12_345)
    do.stat("mixed")
    do.write("mixed", pattern(20_000, 9))
    do("truncate to 0", os.truncate, p("size4096"), 0)
    do.stat("size4096")
    do.stat("none")
    do.open("none", os.O_RDONLY)
    do.open("size1/x", os.O_RDONLY)
    do("open of a directory for writing", os.open, p("d"), os.O_WRONLY)


def appending(do):
    fds = [do.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), do.open("log", os.O_WRONLY | os.O_APPEND)]
    for i in range(12):
        if fds[i % 2] is not None:
            do("append", os.write, fds[i % 2], b"record %d of the log, and some more words to make it longer\n" % i)
    for fd in fds:
        do.close(fd)
    do.read("log")
    for i in range(3):
        fd = do.open("log", os.O_WRONLY | os.O_APPEND)
        if fd is not None:
            do("append much", os.write, fd, pattern(40_000, i))
            do.close(fd)
    do.read("log")


def names(do):
    p = do.path
    do.write("a", b"first")
    do.write("b", b"second")
    do("rename onto", os.rename, p("a"), p("b"))
    do.stat("a")
    do.read("b")
    do("rename into", os.rename, p("b"), p("d/e/b"))
    do("rename of none", os.rename, p("b"), p("c"))
    do("rename noreplace", renameat2, p("d/e/b"), p("d/e/c"), RENAME_NOREPLACE)
    do.write("b", b"third")
    do("rename noreplace onto", renameat2, p("b"), p("d/e/c"), RENAME_NOREPLACE)
    do("rename of a directory", os.rename, p("d/e"), p("d/moved"))
    do.read("d/moved/c")
    do("rename onto a full directory", os.rename, p("g"), p("full"))
    do("link", os.link, p("b"), p("hard"))
    do("link again", os.link, p("b"), p("hard"))
    do.read("hard")
    do("symlink", os.symlink, "b", p("soft"))
    do("symlink again", os.symlink, "b", p("soft"))
    do("readlink", os.readlink, p("soft"))
    do.read("soft")
    do("symlink dangling", os.symlink, "/none/there", p("dangling"))
    do("readlink dangling", os.readlink, p("dangling"))
    do("unlink", os.unlink, p("b"))
    do("unlink again", os.unlink, p("b"))
    do("unlink of a directory", os.unlink, p("d"))
    do.read("hard")
    do("mknod", os.mknod, p("node"), stat.S_IFREG | 0o600)
    do.stat("node")
    do("mknod fifo", os.mknod, p("fifo"), stat.S_IFIFO | 0o600)
    for i in range(5):
        do("mkdir many", os.mkdir, p(f"g/n{i}/m"))
        do("rename many", os.rename, p(f"g/n{i}"), p(f"g/r{i}"))
        do("rmdir many", os.rmdir, p(f"g/r{i}/m"))
        do("rmdir many 2", os.rmdir, p(f"g/r{i}"))
    do.list("g")


def attributes(do):
    p = do.path
    do.write("attr", b"attributes")
    for mode in (0o600, 0o755, 0o444, 0o644):
        do("chmod", os.chmod, p("attr"), mode)
        do.stat("attr")
    do("chown to self", os.chown, p("attr"), os.geteuid(), os.getegid())
    do("utime", os.utime, p("attr"), (OLD, OLD + 1))
    do("time", lambda: int(os.stat(p("attr")).st_mtime))
    do("lutime", os.utime, p("soft"), (OLD, OLD + 2), follow_symlinks=False)
    fd = do.open("attr", os.O_RDWR)
    if fd is not None:
        do("fchmod", os.fchmod, fd, 0o664)
        do("write", os.write, fd, b"ATTR")
        do("futime", os.utime, fd, (OLD, OLD + 3))
        do("time after", lambda: int(os.fstat(fd).st_mtime))
        do.close(fd)
    do("time closed", lambda: int(os.stat(p("attr")).st_mtime))
    do("access", os.access, p("attr"), os.R_OK | os.W_OK)
    do("statvfs", lambda: os.statvfs(do.top).f_namemax)
    do("getxattr", os.getxattr, p("attr"), "user.none")
    do("listxattr", os.listxattr, p("attr"))


def special(do):
    one, two = do.open("size300000", os.O_RDONLY), do.open("copy", os.O_RDWR | os.O_CREAT)
    if one is not None and two is not None:
        do("copy_file_range", lambda: [os.copy_file_range(one, two, 100_000, i * 100_000, i * 100_000)
                                       for i in range(3)])
        do("fsync of the copy", os.fsync, two)
    do.close(one)
    do.close(two)
    do.read("copy")
    fd = do.open("mapped", os.O_RDWR | os.O_CREAT)
    if fd is not None:
        do("ftruncate", os.ftruncate, fd, 20_000)
        do("map", map_and_change, fd)
        do("pread mapped", os.pread, fd, 100, 5_000)
        do.close(fd)
    do.read("mapped")
    do.write("sparse", b"")
    fd = do.open("sparse", os.O_RDWR)
    if fd is not None:
        do("pwrite sparse", os.pwrite, fd, b"island", 1_000_000)
        do("seek data", os.lseek, fd, 0, os.SEEK_DATA)
        do("fallocate", os.posix_fallocate, fd, 0, 10_000)
        do.close(fd)
    do.stat("sparse")


def map_and_change(fd):
    with mmap.mmap(fd, 20_000) as m:
        m[5_000:5_006] = b"mapped"
        m[19_990:19_994] = b"last"
        m.flush()
        return m[4_998:5_008]


def open_and_moved(do):
    """What lives in descriptors: renamed while it is written, read while it grows, replaced."""
    p = do.path
    fd = do.open("moving", os.O_RDWR | os.O_CREAT)
    if fd is not None:
        for i in range(6):
            do("write moving", os.write, fd, pattern(5_000, i))
            do("rename open", os.rename, p("moving" if i == 0 else f"moving{i - 1}"), p(f"moving{i}"))
            do("pread moving", os.pread, fd, 1_000, i * 4_000)
        do("fchmod moving", os.fchmod, fd, 0o600)
        do.close(fd)
    do.read("moving5")
    writer, reader = do.open("growing", os.O_WRONLY | os.O_CREAT), do.open("growing", os.O_RDONLY)
    if writer is not None and reader is not None:
        for i in range(6):
            do("write growing", os.write, writer, pattern(3_000, i))
            do("read growing", os.read, reader, 10_000)
    do.close(writer)
    do.close(reader)
    fd = do.open("replaced", os.O_RDWR | os.O_CREAT)
    do.write("replacement", b"new content")
    if fd is not None:
        do("write replaced", os.write, fd, b"old content")
        do.close(fd)
    do("rename over", os.rename, p("replacement"), p("replaced"))
    do.read("replaced")


def exceptions(do):
    """Where a lost connection may show."""
    p = do.path
    fd = do.open("doomed", os.O_RDWR | os.O_CREAT)
    if fd is not None:
        do("write doomed", os.write, fd, pattern(2_000))
        do("unlink open", os.unlink, p("doomed"))
        do("unlinked pread", os.pread, fd, 100, 0)
        do("unlinked pwrite", os.pwrite, fd, b"unseen", 10)
        do("unlinked fstat", lambda: os.fstat(fd).st_size)
        do("unlinked close", os.close, fd)
    for i in range(4):
        fd = do(f"exclusive {i}", os.open, p(f"lock{i}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        do.seen[-1] = (f"exclusive {i}", "ok" if fd is not None else do.seen[-1][1])
        do.close(fd)
        if i % 2 == 0:
            do(f"unlink lock{i}", os.unlink, p(f"lock{i}"))
    do("create over", os.open, p("lock1"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def run(top):
    do = Run(top)
    do("mkdir top", os.mkdir, do.top, 0o755)
    for part in (directories, files, appending, names, attributes, special, open_and_moved, exceptions):
        part(do)
    do.walk("")
    return do.seen


def differences(expected, seen):
    """Steps that went otherwise than in the undisturbed run, and are no documented exception; and the exceptions."""
    wrong, excused = [], []
    for number, (want, got) in enumerate(zip(expected, seen)):
        if want == got:
            continue
        label, outcome = got
        allowed = EXEMPT.get(label.split()[0])
        excuse = want[0] == label and allowed and outcome == errno.errorcode[allowed]
        (excused if excuse else wrong).append((number, short(want), short(got)))
        if want[0] != label:
            return wrong, excused  # the steps are out of step
    if len(expected) != len(seen):
        wrong.append((min(len(expected), len(seen)), f"{len(expected)} steps", f"{len(seen)} steps"))
    return wrong, excused


def short(step):
    text = repr(step)
    return text if len(text) < 300 else text[:150] + " ... " + text[-150:]


if __name__ == "__main__":
    import sys
    for line in run(sys.argv[1]):
        print(short(line))
