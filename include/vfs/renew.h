/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that makes and removes names walks through their directories again and again, and looks at
 * them: what it would have to wait for is asked again before, in the flight of its change. Thread: the loop.
 *
 * The backend carries out changes in the order of the calls and lets no question overtake them. So an
 * answer knows of every change that was asked for before the question, and is worth nothing when another
 * one has been asked for since.
 */
#ifndef VFS_RENEW_H
#define VFS_RENEW_H

#include "vfs/internal.h"

/* What has happened to `dir` so far. */
struct asked renew_asked(struct vfs *v, const struct node *dir);

/* The answer to a question asked then is what `dir` is now, but for changes that end later. */
bool renew_holds(struct vfs *v, const struct node *dir, const struct asked *then);

/* A change of names in `dir` has been asked for. */
void renew_behind(struct vfs *v, struct node *dir);

/* A program has looked at the attributes of `dir`: it may do so again. */
void renew_used(struct node *dir);

/* It has been made, and has not been looked at yet. */
void renew_made(struct node *dir);

#endif
