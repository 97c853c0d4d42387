/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Further handles of one file on other lanes, over which its WRITEs are striped. They carry data
 * only after they were proven to be the same file: FSTATs of the first and of the new handle agree
 * in size, mtime, mode and owner, with a size that our own acknowledged WRITEs produced.
 *
 * From 4 MiB on no WRITE of the file is sent until they are proven, for three round trips at most: a
 * proof needs an FSTAT while nothing is on its way, and a full channel window never drains by itself.
 * Before, one file sends no more than one channel window.
 *
 * Thread: the loop.
 */
#ifndef SFTP_STRIPE_H
#define SFTP_STRIPE_H

#include "sftp/engine.h"

/* Closes the further handles; everything on the file has been answered. */
void fxp_stripes_close(struct be_file *f);

void fxp_stripes_destroy(struct be_file *f);

/* The connection broke: they are gone. */
void fxp_stripes_lost(struct be_file *f);

/*
 * A WRITE came or was acknowledged, or a lane came or was refused: time for further lanes, which open
 * in the background, or for further handles?
 */
void fxp_stripes_consider(struct be_file *f);

/* It goes over one lane yet, and perhaps soon over several. */
bool fxp_stripes_possible(const struct be_file *f);

/* It is written over all the lanes that it will get. */
bool fxp_stripes_ready(const struct be_file *f);

/* The handle for the next WRITE. */
struct fxp_handle *fxp_stripes_next(struct be_file *f);

/* The same handle, or the first one when its connection is gone. */
struct fxp_handle *fxp_stripes_live(struct be_file *f, struct fxp_handle *h);

/* A WRITE of `n` was answered: was it the one that a proof waits for? */
void fxp_stripes_drained(struct fxp_node *n);

#endif
