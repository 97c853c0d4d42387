/* SPDX-License-Identifier: BSD-2-Clause */
/* The fxp window against a simulated line: a rate, a round trip, a server and a client with their
 * moods. */
#include <string.h>

#include "check_main.h"
#include "sftp/window.h"

#define PIECE      32768u
#define QUEUE_SIZE 65536u

static struct fxp_window w;
static size_t piece_len;

static struct {
	struct fxp_window_sample sample;
	double done_ms;
} queue[QUEUE_SIZE];
static unsigned head, tail;
static double line_free_ms;
static double backlog_max_len; /* the most that waited for the line, in bytes */

/* What the line and the machines do; all of it is off when 0. */
static struct {
	double slow_at_len; /* more waiting than this, and the server works at slow_rate, as sshd
	                       does */
	double slow_rate;
	int64_t stall_every_ms; /* the client does nothing for stall_ms */
	int64_t stall_ms;
} world;

static void begin(size_t len)
{
	fxp_window_init(&w, len);
	piece_len = PIECE;
	head = tail = 0;
	line_free_ms = backlog_max_len = 0;
	memset(&world, 0, sizeof(world));
}

static double server_rate(double rate, double backlog_len)
{
	return world.slow_at_len && backlog_len > world.slow_at_len ? world.slow_rate : rate;
}

static void send_one(int64_t now, double rate, int64_t rtt_ms)
{
	double start = line_free_ms > (double)now ? line_free_ms : (double)now;
	double backlog_len = (start - (double)now) * rate / 1000;

	if (backlog_len > backlog_max_len)
		backlog_max_len = backlog_len;
	fxp_window_sent(&w, &queue[head % QUEUE_SIZE].sample, piece_len, now);
	line_free_ms = start + (double)piece_len * 1000 / server_rate(rate, backlog_len);
	queue[head++ % QUEUE_SIZE].done_ms = line_free_ms + (double)rtt_ms;
}

/* Keeps the window full from `from_ms` for `span_ms`. Return: bytes delivered. */
static uint64_t run(int64_t from_ms, int64_t span_ms, double rate, int64_t rtt_ms)
{
	uint64_t before = w.delivered_len;

	for (int64_t now = from_ms; now < from_ms + span_ms; now++) {
		if (world.stall_every_ms && now % world.stall_every_ms < world.stall_ms)
			continue;
		while (head != tail && queue[tail % QUEUE_SIZE].done_ms <= (double)now)
			fxp_window_done(&queue[tail++ % QUEUE_SIZE].sample, piece_len, now);
		while (fxp_window_room(&w) && fxp_window_due_ms(&w, now) <= now)
			send_one(now, rate, rtt_ms);
		ck_assert_uint_lt(head - tail, QUEUE_SIZE);
	}
	return w.delivered_len - before;
}

START_TEST(two_always)
{
	/* two requests may always be in flight, however small the window */
	struct fxp_window_sample s[3];

	begin(1);
	ck_assert(fxp_window_room(&w));
	fxp_window_sent(&w, &s[0], 1000000, 0);
	ck_assert(fxp_window_room(&w));
	fxp_window_sent(&w, &s[1], 1000000, 0);
	ck_assert(!fxp_window_room(&w));
	fxp_window_done(&s[0], 0, 5);
	ck_assert(fxp_window_room(&w));
	/* a second answer to one request changes nothing */
	fxp_window_done(&s[0], 1000000, 5);
	ck_assert_uint_eq(w.in_flight_count, 1);
}
END_TEST

START_TEST(finds_rate)
{
	/* from 128 KiB the window finds the rate of the line, and then holds about its product */
	const double rate = 12.5e6;
	const int64_t rtt_ms = 50;
	const uint64_t product = (uint64_t)(rate * (double)rtt_ms / 1000);

	begin(128 * 1024);
	run(0, 2000, rate, rtt_ms);
	ck_assert(w.full);
	ck_assert_uint_ge(run(2000, 2000, rate, rtt_ms), (uint64_t)(rate * 2 * 0.95));
	ck_assert_uint_ge(w.window_len, product);
	ck_assert_uint_le(w.window_len, product * 2);
}
END_TEST

START_TEST(units)
{
	/* requests are as long as the server lets them be, but on a slow line no longer than 20 ms of it */
	static const double rates[] = {1.25e6, 5e6, 12.5e6, 125e6};
	static const size_t lens[] = {32768, 131072, 261120, 261120};

	for (unsigned i = 0; i < 4; i++) {
		begin(128 * 1024);
		ck_assert_uint_eq(fxp_window_unit_len(&w, 261120), 261120);
		run(0, 3000, rates[i], 50);
		ck_assert_uint_eq(fxp_window_unit_len(&w, 261120), lens[i]);
		ck_assert_uint_eq(fxp_window_unit_len(&w, 32000), 32000);
	}
}
END_TEST

START_TEST(first_flight)
{
	/* a first flight of 4 MiB shows what the line carries: all of it is used from the fourth
	 * round trip */
	static const int64_t rtts_ms[] = {20, 50, 100, 200};

	for (unsigned i = 0; i < 4; i++) {
		const double rate = 125e6;
		const int64_t rtt_ms = rtts_ms[i];

		begin(128 * 1024);
		fxp_window_raise(&w, 4 * 1024 * 1024);
		run(0, 3 * rtt_ms, rate, rtt_ms);
		ck_assert_uint_ge(run(3 * rtt_ms, 1000, rate, rtt_ms), (uint64_t)(rate * 0.95));
		ck_assert_double_le(backlog_max_len,
		                    rate * (double)rtt_ms / 1000 * 0.25 + 8.4e6 + rate * 0.01);
	}
}
END_TEST

START_TEST(late_flight)
{
	/* one READ went with the OPEN, the others when that was answered: these are the flight */
	begin(128 * 1024);
	send_one(0, 125e6, 100);
	fxp_window_raise(&w, 4 * 1024 * 1024);
	while (fxp_window_room(&w))
		send_one(100, 125e6, 100);
	run(101, 350, 125e6, 100);
	ck_assert_uint_ge(run(451, 1000, 125e6, 100), (uint64_t)(125e6 * 0.97));
}
END_TEST

START_TEST(never_floods)
{
	/* whatever the line, no more than a step and a part of its product ever waits in the server
	 */
	static const double rates[] = {1e6, 12.5e6, 60e6, 125e6, 1e9};

	for (unsigned i = 0; i < 5; i++)
		for (int64_t rtt_ms = 5; rtt_ms <= 160; rtt_ms *= 2) {
			const double product = rates[i] * (double)rtt_ms / 1000;

			begin(128 * 1024);
			fxp_window_raise(&w, 4 * 1024 * 1024);
			run(0, 200 * rtt_ms, rates[i], rtt_ms);
			ck_assert_double_le(backlog_max_len,
			                    product * 0.3 + rates[i] * 0.02 + 8.4e6);
		}
}
END_TEST

START_TEST(survives_a_slow_server)
{
	/* a server that slows down when much waits in it, as sshd does at 14 MB, is not brought
	 * there */
	for (int64_t rtt_ms = 10; rtt_ms <= 200; rtt_ms += 10) {
		begin(128 * 1024);
		fxp_window_raise(&w, 4 * 1024 * 1024);
		world.slow_at_len = 14e6;
		world.slow_rate = 4e6;
		run(0, 3 * rtt_ms, 125e6, rtt_ms);
		ck_assert_uint_ge(run(3 * rtt_ms, 15000, 125e6, rtt_ms),
		                  (uint64_t)(125e6 * 15 * 0.95));
	}
}
END_TEST

START_TEST(bears_stalls)
{
	/* a client that often stands still uses what it can and does not take its own bursts for
	 * the line */
	const double rate = 125e6;

	begin(128 * 1024);
	fxp_window_raise(&w, 4 * 1024 * 1024);
	world.stall_every_ms = 70;
	world.stall_ms = 20;
	run(0, 500, rate, 50);
	ck_assert_uint_ge(run(500, 5000, rate, 50), (uint64_t)(rate * 5 * 0.85));
	ck_assert_uint_le(w.window_len, (size_t)(rate * 0.050 * 2.5));
}
END_TEST

START_TEST(little_work)
{
	/* a program that reads little says nothing about the line: the window waits for the next
	 * stream */
	begin(128 * 1024);
	fxp_window_raise(&w, 4 * 1024 * 1024);
	run(0, 1000, 125e6, 50);
	for (int64_t now = 2000; now < 12000; now += 60) {
		struct fxp_window_sample s;

		while (head != tail)
			fxp_window_done(&queue[tail++ % QUEUE_SIZE].sample, PIECE, 1100);
		fxp_window_sent(&w, &s, PIECE, now);
		fxp_window_done(&s, PIECE, now + 50);
	}
	ck_assert_uint_ge(w.window_len, (size_t)(125e6 * 0.050));
}
END_TEST

START_TEST(follows_down)
{
	/* when the line slows down the window follows, so that lookups do not queue behind it */
	begin(128 * 1024);
	run(0, 2000, 50e6, 20);
	run(2000, 6000, 2e6, 20);
	ck_assert_uint_le(w.window_len, 2e6 * 0.020 * 2 + 65536);
}
END_TEST

START_TEST(grows_again)
{
	/* with more lanes the search for the limit begins again */
	uint64_t slow, fast;

	begin(1024 * 1024);
	run(0, 2000, 20e6, 50);
	slow = w.rate;
	fxp_window_grow(&w, 2);
	run(2000, 2000, 100e6, 50);
	fast = run(4000, 1000, 100e6, 50);
	ck_assert_uint_gt(fast, slow * 4);
}
END_TEST

START_TEST(more_lanes)
{
	/* a line that fills a channel window gets as many of them at once as there are lanes */
	size_t one;

	begin(128 * 1024);
	run(0, 4000, 20e6, 100);
	one = w.window_len;
	fxp_window_grow(&w, 6);
	ck_assert_uint_ge(w.window_len, one * 6);
	ck_assert_uint_le(w.window_len, one * 8);
	run(4000, 1000, 125e6, 100);
	ck_assert_uint_ge(run(5000, 1000, 125e6, 100), (uint64_t)(125e6 * 0.95));
	/* one whose first flight was faster than what came after knows what they will carry */
	begin(1024 * 1024);
	run(0, 115, 125e6, 100);
	fxp_window_grow(&w, 6);
	ck_assert_uint_ge(w.window_len, 125e6 * 0.1);
	/* one that the line itself limits does not, and one that was mistaken for it gives it back
	 */
	begin(1024 * 1024);
	run(0, 3000, 5e6, 100);
	one = w.window_len;
	fxp_window_grow(&w, 6);
	ck_assert_uint_le(w.window_len, one + one / 8);
	begin(1024 * 1024);
	run(0, 3000, 16e6, 100);
	fxp_window_grow(&w, 6);
	run(3000, 3000, 16e6, 100);
	ck_assert_uint_le(w.window_len, 16e6 * 0.1 * 2);
}
END_TEST

START_TEST(no_creep)
{
	/* a stream that never pauses does not take its own queue for distance */
	begin(128 * 1024);
	run(0, 60000, 5e6, 40);
	ck_assert_uint_le(w.window_len, 5e6 * 0.040 * 2);
	/* but a way that has become longer is noticed */
	run(60000, 40000, 5e6, 160);
	ck_assert_uint_ge(w.window_len, 5e6 * 0.160);
}
END_TEST

/* What was asked for comes back, and nothing more is asked for. */
static void finish(int64_t now)
{
	while (head != tail)
		fxp_window_done(&queue[tail++ % QUEUE_SIZE].sample, PIECE, now);
}

/* The line has seemed to be slow of late. */
static void slow(void)
{
	w.rates[0] = w.rates[1] = w.rates[2] = w.rates[3] = 1000;
}

START_TEST(second_stream)
{
	/* one that knows its window fills it at the pace of the line, not at once */
	begin(128 * 1024);
	fxp_window_raise(&w, 4 * 1024 * 1024);
	run(0, 3000, 125e6, 200);
	finish(3300);
	backlog_max_len = 0;
	run(5000, 200, 125e6, 200);
	ck_assert_double_le(backlog_max_len, 4.3e6 + 25e6 * 0.25);
	ck_assert_uint_ge(run(5200, 1000, 125e6, 200), (uint64_t)(125e6 * 0.97));
	/* a pace that was wrong holds nothing up once the answers are there */
	finish(6500);
	slow();
	while (fxp_window_room(&w) && fxp_window_due_ms(&w, 6500) <= 6500)
		send_one(6500, 125e6, 200);
	ck_assert_int_gt(fxp_window_due_ms(&w, 6500), 6500);
	finish(6900);
	slow();
	ck_assert_int_eq(fxp_window_due_ms(&w, 6900), 6900);
}
END_TEST

START_TEST(batches)
{
	/* answers that waited for a busy loop are not taken for a faster line */
	struct fxp_window_sample s[21];

	begin(1024 * 1024);
	for (unsigned i = 0; i < 20; i++)
		fxp_window_sent(&w, &s[i], PIECE, 0);
	fxp_window_done(&s[0], PIECE, 100);
	fxp_window_sent(&w, &s[20], PIECE, 100);
	for (unsigned i = 1; i < 20; i++)
		fxp_window_done(&s[i], PIECE, 100);
	fxp_window_done(&s[20], PIECE, 150);
	ck_assert_uint_le(w.rates[w.slot], PIECE * 20 * 10);
}
END_TEST

START_TEST(own_time)
{
	/* the time in which a slow line carries one request is no distance */
	begin(128 * 1024);
	run(0, 12000, 2e6, 50);
	ck_assert_int_le(w.rtt_min_ms, 55);
}
END_TEST

START_TEST(no_distance)
{
	/* a fast server beside us gets what a tick of the clock carries and a few requests */
	begin(4 * 1024 * 1024);
	run(0, 500, 400e6, 0);
	ck_assert(w.full);
	ck_assert_uint_ge(w.window_len, 256 * 1024);
	ck_assert_uint_le(w.window_len, 400000 * 5 / 4 + 576 * 1024);
}
END_TEST

START_TEST(comes_back)
{
	/* a window of two large requests grows again when the line does: what it carries in a round
	 * trip is not the line's own time with one of them */
	static const int64_t rtts_ms[] = {100, 150, 200};

	for (unsigned i = 0; i < 3; i++) {
		begin(4 * 1024 * 1024);
		piece_len = 261120;
		run(0, 3000, 12.5e6, rtts_ms[i]);
		run(3000, 10000, 1e6, rtts_ms[i]);
		run(13000, 5000, 12.5e6, rtts_ms[i]);
		ck_assert_uint_ge(run(18000, 2000, 12.5e6, rtts_ms[i]),
		                  (uint64_t)(12.5e6 * 2 * 0.9));
	}
}
END_TEST

START_TEST(held_up)
{
	/* a writer that pauses in its first flight, and a server that answers all of it at once: the
	 * lanes get their channel windows, no more */
	begin(1024 * 1024);
	for (int i = 0; i < 26; i++)
		send_one(0, 1e12, 100);
	for (int i = 0; i < 4; i++)
		send_one(20, 1e12, 100);
	finish(171);
	fxp_window_grow(&w, 6);
	ck_assert_uint_eq(w.window_len, 6 * 2 * 1024 * 1024);
}
END_TEST

/* --- two directions ------------------------------------------------------------------------ */

#define LANES_LEN (6u * 2 * 1024 * 1024) /* of the channel windows, beyond which WRITEs wait here */

/* One direction and what is under way in it. */
struct way {
	struct fxp_window w;
	struct fxp_window_sample samples[QUEUE_SIZE];
	double done_ms[QUEUE_SIZE];
	unsigned head, sent, tail; /* handed over, on the line, answered */
	double free_ms;            /* when the line is */
	double last_ms;
};

static struct way up, down;

static void way_take(struct way *y, int64_t now)
{
	for (; y->tail != y->sent && y->done_ms[y->tail % QUEUE_SIZE] <= (double)now; y->tail++)
		fxp_window_done(&y->samples[y->tail % QUEUE_SIZE], PIECE, now);
}

static double later(double a, double b)
{
	return a > b ? a : b;
}

static void way_done_at(struct way *y, double at_ms)
{
	y->last_ms = later(y->last_ms, at_ms);
	y->done_ms[y->sent++ % QUEUE_SIZE] = y->last_ms;
}

/* READs wait behind the WRITEs' data; it needs no time to ask. */
static void read_some(int64_t now, double piece_ms, double half_ms)
{
	while (fxp_window_room(&down.w) && fxp_window_due_ms(&down.w, now) <= now) {
		fxp_window_sent(&down.w, &down.samples[down.head++ % QUEUE_SIZE], PIECE, now);
		down.free_ms =
		    later(down.free_ms, later(up.free_ms, (double)now) + half_ms) + piece_ms;
		way_done_at(&down, down.free_ms + half_ms);
	}
}

/* Their answers wait behind the READs' data. */
static void write_some(int64_t now, double piece_ms, double half_ms)
{
	while (fxp_window_room(&up.w) &&
	       (!fxp_window_faced(&up.w) || fxp_window_due_ms(&up.w, now) <= now))
		fxp_window_sent(&up.w, &up.samples[up.head++ % QUEUE_SIZE], PIECE, now);
	while (up.sent != up.head && (up.sent - up.tail + 1) * PIECE <= LANES_LEN) {
		up.free_ms = later(up.free_ms, (double)now) + piece_ms;
		way_done_at(&up, later(up.free_ms + half_ms, down.free_ms) + half_ms);
	}
}

/* A reader, and from `write_ms` on a writer; both stand still for 15 ms now and then, as the machine does. */
static void run_both(int64_t from_ms, int64_t end_ms, double rate, int64_t rtt_ms, int64_t write_ms)
{
	const double piece_ms = PIECE * 1000 / rate, half_ms = (double)rtt_ms / 2;

	for (int64_t now = from_ms; now < end_ms; now++) {
		if (now % 170 < 15)
			continue;
		way_take(&up, now);
		way_take(&down, now);
		read_some(now, piece_ms, half_ms);
		if (now >= write_ms)
			write_some(now, piece_ms, half_ms);
	}
}

START_TEST(two_ways)
{
	/* streams in opposite directions share a line as two: neither starves behind the other's
	 * queue, whichever came first and however long it lasts */
	static const int64_t rtts_ms[] = {20, 50};
	static const double rates[] = {25e6, 125e6};

	for (unsigned i = 0; i < 8; i++) {
		const int64_t rtt_ms = rtts_ms[i % 2], write_ms = i < 4 ? 100 : 2000;
		const double rate = rates[i / 2 % 2], least = rate * 20 * 0.75;
		uint64_t up_len, down_len;

		memset(&up, 0, sizeof(up));
		memset(&down, 0, sizeof(down));
		fxp_window_init(&up.w, 4 * 1024 * 1024);
		fxp_window_init(&down.w, 4 * 1024 * 1024);
		fxp_window_face(&up.w, &down.w);
		run_both(0, 3000, rate, rtt_ms, write_ms);
		up_len = up.w.delivered_len;
		down_len = down.w.delivered_len;
		run_both(3000, 23000, rate, rtt_ms, write_ms);
		ck_assert_uint_ge(up.w.delivered_len - up_len, (uint64_t)least);
		ck_assert_uint_ge(down.w.delivered_len - down_len, (uint64_t)least);
		/* and a lookup, which passes both queues, is answered within three round trips */
		ck_assert_double_le((double)(up.w.window_len + down.w.window_len),
		                    rate * (double)rtt_ms / 1000 * 4 + rate * 0.03);
	}
}
END_TEST

START_TEST(one_way)
{
	/* a few small requests the other way are no stream: they change nothing */
	struct fxp_window other;
	struct fxp_window_sample s;
	size_t alone_len;

	begin(128 * 1024);
	run(0, 3000, 12.5e6, 50);
	alone_len = w.window_len;
	begin(128 * 1024);
	fxp_window_init(&other, 128 * 1024);
	fxp_window_face(&w, &other);
	fxp_window_sent(&other, &s, 100000, 0);
	run(0, 3000, 12.5e6, 50);
	ck_assert(!fxp_window_faced(&w));
	ck_assert_uint_eq(w.window_len, alone_len);
}
END_TEST

CHECK_MAIN("window", two_always, finds_rate, units, first_flight, late_flight, never_floods,
           survives_a_slow_server, bears_stalls, little_work, follows_down, grows_again, more_lanes,
           no_creep, second_stream, batches, own_time, no_distance, comes_back, held_up, two_ways,
           one_way)
