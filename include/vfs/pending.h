/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes that the server has not answered yet, by name: which must wait for which, and what becomes
 * of those that build on one that failed. Knows nothing of files or backends. Thread: the loop.
 *
 * Order: a change waits until every earlier one on its own names, above them and below them has been
 * answered, and on the file that it changes, by whatever name, though the file may have lost it. Others
 * overtake each other. So no change is ever sent that builds on something the server has not accepted,
 * and a chain costs one round trip a link, however many chains there are.
 *
 * Failure: a change that builds on a failed one is not sent and fails with the same errno:
 * - rename and link, when anything went wrong with their source, its attributes included;
 * - any other postponed change on the same name or below it, when the name itself is not what the
 *   program was told (attributes that could not be set do no harm; a file that is there in part can
 *   still be removed).
 * A name keeps its failure until somebody has been told (pending_take_error()).
 */
#ifndef VFS_PENDING_H
#define VFS_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/data.h"
#include "util/hash.h"
#include "util/list.h"
#include "vfs/backend.h"

enum change_kind {
	CHANGE_FILE, /* a file's creation and content */
	CHANGE_MKDIR,
	CHANGE_SYMLINK,
	CHANGE_LINK,
	CHANGE_SETATTR,
	CHANGE_REMOVE,
	CHANGE_RMDIR,
	CHANGE_RENAME,
	CHANGE_ASK,     /* changes nothing: waits for what is before it on its name and around */
	CHANGE_BARRIER, /* has no name: waits for everything */
};

enum pname_state {
	PNAME_AS_IS,   /* nothing is pending: ask who knows */
	PNAME_MADE,    /* new: attributes in `attr`; everything below it is pending too */
	PNAME_CHANGED, /* there, with `attr` */
	PNAME_ABSENT,
	PNAME_UNSURE, /* only the server's answer can tell */
};

/* A name with something pending on it, below it, or with a failure that nobody knows of. */
struct pname {
	struct hash_node by_path;
	struct pname *up; /* NULL: the root */
	struct list in_up;
	struct list below;   /* struct pname.in_up */
	struct list changes; /* struct change_at.in_name, in program order */
	enum pname_state state;
	struct be_attr attr;
	char *target; /* of a new symbolic link */
	int err;      /* negative errno that nobody has been told */
	int broken;   /* the file is there without all its bytes: told or not, it is not renamed */
	struct list in_failed;
	struct list in_broken;
	unsigned ref_count;
	char path[];
};

/* A file with something pending. */
struct pfile {
	struct hash_node by_nodeid;
	uint64_t nodeid;
	struct list changes; /* struct change.in_file, in program order */
};

struct change;

struct change_at {
	struct list in_name; /* pname->changes; empty when not registered */
	struct change *change;
	struct pname *name;
};

/* One change. Embedded; may be added again after its end. */
struct change {
	struct list entry; /* pending->changes, in program order */
	struct list in_ready;
	struct pending *p;
	enum change_kind kind;
	bool postponed; /* the program has been told that it is done */
	bool held;      /* not sent before change_release() */
	bool marker;    /* stands for something that is sent elsewhere: waits for nothing */
	bool large;     /* takes one of the places for files that are being sent */
	bool placed;    /* has one */
	bool sent;
	bool there;  /* it failed, but the name is there and ours */
	bool active; /* added, and not ended */
	unsigned wait_count;
	int err;             /* negative errno: its own, or of what it builds on */
	struct list earlier; /* struct edge */
	struct list later;
	struct change_at at, at2;
	uint64_t nodeid;     /* of the file that it changes, or asks for; 0: not known */
	struct pfile *file;  /* NULL: not registered there */
	struct list in_file; /* file->changes */

	/* All that it waits for is answered: goes to the server; change_end() follows, now or later. */
	void (*send)(struct change *c);

	/* Exactly once: err and sent are final, the names (at.name) still there. May free it. */
	void (*end)(struct change *c);

	/* Somebody waits for it: it should be released soon. May be NULL. */
	void (*wanted)(struct change *c);
};

struct pending {
	struct hash names;
	struct hash files; /* struct pfile */
	struct list changes;
	struct list ready;
	struct list ready_large;
	struct list failed; /* struct pname.in_failed, oldest first */
	size_t failed_count;
	struct list broken; /* struct pname.in_broken, oldest first */
	size_t broken_count;
	size_t count; /* unanswered changes, asks and barriers apart */
	unsigned placed_count;
	unsigned place_max;
	struct pname *root;
	struct budget *budget;
	bool running;
	bool stopped; /* nothing is sent any more: what is ready fails */
	void (*settled)(void *arg);
	void *arg;
};

/*
 * `root`: the absolute path that every name is or is below. `settled` runs after each change's end.
 * Return: 0 or -ENOMEM.
 */
int pending_init(struct pending *p, const char *root, struct budget *budget,
                 void (*settled)(void *arg), void *arg);
void pending_finish(struct pending *p);

/* Fills in what every change needs. */
void change_init(struct change *c, enum change_kind kind, void (*send)(struct change *c),
                 void (*end)(struct change *c));

/*
 * Adds a change on `path` (NULL: a barrier, or a file without a name) and `path2` (may be NULL) behind
 * all that is there. kind, postponed, held, marker, large, nodeid and the functions are set by the caller.
 * Sends nothing yet: call pending_run() when its answer can be taken. Return: 0 or -ENOMEM.
 */
int pending_add(struct pending *p, struct change *c, const char *path, const char *path2);

/* `c`, just added, also waits for what is unanswered of `f`. Return: 0 or -ENOMEM. */
int change_wait_file(struct change *c, const struct pfile *f);

/* The file that `c` is making has become known as a node. Return: 0 or -ENOMEM. */
int change_set_node(struct change *c, uint64_t nodeid);

/* Sends what is ready. */
void pending_run(struct pending *p);

/* A held change may go. */
void change_release(struct change *c);

/* The answer: 0 or a negative errno. */
void change_end(struct change *c, int err);

/* An ask or barrier that nobody waits for any more; `end` does not run. */
void change_cancel(struct change *c);

/* The file that `c` sends needs no place any more: it stays open for long. */
void change_give_place(struct change *c);

/* The name, made with all that is above it when missing; the caller owns a reference. NULL: no memory. */
struct pname *pname_get(struct pending *p, const char *path);
void pname_unref(struct pending *p, struct pname *n); /* NULL is fine */

/* Return: the name or NULL. */
struct pname *pending_find(const struct pending *p, const char *path);

/* What is to be believed of `path`; *attr for MADE and CHANGED. */
enum pname_state pending_state(const struct pending *p, const char *path, struct be_attr *attr);

/* What the program has been told that `path` is now. The name has a change. */
void pname_set(struct pname *n, enum pname_state state, const struct be_attr *attr);

/* The failure of `path` that nobody has been told, which now somebody is. 0: none. */
int pending_take_error(struct pending *p, const char *path);

void pname_fail(struct pending *p, struct pname *n, int err);

/*
 * The file of that name lacks bytes that were acknowledged: 0, or the errno for who would give it
 * another name. It stays so until pending_mend(): removed, truncated or replaced.
 */
int pending_broken(const struct pending *p, const char *path);
void pending_break(struct pending *p, const char *path, int err);
void pname_break(struct pending *p, struct pname *n, int err);
void pending_mend(struct pending *p, const char *path);

/* The last unanswered change of the name, or NULL. */
struct change *pname_last(const struct pname *n);

/* Something is unanswered on the name or below it. */
bool pname_busy(const struct pname *n);

/* What is unanswered of a file, under whatever name; NULL: nothing. */
const struct pfile *pending_file(const struct pending *p, uint64_t nodeid);

#endif
