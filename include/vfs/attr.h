/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attributes: from the server's to struct stat and back (ids, umask), how long they may be believed,
 * and how an answer of the server meets changes of our own. Thread: the loop.
 */
#ifndef VFS_ATTR_H
#define VFS_ATTR_H

#include "vfs/internal.h"

/* The server's clock, in seconds, as far as we know it. */
int64_t attr_server_now(const struct vfs *v);

/* The server has just set `mtime`: learn the offset of its clock from it. */
void attr_learn_clock(struct vfs *v, uint32_t mtime);

void attr_to_stat(const struct vfs *v, const struct be_attr *a, uint64_t ino, uint32_t nlink,
                  struct stat *st);
void attr_node_stat(const struct vfs *v, const struct node *n, struct stat *st);

/* The kernel has been told the attributes of `n`. */
void attr_shown(struct node *n);

/* Ids for the server, from ids of this host. Return: as idmap_to_server(). */
int attr_uid_to_server(const struct vfs *v, uint32_t uid, uint32_t *remote);
int attr_gid_to_server(const struct vfs *v, uint32_t gid, uint32_t *remote);

/* How long, and until when, attributes `a` that the server was asked for at `asked_ms` are believed. */
int64_t attr_lifetime(const struct vfs *v, const struct be_attr *a);
int64_t attr_expiry(const struct vfs *v, const struct be_attr *a, int64_t asked_ms);

/*
 * How long the absence of a name in `dir` is believed of which the server has told now, or which is our
 * own doing: as long as a listing would be.
 */
int64_t attr_negative_lifetime(const struct vfs *v, const struct node *dir);

/* What the kernel is told. */
int64_t attr_kernel_attr_timeout(const struct vfs *v, const struct node *n);
int64_t attr_kernel_entry_timeout(const struct vfs *v, int64_t expires_ms);

/*
 * The server has told `a` for `n`, asked at `asked_ms`, when n->change_count was `change_count`. What
 * we changed since, and the size and mtime of a dirty file, stay ours. Return: true when content that we did
 * not write has changed (size or mtime of a clean file).
 */
bool attr_update(struct vfs *v, struct node *n, const struct be_attr *a, uint64_t change_count,
                 int64_t asked_ms);

/* The same file by all that v3 shows? */
bool attr_same_file(const struct be_attr *a, const struct be_attr *b);

/*
 * Was the server's clock past the second behind `a`'s mtime at `asked_ms`? Then bytes that were read since vouch
 * for themselves with it: what changes them gives them another.
 */
bool attr_is_old(const struct vfs *v, const struct be_attr *a, int64_t asked_ms);

bool attr_is_dir(const struct be_attr *a);
bool attr_is_reg(const struct be_attr *a);
bool attr_is_link(const struct be_attr *a);

/* The node's attributes must be asked again. */
void attr_expire(struct node *n);

#endif
