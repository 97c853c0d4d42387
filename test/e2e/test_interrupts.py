"""Signals that a program handles do not show on a healthy connection: no local filesystem has EINTR from stat, create or
close."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from program import Program
from test_commands import status
from test_outage import HANG
from test_reconnect import contents
from waiting import wait_until

pytestmark = pytest.mark.own_user

# Does every call, again and again, under a storm of signals with SA_RESTART; says which ones failed.
STORM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static volatile int over;
static int failed;
static pthread_t worker;

static void handler(int sig) { signals++; }

static void *storm(void *arg)
{
	while (!over) {
		pthread_kill(worker, SIGURG);
		usleep(500);
	}
	return NULL;
}

#define TRY(call) do { errno = 0; if ((call) < 0) { failed++; printf("%s: %s\n", #call, strerror(errno)); } } while (0)

static void round_of_calls(int n)
{
	static char page[70000];
	char buf[100], a[50], b[50];
	struct timespec times[2] = {{1, 0}, {2, 0}};
	struct statvfs sv;
	struct stat st;
	DIR *d;
	int fd;

	snprintf(a, sizeof(a), "a%d", n);
	snprintf(b, sizeof(b), "b%d", n);
	TRY(fd = open(a, O_RDWR | O_CREAT | O_EXCL, 0600));
	TRY(write(fd, page, sizeof(page)));
	TRY(fsync(fd));
	TRY(fstat(fd, &st));
	TRY(ftruncate(fd, 5000));
	TRY(fchmod(fd, 0640));
	TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(pread(fd, buf, sizeof(buf), 4000));
	TRY(futimens(fd, times));
	TRY(close(fd));
	TRY(stat(a, &st));
	TRY(chmod(a, 0600));
	TRY(truncate(a, 10));
	TRY(link(a, "link"));
	TRY(symlink(a, "symlink"));
	TRY(readlink("symlink", buf, sizeof(buf)));
	TRY(rename(a, b));
	TRY(mkdir("dir", 0700));
	d = opendir(".");
	TRY(d ? 0 : -1);
	errno = 0;
	while (d && readdir(d))
		;
	TRY(errno ? -1 : 0);
	if (d)
		TRY(closedir(d));
	TRY(rmdir("dir"));
	TRY(fd = open(b, O_RDONLY));
	TRY(read(fd, buf, 10));
	TRY(close(fd));
	TRY(statvfs(".", &sv));
	TRY(unlink("link"));
	TRY(unlink("symlink"));
	TRY(unlink(b));
	TRY(stat(b, &st) < 0 && errno == ENOENT ? 0 : -1);
}

int main(int argc, char *argv[])
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval every = {{0, 10000}, {0, 10000}};
	pthread_t thread;

	worker = pthread_self();
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGURG, &sa, NULL);
	if (strcmp(argv[1], "timer") == 0)
		setitimer(ITIMER_REAL, &every, NULL);
	else
		pthread_create(&thread, NULL, storm, NULL);
	for (int i = 0; i < atoi(argv[2]); i++)
		round_of_calls(i);
	over = 1;
	printf("%d signals\n", (int)signals);
	return failed || signals < 50;
}
"""


@pytest.fixture(scope="module")
def storm(top):
    (top / "storm.c").write_text(STORM)
    subprocess.run(["cc", "-pthread", "-o", top / "storm", top / "storm.c"], check=True)
    return str(top / "storm")


@pytest.mark.parametrize("kind", ["timer", "urgent"])
def test_handled_signals_do_not_show(who, direct, mounter, relays, area, storm, kind):
    """A timer of 10 ms as profilers have it, and SIGURG as Go preempts its threads with; every call takes longer than that."""
    relay = relays(direct.port, delay=8)
    mount = mounter.direct(who, relay.port, directory=area)
    done = who.run([storm, kind, "3"], cwd=mount.dir, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_git_with_progress(who, direct, mounter, relays, area):
    """git shows progress by a timer; it calls an EINTR of stat or close a failure."""
    relay = relays(direct.port, delay=2)
    mount = mounter.direct(who, relay.port, directory=area)
    script = """set -e
        git -c init.defaultBranch=main init -q one && cd one
        git config user.email a@b && git config user.name n
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do head -c 3000 /dev/urandom > f$i; done
        git add . && git commit -qm one
        git repack --no-quiet -adf
        cd .. && git clone --progress --no-local one two
        cd two && git status && git fsck --progress --strict"""
    who.run(["sh", "-c", script], cwd=mount.dir, env={"GIT_PROGRESS_DELAY": "0"})
    who.run(["diff", "-r", "-x", ".git", str(area / "one"), str(area / "two")])


def test_signal_ends_what_waits_for_a_silent_server(who, direct, mounter, area):
    """After more than a second of silence, and only what has no effect there: ^C in a program that handles it works."""
    mount = mounter.direct(who, direct.port, directory=area)
    who.call(os.stat, mount.dir)
    direct.signal_all(signal.SIGSTOP)
    try:
        reader = Program(who, contents, mount.dir / "f")
        wait_until(lambda: status(who, mount.dir)["kernel_requests"] == 1)
        maker = Program(who, os.mkdir, mount.dir / "d")
        state = Path(f"/proc/{maker.pid}/stat")
        wait_until(lambda: ") D " in state.read_text(), what="it waits for the directory, which the reader holds")
        reader.kill(signal.SIGINT)
        maker.kill(signal.SIGINT)
        with pytest.raises(AssertionError, match="KeyboardInterrupt"):
            reader.result(HANG)
        assert not maker.ended()
    finally:
        direct.signal_all(signal.SIGCONT)
    maker.wait(HANG)
    assert (area / "d").is_dir()
