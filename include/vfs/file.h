/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files: the kernel's fh, the server's file, read-ahead and write-behind. Thread: the loop.
 *
 * Reads go through the chunks of the node (read.c); writes are gathered in one block per descriptor
 * and sent when it is full, when order demands it, or when flush_age has passed (write.c); flush and
 * fsync wait for the answers (flush.c).
 */
#ifndef VFS_FILE_H
#define VFS_FILE_H

#include "util/timer.h"
#include "vfs/internal.h"

#define FILE_STREAM_COUNT 4 /* interleaved sequential readers of one descriptor that we follow */

/* One sequential reader. */
struct stream {
	uint64_t next_off; /* where it is expected to read next */
	size_t window_len; /* how far ahead of next_off to fetch; 0: not proven sequential */
	uint64_t used;     /* for replacing the oldest */
};

/* Bytes of a node that were asked for, or have come and were not all handed out. */
struct chunk {
	struct list in_node; /* node->chunks, by offset */
	struct list readers; /* struct op.wait, while in flight */
	struct vfs *v;
	struct node *node; /* referenced while in flight */
	uint64_t off;
	size_t len;     /* asked for */
	size_t got_len; /* have come; less than len only at the end of the file */
	struct data *block;
	size_t block_off;
	size_t taken_len; /* handed to the kernel: all of it taken means that it can go */
	int err;          /* negative errno of the read */
	bool in_flight;
	bool early; /* asked for while the server had not got all that we have written */
	bool kept;  /* written by us: stays when it was read, see kept.h */
	bool dead;  /* overtaken by a write or a truncation: serves who waits, then goes */
};

struct file {
	struct hash_node by_fh;
	struct list in_node; /* node->files */
	struct vfs *v;
	struct node *node; /* referenced */
	uint64_t fh;
	struct be_file *be;         /* NULL: none yet, see whole.h; may be others' too */
	struct whole *content;      /* the whole file, referenced; or NULL */
	struct list in_pinned;      /* v->pinned, until it has a handle */
	struct list handle_waiters; /* struct op.wait: reads */
	int64_t
	    opened_ms;   /* when the server was asked for it; where it was not, when it was made */
	bool opening;    /* a handle is on its way */
	pid_t unread_by; /* the program that opened it to read, until it has; or 0 */
	int flags;       /* of open(2) */
	bool wrote;
	bool given_up; /* close or fsync has told that it could not be delivered: not tried again */
	bool created;  /* this open made the file: see vfs/setattr.c */
	unsigned ref_count; /* the kernel's until release, WRITEs on their way, operations */

	struct stream streams[FILE_STREAM_COUNT];
	uint64_t stream_clock;
	struct list in_readers; /* vfs.readers */
	int64_t ahead_ms;       /* when it last read ahead */

	struct data *gather; /* written, not yet sent */
	uint64_t gather_off;
	size_t gather_len;
	struct timer flush_timer;
	pid_t appender; /* the thread whose write(2) may go on behind them: append.h; 0: none */
	int64_t appended_ms; /* its last request */
	size_t append_at;    /* of gather_len: where the last write(2) of an appender began */
	struct list append_waiters; /* struct op.wait: until it is over */
	struct timer append_timer;
	struct file
	    *plain;    /* of an appending one: opened without, for pages of mappings; or NULL */
	int write_err; /* first failure, negative errno, until a call has reported it */
	struct passed *passed; /* -o verify: what went through it; NULL: nothing yet */
	int told_err;          /* one that write(2) has reported, until fsync or close has */
};

struct file *file_find(struct vfs *v, uint64_t fh);

/*
 * Registers an open file of `n`; `be` NULL: without a handle on the server. Return: NULL when out of
 * memory (`be` is closed then).
 */
struct file *file_create(struct vfs *v, struct node *n, struct be_file *be, int flags);

/* `f`, which has none, gets the handle `be`, which others may have: the last one closes it. */
void file_take_handle(struct file *f, struct be_file *be);

struct file *file_ref(struct file *f);
void file_unref(struct file *f);

/* The kernel has released it: sends what is unsent and closes; drops the kernel's reference. */
void file_release(struct file *f);

/*
 * An operation on the open file `fh`, which it holds a reference on, with pending = 1 for the caller.
 * Return: NULL after having answered.
 */
struct op *op_on_file(struct vfs *v, struct vfs_req *req, enum op_kind kind, uint64_t fh);

/* Any open file of `n` with a handle, one that may write if there is one; NULL when none is open. */
struct file *file_of_node(const struct node *n);

/* Where the backend finds the path when it has to open again: be_where_fn. */
int file_where(void *owner, char *path, size_t size);

/* open.c: an open that waited for a file that was being fetched goes on. */
void open_continue(struct op *op);

/* open.c: sends the OPEN of an operation that waited for the WRITEs before its truncation. */
void open_send(struct op *op);

/* namespace.c: sends a RENAME that waited for what was acknowledged of the file. */
void rename_send(struct op *op);

/* write.c: sends what is gathered: of one file, of all files of a node. */
void file_send(struct file *f);
void file_send_node(struct node *n);

/*
 * write.c: sends a change of attributes that its program has been told is done. Closing the file, and
 * whatever else waits for its WRITEs, waits for it and reports its failure. Return: 0 or an errno.
 */
int file_send_attr(struct file *f, const struct be_attr *want);

/* write.c: sends times that were set and wait for the flush. */
void file_send_times(struct node *n);

/* write.c: the times that the file shall have on the server after its WRITEs. */
struct be_attr file_times(const struct node *n);

/* write.c: the failure that this descriptor has not been told of, 0 or a negative errno; told now. */
int file_take_error(struct file *f);

/*
 * flush.c: an operation that op_on_file() began has got one of the answers it waits for; the last one
 * ends it, with its own error or that of the descriptor's writes.
 */
void file_op_answered(struct op *op);

/* flush.c: the same as completion of the backend's fsync, `arg` being the operation. */
void file_op_synced(void *arg, const struct be_status *st);

/*
 * flush.c: the operation ends when every WRITE of the node has been answered: pages of a shared mapping
 * are written through whichever descriptor the kernel likes.
 */
void file_op_wait(struct op *op);

/* The open file of `n` that made it, for writing; NULL: there is none. */
struct file *file_creator(const struct node *n);

/* write.c: at release, where the backend delivers only when told to. */
void file_deliver(struct file *f);

/*
 * flush.c: an operation waits until everything written to op->node is on the server, then goes on in
 * verify_hash(). It holds no file yet.
 */
void file_deliver_node(struct op *op);

/* Nobody has `n` open or asks about it: what we made up of it ends. Harmless otherwise. */
void file_settle_unused(struct vfs *v, struct node *n);

/* read.c: an operation that waited for bytes or a handle goes on. */
void read_continue(struct op *op);

/* read.c: bytes [off, off + len) of `n` have changed: what was read of them is not served again. */
void chunks_drop(struct node *n, uint64_t off, uint64_t len);

/* read.c: nobody has `n` open any more: what was read ahead goes. */
void chunks_leave(struct node *n);

/* read.c: a chunk finds its place among those of c->node, which it does not overlap; one that has come goes. */
void chunk_insert(struct chunk *c);
void chunk_free(struct chunk *c);

#endif
