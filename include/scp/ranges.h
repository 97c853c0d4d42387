/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A set of byte ranges: which parts of a file are in its spool. Sorted, disjoint, never adjacent.
 * Thread: any.
 */
#ifndef SCP_RANGES_H
#define SCP_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scp_range {
	uint64_t from, to; /* [from, to) */
};

struct scp_ranges {
	struct scp_range *at;
	size_t count, size;
};

void scp_ranges_finish(struct scp_ranges *r);

/* Return: 0 or -ENOMEM (nothing is changed then). */
int scp_ranges_add(struct scp_ranges *r, uint64_t from, uint64_t to);

/* Return: as above. */
int scp_ranges_remove(struct scp_ranges *r, uint64_t from, uint64_t to);

/* Return: the first byte at or behind `from` that is not in the set. */
uint64_t scp_ranges_gap(const struct scp_ranges *r, uint64_t from);

/* Return: the first byte at or behind `from` that is in the set, UINT64_MAX without one. */
uint64_t scp_ranges_next(const struct scp_ranges *r, uint64_t from);

#endif
