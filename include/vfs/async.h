/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * -o async: changes are acknowledged after a local check and carried out afterwards. Thread: the loop.
 *
 * Where the journal lives. It is a backend between vfs and the real one: vfs calls it like any other
 * and its caches work as ever, the real one is called as if by a program that never waits for what it
 * need not wait for. Nothing else in vfs asks whether changes are postponed, except where the promise
 * of a call changes: fsync, fsyncdir, close, O_SYNC, drain and status use the functions below.
 *
 *   vfs (nodes, caches, open files)
 *    |  struct be_ops
 *   async_name.c   changes of names and attributes: local check, acknowledge, enqueue
 *   async_file.c   files: bytes of a new one are kept until its close, then sent in one go; its parts
 *                  are async_send.c (to the server), async_io.c (read, write, fsync, copy) and
 *                  async_set.c (attributes)
 *   async_look.c   stat, listings: what is pending shows; a directory is listed after two misses
 *   async_check.c  the local check: what the caches know, permissions, free space
 *   pending.c      who waits for whom, and who fails with whom
 *    |  struct be_ops
 *   sftp/ or scp/
 *
 * What is postponed: create, mkdir, symlink, link, unlink, rmdir of a directory known to be empty,
 * rename of anything but a directory, attributes, data. Each only if the caches know all it depends
 * on, the login may do it by owner and mode, and the free space (at most 5 s old) covers twice what is
 * unsent plus 64 MiB. Everything else takes its place in the order and is answered by the server.
 *
 * A new file is sent when it is closed, has grown beyond 1 MiB, or something waits for it. Attributes
 * that are set until then ride with it. Its last request sets the mtime that programs have been shown.
 * Reading a name with something pending waits for it, reading the creating descriptor does not.
 *
 * Each change waits for the answers of those it builds on, which is stronger than one lane in program
 * order and as fast: a tree costs one round trip for each level, not for each name.
 */
#ifndef VFS_ASYNC_H
#define VFS_ASYNC_H

#include "vfs/internal.h"

/* Puts the journal between `v` and v->be. Return: 0 or -ENOMEM. */
int async_create(struct vfs *v);

/* The backend below calls no more. What is undelivered is dropped. NULL is fine. */
void async_destroy(struct async *a);

typedef void async_done_fn(void *arg, int err);

/*
 * Waits until everything acknowledged so far has been answered by the server. `err`: the first
 * failure since the last barrier, a negative errno. `done` runs exactly once, later.
 * Return: 0 or -ENOMEM.
 */
int async_barrier(struct async *a, async_done_fn *done, void *arg);

/* The first failure of an open file that no call has reported: 0 or a negative errno. */
int async_take_error(struct async *a, struct be_file *f);

/*
 * Nothing of ours is under way on a name of `n` or above it, nor has failed without anybody being told:
 * what the server has under these names is what programs are to see.
 */
bool async_is_settled(struct async *a, const struct node *n);

/* Bytes or attributes of `n` are on their way to the server. */
bool async_is_writing(const struct async *a, const struct node *n);

/* What is written to `f` stays here until its close, and goes to the server in one go with the file. */
bool async_keeps(const struct be_file *f);

/* Something acknowledged is unanswered. Sends what is held back: nobody is left to close files. */
bool async_busy(struct async *a);

/* Writes a line to the log for every name with an unreported failure or something undelivered. */
size_t async_log_undelivered(struct async *a);

struct async_stats {
	size_t pending_count; /* changes that the server has not answered */
	uint64_t pending_len; /* their bytes */
	uint64_t postponed_count, failed_count;
};
void async_get_stats(const struct async *a, struct async_stats *out);

#endif
