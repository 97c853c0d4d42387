/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core's clock and timers. Nothing in the core reads a clock: the loop sets `now_ms` before it
 * passes an event in, and runs what is due; tests set it to whatever they need.
 */
#ifndef UTIL_TIMER_H
#define UTIL_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "util/list.h"

typedef void timer_fn(void *arg);

struct timer {
	struct list link;    /* in clock.timers, sorted by deadline */
	int64_t deadline_ms; /* on the clock's now_ms scale */
	timer_fn *fn;
	void *arg;
};

struct clock {
	int64_t now_ms;  /* CLOCK_MONOTONIC */
	int64_t wall_ms; /* CLOCK_REALTIME, for times shown to programs */
	struct list timers;
};

void clock_init(struct clock *c);

/* Reads the system's clocks. Only main and the connection threads' own clocks call this. */
void clock_read(struct clock *c);

void timer_init(struct timer *t, timer_fn *fn, void *arg);

/* Arms or re-arms. */
void timer_set(struct clock *c, struct timer *t, int64_t deadline_ms);
void timer_cancel(struct timer *t);
bool timer_armed(const struct timer *t);

/* Milliseconds until the next deadline: 0 when due, -1 when none (fits epoll_wait). */
int clock_timeout_ms(const struct clock *c);

/*
 * Runs every timer due at now_ms once, by deadline and then in the order of arming; a timer that
 * re-arms itself in the past waits a turn. A callback may arm, cancel or free any timer, its own too.
 */
void clock_run(struct clock *c);

#endif
