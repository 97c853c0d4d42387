# SPDX-License-Identifier: BSD-2-Clause
"""The files that are moved: the same ones in every run (fixed seeds)."""

import random
import shutil
import subprocess
from pathlib import Path

MIB = 1 << 20
BIG_LEN = 256 * MIB
READERS = 8
TREE_FILES, TREE_LEN = 2000, 33_000_000  # below 1 + 10 + 100 directories
PART_FILES, PART_LEN, PARTS = 400, 7_000_000, 20
NEW_FILES, NEW_PARTS = 200, 10
HALF_PART = "half"  # of the first of the new ones, for slow tools on long links
COLD_FILES = 200
CLONED_FILES, CLONED_LEN = 50, 20_000  # how many, and the mean length


def random_file(path, length, seed):
    rng = random.Random(seed)
    with open(path, "wb") as out:
        while length:
            piece = min(length, 16 * MIB)
            out.write(rng.randbytes(piece))
            length -= piece


def sizes(rng, count, total):
    """As in source trees: many small files, a few large ones."""
    weights = [rng.lognormvariate(0, 1.3) for _ in range(count)]
    return [max(1, int(total * w / sum(weights))) for w in weights]


def fill(places, count, total, seed):
    rng = random.Random(seed)
    for i, length in enumerate(sizes(rng, count, total)):
        (places[i % len(places)] / f"file{i:04}.c").write_bytes(rng.randbytes(length))


def make_tree(top):
    places = [top]
    for i in range(10):
        places.append(top / f"dir{i}")
        places += [top / f"dir{i}" / f"sub{j}" for j in range(10)]
    for place in places:
        place.mkdir()
    fill(places[1:], TREE_FILES, TREE_LEN, 11)


def make_parts(top, parts, count, total, seed):
    make_places([top / f"part{i:02}" for i in range(parts)], count, total, seed)


def make_places(places, count, total, seed):
    for place in places:
        place.mkdir(parents=True)
    fill(places, count, total, seed)


def make_half(part, half):
    half.mkdir()
    for path in sorted(part.iterdir())[::2]:
        shutil.copy(path, half)


def make_repository(top, count):
    """20 files in a directory and ten directories in one above, about as in the tree."""
    places = [top / "files" / f"dir{i // 10}" / f"sub{i % 10}" for i in range(max(5, count // 20))]
    make_places(places, count, count * CLONED_LEN, 14)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", top, *words], check=True)


class Data:
    """`remote` is what is mounted, `local` what is copied in; both on this machine."""

    def __init__(self, directory, cloned_files=CLONED_FILES):
        self.remote = Path(directory) / "remote"
        self.local = Path(directory) / "local"
        self.scratch = Path(directory) / "scratch"  # what a tool brings in goes here
        for path in (self.remote, self.local, self.scratch):
            path.mkdir()
        for i in range(2):
            random_file(self.remote / f"big{i}", BIG_LEN, i)
        for i in range(READERS):
            random_file(self.remote / f"reader{i}", BIG_LEN // READERS, 100 + i)
        random_file(self.local / "big", BIG_LEN, 2)
        make_tree(self.remote / "tree")
        make_parts(self.remote / "small", PARTS, PART_FILES, PART_LEN, 12)
        make_parts(self.local / "new", NEW_PARTS, NEW_FILES, PART_LEN // 2, 13)
        make_half(self.local / "new" / "part00", self.local / "new" / HALF_PART)
        self.cloned_files = cloned_files
        make_repository(self.local / "repository", cloned_files)
        (self.remote / "cold").mkdir()
        for i in range(COLD_FILES):
            (self.remote / "cold" / f"f{i}").write_bytes(b"x")

    def clean(self):
        """Away with what a run has made, on both sides."""
        for path in [*self.scratch.iterdir(), *self.remote.glob("new*")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
