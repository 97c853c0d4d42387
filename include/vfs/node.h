/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes and names. A node is one file of the server, however many names it has here (hard links) or
 * has lost (unlinked while open). A name is one entry of one directory: a node, or the knowledge
 * that nothing is there. Thread: the loop.
 *
 * A node lives while the kernel counts lookups on it, while somebody in vfs holds a reference, or
 * while a name below it does. nodeids are counters, never reused.
 */
#ifndef VFS_NODE_H
#define VFS_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/hash.h"
#include "util/list.h"
#include "vfs/backend.h"

struct vfs;
struct node;
struct listing;
struct whole;
struct walk_file;

struct name {
	struct hash_node by_name; /* (parent, bytes) -> name */
	struct list in_parent;    /* parent->children */
	struct list in_node;      /* node->names, or vfs.negatives when node is NULL */
	struct node *parent;      /* referenced when node is not NULL */
	struct node *node;        /* NULL: known not to exist */
	int64_t expires_ms;
	char bytes[]; /* NUL-terminated */
};

/* Where the server's (mtime, size) of a node's bytes stand: see vfs/open.c. */
struct version {
	uint64_t size;
	uint32_t mtime;
	bool known;
	bool proven; /* every byte was read when the server's clock was past mtime + 1 s */
	bool read;   /* the kernel has been given the first of them: it will hardly ask again */
};

/* What had happened to a directory when the server was asked about it behind a change: see renew.h. */
struct asked {
	uint64_t name_calls;
	uint64_t other_changes; /* of the directory that are no changes of names */
	uint32_t epoch;         /* of the connection */
};

struct node {
	struct hash_node by_id;
	struct hash_node by_ino;
	uint64_t nodeid;
	uint64_t ino; /* shown as st_ino; unique among live nodes */
	uint64_t lookup_count;
	unsigned ref_count;
	struct list names;    /* struct name.in_node */
	struct list children; /* struct name.in_parent */

	struct be_attr attr;        /* as the server told, with our own changes applied */
	int64_t attr_expires_ms;    /* in vfs's cache; 0: must be asked */
	int64_t looked_up_until_ms; /* the kernel does not look the name up before */
	pid_t shown_to;             /* the thread whose lookup was just answered; 0: none */
	int64_t shown_ms;           /* when */
	uint64_t shown_count;       /* its change_count then */
	int64_t told_ms; /* when the server was asked for attr; 0: we made it up, or changed it */
	uint64_t change_count; /* our own changes: an older answer does not overwrite them */
	int64_t changed_ms;    /* the last of them */
	uint64_t shown_size;   /* what the kernel takes the file's size for */
	uint32_t nlink;        /* 0: unknown */
	char *target;          /* of a symbolic link, or NULL */

	/* Regular files */
	struct list files;     /* struct file.in_node: those with a handle on the server */
	struct list pinned;    /* struct file.in_node: those that read fetched bytes instead */
	struct whole *content; /* fetched ahead, not opened yet; or NULL */
	struct walk_file *walk_file; /* that fetches or has fetched it, or NULL */
	uint64_t read_serial;      /* struct walk.serial of the pass that has opened it; 0: none */
	struct list chunks;        /* struct chunk.in_node: bytes read ahead, sorted by offset */
	struct list in_kept;       /* vfs.kept, while chunks are kept */
	size_t kept_len;           /* bytes of their blocks */
	int64_t kept_ms;           /* when they were last used */
	struct version pages;      /* of what the kernel's page cache may hold */
	unsigned unacked_count;    /* WRITEs that the server has not answered */
	unsigned judged_count;     /* WRITEs whose failure is being looked into: 0 or 1 */
	struct list drain_waiters; /* struct op.wait: until unacked_count is 0 */
	unsigned attr_unacked_count; /* changes of attributes among them */
	unsigned settling_count;     /* flushes that have asked what the file is now */
	bool torn;  /* a WRITE failed, or a copy: the kernel's pages hold what the server has not */
	bool dirty; /* written since the last FSTAT that ended a flush */
	bool mtime_shown; /* a getattr has shown attr.mtime, which we made up */
	bool times_set;   /* attr's times were set by a program: the flush sends them */

	/* Directories */
	struct listing *listing; /* complete and ours to answer from, or NULL */
	struct listing
	    *filling; /* referenced: on its way for nobody yet, who needs one takes it over */
	uint64_t inside_count; /* our own changes of the attributes that a listing shows */
	uint64_t name_calls;   /* changes of names in it that were asked for */
	uint64_t name_changes; /* those that were carried out; change_count counts them too */
	unsigned renew_count;  /* changes of names that bring the attributes along: renew.h */
	bool renewing;         /* the question what it is now is on its way */
	uint64_t fsid;         /* of its filesystem, where fsid_known */
	int64_t lookup_ms;     /* when the server was first asked for `lookups` of its names */
	unsigned lookups;
	bool fsid_known;
	bool huge; /* too many entries to list unasked */
};

int node_table_init(struct vfs *v);
void node_table_finish(struct vfs *v);

/* Return: the node or NULL (the kernel never sends a nodeid that it has forgotten). */
struct node *node_find(struct vfs *v, uint64_t nodeid);

/* A new node with no name yet, one reference. Return: NULL when out of memory. */
struct node *node_create(struct vfs *v);

struct node *node_ref(struct node *n);

/* We have changed `n`: what the server was asked before is no news. */
void node_changed(struct vfs *v, struct node *n);
void node_unref(struct vfs *v, struct node *n);

/*
 * The change_count for a question that goes out now, by name: it may overtake a change of attributes on a
 * handle that the server has not answered, and its answer is then no news.
 */
uint64_t node_asked_count(const struct node *n);

/* The kernel has been given `n` once more, or takes back `count` of its lookups. */
void node_looked_up(struct node *n);
void node_forget(struct vfs *v, struct node *n, uint64_t count);

/* Return: the name or NULL when nothing is known about it. */
struct name *name_find(struct vfs *v, struct node *parent, const char *bytes);

/*
 * Records that `bytes` in `parent` is `node` (NULL: nothing) until `expires_ms`; replaces what was
 * known. Return: 0 or -ENOMEM.
 */
int name_set(struct vfs *v, struct node *parent, const char *bytes, struct node *node,
             int64_t expires_ms);

/* Forgets what is known about a name; its node, if any, loses it. */
void name_drop(struct vfs *v, struct name *d);

/* Moves `d` to (parent, bytes), replacing what was there. Return: 0 or -ENOMEM. */
int name_move(struct vfs *v, struct name *d, struct node *parent, const char *bytes,
              int64_t expires_ms);

/*
 * The server shows another file under the name of `n`, or none: takes every name from it, and doubts
 * what listings say of them. It lives on for its open files only.
 */
void node_detach(struct vfs *v, struct node *n);

/* One of its names; NULL: it has none, as the root and what was removed. */
struct name *node_name(const struct node *n);

/*
 * The absolute remote path of `n` (of `child` in it when not NULL), which the caller frees.
 * Return: NULL with *err -ESTALE (no name left), -ENAMETOOLONG or -ENOMEM.
 */
char *node_path(struct vfs *v, const struct node *n, const char *child, int *err);

/* Gives `n`, which has just got a name, the number of its path; free numbers only. */
void node_number(struct vfs *v, struct node *n);

/* st_ino of a path that has no node (readdir without attributes). */
uint64_t node_path_ino(const char *path);

#endif
