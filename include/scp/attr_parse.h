/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `stat`, `ls -lni` and `df` print, as attributes. Everything comes from the server and is
 * checked; a field that makes no sense refuses the whole line.
 *
 * Thread: any. Spec: POSIX ls, df; the formats asked for in src/scp/script.c.
 */
#ifndef SCP_ATTR_PARSE_H
#define SCP_ATTR_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfs/backend.h"

/* Which file it is, so that one that has replaced it is noticed. */
struct scp_identity {
	uint64_t dev, ino;
};

/*
 * One line of stat, "mode(hex) size uid gid atime mtime nlink ino dev", or one of ls -lnid behind a
 * letter L. `now_s`: the time, for the dates of ls that leave the year out.
 * Return: how many bytes the attributes took, with the space behind them if there is one; 0: bad.
 */
size_t scp_attr_parse(const char *line, size_t len, int64_t now_s, struct be_attr *out,
                      struct scp_identity *id);

/*
 * A listing: lines as above with "./name" at their end. A name may hold newlines: as it cannot hold
 * a slash, the next "./" tells where it ends. `each` is called for what vfs may see ("." and ".."
 * never are). Return: the number of lines that made no sense.
 */
typedef void scp_entry_fn(void *arg, const struct be_entry *entry);
size_t scp_list_parse(const char *body, size_t len, int64_t now_s, scp_entry_fn *each, void *arg);

/*
 * "frsize bsize blocks bfree bavail files ffree fsid(hex) namemax" of stat -f, or the last line of
 * df -kP. Return: false when it is neither.
 */
bool scp_statvfs_parse(const char *body, size_t len, struct be_statvfs *out);

#endif
