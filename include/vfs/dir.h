/* SPDX-License-Identifier: BSD-2-Clause */
/* Open directories, for the other files of vfs/. Thread: the loop. */
#ifndef VFS_DIR_H
#define VFS_DIR_H

#include "vfs/internal.h"

/* An operation that waited for its listing goes on. */
void dir_continue(struct op *op);

/* Closes every open directory: the kernel is gone. */
void dir_close_all(struct vfs *v);

#endif
