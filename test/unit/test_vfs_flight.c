/* SPDX-License-Identifier: BSD-2-Clause */
/* What look-ahead has on its way, against a simulated line: a rate, a round trip, moods. */
#include <string.h>

#include "check_main.h"
#include "vfs/flight.h"

#define QUEUE_SIZE 4096u

static struct flight fl;

static struct {
	struct flight_part part;
	double done_ms;
} queue[QUEUE_SIZE];
static unsigned head, tail;
static double line_free_ms;
static double
    wait_max_ms; /* the longest that a stat would have waited for the line, now and then */
static int64_t stall_every_ms, stall_ms; /* the client does nothing for so long; 0: never */
static size_t most_len;                  /* the program lets no more be ahead */

static void begin(void)
{
	flight_init(&fl);
	head = tail = 0;
	line_free_ms = wait_max_ms = 0;
	stall_every_ms = stall_ms = 0;
	most_len = SIZE_MAX;
}

/* Files of the lengths in `lens`, in turn, for `span_ms`. Return: bytes that came. */
static uint64_t run(int64_t from_ms, int64_t span_ms, double rate, int64_t rtt_ms,
                    const size_t *lens, unsigned count)
{
	uint64_t before = fl.landed_len;

	wait_max_ms = 0;
	for (int64_t now = from_ms; now < from_ms + span_ms; now++) {
		if (stall_every_ms && now % stall_every_ms < stall_ms)
			continue;
		while (head != tail && queue[tail % QUEUE_SIZE].done_ms <= (double)now)
			flight_land(&fl, &queue[tail++ % QUEUE_SIZE].part, now);
		while (flight_has_room(&fl, now) && fl.len < most_len) {
			size_t len = lens[head % count];
			double there_ms = (double)now + (double)rtt_ms / 2;

			if (line_free_ms < there_ms)
				line_free_ms = there_ms;
			line_free_ms += (double)len * 1000 / rate;
			flight_ask(&fl, &queue[head % QUEUE_SIZE].part, len, now);
			queue[head++ % QUEUE_SIZE].done_ms = line_free_ms + (double)rtt_ms / 2;
			ck_assert_uint_lt(head - tail, QUEUE_SIZE);
		}
		if (line_free_ms - (double)now - (double)rtt_ms / 2 > wait_max_ms)
			wait_max_ms = line_free_ms - (double)now - (double)rtt_ms / 2;
	}
	return fl.landed_len - before;
}

static const size_t small[] = {18000};
static const size_t mixed[] = {2000, 60000, 500, 18000, 9000, 100000, 4000, 30000};

START_TEST(a_slow_line)
{
	/* 10 Mbit/s, 50 ms: noticed in the first flight; then full, and no stat waits for a round trip more than its own */
	begin();
	run(0, 300, 1.25e6, 50, small, 1);
	ck_assert_uint_lt((uint64_t)wait_max_ms, 256 * 1024 / 1250 + 2 * 14);
	run(300, 300, 1.25e6, 50, small, 1);
	ck_assert_uint_ge(run(600, 9000, 1.25e6, 50, small, 1), 9 * 1250000ull * 90 / 100);
	ck_assert_uint_le((uint64_t)wait_max_ms, 50 + 15);
}
END_TEST

START_TEST(a_fast_line)
{
	/* 1 Gbit/s, 50 ms: full from the eighth round trip on, though nothing was known */
	begin();
	run(0, 400, 125e6, 50, small, 1);
	ck_assert_uint_ge(run(400, 5000, 125e6, 50, small, 1), 5 * 125000000ull * 90 / 100);
}
END_TEST

START_TEST(other_lines)
{
	/* whatever the line and the lengths: nearly full, and one long file more than a little behind what it holds */
	static const double rates[] = {0.25e6, 1.25e6, 12.5e6, 125e6};
	static const int64_t rtts[] = {5, 20, 50, 200};

	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++) {
			double rate = rates[i], rtt = (double)rtts[j];

			begin();
			run(0, 4000, rate, rtts[j], mixed, 8);
			ck_assert_double_ge((double)run(4000, 20000, rate, rtts[j], mixed, 8),
			                    20 * rate * 0.93);
			ck_assert_double_le(wait_max_ms, 1.5 * rtt + 20 + 160000 * 1000 / rate);
		}
}
END_TEST

START_TEST(stalls)
{
	/* a client that does nothing for 30 ms twice a second does not believe that the line is slow */
	begin();
	stall_every_ms = 500;
	stall_ms = 30;
	most_len = 64 * small[0];
	run(0, 1000, 125e6, 50, small, 1);
	ck_assert_double_ge((double)run(1000, 5000, 125e6, 50, small, 1),
	                    100 * 0.9 * (double)most_len);
}
END_TEST

START_TEST(a_longer_way)
{
	/* a round trip that is four times as long from now on is believed within ten seconds */
	begin();
	run(0, 2000, 12.5e6, 20, small, 1);
	run(2000, 14000, 12.5e6, 80, small, 1);
	ck_assert_double_ge((double)run(16000, 5000, 12.5e6, 80, small, 1), 5 * 12.5e6 * 0.9);
}
END_TEST

CHECK_MAIN("vfs_flight", a_slow_line, a_fast_line, other_lines, stalls, a_longer_way)
