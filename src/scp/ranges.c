/* SPDX-License-Identifier: BSD-2-Clause */
/* Sets of byte ranges. Contract: include/scp/ranges.h. */
#include "scp/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void scp_ranges_finish(struct scp_ranges *r)
{
	free(r->at);
	*r = (struct scp_ranges){0};
}

/* The first range that ends at or behind `pos`. */
static size_t find(const struct scp_ranges *r, uint64_t pos)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->at[mid].to < pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int make_room(struct scp_ranges *r)
{
	size_t size = r->size ? 2 * r->size : 8;
	struct scp_range *at;

	if (r->count < r->size)
		return 0;
	at = realloc(r->at, size * sizeof(*at));
	if (!at)
		return -ENOMEM;
	r->at = at;
	r->size = size;
	return 0;
}

/* Replaces `gone` ranges at `i` by the one given. There is room. */
static void replace(struct scp_ranges *r, size_t i, size_t gone, struct scp_range by)
{
	memmove(r->at + i + 1, r->at + i + gone, (r->count - i - gone) * sizeof(*r->at));
	r->at[i] = by;
	r->count += 1 - gone;
}

int scp_ranges_add(struct scp_ranges *r, uint64_t from, uint64_t to)
{
	size_t i = find(r, from), end = i;

	if (from >= to)
		return 0;
	if (make_room(r) != 0)
		return -ENOMEM;
	while (end < r->count && r->at[end].from <= to) {
		from = r->at[end].from < from ? r->at[end].from : from;
		to = r->at[end].to > to ? r->at[end].to : to;
		end++;
	}
	replace(r, i, end - i, (struct scp_range){from, to});
	return 0;
}

int scp_ranges_remove(struct scp_ranges *r, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	if (make_room(r) != 0)
		return -ENOMEM;
	for (size_t i = find(r, from); i < r->count && r->at[i].from < to;) {
		struct scp_range *at = &r->at[i];

		if (at->from < from && at->to > to) {
			struct scp_range low = {at->from, from};

			at->from = to;
			replace(r, i, 0, low);
			return 0;
		}
		if (at->from < from) {
			at->to = from;
			i++;
		} else if (at->to > to) {
			at->from = to;
			return 0;
		} else {
			memmove(at, at + 1, (--r->count - i) * sizeof(*at));
		}
	}
	return 0;
}

uint64_t scp_ranges_gap(const struct scp_ranges *r, uint64_t from)
{
	size_t i = find(r, from);

	return i < r->count && r->at[i].from <= from ? r->at[i].to : from;
}

uint64_t scp_ranges_next(const struct scp_ranges *r, uint64_t from)
{
	size_t i = find(r, from);

	if (i < r->count && r->at[i].to == from)
		i++;
	if (i == r->count)
		return UINT64_MAX;
	return r->at[i].from > from ? r->at[i].from : from;
}
