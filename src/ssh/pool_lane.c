/* SPDX-License-Identifier: BSD-2-Clause */
/* Which connection carries which lane. Room: ssh. Thread: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool_parts.h"

/* On the first connection, so that a reader and a writer have one each without waiting. */
#define FIRST_BULK_LANES 2

struct pool_lane *pool_lane_find(struct pool *p, uint32_t id)
{
	list_for_each(pos, &p->lanes) {
		struct pool_lane *l = list_entry(pos, struct pool_lane, entry);

		if (l->id == id)
			return l;
	}
	return NULL;
}

void pool_lane_free(struct pool_lane *l)
{
	list_del(&l->entry);
	l->member->lane_count--;
	free(l->command);
	free(l);
}

void pool_lanes_forget(struct pool *p)
{
	list_for_each_safe(pos, tmp, &p->lanes)
		pool_lane_free(list_entry(pos, struct pool_lane, entry));
}

struct pool_lane *pool_lane_on(struct pool *p, const struct member *m, bool wanted_only)
{
	list_for_each(pos, &p->lanes) {
		struct pool_lane *l = list_entry(pos, struct pool_lane, entry);

		if (l->member == m && (l->wanted || !wanted_only))
			return l;
	}
	return NULL;
}

unsigned pool_lane_max(const struct pool *p)
{
	struct link_facts facts;

	link_facts(p->members[0].link, &facts);
	return facts.lane_max;
}

static bool has_room(const struct pool *p, const struct member *m)
{
	return m->lane_count < pool_lane_max(p) && m->lane_count < m->grants_max;
}

static unsigned bulk_count(struct pool *p, const struct member *m)
{
	unsigned count = 0;

	list_for_each(pos, &p->lanes) {
		const struct pool_lane *l = list_entry(pos, struct pool_lane, entry);

		count += l->member == m && l->spec.lane_class == LANE_BULK;
	}
	return count;
}

/*
 * Lookups stay on the first connection. Data is spread, over connections that do not exist yet
 * rather than over those that are in use. Return: NULL when there is no room.
 */
static struct member *choose(struct pool *p, enum lane_class lane_class)
{
	struct member *first = &p->members[0], *best = NULL;

	if (has_room(p, first) && ((lane_class != LANE_BULK && lane_class != LANE_COPY) ||
	                           bulk_count(p, first) < FIRST_BULK_LANES))
		return first;
	for (unsigned i = 0; i < p->member_max; i++) {
		struct member *m = &p->members[i];

		if (!m->refused && !m->retiring && has_room(p, m) &&
		    (!best || m->lane_count < best->lane_count))
			best = m;
	}
	return best;
}

int pool_lane_add(struct pool *p, uint32_t id, const struct lane_spec *spec,
                  struct pool_lane **lane)
{
	struct member *m = choose(p, spec->lane_class);
	struct pool_lane *l;

	if (!m)
		return -EMFILE;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->id = id;
	l->spec = *spec;
	if (spec->command) {
		l->command = strdup(spec->command);
		if (!l->command) {
			free(l);
			return -ENOMEM;
		}
		l->spec.command = l->command;
	}
	l->member = m;
	l->wanted = m->state != MEMBER_UP;
	m->lane_count++;
	list_push_back(&p->lanes, &l->entry);
	*lane = l;
	return 0;
}

bool pool_lane_move(struct pool *p, struct pool_lane *l)
{
	struct member *to = choose(p, l->spec.lane_class);

	if (!to || (to->state == MEMBER_UP && link_open_lane(to->link, l->id, &l->spec) != 0))
		return false;
	l->member->lane_count--;
	to->lane_count++;
	l->member = to;
	l->wanted = to->state != MEMBER_UP;
	return true;
}
