/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names for the server's numbers of users and groups. Owner: the loop.
 * Spec: OpenSSH PROTOCOL 4.12.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

#define ID_NAME_LEN_MAX 255u /* a longer name is none that any system has */

struct names_op {
	struct be_ids users, groups;
	be_id_names_fn *done;
	void *arg;
	char text[2][BE_ID_COUNT_MAX][ID_NAME_LEN_MAX + 1];
	const char *names[2][BE_ID_COUNT_MAX];
};

/* Return: false when the list is not what was asked for. */
static bool read_names(struct names_op *op, int side, size_t count, uint8_t *bytes, size_t len)
{
	struct fxp_in in;

	fxp_in_init(&in, "users-groups-by-id", bytes, len);
	for (size_t i = 0; i < count; i++) {
		char *text = op->text[side][i];
		size_t n;
		const uint8_t *name = fxp_get_str(&in, "name", SIZE_MAX, &n);

		op->names[side][i] = text;
		if (name && n <= ID_NAME_LEN_MAX && !memchr(name, '\0', n))
			memcpy(text, name, n);
	}
	fxp_get_end(&in);
	return !fxp_in_failed(&in);
}

static void names_done(void *arg, const struct fxr_answer *answer)
{
	struct names_op *op = arg;
	struct be_status st = answer->status.st;

	if (st.code == BE_OK &&
	    (!read_names(op, 0, op->users.count, answer->users.bytes, answer->users.len) ||
	     !read_names(op, 1, op->groups.count, answer->groups.bytes, answer->groups.len)))
		st = (struct be_status){.code = BE_MALFORMED, .text = ""};
	if (st.code == BE_OK)
		op->done(op->arg, &st, op->names[0], op->names[1]);
	else
		op->done(op->arg, &st, NULL, NULL);
	free(op);
}

int fxp_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                 be_id_names_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct names_op *op = calloc(1, sizeof(*op));

	if (!op)
		return -ENOMEM;
	op->users = *users;
	op->groups = *groups;
	op->done = done;
	op->arg = arg;

	const struct fxr_args args = {.users = &op->users, .groups = &op->groups};

	if (fxp_client_submit(&fb->client, FXR_USERS_GROUPS, 0, &args, names_done, op))
		return 0;
	free(op);
	return -ENOMEM;
}
