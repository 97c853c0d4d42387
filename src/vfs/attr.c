/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes and lifetimes. Contract: include/vfs/attr.h. */
#include "vfs/attr.h"

#include <string.h>

#include "vfs/idmap.h"

/* Lifetimes grow with age as in NFS: a tenth of the time since the last change, within these. */
#define FILE_LIFE_MIN_MS 3000
#define FILE_LIFE_MAX_MS 60000
#define DIR_LIFE_MIN_MS  3000
#define DIR_LIFE_MAX_MS  20000
#define LIFE_AGE_PART    10

/* What a server that leaves a field out is taken to mean. */
#define DEFAULT_FILE_MODE (S_IFREG | 0644)

int64_t attr_server_now(const struct vfs *v)
{
	return v->clock->wall_ms / 1000 + v->server_skew_s;
}

void attr_learn_clock(struct vfs *v, uint32_t mtime)
{
	int64_t skew = (int64_t)mtime - v->clock->wall_ms / 1000;

	/* A second either way is the rounding of whole seconds and the way of the reply. */
	if (skew > v->server_skew_s + 1 || skew < v->server_skew_s - 1)
		v->server_skew_s = skew;
}

bool attr_is_dir(const struct be_attr *a)
{
	return S_ISDIR(a->mode);
}

bool attr_is_reg(const struct be_attr *a)
{
	return S_ISREG(a->mode);
}

bool attr_is_link(const struct be_attr *a)
{
	return S_ISLNK(a->mode);
}

void attr_expire(struct node *n)
{
	n->attr_expires_ms = 0;
}

static uint32_t to_host(const struct vfs *v, enum idmap_side side, int64_t fixed, uint32_t id)
{
	uint32_t local;

	if (fixed >= 0)
		return (uint32_t)fixed;
	if (!v->cfg.idmap)
		return id;
	idmap_to_local(v->cfg.idmap, side, id, &local);
	return local;
}

int attr_uid_to_server(const struct vfs *v, uint32_t uid, uint32_t *remote)
{
	*remote = uid;
	return v->cfg.idmap ? idmap_to_server(v->cfg.idmap, IDMAP_USERS, uid, remote) : 0;
}

int attr_gid_to_server(const struct vfs *v, uint32_t gid, uint32_t *remote)
{
	*remote = gid;
	return v->cfg.idmap ? idmap_to_server(v->cfg.idmap, IDMAP_GROUPS, gid, remote) : 0;
}

void attr_to_stat(const struct vfs *v, const struct be_attr *a, uint64_t ino, uint32_t nlink,
                  struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = a->valid & BE_ATTR_MODE ? a->mode : DEFAULT_FILE_MODE;
	st->st_mode &= ~(S_ISDIR(st->st_mode) ? v->cfg.dir_mask : v->cfg.file_mask);
	st->st_nlink = nlink ? nlink : 1;
	st->st_uid = to_host(v, IDMAP_USERS, v->cfg.uid, a->uid);
	st->st_gid = to_host(v, IDMAP_GROUPS, v->cfg.gid, a->gid);
	st->st_size = (off_t)a->size;
	st->st_blksize = 4096;
	st->st_blocks = (blkcnt_t)((a->size + 511) / 512);
	st->st_atim.tv_sec = a->atime;
	st->st_mtim.tv_sec = a->mtime;
	st->st_ctim.tv_sec = a->mtime;
}

void attr_node_stat(const struct vfs *v, const struct node *n, struct stat *st)
{
	struct be_attr a = n->attr;

	/* A root that becomes anything else is an error to the kernel on every path, for as long as it is mounted. */
	if (n == v->root && !(a.valid & BE_ATTR_MODE)) {
		a.valid |= BE_ATTR_MODE;
		a.mode = S_IFDIR | 0755;
	}
	/* v3 cannot tell how many directories a directory holds: 1 stops find's leaf shortcut. */
	attr_to_stat(v, &a, n->ino, attr_is_dir(&a) ? 1 : n->nlink, st);
	if (n != v->root && list_empty(&n->names))
		st->st_nlink = 0; /* open, and without a name any more */
}

void attr_shown(struct node *n)
{
	n->shown_size = n->attr.size;
	if (n->dirty)
		n->mtime_shown = true;
}

int64_t attr_lifetime(const struct vfs *v, const struct be_attr *a)
{
	bool dir = attr_is_dir(a);
	int64_t fixed = dir               ? v->cfg.dir_timeout_ms
	                : attr_is_link(a) ? v->cfg.link_timeout_ms
	                                  : v->cfg.file_timeout_ms;
	int64_t min = dir ? DIR_LIFE_MIN_MS : FILE_LIFE_MIN_MS;
	int64_t max = dir ? DIR_LIFE_MAX_MS : FILE_LIFE_MAX_MS;
	int64_t life;

	if (!v->cfg.dir_cache)
		return 0;
	if (fixed >= 0)
		return fixed;
	life = (attr_server_now(v) - (int64_t)a->mtime) * 1000 / LIFE_AGE_PART;
	return life < min ? min : life > max ? max : life;
}

int64_t attr_expiry(const struct vfs *v, const struct be_attr *a, int64_t asked_ms)
{
	return asked_ms + attr_lifetime(v, a);
}

int64_t attr_negative_lifetime(const struct vfs *v, const struct node *dir)
{
	struct be_attr a = {.mode = S_IFDIR, .mtime = dir->attr.mtime};

	if (!v->cfg.dir_cache)
		return 0;
	if (v->cfg.negative_timeout_ms >= 0)
		return v->cfg.negative_timeout_ms;
	if (!dir->attr_expires_ms) /* we have changed it since: it is young */
		a.mtime = (uint32_t)attr_server_now(v);
	return attr_lifetime(v, &a);
}

static int64_t time_left(const struct vfs *v, int64_t expires_ms)
{
	return expires_ms > v->clock->now_ms ? expires_ms - v->clock->now_ms : 0;
}

int64_t attr_kernel_attr_timeout(const struct vfs *v, const struct node *n)
{
	if (v->cfg.attr_timeout_ms >= 0)
		return v->cfg.attr_timeout_ms;
	return time_left(v, n->attr_expires_ms);
}

int64_t attr_kernel_entry_timeout(const struct vfs *v, int64_t expires_ms)
{
	if (v->cfg.entry_timeout_ms >= 0)
		return v->cfg.entry_timeout_ms;
	return time_left(v, expires_ms);
}

bool attr_same_file(const struct be_attr *a, const struct be_attr *b)
{
	return a->size == b->size && a->mtime == b->mtime && a->mode == b->mode &&
	       a->uid == b->uid && a->gid == b->gid;
}

bool attr_is_old(const struct vfs *v, const struct be_attr *a, int64_t asked_ms)
{
	/* The clock now less the time it took: what it was when the question left. */
	return attr_server_now(v) - (v->clock->now_ms - asked_ms + 999) / 1000 >
	       (int64_t)a->mtime + 1;
}

bool attr_update(struct vfs *v, struct node *n, const struct be_attr *a, uint64_t change_count,
                 int64_t asked_ms)
{
	uint32_t nlink = n->nlink;
	bool ours = n->dirty || n->change_count != change_count;
	bool assumed = a->valid & BE_ATTR_ASSUMED;
	struct be_attr old = n->attr;
	bool changed;

	if (n->change_count != change_count && n->attr.valid)
		return false; /* overtaken: what we know is newer */
	changed = !ours && n->attr.valid && (old.size != a->size || old.mtime != a->mtime);
	n->attr = *a;
	if (a->valid & BE_ATTR_NLINK)
		nlink = a->nlink;
	n->nlink = nlink;
	if (n->dirty) {
		n->attr.size = old.size;
		n->attr.mtime = old.mtime;
	}
	if (n->times_set)
		n->attr.atime = old.atime;
	n->attr_expires_ms = attr_expiry(v, a, asked_ms);
	n->told_ms = n->dirty || assumed ? 0 : asked_ms;
	if (assumed && n->changed_ms < asked_ms)
		n->changed_ms = asked_ms;
	if (changed && attr_is_link(a)) {
		/* lookup.c makes a changed link a new node; the target is never mixed */
		n->attr_expires_ms = 0;
	}
	return changed;
}
