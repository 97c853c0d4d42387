"""Directory trees for copying, and the comparison of two of them."""

import os
import random
import stat
import subprocess

from test_basics import ODD_NAMES, write

OLD = 1_000_000_000


def make_tree(top, directories=60, files=1500, seed=1):
    """A tree of files of all kinds that a copy must bring over. The same seed makes the same tree."""
    rng = random.Random(seed)
    top = os.fsencode(top)
    os.mkdir(top)
    places = [top]
    for i in range(directories):
        place = os.path.join(rng.choice(places), b"dir%d" % i)
        os.mkdir(place)
        places.append(place)
    for i in range(files):
        path = os.path.join(rng.choice(places), b"file%d" % i)
        write(path, rng.randbytes(int(rng.expovariate(1 / 4000))))
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444]))
    odd = os.path.join(top, b"odd")
    os.mkdir(odd)
    places.append(odd)
    for name in ODD_NAMES:
        write(os.path.join(odd, name), name * 3)
    os.symlink(b"file1", os.path.join(top, b"link"))
    os.symlink(b"/does/not/exist", os.path.join(top, b"dangling"))
    os.symlink(b"..", os.path.join(odd, b"up\nlink"))
    os.link(os.path.join(odd, b"..."), os.path.join(top, b"hard"))
    write(os.path.join(top, b"empty"), b"")
    os.mkdir(os.path.join(top, b"empty dir"))
    places.append(os.path.join(top, b"empty dir"))
    with open(os.path.join(top, b"sparse"), "wb") as f:
        f.truncate(3_000_000)
        f.seek(1_500_000)
        f.write(b"island")
    write(os.path.join(top, b"big"), rng.randbytes(2_500_000))
    for where, names, found in os.walk(top, topdown=False):
        for name in found:
            os.utime(os.path.join(where, name), (OLD, OLD + rng.randrange(10 ** 8)), follow_symlinks=False)
        os.utime(where, (OLD, OLD + rng.randrange(10 ** 8)))


def describe(top):
    """relative path -> what must be equal in a copy, contents aside"""
    top = os.fsencode(top)
    found = {}
    for where, directories, files in os.walk(top):
        for name in [b"", *directories, *files]:
            path = os.path.join(where, name) if name else where
            info = os.lstat(path)
            link = os.readlink(path) if stat.S_ISLNK(info.st_mode) else None
            size = info.st_size if stat.S_ISREG(info.st_mode) else None
            # the modification time of a symlink is compared too: lsetstat carries it
            found[os.path.relpath(path, top)] = (oct(info.st_mode), size, int(info.st_mtime), link)
    return found


def same(one, two, times=True):
    """Contents by diff, then kind, mode, size, whole-second time and link target."""
    done = subprocess.run(["diff", "-r", "--no-dereference", one, two], capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[:3000]
    first, second = describe(one), describe(two)
    if not times:
        first, second = ({k: (m, s, link) for k, (m, s, _, link) in d.items()} for d in (first, second))
    assert first.keys() == second.keys()
    differing = {k: (first[k], second[k]) for k in first if first[k] != second[k]}
    assert not differing, dict(list(differing.items())[:10])
