/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The session with the kernel: requests go to vfs_*(), answers come back through fusefs_replies.
 * No decisions are taken here.
 *
 * Thread: the loop (fusefs_create() and fusefs_mount() before it runs). Blocks: only where said.
 * Spec: libfuse 3.14 low-level API; include/vfs/vfs.h.
 */
#ifndef FUSE_FUSEFS_H
#define FUSE_FUSEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfs/vfs.h"

struct fusefs;

struct fusefs_config {
	const char *fsname;  /* shown as the mount's source */
	const char *subtype; /* the type is fuse.SUBTYPE */
	char *const
	    *options; /* mount options for libfuse, one string each, NULL-terminated; or NULL */
	size_t write_len_max;          /* largest write request asked of the kernel; 0: 1 MiB */
	unsigned background_count_max; /* FUSE background requests; 0: 64 */
	bool xattr;                    /* user.sftpfs.sha256 can be asked for */
	bool debug;                    /* libfuse's own trace of every request */
};

/* The subcommands' way in. All run on the loop. */
struct fusefs_control {
	/* Writes one JSON object into `json` (`size` bytes). */
	void (*status)(void *ctx, char *json, size_t size);
	void (*reconnect)(void *ctx);
	void (*quiesce)(void *ctx);
	void *ctx;
};

/* The answers of vfs. */
extern const struct vfs_replies fusefs_replies;

/*
 * Strings are copied; `clock` and `control` must outlive the session.
 * Return: NULL with the reason in `err`.
 */
struct fusefs *fusefs_create(const struct fusefs_config *cfg, struct vfs *vfs, struct clock *clock,
                             const struct fusefs_control *control, char *err, size_t err_size);

/*
 * Mounts at `mountpoint` (absolute), through fusermount3 for ordinary users.
 * Return: 0, or -EIO with the reason in `err`. Blocks: for fusermount3.
 */
int fusefs_mount(struct fusefs *fs, const char *mountpoint, char *err, size_t err_size);

/* Readable when the kernel has requests. -1 before fusefs_mount() and after fusefs_unmount(). */
int fusefs_fd(const struct fusefs *fs);

/*
 * Receives and passes on what the kernel has ready, at most a fair turn of it.
 * Return: 0; -ENODEV when the kernel has ended the mount; another negative errno when the device
 * failed, which ends it as well.
 */
int fusefs_dispatch(struct fusefs *fs);

/* Detaches the mount if the kernel has not done so already. Harmless twice. Blocks: briefly. */
void fusefs_unmount(struct fusefs *fs);

/* Requests that have not been answered yet. */
size_t fusefs_unanswered_count(const struct fusefs *fs);

/* What programs ask for, as far as the kernel does not know it itself. */
enum fusefs_ask {
	FUSEFS_ASK_ATTR, /* names, attributes, targets of links */
	FUSEFS_ASK_LIST, /* directories that are opened */
	FUSEFS_ASK_OPEN, /* files that are opened */
	FUSEFS_ASK_READ,
	FUSEFS_ASK_COUNT,
};

/* Of each kind: answered at once, from what is cached, and those that waited for the server. */
struct fusefs_stats {
	uint64_t hit_count[FUSEFS_ASK_COUNT], miss_count[FUSEFS_ASK_COUNT];
};
void fusefs_get_stats(const struct fusefs *fs, struct fusefs_stats *out);

/* No request is unanswered any more. NULL is fine. */
void fusefs_destroy(struct fusefs *fs);

/* "3.14.0": the libfuse in use. */
const char *fusefs_library_version(void);

#endif
