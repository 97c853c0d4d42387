/* SPDX-License-Identifier: BSD-2-Clause */
/* Writing one file over several lanes: when, the proof, order, and what happens without it. */
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "peer.h"
#include "sftp/engine.h"

#define PIECE 261120u

static struct peer p;
static struct got g, h;
static struct data *d;
static struct be_file *f;
static uint64_t written;

static void write_piece(uint64_t off)
{
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, off, d, 0, PIECE, got_status, &g), 0);
	if (off + PIECE > written)
		written = off + PIECE;
}

static void answer_writes(void)
{
	bool any = true;

	while (any) {
		any = false;
		list_for_each_safe(pos, next, &p.requests) {
			struct peer_request *r = list_entry(pos, struct peer_request, entry);

			if (r->type != FXP_WRITE)
				continue;
			list_del(&r->entry);
			list_push_back(&p.taken, &r->entry);
			peer_status(&p, r, FX_OK);
			any = true;
		}
		peer_run(&p);
	}
}

#define FILE_LANE 3u /* that a file opened for writing is on */
#define ALL_LANES 0xfcu

static void begin_peer(uint32_t flags)
{
	struct be_attr empty = peer_file_attr(0, 50);

	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	written = 0;
	peer_init(&p);
	p.rtt_ms = 10;
	peer_start(&p, "");
	d = data_create(&p.budget, PIECE);
	memset(d->bytes, 'x', PIECE);
	f = peer_open(&p, "/root/big", flags, 1, "H", &empty);
}

static void write_acked(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		write_piece(written);
	answer_writes();
}

#define ACKED (16u * PIECE) /* a little less than 4 MiB */

/* A file becomes 4 MiB long, all but the last piece was written; the other lanes are up; OPENs are out on them. */
static void begin(uint32_t flags)
{
	begin_peer(flags);
	write_acked(15);
	peer_answer_setup(&p);
	write_acked(1);
	write_piece(written);
	ck_assert_uint_eq(g.count, 16);
}

static void finish(void)
{
	data_unref(d);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
}

/* Answers the OPENs with handles "S<lane>". Return: how many there were. */
static unsigned answer_opens(void)
{
	unsigned count = 0;

	while (peer_waiting(&p)) {
		struct peer_request *r = peer_take(&p, FXP_OPEN);
		char name[16];

		ck_assert_uint_eq(r->pflags, FXF_WRITE);
		ck_assert_str_eq(r->path, "/root/big");
		snprintf(name, sizeof(name), "S%u", r->lane);
		peer_handle(&p, r, name);
		count++;
	}
	peer_run(&p);
	return count;
}

/* Answers every FSTAT; on lane `odd` with `other`. */
static void answer_proof_but(uint64_t size, uint32_t odd, const struct be_attr *other)
{
	struct be_attr attr = peer_file_attr(size, 60);

	while (peer_waiting(&p)) {
		struct peer_request *r = peer_take(&p, FXP_FSTAT);

		peer_attr(&p, r, r->lane == odd ? other : &attr);
	}
	peer_run(&p);
}

/* On lane `odd` with another mtime. */
static void answer_proof(uint64_t size, uint32_t odd)
{
	struct be_attr other = peer_file_attr(size, 61);

	answer_proof_but(size, odd, &other);
}

/* Writes twelve pieces. Return: a bit for each lane they went to. */
static unsigned lanes_used(void)
{
	unsigned lanes = 0;

	for (unsigned i = 0; i < 12; i++)
		write_piece(written);
	list_for_each(pos, &p.requests) {
		const struct peer_request *r = list_entry(pos, const struct peer_request, entry);

		if (r->type == FXP_WRITE)
			lanes |= 1u << r->lane;
	}
	return lanes;
}

START_TEST(proven)
{
	/* a large file is written over six lanes once all handles show the same file */
	begin(BE_WRITE);
	ck_assert_uint_eq(answer_opens(), 5);
	ck_assert_uint_eq(peer_waiting(&p), 6);
	answer_proof(ACKED, 0);
	ck_assert_uint_eq(lanes_used(), ALL_LANES);
	answer_writes();
	/* close closes them all */
	data_unref(d);
	OPS(&p)->close(BE(&p), f);
	ck_assert_uint_eq(peer_waiting(&p), 6);
	for (unsigned i = 0; i < 6; i++)
		peer_status(&p, peer_take(&p, FXP_CLOSE), FX_OK);
	peer_run(&p);
	peer_finish(&p);
}
END_TEST

START_TEST(other_file)
{
	/* a handle that shows anything else is closed and never carries data */
	for (unsigned i = 0; i < 6; i++) {
		struct be_attr other = peer_file_attr(ACKED, 60);

		other.size -= i == 0;
		other.mtime += i == 1;
		other.mode ^= i == 2 ? 0111 : 0;
		other.uid += i == 3;
		other.gid += i == 4;
		other.valid &= i == 5 ? ~(uint32_t)BE_ATTR_OWNER : ~0u;
		begin(BE_WRITE);
		answer_opens();
		answer_proof_but(ACKED, 4, &other);
		ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "S4");
		ck_assert_uint_eq(lanes_used(), ALL_LANES & ~(1u << 4));
		finish();
	}
}
END_TEST

START_TEST(foreign_size)
{
	/* a size that our own writes do not explain proves nothing */
	begin(BE_WRITE);
	answer_opens();
	answer_proof(ACKED + 1, 0);
	for (unsigned i = 0; i < 5; i++)
		peer_take(&p, FXP_CLOSE);
	ck_assert_uint_eq(lanes_used(), 1u << FILE_LANE);
	finish();
}
END_TEST

START_TEST(refused)
{
	/* where further handles are refused the file stays on its lane, without an error */
	begin(BE_WRITE);
	for (unsigned i = 0; i < 5; i++)
		peer_status(&p, peer_take(&p, FXP_OPEN), FX_PERMISSION_DENIED);
	peer_run(&p);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	ck_assert_uint_eq(lanes_used(), 1u << FILE_LANE);
	finish();
}
END_TEST

START_TEST(append_never)
{
	/* a file opened with O_APPEND is never striped */
	begin(BE_WRITE | BE_APPEND);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	ck_assert_uint_eq(lanes_used(), 1u << FILE_LANE);
	finish();
}
END_TEST

START_TEST(held_for_proof)
{
	/* while the proof is under way no byte is written */
	begin(BE_WRITE);
	answer_opens();
	write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 6);
	answer_proof(ACKED, 0);
	peer_take(&p, FXP_WRITE);
	finish();
}
END_TEST

START_TEST(overlap)
{
	/* a write over bytes that are under way on another lane waits for them; fsync for all lanes
	 */
	struct peer_request *own, *first;

	begin(BE_WRITE);
	answer_opens();
	answer_proof(ACKED, 0);
	own = peer_take(&p, FXP_WRITE);
	ck_assert_uint_eq(own->lane, FILE_LANE);
	write_piece(written);
	first = peer_take(&p, FXP_WRITE);
	ck_assert_uint_ne(first->lane, FILE_LANE);
	for (unsigned i = 0; i < 5; i++)
		write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 5);
	write_piece(first->off);
	write_piece(first->off);
	ck_assert_uint_eq(peer_waiting(&p), 5);
	ck_assert_int_eq(OPS(&p)->fsync(BE(&p), f, got_status, &h), 0);
	list_for_each(pos, &p.requests)
		ck_assert_uint_eq(list_entry(pos, struct peer_request, entry)->type, FXP_WRITE);
	peer_status(&p, own, FX_OK);
	peer_status(&p, first, FX_OK);
	peer_run(&p);
	answer_writes();
	ck_assert_uint_eq(h.count, 0);
	peer_status(&p, peer_find(&p, FXP_EXTENDED), FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	finish();
}
END_TEST

START_TEST(barriers)
{
	/* what concerns all of the file waits for the WRITEs of every lane, and later ones wait for it */
	enum { FSTAT, SIZE, TWO, FSYNC, COPY_FROM, COPY_TO, COUNT };
	static const uint8_t types[COUNT] = {FXP_FSTAT,    FXP_FSETSTAT, FXP_FSETSTAT,
	                                     FXP_EXTENDED, FXP_OPEN,     FXP_OPEN};
	const struct be_attr size = {.valid = BE_ATTR_SIZE, .size = 5};
	const struct be_attr two = {.valid = BE_ATTR_MODE | BE_ATTR_OWNER, .mode = 0600};

	for (unsigned i = 0; i < COUNT; i++) {
		struct be_attr attr = peer_file_attr(100, 50);
		struct be_file *other;
		unsigned order = 0;

		begin(BE_READ | BE_WRITE);
		answer_opens();
		answer_proof(ACKED, 0);
		answer_writes();
		other = peer_open(&p, "/root/other", BE_READ | BE_WRITE, 2, "O", &attr);
		ck_assert_uint_eq(lanes_used(), ALL_LANES);
		if (i == FSTAT)
			ck_assert_int_eq(OPS(&p)->fstat(BE(&p), f, got_attr, &h), 0);
		else if (i == SIZE || i == TWO)
			ck_assert_int_eq(
			    OPS(&p)->fsetattr(BE(&p), f, i == TWO ? &two : &size, got_attr, &h), 0);
		else if (i == FSYNC)
			ck_assert_int_eq(OPS(&p)->fsync(BE(&p), f, got_status, &h), 0);
		else
			ck_assert_int_eq(OPS(&p)->copy(BE(&p), i == COPY_TO ? other : f, 0,
			                               i == COPY_TO ? f : other, 0, 50, got_status,
			                               &h),
			                 0);
		write_piece(0);
		ck_assert_uint_eq(peer_waiting(&p), 12);
		for (unsigned n = 0; n < 12; n++) {
			ck_assert_uint_eq(h.count, 0);
			peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK);
			peer_run(&p);
			/* on the handle's own lane it may go behind its own WRITEs */
			list_for_each(pos, &p.requests)
				order +=
				    list_entry(pos, struct peer_request, entry)->type == types[i];
			ck_assert(n == 11 || !order);
		}
		ck_assert_uint_gt(order, 0);
		/* nothing between the steps of one change, nor what a copy is about to replace */
		ck_assert(i != TWO || peer_waiting(&p) == 2);
		order = peer_waiting(&p);
		if (i == COPY_TO)
			ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 5 * PIECE, 10, got_read, &h), 0);
		ck_assert_uint_eq(peer_waiting(&p), order);
		ck_assert_uint_eq(list_entry(p.requests.next, struct peer_request, entry)->type,
		                  types[i]);
		OPS(&p)->close(BE(&p), other);
		finish();
	}
}
END_TEST

START_TEST(lost)
{
	/* after a loss everything goes again over the one handle that was opened again */
	struct be_attr now;
	unsigned again = 0;

	begin(BE_WRITE);
	check_allow_errors();
	answer_opens();
	answer_proof(ACKED, 0);
	ck_assert_uint_eq(lanes_used(), ALL_LANES);
	peer_cut(&p, LINK_FAIL_NETWORK);
	peer_wait(&p, 1000);
	peer_answer_setup(&p);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	peer_run(&p);
	now = peer_file_attr(written - PIECE, 70);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
	peer_run(&p);
	while (g.count < 29) {
		struct peer_request *r = list_entry(p.requests.next, struct peer_request, entry);

		peer_answer_setup(&p);
		r = peer_take(&p, r->type);
		if (r->type == FXP_WRITE)
			ck_assert_str_eq(r->handle, "H2");
		else
			ck_assert_uint_eq(r->type, FXP_OPEN); /* further ones, refused this time */
		again += r->type == FXP_WRITE;
		peer_status(&p, r, r->type == FXP_WRITE ? FX_OK : FX_PERMISSION_DENIED);
		peer_run(&p);
	}
	ck_assert_uint_eq(g.count, 29);
	ck_assert_uint_eq(again, 29 - 16);
	ck_assert_int_eq(g.code, BE_OK);
	finish();
}
END_TEST

/* Requests not taken on one lane, the types of the first two in *first and *second. */
static unsigned on_lane(uint32_t lane, uint8_t *first, uint8_t *second)
{
	unsigned count = 0;

	list_for_each(pos, &p.requests) {
		const struct peer_request *r = list_entry(pos, const struct peer_request, entry);

		if (r->lane != lane)
			continue;
		if (count == 0)
			*first = r->type;
		else if (count == 1)
			*second = r->type;
		count++;
	}
	return count;
}

/* The file becomes 4 MiB long before the further lanes open; then they do, and say nothing. */
static void begin_greeting(void)
{
	begin_peer(BE_WRITE);
	p.hold_lanes = true;
	write_acked(16);
	write_piece(written);
	ck_assert_uint_eq(g.count, 16);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_open_lanes(&p);
}

START_TEST(behind_init)
{
	/* the OPENs leave when the lanes come, right behind their INIT */
	uint8_t first = 0, second = 0;

	begin_greeting();
	for (uint32_t lane = 4; lane <= 7; lane++) {
		ck_assert_uint_eq(on_lane(lane, &first, &second), 2);
		ck_assert_uint_eq(first, FXP_INIT);
		ck_assert_uint_eq(second, FXP_OPEN);
	}
	ck_assert_uint_eq(on_lane(2, &first, &second), 1);
	/* nothing else goes there before they have spoken */
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &h), 0);
	ck_assert_uint_eq(peer_find(&p, FXP_LSTAT)->lane, 1);
	peer_answer_setup(&p);
	ck_assert_uint_eq(answer_opens(), 5);
	answer_proof(ACKED, 0);
	ck_assert_uint_eq(lanes_used(), ALL_LANES);
	finish();
}
END_TEST

START_TEST(version_first)
{
	/* a lane whose first packet is no VERSION costs the connection, whatever else it answers */
	begin_greeting();
	check_allow_errors();
	list_for_each(pos, &p.requests) {
		struct peer_request *r = list_entry(pos, struct peer_request, entry);

		if (r->lane == 5 && r->type == FXP_OPEN)
			peer_handle(&p, r, "S5");
	}
	peer_run(&p);
	ck_assert_uint_eq(p.reset_count, 1);
	p.hold_lanes = false;
	finish();
}
END_TEST

START_TEST(refused_late)
{
	/* a lane that ends before it has spoken was refused: the file goes on over the others */
	begin_greeting();
	peer_close_lane(&p, 5, 1);
	peer_run(&p);
	ck_assert_uint_eq(p.reset_count, 0);
	list_for_each_safe(pos, next, &p.requests) {
		struct peer_request *r = list_entry(pos, struct peer_request, entry);

		if (r->lane == 5) {
			list_del(&r->entry);
			list_push_back(&p.taken, &r->entry);
		}
	}
	peer_answer_setup(&p);
	ck_assert_uint_eq(answer_opens(), 5);
	/* the fifth was opened on the first lane, where no data may go */
	ck_assert_uint_eq(peer_find(&p, FXP_CLOSE)->lane, 1);
	answer_proof(ACKED, 0);
	ck_assert_uint_eq(lanes_used(), ALL_LANES & ~(1u << 5));
	finish();
}
END_TEST

#define BURST_LANE     4u
#define LANES_FORETOLD ((ALL_LANES << 1 & ~(1u << BURST_LANE)) | 1u << 2) /* 2, 3, 5 to 8 */

/* The server's handles can be foretold. A file of `size` bytes is open; further lanes are held. */
static void begin_foretold(uint64_t size)
{
	struct be_attr attr = peer_file_attr(size, 50);

	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	written = 0;
	peer_init(&p);
	p.rtt_ms = 10;
	p.proven = true;
	peer_start(&p, "");
	peer_answer_setup(&p);
	d = data_create(&p.budget, PIECE);
	memset(d->bytes, 'x', PIECE);
	ck_assert_int_eq(OPS(&p)->open(BE(&p), "/root/big", BE_WRITE, 0644, 1, 0, got_where,
	                               (void *)"/root/big", got_open, &h),
	                 0);
	peer_run(&p);
	peer_index(&p, peer_take(&p, FXP_OPEN), 0);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	f = h.file;
	p.hold_lanes = true;
}

static void expect_greeting(uint32_t lane)
{
	uint8_t first = 0, second = 0;

	ck_assert_uint_eq(on_lane(lane, &first, &second), 3);
	ck_assert_uint_eq(first, FXP_INIT);
	ck_assert_uint_eq(second, FXP_OPEN);
}

/* Answers OPENs with the foretold handle, on lane `odd` with another, and FSTATs. */
static void answer_foretold(uint64_t size, uint32_t odd)
{
	struct be_attr attr = peer_file_attr(size, 60);

	while (peer_waiting(&p)) {
		struct peer_request *r = list_entry(p.requests.next, struct peer_request, entry);

		r = peer_take(&p, r->type);
		if (r->type == FXP_OPEN)
			peer_index(&p, r, r->lane == odd ? 7 : 0);
		else if (r->type == FXP_FSTAT)
			peer_attr(&p, r, &attr);
		else
			ck_assert_uint_eq(r->type, FXP_CLOSE);
	}
	peer_run(&p);
}

START_TEST(foretold)
{
	/* where handles can be foretold the proof leaves with the OPENs, when no WRITE is on its way */
	begin_foretold(0);
	write_acked(15);
	write_piece(written);
	write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	peer_open_lanes(&p);
	peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK); /* INITs only, until it is answered */
	for (uint32_t lane = 5; lane <= 8; lane++) {
		uint8_t first = 0, second = 0;

		ck_assert_uint_eq(on_lane(lane, &first, &second), 1);
	}
	peer_run(&p);
	for (uint32_t lane = 5; lane <= 8; lane++)
		expect_greeting(lane);
	peer_answer_setup(&p);
	ck_assert_uint_eq(peer_waiting(&p), 11);
	answer_foretold(ACKED, 0);
	ck_assert_uint_eq(lanes_used(), LANES_FORETOLD);
	p.hold_lanes = false;
	finish();
}
END_TEST

START_TEST(foretold_wrongly)
{
	/* a handle that is not the foretold one was not looked at: it is closed, unless all are proven anew */
	begin_foretold(0);
	write_acked(16);
	write_piece(written);
	peer_open_lanes(&p);
	peer_answer_setup(&p);
	answer_foretold(ACKED, 6);
	ck_assert_uint_eq(lanes_used(), LANES_FORETOLD & ~(1u << 6));
	p.hold_lanes = false;
	finish();
}
END_TEST

START_TEST(late)
{
	/* lanes that take more than three round trips are not waited for, and used when they come */
	begin_foretold(0);
	write_acked(16);
	write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_wait(&p, 29);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_wait(&p, 1);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	answer_writes();
	write_acked(1);
	write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	answer_writes();
	peer_open_lanes(&p);
	peer_answer_setup(&p);
	answer_foretold(written, 0);
	ck_assert_uint_eq(lanes_used(), LANES_FORETOLD);
	p.hold_lanes = false;
	finish();
}
END_TEST

START_TEST(closed_while_awaited)
{
	/* a file that is closed while its lanes are awaited is written to its end */
	begin_foretold(0);
	write_acked(16);
	write_piece(written);
	data_unref(d);
	OPS(&p)->close(BE(&p), f);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_wait(&p, 30);
	answer_writes();
	ck_assert_uint_eq(g.count, 17);
	peer_status(&p, peer_take(&p, FXP_CLOSE), FX_OK);
	p.hold_lanes = false;
	peer_finish(&p);
}
END_TEST

START_TEST(lost_while_awaited)
{
	/* what was held when the connection broke goes over the next one */
	struct be_attr now;

	begin_foretold(0);
	check_allow_errors();
	write_acked(16);
	write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	p.hold_lanes = false;
	peer_cut(&p, LINK_FAIL_NETWORK);
	peer_wait(&p, 1000);
	peer_answer_setup(&p);
	peer_index(&p, peer_take(&p, FXP_OPEN), 0);
	peer_run(&p);
	now = peer_file_attr(ACKED, 70);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
	peer_run(&p);
	answer_writes();
	ck_assert_uint_eq(g.count, 17);
	ck_assert_int_eq(g.code, BE_OK);
	finish();
}
END_TEST

START_TEST(in_place)
{
	/* WRITEs inside a large file prove nothing: none is held, no lane and no handle is opened */
	begin_foretold(64 * ACKED);
	p.hold_lanes = false;
	write_piece(0);
	write_piece(10 * PIECE);
	write_piece(20 * PIECE);
	ck_assert_uint_eq(peer_waiting(&p), 3);
	answer_writes();
	ck_assert_uint_eq(g.count, 3);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	finish();
}
END_TEST

START_TEST(one_channel)
{
	/* before the proof no more is on its way than the window of one channel always holds */
	begin_foretold(0);
	fxp_window_raise(&fxp_backend_of(BE(&p))->client.up_window, 32 * PIECE);
	for (unsigned i = 0; i < 10; i++)
		write_piece(written);
	ck_assert_uint_eq(peer_waiting(&p), 7);
	p.hold_lanes = false;
	answer_writes();
	finish();
}
END_TEST

CHECK_MAIN("stripe", proven, other_file, foreign_size, refused, append_never, held_for_proof,
           overlap, barriers, lost, behind_init, version_first, refused_late, foretold,
           foretold_wrongly, late, closed_while_awaited, lost_while_awaited, in_place, one_channel)
