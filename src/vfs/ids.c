/* SPDX-License-Identifier: BSD-2-Clause */
/* Owners by name. Contract: include/vfs/ids.h. */
#include "vfs/ids.h"

#include <errno.h>

#include "vfs/idmap.h"

static int check(const struct vfs *v, enum idmap_side side, int64_t fixed, uint32_t id)
{
	uint32_t local;

	return fixed >= 0 ? 0 : idmap_to_local(v->cfg.idmap, side, id, &local);
}

int ids_check(const struct vfs *v, const struct be_attr *a)
{
	int user, group;

	if (!v->cfg.idmap || !(a->valid & BE_ATTR_OWNER))
		return 0;
	user = check(v, IDMAP_USERS, v->cfg.uid, a->uid);
	group = check(v, IDMAP_GROUPS, v->cfg.gid, a->gid);
	return user == -EPERM || group == -EPERM ? -EPERM : user ? user : group;
}

static void want(struct be_ids *ids, uint32_t id)
{
	for (size_t i = 0; i < ids->count; i++)
		if (ids->ids[i] == id)
			return;
	if (ids->count < BE_ID_COUNT_MAX)
		ids->ids[ids->count++] = id;
}

void ids_want(struct vfs *v, const struct be_attr *a)
{
	if (v->ids.asking || !v->cfg.idmap || !(a->valid & BE_ATTR_OWNER))
		return;
	if (check(v, IDMAP_USERS, v->cfg.uid, a->uid) == -EAGAIN)
		want(&v->ids.users, a->uid);
	if (check(v, IDMAP_GROUPS, v->cfg.gid, a->gid) == -EAGAIN)
		want(&v->ids.groups, a->gid);
}

/* What is not named now stays as it is: owners must never make a mount unusable. */
static void record(struct vfs *v, const char *const *users, const char *const *groups)
{
	for (size_t i = 0; i < v->ids.users.count; i++)
		idmap_remote_name(v->cfg.idmap, IDMAP_USERS, v->ids.users.ids[i],
		                  users ? users[i] : "");
	for (size_t i = 0; i < v->ids.groups.count; i++)
		idmap_remote_name(v->cfg.idmap, IDMAP_GROUPS, v->ids.groups.ids[i],
		                  groups ? groups[i] : "");
	v->ids.users.count = v->ids.groups.count = 0;
}

static void named(void *arg, const struct be_status *st, const char *const *users,
                  const char *const *groups)
{
	struct vfs *v = arg;
	struct list waiters;

	v->ids.asking = false;
	if (st->code != BE_OK)
		log_info(LOG_VFS, "the server does not name %zu of its owners: \"%s\"",
		         v->ids.users.count + v->ids.groups.count, st->text);
	record(v, users, groups);
	list_init(&waiters);
	list_splice(&waiters, &v->ids.waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		op->resume(op);
	}
}

void ids_wait(struct op *op, ids_resume_fn *resume)
{
	struct vfs *v = op->v;

	op->resume = resume;
	list_push_back(&v->ids.waiters, &op->wait);
	if (v->ids.asking)
		return;
	v->ids.asking = true;
	if (v->ops->id_names(v->be, &v->ids.users, &v->ids.groups, named, v) == 0)
		return;
	list_del(&op->wait);
	v->ids.asking = false;
	record(v, NULL, NULL);
	resume(op);
}
