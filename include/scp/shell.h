/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names, attributes, listings and changes through one persistent POSIX shell on the server: a struct
 * backend without file data (read, write, copy and fsync are -EOPNOTSUPP; scp/scp.h adds them).
 * Requests are written ahead and answered in order: each is one round trip, and none waits for
 * another's. What was in flight when a connection broke is said again; see names.c for what that
 * means.
 *
 * Thread: the loop. Spec: POSIX.1 shell and utilities; `stat` where there is one.
 */
#ifndef SCP_SHELL_H
#define SCP_SHELL_H

#include "sftp/sftp.h"

struct scp_shell;

/* As fxp_backend_create(). */
struct scp_shell *scp_shell_create(struct link *link, bool reconnect, struct clock *clock,
                                   const char *root, bool check_root, fxp_started_fn *started,
                                   void *arg);

struct backend *scp_shell_backend(struct scp_shell *sh);
void scp_shell_reconnect(struct scp_shell *sh);

/* Adds what it knows to what is there. */
void scp_shell_stats(const struct scp_shell *sh, struct fxp_stats *out);

/* As fxp_backend_destroy(). */
void scp_shell_destroy(struct scp_shell *sh);

#endif
