/* SPDX-License-Identifier: BSD-2-Clause */
/* Listings: one request, one reply, handed on in parts. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shell_parts.h"

#define PART_COUNT 256 /* entries told at a time */

struct be_list {
	struct shell_req req; /* first */
	struct scp_shell *sh;
	be_entries_fn *entries;
	be_status_fn *done;
	void *arg;
	bool cancelled; /* inside a callback */
	bool telling;
	struct be_entry part[PART_COUNT];
	size_t part_count;
	struct buf names; /* of the part */
	size_t name_off[PART_COUNT];
};

static void tell_part(struct be_list *l)
{
	size_t count = l->part_count;

	for (size_t i = 0; i < count; i++)
		l->part[i].name = (const char *)l->names.bytes + l->name_off[i];
	l->part_count = 0;
	if (count && !l->cancelled && !buf_failed(&l->names))
		l->entries(l->arg, l->part, count);
	if (!buf_failed(&l->names))
		buf_clear(&l->names);
}

static void add_entry(void *arg, const struct be_entry *entry)
{
	struct be_list *l = arg;

	l->name_off[l->part_count] = l->names.len;
	buf_add(&l->names, entry->name, entry->name_len + 1);
	l->part[l->part_count++] = *entry;
	if (l->part_count == PART_COUNT)
		tell_part(l);
}

static void list_free(struct be_list *l)
{
	buf_finish(&l->names);
	free(l);
}

static void listed(struct shell_req *r, const struct shell_reply *reply)
{
	struct be_list *l = (struct be_list *)r;
	struct be_status st = reply->st;
	size_t bad_count;

	l->telling = true;
	if (st.code == BE_OK) {
		bad_count = scp_list_parse(reply->body, reply->len, l->sh->clock->wall_ms / 1000,
		                           add_entry, l);
		tell_part(l);
		if (buf_failed(&l->names))
			st = (struct be_status){.code = BE_ERRNO, .err = ENOMEM, .text = ""};
		if (bad_count)
			log_info(LOG_SFTP, "%zu lines of a listing made no sense", bad_count);
	}
	if (!l->cancelled)
		l->done(l->arg, &st);
	list_free(l);
}

int shell_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
               void *arg, struct be_list **out)
{
	struct be_list *l = calloc(1, sizeof(*l));
	struct buf text = BUF_INIT;
	int err;

	if (!l)
		return -ENOMEM;
	l->sh = shell_of(b);
	l->entries = entries;
	l->done = done;
	l->arg = arg;
	buf_add_str(&text, "( d=");
	scp_quote(&text, path);
	buf_add_str(&text, "; [ -e \"$d\" ] || { R e2; exit; }; [ -d \"$d\" ] || { R e20; exit; };"
	                   " [ -r \"$d\" ] && cd \"$d\" || { R e13; exit; }; N; R 0 )\n");
	err = shell_submit(l->sh, &l->req, &text, NULL, listed);
	if (err) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void shell_list_cancel(struct backend *b, struct be_list *l)
{
	if (l->telling) {
		l->cancelled = true;
		return;
	}
	shell_abandon(l->sh, &l->req);
	list_free(l);
}

/* The whole is on its way already. */
void shell_list_pause(struct backend *b, struct be_list *l, bool paused)
{
}
