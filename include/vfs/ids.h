/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owners by name: an answer that would show a number whose name the server has not told yet waits
 * until it has. Happens once for each number. Thread: the loop.
 */
#ifndef VFS_IDS_H
#define VFS_IDS_H

#include "vfs/internal.h"

typedef void ids_resume_fn(struct op *op);

/* Return: 0 when the owner of `a` can be shown; -EPERM (nomap=error); -EAGAIN: ids_wait() first. */
int ids_check(const struct vfs *v, const struct be_attr *a);

/* Puts the numbers of `a` that have no name yet into the next question to the server. */
void ids_want(struct vfs *v, const struct be_attr *a);

/*
 * Asks for what is wanted and runs `resume` then: from the loop, once. A server that cannot tell
 * gets its numbers shown as they are.
 */
void ids_wait(struct op *op, ids_resume_fn *resume);

#endif
