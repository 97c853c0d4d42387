/* SPDX-License-Identifier: BSD-2-Clause */
/* The directory to mount on, looked at before anything is connected. */
#ifndef MOUNTPOINT_H
#define MOUNTPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Checks `path` as typed: a directory that nothing of FUSE is mounted on and that the user may
 * write to. "/dev/fd/N" (an open FUSE device) passes as it is.
 * Return: its absolute path, to be freed; NULL with one line for people in `err`.
 * Blocks: for the filesystems on the way, never for a FUSE mount at the place itself.
 */
char *mountpoint_check(const char *path, char *err, size_t err_size);

/* Is `file` (absolute or not, may not exist yet) below `mountpoint`? Then the daemon must not use
 * it. */
bool mountpoint_contains(const char *mountpoint, const char *file);

/* The type of what is mounted at exactly `path` ("fuse.sftpfs"), to be freed; NULL: nothing is. */
char *mountpoint_type(const char *path);

/*
 * Is the filesystem of device `major`:`minor` still mounted somewhere, as a copy of another mount
 * namespace? Only processes whose tables this one may read are asked. Return: one that has it, with its
 * name in `name`; or 0.
 */
pid_t mountpoint_holder(unsigned major, unsigned minor, char *name, size_t name_size);

/* Absolute, parent directory resolved; the last part is not looked at. To be freed; NULL: errno. */
char *mountpoint_resolve_parent(const char *path);

#endif
