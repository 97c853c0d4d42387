/* SPDX-License-Identifier: BSD-2-Clause */
/* Owner and mode of what was just made. Contract: include/vfs/made.h. */
#include "vfs/made.h"

#include <fcntl.h>

#include "vfs/attr.h"

/* A file that an open found is not ours to change: one we made is empty and this young, at most. */
#define YOUNG_S 2

#define ADJUST_LOG_COUNT 3 /* failures logged in ten seconds */

/* The login is root and the caller is not: what he makes is to be his. */
static bool for_caller(const struct op *op, uint32_t *uid)
{
	return op->v->cfg.create_as_caller && attr_uid_to_server(op->v, op->uid, uid) == 0 &&
	       *uid != 0;
}

uint32_t made_mode(struct op *op, uint32_t mode)
{
	uint32_t uid;

	op->made_mode = mode & 07777;
	return for_caller(op, &uid) ? op->made_mode & 0700 : op->made_mode;
}

/* An O_CREAT without O_EXCL may have opened what somebody else made a moment ago. */
static bool is_ours(const struct op *op, const struct be_attr *a)
{
	int64_t age_s = attr_server_now(op->v) - (int64_t)a->mtime;

	if (op->kind != OP_CREATE || (op->flags & O_EXCL))
		return true;
	return a->size == 0 && age_s <= YOUNG_S && age_s >= -YOUNG_S &&
	       (a->mode & 0777 & ~op->made_mode) == 0;
}

static void want_owner(const struct op *op, const struct be_attr *a, struct be_attr *want)
{
	uint32_t uid, gid;

	if (!(a->valid & BE_ATTR_OWNER) || !for_caller(op, &uid))
		return;
	/* In a directory with the setgid bit the server has taken the group from there. */
	if ((op->node->attr.mode & S_ISGID) || attr_gid_to_server(op->v, op->gid, &gid) != 0)
		gid = a->gid;
	if (a->uid == uid && a->gid == gid)
		return;
	want->valid |= BE_ATTR_OWNER;
	want->uid = uid;
	want->gid = gid;
}

static void want_mode(const struct op *op, const struct be_attr *a, struct be_attr *want)
{
	uint32_t mode = op->made_mode, uid;

	if (!(a->valid & BE_ATTR_MODE) || attr_is_link(a))
		return;
	if (attr_is_dir(a))
		mode |= a->mode & S_ISGID; /* inherited from the parent */
	if ((a->mode & 07777) == mode && !((want->valid & BE_ATTR_OWNER) && (mode & 06000)))
		return;
	if (!for_caller(op, &uid) && (!op->v->cfg.create_mode_exact || op->v->modes_are_fixed))
		return;
	want->valid |= BE_ATTR_MODE;
	want->mode = mode;
}

static void adjusted(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;

	if (st->code != BE_OK && log_limit_ok(&v->error_log, v->clock->now_ms, ADJUST_LOG_COUNT))
		log_info(LOG_VFS, "owner or mode of the new '%s' stay: the server says \"%s\"",
		         op->path, st->text);
	/* A filesystem without modes: not asked again for every new file. */
	if ((op->want.valid & BE_ATTR_MODE) &&
	    (st->code != BE_OK || !a || a->mode != op->want.mode))
		v->modes_are_fixed = st->code != BE_LOST;
	op->made(op, st->code == BE_OK && a ? a : &op->got);
}

bool made_adjust(struct op *op, struct be_file *be, const struct be_attr *a, made_fn *then)
{
	struct vfs *v = op->v;
	struct be_attr *want = &op->want;
	int err;

	*want = (struct be_attr){0};
	if (!is_ours(op, a))
		return false;
	want_owner(op, a, want);
	want_mode(op, a, want);
	if (!want->valid)
		return false;
	want->mode |= a->mode & S_IFMT;
	op->got = *a;
	op->made = then;
	if (be)
		err = v->ops->fsetattr(v->be, be, want, adjusted, op);
	else
		err = v->ops->setattr(v->be, op->path, attr_is_link(a) ? BE_THE_LINK : BE_THE_FILE,
		                      want, adjusted, op);
	return err == 0;
}
