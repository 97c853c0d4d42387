/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is what a name stands for now the file that a node's descriptors have open? v3 has no inode number, so
 * attributes are compared; where the file is being written by others they change between two answers.
 * Thread: the loop.
 */
#ifndef VFS_SAME_H
#define VFS_SAME_H

#include <stdbool.h>

#include "vfs/node.h"

/* `a`: what both show, when they are the same. Runs once, later. */
typedef void same_done_fn(void *arg, bool same, const struct be_attr *a);

/*
 * `n`: with open descriptors, referenced by the caller until `done` has run. `seen`: what the other side
 * has shown; it is asked again by `other`, an open file, or by `path`, which must stay until then.
 * Return: 0 or a negative errno, then `done` does not run.
 */
int same_ask(struct vfs *v, struct node *n, struct be_file *other, const char *path,
             const struct be_attr *seen, same_done_fn *done, void *arg);

#endif
