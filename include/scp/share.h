/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One link for two users: the main one, which connects and may give up, and a side one, which runs
 * commands on further lanes while there is a connection.
 *
 * While it is held (choosing a protocol), a main user that gives up or is destroyed loses its lanes
 * only; the next one finds the connection, logged in, as it is.
 *
 * Thread: the loop.
 */
#ifndef SCP_SHARE_H
#define SCP_SHARE_H

#include <stdbool.h>

#include "sftp/link.h"

struct scp_share;

/* Takes over `link`. Return: NULL when out of memory (`link` is destroyed). */
struct scp_share *scp_share_create(struct link *link);

/* The main user's link: all functions work. */
struct link *scp_share_main(struct scp_share *s);

/* The side user's: lanes only, and the events `up` and `down`. */
struct link *scp_share_side(struct scp_share *s);

/* While held, see above. Return: true when there is a connection, or was one. */
bool scp_share_hold(struct scp_share *s, bool hold);

/* Destroys the link. The main user is gone, or destroying its link has done so. NULL is fine. */
void scp_share_destroy(struct scp_share *s);

#endif
