/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Child processes as byte pipes. See include/ssh/child.h.
 * Room: ssh. Thread: the back. posix_spawn() only: a fork would copy the daemon's memory and locks.
 */
#include "ssh/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MS       500
#define SOCKET_BUF_LEN (1 << 20)

extern char **environ;

static int set_attributes(posix_spawnattr_t *attr, unsigned flags)
{
	sigset_t defaults, mask;
	short bits = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;

	sigfillset(&defaults);
	/* Ctrl-C or a hang-up is for us: what is unsent still has to go through this child. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGQUIT);
	sigaddset(&mask, SIGHUP);
	if (flags & CHILD_SESSION) {
		bits |= POSIX_SPAWN_SETSID;
	} else if (flags & CHILD_GROUP) {
		bits |= POSIX_SPAWN_SETPGROUP;
		posix_spawnattr_setpgroup(attr, 0);
	}
	posix_spawnattr_setsigdefault(attr, &defaults);
	posix_spawnattr_setsigmask(attr, &mask);
	return -posix_spawnattr_setflags(attr, bits);
}

static int set_actions(posix_spawn_file_actions_t *fa, int sock, int err, unsigned flags)
{
	int rc = posix_spawn_file_actions_adddup2(fa, sock, STDIN_FILENO);

	if (!rc)
		rc = posix_spawn_file_actions_adddup2(fa, sock, STDOUT_FILENO);
	if (!rc && err >= 0)
		rc = posix_spawn_file_actions_adddup2(fa, err, STDERR_FILENO);
	if (!rc && (flags & CHILD_STDERR_NULL))
		rc = posix_spawn_file_actions_addopen(fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	return -rc;
}

static int spawn(pid_t *pid, char *const argv[], int sock, int err, unsigned flags)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int rc;

	rc = -posix_spawn_file_actions_init(&fa);
	if (rc)
		return rc;
	rc = -posix_spawnattr_init(&attr);
	if (rc)
		goto destroy_actions;
	rc = set_actions(&fa, sock, err, flags);
	if (!rc)
		rc = set_attributes(&attr, flags);
	if (!rc)
		rc = -posix_spawnp(pid, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
destroy_actions:
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

int child_spawn(struct child *ch, char *const argv[], unsigned flags)
{
	int pair[2], err[2] = {-1, -1};
	int size = SOCKET_BUF_LEN;
	int rc;

	*ch = CHILD_INIT;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	if ((flags & CHILD_STDERR) && pipe2(err, O_CLOEXEC)) {
		rc = -errno;
		goto close_pair;
	}
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	rc = spawn(&ch->pid, argv, pair[1], err[1], flags);
	if (rc)
		goto close_err;
	close(pair[1]);
	ch->fd = pair[0];
	fcntl(ch->fd, F_SETFL, O_NONBLOCK);
	if (err[1] >= 0) {
		close(err[1]);
		ch->err_fd = err[0];
		fcntl(ch->err_fd, F_SETFL, O_NONBLOCK);
	}
	ch->group = flags & CHILD_GROUP;
	ch->pid_fd = pidfd_open(ch->pid, 0); /* is close-on-exec by itself */
	return 0;

close_err:
	ch->pid = 0;
	if (err[0] >= 0) {
		close(err[0]);
		close(err[1]);
	}
close_pair:
	close(pair[0]);
	close(pair[1]);
	return rc;
}

int child_spawn_shell(struct child *ch, const char *command, unsigned flags)
{
	char shell[] = "/bin/sh", dash_c[] = "-c";
	char *line;
	int rc;

	*ch = CHILD_INIT;
	if (asprintf(&line, "exec %s", command) < 0)
		return -ENOMEM;
	rc = child_spawn(ch, (char *[]){shell, dash_c, line, NULL}, flags);
	free(line);
	return rc;
}

static void tail_add(struct child *ch, const char *bytes, size_t len)
{
	size_t keep;

	if (len > sizeof(ch->tail)) {
		bytes += len - sizeof(ch->tail);
		len = sizeof(ch->tail);
	}
	keep = sizeof(ch->tail) - len;
	if (keep > ch->tail_len)
		keep = ch->tail_len;
	memmove(ch->tail, ch->tail + ch->tail_len - keep, keep);
	memcpy(ch->tail + keep, bytes, len);
	ch->tail_len = keep + len;
}

bool child_read_stderr(struct child *ch, bool echo)
{
	char bytes[1024];
	ssize_t n;

	if (ch->err_fd < 0)
		return false;
	while ((n = read(ch->err_fd, bytes, sizeof(bytes))) > 0) {
		tail_add(ch, bytes, (size_t)n);
		if (echo && write(STDERR_FILENO, bytes, (size_t)n) < 0)
			echo = false;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	close(ch->err_fd);
	ch->err_fd = -1;
	return false;
}

void child_last_line(const struct child *ch, char *line, size_t size)
{
	size_t end = ch->tail_len, start;

	while (end > 0 && (unsigned char)ch->tail[end - 1] <= ' ')
		end--;
	start = end;
	while (start > 0 && ch->tail[start - 1] != '\n' && ch->tail[start - 1] != '\r')
		start--;
	if (end - start >= size)
		start = end - size + 1;
	for (size_t i = start; i < end; i++) {
		unsigned char b = (unsigned char)ch->tail[i];

		line[i - start] = b < ' ' || b == 0x7f ? ' ' : (char)b;
	}
	line[end - start] = '\0';
}

/* Return: 1 and the status when it has ended, 0 when not, -ECHILD when it is not our child. */
static int reap(struct child *ch, int *status)
{
	pid_t pid;

	do
		pid = waitpid(ch->pid, status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == ch->pid)
		return 1;
	return pid < 0 ? -ECHILD : 0;
}

static void forget(struct child *ch)
{
	if (ch->pid_fd >= 0)
		close(ch->pid_fd);
	ch->pid_fd = -1;
	ch->pid = 0;
}

int child_wait(struct child *ch, int timeout_ms)
{
	int status = 0, rc;

	if (ch->pid == 0)
		return -ECHILD;
	for (int waited_ms = 0;; waited_ms += 10) {
		rc = reap(ch, &status);
		if (rc > 0 || (rc < 0 && (ch->pid_fd < 0 || kill(ch->pid, 0) < 0)))
			break;
		if (waited_ms >= timeout_ms)
			return -ETIMEDOUT;
		if (ch->pid_fd >= 0) {
			struct pollfd pfd = {.fd = ch->pid_fd, .events = POLLIN};

			if (poll(&pfd, 1, timeout_ms - waited_ms) > 0)
				waited_ms = timeout_ms;
		} else {
			poll(NULL, 0, 10);
		}
	}
	forget(ch);
	return rc > 0 ? status : -ECHILD;
}

static void signal_child(const struct child *ch, int sig)
{
	if (ch->pid > 0)
		kill(ch->group ? -ch->pid : ch->pid, sig);
}

void child_end(struct child *ch, bool gently)
{
	if (ch->pid > 0 && gently) {
		if (ch->fd >= 0)
			shutdown(ch->fd, SHUT_RDWR);
		signal_child(ch, SIGTERM);
		child_wait(ch, GRACE_MS);
	}
	if (ch->pid > 0) {
		signal_child(ch, SIGKILL);
		/* A killed process ends as soon as it leaves the kernel. */
		while (child_wait(ch, 1000) == -ETIMEDOUT)
			;
	}
	if (ch->fd >= 0)
		close(ch->fd);
	if (ch->err_fd >= 0)
		close(ch->err_fd);
	ch->fd = ch->err_fd = -1;
}
