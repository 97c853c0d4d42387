/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of vfs/ share: the filesystem itself and one operation in progress. Not for other
 * rooms. Thread: the loop.
 */
#ifndef VFS_INTERNAL_H
#define VFS_INTERNAL_H

#include "util/hash.h"
#include "util/log.h"
#include "util/timer.h"
#include "vfs/flight.h"
#include "vfs/node.h"
#include "vfs/vfs.h"

struct async;
struct file;

#define SENT_BACK_COUNT 8u

/* A program whose open was answered ESTALE: the kernel looks the name up and opens again for it. */
struct sent_back {
	pid_t program;
	int64_t ms; /* when; 0: none */
};

struct vfs {
	struct vfs_config cfg;
	char *root_path;
	struct backend *be;
	const struct be_ops *ops;
	struct async *async; /* -o async: `be` is its own; NULL: off */
	struct clock *clock;
	const struct vfs_replies *replies;
	struct budget *budget;

	struct hash nodes;     /* nodeid -> node */
	struct hash inos;      /* st_ino -> node */
	struct hash names;     /* (parent, bytes) -> name */
	struct list negatives; /* names known not to exist, oldest first */
	size_t negative_count;
	struct hash files; /* fh -> file */
	struct hash dirs;  /* fh -> dir */
	struct node *root;
	uint64_t last_nodeid;
	uint64_t last_fh;
	struct list ops_list; /* struct op.entry */
	struct list readers;  /* struct file.in_readers: who reads ahead, the latest first */
	struct {
		bool asking;
		struct list waiters;         /* struct op.wait */
		struct be_ids users, groups; /* asked for, or to be */
	} ids;                               /* ids.c */
	struct {
		struct list waiters; /* struct op.wait: writers */
		struct timer timer;  /* armed while one waits that is only ahead */
	} room;                      /* room.c */
	int64_t server_skew_s;       /* the server's clock minus ours, as far as learned */
	struct be_statvfs statvfs;
	int64_t statvfs_ms; /* when `statvfs` was had; 0: never */
	uint64_t write_error_count;
	bool cannot_verify;    /* -o verify: the server has no means to hash its files */
	bool appends_directly; /* appenders get descriptors without page cache */
	bool modes_are_fixed;  /* on this server new files keep the mode they got */
	struct log_limit error_log;
	struct sent_back sent_back[SENT_BACK_COUNT];
	unsigned sent_back_turn;
	struct list pinned;         /* struct file.in_pinned, the oldest first */
	struct timer pinned_timer;  /* armed while there are any */
	struct list written;        /* struct whole.in_written, the oldest first */
	struct timer written_timer; /* armed while there are any */
	struct {
		struct list list;   /* struct node.in_kept, the longest unused first */
		size_t len;         /* bytes of their blocks */
		struct timer timer; /* armed while there are any */
	} kept;                     /* kept.c */
	struct list walks;          /* struct walk.entry, the latest used first */
	size_t walk_count;
	uint64_t walk_serial;    /* of the last pass of a walk */
	struct timer walk_timer; /* armed while there are any */
	struct flight flight;    /* of small files, of all programs: walk_file.c */

	size_t unacked_count;       /* WRITEs that the server has not answered, of all files */
	size_t unacked_len;         /* their bytes */
	struct timer silence_timer; /* armed when somebody will not wait for a silent server */
	struct timer soft_timer;    /* armed when there is a soft limit */

	void (*drained)(void *arg); /* not NULL: the kernel is gone, see vfs_drain() */
	void *drained_arg;
};

enum op_kind {
	OP_LOOKUP,
	OP_GETATTR,
	OP_SETATTR,
	OP_READLINK,
	OP_MKNOD,
	OP_MKDIR,
	OP_UNLINK,
	OP_RMDIR,
	OP_SYMLINK,
	OP_RENAME,
	OP_LINK,
	OP_CREATE,
	OP_OPEN,
	OP_READ,
	OP_WRITE,
	OP_FLUSH,
	OP_FSYNC,
	OP_COPY,
	OP_OPENDIR,
	OP_READDIR,
	OP_STATFS,
	OP_HASH,
	OP_KIND_COUNT,
};

/*
 * One operation: from the kernel's request to its answer. An interrupt may answer the request early
 * (req becomes NULL); the operation itself always runs to its end, so caches and open files are
 * right whatever the program has been told.
 */
struct op {
	struct list entry; /* v->ops_list */
	struct list wait;  /* in a queue of what it waits for, else empty */
	struct vfs *v;
	struct vfs_req *req; /* NULL: answered */
	enum op_kind kind;
	int64_t since_ms;
	uid_t uid; /* of the caller */
	gid_t gid;
	bool plus;           /* readdir with attributes */
	bool looked_at_link; /* follow_symlinks: what a link leads to is not there */
	int flags;           /* open(2), or rename flags */
	unsigned set;        /* enum vfs_set */
	struct node *node;   /* referenced: the subject, or the parent of `path`'s last name */
	struct node *node2;  /* referenced: rename's new parent, link's node */
	uint64_t fh;         /* the descriptor the request named; 0: none */
	struct file *file;   /* for I/O: held open by the kernel until its release */
	bool interrupted;    /* a signal has come that does not kill the program */
	bool impatient;      /* answered from memory when the server is silent */
	char *path;          /* owned: what the server is asked about */
	char *path2;         /* owned: the second one of rename and link; symlink's target */
	char *said; /* owned: the server's words about a failure, for the log; NULL: none */
	uint64_t change_count; /* of `node` when the request was sent */
	struct node *known;    /* referenced: what the name was when the request was sent */
	uint64_t known_count;  /* its change_count then */
	uint64_t off;
	size_t len;
	struct be_attr want;
	struct be_attr got;
	unsigned pending; /* answers still to come */
	int err;          /* first failure, negative errno */

	uint32_t made_mode; /* what was asked of a new file or directory */
	void (*made)(struct op *op, const struct be_attr *a); /* when it has it, see made.c */
	struct be_file *made_file;                            /* of a create, meanwhile */

	void (*resume)(struct op *op); /* when what it waits for has come */
	struct node *shown;            /* referenced: the answer that waits for its owner's name */
	int64_t shown_expires_ms;
};

/* Return: NULL after having answered ENOMEM. */
struct op *op_create(struct vfs *v, struct vfs_req *req, enum op_kind kind);

/* Sets op->node and op->path: of `n` itself, or of `name` in it. Answers and frees on failure. */
bool op_on_node(struct op *op, struct node *n);
bool op_on_name(struct op *op, struct node *parent, const char *name);

/* The last component of op->path, of op->path2. */
const char *op_name(const struct op *op);
const char *op_name2(const struct op *op);

/* Answers with 0 or a negative errno and frees the operation. */
void op_fail(struct op *op, int err);

/* Frees an operation whose request has been answered (or needs no answer). */
void op_free(struct op *op);

/* Takes the request for an answer that the caller makes itself; NULL when answered early. */
struct vfs_req *op_take_req(struct op *op);

/* Fails the operation with the errno that `st` means for it; may look again first (errno.c). */
void op_fail_status(struct op *op, const struct be_status *st);

/*
 * entry.c: the server has told that op_name(op) in op->node is `a`. Finds out whether that is the
 * node we know there or another file, asking a live handle if need be, records it and answers with
 * the entry. Frees the operation.
 */
void op_enter(struct op *op, const struct be_attr *a);

/* An answer of the server to what it was asked at `asked_ms` is older than what we know of `n`. */
bool entry_knows_better(const struct node *n, int64_t asked_ms);

/*
 * As far as it can be done without asking: NULL when only a live handle can tell, or no memory.
 * `asked_ms`: when the server was asked; an answer older than what we know changes nothing. The
 * caller owns a reference.
 */
struct node *entry_known(struct vfs *v, struct node *parent, const char *name,
                         const struct be_attr *a, struct node *known, uint64_t known_count,
                         int64_t asked_ms);

/* Answers op with `n` under a name that is good until `expires_ms`. Frees the operation. */
void op_answer_entry(struct op *op, struct node *n, int64_t expires_ms);

/* Answers with n's attributes. Frees the operation. */
void op_answer_attr(struct op *op, struct node *n);

/* Content changed under a clean node: nothing that was read of it may be served again. */
void entry_content_changed(struct vfs *v, struct node *n);

/* A directory's contents were changed by us: its times are no longer known. */
void entry_parent_changed(struct vfs *v, struct node *parent);

/* The kernel asks for this on behalf of programs that mean other mounts: it must not hang. */
void op_be_impatient(struct op *op);

/* lookup.c: answers an impatient one with what was known last; it goes on, but for an opendir. */
void op_answer_known(struct op *op);

/* vfs.c: a change or WRITE has been answered: was it the last that vfs_drain() waits for? */
void vfs_look_drained(struct vfs *v);

/* If starting a request failed (negative errno), answers with it. Return: true when it failed. */
bool op_failed_start(struct op *op, int err);

#endif
