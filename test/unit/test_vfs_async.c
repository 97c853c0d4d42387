/* SPDX-License-Identifier: BSD-2-Clause */
/* -o async: what is acknowledged when, in which order it is sent, and what becomes of failures. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fake_backend.h"

static const struct be_statvfs roomy = {
    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 1 << 20};
static const struct be_statvfs tight = {
    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 100};
static uint8_t bytes[4 << 20];

static void tweak(struct vfs_config *cfg)
{
	cfg->async = true;
}

static void tick(void)
{
	fake_pass(0);
	fake_pass(0);
}

/* The root is listed; an answer for it, with the entries given. */
static void list_root(const struct be_entry *entries, size_t count)
{
	struct kreq *o = kreq_create(), *c = kreq_create();
	struct call *l;

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	l = fake_call("list");
	fake_entries(l, entries, count);
	fake_status(l, BE_OK, "");
	ck_assert(o->done);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
}

static void mkdir_root(const char *name, struct kreq *k)
{
	vfs_mkdir(vfs, &k->req, VFS_ROOT, name, 0755);
	tick();
}

/* The root is known, with the entries given, and so are its free space and who we are. */
static void setup_with(const struct be_entry *entries, size_t count)
{
	struct be_attr dir = fake_dir(1000);
	struct kreq *g = kreq_create(), *k = kreq_create();

	fake_setup(tweak);
	fake.info.caps.statvfs = true;
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	fake_attr(fake_call("stat"), BE_OK, &dir);
	list_root(entries, count);
	mkdir_root("warm", k);
	ck_assert_msg(!k->done, "the first change must show who we are");
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &roomy);
	dir.mtime = 1000000;
	fake_attr(fake_call("mkdir"), BE_OK, &dir);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	fake_none();
}

static void setup(void)
{
	const struct be_entry old = {"old", 3, fake_reg(3, 1000)};

	setup_with(&old, 1);
}

static struct kreq *create(const char *name, int flags)
{
	struct kreq *k = kreq_create();

	vfs_create_file(vfs, &k->req, VFS_ROOT, name, 0644, flags);
	tick();
	return k;
}

static struct kreq *write_at(uint64_t fh, size_t len, uint64_t off)
{
	struct kreq *k = kreq_create();

	vfs_write(vfs, &k->req, fh, bytes, len, off, false);
	tick();
	return k;
}

static struct kreq *close_fh(uint64_t fh)
{
	struct kreq *k = kreq_create(), *r = kreq_create();

	vfs_flush(vfs, &k->req, fh);
	tick();
	vfs_release(vfs, &r->req, fh);
	tick();
	return k;
}

/* A small file, acknowledged: nothing of it is sent. */
static void put(const char *name, size_t len)
{
	struct kreq *c = create(name, O_WRONLY | O_EXCL), *k;

	ck_assert(c->done);
	ck_assert_int_eq(c->err, 0);
	ck_assert_uint_eq(write_at(c->opened.fh, len, 0)->written, len);
	k = close_fh(c->opened.fh);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
}

static struct kreq *rename_root(const char *from, const char *to)
{
	struct kreq *k = kreq_create();

	vfs_rename(vfs, &k->req, VFS_ROOT, from, VFS_ROOT, to, 0);
	tick();
	return k;
}

static struct kreq *unlink_root(const char *name)
{
	struct kreq *k = kreq_create();

	vfs_unlink(vfs, &k->req, VFS_ROOT, name);
	tick();
	return k;
}

static struct kreq *lookup(const char *name)
{
	struct kreq *k = kreq_create();

	vfs_lookup(vfs, &k->req, VFS_ROOT, name);
	tick();
	return k;
}

static struct kreq *barrier(void)
{
	struct kreq *o = kreq_create(), *k = kreq_create(), *c = kreq_create();

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	tick();
	if (fake_find("list", NULL))
		fake_status(fake_find("list", NULL), BE_OK, "");
	ck_assert(o->done);
	vfs_fsyncdir(vfs, &k->req, o->opened.fh);
	tick();
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	return k;
}

/* The server opens a file that was kept, and takes its bytes and attributes. */
static void serve_open(const char *path)
{
	struct be_attr a = fake_reg(0, 1000000);

	fake_opened(fake_find("open", path), BE_OK, &a);
}

static void serve_rest(size_t len)
{
	struct be_attr a = fake_reg(len, 1000000);

	fake_status(fake_find("write", NULL), BE_OK, "");
	fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
}

/* What a failed request makes errno.c ask: the server knows nothing more. */
static void serve_looks(const struct be_statvfs *sv)
{
	struct call *c;

	for (;;) {
		if ((c = fake_find("stat", NULL)) != NULL)
			fake_attr(c, BE_NO_SUCH_FILE, NULL);
		else if ((c = fake_find("statvfs", NULL)) != NULL)
			fake_statvfs(c, BE_OK, sv);
		else
			break;
	}
	tick();
}

START_TEST(small_file_is_sent_after_its_close)
{
	// create, write and close cost nothing; then OPEN, and WRITE with attributes behind it
	setup();
	put("f", 100);
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

	setup();
	put("f", 100);
	l = lookup("f");
	vfs_setattr(vfs, &k->req, l->entry.nodeid, 0, &st,
	            VFS_SET_MODE | VFS_SET_MTIME | VFS_SET_ATIME);
	tick();
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

START_TEST(rename_waits_for_every_status_of_its_source)
{
	// a rename is acknowledged at once and sent when OPEN, WRITE and FSETSTAT have come back good
	struct kreq *k;

	setup();
	put("tmp", 100);
	k = rename_root("tmp", "old");
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	serve_open("/r/tmp");
	ck_assert_ptr_null(fake_find("rename", NULL));
	fake_status(fake_find("write", NULL), BE_OK, "");
	ck_assert_ptr_null(fake_find("rename", NULL));
	fake_attr(fake_find("fsetattr", NULL), BE_OK, &(struct be_attr){0});
	ck_assert_str_eq(fake_call("rename")->path2, "/r/old");
	fake_status(fake_call("rename"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(rename_of_a_file_that_failed_is_not_sent)
{
	// ENOSPC in a WRITE: the old version stays, both names report it once, then show the truth
	struct be_attr old = fake_reg(3, 1000);
	struct vfs_stats stats;
	struct kreq *k;

	check_allow_errors();
	setup();
	put("tmp", 100);
	rename_root("tmp", "old");
	serve_open("/r/tmp");
	fake_attr(fake_find("fsetattr", NULL), BE_OK, &old);
	fake_status(fake_call("write"), BE_FAILURE, "");
	serve_looks(&tight);
	fake_none();
	k = lookup("old");
	fake_attr(fake_call("stat"), BE_OK, &old);
	ck_assert_uint_eq(k->entry.st.st_size, 3);
	ck_assert_int_eq(unlink_root("old")->err, ENOSPC);
	ck_assert_int_eq(rename_root("tmp", "x")->err, ENOSPC);
	ck_assert_int_eq(rename_root("tmp", "x")->err, ENOSPC); /* told or not: never */
	vfs_get_stats(vfs, &stats);
	ck_assert_uint_eq(stats.postponed_error_count, 2);
	fake_teardown();
}
END_TEST

START_TEST(rename_of_a_file_whose_mode_failed_is_not_sent)
{
	// every status counts, that of the attributes too
	check_allow_errors();
	setup();
	put("tmp", 100);
	rename_root("tmp", "old");
	serve_open("/r/tmp");
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_PERMISSION_DENIED, NULL);
	fake_none();
	ck_assert_int_eq(unlink_root("old")->err, EPERM);
	fake_teardown();
}
END_TEST

START_TEST(same_name_waits_and_falls_with_it)
{
	// a name that could not be removed is not created anew
	check_allow_errors();
	setup();
	ck_assert(unlink_root("old")->done);
	put("old", 10);
	fake_pass(20);
	ck_assert_ptr_null(fake_find("open", NULL));
	fake_status(fake_call("remove"), BE_FAILURE, "read-only file system");
	serve_looks(&roomy);
	fake_none();
	ck_assert_int_eq(unlink_root("old")->err, EROFS);
	fake_teardown();
}
END_TEST

START_TEST(unrelated_names_overtake)
{
	// while one name waits for its file another is sent
	struct kreq *k = kreq_create();

	setup();
	put("tmp", 10);
	rename_root("tmp", "old");
	serve_open("/r/tmp");
	mkdir_root("other", k);
	ck_assert(k->done);
	fake_attr(fake_find("mkdir", NULL), BE_OK, &(struct be_attr){0});
	serve_rest(10);
	fake_status(fake_call("rename"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(what_is_below_waits_for_its_directory)
{
	// nothing is sent below a directory that the server has not made, nor if it could not be made
	struct kreq *k = kreq_create(), *l = kreq_create(), *c = kreq_create();

	check_allow_errors();
	setup();
	mkdir_root("d", k);
	ck_assert(k->done);
	vfs_lookup(vfs, &l->req, k->entry.nodeid, "f");
	ck_assert_msg(l->done && l->entry.nodeid == 0, "a new directory is known to be empty");
	vfs_create_file(vfs, &c->req, k->entry.nodeid, "f", 0644, O_WRONLY | O_EXCL);
	tick();
	ck_assert(c->done);
	ck_assert_int_eq(close_fh(c->opened.fh)->err, 0);
	fake_pass(20);
	ck_assert_ptr_null(fake_find("open", NULL));
	fake_attr(fake_call("mkdir"), BE_PERMISSION_DENIED, NULL);
	serve_looks(&roomy);
	fake_none();
	ck_assert_int_eq(unlink_root("d")->err, EACCES);
	fake_teardown();
}
END_TEST

START_TEST(rmdir_waits_for_what_was_in_it)
{
	// only a directory that is known to be empty is removed before the server has said so
	struct be_attr dir = fake_dir(1000);
	const struct be_entry entry = {"f", 1, fake_reg(1, 1000)};
	struct kreq *l, *o = kreq_create(), *c = kreq_create(), *r = kreq_create(),
	                *u = kreq_create();
	struct kreq *full = kreq_create();

	setup();
	l = lookup("warm");
	(void)dir;
	vfs_rmdir(vfs, &full->req, VFS_ROOT, "nowhere");
	fake_status(fake_call("rmdir"), BE_NO_SUCH_FILE, "");
	serve_looks(&roomy);
	ck_assert_int_eq(full->err, ENOENT);

	fake_pass(20001); /* the listings are old */
	vfs_opendir(vfs, &o->req, l->entry.nodeid);
	fake_entries(fake_call("list"), &entry, 1);
	fake_status(fake_call("list"), BE_OK, "");
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	l = lookup("warm");
	fake_attr(fake_call("stat"), BE_OK, &dir);
	vfs_unlink(vfs, &u->req, l->entry.nodeid, "f");
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &roomy);
	tick();
	ck_assert_msg(!u->done, "the free space was not known");
	fake_status(fake_call("remove"), BE_OK, "");
	tick();
	vfs_rmdir(vfs, &r->req, VFS_ROOT, "warm");
	tick();
	ck_assert(r->done);
	fake_status(fake_call("rmdir"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(space_that_is_not_known_or_not_enough_is_not_promised)
{
	// twice what is unsent and 64 MiB must be free, at most 5 s ago
	struct kreq *k = kreq_create(), *again = kreq_create();

	setup();
	fake_pass(20001); /* what is known of the root is old */
	lookup("a");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	mkdir_root("a", k);
	ck_assert(!k->done);
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &tight);
	fake_attr(fake_call("mkdir"), BE_OK,
	          &(struct be_attr){.valid = 15, .mode = S_IFDIR | 0755});
	ck_assert(k->done);
	lookup("b");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	mkdir_root("b", again);
	ck_assert_msg(!again->done, "there is no space to promise anything");
	fake_attr(fake_call("mkdir"), BE_FAILURE, NULL);
	serve_looks(&tight);
	ck_assert_int_eq(again->err, ENOSPC);
	fake_teardown();
}
END_TEST

START_TEST(directory_that_we_may_not_write_is_not_promised)
{
	// permission is checked by owner and mode before anything is acknowledged
	struct be_attr dir = fake_dir(1000), ours = fake_dir(1000);
	struct kreq *k = kreq_create(), *g = kreq_create();

	fake_setup(tweak);
	fake.info.caps.statvfs = true;
	ours.uid = ours.gid = 1000;
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	fake_attr(fake_call("stat"), BE_OK, &dir);
	list_root(NULL, 0);
	mkdir_root("a", kreq_create());
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &roomy);
	fake_attr(fake_call("mkdir"), BE_OK, &ours);
	mkdir_root("b", k);
	ck_assert(!k->done);
	fake_attr(fake_call("mkdir"), BE_PERMISSION_DENIED, NULL);
	serve_looks(&roomy);
	ck_assert_int_eq(k->err, EACCES);
	fake_teardown();
}
END_TEST

START_TEST(barrier_waits_for_everything)
{
	// fsync of any directory returns when every status has come, and sends what was held back
	struct kreq *k;

	setup();
	put("f", 10);
	unlink_root("old");
	k = barrier();
	ck_assert(!k->done);
	fake_status(fake_find("remove", NULL), BE_OK, "");
	serve_open("/r/f");
	ck_assert(!k->done);
	serve_rest(10);
	tick();
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
	setup();
	unlink_root("old");
	fake_status(fake_call("remove"), BE_FAILURE, "quota exceeded");
	k = barrier();
	ck_assert(k->done);
	ck_assert_int_eq(k->err, EDQUOT);
	ck_assert_int_eq(barrier()->err, 0);
	fake_teardown();
}
END_TEST

START_TEST(fsync_of_a_file_is_a_barrier)
{
	// fsync sends the file, waits for all others too, and then syncs it
	struct kreq *c, *k = kreq_create(), *s = kreq_create();
	struct be_attr a = fake_reg(10, 1000000);

	setup();
	mkdir_root("d", k);
	c = create("f", O_WRONLY | O_EXCL);
	write_at(c->opened.fh, 10, 0);
	vfs_fsync(vfs, &s->req, c->opened.fh);
	tick();
	serve_open("/r/f");
	serve_rest(10);
	tick();
	ck_assert_ptr_null(fake_find("fsync", NULL));
	fake_attr(fake_call("mkdir"), BE_OK, &(struct be_attr){0});
	tick();
	fake_status(fake_call("fsync"), BE_OK, "");
	ck_assert(s->done);
	ck_assert_int_eq(s->err, 0);
	close_fh(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a); /* all of it is there: the server is asked */
	fake_teardown();
}
END_TEST

START_TEST(synchronous_write_waits)
{
	// O_DSYNC: answered when the server has everything
	struct kreq *c, *w;
	struct be_attr a = fake_reg(10, 1000000);

	setup();
	c = create("f", O_WRONLY | O_EXCL | O_DSYNC);
	w = write_at(c->opened.fh, 10, 0);
	ck_assert(!w->done);
	serve_open("/r/f");
	serve_rest(10);
	tick();
	ck_assert(!w->done);
	fake_status(fake_call("fsync"), BE_OK, "");
	ck_assert_uint_eq(w->written, 10);
	close_fh(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(large_file_is_sent_as_it_comes)
{
	// beyond 1 MiB the file is opened and its bytes go out; close does not wait for them
	struct kreq *c, *k;
	uint64_t off;

	setup();
	c = create("f", O_WRONLY | O_EXCL);
	for (off = 0; off < 2 << 20; off += 65536)
		write_at(c->opened.fh, 65536, off);
	ck_assert_ptr_nonnull(fake_find("open", "/r/f"));
	serve_open("/r/f");
	k = close_fh(c->opened.fh);
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
	setup();
	c = create("f", O_WRONLY | O_EXCL);
	for (uint64_t off = 0; off < 2 << 20; off += 65536)
		write_at(c->opened.fh, 65536, off);
	serve_open("/r/f");
	fake_status(fake_call("write"), BE_FAILURE, "no space left on device");
	k = close_fh(c->opened.fh);
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

	setup();
	memset(bytes, 'x', 100);
	c = create("f", O_RDWR | O_EXCL);
	write_at(c->opened.fh, 100, 0);
	vfs_read(vfs, &r->req, c->opened.fh, 50, 80);
	tick();
	ck_assert(r->done);
	ck_assert_uint_eq(r->len, 20);
	ck_assert_mem_eq(r->bytes, bytes, 20);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_RDONLY);
	tick();
	ck_assert(!o->done);
	serve_open("/r/f");
	serve_rest(100);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(o->done);
	close_fh(c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &a); /* two have it open: the server is asked */
	close_fh(o->opened.fh);
	memset(bytes, 0, 100);
	fake_teardown();
}
END_TEST

START_TEST(listing_waits_for_what_is_pending)
{
	// a directory is listed when everything acknowledged in it has been answered
	struct kreq *o = kreq_create();

	setup();
	put("f", 10);
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

	setup();
	fake_pass(20001); /* what is known of the root is old */
	mkdir_root("d", k);
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &roomy);
	fake_attr(fake_call("mkdir"), BE_OK, &dir);
	for (int i = 0; i < 2; i++) {
		lookup(i ? "a" : "b");
		fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	}
	l = lookup("c");
	m = lookup("e");
	fake_status(fake_call("list"), BE_OK, "");
	ck_assert(l->done && m->done);
	ck_assert_uint_eq(l->entry.nodeid, 0);
	ck_assert(lookup("g")->done);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(appended_by_another_descriptor_is_seen)
{
	// what one descriptor knows of a file ends when another one writes to it
	struct be_attr a = fake_reg(10, 1000000), b = fake_reg(20, 1000001);
	struct kreq *c, *o = kreq_create(), *g = kreq_create();

	setup();
	c = create("f", O_RDWR | O_EXCL);
	write_at(c->opened.fh, 10, 0);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_WRONLY | O_APPEND);
	tick();
	serve_open("/r/f");
	if (fake_find("write", NULL))
		fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_OK, &a);
	fake_opened(fake_call("open"), BE_OK, &a);
	write_at(o->opened.fh, 10, 10);
	close_fh(o->opened.fh);
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &b);
	tick();
	fake_pass(4000);
	vfs_getattr(vfs, &g->req, c->entry.nodeid, c->opened.fh);
	fake_attr(fake_call("fstat"), BE_OK, &b);
	ck_assert_int_eq(g->st.st_size, 20);
	close_fh(c->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(name_that_was_renamed_away_is_made_again)
{
	// a new file under the old name of a rename that is pending is made under that name
	struct kreq *c;

	setup();
	ck_assert(rename_root("old", "older")->done);
	c = create("old", O_WRONLY | O_EXCL);
	ck_assert(c->done);
	fake_status(fake_call("rename"), BE_OK, "");
	close_fh(c->opened.fh);
	fake_pass(20);
	serve_open("/r/old");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
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

	setup();
	c = create("f", O_RDWR | O_EXCL);
	fake_pass(2700);
	vfs_open(vfs, &o->req, c->entry.nodeid, O_RDWR); /* the server makes it 2 s late */
	tick();
	fake_opened(fake_find("open", "/r/f"), BE_OK, &a);
	ck_assert_ptr_null(fake_find("open", NULL));
	a.mtime = fake_find("fsetattr", NULL)->want.mtime;
	ck_assert_uint_eq(a.mtime, 1000000);
	fake_attr(fake_call("fsetattr"), BE_OK, &a);
	fake_opened(fake_call("open"), BE_OK, &a);
	tick();
	ck_assert(o->done);
	ck_assert_int_eq(o->err, 0);
	close_fh(c->opened.fh);
	close_fh(o->opened.fh);
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(nothing_overtakes_a_rename_behind_a_write)
{
	// bytes for an open file go out at once; what follows on its new name waits for the rename still
	struct kreq *c;
	struct be_attr a = fake_reg(20, 1000000);

	setup();
	c = create("new", O_RDWR | O_EXCL);
	write_at(c->opened.fh, 10, 0);
	ck_assert(rename_root("new", "old")->done);
	serve_open("/r/new");
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	write_at(c->opened.fh, 10, 10);
	close_fh(c->opened.fh);
	ck_assert(unlink_root("old")->done);
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &a);
	tick();
	fake_status(fake_call("rename"), BE_OK, "");
	tick();
	fake_status(fake_call("remove"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(drain_waits_for_what_is_pending)
{
	// the end of the mount is not the end of what was acknowledged
	check_allow_errors();
	setup();
	put("f", 10);
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
	setup();
	unlink_root("old");
	fake_status(fake_call("remove"), BE_FAILURE, "quota exceeded");
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 1);
	ck_assert_int_eq(unlink_root("old")->err, EDQUOT);
	ck_assert_uint_eq(vfs_log_undelivered(vfs), 0);
	fake_teardown();
}
END_TEST

START_TEST(unlinked_while_open_is_opened_first)
{
	// a file that is removed before it was sent is created, and then removed
	struct kreq *c;

	setup();
	c = create("f", O_RDWR | O_EXCL);
	write_at(c->opened.fh, 10, 0);
	ck_assert(unlink_root("f")->done);
	ck_assert_ptr_null(fake_find("remove", NULL));
	serve_open("/r/f");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_status(fake_call("remove"), BE_OK, "");
	close_fh(c->opened.fh);
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

#define PROGRAM 42

static uint64_t id_of(const char *name)
{
	return lookup(name)->entry.nodeid;
}

static struct kreq *open_to_read(const char *name)
{
	struct kreq *k = kreq_create();
	uint64_t id = id_of(name);

	k->req.program = PROGRAM;
	vfs_open(vfs, &k->req, id, O_RDONLY);
	tick();
	return k;
}

static void read_and_close(const struct kreq *o)
{
	struct kreq *r = kreq_create(), *c = kreq_create();
	struct call *read;

	ck_assert(o->done);
	vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
	tick();
	read = fake_find("read", NULL);
	if (read)
		fake_data(read, BE_OK, "hello", 5);
	ck_assert_uint_eq(r->len, 5);
	vfs_release(vfs, &c->req, o->opened.fh);
	tick();
}

static void chmod_of(const char *name)
{
	const struct stat st = {.st_mode = 0600};
	struct kreq *k = kreq_create();

	vfs_setattr(vfs, &k->req, id_of(name), 0, &st, VFS_SET_MODE);
	tick();
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

	setup_with(files, 5);
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
		fake_statvfs(fake_find("statvfs", NULL), BE_OK, &roomy);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(symlink_is_read_before_it_is_made)
{
	// the target of a link that is pending is known
	struct kreq *k = kreq_create(), *r = kreq_create();

	setup();
	vfs_symlink(vfs, &k->req, "to/there", VFS_ROOT, "l");
	tick();
	ck_assert(k->done);
	vfs_readlink(vfs, &r->req, k->entry.nodeid);
	tick();
	ck_assert_str_eq((char *)r->bytes, "to/there");
	fake_attr(fake_call("symlink"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_async", small_file_is_sent_after_its_close, attributes_by_name_ride_along,
           rename_waits_for_every_status_of_its_source, rename_of_a_file_that_failed_is_not_sent,
           rename_of_a_file_whose_mode_failed_is_not_sent, same_name_waits_and_falls_with_it,
           unrelated_names_overtake, what_is_below_waits_for_its_directory,
           rmdir_waits_for_what_was_in_it, space_that_is_not_known_or_not_enough_is_not_promised,
           directory_that_we_may_not_write_is_not_promised, barrier_waits_for_everything,
           barrier_reports_the_first_failure_once, fsync_of_a_file_is_a_barrier,
           synchronous_write_waits, large_file_is_sent_as_it_comes,
           failure_of_an_open_file_is_returned_by_its_close, kept_bytes_can_be_read_back,
           listing_waits_for_what_is_pending, names_that_are_missed_are_listed,
           file_opened_again_is_the_same_file, nothing_overtakes_a_rename_behind_a_write,
           drain_waits_for_what_is_pending, failure_that_nobody_was_told_is_undelivered,
           appended_by_another_descriptor_is_seen, name_that_was_renamed_away_is_made_again,
           unlinked_while_open_is_opened_first, symlink_is_read_before_it_is_made,
           what_is_pending_is_neither_fetched_ahead_nor_served_from_before)
