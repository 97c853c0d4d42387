/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Look-ahead: one walk per program over the tree it reads. Thread: the loop.
 *
 * A walk begins when a program lists a child of a directory it has just listed, or a second child of
 * one, as if both were on its command line, or opens the second file of a listing. Its two outputs
 * are listings (walk_list.c), a whole level of the tree at a time, and the contents of small files
 * (walk_file.c), in the order in which the program reads. What it fetches lies in the usual caches
 * under the usual lifetimes; a walk only holds the nodes and counts how much of it was used. One that
 * guesses wrong more often than right ends.
 */
#ifndef VFS_WALK_H
#define VFS_WALK_H

#include "vfs/internal.h"

struct listing;
struct entry;
struct file;

/* Listings ahead of the program, those on their way too. */
#define WALK_DIR_COUNT_MAX 1024

/* Directories deeper below the top of a walk are not looked into. */
#define WALK_DEPTH_MAX 48

/* Listings that a program has asked for itself, to recognise the child of one. */
#define WALK_LISTED_COUNT 8

enum walk_order {
	WALK_BY_LISTING,
	WALK_BY_NAME,
	WALK_BY_INO,
	WALK_ORDER_COUNT,
};

struct walk_item;

/* A directory on the way down to where the program reads. */
struct walk_frame {
	struct node *dir;        /* referenced */
	struct listing *listing; /* referenced */
	struct walk_item *items; /* what is of interest in it, in order */
	size_t count, pos;
};

/* How often what was fetched was used. */
struct walk_score {
	unsigned hit_count, miss_count;
};

struct walk {
	struct list entry; /* v->walks, the latest used first */
	struct vfs *v;
	pid_t program;
	int64_t used_ms;
	uint64_t listed[WALK_LISTED_COUNT]; /* nodeids */
	unsigned listed_next;
	struct listing *looked_up; /* referenced: asked for instead of more lookups; or NULL */

	/* Listings */
	struct node *top; /* referenced: where it began; NULL: it has not */
	struct list
	    flight; /* struct walk_dir.entry: being listed, or its filesystem not known yet */
	struct list ready; /* struct walk_dir.entry: listed ahead, not used yet, the oldest first */
	struct list
	    queue; /* struct walk_dir.in_queue: whose children are listed next, nearest first */
	size_t queue_count;
	size_t ahead_count; /* fetched or asked for, not used yet */
	size_t dir_limit;   /* at most so many below directories that are ahead themselves */
	enum walk_order
	    dir_order;        /* in which the program goes through the children of a directory */
	unsigned step_count;  /* how often that was guessed */
	uint64_t last_listed; /* nodeid; 0: none */
	struct walk_score dirs;

	/* Files */
	bool reading;      /* it has begun to open the files of a listing */
	struct list files; /* struct walk_file.entry, in the order asked for */
	size_t file_count, file_len;
	size_t file_limit;
	struct walk_score file_score;
	uint64_t serial; /* of this pass over the files: what it has opened is not fetched again */
	unsigned unread_count; /* opens that were not read less those that were, lately */

	/* Where in the tree: directories from the top down, each with what comes next in it */
	struct walk_frame frames[WALK_DEPTH_MAX];
	size_t frame_count;
	enum walk_order order;
	bool files_first;
	bool crossed; /* the last step into another directory was foreseen */
	uint64_t
	    fork; /* nodeid of a directory whose children come in an order of their own; or 0 */
	enum walk_order fork_order;
	struct node *last_opened; /* referenced */
	bool last_is_first;       /* it was the first one opened in its directory */
};

/* A small file that is being fetched, or was and has not been opened. */
struct walk_file {
	struct list entry; /* walk->files */
	struct vfs *v;
	struct walk *walk; /* NULL: it was opened, or the walk has ended */
	struct node *node; /* referenced */
	size_t len;        /* as listed */
	int64_t asked_ms;
	struct flight_part flight;
	int64_t ask_ms;        /* of the last question what the file is now */
	uint64_t change_count; /* of the node at asked_ms */
	struct list waiters;   /* struct op.wait: opens */
	bool in_flight;
	bool asking;
	bool mistaken; /* asked for in an order that was none: judged, and in nobody's way */
};

/* A directory of a walk. Lives while it is in one of the walk's lists. */
struct walk_dir {
	struct list entry;            /* w->flight, w->ready, or none: the program has listed it */
	struct list in_queue;         /* w->queue, or none */
	uint32_t key[WALK_DEPTH_MAX]; /* its place in each listing from the top down */
	unsigned depth;
	struct vfs *v;
	struct walk *walk;         /* NULL: it has ended, only `asked_fs` is waited for */
	struct node *node;         /* referenced */
	struct listing *listing;   /* referenced */
	const struct entry **dirs; /* the directories in it, in order; NULL: not made yet */
	size_t dir_count;
	size_t next;   /* the one of them that is looked into next */
	bool ahead;    /* the program has not listed it */
	bool asked_fs; /* statvfs is on its way */
	bool settled;  /* listed, and on the filesystem of the walk */
};

/* The program is about to be given `l`, a listing of `n` that may still be on its way. */
void walk_opendir(struct vfs *v, pid_t program, struct node *n, struct listing *l);

/*
 * The program of `op` opens op->node for reading.
 * Return: true when the file is being fetched: open_continue() goes on when it is there.
 */
bool walk_opened(struct op *op, pid_t program);

/*
 * The program that opened `f` has read of it, or has closed it unread: borg opens what it only
 * compares with what it knows. The first word on a descriptor counts.
 */
void walk_file_used(struct vfs *v, struct file *f, bool read);

/* Does the program read what it opens? Until it has shown otherwise, yes. */
bool walk_reads(const struct vfs *v, pid_t program);

/* The program asks the server for one name after another in `n`. */
void walk_lookup(struct vfs *v, pid_t program, struct node *n);

/* A listing of `n` has just been of use and answers no more: the next lookup asks for a new one. */
void walk_missed_listing(struct vfs *v, struct node *n);

/* `l` is complete, or has failed. */
void walk_filled(struct vfs *v, struct listing *l);

void walk_init(struct vfs *v);

/* Ends every walk. */
void walk_finish(struct vfs *v);

/* walk.c: the walk of a program; NULL when out of memory or when nothing may be cached. */
struct walk *walk_get(struct vfs *v, pid_t program);
void walk_hit(struct walk_score *s);
void walk_miss(struct walk_score *s);
bool walk_pays(const struct walk_score *s, unsigned min_count);
struct node *walk_parent(const struct node *n);

/*
 * It has read of what it opened, and not much has been closed unread since: files are fetched for it.
 * Not before the first READ: the end of an open that read nothing may be told after the next open.
 */
bool walk_has_read(const struct walk *w);

/* Has the program listed `dir`, or does it walk there? */
bool walk_knows(const struct walk *w, const struct node *dir);

/* walk_list.c */

/* The directories of `top` are what comes next; `listed`: the program has listed it. */
void walk_list_begin(struct walk *w, struct node *top, bool listed);
void walk_list_pump(struct walk *w);
void walk_list_used(struct walk *w, struct node *n, struct listing *l);
void walk_list_filled(struct walk *w, struct listing *l);
void walk_list_sweep(struct walk *w);
void walk_list_end(struct walk *w);

/* walk_file.c */
void walk_file_pump(struct walk *w);
void walk_file_hit(struct walk *w);
void walk_file_mistaken(struct walk *w); /* the order was another: what is ahead was wrong */
void walk_file_sweep(struct walk *w);
void walk_file_end(struct walk *w);

/* walk_order.c: learns from an open. Return: true when it is the second file of a listing. */
bool walk_order_opened(struct walk *w, struct node *n, bool hit);

/*
 * The directories in `l`, a listing of `dir`, in the order given. Return: an array for the caller to free,
 * NULL when there are none or out of memory; *count.
 */
const struct entry **walk_order_dirs(struct walk *w, struct node *dir, const struct listing *l,
                                     enum walk_order order, size_t *count);

/*
 * In which order does the program go through directories that has listed `n` after `last` (NULL:
 * nothing)? *order is changed where that fits better. Return: false when nothing can be said.
 */
bool walk_order_stepped(struct walk *w, struct node *last, struct node *n, enum walk_order *order);

/* What comes next in *parent, listed at *asked_ms; NULL: nothing, or it is not known yet. */
const struct entry *walk_order_next(struct walk *w, struct node **parent, int64_t *asked_ms);

/* Does what comes next lie in another directory than the file that was opened last? */
bool walk_order_leaves(const struct walk *w);
void walk_order_end(struct walk *w);

#endif
