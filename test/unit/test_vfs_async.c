/* SPDX-License-Identifier: BSD-2-Clause */
/* -o async: what is acknowledged when, what the mount shows, and when failures are told. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fake_async.h"

START_TEST(small_file_is_sent_after_its_close)
{
	// create, write and close cost nothing; then OPEN, and WRITE with attributes behind it
	prog_setup();
	prog_put("f", 100);
	fake_none();
	fake_pass(20);
	ck_assert_uint_eq(fake_call("open")->flags & BE_EXCL, BE_EXCL);
	serve_open("/r/f");
	ck_assert_uint_eq(fake_call("write")->len, 100);
	ck_assert_uint_eq(fake_find("fsetattr", NULL)->want.mtime, 1000000);
	serve_rest(100);
	fake_teardown();
}
END_TEST

START_TEST(attributes_by_name_ride_along)
{
	// chmod and utimens after the close are part of what is sent; the mode is right from the start
	struct kreq *k = kreq_create(), *l;
	struct stat st = {.st_mode = 0600, .st_mtim.tv_sec = 77, .st_atim.tv_sec = 78};

	prog_setup();
	prog_put("f", 100);
	l = prog_lookup("f");
	vfs_setattr(vfs, &k->req, l->entry.nodeid, 0, &st,
	            VFS_SET_MODE | VFS_SET_MTIME | VFS_SET_ATIME);
	prog_tick();
	ck_assert(k->done);
	ck_assert_int_eq(k->st.st_mtim.tv_sec, 77);
	fake_none();
	fake_pass(20);
	ck_assert_uint_eq(fake_call("open")->mode, 0600);
	serve_open("/r/f");
	ck_assert_uint_eq(fake_find("fsetattr", NULL)->want.mtime, 77);
	ck_assert_uint_eq(fake_find("fsetattr", NULL)->want.mode & 07777, 0600);
	serve_rest(100);
	fake_teardown();
}
END_TEST

START_TEST(space_that_is_not_known_or_not_enough_is_not_promised)
{
	// twice what is unsent and 64 MiB must be free, at most 5 s ago
	struct kreq *k = kreq_create(), *again = kreq_create();

	prog_setup();
	fake_pass(20001); /* what is known of the root is old */
	prog_lookup("a");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	prog_mkdir("a", k);
	ck_assert(!k->done);
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_tight);
	fake_attr(fake_call("mkdir"), BE_OK,
	          &(struct be_attr){.valid = 15, .mode = S_IFDIR | 0755});
	ck_assert(k->done);
	prog_lookup("b");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	prog_mkdir("b", again);
	ck_assert_msg(!again->done, "there is no space to promise anything");
	fake_attr(fake_call("mkdir"), BE_FAILURE, NULL);
	serve_looks(&fake_tight);
	ck_assert_int_eq(again->err, ENOSPC);
	fake_teardown();
}
END_TEST

START_TEST(directory_that_we_may_not_write_is_not_promised)
{
	// permission is checked by owner and mode before anything is acknowledged
	struct be_attr dir = fake_dir(1000), ours = fake_dir(1000);
	struct kreq *k = kreq_create(), *g = kreq_create();

	fake_setup(prog_tweak);
	fake.info.caps.statvfs = true;
	ours.uid = ours.gid = 1000;
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	fake_attr(fake_call("stat"), BE_OK, &dir);
	prog_list(NULL, 0);
	prog_mkdir("a", kreq_create());
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_roomy);
	fake_attr(fake_call("mkdir"), BE_OK, &ours);
	prog_mkdir("b", k);
	ck_assert(!k->done);
	fake_attr(fake_call("mkdir"), BE_PERMISSION_DENIED, NULL);
	serve_looks(&fake_roomy);
	ck_assert_int_eq(k->err, EACCES);
	fake_teardown();
}
END_TEST

START_TEST(barrier_waits_for_everything)
{
	// fsync of any directory returns when every status has come, and sends what was held back
	struct kreq *k;

	prog_setup();
	prog_put("f", 10);
	prog_unlink("old");
	k = prog_barrier();
	ck_assert(!k->done);
	fake_status(fake_find("remove", NULL), BE_OK, "");
	serve_open("/r/f");
	ck_assert(!k->done);
	serve_rest(10);
	prog_tick();
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	fake_teardown();
}
END_TEST

START_TEST(barrier_reports_the_first_failure_once)
{
	// what failed since the last barrier is an error of the next one, and of no later one
	struct kreq *k;

	check_allow_errors();
	prog_setup();
	prog_unlink("old");
	fake_status(fake_call("remove"), BE_FAILURE, "quota exceeded");
	k = prog_barrier();
	ck_assert(k->done);
	ck_assert_int_eq(k->err, EDQUOT);
	ck_assert_int_eq(prog_barrier()->err, 0);
	fake_teardown();
}
END_TEST

START_TEST(fsync_of_a_file_is_a_barrier)
{
	// fsync sends the file, waits for all others too, and then syncs it
	struct kreq *c, *k = kreq_create(), *s = kreq_create();
	struct be_attr a = fake_reg(10, 1000000);

	prog_setup();
	prog_mkdir("d", k);
	c = prog_create("f", O_WRONLY | O_EXCL);
	prog_write(c->opened.fh, 10, 0);
	vfs_fsync(vfs, &s->req, c->opened.fh);
	prog_tick();
	serve_open("/r/f");
	serve_rest(10);
	prog_tick();
	ck_assert_ptr_null(fake_find("fsync", NULL));
	fake_attr(fake_call("mkdir"), BE_OK, &(struct be_attr){0});
	prog_tick();
	fake_status(fake_call("fsync"), BE_OK, "");
	ck_assert(s->done);
	ck_assert_int_eq(s->err, 0);
	prog_close(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a); /* all of it is there: the server is asked */
	fake_teardown();
}
END_TEST

START_TEST(synchronous_write_waits)
{
	// O_DSYNC: answered when the server has everything
	struct kreq *c, *w;
	struct be_attr a = fake_reg(10, 1000000);

	prog_setup();
	c = prog_create("f", O_WRONLY | O_EXCL | O_DSYNC);
	w = prog_write(c->opened.fh, 10, 0);
	ck_assert(!w->done);
	serve_open("/r/f");
	serve_rest(10);
	prog_tick();
	ck_assert(!w->done);
	fake_status(fake_call("fsync"), BE_OK, "");
	ck_assert_uint_eq(w->written, 10);
	prog_close(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(large_file_is_sent_as_it_comes)
{
	// beyond 1 MiB the file is opened and its bytes go out; close does not wait for them
	struct kreq *c, *k;
	uint64_t off;

	prog_setup();
	c = prog_create("f", O_WRONLY | O_EXCL);
	for (off = 0; off < 2 << 20; off += 65536)
		prog_write(c->opened.fh, 65536, off);
	ck_assert_ptr_nonnull(fake_find("open", "/r/f"));
	serve_open("/r/f");
	k = prog_close(c->opened.fh);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	while (fake_find("write", NULL)) {
		off -= fake_find("write", NULL)->len;
		fake_status(fake_find("write", NULL), BE_OK, "");
	}
	ck_assert_uint_eq(off, 0);
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

START_TEST(failure_of_an_open_file_is_returned_by_its_close)
{
	// the first failure of a file is its descriptor's to tell
	struct kreq *c, *k;

	check_allow_errors();
	prog_setup();
	c = prog_create("f", O_WRONLY | O_EXCL);
	for (uint64_t off = 0; off < 2 << 20; off += 65536)
		prog_write(c->opened.fh, 65536, off);
	serve_open("/r/f");
	fake_status(fake_call("write"), BE_FAILURE, "no space left on device");
	k = prog_close(c->opened.fh);
	ck_assert_int_eq(k->err, ENOSPC);
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 0);
	fake_teardown();
}
END_TEST

START_TEST(kept_bytes_can_be_read_back)
{
	// the creating descriptor reads what it wrote; another open waits for the delivery
	struct kreq *c, *r = kreq_create(), *o = kreq_create();
	struct be_attr a = fake_reg(100, 1000000);

	prog_setup();
	memset(prog_bytes, 'x', 100);
	c = prog_create("f", O_RDWR | O_EXCL);
	prog_write(c->opened.fh, 100, 0);
	vfs_read(vfs, &r->req, c->opened.fh, 50, 80);
	prog_tick();
	ck_assert(r->done);
	ck_assert_uint_eq(r->len, 20);
	ck_assert_mem_eq(r->bytes, prog_bytes, 20);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_RDONLY);
	prog_tick();
	ck_assert(!o->done);
	serve_open("/r/f");
	serve_rest(100);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(o->done);
	prog_close(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a); /* two have it open: the server is asked */
	prog_close(o->opened.fh);
	memset(prog_bytes, 0, 100);
	fake_teardown();
}
END_TEST

START_TEST(listing_waits_for_what_is_pending)
{
	// a directory is listed when everything acknowledged in it has been answered
	struct kreq *o = kreq_create();

	prog_setup();
	prog_put("f", 10);
	fake_pass(20001); /* the listing that is cached is old; the file goes out meanwhile */
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	ck_assert_ptr_null(fake_find("list", NULL));
	serve_open("/r/f");
	serve_rest(10);
	fake_status(fake_call("list"), BE_OK, "");
	ck_assert(o->done);
	vfs_releasedir(vfs, &kreq_create()->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(names_that_are_missed_are_listed)
{
	// after two lookups in vain in a directory it is listed, and the listing answers
	struct be_attr dir = fake_dir(1000);
	struct kreq *k = kreq_create(), *l, *m;

	prog_setup();
	fake_pass(20001); /* what is known of the root is old */
	prog_mkdir("d", k);
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_roomy);
	fake_attr(fake_call("mkdir"), BE_OK, &dir);
	for (int i = 0; i < 2; i++) {
		prog_lookup(i ? "a" : "b");
		fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	}
	l = prog_lookup("c");
	m = prog_lookup("e");
	fake_status(fake_call("list"), BE_OK, "");
	ck_assert(l->done && m->done);
	ck_assert_uint_eq(l->entry.nodeid, 0);
	ck_assert(prog_lookup("g")->done);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(appended_by_another_descriptor_is_seen)
{
	// what one descriptor knows of a file ends when another one writes to it
	struct be_attr a = fake_reg(10, 1000000), b = fake_reg(20, 1000001);
	struct kreq *c, *o = kreq_create(), *g = kreq_create();

	prog_setup();
	c = prog_create("f", O_RDWR | O_EXCL);
	prog_write(c->opened.fh, 10, 0);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_WRONLY | O_APPEND);
	prog_tick();
	serve_open("/r/f");
	if (fake_find("write", NULL))
		fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_OK, &a);
	fake_opened(fake_call("open"), BE_OK, &a);
	prog_write(o->opened.fh, 10, 10);
	prog_close(o->opened.fh);
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &b);
	prog_tick();
	fake_pass(4000);
	vfs_getattr(vfs, &g->req, c->entry.nodeid, c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &b);
	ck_assert_int_eq(g->st.st_size, 20);
	prog_close(c->opened.fh);
	fake_teardown();
}
END_TEST

static bool drained;

static void on_drained(void *arg)
{
	drained = true;
}

START_TEST(file_opened_again_is_the_same_file)
{
	// the server gets the mtime that programs have been shown before another open compares with it
	struct kreq *c, *o = kreq_create();
	struct be_attr a = fake_reg(0, 1000002);

	prog_setup();
	c = prog_create("f", O_RDWR | O_EXCL);
	fake_pass(2700);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_RDWR); /* the server makes it 2 s late */
	prog_tick();
	fake_opened(fake_find("open", "/r/f"), BE_OK, &a);
	ck_assert_ptr_null(fake_find("open", NULL));
	a.mtime = fake_find("fsetattr", NULL)->want.mtime;
	ck_assert_uint_eq(a.mtime, 1000000);
	fake_attr(fake_call("fsetattr"), BE_OK, &a);
	fake_opened(fake_call("open"), BE_OK, &a);
	prog_tick();
	ck_assert(o->done);
	ck_assert_int_eq(o->err, 0);
	prog_close(c->opened.fh);
	prog_close(o->opened.fh);
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(drain_waits_for_what_is_pending)
{
	// the end of the mount is not the end of what was acknowledged
	check_allow_errors();
	prog_setup();
	prog_put("f", 10);
	drained = false;
	vfs_drain(vfs, on_drained, NULL);
	ck_assert(!drained);
	serve_open("/r/f");
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 1);
	serve_rest(10);
	ck_assert(drained);
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 0);
	fake_teardown();
}
END_TEST

START_TEST(failure_that_nobody_was_told_is_undelivered)
{
	// the end of the mount tells what nobody has asked about
	check_allow_errors();
	prog_setup();
	prog_unlink("old");
	fake_status(fake_call("remove"), BE_FAILURE, "quota exceeded");
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 1);
	ck_assert_int_eq(prog_unlink("old")->err, EDQUOT);
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 0);
	fake_teardown();
}
END_TEST

#define PROGRAM 42

static uint64_t id_of(const char *name)
{
	return prog_lookup(name)->entry.nodeid;
}

static struct kreq *open_to_read(const char *name)
{
	struct kreq *k = kreq_create();
	uint64_t id = id_of(name);

	k->req.program = PROGRAM;
	vfs_open(vfs, &k->req, id, O_RDONLY);
	prog_tick();
	return k;
}

static void read_and_close(const struct kreq *o)
{
	struct kreq *r = kreq_create(), *c = kreq_create();
	struct call *read;

	ck_assert(o->done);
	vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
	prog_tick();
	read = fake_find("read", NULL);
	if (read)
		fake_data(read, BE_OK, "hello", 5);
	ck_assert_uint_eq(r->len, 5);
	vfs_release(vfs, &c->req, o->opened.fh);
	prog_tick();
}

static void chmod_of(const char *name)
{
	const struct stat st = {.st_mode = 0600};
	struct kreq *k = kreq_create();

	vfs_setattr(vfs, &k->req, id_of(name), 0, &st, VFS_SET_MODE);
	prog_tick();
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
}

START_TEST(what_is_pending_is_neither_fetched_ahead_nor_served_from_before)
{
	// a program reads f1, f2, ...: of those that follow only what nothing is pending on is fetched
	const struct be_attr a = fake_reg(5, 1000);
	const struct be_entry files[] = {
	    {"f1", 2, a}, {"f2", 2, a}, {"f3", 2, a}, {"f4", 2, a}, {"f5", 2, a}};
	struct kreq *dir = kreq_create(), *o;
	struct be_attr changed = a;

	prog_setup_with(files, 5);
	dir->req.program = PROGRAM;
	vfs_opendir(vfs, &dir->req, VFS_ROOT);
	o = open_to_read("f1");
	fake_opened(fake_find("open", "/r/f1"), BE_OK, &a);
	read_and_close(o);
	chmod_of("f3");
	o = open_to_read("f2");
	fake_opened(fake_find("open", "/r/f2"), BE_OK, &a);
	ck_assert_ptr_null(fake_find("fetch", "/r/f3"));
	fake_fetched(fake_find("fetch", "/r/f4"), BE_OK, &a, "hello", 5);
	fake_fetched(fake_find("fetch", "/r/f5"), BE_OK, &a, "hello", 5);
	read_and_close(o);
	// what was fetched answers an open; not one behind a change that is under way
	read_and_close(open_to_read("f4"));
	chmod_of("f5");
	o = open_to_read("f5");
	ck_assert(!o->done);
	changed.mode = S_IFREG | 0600;
	fake_attr(fake_find("setattr", "/r/f5"), BE_OK, &changed);
	fake_opened(fake_find("open", "/r/f5"), BE_OK, &changed);
	read_and_close(o);
	fake_attr(fake_find("setattr", "/r/f3"), BE_OK, &changed);
	while (fake_find("statvfs", NULL)) /* of the walk */
		fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_roomy);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(symlink_is_read_before_it_is_made)
{
	// the target of a link that is pending is known
	struct kreq *k = kreq_create(), *r = kreq_create();

	prog_setup();
	vfs_symlink(vfs, &k->req, "to/there", VFS_ROOT, "l");
	prog_tick();
	ck_assert(k->done);
	vfs_readlink(vfs, &r->req, k->entry.nodeid);
	prog_tick();
	ck_assert_str_eq((char *)r->bytes, "to/there");
	fake_attr(fake_call("symlink"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_async", small_file_is_sent_after_its_close, attributes_by_name_ride_along,
           space_that_is_not_known_or_not_enough_is_not_promised,
           directory_that_we_may_not_write_is_not_promised, barrier_waits_for_everything,
           barrier_reports_the_first_failure_once, fsync_of_a_file_is_a_barrier,
           synchronous_write_waits, large_file_is_sent_as_it_comes,
           failure_of_an_open_file_is_returned_by_its_close, kept_bytes_can_be_read_back,
           listing_waits_for_what_is_pending, names_that_are_missed_are_listed,
           appended_by_another_descriptor_is_seen, file_opened_again_is_the_same_file,
           drain_waits_for_what_is_pending, failure_that_nobody_was_told_is_undelivered,
           what_is_pending_is_neither_fetched_ahead_nor_served_from_before,
           symlink_is_read_before_it_is_made)
