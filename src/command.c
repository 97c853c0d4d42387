/* SPDX-License-Identifier: BSD-2-Clause */
/* Subcommands, over the ioctls of fuse/control.h. Run in a process of their own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "fuse/control.h"
#include "mountpoint.h"
#include "program.h"

/* The daemon has this long to deliver what is left and end: a little more than drain_timeout. */
#define END_TIMEOUT_MS (70 * 1000)
#define COPY_GRACE_MS                                                                              \
	1000 /* a process that is only starting in a new namespace has left it by then */

extern char **environ;

static int complain(const char *path, const char *what)
{
	fprintf(stderr, "sftpfs: %s: %s\n", path, what);
	return PROGRAM_EXIT_MOUNTPOINT;
}

/* Opens the root of a mount of ours. Return: a descriptor, or -1 after a line. */
static int open_mount(const char *path, struct control_hello *hello)
{
	int fd = open(path, CONTROL_OPEN_FLAGS);

	if (fd < 0) {
		complain(path, strerror(errno));
		return -1;
	}
	if (ioctl(fd, CONTROL_HELLO, hello) < 0 || hello->magic != CONTROL_MAGIC) {
		complain(path, "not the root of an sftpfs mount");
		close(fd);
		return -1;
	}
	return fd;
}

static int simple(const char *path, unsigned long request)
{
	struct control_hello hello;
	int fd = open_mount(path, &hello);

	if (fd < 0)
		return PROGRAM_EXIT_MOUNTPOINT;
	int r = ioctl(fd, request) < 0 ? complain(path, strerror(errno)) : 0;
	close(fd);
	return r;
}

static int run_reconnect(const char *path)
{
	return simple(path, CONTROL_RECONNECT);
}

static int run_quiesce(const char *path)
{
	return simple(path, CONTROL_QUIESCE);
}

static int run_status(const char *path)
{
	static struct control_status st;
	struct control_hello hello;
	int fd = open_mount(path, &hello);

	if (fd < 0)
		return PROGRAM_EXIT_MOUNTPOINT;
	int r = ioctl(fd, CONTROL_STATUS, &st) < 0 ? complain(path, strerror(errno)) : 0;
	close(fd);
	if (r)
		return r;
	st.json[sizeof(st.json) - 1] = '\0';
	return puts(st.json) < 0 || fflush(stdout) != 0 ? complain(path, strerror(errno)) : 0;
}

/* fusermount3 says itself what is wrong. Return: 0 or an exit code. */
static int run_fusermount(const char *path)
{
	const char *const argv[] = {"fusermount3", "-u", "--", path, NULL};
	pid_t pid;
	int status;

	int r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (r)
		return complain(argv[0], strerror(r));
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return PROGRAM_EXIT_MOUNTPOINT;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : PROGRAM_EXIT_MOUNTPOINT;
}

static int detach(const char *path)
{
	if (getuid() != 0)
		return run_fusermount(path);
	return umount2(path, UMOUNT_NOFOLLOW) < 0 ? complain(path, strerror(errno)) : 0;
}

/*
 * A mount namespace that was made meanwhile (a container, a service) may have a copy of the mount. The
 * daemon serves it until that is gone. Return: 0, or an exit code after a line.
 */
static int look_for_copies(const char *path, const struct statx *root)
{
	char name[32], text[128];
	pid_t pid = mountpoint_holder(root->stx_dev_major, root->stx_dev_minor, name, sizeof(name));

	if (!pid)
		return 0;
	snprintf(text, sizeof(text),
	         "unmounted here, but process %ld (%s) has it in a mount namespace of its own",
	         (long)pid, name);
	return complain(path, text);
}

static bool ends_within(int pidfd, int timeout_ms)
{
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&pfd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n != 0;
}

/* Until the daemon has ended, so that whoever asked may use the server's files at once. */
static int wait_for_end(const char *path, int pidfd, const struct statx *root)
{
	int r;

	if (pidfd >= 0 && ends_within(pidfd, COPY_GRACE_MS))
		return 0;
	r = look_for_copies(path, root);
	if (r == 0 && pidfd >= 0 && !ends_within(pidfd, END_TIMEOUT_MS))
		r = complain(path, "unmounted, but its process has not ended");
	return r;
}

/* fsync of a directory covers the whole mount: what was accepted is on the server, or it fails. */
static int barrier(const char *path, int fd)
{
	if (fsync(fd) == 0)
		return 0;
	fprintf(stderr,
	        "sftpfs: %s: not unmounted: something could not be delivered (see the log): %s\n",
	        path, strerror(errno));
	return PROGRAM_EXIT_UNDELIVERED;
}

static int run_umount(const char *path)
{
	struct control_hello hello;
	int fd = open_mount(path, &hello);

	if (fd < 0)
		return PROGRAM_EXIT_MOUNTPOINT;
	int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)hello.pid, 0);
	struct statx root = {0};
	statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &root);
	int r = barrier(path, fd);
	close(fd);
	if (r == 0)
		r = detach(path);
	if (r == 0)
		r = wait_for_end(path, pidfd, &root);
	if (pidfd >= 0)
		close(pidfd);
	return r;
}

/* In the form of sha256sum, so that `sha256sum -c` takes it. */
static int run_hash(const char *path)
{
	struct control_hash hash;
	char text[SHA256_TEXT_LEN + 1];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return complain(path, strerror(errno));
	int err = ioctl(fd, CONTROL_HASH, &hash) < 0 ? errno : 0;
	close(fd);
	if (err == ENOTTY)
		return complain(path, "not a file of an sftpfs mount");
	if (err == EOPNOTSUPP)
		return complain(path, "the server has no means to hash its files");
	if (err)
		return complain(path, strerror(err));
	sha256_text(hash.sha256, text);
	return printf("%s  %s\n", text, path) < 0 || fflush(stdout) != 0
	           ? complain(path, strerror(errno))
	           : 0;
}

static const struct {
	const char *name;
	int (*run)(const char *path);
} commands[] = {
    {"status", run_status},   {"umount", run_umount}, {"reconnect", run_reconnect},
    {"quiesce", run_quiesce}, {"hash", run_hash},
};

static int find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

bool command_is(int argc, char *const argv[])
{
	if (argc < 2 || find(argv[1]) < 0)
		return false;
	/* `sftpfs status host:dir` mounts on a directory called status; no host has such a name. */
	for (int i = 2; i < argc; i++) {
		if (!strchr("-./", argv[i][0]) && strchr(argv[i], ':'))
			return false;
	}
	return true;
}

int command_run(int argc, char *const argv[])
{
	int i = find(argv[1]);

	if (argc != 3) {
		fprintf(stderr, "usage: sftpfs %s %s\n", argv[1],
		        strcmp(argv[1], "hash") == 0 ? "file" : "mountpoint");
		return PROGRAM_EXIT_USAGE;
	}
	char *path = mountpoint_resolve_parent(argv[2]);
	if (!path)
		return complain(argv[2], strerror(errno));
	int r = commands[i].run(path);
	free(path);
	return r;
}
