/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHA-256 of files by a program on the server, each on a channel of its own: sha256sum, or what does
 * the same on the BSDs, or openssl. Thread: the loop.
 */
#ifndef SCP_HASHER_H
#define SCP_HASHER_H

#include "scp/channel.h"
#include "sftp/sftp.h"
#include "vfs/backend.h"

struct scp_hasher {
	struct scp_channels *channels; /* the caller's */
	struct list ops;               /* struct hash_op */
};

void scp_hasher_init(struct scp_hasher *h, struct scp_channels *channels);

/* As be_ops.hash; a connection that breaks meanwhile does no harm. */
int scp_hasher_run(struct scp_hasher *h, const char *path, be_hash_fn *done, void *arg);

/* Everything that waits is answered BE_LOST. */
void scp_hasher_fail_all(struct scp_hasher *h);

/* The same with channels of its own, over `side`: connected (`up`) or not. */
struct scp_side_hasher {
	struct scp_channels channels;
	struct scp_hasher hasher;
	struct fxp_hasher for_sftp;
};

void scp_side_hasher_init(struct scp_side_hasher *s, struct link *side, bool up,
                          struct clock *clock);
void scp_side_hasher_finish(struct scp_side_hasher *s);

#endif
