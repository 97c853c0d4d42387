/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clock and its timers, kept in one sorted list: there are tens of them, not thousands.
 * Room: util. Owner: the thread that owns the clock; no locking.
 */
#include "util/timer.h"

#include <limits.h>

void clock_init(struct clock *c)
{
	c->now_ms = 0;
	c->wall_ms = 0;
	list_init(&c->timers);
}

static int64_t clock_get_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void clock_read(struct clock *c)
{
	c->now_ms = clock_get_ms(CLOCK_MONOTONIC);
	c->wall_ms = clock_get_ms(CLOCK_REALTIME);
}

void timer_init(struct timer *t, timer_fn *fn, void *arg)
{
	list_init(&t->link);
	t->deadline_ms = 0;
	t->fn = fn;
	t->arg = arg;
}

void timer_set(struct clock *c, struct timer *t, int64_t deadline_ms)
{
	struct list *at = &c->timers;

	list_del(&t->link);
	t->deadline_ms = deadline_ms;
	/* From the back: a new deadline is mostly the latest, and equal ones keep their order. */
	while (at->prev != &c->timers &&
	       list_entry(at->prev, struct timer, link)->deadline_ms > deadline_ms)
		at = at->prev;
	list_insert(at, &t->link);
}

void timer_cancel(struct timer *t)
{
	list_del(&t->link);
}

bool timer_armed(const struct timer *t)
{
	return !list_empty(&t->link);
}

int clock_timeout_ms(const struct clock *c)
{
	const struct timer *first;
	int64_t wait_ms;

	if (list_empty(&c->timers))
		return -1;
	first = list_entry(c->timers.next, struct timer, link);
	if (first->deadline_ms <= c->now_ms)
		return 0;
	if (__builtin_sub_overflow(first->deadline_ms, c->now_ms, &wait_ms) || wait_ms > INT_MAX)
		return INT_MAX;
	return (int)wait_ms;
}

void clock_run(struct clock *c)
{
	struct list due;

	/*
	 * What is due moves to a list of its own first: a callback may cancel, re-arm or free any
	 * other timer, and one that arms a timer in the past must not keep us here for ever.
	 */
	list_init(&due);
	while (!list_empty(&c->timers)) {
		struct timer *t = list_entry(c->timers.next, struct timer, link);

		if (t->deadline_ms > c->now_ms)
			break;
		list_del(&t->link);
		list_push_back(&due, &t->link);
	}
	while (!list_empty(&due)) {
		struct timer *t = list_entry(due.next, struct timer, link);

		list_del(&t->link);
		t->fn(t->arg);
	}
}
