/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the SCP backend. Internal to backend.c and those named below. */
#ifndef SCP_CONTENT_H
#define SCP_CONTENT_H

#include <limits.h>

#include "scp/channel.h"
#include "scp/codec.h"
#include "scp/hasher.h"
#include "scp/quote.h"
#include "scp/ranges.h"
#include "scp/scp.h"
#include "scp/spool.h"
#include "util/hash.h"
#include "util/log.h"
#include "util/timer.h"

#define DOWNLOADS_MAX 2 /* of one file */

struct scp_backend {
	struct backend base;
	struct be_info info;
	struct backend *inner;
	struct clock *clock;
	struct scp_channels channels;
	struct scp_hasher hasher;
	struct hash contents_by_id;
	struct list contents;
	struct list touched; /* struct content.in_touched */
	struct list answers; /* struct answer: to be given by the loop */
	struct timer timer;
	int spool_dir_fd;
	bool no_scp; /* the server has no scp: cat */
	bool over;   /* being destroyed */
	uint64_t tag;
	uint64_t read_len, written_len;
};

enum download_kind {
	DOWNLOAD_SCP,   /* whole, with a head */
	DOWNLOAD_CAT,   /* whole */
	DOWNLOAD_RANGE, /* from `pos` on */
};

struct content;

struct download {
	struct scp_channel ch;
	struct content *c;
	enum download_kind kind;
	uint64_t pos;
	uint64_t end; /* where it stops by itself; UINT64_MAX: at the end of the file */
	bool any;     /* something has come */
	struct scp_sink sink;
	char name[NAME_MAX + 1]; /* the sink's */
};

enum upload_phase {
	UPLOAD_IDLE,
	UPLOAD_SENDING,
	UPLOAD_SETTING, /* attributes of the temporary file */
	UPLOAD_RENAMING,
	UPLOAD_COPYING, /* instead: its bytes into the old file */
	UPLOAD_OPENING, /* the new file, to know it */
	UPLOAD_LOOKING, /* an append was cut off: how far did it come? */
};

struct upload {
	struct scp_channel ch;
	enum upload_phase phase;
	bool direct;  /* into the file itself: nothing can be made next to it */
	bool append;  /* at its end */
	bool waiting; /* for changes of attributes under way, to carry them over */
	bool chowned;
	char *temp; /* NULL with direct and append */
	uint64_t from, pos, size;
	uint64_t change_count; /* of the content when it began */
	struct scp_source source;
	struct be_attr attr; /* of the temporary file */
	int err;             /* positive errno */
	char text[512];      /* the server's words */
};

/* An open file's bytes, shared by its descriptors. */
struct content {
	struct hash_node by_id;
	struct list entry;
	struct list in_touched;
	struct scp_backend *sb;
	uint64_t id;   /* 0: in no table */
	unsigned refs; /* files, and operations on their way */
	struct list files;
	char *path;            /* when no file tells */
	struct be_file *inner; /* NULL: none (yet, any more) */
	uint32_t inner_flags;
	bool fresh;    /* made by the open: it has no other name */
	bool unlinked; /* we have removed its last name */

	struct be_attr base; /* as the server told */
	uint64_t remote_len; /* bytes of the server's file that still count */
	uint64_t size;       /* with what was written */
	bool size_known;     /* false: the server says 0, which may be /proc's lie */
	struct scp_spool spool;
	struct scp_ranges have;
	struct scp_ranges own; /* of it: what was written here, not fetched */

	struct list readers;  /* struct read_op */
	struct list fillers;  /* struct fill_op: wait until everything is here */
	struct list flushers; /* struct flush_op */
	struct list attr_ops; /* struct attr_op: wait for the end of a flush */
	struct download downloads[DOWNLOADS_MAX];
	uint64_t last_end;  /* where the last range stopped */
	uint64_t range_len; /* how long the next one may be */
	uint64_t read_end;  /* behind the last byte asked for */
	uint64_t trimmed;   /* the spool was dropped up to here */
	bool paused;        /* enough was ahead of the reader */
	unsigned mismatch_count;
	bool looking;

	bool dirty;
	bool append_only; /* all that is dirty was appended, from append_from on */
	uint64_t append_from;
	unsigned changing; /* changes of attributes under way to the old file */
	bool flush_wanted; /* the last file was closed dirty */
	bool times_set;
	uint32_t atime, mtime;
	uint64_t change_count;
	uint64_t failed_count; /* change_count of what could not be delivered, and was reported */
	struct upload up;
};

struct be_file {
	struct list entry; /* content->files */
	struct content *c;
	uint32_t flags;
	be_where_fn *where;
	void *owner;
};

static inline struct scp_backend *scp_of(struct backend *b)
{
	return list_entry(b, struct scp_backend, base);
}

/* backend.c: answers from the loop, later. `st->text` must be static. Return: 0 or -ENOMEM. */
int answer_status_later(struct scp_backend *sb, be_status_fn *done, void *arg, enum be_code code,
                        int err);

/* content.c */
struct content *content_create(struct scp_backend *sb);
void content_ref(struct content *c);
void content_unref(struct content *c);
struct content *content_by_id(struct scp_backend *sb, uint64_t id);
void content_set_id(struct content *c, uint64_t id);

/* Open under `path` now, or NULL. */
struct content *content_at(struct scp_backend *sb, const char *path);

/* The present path. Return: 0 or -ESTALE: it has no name. */
int content_path(const struct content *c, char path[PATH_MAX]);

/* The server has told what the file is: drops what was read of an older version. */
void content_seen(struct content *c, const struct be_attr *a);

/* Something has changed: whoever waits is looked at, from the loop. */
void content_touch(struct content *c);
void content_pump(struct content *c);

/* What the file is with what was written. */
void content_attr(const struct content *c, struct be_attr *out);

/* Asks the server what it is now, then touches. */
void content_look(struct content *c);

/* A transfer went wrong: what was fetched is not to be trusted. */
void content_distrust(struct content *c);

/* Everybody who waits for bytes is told. */
void content_fail_readers(struct content *c, enum be_code code, int err, const char *text);
void content_fail_all(struct content *c, enum be_code code, int err, const char *text);

/* Return: 0 or a negative errno. */
int content_write(struct content *c, uint64_t off, const void *bytes, size_t len, bool append);
int content_truncate(struct content *c, uint64_t size);

/* Bytes have come. Return: 0 or a negative errno. */
int content_arrived(struct content *c, uint64_t off, const uint8_t *bytes, size_t len);

/* An upload has ended. */
void content_uploaded(struct content *c, enum be_code code, int err, const char *text);

/* file.c: operations on open files, and what waits in a content. */
int scp_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
             void *arg);
int scp_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
              size_t block_off, size_t len, be_status_fn *done, void *arg);
int scp_flush(struct backend *b, struct be_file *f, be_status_fn *done, void *arg);
int scp_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg);
int scp_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want, be_attr_fn *done,
                 void *arg);
int content_setattr(struct content *c, const struct be_attr *want, be_attr_fn *done, void *arg);

/* `done` runs when every byte of the server's file is here, or cannot be had. */
typedef void fill_fn(void *arg);
int content_fill(struct content *c, fill_fn *done, void *arg);

bool readers_answer(struct content *c); /* those that can be; true: some are left */
bool readers_want(struct content *c, uint64_t *from, uint64_t *to, size_t i); /* the i-th's gap */
void readers_fail(struct content *c, enum be_code code, int err, const char *text);
void fillers_answer(struct content *c);
void flushers_answer(struct content *c, uint64_t change_count, enum be_code code, int err,
                     const char *text);
void attr_ops_answer(struct content *c);

/* replace.c */
int scp_remove(struct backend *b, const char *path, be_status_fn *done, void *arg);
int scp_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
               be_status_fn *done, void *arg);

/* download.c */
void downloads_init(struct content *c);
void downloads_cancel(struct content *c);
/* Sees to it that what is waited for is on its way. */
void downloads_pump(struct content *c);
bool downloads_running(const struct content *c);

/* upload.c */
void upload_init(struct content *c);
void upload_start(struct content *c);
void upload_cancel(struct content *c);
void upload_go_on(struct content *c); /* the last change of attributes is done */

#endif
