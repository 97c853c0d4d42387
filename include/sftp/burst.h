/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bursts: dependent requests that leave in one write, because the handle that the OPEN will return is
 * known beforehand. OpenSSH's sftp-server is serial and its handles are 4-byte indexes, the last one
 * freed used first; what the next one is follows from what was opened and closed on the lane.
 *
 * Used only once proven on the connection: the banner says OpenSSH (or, without a banner, limits,
 * lsetstat and expand-path are offered), a first OPEN returned index 0, and one after a CLOSE returned
 * the freed index again. Every HANDLE reply is compared from then on; the first that differs ends
 * bursts for the connection (the lane stays: what it has open is live). An index is predicted only while no other OPEN is unanswered whose handle
 * stays open, so what a wrong guess names is never a handle of ours: its READs bring what is thrown
 * away, its CLOSE hits nothing.
 *
 * A burst ends with a CLOSE and so leaves the prediction as it was: any number may be in flight. A
 * prediction can also serve an OPEN that stays open, without a CLOSE.
 *
 * Thread: the loop.
 */
#ifndef SFTP_BURST_H
#define SFTP_BURST_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/client.h"

/* Starts the proof on the first lane: two empty bursts over the directory `path`. */
void fxp_burst_prove(struct fxp_client *c, const char *path);

/*
 * The handle that an OPEN or OPENDIR sent now would bring on the lane (0: one of the class).
 * Return: true with *h; false where nothing can be said.
 */
bool fxp_burst_predict(struct fxp_client *c, uint32_t lane, enum lane_class lane_class,
                       struct fxp_handle *h);

/*
 * The first request of a burst, OPEN or OPENDIR, for the handle that was just predicted; the last is
 * fxp_burst_close(), before anything else is submitted on that lane. Return: NULL when out of memory.
 */
struct fxr *fxp_burst_open(struct fxp_client *c, enum fxr_kind kind, const struct fxr_args *args,
                           const struct fxp_handle *h, fxr_done_fn *done, void *arg);
void fxp_burst_close(struct fxp_client *c, struct fxp_handle *h);

/*
 * Is the handle of the answer the predicted one? Where it is not it is open, and the operation goes
 * on with it: an OPEN is never sent twice.
 */
bool fxp_burst_hit(const struct fxp_client *c, const struct fxp_handle *h,
                   const struct fxr_answer *answer);

/* For lane.c: a new connection, a lane that can be used. */
void fxp_burst_reset(struct fxp_client *c);

/* For client.c: `r` has been sent, or its answer has come. */
void fxp_burst_sent(struct fxr *r);
void fxp_burst_answered(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer);

/* For client.c: the answer's handle stays open, but nobody knows it. */
bool fxp_burst_leaves_open(const struct fxr *r, const struct fxr_answer *answer);

#endif
