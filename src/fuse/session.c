/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The FUSE session: made, mounted, read from, unmounted. Thread: the loop.
 *
 * libfuse is used as a codec only. Its loops are not: one epoll loop serves the kernel, the
 * connection and the timers, so the device is read here, without blocking.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "private.h"
#include "util/log.h"

/* Requests taken before timers and replies get their turn. */
#define TURN_COUNT 64

/* The largest request the kernel can send: 256 pages. */
#define WRITE_LEN_MAX (1024 * 1024)

#define BACKGROUND_COUNT 64

/* Where messages of libfuse go while we ask it for something; NULL: to the log. */
static char *captured;
static size_t captured_size;

static void take_message(enum fuse_log_level level, const char *line)
{
	static const char prefix[] = "fuse: ";

	if (captured && level <= FUSE_LOG_ERR) {
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			line += strlen(prefix);
		if (!captured[0])
			snprintf(captured, captured_size, "%s", line);
		return;
	}
	log_write(LOG_FUSE, level <= FUSE_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG, "%s", line);
}

/* libfuse's own messages, which come as whole lines or as parts of them. */
__attribute__((format(printf, 2, 0))) static void log_from_libfuse(enum fuse_log_level level,
                                                                   const char *fmt, va_list ap)
{
	static char line[512];
	static size_t len;

	int n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	if (n < 0)
		return;
	len += (size_t)n;
	if (len >= sizeof(line))
		len = sizeof(line) - 1;
	if (len == 0 || (line[len - 1] != '\n' && len < sizeof(line) - 1))
		return;
	len = 0;
	for (char *l = strtok(line, "\n"); l; l = strtok(NULL, "\n"))
		take_message(level, l);
}

static void capture(char *err, size_t err_size)
{
	err[0] = '\0';
	captured = err;
	captured_size = err_size;
}

static void capture_end(const char *otherwise)
{
	if (!captured[0])
		snprintf(captured, captured_size, "%s", otherwise);
	captured = NULL;
}

/* Adds "-o" and `option`, with libfuse's separators in it escaped. Return: 0 or -ENOMEM. */
static int add_option(struct fuse_args *args, const char *key, const char *value)
{
	char *escaped = malloc(strlen(key) + 2 * strlen(value) + 1);

	if (!escaped)
		return -ENOMEM;
	char *to = stpcpy(escaped, key);
	for (const char *from = value; *from; from++) {
		if (*from == ',' || *from == '\\')
			*to++ = '\\';
		*to++ = *from;
	}
	*to = '\0';
	int r = fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, escaped);
	free(escaped);
	return r ? -ENOMEM : 0;
}

static int build_args(struct fuse_args *args, const struct fusefs_config *cfg)
{
	int r = fuse_opt_add_arg(args, "sftpfs") ? -ENOMEM : 0;

	if (!r && cfg->debug)
		r = fuse_opt_add_arg(args, "-d") ? -ENOMEM : 0;
	if (!r)
		r = add_option(args, "fsname=", cfg->fsname);
	if (!r && cfg->subtype && cfg->subtype[0])
		r = add_option(args, "subtype=", cfg->subtype);
	for (char *const *o = cfg->options; !r && o && *o; o++)
		r = add_option(args, "", *o);
	return r;
}

struct fusefs *fusefs_create(const struct fusefs_config *cfg, struct vfs *vfs, struct clock *clock,
                             const struct fusefs_control *control, char *err, size_t err_size)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const struct fuse_lowlevel_ops ops = fusefs_ops(cfg->xattr);
	struct fusefs *fs = calloc(1, sizeof(*fs));

	if (!fs) {
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	fs->vfs = vfs;
	fs->clock = clock;
	fs->control = control;
	fs->write_len_max = cfg->write_len_max ? cfg->write_len_max : WRITE_LEN_MAX;
	fs->background_count_max =
	    cfg->background_count_max ? cfg->background_count_max : BACKGROUND_COUNT;
	list_init(&fs->interrupted);
	timer_init(&fs->recheck, fusefs_call_recheck, fs);

	fuse_set_log_func(log_from_libfuse);
	capture(err, err_size);
	if (build_args(&args, cfg) == 0)
		fs->session = fuse_session_new(&args, &ops, sizeof(ops), fs);
	capture_end("libfuse refused its options");
	fuse_opt_free_args(&args);
	if (!fs->session) {
		free(fs);
		return NULL;
	}
	return fs;
}

/*
 * fusermount3 writes its reasons to standard error. They are caught in a file, so that they become
 * part of our one line; a file and not a pipe, because with auto_unmount it lives on.
 */
struct stderr_catch {
	int saved_fd;
	int file_fd;
};

static void catch_stderr(struct stderr_catch *c)
{
	c->file_fd = memfd_create("fusermount3", MFD_CLOEXEC);
	c->saved_fd = c->file_fd < 0 ? -1 : fcntl(2, F_DUPFD_CLOEXEC, 3);
	if (c->saved_fd >= 0)
		dup2(c->file_fd, 2);
}

/* The first line caught goes to `text`; "" when there is none. */
static void catch_stderr_end(struct stderr_catch *c, char *text, size_t size)
{
	static const char prefix[] = "fusermount3: ";
	char line[256];
	ssize_t n = c->file_fd < 0 ? -1 : pread(c->file_fd, line, sizeof(line) - 1, 0);

	if (c->saved_fd >= 0) {
		dup2(c->saved_fd, 2);
		close(c->saved_fd);
	}
	if (c->file_fd >= 0)
		close(c->file_fd);
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	bool has_prefix = strncmp(line, prefix, strlen(prefix)) == 0;
	snprintf(text, size, "%s", has_prefix ? line + strlen(prefix) : line);
}

/*
 * libfuse 3.14 has FUSE_CAP_PARALLEL_DIROPS and forgets it in its answer to INIT, the first it writes.
 * Without the flag the kernel sends one lookup of a directory at a time.
 */
static void add_parallel_dirops(const struct iovec *iov, int count)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	struct fuse_init_out *init = count > 1 ? iov[1].iov_base : NULL;

	if (init && head->error == 0 &&
	    iov[1].iov_len >= offsetof(struct fuse_init_out, max_background))
		init->flags |= FUSE_PARALLEL_DIROPS;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fusefs *fs = userdata;

	if (!fs->greeted)
		add_parallel_dirops(iov, count);
	fs->greeted = true;
	return writev(fd, iov, count);
}

static ssize_t device_read(int fd, void *bytes, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, bytes, len);
}

static const struct fuse_custom_io device_io = {.writev = device_writev, .read = device_read};

int fusefs_mount(struct fusefs *fs, const char *mountpoint, char *err, size_t err_size)
{
	struct stderr_catch caught;
	char theirs[256];

	catch_stderr(&caught);
	capture(err, err_size);
	int r = fuse_session_mount(fs->session, mountpoint);
	catch_stderr_end(&caught, theirs, sizeof(theirs));
	capture_end(theirs[0] ? theirs : "fusermount3 refused, or package fuse3 is missing");
	if (r)
		return -EIO;
	if (theirs[0])
		log_info(LOG_FUSE, "fusermount3: %s", theirs);
	fs->mounted = true;

	int fd = fuse_session_fd(fs->session);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fuse_session_custom_io(fs->session, &device_io, fd) != 0) {
		snprintf(err, err_size, "%s", strerror(errno));
		fusefs_unmount(fs);
		return -EIO;
	}
	return 0;
}

int fusefs_fd(const struct fusefs *fs)
{
	return fs->mounted ? fuse_session_fd(fs->session) : -1;
}

int fusefs_dispatch(struct fusefs *fs)
{
	for (unsigned i = 0; i < TURN_COUNT; i++) {
		int r = fuse_session_receive_buf(fs->session, &fs->buf);

		if (r == -EINTR)
			continue;
		if (r == -EAGAIN)
			return 0;
		if (r == 0)
			return -ENODEV;
		if (r < 0)
			return r;
		fuse_session_process_buf(fs->session, &fs->buf);
		fusefs_call_pass_interrupts(fs);
		if (fuse_session_exited(fs->session))
			return -ENODEV;
	}
	return 0;
}

void fusefs_unmount(struct fusefs *fs)
{
	if (!fs->mounted)
		return;
	fs->mounted = false;
	/* Replies that come from now on have nowhere to go, which libfuse need not report. */
	fuse_session_exit(fs->session);
	fuse_session_unmount(fs->session);
}

size_t fusefs_unanswered_count(const struct fusefs *fs)
{
	return fs->call_count;
}

void fusefs_get_stats(const struct fusefs *fs, struct fusefs_stats *out)
{
	*out = fs->stats;
}

void fusefs_destroy(struct fusefs *fs)
{
	if (!fs)
		return;
	fusefs_unmount(fs);
	timer_cancel(&fs->recheck);
	fuse_session_destroy(fs->session);
	free(fs->buf.mem);
	free(fs);
}

const char *fusefs_library_version(void)
{
	return fuse_pkgversion();
}
