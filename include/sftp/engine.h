/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the SFTP backend share: the backend itself, nodes, open files.
 * Thread: the loop.
 */
#ifndef SFTP_ENGINE_H
#define SFTP_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/client.h"
#include "sftp/order.h"
#include "sftp/sftp.h"
#include "util/hash.h"
#include "util/list.h"
#include "util/log.h"
#include "util/timer.h"
#include "vfs/backend.h"

#define FXP_MADE_COUNT 64u /* more than anybody makes within the slack of settle.c, as a rule */

/* A file on the server that is open here, however often. */
struct fxp_node {
	struct hash_node by_id;
	uint64_t id; /* 0: not known, shared with nobody and in no table */
	unsigned refs;
	struct fxp_order order; /* of I/O on it */

	/* To know it again on a new connection. */
	struct be_attr known;       /* as the server last showed it */
	bool dirty;                 /* written since */
	unsigned write_count;       /* WRITEs and copies in flight */
	size_t wire_len;            /* of WRITEs that were sent and not answered */
	struct fxp_stripes *prover; /* not NULL: no further WRITE is sent until it is done */
	unsigned change_count;      /* attribute changes in flight */
	uint64_t change_seq;        /* changes of ours that were begun */
	uint64_t acked_end;         /* behind the last byte whose WRITE was acknowledged */
	uint64_t sent_end;          /* behind the last byte sent */
	uint64_t written_end; /* behind the last byte of ours that was acknowledged; 0: none */
};

struct be_file {
	struct list entry; /* fb->files */
	struct fxp_backend *fb;
	unsigned refs;       /* the vfs's, and one for each operation */
	unsigned io_count;   /* operations that need the handle, CLOSE apart */
	unsigned read_count; /* READs that were sent and not answered */
	struct fxp_node *node;
	be_where_fn *where;
	void *owner;
	uint32_t flags; /* enum be_open_flags without CREAT, TRUNC, EXCL */
	bool closed;    /* by the vfs */
	bool stale;     /* could not be opened again */
	bool parked;    /* its handle was given back, see park.c */
	char *path;     /* as it was opened, or at close */
	struct fxp_handle handle;
	struct fxp_handle near;      /* for copy-data: on the lane of the other file; len 0: none */
	struct fxp_stripes *stripes; /* NULL: one handle */
	struct list ahead;           /* struct fxp_ahead: READs that left with the OPEN */
	bool ahead_good;             /* by the right handle */
	uint64_t ahead_change;       /* node->change_seq then */
};

/* A read that may be served from what left with the OPEN. */
struct fxp_ahead_wait {
	struct list entry;
	uint64_t off;
	size_t len;
	struct data *block; /* `done` owns it; NULL: must be asked for */
	size_t block_off;
	void (*done)(struct fxp_ahead_wait *w);
};

struct fxp_session; /* start and reconnect */

struct fxp_backend {
	struct backend base;
	struct be_info info;
	struct fxp_client client;
	struct link *link;
	struct clock *clock;
	struct budget *budget;

	struct fxp_order names; /* of requests by path */
	struct list files;      /* the one used least recently first */
	struct hash nodes;
	struct list read_queue; /* struct fxp_io, waiting for the window */
	struct list write_queue;
	bool pumping;
	struct timer pace_timers[2]; /* [write]: the next one that there is room for */
	struct list ahead_ready;     /* struct fxp_ahead_wait: served, to be told */
	struct timer ahead_timer;
	size_t read_short_len; /* length of the last short reply that was not the end */
	struct log_limit hostile_limit;
	uint32_t own_uid; /* of files we create */
	bool own_uid_known;
	int64_t
	    skew_s; /* server's clock minus ours, as the last thing we made showed; 0: unknown */
	uint64_t made[FXP_MADE_COUNT]; /* hashes of names we made and know we did; 0: free */
	unsigned made_turn;
	bool chmod_plain; /* lsetstat cannot change modes on this server, SETSTAT can */

	struct fxp_session *session;
	struct fxp_recover *recover;
	const struct fxp_hasher *hasher; /* NULL: none */
};

static inline struct fxp_backend *fxp_backend_of(struct backend *b)
{
	return list_entry(b, struct fxp_backend, base);
}

/* Brings fb->info up to date. */
void fxp_backend_refresh(struct fxp_backend *fb);

/* Everything that waits is answered BE_LOST. */
void fxp_backend_fail_all(struct fxp_backend *fb);

/* node.c */
struct fxp_node *fxp_node_get(struct fxp_backend *fb, uint64_t id); /* NULL: out of memory */
void fxp_node_unref(struct fxp_backend *fb, struct fxp_node *n);
struct fxp_node *fxp_node_at(struct fxp_backend *fb, const char *path); /* open there, or NULL */
void fxp_node_seen(struct fxp_node *n, const struct be_attr *attr);
void fxp_node_resized(struct fxp_node *n, uint64_t size); /* by us */
void fxp_node_write_sent(struct fxp_node *n, uint64_t off, uint64_t len);
void fxp_node_write_done(struct fxp_node *n, bool ok, uint64_t off, uint64_t len);

/* Return: true when `now` may be the file that the node was on the old connection. */
bool fxp_node_same(const struct fxp_node *n, const struct be_attr *now);

/* open.c */
int fxp_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode, uint64_t node,
             size_t ahead_len, be_where_fn *where, void *owner, be_open_fn *done, void *arg);
void fxp_close(struct backend *b, struct be_file *f);
void fxp_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner);
void fxp_file_ref(struct be_file *f);
void fxp_file_unref(struct be_file *f);
uint32_t fxp_file_pflags(const struct be_file *f);
void fxp_handle_set(struct fxp_backend *fb, struct fxp_handle *h, const struct fxr_answer *answer);

/* Closes it on the server, if it is open on this connection; nobody waits for the reply. */
void fxp_handle_close(struct fxp_backend *fb, struct fxp_handle *h);

/* The present path, in a buffer of `size` bytes. Return: 0 or -ESTALE. */
int fxp_file_where(const struct be_file *f, char *path, size_t size);

/* The server has renamed: a closed file, whose WRITEs may still be on their way, follows. */
void fxp_files_moved(struct fxp_backend *fb, const char *from, const char *to);

/* park.c */

/* Gives handles on that lane back, when there are too many. Return: how many. */
unsigned fxp_park_some(struct fxp_backend *fb, uint32_t lane);

/* The file is about to be asked something: what follows on its node waits until it is open. */
void fxp_file_use(struct be_file *f);

/* The name is about to be removed or replaced: who was open there is opened again before. */
void fxp_unpark_at(struct fxp_backend *fb, const char *path);

/* io.c */
int fxp_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
             void *arg);
int fxp_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
              size_t block_off, size_t len, be_status_fn *done, void *arg);

/* Sends what waits for the window as far as there is room. */
void fxp_io_pump(struct fxp_backend *fb);
void fxp_io_due(void *fb); /* the same, of pace_timers */

/* fetch.c */
int fxp_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg);

/* ahead.c */
void fxp_ahead_ask(struct be_file *f, const struct fxp_handle *handle, size_t len);
void fxp_ahead_opened(struct be_file *f, bool hit); /* `hit`: by the handle that was predicted */
bool fxp_ahead_take(struct be_file *f, struct fxp_ahead_wait *w); /* true: `done` runs, later */
void fxp_ahead_drop(struct be_file *f);
void fxp_ahead_deliver(void *fb); /* what is in ahead_ready */

/* barrier.c */
int fxp_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg);
int fxp_fsync(struct backend *b, struct be_file *f, be_status_fn *done, void *arg);

/* copy.c */
int fxp_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
             uint64_t to_off, uint64_t len, be_status_fn *done, void *arg);

/* setattr.c */
int fxp_setattr(struct backend *b, const char *path, enum be_target target,
                const struct be_attr *want, be_attr_fn *done, void *arg);
int fxp_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want, be_attr_fn *done,
                 void *arg);

/* look.c */
int fxp_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg);
int fxp_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg);
int fxp_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg);
int fxp_hash(struct backend *b, const char *path, be_hash_fn *done, void *arg);

/* id_names.c */
int fxp_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                 be_id_names_fn *done, void *arg);

/* change.c */
int fxp_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg);
int fxp_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                void *arg);
int fxp_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg);
int fxp_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg);
int fxp_remove(struct backend *b, const char *path, be_status_fn *done, void *arg);

/* rename.c */
int fxp_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
               be_status_fn *done, void *arg);

/* list.c */
int fxp_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
             void *arg, struct be_list **out);
void fxp_list_cancel(struct backend *b, struct be_list *l);
void fxp_list_pause(struct backend *b, struct be_list *l, bool paused);

/* session.c */
int fxp_session_create(struct fxp_backend *fb, const char *root, bool check_root,
                       fxp_started_fn *started, void *arg);
void fxp_session_destroy(struct fxp_backend *fb);
void fxp_session_connect(struct fxp_backend *fb);   /* now, if there is no connection */
void fxp_session_hurry(struct fxp_backend *fb);     /* the same, unless a person is needed first */
void fxp_session_recovered(struct fxp_backend *fb); /* from recover.c: go on */
const struct be_attr *fxp_session_home(const struct fxp_backend *fb);
bool fxp_session_needs_attention(const struct fxp_backend *fb);
extern const struct fxp_client_events fxp_session_events;

/* recover.c: opens files again, then settles what was lost, then fxp_session_recovered(). */
int fxp_recover_create(struct fxp_backend *fb);
void fxp_recover_destroy(struct fxp_backend *fb);
void fxp_recover_start(struct fxp_backend *fb);
void fxp_recover_stop(struct fxp_backend *fb);   /* the connection broke again */
void fxp_recover_forget(struct fxp_backend *fb); /* the lost requests are being answered */

/* settle_append.c: looks for the bytes of a lost WRITE at the end of a file. */
struct fxp_append;
typedef void fxp_append_fn(void *arg, enum be_code code, bool found);
struct fxp_append *fxp_append_start(struct fxp_backend *fb, struct be_file *f, struct data *body,
                                    size_t body_off, size_t body_len, fxp_append_fn *done,
                                    void *arg); /* NULL: out of memory */

/* The open file that a lost request writes to with O_APPEND, or NULL. */
struct be_file *fxp_append_file(struct fxp_backend *fb, const struct fxr *r);

/* made.c: names that are ours for certain, so that a lost create of the same name is not. */
void fxp_made_add(struct fxp_backend *fb, const char *path);
void fxp_made_del(struct fxp_backend *fb, const char *path);
bool fxp_made_has(const struct fxp_backend *fb, const char *path);
/* What the server shows of something new: who we are there, and what time it is. */
void fxp_made_learn(struct fxp_backend *fb, const struct be_attr *a, int64_t sent_ms);

/* settle.c: finds out about the oldest lost request; `next` runs when it is dealt with. */
struct fxp_settle;
int fxp_settle_start(struct fxp_backend *fb, struct fxr *r, struct fxp_settle **out,
                     void (*next)(struct fxp_backend *fb));
void fxp_settle_stop(struct fxp_settle *s);
void fxp_settle_forget(struct fxp_settle *s); /* the request is answered otherwise */

#endif
