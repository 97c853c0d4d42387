/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files over the journal: what its four files share. Thread: the loop. */
#ifndef VFS_ASYNC_FILE_H
#define VFS_ASYNC_FILE_H

#include "async_parts.h"

/* Written, not sent. */
struct piece {
	struct list entry;
	uint64_t off;
	struct data *block;
	size_t block_off;
	size_t len;
	be_status_fn *done; /* NULL: acknowledged */
	void *arg;
};

enum afile_state {
	AFILE_KEPT, /* the server knows nothing of it */
	AFILE_OPENING,
	AFILE_OPEN,
	AFILE_FAILED, /* it could not be created or opened */
};

struct afile {
	struct change change; /* active while anything is unanswered */
	struct list entry;    /* async.open_files */
	struct list in_held;  /* async.held */
	struct async *a;
	enum afile_state state;
	char *path; /* as the server has it */
	uint32_t flags, mode;
	bool learn; /* it did not exist: the answer shows who we are */
	uint64_t nodeid;
	size_t ahead_len; /* of what is read, as be_ops.open has it */
	be_where_fn *where;
	void *owner;
	struct be_file *below;
	be_open_fn *opened; /* whoever waits for the open; NULL: told */
	void *opened_arg;

	bool closed;   /* by vfs */
	bool finished; /* the CLOSE is sent */
	bool ours;     /* `attr` is what the program has made of it */
	bool shared;   /* others have changed its content too: it never is again */
	struct be_attr attr;
	bool own;             /* nobody has asked for another owner */
	uint32_t want;        /* bits of attr that the server is still to be told */
	struct be_attr shown; /* by the server, the last time */
	bool final;           /* that was after the CLOSE */
	struct list pieces;
	size_t pieces_len;
	unsigned piece_count;
	unsigned unacked_count;
	struct list sets;    /* changes of attributes that wait until it is open */
	unsigned hold_count; /* calls that need it */
	bool told;           /* the failure of the change under way has been reported */
	int bad;             /* that failure, negative errno */
	int err;             /* not reported through this descriptor */
};

static inline struct afile *afile_of(struct be_file *f)
{
	return (struct afile *)f;
}

/* Frees it if nobody needs it any more. */
void afile_reap(struct afile *f);

/* A stat of its name shows f->attr, or asks the server when everything pending on it is there. */
void afile_show(struct afile *f);

/* Something is on its way: until it is answered the name waits. */
void afile_stand_for(struct afile *f);

/*
 * To the server; `done` NULL: acknowledged, so that a failure is the file's to tell. The file is
 * open below.
 */
void afile_write_below(struct afile *f, uint64_t off, struct data *block, size_t block_off,
                       size_t len, be_status_fn *done, void *arg);
void afile_set_below(struct afile *f, const struct be_attr *want);

/* Nobody else has it open, or is opening it: what we made of it is what it is. */
bool afile_alone(const struct afile *f);

/* be_where_fn: the path as the server has it, while a rename is on its way. */
int afile_where(void *owner, char *path, size_t size);

/* async_send.c: change.send of a file that is kept, or that the server is to open. */
void afile_sent(struct change *c);

/* The server has it, or is asked for it: what was kept here is on its way. */
bool afile_is_sent(const struct afile *f);

/* Others have changed its content. */
void afile_share(struct afile *f);

/*
 * The attributes that the server is still to be told, before the close, of a file that is open below. To be
 * called before it is asked what the file is, by whatever way: programs have been shown them, and what the
 * server shows that we have not made is another's doing, or another file.
 */
void afile_tell(struct afile *f);

/* Closed by vfs, and everything is sent: the attributes, then CLOSE. */
void afile_finish(struct afile *f);

/* What was written and not sent is not sent any more; who waits for it is told. */
void afile_drop_pieces(struct afile *f, int err);

/* Its first failure is the one that is told. */
void afile_fail(struct afile *f, int err);

#endif
