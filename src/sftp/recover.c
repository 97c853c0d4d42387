/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After a new connection stands: files that are in use are opened again and compared with what
 * they were, then the requests that were lost are sent again or settled, in their old order.
 * Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

struct fxp_recover {
	unsigned reopening; /* files on their way */
	uint64_t run;       /* counts recoveries, to know stale callbacks */
	bool active;
	struct fxp_settle *settle; /* the lost request being looked into */
	bool renaming;             /* first part: paths, as far as renames go */
	uint64_t rename_seq;       /* of the last rename that was lost */
};

struct reopen_op {
	struct fxp_backend *fb;
	struct be_file *file;
	uint64_t run;
	char path[];
};

static void settle_next(struct fxp_backend *fb);
static void reopen_all(struct fxp_backend *fb);

int fxp_recover_create(struct fxp_backend *fb)
{
	fb->recover = calloc(1, sizeof(*fb->recover));
	return fb->recover ? 0 : -ENOMEM;
}

void fxp_recover_destroy(struct fxp_backend *fb)
{
	if (!fb->recover)
		return;
	fxp_settle_stop(fb->recover->settle);
	free(fb->recover);
	fb->recover = NULL;
}

void fxp_recover_forget(struct fxp_backend *fb)
{
	fxp_settle_forget(fb->recover->settle);
}

void fxp_recover_stop(struct fxp_backend *fb)
{
	struct fxp_recover *rc = fb->recover;

	rc->active = false;
	rc->run++;
	rc->reopening = 0;
	fxp_settle_stop(rc->settle);
	rc->settle = NULL;
}

static void reopen_over(struct reopen_op *op)
{
	struct fxp_backend *fb = op->fb;
	/* On a connection that has just broken there is nothing to go on with: `down` follows. */
	bool mine = op->run == fb->recover->run && fb->client.state == FXP_CLIENT_SETUP;

	fxp_file_unref(op->file);
	free(op);
	if (mine && --fb->recover->reopening == 0)
		settle_next(fb);
}

static void reopen_stale(struct reopen_op *op, const char *cause)
{
	struct be_file *f = op->file;

	log_error(LOG_SFTP, "\"%s\" cannot be opened again: %s", op->path, cause);
	f->stale = true;
	f->handle.epoch = 0;
	reopen_over(op);
}

static void reopen_seen(void *arg, const struct fxr_answer *answer)
{
	struct reopen_op *op = arg;
	struct be_file *f = op->file;
	struct fxr_args args = {.handle = &f->handle};

	if (answer->lost) {
		reopen_over(op);
		return;
	}
	if (answer->status.st.code == BE_OK && fxp_node_same(f->node, &answer->attr)) {
		reopen_over(op);
		return;
	}
	fxp_client_submit_setup(&op->fb->client, FXR_CLOSE, &args, NULL, NULL);
	reopen_stale(op, answer->status.st.code == BE_OK ? "it is another file now"
	                                                 : answer->status.text);
}

static void reopen_opened(void *arg, const struct fxr_answer *answer)
{
	struct reopen_op *op = arg;
	struct fxr_args args = {.handle = &op->file->handle};

	if (answer->lost) {
		reopen_over(op);
		return;
	}
	if (answer->status.st.code == BE_FAILURE && op->file->flags == BE_READ &&
	    !op->file->io_count) {
		/* Too many for this process, it may be; nobody needs it now. */
		op->file->handle.len = 0;
		op->file->parked = true;
		reopen_over(op);
		return;
	}
	if (answer->status.st.code != BE_OK) {
		reopen_stale(op, answer->status.text);
		return;
	}
	fxp_handle_set(op->fb, &op->file->handle, answer);
	if (!fxp_client_submit_setup(&op->fb->client, FXR_FSTAT, &args, reopen_seen, op))
		reopen_stale(op, "out of memory");
}

static void reopen(struct fxp_backend *fb, struct be_file *f)
{
	char path[8192];
	struct fxr_args args = {.path = path, .pflags = fxp_file_pflags(f)};
	struct reopen_op *op;

	f->near.len = 0;
	if (fxp_file_where(f, path, sizeof(path)) != 0) {
		f->stale = true;
		f->handle.epoch = 0;
		return;
	}
	op = calloc(1, sizeof(*op) + strlen(path) + 1);
	if (!op) {
		f->stale = true;
		f->handle.epoch = 0;
		return;
	}
	memcpy(op->path, path, strlen(path) + 1);
	op->fb = fb;
	op->file = f;
	op->run = fb->recover->run;
	fxp_file_ref(f);
	fb->recover->reopening++;
	if (!fxp_client_submit_setup(&fb->client, FXR_OPEN, &args, reopen_opened, op))
		reopen_stale(op, "out of memory");
}

static bool in_use(const struct be_file *f)
{
	return f->handle.len && !f->stale && (!f->closed || f->io_count);
}

static void reopen_all(struct fxp_backend *fb)
{
	struct fxp_recover *rc = fb->recover;

	rc->reopening = 1; /* held until all are on their way */
	list_for_each_safe(e, next, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);

		if (in_use(f))
			reopen(fb, f);
	}
	if (--rc->reopening == 0)
		settle_next(fb);
}

static bool is_rename(const struct fxr *r)
{
	return r->kind == FXR_RENAME || r->kind == FXR_POSIX_RENAME;
}

/*
 * Files are opened again by their paths, so a rename whose outcome is not known comes first, and
 * with it what was sent by path before it.
 */
void fxp_recover_start(struct fxp_backend *fb)
{
	struct fxp_recover *rc = fb->recover;

	rc->active = true;
	rc->run++;
	rc->renaming = false;
	list_for_each(e, &fb->client.lost) {
		const struct fxr *r = list_entry(e, const struct fxr, entry);

		if (is_rename(r)) {
			rc->renaming = true;
			rc->rename_seq = r->seq;
		}
	}
	if (rc->renaming)
		settle_next(fb);
	else
		reopen_all(fb);
}

/* What cannot simply be sent again. */
static bool must_look(struct fxp_backend *fb, const struct fxr *r)
{
	if (r->kind == FXR_WRITE)
		return fxp_append_file(fb, r) != NULL;
	if (r->kind == FXR_OPEN)
		return (r->args.pflags & FXF_EXCL) != 0;
	return fxr_table[r->kind].settle == FXR_SETTLE_LOOK;
}

/* The next lost request of this part of the recovery, or NULL. */
static struct fxr *next_lost(struct fxp_backend *fb)
{
	const struct fxp_recover *rc = fb->recover;

	list_for_each(e, &fb->client.lost) {
		struct fxr *r = list_entry(e, struct fxr, entry);

		if (!rc->renaming || (r->seq <= rc->rename_seq && !r->args.handle))
			return r;
	}
	return NULL;
}

/* Every reply to what was sent by path has come: their callers know the paths of today. */
static void renames_done(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;

	if (!answer->lost && fb->recover->active && !fb->client.broken)
		reopen_all(fb);
}

static void end_of_part(struct fxp_backend *fb)
{
	struct fxp_recover *rc = fb->recover;
	struct fxr_args args = {.path = "."};

	if (!rc->renaming) {
		rc->active = false;
		fxp_session_recovered(fb);
		return;
	}
	rc->renaming = false;
	/* The first lane is answered in order; this reply is the last of them. */
	if (!fxp_client_submit_setup(&fb->client, FXR_REALPATH, &args, renames_done, fb))
		fxp_client_break(&fb->client, LINK_FAIL_NETWORK, "out of memory");
}

static void settle_next(struct fxp_backend *fb)
{
	struct fxp_recover *rc = fb->recover;
	struct fxr *r;

	fxp_settle_stop(rc->settle);
	rc->settle = NULL;
	if (fb->client.broken)
		return;
	while (rc->active && (r = next_lost(fb)) != NULL) {
		if (must_look(fb, r) && fxp_settle_start(fb, r, &rc->settle, settle_next) == 0)
			return;
		fxp_client_resend(&fb->client, r);
	}
	if (rc->active)
		end_of_part(fb);
}
