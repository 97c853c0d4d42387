/* SPDX-License-Identifier: BSD-2-Clause */
/* Look-ahead: what a program that goes through a tree finds fetched. */
#include "check_main.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fake_backend.h"

#define PROGRAM 42

static struct be_entry entry(const char *name, struct be_attr a)
{
	return (struct be_entry){name, strlen(name), a};
}

static uint64_t opendir_of(uint64_t nodeid)
{
	struct kreq *k = kreq_create();

	k->req.program = PROGRAM;
	vfs_opendir(vfs, &k->req, nodeid);
	return nodeid;
}

static void answer_list(const char *path, const struct be_entry *entries, size_t count)
{
	struct call *c = fake_call("list");

	ck_assert_str_eq(c->path, path);
	fake_entries(c, entries, count);
	fake_status(c, BE_OK, "");
}

/* The root with directories a and b, listed by the program. Return: the node of a. */
static uint64_t start(void)
{
	const struct be_entry root[] = {entry("a", fake_dir(1000)), entry("b", fake_dir(1000))};
	struct kreq *k = kreq_create();

	opendir_of(VFS_ROOT);
	answer_list("/r", root, 2);
	fake_none();
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	return k->entry.nodeid;
}

START_TEST(a_child_of_a_listing_brings_its_sisters)
{
	// listing a child of what was just listed asks for the other children, once
	struct kreq *k = kreq_create();
	const struct be_entry file[] = {entry("f", fake_reg(5, 1000))};

	fake_setup(NULL);
	opendir_of(start());
	answer_list("/r/a", file, 1);
	answer_list("/r/b", file, 1);
	fake_none();
	vfs_lookup(vfs, &k->req, VFS_ROOT, "b");
	opendir_of(k->entry.nodeid);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(a_listing_during_which_we_changed_something_is_not_kept)
{
	// a name made while the directory is listed ahead: the program's own opendir asks anew
	struct kreq *k = kreq_create(), *m = kreq_create();
	struct be_attr made = fake_dir(1000);

	fake_setup(NULL);
	opendir_of(start());
	answer_list("/r/a", NULL, 0);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "b");
	vfs_mkdir(vfs, &m->req, k->entry.nodeid, "new", 0755);
	answer_list("/r/b", NULL, 0);
	fake_attr(fake_call("mkdir"), BE_OK, &made);
	opendir_of(k->entry.nodeid);
	fake_teardown();
}
END_TEST

static struct kreq *open_for_reading(uint64_t nodeid)
{
	struct kreq *k = kreq_create();

	k->req.program = PROGRAM;
	vfs_open(vfs, &k->req, nodeid, O_RDONLY);
	return k;
}

/* The root with files f1, f2, f3 of 5 bytes, listed by the program. */
static void list_three(uint64_t ids[3])
{
	const struct be_entry root[] = {entry("f1", fake_reg(5, 1000)),
	                                entry("f2", fake_reg(5, 1000)),
	                                entry("f3", fake_reg(5, 1000))};

	opendir_of(VFS_ROOT);
	answer_list("/r", root, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct kreq *k = kreq_create();

		vfs_lookup(vfs, &k->req, VFS_ROOT, root[i].name);
		ids[i] = k->entry.nodeid;
	}
}

START_TEST(the_second_file_of_a_listing_brings_the_third)
{
	// opened and read files of a listing: the next one is fetched, and its open asks nobody
	struct be_attr a = fake_reg(5, 1000);
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	for (unsigned i = 0; i < 3; i++) {
		struct kreq *o = open_for_reading(ids[i]), *r = kreq_create(), *c = kreq_create();

		if (i == 1) {
			struct call *f = fake_call("fetch");

			ck_assert_str_eq(f->path, "/r/f3");
			fake_fetched(f, BE_OK, &a, "hello", 5);
		}
		if (i < 2)
			fake_opened(fake_call("open"), BE_OK, &a);
		ck_assert(o->done);
		vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
		if (i < 2)
			fake_data(fake_call("read"), BE_OK, "hello", 5);
		ck_assert_uint_eq(r->len, 5);
		ck_assert_mem_eq(r->bytes, "hello", 5);
		vfs_release(vfs, &c->req, o->opened.fh);
		fake_none();
	}
	fake_teardown();
}
END_TEST

/* The kernel does not know yet that `name` is there, and creates it: five other bytes, closed. */
static void write_over(const char *name)
{
	struct kreq *o = kreq_create(), *w = kreq_create(), *f = kreq_create(), *c = kreq_create();
	struct be_attr empty = fake_reg(0, 1001), a = fake_reg(5, 1001);

	vfs_create_file(vfs, &o->req, VFS_ROOT, name, 0644, O_WRONLY | O_TRUNC);
	fake_opened(fake_call("open"), BE_OK, &empty);
	vfs_write(vfs, &w->req, o->opened.fh, "other", 5, 0, false);
	vfs_flush(vfs, &f->req, o->opened.fh);
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fstat"), BE_OK, &a);
	ck_assert(f->done && f->err == 0);
	vfs_release(vfs, &c->req, o->opened.fh);
}

START_TEST(what_is_written_over_what_was_fetched_stays)
{
	// f3 is fetched and never read; its guess ends while the bytes that replaced it are in their window
	struct be_attr a = fake_reg(5, 1000);
	struct kreq *o[3], *r[3];
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	for (unsigned i = 0; i < 3; i++)
		r[i] = kreq_create();
	for (unsigned i = 0; i < 2; i++) {
		o[i] = open_for_reading(ids[i]);
		if (i == 1)
			fake_fetched(fake_call("fetch"), BE_OK, &a, "hello", 5);
		fake_opened(fake_call("open"), BE_OK, &a);
		vfs_read(vfs, &r[i]->req, o[i]->opened.fh, 4096, 0);
		fake_data(fake_call("read"), BE_OK, "hello", 5);
	}
	for (unsigned i = 0; i < 46; i++) {
		fake_pass(100);
		if (fake_find("stat", NULL))
			fake_attr(fake_call("stat"), BE_OK, &a);
	}
	write_over("f3");
	fake_pass(600);
	o[2] = open_for_reading(ids[2]);
	ck_assert(o[2]->done);
	vfs_read(vfs, &r[2]->req, o[2]->opened.fh, 4096, 0);
	ck_assert_mem_eq(r[2]->bytes, "other", 5);
	for (unsigned i = 0; i < 3; i++) {
		struct kreq *c = kreq_create();

		vfs_release(vfs, &c->req, o[i]->opened.fh);
	}
	fake_pass(2000);
	fake_teardown();
}
END_TEST

START_TEST(nothing_is_fetched_for_who_does_not_read)
{
	// the first file was closed unread: neither the second one's bytes nor the third is asked for
	struct be_attr a = fake_reg(5, 1000);
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	for (unsigned i = 0; i < 3; i++) {
		struct kreq *o = open_for_reading(ids[i]), *c = kreq_create();
		struct call *open = fake_call("open");

		ck_assert_uint_eq(open->len, i == 0 ? 5 : 0);
		fake_opened(open, BE_OK, &a);
		vfs_release(vfs, &c->req, o->opened.fh);
		fake_none();
	}
	fake_teardown();
}
END_TEST

START_TEST(what_a_program_has_just_opened_it_opens_again_for_nothing)
{
	// as the kernel does for each FS_IOC_GETFLAGS: the same handle, closed with the last descriptor
	struct be_attr a = fake_reg(5, 1000);
	struct kreq *first, *again, *c = kreq_create(), *r = kreq_create(), *d = kreq_create();
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	first = open_for_reading(ids[0]);
	fake_opened(fake_call("open"), BE_OK, &a);
	again = open_for_reading(ids[0]);
	ck_assert(first->done && again->done);
	fake_none();
	vfs_release(vfs, &c->req, first->opened.fh);
	ck_assert_uint_eq(fake.open_count, 1);
	vfs_read(vfs, &r->req, again->opened.fh, 4096, 0);
	fake_data(fake_call("read"), BE_OK, "hello", 5);
	ck_assert_uint_eq(r->len, 5);
	vfs_release(vfs, &d->req, again->opened.fh);
	ck_assert_uint_eq(fake.open_count, 0);
	fake_teardown();
}
END_TEST

START_TEST(nothing_is_fetched_ahead_when_half_the_memory_is_in_use)
{
	// each file is then asked for when it is opened
	struct be_attr a = fake_reg(5, 1000);
	uint64_t ids[3];
	size_t len;

	fake_setup(NULL);
	list_three(ids);
	len = budget.max_len / 2 + 1;
	budget_charge(&budget, len);
	for (unsigned i = 0; i < 3; i++) {
		struct kreq *o = open_for_reading(ids[i]), *r = kreq_create(), *c = kreq_create();

		fake_opened(fake_call("open"), BE_OK, &a);
		vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
		fake_data(fake_call("read"), BE_OK, "hello", 5);
		vfs_release(vfs, &c->req, o->opened.fh);
		fake_none();
	}
	budget_release(&budget, len);
	fake_teardown();
}
END_TEST

static struct kreq *open_anew(uint64_t nodeid, pid_t program, const struct be_attr *a)
{
	struct kreq *k = kreq_create();

	k->req.program = program;
	vfs_open(vfs, &k->req, nodeid, O_RDONLY);
	ck_assert_msg(!k->done, "the server must be asked");
	while (fake_find("fetch", NULL))
		fake_fetched(fake_find("fetch", NULL), BE_FAILURE, NULL, NULL, 0);
	fake_opened(fake_call("open"), BE_OK, a);
	ck_assert(k->done);
	return k;
}

START_TEST(what_was_read_or_is_old_or_another_programs_is_opened_anew)
{
	// each open asks the server: after a read, after the window, by somebody else, behind our change
	struct be_attr a = fake_reg(5, 1000);
	const struct stat mode = {.st_mode = 0600};
	struct kreq *o[7], *r = kreq_create(), *s = kreq_create();
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	o[0] = open_anew(ids[0], PROGRAM, &a);
	vfs_read(vfs, &r->req, o[0]->opened.fh, 4096, 0);
	fake_data(fake_call("read"), BE_OK, "hello", 5);
	o[1] = open_anew(ids[0], PROGRAM, &a);
	o[2] = open_anew(ids[1], PROGRAM, &a);
	fake_pass(1001);
	o[3] = open_anew(ids[1], PROGRAM, &a);
	o[4] = open_anew(ids[2], PROGRAM, &a);
	o[5] = open_anew(ids[2], PROGRAM + 1, &a);
	vfs_setattr(vfs, &s->req, ids[2], o[4]->opened.fh, &mode, VFS_SET_MODE);
	a.mode = S_IFREG | 0600;
	fake_attr(fake_call("fsetattr"), BE_OK, &a);
	o[6] = open_anew(ids[2], PROGRAM, &a);
	for (unsigned i = 0; i < 7; i++) {
		struct kreq *k = kreq_create();

		vfs_release(vfs, &k->req, o[i]->opened.fh);
	}
	fake_teardown();
}
END_TEST

static void answer_fetch(const char *path)
{
	struct be_attr a = fake_reg(5, 1000);
	struct call *f = fake_call("fetch");

	ck_assert_str_eq(f->path, path);
	fake_fetched(f, BE_OK, &a, "hello", 5);
}

/* A file that was not fetched is opened and read; the open brings others, NULL behind the last. */
static void open_file(uint64_t dir, const char *name, const char *const *brings)
{
	struct kreq *l = kreq_create(), *o = kreq_create(), *r = kreq_create(), *c = kreq_create();
	struct be_attr a = fake_reg(5, 1000);

	vfs_lookup(vfs, &l->req, dir, name);
	o->req.program = PROGRAM;
	vfs_open(vfs, &o->req, l->entry.nodeid, O_RDONLY);
	for (unsigned i = 0; brings[i]; i++)
		answer_fetch(brings[i]);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(o->done);
	vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
	fake_data(fake_call("read"), BE_OK, "hello", 5);
	vfs_release(vfs, &c->req, o->opened.fh);
}

/* A file that was fetched is read, and the server is asked nothing. */
static void read_file(uint64_t dir, const char *name)
{
	struct kreq *l = kreq_create(), *o = kreq_create(), *r = kreq_create(), *c = kreq_create();

	vfs_lookup(vfs, &l->req, dir, name);
	o->req.program = PROGRAM;
	vfs_open(vfs, &o->req, l->entry.nodeid, O_RDONLY);
	ck_assert(o->done);
	vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
	ck_assert_uint_eq(r->len, 5);
	vfs_release(vfs, &c->req, o->opened.fh);
	fake_none();
}

static uint64_t node_of(const char *name)
{
	struct kreq *k = kreq_create();

	vfs_lookup(vfs, &k->req, VFS_ROOT, name);
	return k->entry.nodeid;
}

START_TEST(directories_given_one_by_one_have_an_order_of_their_own)
{
	// arguments a, b, c, listed as c, b, a: after the step from a to b the files of c come ahead, a's not again
	const struct be_entry root[] = {entry("c", fake_dir(1000)), entry("b", fake_dir(1000)),
	                                entry("a", fake_dir(1000))};
	const struct be_entry files[] = {entry("2", fake_reg(5, 1000)),
	                                 entry("1", fake_reg(5, 1000))};
	uint64_t a, b, c;

	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", root, 3);
	a = node_of("a");
	b = node_of("b");
	c = node_of("c");
	opendir_of(a);
	answer_list("/r/a", files, 2);
	answer_list("/r/b", files, 2);
	answer_list("/r/c", files, 2);
	open_file(a, "2", (const char *[]){NULL});
	open_file(a, "1", (const char *[]){NULL}); /* as listed, nothing comes after a */
	opendir_of(b);
	open_file(b, "2", (const char *[]){"/r/b/1", "/r/c/2", "/r/c/1", NULL});
	read_file(b, "1");
	opendir_of(c);
	read_file(c, "2");
	read_file(c, "1");
	fake_teardown();
}
END_TEST

START_TEST(what_we_wrote_a_while_ago_is_fetched_like_others)
{
	// the bytes are still here, but nobody has said lately that they are the files'
	uint64_t ids[3];

	fake_setup(NULL);
	list_three(ids);
	write_over("f2");
	write_over("f3");
	fake_pass(1500);
	open_file(VFS_ROOT, "f1", (const char *[]){NULL});
	open_file(VFS_ROOT, "f2", (const char *[]){"/r/f3", NULL});
	read_file(VFS_ROOT, "f3");
	fake_teardown();
}
END_TEST

/* The root with files of these names, in this order, listed by the program. */
static void list_files(const char *const *names, size_t count)
{
	struct be_entry files[16];

	ck_assert_uint_le(count, 16);
	for (size_t i = 0; i < count; i++)
		files[i] = entry(names[i], fake_reg(5, 1000));
	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", files, count);
}

START_TEST(the_first_file_of_a_directory_tells_the_order)
{
	// a and b are neighbours as listed and by name, but only by name does one begin with a: z comes next
	const char *const names[] = {"z", "a", "b"};

	list_files(names, 3);
	open_file(VFS_ROOT, "a", (const char *[]){NULL});
	open_file(VFS_ROOT, "b", (const char *[]){"/r/z", NULL});
	read_file(VFS_ROOT, "z");
	fake_teardown();
}
END_TEST

START_TEST(what_was_fetched_in_a_wrong_order_is_in_nobodys_way)
{
	// 8 files, as many as may be ahead, come in the order of the listing, before the program shows that it goes by name
	const char *const names[] = {"00", "05", "91", "92", "93", "94", "95",
	                             "96", "97", "98", "06", "07", "08", "09"};

	list_files(names, 14);
	open_file(VFS_ROOT, "00", (const char *[]){NULL});
	open_file(VFS_ROOT, "05",
	          (const char *[]){"/r/91", "/r/92", "/r/93", "/r/94", "/r/95", "/r/96", "/r/97",
	                           "/r/98", NULL});
	open_file(VFS_ROOT, "06", (const char *[]){"/r/07", "/r/08", "/r/09", NULL});
	for (unsigned i = 11; i < 14; i++)
		read_file(VFS_ROOT, names[i]);
	for (unsigned i = 2; i < 10; i++)
		read_file(VFS_ROOT, names[i]); /* and they were not fetched in vain */
	fake_teardown();
}
END_TEST

START_TEST(listings_come_in_the_order_of_the_program)
{
	// ls -R goes by name: the children of a, its first directory, are asked for before those of c, the listing's first
	const struct be_entry root[] = {entry("c", fake_dir(1000)), entry("b", fake_dir(1000)),
	                                entry("a", fake_dir(1000))};
	const struct be_entry below[] = {entry("y", fake_dir(1000)), entry("x", fake_dir(1000))};
	uint64_t a;

	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", root, 3);
	a = node_of("a");
	opendir_of(a);
	answer_list("/r/a", below, 2);
	answer_list("/r/b", below, 2);
	answer_list("/r/c", below, 2);
	answer_list("/r/a/x", NULL, 0);
	answer_list("/r/a/y", NULL, 0);
	answer_list("/r/b/x", NULL, 0);
	answer_list("/r/b/y", NULL, 0);
	answer_list("/r/c/x", NULL, 0);
	answer_list("/r/c/y", NULL, 0);
	fake_none();
	fake_teardown();
}
END_TEST

#define GUESS_COUNT 40

START_TEST(wrong_guesses_end_it)
{
	// a program that opens here and there: what was fetched in vain is given back, and soon nothing is fetched
	struct be_entry files[GUESS_COUNT * 8];
	char names[GUESS_COUNT * 8][8];
	struct be_attr a = fake_reg(5, 1000);
	unsigned count = GUESS_COUNT * 8, fetched = 0, late = 0;
	size_t idle_len;

	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "f%03u", i);
		files[i] = entry(names[i], fake_reg(5, 1000));
	}
	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", files, count);
	idle_len = budget.used_len;
	for (unsigned i = 0; i < GUESS_COUNT; i++) {
		struct kreq *l = kreq_create(), *o = kreq_create(), *r = kreq_create(),
		            *c = kreq_create();
		struct call *call;

		vfs_lookup(vfs, &l->req, VFS_ROOT, names[i * 7]);
		if (!l->done)
			fake_attr(fake_call("stat"), BE_OK, &a);
		o->req.program = PROGRAM;
		vfs_open(vfs, &o->req, l->entry.nodeid, O_RDONLY);
		while ((call = fake_find("fetch", NULL)) != NULL) {
			fake_fetched(call, BE_OK, &a, "hello", 5);
			fetched++;
			late += i > GUESS_COUNT / 2;
		}
		if (!o->done)
			fake_opened(fake_find("open", NULL), BE_OK, &a);
		ck_assert(o->done);
		vfs_read(vfs, &r->req, o->opened.fh, 4096, 0);
		while ((call = fake_find("read", NULL)) != NULL)
			fake_data(call, BE_OK, "hello", 5);
		vfs_release(vfs, &c->req, o->opened.fh);
		fake_pass(1000);
		while ((call = fake_find("stat", NULL)) != NULL)
			fake_attr(call, BE_OK, &a);
	}
	ck_assert_uint_gt(fetched, 0);
	ck_assert_uint_eq(late, 0);
	ck_assert_uint_le(budget.used_len, idle_len);
	fake_teardown();
}
END_TEST

static void with_fsid(const char *path, uint64_t fsid)
{
	fake_statvfs(fake_find("statvfs", path), BE_OK, &(struct be_statvfs){.fsid = fsid});
}

START_TEST(another_filesystem_is_not_entered)
{
	// a mount point below the tree: its directories are not asked for, those beside it are
	const struct be_entry root[] = {entry("a", fake_dir(1000)), entry("b", fake_dir(1000)),
	                                entry("c", fake_dir(1000))};
	const struct be_entry below[] = {entry("x", fake_dir(1000))};
	uint64_t a;

	fake_setup(NULL);
	fake.info.caps.statvfs = true;
	opendir_of(VFS_ROOT);
	fake_entries(fake_find("list", "/r"), root, 3);
	fake_status(fake_find("list", "/r"), BE_OK, "");
	a = node_of("a");
	opendir_of(a);
	with_fsid("/r", 1);
	for (unsigned i = 0; i < 3; i++) {
		struct call *l;
		char path[8];

		snprintf(path, sizeof(path), "/r/%s", root[i].name);
		l = fake_find("list", path);
		fake_entries(l, below, 1);
		fake_status(l, BE_OK, "");
		with_fsid(path, i == 1 ? 2 : 1);
	}
	ck_assert_ptr_nonnull(fake_find("list", "/r/a/x"));
	ck_assert_ptr_null(fake_find("list", "/r/b/x"));
	ck_assert_ptr_nonnull(fake_find("list", "/r/c/x"));
	for (unsigned i = 0; i < 3; i += 2) {
		const char *path = i ? "/r/c/x" : "/r/a/x";

		fake_status(fake_find("list", path), BE_OK, "");
		with_fsid(path, 1);
	}
	fake_teardown();
}
END_TEST

START_TEST(huge_directory_is_given_up)
{
	// a child with more than 10,000 entries: no more of it is read, and it is not asked for again
	const struct be_entry root[] = {entry("a", fake_dir(1000)), entry("b", fake_dir(1000))};
	static struct be_entry many[10001];
	static char names[10001][8];
	uint64_t a;

	for (unsigned i = 0; i < 10001; i++) {
		snprintf(names[i], sizeof(names[i]), "f%05u", i);
		many[i] = entry(names[i], fake_reg(5, 1000));
	}
	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", root, 2);
	a = node_of("a");
	node_of("b");
	opendir_of(a);
	answer_list("/r/a", NULL, 0);
	fake_entries(fake_find("list", "/r/b"), many, 10001);
	fake_none(); /* cancelled */
	ck_assert_uint_lt(budget.used_len, 10000);
	fake_pass(20001);
	opendir_of(VFS_ROOT);
	answer_list("/r", root, 2);
	opendir_of(a);
	answer_list("/r/a", NULL, 0);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(what_the_program_has_read_is_not_fetched_again)
{
	// the order was guessed wrong: a file behind the present one that was read already is left alone
	const struct be_entry root[] = {
	    entry("f1", fake_reg(5, 1000)), entry("f2", fake_reg(5, 1000)),
	    entry("f3", fake_reg(5, 1000)), entry("f4", fake_reg(5, 1000))};

	fake_setup(NULL);
	opendir_of(VFS_ROOT);
	answer_list("/r", root, 4);
	open_file(VFS_ROOT, "f1", (const char *[]){NULL});
	open_file(VFS_ROOT, "f3", (const char *[]){"/r/f4", NULL});
	open_file(VFS_ROOT, "f2", (const char *[]){NULL});
	fake_teardown();
}
END_TEST

START_TEST(the_second_child_of_a_directory_brings_the_others)
{
	// two directories of one that was not listed: it is, and so are the rest of it
	const struct be_entry root[] = {entry("a", fake_dir(1000)), entry("b", fake_dir(1000)),
	                                entry("c", fake_dir(1000))};
	struct be_attr dir = fake_dir(1000);
	uint64_t ids[2];

	fake_setup(NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct kreq *k = kreq_create();

		vfs_lookup(vfs, &k->req, VFS_ROOT, root[i].name);
		fake_attr(fake_call("stat"), BE_OK, &dir);
		ids[i] = k->entry.nodeid;
	}
	opendir_of(ids[0]);
	answer_list("/r/a", NULL, 0);
	fake_none();
	opendir_of(ids[1]);
	answer_list("/r/b", NULL, 0);
	answer_list("/r", root, 3);
	answer_list("/r/c", NULL, 0);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(a_listing_in_use_is_asked_for_with_its_directory)
{
	// when both end together one flight brings both; a listing that nobody uses any more is left alone
	struct kreq *k = kreq_create(), *again = kreq_create(), *late = kreq_create(),
	            *gone = kreq_create();
	const struct be_entry file[] = {entry("f", fake_reg(5, 1000))};
	struct be_attr dir = fake_dir(1000);
	uint64_t a;

	fake_setup(NULL);
	a = start();
	opendir_of(a);
	answer_list("/r/a", file, 1);
	answer_list("/r/b", NULL, 0);
	fake_pass(20001);
	vfs_lookup(vfs, &again->req, VFS_ROOT, "a");
	ck_assert_ptr_nonnull(fake_find("stat", "/r/a"));
	fake_attr(fake_find("stat", "/r/a"), BE_OK, &dir);
	answer_list("/r/a", file, 1);
	ck_assert_uint_eq(again->entry.nodeid, a);
	k->req.program = PROGRAM;
	vfs_lookup(vfs, &k->req, a, "none");
	ck_assert(k->done);
	fake_none();
	fake_pass(25000);
	vfs_lookup(vfs, &late->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &dir);
	fake_none();
	vfs_lookup(vfs, &gone->req, a, "none");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	fake_teardown();
}
END_TEST

CHECK_MAIN(
    "vfs_walk", a_listing_in_use_is_asked_for_with_its_directory,
    directories_given_one_by_one_have_an_order_of_their_own,
    the_first_file_of_a_directory_tells_the_order,
    what_was_fetched_in_a_wrong_order_is_in_nobodys_way, listings_come_in_the_order_of_the_program,
    what_the_program_has_read_is_not_fetched_again, wrong_guesses_end_it,
    another_filesystem_is_not_entered, huge_directory_is_given_up,
    the_second_child_of_a_directory_brings_the_others, a_child_of_a_listing_brings_its_sisters,
    a_listing_during_which_we_changed_something_is_not_kept,
    the_second_file_of_a_listing_brings_the_third, what_is_written_over_what_was_fetched_stays,
    what_we_wrote_a_while_ago_is_fetched_like_others, nothing_is_fetched_for_who_does_not_read,
    what_a_program_has_just_opened_it_opens_again_for_nothing,
    nothing_is_fetched_ahead_when_half_the_memory_is_in_use,
    what_was_read_or_is_old_or_another_programs_is_opened_anew)
