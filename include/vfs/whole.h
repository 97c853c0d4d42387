/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole small files that were fetched ahead or have just been made here, and opens that are answered
 * from them. Thread: the loop.
 *
 * Close-to-open: such an open needs the server's word on the file's (mtime, size) at most open_window
 * old and younger than our last change. Bytes that are younger than that themselves will do; older
 * ones must be proven: read when the server's clock was past mtime + 1 s. The descriptor pins the
 * bytes and has no handle on the server; one that stays open, or whose name is about to be removed or
 * replaced, gets one in the background.
 */
#ifndef VFS_WHOLE_H
#define VFS_WHOLE_H

#include "vfs/file.h"

/* Larger files are read in the usual way. */
#define WHOLE_LEN_MAX (256 * 1024)

struct whole {
	unsigned ref_count;
	struct data *block;
	size_t off, len; /* bytes [off, off + len) of the block are all of the file */
	struct be_attr attr;
	int64_t asked_ms; /* 0: written, and the server has not said yet what it is now */
	bool proven;
	struct list in_written; /* v->written, or none */
	int64_t used_ms;        /* of one in v->written: when it was sent, or last opened */
	struct node *node;      /* of one in v->written: it is this node's `content` */
};

/* Takes over the reference to `block`. Return: NULL when out of memory. */
struct whole *whole_create(struct vfs *v, struct data *block, size_t off, size_t len,
                           const struct be_attr *a, int64_t asked_ms);
struct whole *whole_ref(struct whole *c);
void whole_unref(struct whole *c);

/* What was fetched of `n` and may answer an open that asks nobody, or NULL. */
struct whole *whole_for_open(struct vfs *v, struct node *n);

/*
 * `block`, bytes [0, len), is all of the new file `n` and is being sent. rsync and others open what they
 * have just written, git its configuration again and again: they are given these bytes, once the server
 * has shown, behind the WRITE, that the file is as long as they are.
 */
void whole_written(struct vfs *v, struct node *n, struct data *block, size_t len);

/* The server's word on `n` behind its WRITEs; `proven`: with an mtime of its own. */
void whole_settled(struct node *n, const struct be_attr *a, int64_t asked_ms, bool proven);

/* We have changed attributes of `n`, the server says to `a`; its bytes are what they were. */
void whole_attr_changed(struct node *n, const struct be_attr *a, bool times_set);

/* Are the bytes of `n` here because we wrote them? They outlive its last descriptor. */
bool whole_is_written(const struct node *n);

/* And do they answer an open now? */
bool whole_written_answers(struct vfs *v, struct node *n);

/* The server has just shown `a` at an open: the bytes that these vouch for, or NULL. */
struct whole *whole_vouched(struct vfs *v, struct node *n, const struct be_attr *a);

/* The bytes of `n` on the server are others now: descriptors with a handle read on from there. */
void whole_drop(struct vfs *v, struct node *n);

/* We have changed the bytes of `n`: every descriptor reads what they are now. */
void whole_overwritten(struct vfs *v, struct node *n);

/* A descriptor that reads `c`. Return: NULL when out of memory. */
struct file *whole_open(struct vfs *v, struct node *n, struct whole *c, int flags);

/* Descriptors of `n` get their handle before its name goes. */
void whole_before_removal(struct vfs *v, struct node *n);

/* Does a descriptor read what `n` was, without a handle? */
bool whole_is_pinned(const struct node *n);

/* Answers a read from pinned bytes. Return: false when they do not serve it. */
bool whole_read(struct op *op);

/* A read of a descriptor without handle and bytes waits for one: read_continue() goes on. */
void whole_wait_handle(struct op *op);

void whole_init(struct vfs *v);
void whole_finish(struct vfs *v);

#endif
