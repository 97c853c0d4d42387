/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the shell backend. Internal to shell.c, session.c, names.c, list.c, handle.c. */
#ifndef SCP_SHELL_PARTS_H
#define SCP_SHELL_PARTS_H

#include "scp/attr_parse.h"
#include "scp/quote.h"
#include "scp/shell.h"
#include "util/buf.h"
#include "util/list.h"
#include "util/log.h"
#include "util/timer.h"
#include "vfs/backend.h"

struct shell_reply {
	struct be_status st;
	const char *body; /* not NUL-terminated; with an error the message */
	size_t len;
};

struct shell_req;
typedef void shell_done_fn(struct shell_req *r, const struct shell_reply *reply);

/* One request. Embedded in an operation, which is freed after `done`. */
struct shell_req {
	struct list entry; /* sh->waiting, sh->in_flight or sh->deferred */
	char *text;        /* ends in R and a newline; owned */
	char *again;       /* what is said instead when the first reply was lost; NULL: the same */
	shell_done_fn *done;
	bool has_data; /* a reply of T: the body may hold zero bytes */
	bool setup;    /* part of connecting: lost with the connection */
	unsigned lost_count;
	int64_t since_ms;
	int64_t lost_ms; /* the last time */
};

enum shell_state {
	SHELL_STARTING,
	SHELL_WORKING,
	SHELL_LOST,
	SHELL_OVER,
};

struct scp_shell {
	struct backend base;
	struct be_info info;
	struct link *link;
	struct clock *clock;
	bool reconnect;

	/* session.c */
	enum shell_state state;
	bool connected; /* the link is up */
	char *asked_root;
	char *root; /* absolute; NULL until known */
	bool check_root;
	fxp_started_fn *started;
	void *arg;
	struct be_attr root_attr;
	struct scp_identity root_id;
	struct shell_req look; /* at the root */
	bool needs_attention;
	int64_t up_ms, backoff_ms;
	struct timer retry;
	struct link_error own_error; /* why we broke the connection */
	uint64_t reconnect_count;

	/* shell.c */
	uint32_t lane; /* 0: none */
	uint32_t lane_next_id;
	bool greeted;
	char said[256];    /* on standard error */
	struct buf in;     /* received, not yet a whole reply */
	size_t in_scanned; /* bytes of it that hold no end */
	struct list in_flight;
	struct list waiting;
	struct list deferred; /* to be answered BE_LOST */
	struct timer deferred_timer;
	uint64_t request_count, round_trip_count;
	int64_t rtt_min_ms;
	uint64_t tag; /* for names nobody else uses */
};

static inline struct scp_shell *shell_of(struct backend *b)
{
	return list_entry(b, struct scp_shell, base);
}

/*
 * shell.c: submits `r`, whose text is `text` (taken over) and `again` (NULL: the same; taken over).
 * Return: 0 or -ENOMEM, when the buffers failed.
 */
int shell_submit(struct scp_shell *sh, struct shell_req *r, struct buf *text, struct buf *again,
                 shell_done_fn *done);

/* Nobody waits for `r` any more, which is its owner's again; a reply to it is swallowed. */
void shell_abandon(struct scp_shell *sh, struct shell_req *r);

/* The link is up: opens the lane and says hello. */
int shell_open(struct scp_shell *sh);

/* Sends `r` now, before everything that waits. */
void shell_send(struct scp_shell *sh, struct shell_req *r);

/* Sends everything that waits. */
void shell_go(struct scp_shell *sh);

/* The lane is gone. */
void shell_lose(struct scp_shell *sh);

/* Everything is answered BE_LOST. */
void shell_fail_all(struct scp_shell *sh);

extern const struct link_events shell_link_events;

/* session.c */
void session_up(struct scp_shell *sh);
void session_down(struct scp_shell *sh, const struct link_error *error);
void session_break(struct scp_shell *sh, enum link_fail fail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void session_start(struct scp_shell *sh);
void session_connect(struct scp_shell *sh);
void session_finish(struct scp_shell *sh);

/* The last line of a reply as attributes. Return: false when it is none. */
bool shell_attr(const struct scp_shell *sh, const struct shell_reply *reply, struct be_attr *a,
                struct scp_identity *id);

/* names.c */
int shell_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg);
int shell_setattr(struct backend *b, const char *path, enum be_target target,
                  const struct be_attr *want, be_attr_fn *done, void *arg);
int shell_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                   be_id_names_fn *done, void *arg);
int shell_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg);
int shell_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                  void *arg);
int shell_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg);
int shell_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg);
int shell_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg);
int shell_remove(struct backend *b, const char *path, be_status_fn *done, void *arg);
int shell_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
                 be_status_fn *done, void *arg);
int shell_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg);

/* The commands of a change of attributes, joined by &&. */
void shell_add_changes(struct buf *b, const char *path, enum be_target target,
                       const struct be_attr *want);

/* list.c */
int shell_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
               void *arg, struct be_list **out);
void shell_list_cancel(struct backend *b, struct be_list *l);
void shell_list_pause(struct backend *b, struct be_list *l, bool paused);

/* handle.c */
int shell_file_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode,
                    uint64_t node, size_t ahead_len, be_where_fn *where, void *owner,
                    be_open_fn *done, void *arg);
void shell_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner);
int shell_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg);
int shell_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want,
                   be_attr_fn *done, void *arg);
int shell_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg);
void shell_close(struct backend *b, struct be_file *f);

#endif
