/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What of a symbolic link's target a program gets to see (contain_symlinks, transform_symlinks).
 * Thread: any; no state.
 */
#ifndef VFS_LINKS_H
#define VFS_LINKS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Absolute `target`, if it lies in `root`, as seen from a link `depth` directories below the root
 * ("../../x"). `root` and `target` are remote paths.
 * Return: a new string, or NULL with *err 0 (it does not lie there) or -ENOMEM.
 */
char *links_relative(const char *root, size_t depth, const char *target, int *err);

/*
 * Does every way along relative `target` stay inside? Upwards only at its beginning and at most
 * `depth` times: after a name, which may itself be a link, ".." may lead anywhere.
 */
bool links_contained(size_t depth, const char *target);

#endif
