/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server's own hash of a file: for who asks (vfs_hash) and for -o verify.
 *
 * -o verify follows what passes through each descriptor. When that was a whole file, from its first
 * byte to its last in this order, the server's hash is asked for and compared: before the read that
 * makes it whole is answered, before the close behind the last write is. A mismatch is EIO, for every
 * later read and close of that descriptor too. What the kernel answers from its pages, what is changed
 * in the middle, and what goes through several descriptors is not verified.
 *
 * Thread: the loop.
 */
#ifndef VFS_VERIFY_H
#define VFS_VERIFY_H

#include <sys/uio.h>

#include "vfs/file.h"

/* What has passed through one descriptor. */
struct passed;

/* A program has written through `f`. */
void verify_wrote(struct file *f, const void *bytes, size_t len, uint64_t off);

/* The bytes of `n` were changed otherwise than through `by` (NULL: all the same); its size was set. */
void verify_overwritten(struct node *n, const struct file *by);
void verify_resized(struct node *n, uint64_t size);

/*
 * A read is about to be answered with these bytes. Return: true when it is not: it goes on, by
 * read_continue(), or fails when the server has told its hash.
 */
bool verify_read(struct op *op, const struct iovec *iov, int iov_count);

/* Everything was written, and close is about to say so. Return: true when it waits, as above. */
bool verify_flush(struct op *op);

/* Everything that was written to op->node is on the server: asks for its hash. */
void verify_hash(struct op *op);

void verify_destroy(struct passed *p); /* NULL is fine */

#endif
