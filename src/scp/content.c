/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bytes of an open file: a spool, the set of what is in it, and what is waited for. Every event
 * only records what it brings and touches the content; content_pump() then looks at the whole.
 * Owner: the loop.
 */
#include "content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A spool of what was only read keeps about this much behind the reader. */
#define SPOOL_BEHIND_LEN ((uint64_t)64 << 20)
#define SPOOL_TRIM_LEN   ((uint64_t)64 << 20) /* at a time */

struct content *content_create(struct scp_backend *sb)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sb = sb;
	c->refs = 1;
	list_init(&c->in_touched);
	list_init(&c->files);
	list_init(&c->readers);
	list_init(&c->fillers);
	list_init(&c->flushers);
	list_init(&c->attr_ops);
	scp_spool_init(&c->spool, sb->spool_dir_fd);
	downloads_init(c);
	upload_init(c);
	list_push_back(&sb->contents, &c->entry);
	return c;
}

void content_ref(struct content *c)
{
	c->refs++;
}

void content_unref(struct content *c)
{
	struct scp_backend *sb = c->sb;

	if (--c->refs)
		return;
	downloads_cancel(c);
	upload_cancel(c);
	if (c->id)
		hash_del(&sb->contents_by_id, &c->by_id);
	if (c->inner)
		sb->inner->ops->close(sb->inner, c->inner);
	list_del(&c->entry);
	list_del(&c->in_touched);
	scp_spool_finish(&c->spool);
	scp_ranges_finish(&c->have);
	scp_ranges_finish(&c->own);
	free(c->path);
	free(c);
}

static bool id_match(const struct hash_node *n, const void *key)
{
	return list_entry(n, const struct content, by_id)->id == *(const uint64_t *)key;
}

struct content *content_by_id(struct scp_backend *sb, uint64_t id)
{
	struct hash_node *n =
	    id ? hash_find(&sb->contents_by_id, hash_u64(id), id_match, &id) : NULL;

	return n ? list_entry(n, struct content, by_id) : NULL;
}

void content_set_id(struct content *c, uint64_t id)
{
	if (c->id || !id || content_by_id(c->sb, id))
		return;
	c->id = id;
	hash_add(&c->sb->contents_by_id, &c->by_id, hash_u64(id));
}

int content_path(const struct content *c, char path[PATH_MAX])
{
	if (c->unlinked)
		return -ESTALE;
	list_for_each(e, &c->files) {
		const struct be_file *f = list_entry(e, const struct be_file, entry);

		if (f->owner && f->where)
			return f->where(f->owner, path, PATH_MAX);
	}
	if (!c->path || strlen(c->path) >= PATH_MAX)
		return -ESTALE;
	strcpy(path, c->path);
	return 0;
}

struct content *content_at(struct scp_backend *sb, const char *path)
{
	char at[PATH_MAX];

	list_for_each(e, &sb->contents) {
		struct content *c = list_entry(e, struct content, entry);

		if (content_path(c, at) == 0 && strcmp(at, path) == 0)
			return c;
	}
	return NULL;
}

void content_touch(struct content *c)
{
	struct scp_backend *sb = c->sb;

	list_del(&c->in_touched);
	list_push_back(&sb->touched, &c->in_touched);
	timer_set(sb->clock, &sb->timer, sb->clock->now_ms);
}

static void forget_bytes(struct content *c)
{
	downloads_cancel(c);
	scp_ranges_finish(&c->have);
	scp_spool_clear(&c->spool);
	c->trimmed = 0;
	c->paused = false;
}

static void set_base(struct content *c, const struct be_attr *a)
{
	c->base = *a;
	c->remote_len = c->size = a->size;
	c->size_known = a->size != 0 || !S_ISREG(a->mode);
}

void content_seen(struct content *c, const struct be_attr *a)
{
	bool same = c->base.valid && c->base.size == a->size && c->base.mtime == a->mtime;

	if (c->dirty || c->up.phase != UPLOAD_IDLE) {
		/* Ours wins; but whose it is and what may be done with it is the server's word. */
		c->base.mode = a->mode;
		c->base.uid = a->uid;
		c->base.gid = a->gid;
		if (a->valid & BE_ATTR_NLINK)
			c->base.nlink = a->nlink;
		c->base.valid |= a->valid & (BE_ATTR_MODE | BE_ATTR_OWNER | BE_ATTR_NLINK);
	} else if (same) {
		c->base = *a;
	} else {
		if (c->base.valid)
			forget_bytes(c);
		set_base(c, a);
	}
}

void content_attr(const struct content *c, struct be_attr *out)
{
	*out = c->base;
	out->size = c->size;
	if (c->times_set) {
		out->atime = c->atime;
		out->mtime = c->mtime;
	}
	if (c->unlinked) {
		out->valid |= BE_ATTR_NLINK;
		out->nlink = 0;
	}
}

void content_distrust(struct content *c)
{
	scp_ranges_finish(&c->have);
	for (size_t i = 0; i < c->own.count; i++)
		if (scp_ranges_add(&c->have, c->own.at[i].from, c->own.at[i].to) != 0)
			c->unlinked = true; /* out of memory: better nothing than a mixture */
}

static void looked(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct content *c = arg;

	c->looking = false;
	if (st->code == BE_OK && a)
		content_seen(c, a);
	else if (st->code != BE_LOST)
		content_fail_readers(c, st->code == BE_OK ? BE_FAILURE : st->code, st->err, "");
	content_touch(c);
	content_unref(c);
}

void content_look(struct content *c)
{
	struct backend *in = c->sb->inner;

	if (c->looking || !c->inner || c->unlinked)
		return;
	content_ref(c);
	c->looking = true;
	if (in->ops->fstat(in, c->inner, looked, c) < 0) {
		c->looking = false;
		content_unref(c);
	}
}

void content_fail_readers(struct content *c, enum be_code code, int err, const char *text)
{
	content_ref(c);
	readers_fail(c, code, err, text);
	fillers_answer(c);
	/* A flush that needs the rest of the old file cannot go on. */
	if (c->dirty && c->up.phase == UPLOAD_IDLE) {
		if (!list_empty(&c->flushers))
			c->failed_count = c->change_count;
		flushers_answer(c, UINT64_MAX, code, err, text);
		if (c->flush_wanted)
			c->unlinked = true; /* nobody is left to be told, or to try again */
	}
	content_unref(c);
}

void content_fail_all(struct content *c, enum be_code code, int err, const char *text)
{
	readers_fail(c, code, err, text);
	flushers_answer(c, UINT64_MAX, code, err, text);
	attr_ops_answer(c);
	fillers_answer(c);
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* What was read and lies far behind the reader goes. */
static void trim(struct content *c)
{
	uint64_t to = c->read_end > SPOOL_BEHIND_LEN ? c->read_end - SPOOL_BEHIND_LEN : 0;

	if (c->dirty || to < c->trimmed + SPOOL_TRIM_LEN)
		return;
	if (scp_ranges_remove(&c->have, 0, to) == 0)
		scp_spool_drop(&c->spool, c->trimmed, to);
	c->trimmed = to;
}

int content_arrived(struct content *c, uint64_t off, const uint8_t *bytes, size_t len)
{
	uint64_t end = off + len;

	c->sb->read_len += len;
	/* Only what is missing: what was written since is newer. */
	while (off < end) {
		uint64_t gap = scp_ranges_gap(&c->have, off), next, stop;
		int err;

		if (gap >= end)
			break;
		next = scp_ranges_next(&c->have, gap);
		stop = next < end ? next : end;
		err = scp_spool_write(&c->spool, gap, bytes + (gap - (end - len)),
		                      (size_t)(stop - gap));
		if (err == 0)
			err = scp_ranges_add(&c->have, gap, stop);
		if (err)
			return err;
		off = stop;
	}
	trim(c);
	return 0;
}

static void become_dirty(struct content *c, bool append)
{
	if (!c->dirty) {
		c->dirty = true;
		c->append_only = append;
		c->append_from = c->size;
	} else if (!append) {
		c->append_only = false;
	}
	c->times_set = false;
	c->change_count++;
}

int content_write(struct content *c, uint64_t off, const void *bytes, size_t len, bool append)
{
	uint64_t end = off + len;
	int err = scp_spool_write(&c->spool, off, bytes, len);

	if (err)
		return err;
	become_dirty(c, append);
	/* What lies between the old end and this is a hole. */
	err = scp_ranges_add(&c->have, off > c->size ? c->size : off, end);
	if (err == 0)
		err = scp_ranges_add(&c->own, off > c->size ? c->size : off, end);
	if (err)
		return err;
	c->size = end > c->size ? end : c->size;
	c->size_known = true;
	return 0;
}

int content_truncate(struct content *c, uint64_t size)
{
	int err;

	if (size < c->size) {
		err = scp_ranges_remove(&c->have, size, UINT64_MAX);
		if (err == 0)
			err = scp_ranges_remove(&c->own, size, UINT64_MAX);
		scp_spool_drop(&c->spool, size, UINT64_MAX);
	} else {
		err = scp_ranges_add(&c->have, c->size, size);
		if (err == 0)
			err = scp_ranges_add(&c->own, c->size, size);
	}
	if (err)
		return err;
	become_dirty(c, false);
	c->size = size;
	c->size_known = true;
	c->remote_len = c->remote_len < size ? c->remote_len : size;
	return 0;
}

/* --- looking at the whole -------------------------------------------------------------------- */

static bool filled(const struct content *c)
{
	return scp_ranges_gap(&c->have, 0) >= c->remote_len;
}

void content_uploaded(struct content *c, enum be_code code, int err, const char *text)
{
	uint64_t change_count = c->up.change_count;

	if (code == BE_OK && c->change_count == change_count) {
		c->dirty = false;
		scp_ranges_finish(&c->own);
	} else if (code != BE_OK && !list_empty(&c->flushers)) {
		c->failed_count = change_count;
	}
	if (code != BE_OK)
		log_error(LOG_SFTP, "a file could not be written: %s",
		          text[0] ? text : strerror(err));
	if (list_empty(&c->flushers) && code != BE_OK)
		c->flush_wanted = false; /* nobody is left to try again */
	flushers_answer(c, change_count, code, err, text);
	content_touch(c);
}

static void finish_closed(struct content *c)
{
	if (!c->flush_wanted || c->up.phase != UPLOAD_IDLE || (c->dirty && !c->unlinked))
		return;
	c->flush_wanted = false;
	content_unref(c);
}

void content_pump(struct content *c)
{
	char path[PATH_MAX];
	bool flush;

	content_ref(c);
	readers_answer(c);
	flush = c->flush_wanted || !list_empty(&c->flushers);
	if (flush && c->dirty && c->up.phase == UPLOAD_IDLE) {
		if (content_path(c, path) != 0) {
			/* Nobody will ever find it: as good as written. */
			c->unlinked = true;
			flushers_answer(c, UINT64_MAX, BE_OK, 0, "");
		} else if (c->append_only || filled(c)) {
			upload_start(c);
		}
	} else if (flush && !c->dirty) {
		flushers_answer(c, UINT64_MAX, BE_OK, 0, "");
	}
	downloads_pump(c);
	fillers_answer(c);
	attr_ops_answer(c);
	finish_closed(c);
	content_unref(c);
}
