/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings: a snapshot per open directory, and one complete snapshot per directory that answers
 * lookups while it is fresh. Thread: the loop.
 *
 * A listing is filled while it is read. Our own changes mark entries removed or append new ones, so
 * positions in it stay valid. One larger than LISTING_COUNT_MAX streams: what has been handed out is
 * forgotten, the server is asked for more as it is needed, and it is never cached.
 */
#ifndef VFS_LISTING_H
#define VFS_LISTING_H

#include "vfs/internal.h"

/* Listings up to this many entries are kept whole; larger ones stream and are not cached. */
#define LISTING_COUNT_MAX 10000

struct entry {
	struct hash_node by_name;
	struct be_attr attr;
	bool attr_known;
	bool removed;
	char *target;         /* of a symbolic link; NULL: not known */
	struct link_ask *ask; /* on its way, or NULL */
	size_t name_len;
	char name[];
};

struct listing {
	unsigned ref_count;
	struct vfs *v;
	struct hash names; /* of entries that are kept */
	struct entry **entries;
	size_t first; /* position of entries[0]: larger than 0 only when streaming */
	size_t count; /* kept */
	size_t size;  /* allocated */
	size_t charged_len;
	size_t churn_count;
	int64_t asked_ms;   /* when the server was asked */
	int64_t expires_ms; /* of the set of names */
	bool complete;
	bool renewed;  /* a new one has been asked for before its end */
	bool presumed; /* the server was not asked: answers lookups of `maker` and no listing */
	pid_t maker;   /* the program that made the directory; 0: unknown */
	bool paused;
	bool started;          /* the server has said something */
	int err;               /* negative errno */
	struct be_list *list;  /* while it is being filled */
	uint64_t change_count; /* of the directory when the server was asked */
	uint64_t inside_count; /* the same */
	bool behind;           /* asked behind a change: `asked` tells what overtakes it */
	struct asked asked;
	struct node *node;        /* referenced while it is being filled */
	struct list waiters;      /* struct op.wait */
	unsigned ask_count;       /* targets of links that were asked for */
	struct list link_waiters; /* struct op.wait: readlinks of them */
};

/*
 * What a complete, fresh listing of `parent`, asked for at *asked_ms, says of `name` to `program`, and
 * until when.
 * Return: 1 found (attributes in *a), 0 not there, -1 unknown.
 */
int listing_lookup(struct vfs *v, struct node *parent, const char *name, pid_t program,
                   struct be_attr *a, int64_t *asked_ms, int64_t *expires_ms);

/*
 * Our own changes of names, which entry_parent_changed() has been told of. `a` NULL: the attributes are not
 * known; the entry is then only a name.
 */
void listing_add(struct vfs *v, struct node *parent, const char *name, const struct be_attr *a);

/* The same under every name of `n`. */
void listing_show(struct vfs *v, struct node *n, const struct be_attr *a);

/* We have removed the name, or the server says that there is none. */
void listing_remove(struct vfs *v, struct node *parent, const char *name);

/* What listings say of the names of `n` is known to be old: whoever looks them up asks the server. */
void listing_doubt(struct vfs *v, struct node *n);

/*
 * `n` is a directory that `program` has just made: for a while that program finds no name there which
 * this mount does not make. Others may know better, by another way than this mount.
 */
void listing_empty(struct vfs *v, struct node *n, pid_t program);

/*
 * The target of a link that a fresh listing has shown: asked for when the listing came.
 * Return: the target, valid until the listing changes; NULL: unknown, or on its way: then *waits and
 * `op` is run again by link_continue() when it has come.
 */
const char *listing_target(struct vfs *v, struct op *op, struct node *n, bool *waits);

/* lookup.c: a readlink that has waited. */
void link_continue(struct op *op);

/* `n` has just been made: nothing is in it. */
void listing_install_empty(struct vfs *v, struct node *n);

/* A complete, fresh listing of `n` says that nothing is in it. */
bool listing_is_empty(struct vfs *v, struct node *n);

/* Forgets the cached listing. */
void listing_drop(struct vfs *v, struct node *parent);

/*
 * A snapshot of `n` for a new reader: the cached one, or one asked for now. The caller owns a
 * reference. Return: NULL with a negative errno in *err.
 */
struct listing *listing_get(struct vfs *v, struct node *n, int *err);

/*
 * The same for nobody yet: the cached one, one that is on its way, or one asked for now; the caller
 * owns a reference. Directories with too many entries are given up. Return: NULL on failure.
 */
struct listing *listing_ahead(struct vfs *v, struct node *n);

/*
 * The server is being asked whether directory `n` is still there: where a listing of it is in use and about
 * to end, or just has, a new one is asked for in the same flight.
 */
void listing_renew(struct vfs *v, struct node *n);

/*
 * A change of names in `n`, or below it, has been sent: a listing that answers and ends within `soon_ms` is
 * asked for again in the same flight.
 */
void listing_renew_behind(struct vfs *v, struct node *n, int64_t soon_ms);

/* Is there a complete one that answers? */
bool listing_cached(struct vfs *v, struct node *n);

/* NULL is fine. The last one stops a listing that is being filled. */
void listing_unref(struct listing *l);

/* Streaming: the first `count` entries that are kept have been handed out. */
void listing_forget_first(struct listing *l, size_t count);

#endif
