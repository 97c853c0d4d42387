/* SPDX-License-Identifier: BSD-2-Clause */
/* Failures of changes that were acknowledged, by name. Contract: include/vfs/pending.h. */
#include "vfs/pending.h"

/* Failures that nobody has asked for; older ones are in the log and in the count. */
#define FAILED_COUNT_MAX 10000

void pname_fail(struct pending *p, struct pname *n, int err)
{
	if (n->err)
		return;
	n->err = err;
	n->ref_count++;
	list_push_back(&p->failed, &n->in_failed);
	if (++p->failed_count > FAILED_COUNT_MAX)
		pending_take_error(p, list_entry(p->failed.next, struct pname, in_failed)->path);
}

int pending_take_error(struct pending *p, const char *path)
{
	struct pname *n = p->failed_count ? pending_find(p, path) : NULL;
	int err = n ? n->err : 0;

	if (!err)
		return 0;
	n->err = 0;
	p->failed_count--;
	list_del(&n->in_failed);
	pname_unref(p, n);
	return err;
}

void pname_break(struct pending *p, struct pname *n, int err)
{
	if (n->broken)
		return;
	n->broken = err;
	n->ref_count++;
	list_push_back(&p->broken, &n->in_broken);
	if (++p->broken_count > FAILED_COUNT_MAX)
		pending_mend(p, list_entry(p->broken.next, struct pname, in_broken)->path);
}

void pending_break(struct pending *p, const char *path, int err)
{
	struct pname *n = pname_get(p, path);

	if (!n)
		return;
	pname_break(p, n, err);
	pname_unref(p, n);
}

int pending_broken(const struct pending *p, const char *path)
{
	const struct pname *n = p->broken_count ? pending_find(p, path) : NULL;

	return n ? n->broken : 0;
}

void pending_mend(struct pending *p, const char *path)
{
	struct pname *n = p->broken_count ? pending_find(p, path) : NULL;

	if (!n || !n->broken)
		return;
	n->broken = 0;
	p->broken_count--;
	list_del(&n->in_broken);
	pname_unref(p, n);
}
