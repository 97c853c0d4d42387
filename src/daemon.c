/* SPDX-License-Identifier: BSD-2-Clause */
/* Going to the background. Thread: the main one, before there are others. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"

/* In the child: the parent waits at the other end. -1: not forked. */
static int ready_fd = -1;

static volatile sig_atomic_t child_pid;

static void pass_on(int sig)
{
	int saved = errno;

	kill((pid_t)child_pid, sig);
	errno = saved;
}

/* The parent's part. The child reports itself on the terminal; only its exit code is needed. */
static void wait_for_child(pid_t pid, int fd)
{
	struct sigaction sa = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	ssize_t n;
	int status;
	char byte;

	child_pid = pid;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int daemon_fork(void)
{
	int fds[2];
	pid_t parent = getpid();

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid < 0) {
		int r = -errno;
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	if (pid > 0) {
		close(fds[1]);
		wait_for_child(pid, fds[0]);
	}
	close(fds[0]);
	ready_fd = fds[1];
	/* A killed parent must not leave us behind half way. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(128 + SIGTERM);
	return 0;
}

void daemon_background(void)
{
	if (chdir("/") < 0)
		return; /* cannot happen; harmless */
	if (ready_fd < 0)
		return;
	setsid();
	umask(077);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 0; i <= 2; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

void daemon_ready(void)
{
	if (ready_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	while (write(ready_fd, "", 1) < 0 && errno == EINTR)
		;
	close(ready_fd);
	ready_fd = -1;
}
