/* SPDX-License-Identifier: BSD-2-Clause */
/* Further handles of one file on other lanes. Owner: the loop. */
#include "sftp/stripe.h"

void fxp_stripes_close(struct be_file *f)
{
	(void)f;
}

void fxp_stripes_destroy(struct be_file *f)
{
	(void)f;
}

void fxp_stripes_lost(struct be_file *f)
{
	(void)f;
}

void fxp_stripes_consider(struct be_file *f)
{
	(void)f;
}

struct fxp_handle *fxp_stripes_next(struct be_file *f)
{
	return &f->handle;
}
