/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A WRITE with O_APPEND lost its reply: sending it twice would append twice. Its bytes are looked
 * for between what had been acknowledged and the end of the file. Owner: the loop.
 */
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

#define LOOK_LEN_MAX (8u * 1024 * 1024) /* bytes from the end that are searched */

struct fxp_append {
	struct fxp_backend *fb;
	struct data *body;
	size_t body_off, body_len;
	uint64_t from; /* acknowledged up to here */
	uint8_t *bytes;
	size_t size, len;
	struct fxp_handle handle; /* for reading */
	fxp_append_fn *done;
	void *arg;
	char path[8192];
};

struct be_file *fxp_append_file(struct fxp_backend *fb, const struct fxr *r)
{
	if (r->kind != FXR_WRITE || !r->args.handle)
		return NULL;
	list_for_each(e, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);

		if (r->args.handle == &f->handle)
			return (f->flags & BE_APPEND) && !f->stale ? f : NULL;
	}
	return NULL;
}

static void append_over(struct fxp_append *a, enum be_code code, bool found)
{
	struct fxr_args args = {.handle = &a->handle};

	if (a->handle.len && code == BE_OK)
		fxp_client_submit_setup(&a->fb->client, FXR_CLOSE, &args, NULL, NULL);
	a->done(a->arg, code, found);
	data_unref(a->body);
	free(a->bytes);
	free(a);
}

static void append_search(struct fxp_append *a)
{
	append_over(a, BE_OK,
	            memmem(a->bytes, a->len, a->body->bytes + a->body_off, a->body_len) != NULL);
}

static bool append_ask(struct fxp_append *a);

static void append_read(void *arg, const struct fxr_answer *answer)
{
	struct fxp_append *a = arg;

	if (answer->lost || answer->status.st.code == BE_MALFORMED) {
		append_over(a, answer->status.st.code, false);
		return;
	}
	if (answer->status.st.code != BE_OK) {
		append_search(a);
		return;
	}
	memcpy(a->bytes + a->len, answer->data.block->bytes + answer->data.off, answer->data.len);
	a->len += answer->data.len;
	if (a->len == a->size || !append_ask(a))
		append_search(a);
}

static bool append_ask(struct fxp_append *a)
{
	struct fxr_args args = {.handle = &a->handle, .off = a->from + a->len};
	size_t left = a->size - a->len, most = a->fb->client.read_len_max;

	args.len = left < most ? left : most;
	return fxp_client_submit_setup(&a->fb->client, FXR_READ, &args, append_read, a) != NULL;
}

static void append_opened(void *arg, const struct fxr_answer *answer)
{
	struct fxp_append *a = arg;

	if (answer->lost || answer->status.st.code == BE_MALFORMED) {
		append_over(a, answer->status.st.code, false);
		return;
	}
	if (answer->status.st.code == BE_OK)
		fxp_handle_set(a->fb, &a->handle, answer);
	if (answer->status.st.code != BE_OK || !append_ask(a))
		append_over(a, BE_OK, false);
}

static void append_seen(void *arg, const struct fxr_answer *answer)
{
	struct fxp_append *a = arg;
	struct fxr_args args = {.path = a->path, .pflags = FXF_READ};
	uint64_t size = answer->attr.size;

	if (answer->lost || answer->status.st.code == BE_MALFORMED) {
		append_over(a, answer->status.st.code, false);
		return;
	}
	if (answer->status.st.code != BE_OK || size < a->from + a->body_len) {
		append_over(a, BE_OK, false);
		return;
	}
	if (size - a->from > LOOK_LEN_MAX)
		a->from = size - LOOK_LEN_MAX;
	a->size = (size_t)(size - a->from);
	a->bytes = malloc(a->size);
	if (!a->bytes ||
	    !fxp_client_submit_setup(&a->fb->client, FXR_OPEN, &args, append_opened, a))
		append_over(a, BE_OK, false);
}

struct fxp_append *fxp_append_start(struct fxp_backend *fb, struct be_file *f, struct data *body,
                                    size_t body_off, size_t body_len, fxp_append_fn *done,
                                    void *arg)
{
	struct fxp_append *a = calloc(1, sizeof(*a));
	struct fxr_args args = {.handle = &f->handle};

	if (!a)
		return NULL;
	a->fb = fb;
	a->body_off = body_off;
	a->body_len = body_len;
	a->from = f->node->acked_end;
	a->done = done;
	a->arg = arg;
	if (fxp_file_where(f, a->path, sizeof(a->path)) != 0 ||
	    !fxp_client_submit_setup(&fb->client, FXR_FSTAT, &args, append_seen, a)) {
		free(a);
		return NULL;
	}
	a->body = data_ref(body);
	return a;
}
