/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCP backend as the vfs sees it: what concerns contents is done here, all else is the inner
 * backend's. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "content.h"

#define READ_LEN_MAX  ((size_t)256 << 10)
#define WRITE_LEN_MAX ((size_t)1 << 20)
#define STREAM_LEN    ((size_t)8 << 20) /* what a reader asks for ahead; the transfer runs anyway */

/* --- answers from the loop -------------------------------------------------------------------- */

struct answer {
	struct list entry;
	be_status_fn *done;
	void *arg;
	struct be_status st;
};

int answer_status_later(struct scp_backend *sb, be_status_fn *done, void *arg, enum be_code code,
                        int err)
{
	struct answer *a = malloc(sizeof(*a));

	if (!a)
		return -ENOMEM;
	*a = (struct answer){.done = done, .arg = arg, .st = {code, err, ""}};
	list_push_back(&sb->answers, &a->entry);
	timer_set(sb->clock, &sb->timer, sb->clock->now_ms);
	return 0;
}

static void run_answers(struct scp_backend *sb)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &sb->answers);
	while (!list_empty(&now)) {
		struct answer *a = list_entry(now.next, struct answer, entry);

		list_del(&a->entry);
		a->done(a->arg, &a->st);
		free(a);
	}
}

static void run(void *arg)
{
	struct scp_backend *sb = arg;
	struct list now;

	run_answers(sb);
	list_init(&now);
	list_splice(&now, &sb->touched);
	while (!list_empty(&now)) {
		struct content *c = list_entry(now.next, struct content, in_touched);

		list_del(&c->in_touched);
		content_pump(c);
	}
}

/* --- open files ------------------------------------------------------------------------------- */

struct open_op {
	struct scp_backend *sb;
	struct be_file *file;
	uint64_t node;
	uint32_t flags;
	be_open_fn *done;
	void *arg;
	char path[];
};

static uint32_t inner_flags(uint32_t flags)
{
	return flags & (uint32_t)(BE_READ | BE_WRITE | BE_CREAT | BE_EXCL);
}

/* The inner file becomes the content's, unless it has a better one. */
static void adopt(struct content *c, struct be_file *inner, uint32_t flags, const struct be_attr *a)
{
	struct backend *in = c->sb->inner;
	bool same = a && c->base.size == a->size && c->base.mtime == a->mtime;
	bool more = (flags & BE_WRITE) && !(c->inner_flags & BE_WRITE);
	struct be_file *old = c->inner;

	if (!old || (same && more && !c->dirty && c->up.phase == UPLOAD_IDLE)) {
		c->inner = inner;
		c->inner_flags = flags & (uint32_t)(BE_READ | BE_WRITE);
	} else {
		old = inner;
	}
	if (old)
		in->ops->close(in, old);
}

static void opened(void *arg, const struct be_status *st, struct be_file *inner,
                   const struct be_attr *a)
{
	struct open_op *op = arg;
	struct scp_backend *sb = op->sb;
	struct be_file *f = op->file;
	struct content *c = st->code == BE_OK ? content_by_id(sb, op->node) : NULL;
	struct be_attr attr = {0};

	if (st->code != BE_OK) {
		op->done(op->arg, st, NULL, NULL);
		free(f);
		free(op);
		return;
	}
	if (c) {
		content_ref(c);
	} else {
		c = content_create(sb);
		if (c && a)
			content_seen(c, a);
	}
	if (!c) {
		const struct be_status oom = {.code = BE_ERRNO, .err = ENOMEM, .text = ""};

		sb->inner->ops->close(sb->inner, inner);
		op->done(op->arg, &oom, NULL, NULL);
		free(f);
		free(op);
		return;
	}
	c->fresh = c->fresh || (op->flags & BE_EXCL);
	content_set_id(c, op->node);
	adopt(c, inner, op->flags, a);
	f->c = c;
	list_push_back(&c->files, &f->entry);
	free(c->path);
	c->path = strdup(op->path);
	if (op->flags & BE_TRUNC)
		content_truncate(c, 0);
	/* Of a file that is written to, what was written; else the server's word: vfs compares. */
	if (c->dirty || c->up.phase != UPLOAD_IDLE || !a)
		content_attr(c, &attr);
	else
		attr = *a;
	op->done(op->arg, st, f, &attr);
	free(op);
}

static int scp_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode,
                    uint64_t node, size_t ahead_len, be_where_fn *where, void *owner,
                    be_open_fn *done, void *arg)
{
	struct scp_backend *sb = scp_of(b);
	size_t size = strlen(path) + 1;
	struct open_op *op = calloc(1, sizeof(*op) + size);
	struct be_file *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (!op || !f)
		goto fail;
	*op = (struct open_op){sb, f, node, flags, done, arg};
	memcpy(op->path, path, size);
	list_init(&f->entry);
	f->flags = flags;
	f->where = where;
	f->owner = owner;
	err = sb->inner->ops->open(sb->inner, path, inner_flags(flags), mode, 0, 0, NULL, NULL,
	                           opened, op);
	if (err == 0)
		return 0;
fail:
	free(f);
	free(op);
	return err;
}

static void scp_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner)
{
	struct content *c = f->c, *other = content_by_id(c->sb, node);

	f->owner = owner;
	if (!other || other == c) {
		content_set_id(c, node);
		return;
	}
	/* The file was open already: its descriptors share one content. */
	if (!c->dirty && c->refs == 1) {
		list_del(&f->entry);
		f->c = other;
		content_ref(other);
		list_push_back(&other->files, &f->entry);
		content_unref(c);
	}
}

static void scp_close(struct backend *b, struct be_file *f)
{
	struct content *c = f->c;
	char path[PATH_MAX];

	if (content_path(c, path) == 0) {
		free(c->path);
		c->path = strdup(path);
	} else {
		c->unlinked = true;
	}
	list_del(&f->entry);
	free(f);
	/* What could not be delivered, and was reported, ends with its last descriptor. */
	if (list_empty(&c->files) && c->dirty && !c->unlinked && !c->flush_wanted && !c->sb->over &&
	    c->change_count != c->failed_count) {
		c->flush_wanted = true;
		content_ref(c);
		content_touch(c);
	}
	content_unref(c);
}

/* --- names ------------------------------------------------------------------------------------ */

static int scp_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->stat(in, path, follow, done, arg);
}

static int scp_setattr(struct backend *b, const char *path, enum be_target target,
                       const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;
	struct content *c = target == BE_THE_LINK ? NULL : content_at(scp_of(b), path);

	if (c)
		return content_setattr(c, want, done, arg);
	return in->ops->setattr(in, path, target, want, done, arg);
}

static int scp_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->readlink(in, path, done, arg);
}

static int scp_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                       void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->symlink(in, target, path, done, arg);
}

static int scp_link(struct backend *b, const char *from, const char *to, be_attr_fn *done,
                    void *arg)
{
	struct scp_backend *sb = scp_of(b);
	struct content *c = content_at(sb, from);

	/* Renaming a new version into place would part the two names. */
	if (c) {
		c->base.nlink++;
		c->fresh = false;
	}
	return sb->inner->ops->link(sb->inner, from, to, done, arg);
}

static int scp_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done,
                     void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->mkdir(in, path, mode, done, arg);
}

static int scp_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->rmdir(in, path, done, arg);
}

static int scp_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->statvfs(in, path, done, arg);
}

static int scp_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                        be_id_names_fn *done, void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->id_names(in, users, groups, done, arg);
}

static int scp_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
                    void *arg, struct be_list **out)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->list(in, path, entries, done, arg, out);
}

static void scp_list_cancel(struct backend *b, struct be_list *l)
{
	struct backend *in = scp_of(b)->inner;

	in->ops->list_cancel(in, l);
}

static void scp_list_pause(struct backend *b, struct be_list *l, bool paused)
{
	struct backend *in = scp_of(b)->inner;

	in->ops->list_pause(in, l, paused);
}

static int scp_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done,
                     void *arg)
{
	struct backend *in = scp_of(b)->inner;

	return in->ops->fetch(in, path, len_max, done, arg);
}

static int scp_hash(struct backend *b, const char *path, be_hash_fn *done, void *arg)
{
	return scp_hasher_run(&scp_of(b)->hasher, path, done, arg);
}

/* Received is all that can be promised: see be_caps.fsync. */
static int scp_fsync(struct backend *b, struct be_file *f, be_status_fn *done, void *arg)
{
	return -EOPNOTSUPP;
}

static int scp_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
                    uint64_t to_off, uint64_t len, be_status_fn *done, void *arg)
{
	return -EOPNOTSUPP;
}

/* --- the whole --------------------------------------------------------------------------------- */

static const struct be_info *scp_info(struct backend *b)
{
	struct scp_backend *sb = scp_of(b);
	struct be_info *info = &sb->info;

	*info = *sb->inner->ops->info(sb->inner);
	info->caps.copy = false;
	info->caps.fsync = false;
	info->read_len_max = READ_LEN_MAX;
	info->write_len_max = WRITE_LEN_MAX;
	info->read_unit_len = READ_LEN_MAX;
	info->write_unit_len = WRITE_LEN_MAX;
	info->stream_len = info->write_stream_len = STREAM_LEN;
	info->open_max = 0;
	info->silent_since_ms = scp_channels_silent_since(&sb->channels, info->silent_since_ms);
	return info;
}

static void fail_all(struct scp_backend *sb)
{
	list_for_each_safe(e, tmp, &sb->contents) {
		struct content *c = list_entry(e, struct content, entry);

		content_ref(c);
		content_fail_all(c, BE_LOST, 0, "");
		content_unref(c);
	}
	scp_hasher_fail_all(&sb->hasher);
	run_answers(sb);
}

static void scp_quiesce(struct backend *b)
{
	struct scp_backend *sb = scp_of(b);

	sb->inner->ops->quiesce(sb->inner);
	fail_all(sb);
}

static const struct be_ops scp_ops = {
    .info = scp_info,
    .stat = scp_stat,
    .setattr = scp_setattr,
    .readlink = scp_readlink,
    .symlink = scp_symlink,
    .link = scp_link,
    .mkdir = scp_mkdir,
    .rmdir = scp_rmdir,
    .remove = scp_remove,
    .rename = scp_rename,
    .statvfs = scp_statvfs,
    .id_names = scp_id_names,
    .list = scp_list,
    .list_cancel = scp_list_cancel,
    .list_pause = scp_list_pause,
    .open = scp_open,
    .file_node = scp_file_node,
    .fstat = scp_fstat,
    .fsetattr = scp_fsetattr,
    .read = scp_read,
    .write = scp_write,
    .flush = scp_flush,
    .fsync = scp_fsync,
    .copy = scp_copy,
    .fetch = scp_fetch,
    .hash = scp_hash,
    .close = scp_close,
    .quiesce = scp_quiesce,
};

struct scp_backend *scp_backend_create(struct link *side, bool up, struct backend *inner,
                                       struct clock *clock, int spool_dir_fd)
{
	struct scp_backend *sb = calloc(1, sizeof(*sb));

	if (!sb || hash_init(&sb->contents_by_id) != 0) {
		free(sb);
		close(spool_dir_fd);
		return NULL;
	}
	sb->base.ops = &scp_ops;
	sb->inner = inner;
	sb->clock = clock;
	sb->spool_dir_fd = spool_dir_fd;
	sb->tag = (uint64_t)clock->wall_ms;
	list_init(&sb->contents);
	list_init(&sb->touched);
	list_init(&sb->answers);
	timer_init(&sb->timer, run, sb);
	scp_channels_init(&sb->channels, side, clock, up, SCP_CHANNELS_MAX);
	scp_hasher_init(&sb->hasher, &sb->channels);
	return sb;
}

struct backend *scp_backend(struct scp_backend *sb)
{
	return &sb->base;
}

void scp_backend_stats(const struct scp_backend *sb, struct fxp_stats *out)
{
	out->read_len += sb->read_len;
	out->written_len += sb->written_len;
	out->lane_count += sb->channels.count;
	out->round_trip_count += sb->channels.started_count;
}

void scp_backend_stop(struct scp_backend *sb)
{
	if (!sb)
		return;
	sb->over = true;
	list_for_each_safe(e, tmp, &sb->contents) {
		struct content *c = list_entry(e, struct content, entry);

		content_ref(c);
		downloads_cancel(c);
		scp_channel_cancel(&c->up.ch);
		content_fail_all(c, BE_LOST, 0, "");
		if (c->inner)
			sb->inner->ops->close(sb->inner, c->inner);
		c->inner = NULL;
		content_unref(c);
	}
	scp_hasher_fail_all(&sb->hasher);
	run_answers(sb);
	timer_cancel(&sb->timer);
	scp_channels_finish(&sb->channels);
}

void scp_backend_destroy(struct scp_backend *sb)
{
	if (!sb)
		return;
	timer_cancel(&sb->timer);
	while (!list_empty(&sb->contents)) {
		struct content *c = list_entry(sb->contents.next, struct content, entry);

		while (!list_empty(&c->files)) {
			struct be_file *f = list_entry(c->files.next, struct be_file, entry);

			list_del(&f->entry);
			free(f);
		}
		c->refs = 1;
		content_unref(c);
	}
	run_answers(sb);
	hash_finish(&sb->contents_by_id);
	close(sb->spool_dir_fd);
	free(sb);
}
