/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a backend's outcome to errno. SFTP v3 folds most errnos into FAILURE, ENOTDIR and ELOOP into
 * NO_SUCH_FILE; a second look at the names and at the filesystem, on the failure path only, tells
 * them apart. One table for every operation. Thread: the loop.
 */
#ifndef VFS_ERRNO_H
#define VFS_ERRNO_H

#include "vfs/internal.h"

/* `err` is 0 or a negative errno. */
typedef void errno_done_fn(void *arg, int err);

struct errno_query {
	enum op_kind kind;
	uid_t uid;          /* of the caller */
	int flags;          /* of open(2), where kind is OP_OPEN or OP_CREATE */
	const char *path;   /* NULL: a handle without a name */
	const char *path2;  /* rename and link: the new name */
	size_t len;         /* bytes that a failed write wanted to add */
	struct backend *be; /* who is asked; NULL: v->be */
};

/*
 * What can be said without asking the server again. Return: a negative errno, 0 for BE_OK, or 1
 * when only a second look can tell.
 */
int errno_first(const struct errno_query *q, const struct be_status *st);

/* Resolves `st`; `done` runs exactly once, possibly before this returns. `q` is copied. */
void errno_resolve(struct vfs *v, const struct errno_query *q, const struct be_status *st,
                   errno_done_fn *done, void *arg);

#endif
