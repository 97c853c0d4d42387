/* SPDX-License-Identifier: BSD-2-Clause */
/* Too many handles for the server: those of files that rest are given back. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "peer.h"
#include "sftp/engine.h"

#define COUNT 40

static struct peer p;
static struct got g;
static struct be_file *files[COUNT];
static char paths[COUNT][32];

/* One lane, COUNT files open for reading, and as many allowed. */
static void begin(void)
{
	const struct be_attr attr = peer_file_attr(10, 9);

	peer_init(&p);
	memset(&g, 0, sizeof(g));
	p.lane_max = 1;
	p.limits.handle_count = COUNT;
	peer_start(&p, "/root");
	for (unsigned i = 0; i < COUNT; i++) {
		char handle[32];

		snprintf(paths[i], sizeof(paths[i]), "/root/f%u", i);
		snprintf(handle, sizeof(handle), "H%u", i);
		files[i] = peer_open(&p, paths[i], BE_READ, i + 10, handle, &attr);
		OPS(&p)->file_node(BE(&p), files[i], i + 10, paths[i]);
	}
}

static void end(void)
{
	for (unsigned i = 0; i < COUNT; i++)
		OPS(&p)->close(BE(&p), files[i]);
	peer_run(&p);
	peer_finish(&p);
}

START_TEST(refused)
{
	/* an OPEN that is refused is asked for again, behind the CLOSEs of the files used longest ago */
	const struct be_attr attr = peer_file_attr(10, 9);
	struct be_file *file;

	begin();
	ck_assert_int_eq(
	    OPS(&p)->open(BE(&p), "/root/more", BE_READ, 0, 7, 0, got_where, NULL, got_open, &g),
	    0);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_OPEN), FX_FAILURE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &attr);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	for (unsigned i = 0; i < 16; i++) {
		char handle[32];
		struct peer_request *r = peer_take(&p, FXP_CLOSE);

		snprintf(handle, sizeof(handle), "H%u", i);
		ck_assert_str_eq(r->handle, handle);
		peer_status(&p, r, FX_OK);
	}
	peer_handle(&p, peer_take(&p, FXP_OPEN), "M");
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	file = g.file;
	OPS(&p)->close(BE(&p), file);
	end();
}
END_TEST

/* Parks files 0 to 15. */
static void park(void)
{
	ck_assert_uint_eq(fxp_park_some(p.fb, p.fb->client.meta->id), 16);
	peer_run(&p);
	for (unsigned i = 0; i < 16; i++)
		peer_status(&p, peer_take(&p, FXP_CLOSE), FX_OK);
	peer_run(&p);
}

START_TEST(read_again)
{
	/* a READ of a parked file waits until it is open again and known to be the same */
	const struct be_attr attr = peer_file_attr(10, 9);
	struct peer_request *r;

	begin();
	park();
	ck_assert_int_eq(OPS(&p)->read(BE(&p), files[3], 0, 10, got_read, &g), 0);
	peer_run(&p);
	r = peer_take(&p, FXP_OPEN);
	ck_assert_str_eq(r->path, "/root/f3");
	ck_assert_uint_eq(r->pflags, FXF_READ);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_handle(&p, r, "N");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	r = peer_take(&p, FXP_READ);
	ck_assert_str_eq(r->handle, "N");
	peer_data(&p, r, "0123456789", 10);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	end();
}
END_TEST

START_TEST(another_file)
{
	/* a parked file whose name is another file now is stale, not the other one */
	const struct be_attr attr = peer_file_attr(11, 10);

	begin();
	check_allow_errors();
	park();
	ck_assert_int_eq(OPS(&p)->read(BE(&p), files[3], 0, 10, got_read, &g), 0);
	peer_run(&p);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "N");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "N");
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_STALE);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	end();
}
END_TEST

static void expect_open_before(uint8_t type)
{
	const struct be_attr attr = peer_file_attr(10, 9);
	struct peer_request *r;

	peer_run(&p);
	r = peer_take(&p, FXP_OPEN);
	ck_assert_str_eq(r->path, "/root/f3");
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_handle(&p, r, "N");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	peer_status(&p, peer_take(&p, type), FX_OK);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_uint_eq(peer_waiting(&p), 0);
}

START_TEST(name_goes)
{
	/* before its name is removed or replaced a parked file is opened: it stays usable */
	begin();
	park();
	ck_assert_int_eq(OPS(&p)->remove(BE(&p), "/root/f3", got_status, &g), 0);
	expect_open_before(FXP_REMOVE);
	end();

	begin();
	park();
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/x", "/root/f3", BE_RENAME_REPLACE, got_status, &g), 0);
	expect_open_before(FXP_EXTENDED);
	end();
}
END_TEST

static int no_name(void *owner, char *path, size_t size)
{
	return -ESTALE;
}

START_TEST(not_parked)
{
	/* files that are written, read just now, or without a name are left alone; so are all when few */
	const struct be_attr attr = peer_file_attr(10, 9);
	struct be_file *writer, *nameless;
	unsigned count = 0;

	begin();
	writer = peer_open(&p, "/root/w", BE_READ | BE_WRITE, 99, "W", &attr);
	nameless = peer_open(&p, "/root/n", BE_READ, 98, "X", &attr);
	nameless->where = no_name;
	ck_assert_int_eq(OPS(&p)->read(BE(&p), files[0], 0, 10, got_read, &g), 0);
	for (unsigned round = 0; round < 4; round++)
		fxp_park_some(p.fb, p.fb->client.meta->id);
	peer_run(&p);
	ck_assert(!files[0]->parked && !writer->parked && !nameless->parked);
	for (unsigned i = 0; i < COUNT; i++)
		count += files[i]->parked;
	ck_assert_uint_eq(count, 32);
	peer_status(&p, peer_find(&p, FXP_READ), FX_EOF);
	OPS(&p)->close(BE(&p), writer);
	OPS(&p)->close(BE(&p), nameless);
	peer_run(&p);
	end();
}
END_TEST

START_TEST(cut)
{
	/* a parked file stays so over a reconnect; one being opened again is opened on the new one */
	const struct be_attr attr = peer_file_attr(10, 9);

	begin();
	check_allow_errors();
	park();
	ck_assert_int_eq(OPS(&p)->read(BE(&p), files[3], 0, 10, got_read, &g), 0);
	peer_run(&p);
	peer_take(&p, FXP_OPEN);
	peer_cut(&p, LINK_FAIL_NETWORK);
	peer_wait(&p, 1000);
	peer_answer_setup(&p);
	for (unsigned i = 16; i < COUNT; i++) {
		peer_handle(&p, peer_take(&p, FXP_OPEN), "R");
		peer_run(&p);
	}
	for (unsigned i = 16; i < COUNT; i++) {
		peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
		peer_run(&p);
	}
	peer_handle(&p, peer_take(&p, FXP_OPEN), "N");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	peer_data(&p, peer_take(&p, FXP_READ), "0123456789", 10);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert(files[4]->parked);
	end();
}
END_TEST

CHECK_MAIN("park", refused, read_again, another_file, name_goes, not_parked, cut)
