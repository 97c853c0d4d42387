"""cp, tar, rsync, git and fio at once, while the connection is cut and servers are killed at random moments: nothing is lost and
nothing is damaged. SFTPFS_CUTS=100 for the full number, which takes some minutes."""

import os
import random
import signal
import subprocess
import time

import pytest

from conftest import login_args
from program import Program
from server import Sshd
from test_commands import status
from trees import make_tree, same
from waiting import wait_until

pytestmark = [pytest.mark.own_user,
              pytest.mark.parametrize("who", ["root" if os.geteuid() == 0 else "myself"], indirect=True, scope="session")]

CUTS = int(os.environ.get("SFTPFS_CUTS", "8"))
HANG = 300.0
FIO = ["fio", "--name=job", "--rw=randrw", "--bs=16k", "--size=4m", "--ioengine=psync", "--verify=crc32c",
       "--verify_fatal=1", "--verify_state_save=0", "--fallocate=none", "--thread", "--output-format=terse"]


def shell(script, **env):
    """Run to its end; what it said when it failed, else ""."""
    done = subprocess.run(["bash", "-c", "set -eo pipefail\n" + script], capture_output=True, check=False,
                          env={**os.environ, **{k: str(v) for k, v in env.items()}})
    return f"{script}\n{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}" if done.returncode else ""


def copy(m, tree, turn):
    return shell("cp -a $T $M/cp$N && diff -r --no-dereference $T $M/cp$N && rm -r $M/cp$N", M=m, T=tree, N=turn)


def tar(m, tree, turn):
    return shell("mkdir $M/tar$N && tar -C $T -cf - . | tar -C $M/tar$N -xf - && tar -C $T -cf - . | tar -C $M/tar$N -df -"
                 " && rm -r $M/tar$N", M=m, T=tree, N=turn)


def rsync(m, tree, turn):
    return shell("rsync -a $T/ $M/rsync/ && rsync -anci $T/ $M/rsync/ | tee /dev/stderr | wc -l | grep -qx 0"
                 " && rm -r $M/rsync/dir1 $M/rsync/big", M=m, T=tree, N=turn)


def git(m, tree, turn):
    return shell("cd $M && rm -rf git && git init -q git && cd git && git config user.email a@b && git config user.name n"
                 " && cp -r $T/odd . && for i in 1 2 3; do echo $i > f$i && git add -A && git commit -qm $i; done"
                 " && git gc -q && git fsck --strict && git status --porcelain | wc -l | grep -qx 0", M=m, T=tree)


def fio(m, tree, turn):
    return shell(" ".join(FIO) + " --directory=$M --filename=fio", M=m)


def again_and_again(job, m, tree, over):
    """Until the file `over` is there; (number of runs, what failed)."""
    runs = 0
    while not os.path.exists(over):
        failure = job(m, tree, runs)
        if failure:
            return runs, failure
        runs += 1
    return runs, ""


def test_cuts_under_load(who, top, people, area, mounter, relays):
    sshd = Sshd(area / "sshd", users=people.values())
    relay = relays(sshd.port)
    base, tree, over = area / "base", area / "tree", area / "over"
    base.mkdir()
    os.chown(base, who.uid, who.gid)
    make_tree(tree, directories=10, files=60)
    mount = mounter(who, sshd.target(who, base), login_args(sshd, who, port=relay.port))
    programs = {job.__name__: Program(who, again_and_again, job, mount.dir, tree, over)
                for job in (copy, tar, rsync, git, fio)}
    rng = random.Random(7)
    try:
        for number in range(CUTS):
            before = status(who, mount.dir)["reconnects"]
            # The moments are what this is about: time passes here on purpose.
            time.sleep(rng.uniform(0.05, 0.5))
            harm(sshd, relay, ["cut", "bytes up", "bytes down", "sftp-server", "sshd"][number % 5], rng)
            wait_until(lambda: status(who, mount.dir)["reconnects"] > before, 60, f"reconnect {number}")
            complain({name: program.result(1) for name, program in programs.items() if program.ended()}, mount)
        over.touch()
        results = {name: program.result(HANG) for name, program in programs.items()}
        complain({name: result for name, result in results.items() if result[1]}, mount)
        print({name: runs for name, (runs, _) in results.items()}, status(who, mount.dir)["reconnects"], "reconnects")
        who.run(["rsync", "-a", f"{tree}/", f"{mount.dir}/rsync/"])
        same(str(tree), str(base / "rsync"))
        mount.umount()
    finally:
        over.touch()
        for program in programs.values():
            program.kill()
        sshd.stop()


def complain(failures, mount):
    """In full: pytest would shorten what a program has said."""
    if failures:
        said = [f"{name}, run {run}:\n{words}" for name, (run, words) in failures.items()]
        pytest.fail("\n".join([*said, mount.log_text()[-6000:]]), pytrace=False)


def harm(sshd, relay, kind, rng):
    if kind == "cut":
        relay.command("cut")
    elif kind.startswith("bytes"):
        relay.command(f"cut-after-{kind} {rng.randrange(1, 300_000)}")
        relay.event(60)
    elif kind == "sftp-server":
        os.kill(rng.choice(wait_until(sshd.sftp_server_pids)), signal.SIGKILL)
    else:
        sshd.stop()
        sshd.start()
