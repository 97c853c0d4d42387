/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reference-counted byte blocks and the budget that they are charged to.
 * Room: util. Any thread; the only shared state is atomic.
 */
#include "util/data.h"

#include <assert.h>
#include <stdlib.h>

void budget_init(struct budget *b, size_t max_len)
{
	atomic_init(&b->used_len, 0);
	b->max_len = max_len;
}

size_t budget_left(const struct budget *b)
{
	size_t used;

	if (b->max_len == 0)
		return SIZE_MAX;
	used = atomic_load_explicit(&b->used_len, memory_order_relaxed);
	return used < b->max_len ? b->max_len - used : 0;
}

void budget_charge(struct budget *b, size_t len)
{
	/* Relaxed: the count orders nothing but itself. */
	atomic_fetch_add_explicit(&b->used_len, len, memory_order_relaxed);
}

void budget_release(struct budget *b, size_t len)
{
	size_t used = atomic_fetch_sub_explicit(&b->used_len, len, memory_order_relaxed);

	assert(used >= len);
	(void)used;
}

struct data *data_create(struct budget *b, size_t size)
{
	struct data *d;
	size_t total;

	if (__builtin_add_overflow(sizeof(*d), size, &total))
		return NULL;
	d = malloc(total);
	if (!d)
		return NULL;
	atomic_init(&d->refs, 1);
	d->budget = b;
	d->size = size;
	if (b)
		budget_charge(b, size);
	return d;
}

struct data *data_ref(struct data *d)
{
	unsigned refs = atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);

	assert(refs > 0);
	(void)refs;
	return d;
}

void data_unref(struct data *d)
{
	unsigned refs;

	if (!d)
		return;
	/* Release: our use of the bytes comes before the free. Acquire: so does everybody else's.
	 */
	refs = atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel);
	assert(refs > 0);
	if (refs > 1)
		return;
	if (d->budget)
		budget_release(d->budget, d->size);
	free(d);
}
