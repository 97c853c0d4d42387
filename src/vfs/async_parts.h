/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the journal share. See include/vfs/async.h. Thread: the loop. */
#ifndef VFS_ASYNC_PARTS_H
#define VFS_ASYNC_PARTS_H

#include "vfs/async.h"
#include "vfs/pending.h"

/* Directories in which names were looked for in vain. */
#define ASYNC_MISS_COUNT 8u

struct async_miss {
	uint64_t nodeid; /* 0: free */
	unsigned count;
	bool useless;            /* a listing did not help */
	struct listing *listing; /* being filled, or NULL */
	struct list waiters;     /* struct ask.wait */
};

struct async {
	struct backend base;
	struct vfs *v;
	struct backend *below;
	const struct be_ops *ops; /* of below */
	struct pending pending;

	struct list answers; /* acknowledgements on their way up: struct answer */
	struct timer answer_timer;
	struct list held; /* struct afile.in_held: closed and not yet sent, oldest first */
	struct timer hold_timer;
	struct list open_files; /* struct afile.entry: what vfs has open, or has asked to */

	/* Who the server takes us for, learned from the first thing made. */
	bool own_known;
	uint32_t own_uid, own_gid;
	uint32_t stripped_mode; /* bits the server takes from new modes */

	struct be_statvfs space; /* of the root */
	int64_t space_ms;        /* when; 0: never */
	bool space_asked;
	bool linked;         /* there may be files of several names */
	uint64_t unsent_len; /* acknowledged bytes that the server has not */

	struct async_miss misses[ASYNC_MISS_COUNT];
	unsigned miss_turn;
	int64_t made_ms; /* the last time something was made; 0: never */

	uint64_t postponed_count, failed_count;
	int barrier_err; /* the first failure since the last barrier */
};

static inline struct async *async_of(struct backend *b)
{
	return list_entry(b, struct async, base);
}

/* async.c: answers later, from the loop. Return: 0 or -ENOMEM. */
int answer_attr(struct async *a, be_attr_fn *done, void *arg, int err, const struct be_attr *attr);
int answer_status(struct async *a, be_status_fn *done, void *arg, int err);
int answer_open(struct async *a, be_open_fn *done, void *arg, struct be_file *f,
                const struct be_attr *attr, int err);
int answer_read(struct async *a, be_read_fn *done, void *arg, struct data *block, size_t len,
                int err);
int answer_path(struct async *a, be_path_fn *done, void *arg, const char *target);

/* async_new_dir() follows. */
int answer_mkdir(struct async *a, be_attr_fn *done, void *arg, const struct be_attr *attr,
                 const char *path);

/* A directory that has just been made: a lookup or listing of it needs no server. */
void async_new_dir(struct async *a, const char *path);

/* The status that stands for a negative errno; 0: BE_OK. */
struct be_status async_status(int err);

/*
 * A postponed change has ended badly: log, count, and let the caches forget what they were told of
 * its names. `exists`: the first name is there all the same.
 */
void async_failed(struct async *a, const struct change *c, const char *what, bool exists);

/* From an outcome to errno, asking the server again if need be, never the caches above. */
struct errno_query;
void async_errno(struct async *a, const struct errno_query *q, const struct be_status *st,
                 void (*done)(void *arg, int err), void *arg);

/* async_barrier(); `report`: hands on what failed since the last one that did. */
int async_wait_all(struct async *a, bool report, async_done_fn *done, void *arg);

/* Bytes that were acknowledged, and that the server has now (or never will have). */
void async_unsent(struct async *a, int64_t len);

/* async_check.c: what is known of a name. */
enum seen_what { SEEN_UNKNOWN, SEEN_ABSENT, SEEN_PRESENT };

struct seen {
	enum seen_what what;
	struct be_attr attr; /* PRESENT */
	struct node *dir;    /* NULL: not known */
	struct node *node;   /* NULL: not known */
};

struct seen async_see(struct async *a, const char *path);

/*
 * `attr` is what a name with something pending shows; `n` is what vfs knows under it, which follows what is
 * done to a file under other names, too.
 */
void async_node_attr(const struct node *n, struct be_attr *attr);

/* The node of a path that vfs knows, or NULL. */
struct node *async_node(struct vfs *v, const char *path);

/* The general part of the check: `len` more bytes are safe, and we know who we are. */
bool async_may_postpone(struct async *a, size_t len);

/* The login may make and remove names in `dir`; may remove this one; may change this file. */
bool async_may_make(const struct async *a, const struct seen *s, const char *path);
bool async_may_remove(const struct async *a, const struct seen *s);
bool async_may_change(const struct async *a, const struct be_attr *now, const struct be_attr *want);

/* Attributes as they will be after a change (but its size). */
void async_merge(struct be_attr *now, const struct be_attr *want);

/* What the server will show of something new. */
struct be_attr async_made_attr(const struct async *a, const struct node *dir, uint32_t mode,
                               uint64_t size);

/* A name was made or removed: its directory has a new mtime, which rsync looks at. */
void async_touch_parent(const struct async *a, struct pname *n);

/* The server has shown something that we made, asked for with `mode`. */
void async_learn(struct async *a, const struct node *dir, uint32_t mode,
                 const struct be_attr *attr);

/* The server shows `attr` for a name on which nothing is pending any more. */
void async_correct(struct async *a, const struct change *c, const char *path,
                   const struct be_attr *attr);

/* async_name.c */
int async_setattr(struct backend *b, const char *path, enum be_target target,
                  const struct be_attr *want, be_attr_fn *done, void *arg);
int async_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                  void *arg);
int async_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg);
int async_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg);
int async_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg);
int async_remove(struct backend *b, const char *path, be_status_fn *done, void *arg);
int async_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
                 be_status_fn *done, void *arg);

/* async_look.c */
int async_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg);
int async_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg);
int async_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
               void *arg, struct be_list **out);
void async_list_cancel(struct backend *b, struct be_list *l);
void async_list_pause(struct backend *b, struct be_list *l, bool paused);
int async_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg);
void async_look_finish(struct async *a);

/* async_file.c */
int async_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode, uint64_t node,
               size_t ahead_len, be_where_fn *where, void *owner, be_open_fn *done, void *arg);
void async_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner);
int async_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg);
int async_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want,
                   be_attr_fn *done, void *arg);
int async_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
               void *arg);
int async_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
                size_t block_off, size_t len, be_status_fn *done, void *arg);
int async_fsync(struct backend *b, struct be_file *f, be_status_fn *done, void *arg);
int async_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
               uint64_t to_off, uint64_t len, be_status_fn *done, void *arg);
void async_close(struct backend *b, struct be_file *f);

/* Sends the files that are held back. */
void async_release_all(struct async *a);

/* The server has renamed: open files follow. */
void async_file_moved(struct async *a, const char *from, const char *to);

/* The content of node `nodeid` is no longer what a single descriptor has made of it. */
void async_share(struct async *a, uint64_t nodeid);

/* The file lacks bytes that were acknowledged, whatever it is called; `err` 0: it does so no longer. */
void async_break(struct async *a, uint64_t nodeid, int err);

/* Before the server is asked what node `nodeid` is: what open files of it have still to tell goes first. */
void async_tell(struct async *a, uint64_t nodeid);

/*
 * A change of attributes by path that rides with the file's own sending: true when it does, *now is
 * then what the file shows.
 */
bool async_file_fold(struct async *a, const char *path, const struct be_attr *want,
                     struct be_attr *now);

#endif
