/* SPDX-License-Identifier: BSD-2-Clause */
/* -o async: what waits for what, and what falls with what. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fake_async.h"

START_TEST(rename_waits_for_every_status_of_its_source)
{
	// a rename is acknowledged at once and sent when OPEN, WRITE and FSETSTAT have come back good
	struct kreq *k;

	prog_setup();
	prog_put("tmp", 100);
	k = prog_rename("tmp", "old");
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
	prog_setup();
	prog_put("tmp", 100);
	prog_rename("tmp", "old");
	serve_open("/r/tmp");
	fake_attr(fake_find("fsetattr", NULL), BE_OK, &old);
	fake_status(fake_call("write"), BE_FAILURE, "");
	serve_looks(&fake_tight);
	fake_none();
	k = prog_lookup("old");
	fake_attr(fake_call("stat"), BE_OK, &old);
	ck_assert_uint_eq(k->entry.st.st_size, 3);
	ck_assert_int_eq(prog_unlink("old")->err, ENOSPC);
	ck_assert_int_eq(prog_rename("tmp", "x")->err, ENOSPC);
	ck_assert_int_eq(prog_rename("tmp", "x")->err, ENOSPC); /* told or not: never */
	vfs_get_stats(vfs, &stats);
	ck_assert_uint_eq(stats.postponed_error_count, 2);
	fake_teardown();
}
END_TEST

START_TEST(rename_of_a_file_whose_mode_failed_is_not_sent)
{
	// every status counts, that of the attributes too
	check_allow_errors();
	prog_setup();
	prog_put("tmp", 100);
	prog_rename("tmp", "old");
	serve_open("/r/tmp");
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_PERMISSION_DENIED, NULL);
	fake_none();
	ck_assert_int_eq(prog_unlink("old")->err, EPERM);
	fake_teardown();
}
END_TEST

START_TEST(same_name_waits_and_falls_with_it)
{
	// a name that could not be removed is not created anew
	check_allow_errors();
	prog_setup();
	ck_assert(prog_unlink("old")->done);
	prog_put("old", 10);
	fake_pass(20);
	ck_assert_ptr_null(fake_find("open", NULL));
	fake_status(fake_call("remove"), BE_FAILURE, "read-only file system");
	serve_looks(&fake_roomy);
	fake_none();
	ck_assert_int_eq(prog_unlink("old")->err, EROFS);
	fake_teardown();
}
END_TEST

START_TEST(unrelated_names_overtake)
{
	// while one name waits for its file another is sent
	struct kreq *k = kreq_create();

	prog_setup();
	prog_put("tmp", 10);
	prog_rename("tmp", "old");
	serve_open("/r/tmp");
	prog_mkdir("other", k);
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
	prog_setup();
	prog_mkdir("d", k);
	ck_assert(k->done);
	vfs_lookup(vfs, &l->req, k->entry.nodeid, "f");
	ck_assert_msg(l->done && l->entry.nodeid == 0, "a new directory is known to be empty");
	vfs_create_file(vfs, &c->req, k->entry.nodeid, "f", 0644, O_WRONLY | O_EXCL);
	prog_tick();
	ck_assert(c->done);
	ck_assert_int_eq(prog_close(c->opened.fh)->err, 0);
	fake_pass(20);
	ck_assert_ptr_null(fake_find("open", NULL));
	fake_attr(fake_call("mkdir"), BE_PERMISSION_DENIED, NULL);
	serve_looks(&fake_roomy);
	fake_none();
	ck_assert_int_eq(prog_unlink("d")->err, EACCES);
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

	prog_setup();
	l = prog_lookup("warm");
	(void)dir;
	vfs_rmdir(vfs, &full->req, VFS_ROOT, "nowhere");
	fake_status(fake_call("rmdir"), BE_NO_SUCH_FILE, "");
	serve_looks(&fake_roomy);
	ck_assert_int_eq(full->err, ENOENT);

	fake_pass(20001); /* the listings are old */
	vfs_opendir(vfs, &o->req, l->entry.nodeid);
	fake_entries(fake_call("list"), &entry, 1);
	fake_status(fake_call("list"), BE_OK, "");
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	l = prog_lookup("warm");
	fake_attr(fake_call("stat"), BE_OK, &dir);
	vfs_unlink(vfs, &u->req, l->entry.nodeid, "f");
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_roomy);
	prog_tick();
	ck_assert_msg(!u->done, "the free space was not known");
	fake_status(fake_call("remove"), BE_OK, "");
	prog_tick();
	vfs_rmdir(vfs, &r->req, VFS_ROOT, "warm");
	prog_tick();
	ck_assert(r->done);
	fake_status(fake_call("rmdir"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(name_that_was_renamed_away_is_made_again)
{
	// a new file under the old name of a rename that is pending is made under that name
	struct kreq *c;

	prog_setup();
	ck_assert(prog_rename("old", "older")->done);
	c = prog_create("old", O_WRONLY | O_EXCL);
	ck_assert(c->done);
	fake_status(fake_call("rename"), BE_OK, "");
	prog_close(c->opened.fh);
	fake_pass(20);
	serve_open("/r/old");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

START_TEST(nothing_overtakes_a_rename_behind_a_write)
{
	// bytes for an open file go out at once; what follows on its new name waits for the rename still
	struct kreq *c;
	struct be_attr a = fake_reg(20, 1000000);

	prog_setup();
	c = prog_create("new", O_RDWR | O_EXCL);
	prog_write(c->opened.fh, 10, 0);
	ck_assert(prog_rename("new", "old")->done);
	serve_open("/r/new");
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	prog_write(c->opened.fh, 10, 10);
	prog_close(c->opened.fh);
	ck_assert(prog_unlink("old")->done);
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	while (fake_find("fstat", NULL))
		fake_attr(fake_find("fstat", NULL), BE_OK, &a);
	prog_tick();
	fake_status(fake_call("rename"), BE_OK, "");
	prog_tick();
	fake_status(fake_call("remove"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(unlinked_while_open_is_opened_first)
{
	// a file that is removed before it was sent is created, and then removed
	struct kreq *c;

	prog_setup();
	c = prog_create("f", O_RDWR | O_EXCL);
	prog_write(c->opened.fh, 10, 0);
	ck_assert(prog_unlink("f")->done);
	ck_assert_ptr_null(fake_find("remove", NULL));
	serve_open("/r/f");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_status(fake_call("remove"), BE_OK, "");
	prog_close(c->opened.fh);
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fsetattr"), BE_OK, &(struct be_attr){0});
	fake_teardown();
}
END_TEST

/* A file of two names, "old" and "too". */
static uint64_t prepare_links(void)
{
	uint64_t nodeid;
	struct be_attr a = fake_reg(3, 1000);

	prog_setup();
	nodeid = prog_lookup("old")->entry.nodeid;
	ck_assert(prog_link(nodeid, "too")->done);
	fake_attr(fake_call("link"), BE_OK, &a);
	fake_none();
	return nodeid;
}

START_TEST(open_waits_for_a_change_under_a_lost_name)
{
	// what was done to a file by a name that it has no longer is not undone by an open of another
	struct be_attr a = fake_reg(3, 1000);
	uint64_t nodeid = prepare_links();
	struct kreq *o = kreq_create();

	ck_assert(prog_chmod(nodeid, 0, 0600)->done);
	ck_assert(prog_unlink("old")->done);
	vfs_open(vfs, &o->req, nodeid, O_RDWR);
	prog_tick();
	ck_assert_ptr_null(fake_find("open", NULL));
	a.mode = S_IFREG | 0600;
	ck_assert_str_eq(fake_call("setattr")->path, "/r/old");
	fake_attr(fake_call("setattr"), BE_OK, &a);
	prog_tick();
	fake_status(fake_find("remove", NULL), BE_OK, "");
	fake_opened(fake_find("open", "/r/too"), BE_OK, &a);
	prog_tick();
	ck_assert_int_eq(o->err, 0);
	ck_assert_uint_eq(prog_lookup("too")->entry.st.st_mode & 07777, 0600);
	prog_close(o->opened.fh);
	fake_none();
	fake_teardown();
}
END_TEST

/* A write to "old", whose other name is "too", is refused; "old" is gone. */
static uint64_t lose_a_write(void)
{
	struct be_attr a = fake_reg(3, 1000);
	uint64_t nodeid = prepare_links();
	struct kreq *o = kreq_create();

	check_allow_errors();
	vfs_open(vfs, &o->req, nodeid, O_WRONLY);
	prog_tick();
	fake_opened(fake_call("open"), BE_OK, &a);
	prog_write(o->opened.fh, 10, 0);
	prog_close(o->opened.fh);
	prog_unlink("old");
	return nodeid;
}

static void refuse_the_write(void)
{
	struct be_attr a = fake_reg(3, 1000);

	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_FAILURE, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	serve_looks(&fake_tight);
	if (fake_find("remove", NULL))
		fake_status(fake_find("remove", NULL), BE_OK, "");
	prog_tick();
}

START_TEST(torn_file_gets_no_new_name)
{
	// a file that lacks acknowledged bytes is not renamed by any of its names, until it is emptied
	struct be_attr a = fake_reg(0, 1000000);
	struct kreq *o = kreq_create();
	uint64_t nodeid = lose_a_write();

	refuse_the_write();
	ck_assert_int_eq(prog_rename("too", "x")->err, ENOSPC);
	ck_assert_int_eq(prog_rename("too", "x")->err, ENOSPC);
	fake_none();
	vfs_open(vfs, &o->req, nodeid, O_WRONLY | O_TRUNC);
	prog_tick();
	fake_opened(fake_call("open"), BE_OK, &a);
	prog_close(o->opened.fh);
	ck_assert_int_eq(prog_rename("too", "x")->err, 0);
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	fake_status(fake_call("rename"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(rename_behind_a_write_by_another_name_falls_with_it)
{
	// a rename that was acknowledged waits for bytes on their way under any name of its source
	lose_a_write();
	ck_assert(prog_rename("too", "x")->done);
	ck_assert_ptr_null(fake_find("rename", NULL));
	refuse_the_write();
	fake_none();
	ck_assert_int_eq(prog_unlink("x")->err, ENOSPC);
	fake_teardown();
}
END_TEST

START_TEST(rename_behind_attributes_of_a_torn_file_is_not_sent)
{
	// attributes are set though bytes are missing; the rename behind them is not carried out
	struct be_attr a = fake_reg(3, 1000);
	struct kreq *c;

	check_allow_errors();
	prog_setup();
	c = prog_create("f", O_WRONLY | O_EXCL);
	prog_write(c->opened.fh, 2 << 20, 0); /* too much to be kept */
	serve_open("/r/f");
	prog_close(c->opened.fh);
	ck_assert(prog_chmod(c->entry.nodeid, 0, 0600)->done);
	ck_assert(prog_rename("f", "old")->done);
	refuse_the_write();
	fake_attr(fake_call("setattr"), BE_OK, &a);
	prog_tick();
	fake_none();
	ck_assert_int_eq(prog_unlink("old")->err, ENOSPC);
	fake_teardown();
}
END_TEST

/* A new file "g" that the server is asked to open, and changes of its mode that wait for that. */
static struct kreq *set_while_opening(void)
{
	struct kreq *c;

	prog_setup();
	c = prog_create("f", O_WRONLY | O_EXCL);
	prog_chmod(c->entry.nodeid, c->opened.fh, 0600);
	prog_write(c->opened.fh, 10, 0);
	ck_assert(prog_rename("f", "g")->done); /* wants it sent */
	fake_pass(5001);                        /* how much space is free must be asked first */
	prog_chmod(c->entry.nodeid, c->opened.fh, 0640);
	prog_chmod(c->entry.nodeid, c->opened.fh, 0644);
	prog_write(c->opened.fh, 10, 10); /* the mtime is no longer what was shown */
	return c;
}

/* The server does all it is asked. Return: the file's mode in the end. */
static uint32_t serve_all(void)
{
	struct be_attr a = fake_reg(10, 1000000);

	a.mode = S_IFREG | 0600;
	fake_opened(fake_find("open", "/r/f"), BE_OK, &a);
	while (!list_empty(&fake.calls)) {
		struct call *c = list_entry(fake.calls.next, struct call, entry);

		if (c->want.valid & BE_ATTR_MODE)
			a.mode = S_IFREG | c->want.mode;
		if (c->statvfs_fn)
			fake_statvfs(c, BE_OK, &fake_roomy);
		else if (c->attr_fn)
			fake_attr(c, BE_OK, &a);
		else
			fake_status(c, BE_OK, "");
		prog_tick();
	}
	return a.mode & 07777;
}

START_TEST(close_shows_what_waits_to_be_set)
{
	// a mode set while the server opens the file is what it has after the close
	struct kreq *c = set_while_opening(), *k = kreq_create(), *g = kreq_create();

	vfs_flush(vfs, &k->req, c->opened.fh);
	prog_tick();
	ck_assert_uint_eq(serve_all(), 0644);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	vfs_getattr(vfs, &g->req, c->entry.nodeid, 0);
	ck_assert_uint_eq(g->st.st_mode & 07777, 0644);
	vfs_release(vfs, &kreq_create()->req, c->opened.fh);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(what_waits_to_be_set_comes_before_the_close)
{
	// the same where the program is killed in its close
	struct kreq *c = set_while_opening();

	prog_close(c->opened.fh);
	ck_assert_uint_eq(serve_all(), 0644);
	ck_assert_uint_eq(fake.open_count, 0);
	fake_teardown();
}
END_TEST

START_TEST(listing_waits_for_files_with_names_elsewhere)
{
	// a directory is listed when what is on its way to its files by names of other directories is there
	struct be_attr a = fake_reg(2 << 20, 1000000);
	struct kreq *c, *l = kreq_create(), *o = kreq_create();
	uint64_t warm;

	prog_setup();
	warm = prog_lookup("warm")->entry.nodeid;
	c = prog_create("f", O_WRONLY | O_EXCL);
	vfs_link(vfs, &l->req, c->entry.nodeid, warm, "too");
	prog_tick();
	ck_assert(l->done);
	serve_open("/r/f");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &(struct be_attr){0});
	fake_attr(fake_call("link"), BE_OK, &a);
	prog_write(c->opened.fh, 2 << 20, 0);
	prog_close(c->opened.fh);
	ck_assert_ptr_nonnull(fake_find("write", NULL));
	fake_pass(20001); /* what is known of the directory is old */
	vfs_opendir(vfs, &o->req, warm);
	prog_tick();
	ck_assert_ptr_null(fake_find("list", NULL));
	while (fake_find("write", NULL))
		fake_status(fake_find("write", NULL), BE_OK, "");
	while (fake_find("fsetattr", NULL))
		fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
	fake_status(fake_find("list", NULL), BE_OK, "");
	vfs_releasedir(vfs, &kreq_create()->req, o->opened.fh);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_async_order", rename_waits_for_every_status_of_its_source,
           rename_of_a_file_that_failed_is_not_sent, rename_of_a_file_whose_mode_failed_is_not_sent,
           same_name_waits_and_falls_with_it, unrelated_names_overtake,
           what_is_below_waits_for_its_directory, rmdir_waits_for_what_was_in_it,
           name_that_was_renamed_away_is_made_again, nothing_overtakes_a_rename_behind_a_write,
           unlinked_while_open_is_opened_first, open_waits_for_a_change_under_a_lost_name,
           torn_file_gets_no_new_name, rename_behind_a_write_by_another_name_falls_with_it,
           rename_behind_attributes_of_a_torn_file_is_not_sent, close_shows_what_waits_to_be_set,
           what_waits_to_be_set_comes_before_the_close,
           listing_waits_for_files_with_names_elsewhere)
