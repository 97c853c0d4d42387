/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What new files were just given, kept for who reads it back: the kernel has it in its pages only where
 * whole ones were written, and for as long as it likes. git reads its pack so, a linker what it has written.
 * It is believed as those pages are: what drops what was read of a file (chunks_drop()) drops this too.
 * Small files are kept whole instead, see whole.h. Thread: the loop.
 */
#ifndef VFS_KEPT_H
#define VFS_KEPT_H

#include "vfs/file.h"

/* Bytes of all files together, and of one; less where the budget is small. */
#define KEPT_LEN_MAX (32 * 1024 * 1024)

/* Descriptor `f` has just sent the first `len` bytes of `block`, to be at `off`. */
void kept_sent(struct file *f, struct data *block, uint64_t off, size_t len);

/* Somebody reads what is kept of `n`. */
void kept_used(struct vfs *v, struct node *n);

/* One of the chunks of `n` that are kept goes. */
void kept_gone(struct vfs *v, struct node *n, const struct chunk *c);

/* All that is kept of `n` goes. Harmless where there is nothing. */
void kept_drop(struct node *n);

void kept_init(struct vfs *v);
void kept_finish(struct vfs *v);

#endif
