/* SPDX-License-Identifier: BSD-2-Clause */
/* The ioctls of fuse/control.h. Thread: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuse/control.h"
#include "private.h"
#include "util/log.h"

bool fusefs_control_opens(fuse_ino_t ino, const struct fuse_file_info *fi)
{
	return ino == VFS_ROOT && (fi->flags & O_APPEND);
}

void fusefs_control_open(fuse_req_t req)
{
	const struct fuse_file_info fi = {.fh = FUSEFS_CONTROL_FH};

	fuse_reply_open(req, &fi);
}

static void reply_status(struct fusefs *fs, fuse_req_t req)
{
	struct control_status *st = calloc(1, sizeof(*st));

	if (!st) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	st->magic = CONTROL_MAGIC;
	st->pid = getpid();
	fs->control->status(fs->control->ctx, st->json, sizeof(st->json));
	fuse_reply_ioctl(req, 0, st, sizeof(*st));
	free(st);
}

static bool may_control(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == getuid();
}

void fusefs_control_ioctl(struct fusefs *fs, fuse_req_t req, unsigned cmd)
{
	const struct control_hello hello = {.magic = CONTROL_MAGIC, .pid = getpid()};

	switch (cmd) {
	case (unsigned)CONTROL_HELLO:
		fuse_reply_ioctl(req, 0, &hello, sizeof(hello));
		return;
	case (unsigned)CONTROL_STATUS:
		reply_status(fs, req);
		return;
	case (unsigned)CONTROL_RECONNECT:
	case (unsigned)CONTROL_QUIESCE:
		break;
	default:
		fuse_reply_err(req, ENOTTY);
		return;
	}

	if (!may_control(req)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	/* Answered first: quiesce answers everything that waits, and this must not be among it. */
	fuse_reply_ioctl(req, 0, NULL, 0);
	if (cmd == (unsigned)CONTROL_RECONNECT) {
		log_info(LOG_FUSE, "asked to reconnect");
		fs->control->reconnect(fs->control->ctx);
	} else {
		log_info(LOG_FUSE, "asked to answer everything that waits");
		fs->control->quiesce(fs->control->ctx);
	}
}
