/* SPDX-License-Identifier: BSD-2-Clause */
/* errno recovery. Contract: include/vfs/errno.h. */
#include "vfs/errno.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* RENAME_NOREPLACE */
#include <stdlib.h>
#include <string.h>

#include "vfs/attr.h"

/* A failed write is ENOSPC when less than this is free beyond it: blocks and metadata round up. */
#define SPACE_MARGIN_LEN (1024 * 1024)

#define NAME_LEN_MAX 255 /* where the server does not say */

/* A second look in progress. */
struct look {
	struct vfs *v;
	struct errno_query q;
	char *path;
	char *path2;
	char *parent; /* of the path that names are made in */
	enum be_code code;
	unsigned pending;
	struct be_list *list;
	errno_done_fn *done;
	void *arg;

	bool exists, exists2, parent_exists, statvfs_known, fsid2_known;
	bool has_entries; /* rmdir: something is in the directory */
	struct be_attr attr, attr2, parent_attr;
	struct be_statvfs sv, sv2;
};

static bool makes_name(enum op_kind kind)
{
	return kind == OP_MKDIR || kind == OP_SYMLINK || kind == OP_LINK || kind == OP_CREATE ||
	       kind == OP_MKNOD;
}

static bool needs_space(enum op_kind kind)
{
	return makes_name(kind) || kind == OP_WRITE || kind == OP_FLUSH || kind == OP_FSYNC ||
	       kind == OP_SETATTR || kind == OP_COPY || kind == OP_RENAME;
}

static bool on_handle(enum op_kind kind)
{
	return kind == OP_READ || kind == OP_WRITE || kind == OP_FLUSH || kind == OP_FSYNC ||
	       kind == OP_COPY;
}

/* Some servers put strerror()'s words into the text where the code says nothing. */
static int errno_of_text(const char *text)
{
	static const struct {
		const char *words;
		int err;
	} table[] = {
	    {"no space left", ENOSPC},       {"quota", EDQUOT},
	    {"file too large", EFBIG},       {"read-only", EROFS},
	    {"too many open files", ENFILE}, {"not empty", ENOTEMPTY},
	    {"file exists", EEXIST},         {"cross-device", EXDEV},
	    {"is a directory", EISDIR},      {"not a directory", ENOTDIR},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcasestr(text, table[i].words))
			return table[i].err;
	return 0;
}

int errno_first(const struct errno_query *q, const struct be_status *st)
{
	int err;

	switch (st->code) {
	case BE_OK:
		return 0;
	case BE_ERRNO:
		return -st->err;
	case BE_STALE:
		return -ESTALE;
	case BE_LOST:
	case BE_CANCELLED:
	case BE_MALFORMED:
	case BE_EOF:
		return -EIO;
	case BE_UNSUPPORTED:
		return q->kind == OP_LINK || q->kind == OP_SYMLINK ? -EPERM : -EOPNOTSUPP;
	case BE_NO_SUCH_FILE:
		if (on_handle(q->kind))
			return -EBADF;
		return 1;
	case BE_PERMISSION_DENIED:
		if (q->kind == OP_SETATTR || q->kind == OP_LINK)
			return -EPERM;
		if (q->kind == OP_UNLINK || q->kind == OP_RMDIR || q->kind == OP_RENAME)
			return 1; /* a sticky directory says EPERM */
		return -EACCES;
	case BE_BAD_MESSAGE:
		return q->path && q->kind != OP_READLINK ? 1 : -EINVAL;
	case BE_FAILURE:
		err = errno_of_text(st->text);
		return err ? -err : 1;
	}
	return -EIO;
}

static const char *last_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : "";
}

static int decide_no_such_file(const struct look *l)
{
	if (l->parent_exists && !attr_is_dir(&l->parent_attr))
		return -ENOTDIR;
	if ((l->q.kind == OP_RMDIR || l->q.kind == OP_OPENDIR) && l->exists &&
	    !attr_is_dir(&l->attr))
		return -ENOTDIR;
	if (l->q.kind == OP_OPEN && l->exists && attr_is_link(&l->attr))
		return -ELOOP;
	if (l->q.kind == OP_RENAME && l->exists && l->exists2 && attr_is_dir(&l->attr) &&
	    !attr_is_dir(&l->attr2))
		return -ENOTDIR;
	return -ENOENT;
}

/* Only what the server refuses to someone who is not the owner, in a directory with the bit. */
static int decide_permission(const struct look *l)
{
	return l->parent_exists && (l->parent_attr.mode & S_ISVTX) ? -EPERM : -EACCES;
}

static int decide_bad_message(const struct look *l)
{
	size_t max = l->statvfs_known && l->sv.namemax ? l->sv.namemax : NAME_LEN_MAX;

	if (strlen(last_name(l->path)) > max || strlen(last_name(l->path2)) > max)
		return -ENAMETOOLONG;
	return -EINVAL;
}

static bool no_space(const struct look *l)
{
	uint64_t unit = l->sv.frsize ? l->sv.frsize : l->sv.bsize;
	uint64_t free_len;

	if (!needs_space(l->q.kind) || !l->statvfs_known || l->sv.blocks == 0)
		return false;
	if (__builtin_mul_overflow(l->sv.bavail, unit, &free_len))
		return false;
	if (l->sv.files != 0 && l->sv.ffree == 0 && makes_name(l->q.kind))
		return true;
	return free_len < l->q.len + SPACE_MARGIN_LEN;
}

static int decide_rename(const struct look *l)
{
	if (l->statvfs_known && l->fsid2_known && l->sv.fsid != l->sv2.fsid)
		return -EXDEV;
	if (!l->exists || !l->exists2)
		return 0;
	if (l->q.flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (attr_is_dir(&l->attr) && attr_is_dir(&l->attr2))
		return -ENOTEMPTY;
	if (attr_is_dir(&l->attr))
		return -ENOTDIR;
	return attr_is_dir(&l->attr2) ? -EISDIR : 0;
}

static int decide_failure(const struct vfs *v, const struct look *l)
{
	const struct be_info *info = v->ops->info(v->be);
	bool writes = (l->q.flags & O_ACCMODE) != O_RDONLY || (l->q.flags & O_TRUNC);
	int err;

	switch (l->q.kind) {
	case OP_LINK:
		if (l->exists2)
			return -EEXIST;
		if (l->statvfs_known && l->fsid2_known && l->sv.fsid != l->sv2.fsid)
			return -EXDEV;
		break;
	case OP_MKDIR:
	case OP_SYMLINK:
	case OP_MKNOD:
		if (l->exists)
			return -EEXIST;
		break;
	case OP_CREATE:
		if (l->exists && (l->q.flags & O_EXCL))
			return -EEXIST;
		/* fall through */
	case OP_OPEN:
		if (l->exists && attr_is_dir(&l->attr) && writes)
			return -EISDIR;
		if (info->open_max && v->files.count >= info->open_max)
			return -ENFILE;
		break;
	case OP_RMDIR:
		if (l->has_entries)
			return -ENOTEMPTY;
		break;
	case OP_UNLINK:
		if (l->exists && attr_is_dir(&l->attr))
			return -EISDIR;
		break;
	case OP_RENAME:
		err = decide_rename(l);
		if (err)
			return err;
		break;
	default:
		break;
	}
	if (l->statvfs_known && l->sv.readonly &&
	    (needs_space(l->q.kind) || l->q.kind == OP_UNLINK || l->q.kind == OP_RMDIR ||
	     (l->q.kind == OP_OPEN && writes)))
		return -EROFS;
	if (no_space(l))
		return -ENOSPC;
	return -EIO;
}

static void look_done(struct look *l)
{
	int err;

	if (--l->pending)
		return;
	switch (l->code) {
	case BE_NO_SUCH_FILE:
		err = decide_no_such_file(l);
		break;
	case BE_PERMISSION_DENIED:
		err = decide_permission(l);
		break;
	case BE_BAD_MESSAGE:
		err = decide_bad_message(l);
		break;
	default:
		err = decide_failure(l->v, l);
		break;
	}
	l->done(l->arg, err);
	free(l->path);
	free(l->path2);
	free(l->parent);
	free(l);
}

static void got_attr(struct look *l, const struct be_status *st, const struct be_attr *a,
                     bool *exists, struct be_attr *out)
{
	*exists = st->code == BE_OK && a;
	if (*exists)
		*out = *a;
	look_done(l);
}

static void got_path(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct look *l = arg;

	got_attr(l, st, a, &l->exists, &l->attr);
}

static void got_path2(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct look *l = arg;

	got_attr(l, st, a, &l->exists2, &l->attr2);
}

static void got_parent(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct look *l = arg;

	got_attr(l, st, a, &l->parent_exists, &l->parent_attr);
}

static void got_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct look *l = arg;

	l->statvfs_known = st->code == BE_OK;
	if (l->statvfs_known)
		l->sv = *sv;
	look_done(l);
}

static void got_statvfs2(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct look *l = arg;

	l->fsid2_known = st->code == BE_OK;
	if (l->fsid2_known)
		l->sv2 = *sv;
	look_done(l);
}

static void got_entries(void *arg, const struct be_entry *entries, size_t count)
{
	struct look *l = arg;

	l->has_entries = l->has_entries || count;
}

static void listed(void *arg, const struct be_status *st)
{
	look_done(arg);
}

static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
}

/* Sends every look that the kind of request can need, in one flight. */
static void look_start(struct vfs *v, struct look *l)
{
	struct backend *be = l->q.be ? l->q.be : v->be;
	char *parent2 = l->path2 ? parent_of(l->path2) : NULL;

	l->pending = 1; /* ours, dropped at the end: a look may fail to start */
	if (l->path && be->ops->stat(be, l->path, false, got_path, l) == 0)
		l->pending++;
	if (l->path2 && be->ops->stat(be, l->path2, false, got_path2, l) == 0)
		l->pending++;
	if (l->parent && be->ops->stat(be, l->parent, true, got_parent, l) == 0)
		l->pending++;
	if (l->q.kind == OP_RMDIR && l->code == BE_FAILURE && l->path &&
	    be->ops->list(be, l->path, got_entries, listed, l, &l->list) == 0)
		l->pending++;
	if (be->ops->info(be)->caps.statvfs) {
		const char *where = l->parent ? l->parent : v->root_path;

		if (be->ops->statvfs(be, where, got_statvfs, l) == 0)
			l->pending++;
		if (parent2 && be->ops->statvfs(be, parent2, got_statvfs2, l) == 0)
			l->pending++;
	}
	free(parent2);
	look_done(l);
}

void errno_resolve(struct vfs *v, const struct errno_query *q, const struct be_status *st,
                   errno_done_fn *done, void *arg)
{
	int err = errno_first(q, st);
	struct look *l;

	if (err <= 0) {
		done(arg, err);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		done(arg, -EIO);
		return;
	}
	l->v = v;
	l->q = *q;
	l->code = st->code;
	l->done = done;
	l->arg = arg;
	if (q->path) {
		l->path = strdup(q->path);
		l->parent = parent_of(q->path);
	}
	if (q->path2 && q->kind != OP_SYMLINK)
		l->path2 = strdup(q->path2);
	look_start(v, l);
}
