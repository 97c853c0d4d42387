/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock and its timers. */
#include <limits.h>
#include <string.h>

#include "check_main.h"
#include "util/timer.h"

static struct clock clk;
static char trace[32]; /* the names of what ran, in order */

struct named {
	struct timer timer;
	char name;
	int64_t again_ms;     /* re-arm to this deadline; 0: do not */
	struct named *cancel; /* cancel this one */
	struct named *arm;    /* arm this one for now */
};

static void run_named(void *arg)
{
	struct named *n = arg;

	ck_assert_uint_lt(strlen(trace), sizeof(trace) - 1);
	ck_assert(!timer_armed(&n->timer));
	trace[strlen(trace)] = n->name;
	if (n->again_ms)
		timer_set(&clk, &n->timer, n->again_ms);
	if (n->cancel)
		timer_cancel(&n->cancel->timer);
	if (n->arm)
		timer_set(&clk, &n->arm->timer, clk.now_ms);
}

static void named_init(struct named *n, char name)
{
	memset(n, 0, sizeof(*n));
	n->name = name;
	timer_init(&n->timer, run_named, n);
}

static void setup_named(struct named *n, size_t count)
{
	clock_init(&clk);
	memset(trace, 0, sizeof(trace));
	for (size_t i = 0; i < count; i++)
		named_init(&n[i], (char)('a' + i));
}

static void run_at(int64_t now_ms)
{
	memset(trace, 0, sizeof(trace));
	clk.now_ms = now_ms;
	clock_run(&clk);
}

START_TEST(order)
{
	/* timers run by deadline, equal ones in the order of arming, none before its time */
	struct named n[4];

	setup_named(n, 4);
	timer_set(&clk, &n[0].timer, 30);
	timer_set(&clk, &n[1].timer, 10);
	timer_set(&clk, &n[2].timer, 20);
	timer_set(&clk, &n[3].timer, 10);
	run_at(9);
	ck_assert_str_eq(trace, "");
	run_at(20);
	ck_assert_str_eq(trace, "bdc");
	ck_assert(!timer_armed(&n[1].timer));
	ck_assert(timer_armed(&n[0].timer));
	run_at(1000);
	ck_assert_str_eq(trace, "a");
	run_at(1000);
	ck_assert_str_eq(trace, "");
}
END_TEST

START_TEST(rearm)
{
	/* re-arming moves a timer, in either direction, instead of running it twice */
	struct named n[2];

	setup_named(n, 2);
	timer_set(&clk, &n[0].timer, 10);
	timer_set(&clk, &n[1].timer, 20);
	timer_set(&clk, &n[0].timer, 30);
	run_at(25);
	ck_assert_str_eq(trace, "b");
	timer_set(&clk, &n[0].timer, 26);
	run_at(40);
	ck_assert_str_eq(trace, "a");
}
END_TEST

START_TEST(cancel)
{
	/* a cancelled timer does not run, and cancelling one that is not armed is harmless */
	struct named n[2];

	setup_named(n, 2);
	timer_cancel(&n[0].timer);
	timer_set(&clk, &n[0].timer, 10);
	timer_set(&clk, &n[1].timer, 10);
	timer_cancel(&n[0].timer);
	ck_assert(!timer_armed(&n[0].timer));
	run_at(10);
	ck_assert_str_eq(trace, "b");
	timer_cancel(&n[1].timer);
}
END_TEST

START_TEST(rearm_in_callback)
{
	/* a timer that re-arms itself in the past waits for the next turn */
	struct named n[1];

	setup_named(n, 1);
	n[0].again_ms = 5;
	timer_set(&clk, &n[0].timer, 10);
	run_at(10);
	ck_assert_str_eq(trace, "a");
	ck_assert(timer_armed(&n[0].timer));
	ck_assert_int_eq(clock_timeout_ms(&clk), 0);
	run_at(10);
	ck_assert_str_eq(trace, "a");
}
END_TEST

START_TEST(cancel_in_callback)
{
	/* a callback may cancel another timer that is due in the same turn */
	struct named n[3];

	setup_named(n, 3);
	for (int i = 0; i < 3; i++)
		timer_set(&clk, &n[i].timer, 10);
	n[0].cancel = &n[1];
	run_at(10);
	ck_assert_str_eq(trace, "ac");
	ck_assert(list_empty(&clk.timers));
}
END_TEST

START_TEST(arm_in_callback)
{
	/* a callback may re-arm another timer that is due: it runs once, a turn later */
	struct named n[3];

	setup_named(n, 3);
	for (int i = 0; i < 3; i++)
		timer_set(&clk, &n[i].timer, 10);
	n[0].arm = &n[1];
	run_at(10);
	ck_assert_str_eq(trace, "ac");
	run_at(10);
	ck_assert_str_eq(trace, "b");
}
END_TEST

START_TEST(timeout)
{
	/* the timeout is that of the first deadline, and fits epoll_wait whatever it is */
	struct named n[2];

	setup_named(n, 2);
	clk.now_ms = 100;
	ck_assert_int_eq(clock_timeout_ms(&clk), -1);
	timer_set(&clk, &n[0].timer, 150);
	ck_assert_int_eq(clock_timeout_ms(&clk), 50);
	timer_set(&clk, &n[1].timer, 101);
	ck_assert_int_eq(clock_timeout_ms(&clk), 1);
	timer_set(&clk, &n[1].timer, 100);
	ck_assert_int_eq(clock_timeout_ms(&clk), 0);
	timer_set(&clk, &n[1].timer, 1);
	ck_assert_int_eq(clock_timeout_ms(&clk), 0);
	timer_cancel(&n[1].timer);
	timer_set(&clk, &n[0].timer, 100 + (int64_t)INT_MAX);
	ck_assert_int_eq(clock_timeout_ms(&clk), INT_MAX);
	timer_set(&clk, &n[0].timer, 101 + (int64_t)INT_MAX);
	ck_assert_int_eq(clock_timeout_ms(&clk), INT_MAX);
	clk.now_ms = -100;
	timer_set(&clk, &n[0].timer, INT64_MAX);
	ck_assert_int_eq(clock_timeout_ms(&clk), INT_MAX);
	timer_cancel(&n[0].timer);
	ck_assert_int_eq(clock_timeout_ms(&clk), -1);
}
END_TEST

START_TEST(read_clocks)
{
	/* the clocks are in milliseconds: monotonic for timers, real for times */
	struct clock c;
	struct timespec mono, real;

	clock_init(&c);
	ck_assert_int_eq(c.now_ms, 0);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	clock_read(&c);
	ck_assert_int_ge(c.now_ms, mono.tv_sec * 1000 + mono.tv_nsec / 1000000);
	ck_assert_int_lt(c.now_ms, mono.tv_sec * 1000 + 60000);
	ck_assert_int_ge(c.wall_ms, real.tv_sec * 1000);
	ck_assert_int_lt(c.wall_ms, real.tv_sec * 1000 + 60000);
}
END_TEST

CHECK_MAIN("timer", order, rearm, cancel, rearm_in_callback, cancel_in_callback, arm_in_callback,
           timeout, read_clocks)
