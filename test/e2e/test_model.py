"""Random operations compared with a model, and fio's verifying jobs. MODEL_FULL=1 runs the full counts."""

import os
import secrets
from pathlib import Path

import pytest

from conftest import _own_dir, login_args, serial
from mount import options

FULL = os.environ.get("MODEL_FULL") == "1"
NEAR_OPS = 200_000 if FULL else 20_000
FAR_OPS = 10_000 if FULL else 1_000
RTT_MS = 10


def model_binary():
    """MODEL, or where the build or the test run puts it, seen from the relay."""
    if "MODEL" in os.environ:
        return os.environ["MODEL"]
    beside = Path(os.environ.get("RELAY", "/")).parent
    for path in (beside / "sftpfs-model", beside.parent / "model" / "sftpfs-model"):
        if path.exists():
            return str(path)
    raise AssertionError("set MODEL to sftpfs-model")


def run_model(who, mnt, srv, ops, *args):
    """The seed is in the message when it fails; MODEL_SEED does it again. `srv` None: not compared after each close."""
    seed = os.environ.get("MODEL_SEED", str(1 + secrets.randbelow(2 ** 32)))
    peer = ["--peer", str(srv)] if srv else []
    done = who.run([model_binary(), "--seed", seed, "--ops", str(ops), *peer, *args, str(mnt)],
                   timeout=3600 if FULL else 600)
    print(done.stdout.decode())


@pytest.mark.parametrize("args", [
    [],
    ["--files", "3", "--direct"],
    ["--size", "16777216", "--length", "2097152", "--check", "200"],
    ["--files", "1", "--size", "65536", "--length", "9000"],
], ids=["small", "direct", "large", "tiny"])
def test_random_operations_agree_with_a_model(who, mnt, srv, args):
    share = 1 if not args else 10 if "16777216" in args else 4
    run_model(who, mnt, srv, NEAR_OPS // share, *args)


@pytest.fixture(params=["direct", "ssh"])
def far(request, top, who, sshd, direct, relays, mounter):
    """A mount of its own through a relay, and the directory that it shows."""
    base = _own_dir(top / f"far{next(serial)}", who)
    if request.param == "direct":
        relay = relays(direct.port, delay=RTT_MS // 2, sftp=True)
        mount = mounter.direct(who, relay.port, directory=base)
    else:
        relay = relays(sshd.port, delay=RTT_MS // 2)
        args = login_args(sshd, who, StrictHostKeyChecking="no", UserKnownHostsFile="/dev/null")
        args[args.index("-p") + 1] = relay.port
        mount = mounter(who, sshd.target(who, base), args)
    return mount.dir, base


def test_random_operations_over_a_distance(who, far):
    run_model(who, *far, FAR_OPS)


@pytest.fixture(params=[{"dir_cache": "no"}, {"direct_io": None}, {"open_window": "0"}, {"async": None}], ids=lambda c: next(iter(c)))
def otherwise(request, top, who, sshd, mounter):
    """A mount with other caching, the directory that it shows, and what the model must leave out."""
    base = _own_dir(top / f"cache{next(serial)}", who)
    mount = mounter(who, sshd.target(who, base), [*login_args(sshd, who), *options(**request.param)])
    # What is opened with direct_io cannot be mapped shared.
    return mount.dir, None if "async" in request.param else base, \
        ["--without", "map-read,map-write"] if "direct_io" in request.param else []


def test_random_operations_with_other_caching(who, otherwise):
    mnt, base, without = otherwise
    run_model(who, mnt, base, NEAR_OPS // 4, *without)


JOBS = {
    "randrw": ["--rw=randrw", "--bsrange=512-64k", "--ioengine=psync"],
    "sequential": ["--rw=write", "--bs=1m", "--ioengine=psync"],
    "mmap": ["--rw=randrw", "--bs=4k", "--ioengine=mmap"],
    "direct": ["--rw=randrw", "--bsrange=4k-256k", "--ioengine=psync", "--direct=1"],
    "queue": ["--rw=randwrite", "--bs=64k", "--ioengine=libaio", "--direct=1", "--iodepth=16"],
    "sync": ["--rw=randwrite", "--bsrange=1k-32k", "--ioengine=psync", "--sync=1"],
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("count", [1, 3])
def test_fio_verifies_what_it_wrote(who, mnt, srv, job, count):
    size = "64m" if FULL else "6m"
    who.run(["fio", f"--name={job}", f"--directory={mnt}", f"--size={size}", f"--numjobs={count}", "--verify=crc32c",
             "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--end_fsync=1", "--group_reporting",
             "--fallocate=none", f"--randseed={secrets.randbelow(2 ** 32)}", *JOBS[job]], timeout=600, cwd=mnt)
    assert len(os.listdir(srv)) == count
