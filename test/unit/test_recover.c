/* SPDX-License-Identifier: BSD-2-Clause */
/* After a lost connection: reconnecting, opening again, sending again, settling by looking. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "check_main.h"
#include "peer.h"

static struct peer p;
static struct got g, h;
static struct be_attr file;

static void begin(void)
{
	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	peer_init(&p);
	check_allow_errors();
	file = peer_file_attr(100, 50);
	p.lane_max = 1;
}

/* The connection breaks and comes back; what recovery asks for is left to the test. */
static void cut(void)
{
	peer_cut(&p, LINK_FAIL_NETWORK);
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
}

/* Expects an attempt to connect after `ms`, up to a quarter more, and none before. */
static void expect_attempt(int64_t ms)
{
	unsigned count = p.connect_count;

	if (ms) {
		peer_wait(&p, ms - 1);
		ck_assert_uint_eq(p.connect_count, count);
		peer_wait(&p, 1 + ms / 4);
	}
	ck_assert_uint_eq(p.connect_count, count + (ms > 0));
}

START_TEST(backoff)
{
	/* the first attempt is at once, the next after 0.2 s, doubling up to 30 s, one at a time */
	static const int64_t waits_ms[] = {200,  400,   800,   1600,  3200,
	                                   6400, 12800, 25600, 30000, 30000};

	begin();
	peer_start(&p, "");
	peer_cut(&p, LINK_FAIL_NETWORK);
	ck_assert_uint_eq(p.connect_count, 2);
	for (unsigned i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
		peer_cut(&p, LINK_FAIL_PROXY);
		expect_attempt(waits_ms[i]);
	}
	ck_assert(!OPS(&p)->info(BE(&p))->connected);
	peer_finish(&p);
}
END_TEST

START_TEST(backoff_reset)
{
	/* only a connection that has answered a request after the recovery starts over at once */
	begin();
	peer_start(&p, "");
	peer_cut(&p, LINK_FAIL_NETWORK);
	peer_cut(&p, LINK_FAIL_NETWORK);
	expect_attempt(200);
	peer_answer_setup(&p);
	ck_assert(OPS(&p)->info(BE(&p))->connected);
	peer_cut(&p, LINK_FAIL_NETWORK);
	expect_attempt(400);
	peer_answer_setup(&p);
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/1", false, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(p.connect_count, 4);
	peer_cut(&p, LINK_FAIL_NETWORK);
	ck_assert_uint_eq(p.connect_count, 5);
	peer_cut(&p, LINK_FAIL_NETWORK);
	expect_attempt(200);
	peer_finish(&p);
}
END_TEST

START_TEST(malformed_look)
{
	/* where the look for a lost request's effect brings nonsense the request fails, and is not
	 * looked for on every new connection */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->remove(BE(&p), "/root/a", got_status, &g), 0);
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/b", "/root/c", BE_RENAME_REPLACE, got_status, &h), 0);
	cut();
	peer_handle(&p, peer_take(&p, FXP_LSTAT), "nonsense");
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_MALFORMED);
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
	/* two looks at once: the other one is lost with the connection */
	peer_handle(&p, peer_take(&p, FXP_LSTAT), "nonsense");
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_int_eq(h.code, BE_MALFORMED);
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	ck_assert(OPS(&p)->info(BE(&p))->connected);
	ck_assert_uint_eq(g.count + h.count, 2);
	peer_finish(&p);
}
END_TEST

START_TEST(attention)
{
	/* a refused login or host key stops the attempts until the user says so */
	struct fxp_stats stats;

	begin();
	peer_start(&p, "");
	peer_cut(&p, LINK_FAIL_HOSTKEY);
	peer_wait(&p, 1000000);
	ck_assert_uint_eq(p.connect_count, 1);
	fxp_backend_stats(p.fb, &stats);
	ck_assert(stats.needs_attention && !stats.connected);
	fxp_backend_reconnect(p.fb);
	peer_answer_setup(&p);
	ck_assert_uint_eq(p.connect_count, 2);
	fxp_backend_stats(p.fb, &stats);
	ck_assert(!stats.needs_attention && stats.connected);
	ck_assert_uint_eq(stats.reconnect_count, 1);
	peer_finish(&p);
}
END_TEST

START_TEST(no_reconnect)
{
	/* without reconnecting everything fails once, and later calls too */
	begin();
	p.cfg.reconnect = false;
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	peer_cut(&p, LINK_FAIL_NETWORK);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_LOST);
	ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/a", 0, got_attr, &h), 0);
	peer_run(&p);
	ck_assert_int_eq(h.code, BE_LOST);
	peer_finish(&p);
}
END_TEST

START_TEST(resend_in_order)
{
	/* what was in flight is sent again in its order, before what was asked meanwhile */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/1", false, got_attr, &g), 0);
	ck_assert_int_eq(OPS(&p)->readlink(BE(&p), "/root/2", got_path, &g), 0);
	peer_cut(&p, LINK_FAIL_NETWORK);
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/3", true, got_attr, &g), 0);
	ck_assert_uint_eq(g.count, 0);
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
	ck_assert_str_eq(peer_take(&p, FXP_LSTAT)->path, "/root/1");
	ck_assert_str_eq(peer_take(&p, FXP_READLINK)->path, "/root/2");
	/* the third, a STAT, was answered like the looks at the root */
	ck_assert_uint_eq(g.count, 1);
	peer_finish(&p);
}
END_TEST

START_TEST(other_root)
{
	/* a root that differs in owner and in file system is not the one that was mounted */
	struct fxp_stats stats;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/1", false, got_attr, &g), 0);
	p.root_attr.uid = 0;
	p.fsid = 78;
	cut();
	fxp_backend_stats(p.fb, &stats);
	ck_assert(!stats.connected && stats.needs_attention);
	ck_assert_uint_eq(g.count, 0);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	/* the disk is mounted again */
	p.root_attr.uid = 1000;
	p.fsid = 77;
	peer_wait(&p, 60000);
	peer_answer_setup(&p);
	peer_take(&p, FXP_LSTAT);
	/* one of the two alone is no sign */
	p.fsid = 79;
	cut();
	peer_take(&p, FXP_LSTAT);
	peer_finish(&p);
}
END_TEST

START_TEST(reopen_clean)
{
	/* an open file is opened again without CREAT, TRUNC, EXCL, compared, and used */
	struct be_file *f;
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ | BE_WRITE | BE_CREAT | BE_TRUNC, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 10, got_read, &g), 0);
	cut();
	r = peer_take(&p, FXP_OPEN);
	ck_assert_str_eq(r->path, "/root/a");
	ck_assert_uint_eq(r->pflags, FXF_READ | FXF_WRITE);
	peer_handle(&p, r, "H2");
	peer_run(&p);
	r = peer_take(&p, FXP_FSTAT);
	ck_assert_str_eq(r->handle, "H2");
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_attr(&p, r, &file);
	peer_run(&p);
	r = peer_take(&p, FXP_READ);
	ck_assert_str_eq(r->handle, "H2");
	peer_data(&p, r, "0123456789", 10);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_uint_eq(g.count, 1);
	OPS(&p)->close(BE(&p), f);
	ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "H2");
	peer_finish(&p);
}
END_TEST

/* Reopens a clean file that now shows `now`, expects its pending read to end with `code`. */
static void reopen_expect(const struct be_attr *now, enum be_code code)
{
	struct be_file *f;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 1, got_read, &g), 0);
	cut();
	if (now) {
		peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
		peer_run(&p);
		peer_attr(&p, peer_take(&p, FXP_FSTAT), now);
	} else {
		peer_status(&p, peer_take(&p, FXP_OPEN), FX_NO_SUCH_FILE);
	}
	peer_run(&p);
	if (code == BE_OK)
		peer_data(&p, peer_take(&p, FXP_READ), "x", 1);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, code);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
}

START_TEST(reopen_other)
{
	/* a clean file that has another size or mtime, or is gone, is stale; a later open is not */
	struct be_attr other;

	other = file = peer_file_attr(100, 50);
	reopen_expect(&other, BE_OK);
	other.size++;
	reopen_expect(&other, BE_STALE);
	other = file;
	other.mtime--;
	reopen_expect(&other, BE_STALE);
	other = file;
	other.mode = S_IFDIR | 0755;
	reopen_expect(&other, BE_STALE);
	reopen_expect(NULL, BE_STALE);
}
END_TEST

START_TEST(reopen_dirty)
{
	/* unacknowledged writes go again to a file whose size is between acknowledged and sent */
	struct be_file *f;
	struct data *d;
	struct peer_request *r;
	struct be_attr now;

	begin();
	peer_start(&p, "");
	d = data_create(&p.budget, 100);
	memset(d->bytes, 'x', 100);
	f = peer_open(&p, "/root/a", BE_WRITE, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 100, d, 0, 100, got_status, &g), 0);
	peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK);
	peer_run(&p);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 200, d, 0, 100, got_status, &g), 0);
	data_unref(d);
	cut();
	now = peer_file_attr(250, 60);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
	peer_run(&p);
	r = peer_take(&p, FXP_WRITE);
	ck_assert_uint_eq(r->off, 200);
	ck_assert_mem_eq(r->data, "xxxx", 4);
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 2);
	/* but not when what had been acknowledged is missing */
	ck_assert_int_eq(OPS(&p)->fsync(BE(&p), f, got_status, &h), 0);
	cut();
	now.size = 299;
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H3");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
	peer_run(&p);
	ck_assert_int_eq(h.code, BE_STALE);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
}
END_TEST

/* The file is opened again; it has `size` and `mode`. */
static void reopened(uint64_t size, uint32_t mode)
{
	struct be_attr now = peer_file_attr(size, 60);

	now.mode = S_IFREG | mode;
	cut();
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
	peer_run(&p);
}

START_TEST(reopen_changed)
{
	/* a file whose mode or size was changed while WRITEs were under way is still the same one */
	struct be_attr want = {.valid = BE_ATTR_MODE, .mode = 0700}, now = file;
	struct be_file *f;
	struct data *d;

	for (unsigned size = 0; size < 2; size++) {
		begin();
		peer_start(&p, "");
		d = data_create(&p.budget, 100);
		memset(d->bytes, 'x', 100);
		f = peer_open(&p, "/root/a", BE_WRITE, 1, "H", &file);
		if (size)
			want = (struct be_attr){.valid = BE_ATTR_SIZE, .size = 40};
		ck_assert_int_eq(OPS(&p)->fsetattr(BE(&p), f, &want, got_attr, &h), 0);
		ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 10, d, 0, 10, got_status, &g), 0);
		data_unref(d);
		now = peer_file_attr(size ? 40 : 100, 50);
		now.mode = S_IFREG | (size ? file.mode & 07777 : 0700);
		peer_status(&p, peer_take(&p, FXP_FSETSTAT), FX_OK);
		peer_attr(&p, peer_take(&p, FXP_FSTAT), &now);
		peer_run(&p);
		ck_assert_int_eq(h.code, BE_OK);
		reopened(now.size, now.mode & 07777);
		peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK);
		peer_run(&p);
		ck_assert_uint_eq(g.count, 1);
		ck_assert_int_eq(g.code, BE_OK);
		OPS(&p)->close(BE(&p), f);
		peer_finish(&p);
	}
}
END_TEST

START_TEST(closed_not_reopened)
{
	/* a file that was closed meanwhile is not opened again, unless it has unwritten data */
	struct be_file *a, *b;
	struct data *d;

	begin();
	peer_start(&p, "");
	d = data_create(&p.budget, 10);
	memset(d->bytes, 'x', 10);
	a = peer_open(&p, "/root/a", BE_READ, 1, "A", &file);
	b = peer_open(&p, "/root/b", BE_WRITE, 2, "B", &file);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), b, 0, d, 0, 10, got_status, &g), 0);
	data_unref(d);
	OPS(&p)->close(BE(&p), a);
	OPS(&p)->close(BE(&p), b);
	cut();
	ck_assert_uint_eq(peer_waiting(&p), 1);
	{
		struct peer_request *r = peer_take(&p, FXP_OPEN);

		ck_assert_str_eq(r->path, "/root/b");
		peer_handle(&p, r, "B2");
	}
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	peer_finish(&p);
}
END_TEST

START_TEST(settle_remove)
{
	/* a removal whose name is gone was done; one whose name is there is done now */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->remove(BE(&p), "/root/a", got_status, &g), 0);
	ck_assert_int_eq(OPS(&p)->rmdir(BE(&p), "/root/b", got_status, &h), 0);
	cut();
	peer_status(&p, peer_take(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_RMDIR), FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	peer_finish(&p);
}
END_TEST

START_TEST(settle_rename)
{
	/* a rename whose source is gone and whose target is there was done */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_REPLACE, got_status, &g), 0);
	cut();
	peer_status(&p, peer_take(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_uint_eq(g.count, 1);
	peer_answer_setup(&p);
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/c", "/root/d", BE_RENAME_NOREPLACE, got_status, &h), 0);
	cut();
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_RENAME), FX_FAILURE);
	peer_run(&p);
	ck_assert_int_eq(h.code, BE_FAILURE);
	peer_finish(&p);
}
END_TEST

START_TEST(rename_before_reopen)
{
	/* a lost rename of an open file is settled first: the file is opened by the path it has now
	 */
	static char path[] = "/root/a";
	struct be_file *f;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, path, BE_READ, 1, "H", &file);
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_REPLACE, got_status, &g), 0);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 1, got_read, &h), 0);
	cut();
	peer_status(&p, peer_take(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	path[6] = 'b';
	peer_answer_setup(&p);
	ck_assert_str_eq(peer_take(&p, FXP_OPEN)->path, "/root/b");
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
	path[6] = 'a';
}
END_TEST

START_TEST(closed_follows_renames)
{
	/* closed while its data is on its way: it is found where renames have taken it, lost or not */
	for (unsigned lost = 0; lost < 2; lost++) {
		struct be_file *f;
		struct data *d;

		begin();
		peer_start(&p, "");
		d = peer_block(&p, 10);
		f = peer_open(&p, "/root/d/a", BE_WRITE, 1, "H", &file);
		ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 0, d, 0, 10, got_status, &g), 0);
		data_unref(d);
		ck_assert_int_eq(OPS(&p)->rename(BE(&p), "/root/d", "/root/other",
		                                 BE_RENAME_REPLACE, got_status, &h),
		                 0);
		OPS(&p)->close(BE(&p), f);
		if (!lost)
			peer_status(&p, peer_find(&p, FXP_EXTENDED), FX_OK);
		peer_run(&p);
		cut();
		if (lost) {
			peer_status(&p, peer_take(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
			peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
			peer_answer_setup(&p);
		}
		ck_assert_int_eq(h.code, BE_OK);
		ck_assert_str_eq(peer_find(&p, FXP_OPEN)->path, "/root/other/a");
		peer_finish(&p);
	}
}
END_TEST

/* An append whose reply was lost, on a file that now holds `now`: sent again or not. */
static void expect_append(const char *now, bool again)
{
	struct be_file *f;
	struct data *d;
	struct be_attr attr = peer_file_attr(3, 50);
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	d = data_create(&p.budget, 4);
	memcpy(d->bytes, "line", 4);
	f = peer_open(&p, "/root/log", BE_WRITE | BE_APPEND, 1, "H", &attr);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 0, d, 0, 4, got_status, &g), 0);
	data_unref(d);
	cut();
	attr = peer_file_attr(strlen(now), 60);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_run(&p);
	if (strlen(now) >= 7) {
		r = peer_take(&p, FXP_OPEN);
		ck_assert_uint_eq(r->pflags, FXF_READ);
		peer_handle(&p, r, "R");
		peer_run(&p);
		r = peer_take(&p, FXP_READ);
		ck_assert_uint_eq(r->off, 3);
		peer_data(&p, r, now + 3, strlen(now) - 3);
		peer_run(&p);
		ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "R");
	}
	ck_assert_uint_eq(peer_waiting(&p), again ? 1 : 0);
	if (again)
		peer_status(&p, peer_take(&p, FXP_WRITE), FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
}

START_TEST(settle_append)
{
	/* bytes that were appended before the loss are not appended twice */
	expect_append("old", true);
	expect_append("oldline", false);
}
END_TEST

START_TEST(settle_own_lock)
{
	/* a directory that this mount made before is not taken for the one of a lost mkdir */
	struct be_attr now = peer_file_attr(4096, 1700000000);

	now.mode = S_IFDIR | 0755;
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0755, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_MKDIR), FX_OK);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
	peer_run(&p);
	ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0755, got_attr, &h), 0);
	cut();
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_MKDIR), FX_FAILURE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
	peer_run(&p);
	ck_assert_int_eq(h.code, BE_FAILURE);
	peer_finish(&p);
}
END_TEST

START_TEST(settle_symlink)
{
	/* a symbolic link with our target is ours */
	const char *target = "the target", *other = "other";

	begin();
	peer_start(&p, "");
	for (unsigned i = 0; i < 2; i++) {
		memset(&g, 0, sizeof(g));
		ck_assert_int_eq(OPS(&p)->symlink(BE(&p), target, "/root/l", got_attr, &g), 0);
		cut();
		peer_names(&p, peer_take(&p, FXP_READLINK), i ? &other : &target, 1);
		peer_run(&p);
		if (i)
			peer_status(&p, peer_take(&p, FXP_SYMLINK), FX_FAILURE);
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
		peer_run(&p);
		ck_assert_uint_eq(g.count, 1);
		ck_assert_int_eq(g.code, i ? BE_FAILURE : BE_OK);
	}
	peer_finish(&p);
}
END_TEST

/* An exclusive create whose reply is lost, where the path then shows `now`: sent with `pflags`. */
static void expect_create(const struct be_attr *now, uint32_t pflags)
{
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->open(BE(&p), "/root/lock", BE_WRITE | BE_CREAT | BE_EXCL, 0644, 0,
	                               0, got_where, NULL, got_open, &g),
	                 0);
	cut();
	r = peer_take(&p, FXP_LSTAT);
	ck_assert_str_eq(r->path, "/root/lock");
	if (now)
		peer_attr(&p, r, now);
	else
		peer_status(&p, r, FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(peer_take(&p, FXP_OPEN)->pflags, pflags);
	peer_finish(&p);
}

START_TEST(settle_create)
{
	/* an exclusive create is ours only if empty, new, and no wider than asked; it may be a lock
	 */
	const uint32_t again = FXF_WRITE | FXF_CREAT | FXF_EXCL;
	struct be_attr now = peer_file_attr(0, 1700000000);

	expect_create(NULL, again);
	expect_create(&now, FXF_WRITE);
	now.size = 5;
	expect_create(&now, again);
	now = peer_file_attr(0, 1700000000 - 10);
	expect_create(&now, again);
	/* made when the connection was lost already: by somebody else */
	now = peer_file_attr(0, 1700000000 + 10);
	expect_create(&now, again);
	now = peer_file_attr(0, 1700000000);
	now.mode = S_IFREG | 0666;
	expect_create(&now, again);
	now.mode = S_IFDIR | 0644;
	expect_create(&now, again);
}
END_TEST

START_TEST(settle_by_the_servers_clock)
{
	/* whether something was made in time is judged by the clock that an earlier answer has shown */
	const int64_t ahead_s = 3600;
	struct be_attr now = peer_file_attr(0, (uint32_t)(1700000000 + ahead_s));

	for (unsigned slow = 0; slow < 2; slow++) {
		begin();
		peer_start(&p, "");
		ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0755, got_attr, &g), 0);
		if (slow)
			peer_wait(&p, 60000); /* it tells nothing: when was that? */
		peer_status(&p, peer_take(&p, FXP_MKDIR), FX_OK);
		now.mode = S_IFDIR | 0755;
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
		peer_run(&p);
		now.mode = S_IFREG | 0644;
		ck_assert_int_eq(OPS(&p)->open(BE(&p), "/root/lock", BE_WRITE | BE_CREAT | BE_EXCL,
		                               0644, 0, 0, got_where, NULL, got_open, &h),
		                 0);
		cut();
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
		peer_run(&p);
		ck_assert_uint_eq(peer_take(&p, FXP_OPEN)->pflags,
		                  slow ? FXF_WRITE | FXF_CREAT | FXF_EXCL : FXF_WRITE);
		peer_finish(&p);
	}
}
END_TEST

START_TEST(settle_mkdir)
{
	/* a directory is ours only if it is empty, too */
	static const char *const names[] = {".", "..", "x"};
	struct be_attr now = peer_file_attr(4096, 1700000000);

	now.mode = S_IFDIR | 0755;
	for (unsigned count = 2; count <= 3; count++) {
		begin();
		peer_start(&p, "");
		ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0755, got_attr, &g), 0);
		cut();
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
		peer_run(&p);
		peer_handle(&p, peer_take(&p, FXP_OPENDIR), "D");
		peer_run(&p);
		peer_names(&p, peer_take(&p, FXP_READDIR), names, count);
		peer_run(&p);
		peer_status(&p, peer_take(&p, FXP_CLOSE), FX_OK);
		if (count == 3)
			peer_status(&p, peer_take(&p, FXP_MKDIR), FX_FAILURE);
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &now);
		peer_run(&p);
		ck_assert_uint_eq(g.count, 1);
		ck_assert_int_eq(g.code, count == 2 ? BE_OK : BE_FAILURE);
		peer_finish(&p);
	}
}
END_TEST

START_TEST(list_anew)
{
	/* a listing starts over and leaves out what it has told; paused ones too */
	static const char *const first[] = {"a", "b"}, *const all[] = {"c", "b", "a"};
	struct be_list *l;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->list(BE(&p), "/root", got_entries, got_status, &g, &l), 0);
	peer_handle(&p, peer_take(&p, FXP_OPENDIR), "D");
	peer_run(&p);
	peer_names(&p, peer_take(&p, FXP_READDIR), first, 2);
	peer_run(&p);
	cut();
	peer_handle(&p, peer_take(&p, FXP_OPENDIR), "E");
	peer_run(&p);
	peer_names(&p, peer_take(&p, FXP_READDIR), all, 3);
	peer_run(&p);
	while (peer_waiting(&p) && !g.count) {
		peer_status(&p, peer_take(&p, FXP_READDIR), FX_EOF);
		peer_run(&p);
	}
	ck_assert_str_eq(g.names, "a b c ");
	ck_assert_int_eq(g.code, BE_OK);
	peer_finish(&p);
}
END_TEST

START_TEST(cut_while_settling)
{
	/* a second loss in the middle of the recovery starts it over; everything runs once */
	struct be_file *f;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->remove(BE(&p), "/root/x", got_status, &g), 0);
	cut();
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	cut();
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H3");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_run(&p);
	peer_take(&p, FXP_LSTAT);
	cut();
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H4");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_run(&p);
	/* answered in the middle of the look */
	peer_take(&p, FXP_LSTAT);
	OPS(&p)->quiesce(BE(&p));
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_LOST);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
	ck_assert_uint_eq(g.count, 1);
}
END_TEST

START_TEST(poison)
{
	/* a request under which the server dies again and again is given up, the mount is not */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->readlink(BE(&p), "/root/evil", got_path, &g), 0);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_uint_eq(g.count, 0);
		cut();
	}
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_ERRNO);
	ck_assert_int_eq(g.err, EIO);
	ck_assert(OPS(&p)->info(BE(&p))->connected);
	peer_finish(&p);
}
END_TEST

START_TEST(lane_dies)
{
	/* the end of one server process is a lost connection, with everything that follows */
	struct be_file *f;

	begin();
	p.lane_max = 8;
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	peer_close_lane(&p, 2, 255);
	peer_run(&p);
	ck_assert_uint_eq(p.reset_count, 1);
	peer_wait(&p, 1000);
	peer_answer_setup(&p);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H2");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_run(&p);
	ck_assert(OPS(&p)->info(BE(&p))->connected);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
}
END_TEST

CHECK_MAIN("recover", backoff, backoff_reset, malformed_look, attention, no_reconnect,
           resend_in_order, other_root, reopen_clean, reopen_other, reopen_dirty, reopen_changed,
           closed_not_reopened, settle_remove, settle_rename, rename_before_reopen,
           closed_follows_renames, settle_append, settle_own_lock, settle_symlink, settle_create,
           settle_by_the_servers_clock, settle_mkdir, list_anew, cut_while_settling, poison,
           lane_dies)
