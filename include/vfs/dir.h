/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings: a snapshot per open directory, and one complete snapshot per directory that answers
 * lookups while it is fresh. Our own changes are applied to the cached one. Thread: the loop.
 */
#ifndef VFS_DIR_H
#define VFS_DIR_H

#include "vfs/internal.h"

/* Listings up to this many entries are kept whole; larger ones stream and are not cached. */
#define LISTING_COUNT_MAX 10000

struct listing;

/*
 * What a complete, fresh listing of `parent` says of `name`.
 * Return: 1 found (attributes and time of asking in *a, *expires_ms), 0 not there, -1 unknown.
 */
int listing_lookup(struct vfs *v, struct node *parent, const char *name, struct be_attr *a,
		   int64_t *expires_ms);

/* Our own changes. `a` NULL: the attributes are not known; the entry is then only a name. */
void listing_add(struct vfs *v, struct node *parent, const char *name, const struct be_attr *a);

/* The same under every name of `n`. */
void listing_show(struct vfs *v, struct node *n, const struct be_attr *a);
void listing_remove(struct vfs *v, struct node *parent, const char *name);

/* Forgets the cached listing. */
void listing_drop(struct vfs *v, struct node *parent);

/* Closes every open directory: the kernel is gone. */
void dir_close_all(struct vfs *v);

#endif
