/* SPDX-License-Identifier: BSD-2-Clause */
/* What listing.c and listing_links.c share. Thread: the loop. */
#ifndef VFS_LISTING_PARTS_H
#define VFS_LISTING_PARTS_H

#include "vfs/listing.h"

/* The cached listing of `n` if it may still answer, else NULL. */
struct listing *listing_fresh(struct vfs *v, struct node *n);

/* Return: NULL when the listing does not have the name; one of ours that was removed is there. */
struct entry *listing_entry(const struct listing *l, const char *name);

/* Takes `target` over; NULL: it is not known. */
void listing_set_target(struct listing *l, struct entry *e, char *target);

/* `entries` have just been added: asks where the links among them lead. */
void listing_ask_links(struct listing *l, const struct be_entry *entries, size_t count);

#endif
