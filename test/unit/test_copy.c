/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies within the server while the connection breaks. The peer is a server that remembers which
 * files each of its processes has open: a handle means something there and nowhere else.
 */
#include <check.h>
#include <string.h>

#include "check_main.h"
#include "peer.h"
#include "sftp/engine.h"

#define HANDLES_MAX 8

static struct peer p;
static struct got g;
static struct be_attr attrs[3];
static const char *const names[3] = {"/root/a", "/root/b", "/root/c"};
static const char *open_on[PEER_LANES_MAX][HANDLES_MAX];
static unsigned copied_count;

static struct be_attr *attr_of(const char *path)
{
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(names[i], path) == 0)
			return &attrs[i];
	ck_abort_msg("nobody asks for \"%s\"", path);
	return NULL;
}

/* What the lane's process has open by that handle; NULL: nothing. */
static const char *file_of(uint32_t lane, const char *handle)
{
	for (unsigned i = 0; i < 3; i++)
		if (handle[i])
			return NULL;
	return (uint8_t)handle[3] < HANDLES_MAX ? open_on[lane][(uint8_t)handle[3]] : NULL;
}

static void serve_open(const struct peer_request *r)
{
	uint32_t index = 0;

	while (open_on[r->lane][index])
		ck_assert_uint_lt(++index, HANDLES_MAX);
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(names[i], r->path) == 0)
			open_on[r->lane][index] = names[i];
	peer_index(&p, r, index);
}

static void serve_copy(const struct peer_request *r)
{
	const char *from = file_of(r->lane, r->handle), *to = file_of(r->lane, r->handle2);

	/* A server would read from, or write to, whatever the handle means to it. */
	ck_assert_str_eq(r->ext, "copy-data");
	ck_assert_str_eq(from ? from : "nothing", names[0]);
	ck_assert_str_eq(to ? to : "nothing", names[1]);
	attrs[1].size = r->off2 + r->len;
	attrs[1].mtime++;
	copied_count++;
	peer_status(&p, r, FX_OK);
}

static void serve_one(void)
{
	struct peer_request *r = list_entry(p.requests.next, struct peer_request, entry);
	const char *file = file_of(r->lane, r->handle);

	peer_take(&p, r->type);
	switch (r->type) {
	case FXP_OPEN:
		serve_open(r);
		break;
	case FXP_LSTAT:
		peer_attr(&p, r, attr_of(r->path));
		break;
	case FXP_FSTAT:
		if (file)
			peer_attr(&p, r, attr_of(file));
		else
			peer_status(&p, r, FX_FAILURE);
		break;
	case FXP_CLOSE:
		if (file)
			open_on[r->lane][(uint8_t)r->handle[3]] = NULL;
		peer_status(&p, r, file ? FX_OK : FX_FAILURE);
		break;
	case FXP_EXTENDED:
		serve_copy(r);
		break;
	default:
		ck_abort_msg("a request of type %u", r->type);
	}
	peer_run(&p);
}

/* Answers at most `count` requests. Return: how many it were. */
static unsigned serve(unsigned count)
{
	unsigned n = 0;

	for (peer_run(&p); n < count && peer_waiting(&p); n++)
		serve_one();
	return n;
}

static struct be_file *open_file(unsigned i, uint32_t flags)
{
	struct got got = {0};

	ck_assert_int_eq(OPS(&p)->open(BE(&p), names[i], flags, 0, i + 1, 0, got_where,
	                               (void *)names[i], got_open, &got),
	                 0);
	serve(100);
	ck_assert_int_eq(got.code, BE_OK);
	return got.file;
}

static void cut(void)
{
	peer_cut(&p, LINK_FAIL_NETWORK);
	memset(open_on, 0, sizeof(open_on));
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
}

/*
 * A copy whose connection breaks after `first` answers, and once more after `second`.
 * Return: false when it was over before.
 */
static bool copy_with_cuts(uint32_t from_flags, bool proven, unsigned first, unsigned second)
{
	struct be_file *other, *from, *to;
	bool over;

	memset(&g, 0, sizeof(g));
	memset(open_on, 0, sizeof(open_on));
	copied_count = 0;
	for (unsigned i = 0; i < 3; i++)
		attrs[i] = peer_file_attr(100, 50);
	peer_init(&p);
	check_allow_errors();
	p.proven = proven;
	peer_start(&p, "/root");
	/* One more, so that the same handle is another file on another lane. */
	other = open_file(2, BE_READ | BE_WRITE);
	from = open_file(0, from_flags);
	to = open_file(1, BE_WRITE);
	ck_assert_int_eq(OPS(&p)->copy(BE(&p), from, 0, to, 0, 200, got_status, &g), 0);
	over = serve(first) < first;
	cut();
	over = serve(second) < second || over;
	if (second)
		cut();
	serve(100);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_msg(g.code == BE_OK, "cut after %u, %u answers: %d", first, second, g.code);
	ck_assert_uint_ge(copied_count, 1);
	OPS(&p)->close(BE(&p), other);
	OPS(&p)->close(BE(&p), from);
	OPS(&p)->close(BE(&p), to);
	serve(100);
	peer_finish(&p);
	return !over;
}

static void cut_everywhere(uint32_t from_flags, bool proven)
{
	unsigned first = 0;

	while (copy_with_cuts(from_flags, proven, first, 0)) {
		unsigned second = 1;

		while (copy_with_cuts(from_flags, proven, first, second))
			second++;
		first++;
	}
	ck_assert_uint_gt(first, 0);
}

START_TEST(cut_between_lanes)
{
	/* the source has to be opened next to the target: a lost look at it is no answer */
	cut_everywhere(BE_READ, true);
	cut_everywhere(BE_READ, false);
}
END_TEST

START_TEST(cut_on_one_lane)
{
	/* files that shared a lane may be on two after a reconnect: no handle goes to the other one */
	cut_everywhere(BE_READ | BE_WRITE, true);
	cut_everywhere(BE_READ | BE_WRITE, false);
}
END_TEST

CHECK_MAIN("copy", cut_between_lanes, cut_on_one_lane)
