/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local check: may a change be acknowledged before the server has seen it? Only if all it depends
 * on is known here, so that it fails later only for reasons that nobody could foresee.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "async_parts.h"
#include "vfs/attr.h"
#include "vfs/listing.h"

/* The free space must be this fresh, and cover twice what is unsent and this much more. */
#define SPACE_LIFE_MS    5000
#define SPACE_REFRESH_MS 2500
#define SPACE_MARGIN_LEN (64ULL * 1024 * 1024)

#define NAME_LEN_MAX 255

static const char *name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

struct node *async_node(struct vfs *v, const char *path)
{
	size_t root_len = strcmp(v->root_path, "/") == 0 ? 0 : strlen(v->root_path);
	char *copy, *rest, *part, *save = NULL;
	struct node *n = v->root;

	if (strncmp(path, v->root_path, root_len) != 0 || (path[root_len] && path[root_len] != '/'))
		return NULL;
	copy = strdup(path + root_len);
	if (!copy)
		return NULL;
	for (rest = copy; n && (part = strtok_r(rest, "/", &save)) != NULL; rest = NULL) {
		struct name *d = name_find(v, n, part);

		n = d ? d->node : NULL;
	}
	free(copy);
	return n;
}

static struct node *dir_node(struct vfs *v, const char *path)
{
	size_t len = (size_t)(strrchr(path, '/') - path);
	char *parent = strndup(path, len ? len : 1);
	struct node *n = parent ? async_node(v, parent) : NULL;

	free(parent);
	return n;
}

/* What the caches of vfs say. A directory that we changed has unknown times, and is there. */
static void see_cached(struct vfs *v, const char *name, struct seen *s)
{
	struct name *d = name_find(v, s->dir, name);
	int64_t now_ms = v->clock->now_ms, asked_ms, expires_ms;

	s->node = d ? d->node : NULL;
	if (d && d->expires_ms > now_ms) {
		bool known = d->node && d->node->attr.valid &&
		             (d->node->attr_expires_ms > now_ms || d->node->dirty ||
		              attr_is_dir(&d->node->attr));

		if (!d->node)
			s->what = SEEN_ABSENT;
		if (known) {
			s->what = SEEN_PRESENT;
			s->attr = d->node->attr;
		}
		if (known && !d->node->dirty && d->node->attr_expires_ms <= now_ms)
			s->attr.mtime = (uint32_t)attr_server_now(v);
		if (!d->node || known)
			return;
	}
	switch (listing_lookup(v, s->dir, name, 0, &s->attr, &asked_ms, &expires_ms)) {
	case 0:
		s->what = SEEN_ABSENT;
		break;
	case 1:
		s->what = SEEN_PRESENT;
		if (s->node && entry_knows_better(s->node, asked_ms))
			s->attr = s->node->attr;
		break;
	default:
		break;
	}
}

void async_node_attr(const struct node *n, struct be_attr *attr)
{
	if (n->attr.valid && attr_is_reg(&n->attr) && attr_is_reg(attr))
		*attr = n->attr;
}

struct seen async_see(struct async *a, const char *path)
{
	struct seen s = {.what = SEEN_UNKNOWN};

	if (strcmp(path, a->v->root_path) == 0)
		return s;
	s.dir = dir_node(a->v, path);
	switch (pending_state(&a->pending, path, &s.attr)) {
	case PNAME_MADE:
	case PNAME_CHANGED:
		s.what = SEEN_PRESENT;
		break;
	case PNAME_ABSENT:
		s.what = SEEN_ABSENT;
		break;
	case PNAME_UNSURE:
		break;
	case PNAME_AS_IS:
		if (s.dir)
			see_cached(a->v, name_of(path), &s);
		return s;
	}
	if (s.dir) {
		struct name *d = name_find(a->v, s.dir, name_of(path));

		s.node = d ? d->node : NULL;
	}
	if (s.what == SEEN_PRESENT && s.node)
		async_node_attr(s.node, &s.attr);
	return s;
}

/* Of one of its names. */
static bool is_settled(const struct pending *p, const char *path)
{
	const struct pname *n = pending_find(p, path);
	struct be_attr attr;

	return !(n && (n->err || !list_empty(&n->changes))) &&
	       pending_state(p, path, &attr) == PNAME_AS_IS;
}

bool async_is_settled(struct async *a, const struct node *n)
{
	if (!a->pending.count && !a->pending.failed_count)
		return true;
	if (pending_file(&a->pending, n->nodeid))
		return false;
	list_for_each(e, &n->names) {
		const struct name *d = list_entry(e, const struct name, in_node);
		int err;
		char *path = node_path(a->v, d->parent, d->bytes, &err);
		bool settled = path && is_settled(&a->pending, path);

		free(path);
		if (!settled)
			return false;
	}
	return true;
}

static void got_space(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct async *a = arg;

	a->space_asked = false;
	if (st->code != BE_OK)
		return;
	a->space = *sv;
	a->space_ms = a->v->clock->now_ms;
}

static void ask_space(struct async *a)
{
	if (a->space_asked)
		return;
	if (a->ops->statvfs(a->below, a->v->root_path, got_space, a) == 0)
		a->space_asked = true;
}

static bool space_is_enough(const struct async *a, size_t len)
{
	uint64_t unit = a->space.frsize ? a->space.frsize : a->space.bsize;
	uint64_t free_len;

	if (a->space.readonly || (a->space.files && a->space.ffree <= 2 * a->pending.count))
		return false;
	if (__builtin_mul_overflow(a->space.bavail, unit, &free_len))
		return true;
	return free_len >= 2 * (a->unsent_len + len) + SPACE_MARGIN_LEN;
}

bool async_may_postpone(struct async *a, size_t len)
{
	int64_t age_ms = a->v->clock->now_ms - a->space_ms;

	if (!a->ops->info(a->below)->caps.statvfs || a->pending.stopped)
		return false;
	if (!a->space_ms || age_ms > SPACE_REFRESH_MS)
		ask_space(a);
	return a->own_known && a->space_ms && age_ms <= SPACE_LIFE_MS && space_is_enough(a, len);
}

/* By owner and mode; groups that the login has besides its own are not known here. */
static bool may_write_dir(const struct async *a, const struct be_attr *dir)
{
	uint32_t need = S_IWOTH | S_IXOTH;

	if (!(dir->valid & BE_ATTR_MODE) || !(dir->valid & BE_ATTR_OWNER) || !attr_is_dir(dir))
		return false;
	if (a->own_uid == 0)
		return true;
	if (dir->uid == a->own_uid)
		need = S_IWUSR | S_IXUSR;
	else if (dir->gid == a->own_gid)
		need = S_IWGRP | S_IXGRP;
	return (dir->mode & need) == need;
}

bool async_may_make(const struct async *a, const struct seen *s, const char *path)
{
	return s->what == SEEN_ABSENT && s->dir && strlen(name_of(path)) <= NAME_LEN_MAX &&
	       may_write_dir(a, &s->dir->attr);
}

bool async_may_remove(const struct async *a, const struct seen *s)
{
	const struct be_attr *dir;

	if (s->what != SEEN_PRESENT || !s->dir || !may_write_dir(a, &s->dir->attr))
		return false;
	dir = &s->dir->attr;
	return !(dir->mode & S_ISVTX) || a->own_uid == 0 || dir->uid == a->own_uid ||
	       s->attr.uid == a->own_uid;
}

bool async_may_change(const struct async *a, const struct be_attr *now, const struct be_attr *want)
{
	if (want->valid & BE_ATTR_SIZE)
		return false;
	if (a->own_uid == 0)
		return true;
	if ((want->valid & BE_ATTR_OWNER) && (want->uid != now->uid || want->gid != now->gid))
		return false;
	return now->uid == a->own_uid;
}

void async_merge(struct be_attr *now, const struct be_attr *want)
{
	if (want->valid & BE_ATTR_OWNER) {
		/* As the kernel of the server will: it clears these for a new owner. */
		if (attr_is_reg(now) && (now->uid != want->uid || now->gid != want->gid))
			now->mode &= ~06000u;
		now->uid = want->uid;
		now->gid = want->gid;
	}
	if (want->valid & BE_ATTR_MODE)
		now->mode = (now->mode & S_IFMT) | (want->mode & 07777);
	if (want->valid & BE_ATTR_TIMES) {
		now->atime = want->atime;
		now->mtime = want->mtime;
	}
}

struct be_attr async_made_attr(const struct async *a, const struct node *dir, uint32_t mode,
                               uint64_t size)
{
	bool inherits = dir->attr.mode & S_ISGID;
	uint32_t now = (uint32_t)attr_server_now(a->v);
	struct be_attr attr = {
	    .valid = BE_ATTR_SIZE | BE_ATTR_OWNER | BE_ATTR_MODE | BE_ATTR_TIMES,
	    .mode = S_ISLNK(mode) ? mode : mode & ~a->stripped_mode,
	    .size = size,
	    .uid = a->own_uid,
	    .gid = inherits ? dir->attr.gid : a->own_gid,
	    .atime = now,
	    .mtime = now,
	};

	if (inherits && S_ISDIR(mode))
		attr.mode |= S_ISGID;
	return attr;
}

void async_touch_parent(const struct async *a, struct pname *n)
{
	struct pname *up = n ? n->up : NULL;

	if (up && (up->state == PNAME_MADE || up->state == PNAME_CHANGED))
		up->attr.mtime = (uint32_t)attr_server_now(a->v);
}

void async_learn(struct async *a, const struct node *dir, uint32_t mode, const struct be_attr *attr)
{
	const uint32_t need = BE_ATTR_OWNER | BE_ATTR_MODE;

	if ((attr->valid & need) != need || !dir || (dir->attr.mode & S_ISGID))
		return;
	a->own_known = true;
	a->own_uid = attr->uid;
	a->own_gid = attr->gid;
	if (!S_ISLNK(attr->mode))
		a->stripped_mode |= mode & 0777 & ~attr->mode;
	attr_learn_clock(a->v, attr->mtime);
}

void async_correct(struct async *a, const struct change *c, const char *path,
                   const struct be_attr *attr)
{
	struct node *n;

	/* Only the last word on any of its names counts, and only for a file that is not being written. */
	if (!attr || c->err || pname_last(c->at.name))
		return;
	n = async_node(a->v, path);
	if (!n || !async_is_settled(a, n) || n->dirty || !list_empty(&n->files) ||
	    attr_is_dir(attr) || attr_same_file(&n->attr, attr))
		return;
	n->change_count++;
	if (n->attr.size != attr->size || n->attr.mtime != attr->mtime)
		n->pages.known = false;
	attr_update(a->v, n, attr, n->change_count, a->v->clock->now_ms);
	listing_show(a->v, n, attr);
}
