/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of this room share. Thread: the loop. */
#ifndef SRC_FUSE_PRIVATE_H
#define SRC_FUSE_PRIVATE_H

#define FUSE_USE_VERSION 35

#include <fuse_lowlevel.h>
#include <stdint.h>

#include "fuse/fusefs.h"
#include "util/list.h"

/* Threads whose process is remembered, one in each place. */
#define FUSEFS_CALLER_COUNT 256

struct fusefs_caller {
	pid_t tid;
	pid_t program;
	int64_t since_ms;
};

struct fusefs {
	struct fuse_session *session;
	struct vfs *vfs;
	const struct fusefs_control *control;
	struct fuse_buf buf; /* the request under way; its memory is reused */
	size_t write_len_max;
	unsigned background_count_max;
	size_t call_count;          /* requests vfs has not answered yet */
	struct fusefs_call *newest; /* the last one, NULL when it is answered */
	struct fusefs_stats stats;
	struct clock *clock;
	struct list interrupted; /* calls the kernel has asked to interrupt */
	bool interrupt_new;      /* some of them have not been passed on yet */
	struct timer recheck;    /* armed while `interrupted` has any */
	bool mounted;
	bool greeted; /* INIT has been answered */
	struct fusefs_caller callers[FUSEFS_CALLER_COUNT];
};

/* One request of the kernel, from its arrival to its one reply. */
struct fusefs_call {
	struct vfs_req req; /* what vfs knows of it */
	fuse_req_t fuse;
	struct fusefs *fs;
	struct list interrupted_entry; /* in fs->interrupted, or alone */
	bool interrupt_new;            /* not passed on yet */

	size_t xattr_size; /* getxattr: what the kernel has room for; 0: an ioctl */

	/* readdir */
	char *dir_bytes; /* allocated with the first entry */
	size_t dir_size; /* what the kernel has room for */
	size_t dir_len;
	bool dir_plus;
};

/* ops.c: the table for libfuse, which copies it. */
struct fuse_lowlevel_ops fusefs_ops(bool xattr);

/* The newest call has been passed to vfs: was it answered at once? */
static inline void fusefs_count(struct fusefs *fs, enum fusefs_ask ask)
{
	(fs->newest ? fs->stats.miss_count : fs->stats.hit_count)[ask]++;
}

/* call.c: for a request that goes to vfs. Return: NULL after it has been answered ENOMEM. */
struct fusefs_call *fusefs_call_create(fuse_req_t req);

/* After the reply. */
void fusefs_call_destroy(struct fusefs_call *call);

/* Tells vfs about interrupts, outside libfuse's locks. */
void fusefs_call_pass_interrupts(struct fusefs *fs);

/* timer_fn: looks again at interrupted calls that still wait. */
void fusefs_call_recheck(void *arg);

/* caller.c: of a thread that got a signal: is SIGKILL pending, or is it on its way out? */
bool fusefs_caller_dying(pid_t tid);

/* caller.c: the process of a thread; 0 when it is not one of this host's. */
pid_t fusefs_caller_program(struct fusefs *fs, pid_t tid);

/* control.c: is this opening of a directory meant for us, and not for vfs? */
bool fusefs_control_opens(fuse_ino_t ino, const struct fuse_file_info *fi);
void fusefs_control_open(fuse_req_t req);

/* The fh of such a descriptor; vfs counts up from 1. */
#define FUSEFS_CONTROL_FH UINT64_MAX

/* The ioctls of fuse/control.h. */
void fusefs_control_ioctl(struct fusefs *fs, fuse_req_t req, unsigned cmd);

#endif
