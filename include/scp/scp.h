/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCP backend: file contents by `scp -f` and `scp -t` (`cat` where the server has no scp), each
 * transfer on a channel of its own, over another backend for everything else: the server's shell, or
 * SFTP where that is to be tested.
 *
 * A file is read from a spool, which fills as the transfer goes; what is read before it has come is
 * asked for by itself. What is written goes to the spool and to the server with flush(): to a
 * temporary name, which gets mode, owner and times and is then renamed into place.
 *
 * Thread: the loop.
 */
#ifndef SCP_SCP_H
#define SCP_SCP_H

#include "sftp/link.h"
#include "sftp/sftp.h"
#include "vfs/backend.h"

struct scp_backend;

/*
 * `side`: for the channels, connected (`up`) or not. `inner`: the caller's, outlives this one.
 * `spool_dir_fd` as scp_spool_open_dir() made it; taken over.
 * Return: NULL when out of memory (spool_dir_fd is closed).
 */
struct scp_backend *scp_backend_create(struct link *side, bool up, struct backend *inner,
                                       struct clock *clock, int spool_dir_fd);

struct backend *scp_backend(struct scp_backend *sb);

/* Adds what it knows to what is there. */
void scp_backend_stats(const struct scp_backend *sb, struct fxp_stats *out);

/* Ends everything, pending callbacks run with BE_LOST. The inner backend is to be destroyed next. */
void scp_backend_stop(struct scp_backend *sb);

/* Behind the inner backend, whose last callbacks still come here. NULL is fine. */
void scp_backend_destroy(struct scp_backend *sb);

#endif
