/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has just been made gets the owner and the mode that the program expects, although the login
 * is somebody else (create_as=caller) or the server has an umask (create_mode=exact). Before the
 * program is answered, owner before mode. Thread: the loop.
 */
#ifndef VFS_MADE_H
#define VFS_MADE_H

#include "vfs/internal.h"

/*
 * The mode to create with: only the owner's bits where the owner is still to change, so that nobody
 * else gets in meanwhile. Remembers `mode`, what was asked for, in the operation.
 */
uint32_t made_mode(struct op *op, uint32_t mode);

typedef void made_fn(struct op *op, const struct be_attr *a);

/*
 * The server shows what was made as `a`. If it is not as asked it is changed, through `be` if not
 * NULL, and `then` runs when the server has answered; `a` is what it shows then. A failure is
 * logged: the thing was made.
 * Return: false when there is nothing to change, and `then` does not run.
 */
bool made_adjust(struct op *op, struct be_file *be, const struct be_attr *a, made_fn *then);

#endif
