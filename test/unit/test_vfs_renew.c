/* SPDX-License-Identifier: BSD-2-Clause */
/* What is asked behind changes of names, and when its answer counts. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fake_backend.h"

#define GIT 7 /* a program */

static struct kreq *request(void)
{
	struct kreq *k = kreq_create();

	k->req.program = GIT;
	return k;
}

static uint64_t make_dir(uint64_t parent, const char *name)
{
	struct be_attr a = fake_dir(1000000);
	struct kreq *k = request();

	vfs_mkdir(vfs, &k->req, parent, name, 0755);
	fake_attr(fake_find("mkdir", NULL), BE_OK, &a);
	ck_assert(k->done);
	return k->entry.nodeid;
}

/* Sends a create; the caller answers. */
static struct kreq *create(uint64_t parent, const char *name)
{
	struct kreq *k = request();

	vfs_create_file(vfs, &k->req, parent, name, 0644, O_WRONLY | O_EXCL);
	return k;
}

/* Answers it, and closes the file. */
static void created(struct kreq *k, struct call *open)
{
	struct be_attr a = fake_reg(0, 1000000);
	struct kreq *c = request();

	fake_opened(open, BE_OK, &a);
	ck_assert(k->done);
	vfs_release(vfs, &c->req, k->opened.fh);
}

/* One that asks for nothing but itself. */
static void create_alone(uint64_t parent, const char *name)
{
	struct kreq *k = create(parent, name);

	created(k, fake_call("open"));
	fake_none();
}

/* Return: the mtime that is shown; `asks`: the server has to tell it. */
static int64_t mtime_of(uint64_t dir, const struct be_attr *asks)
{
	struct kreq *k = request();

	vfs_getattr(vfs, &k->req, dir, 0);
	if (asks)
		fake_attr(fake_call("stat"), BE_OK, asks);
	fake_none();
	ck_assert(k->done);
	return k->st.st_mtim.tv_sec;
}

/* Is `name` known not to be in `dir`, without asking? */
static bool is_absent(uint64_t dir, const char *name)
{
	struct kreq *k = request();
	struct call *c;

	vfs_lookup(vfs, &k->req, dir, name);
	c = fake_find("stat", NULL);
	if (!c)
		return k->err == ENOENT || k->entry.nodeid == 0;
	while ((c = fake_find("stat", NULL)) != NULL)
		fake_attr(c, BE_NO_SUCH_FILE, NULL);
	while ((c = fake_find("list", NULL)) != NULL)
		fake_status(c, BE_PERMISSION_DENIED, "");
	return false;
}

START_TEST(attributes_come_along_with_a_change)
{
	// git looks at a directory when it has made it and a file in it: the answer is here by then
	struct be_attr now = fake_dir(1000001);
	uint64_t d;
	struct kreq *k;

	fake_setup(NULL);
	d = make_dir(VFS_ROOT, "d");
	k = create(d, "a");
	created(k, fake_call("open"));
	fake_attr(fake_call("stat"), BE_OK, &now);
	ck_assert_int_eq(mtime_of(d, NULL), 1000001);
	fake_teardown();
}
END_TEST

START_TEST(nobody_looks_nobody_asks)
{
	// a directory that nobody looks at is asked about twice, and eight times after each look
	struct be_attr now = fake_dir(1000001);
	char name[] = "a";
	uint64_t d;

	fake_setup(NULL);
	d = make_dir(VFS_ROOT, "d");
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < (round ? 8 : 2); i++, name[0]++) {
			struct kreq *k = create(d, name);

			created(k, fake_call("open"));
			fake_attr(fake_call("stat"), BE_OK, &now);
		}
		create_alone(d, name);
		name[0]++;
		mtime_of(d, &now);
	}
	fake_teardown();
}
END_TEST

START_TEST(a_later_change_makes_the_answer_worthless)
{
	// what was asked behind one change does not know of the next, nor of a chmod, nor of another connection
	struct be_attr now = fake_dir(1000001), late = fake_dir(1000002);
	struct stat st = {.st_mode = 0700};
	struct kreq *k, *other, *s = request();
	struct call *open, *c;
	uint64_t d;

	fake_setup(NULL);
	d = make_dir(VFS_ROOT, "d");
	k = create(d, "a");
	open = fake_call("open");
	other = create(d, "b");
	created(other, list_entry(open->entry.next->next, struct call, entry));
	created(k, open);
	fake_attr(fake_call("stat"), BE_OK, &now); /* behind the first: the second is not in it */
	fake_attr(fake_call("stat"), BE_OK, &late);
	ck_assert_int_eq(mtime_of(d, NULL), 1000002);

	k = create(d, "c");
	created(k, fake_call("open"));
	c = fake_call("stat");
	vfs_setattr(vfs, &s->req, d, 0, &st, VFS_SET_MODE);
	fake_attr(fake_find("setattr", NULL), BE_OK, &late);
	fake_attr(c, BE_OK, &now);
	ck_assert_int_eq(mtime_of(d, NULL), 1000002);

	k = create(d, "d");
	created(k, fake_call("open"));
	fake.info.epoch++;
	fake_attr(fake_call("stat"), BE_OK, &now);
	ck_assert_int_eq(mtime_of(d, &late), 1000002);
	fake_teardown();
}
END_TEST

/* A directory where what is known of absent names ends in half a second; no attributes come along. */
static uint64_t old_dir(void)
{
	struct be_attr now = fake_dir(1000001);
	uint64_t d = make_dir(VFS_ROOT, "d");

	for (unsigned i = 0; i < 2; i++) {
		struct kreq *k = create(d, i ? "one" : "two");

		created(k, fake_call("open"));
		fake_attr(fake_call("stat"), BE_OK, &now);
	}
	fake_pass(2500);
	return d;
}

static void answer_attributes(void)
{
	struct be_attr now = fake_dir(1000001);
	struct call *c;

	while ((c = fake_find("stat", NULL)) != NULL)
		fake_attr(c, BE_OK, &now);
}

/* The listing and the attributes that are asked for behind a create. */
static void answer_listing(bool with_entry)
{
	const struct be_entry e = {"a", 1, fake_reg(0, 1000000)};
	struct call *l = fake_find("list", NULL);

	ck_assert_ptr_nonnull(l);
	if (with_entry)
		fake_entries(l, &e, 1);
	fake_status(l, BE_OK, "");
	answer_attributes();
}

START_TEST(listing_is_renewed_before_its_end)
{
	// who goes on creating files in a directory never waits for the question whether they are there
	struct kreq *k;
	uint64_t d;

	fake_setup(NULL);
	d = old_dir();
	k = create(d, "a");
	created(k, fake_call("open"));
	answer_listing(true);
	fake_pass(1000);
	ck_assert(is_absent(d, "b"));
	fake_pass(2000);
	ck_assert(!is_absent(d, "b"));
	fake_teardown();
}
END_TEST

static void dir_second(struct vfs_config *cfg)
{
	cfg->dir_timeout_ms = 1000;
}

START_TEST(short_lives_are_renewed_in_their_last_third)
{
	// cache_dir_timeout=1: not every change asks for a listing
	struct kreq *k;
	uint64_t d;

	fake_setup(dir_second);
	d = make_dir(VFS_ROOT, "d");
	fake_pass(600);
	k = create(d, "a");
	created(k, fake_call("open"));
	ck_assert_ptr_null(fake_find("list", NULL));
	answer_attributes();
	fake_pass(100);
	k = create(d, "b");
	created(k, fake_call("open"));
	answer_listing(false);
	fake_teardown();
}
END_TEST

START_TEST(overtaken_renewal_is_not_believed)
{
	// a listing that was asked for before a create does not deny the file
	struct kreq *k, *other;
	struct call *open;
	uint64_t d;

	fake_setup(NULL);
	d = old_dir();
	k = create(d, "a");
	open = fake_call("open");
	other = create(d, "b");
	created(k, open);
	created(other, fake_find("open", NULL));
	answer_listing(true);
	fake_pass(1000);
	ck_assert(!is_absent(d, "c")); /* the server must be asked: nothing was installed */
	fake_teardown();
}
END_TEST

START_TEST(path_is_renewed_before_the_kernel_looks_it_up)
{
	// directories above a change are asked about before their time is over, once, and listed
	struct be_attr now = fake_dir(1000001);
	const struct be_entry e = {"d", 1, now};
	uint64_t top, d;
	struct kreq *k = request();
	struct call *l;

	fake_setup(NULL);
	top = make_dir(VFS_ROOT, "top");
	d = make_dir(top, "d");
	fake_attr(fake_call("stat"), BE_OK, &now); /* came along with the mkdir */
	fake_pass(2500);
	vfs_unlink(vfs, &k->req, d, "x");
	fake_status(fake_call("remove"), BE_OK, "");
	answer_attributes();
	fake_status(fake_find("list", "/r/top/d"), BE_OK, "");
	l = fake_call("list");
	ck_assert_str_eq(l->path, "/r/top");
	fake_entries(l, &e, 1);
	fake_status(l, BE_OK, "");
	fake_pass(1000);
	k = request();
	vfs_lookup(vfs, &k->req, VFS_ROOT, "top");
	ck_assert_uint_eq(k->entry.nodeid, top);
	k = request();
	vfs_lookup(vfs, &k->req, top, "d");
	ck_assert_uint_eq(k->entry.nodeid, d);
	fake_none();
	ck_assert(is_absent(top, "e"));
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_renew", attributes_come_along_with_a_change, nobody_looks_nobody_asks,
           a_later_change_makes_the_answer_worthless, listing_is_renewed_before_its_end,
           short_lives_are_renewed_in_their_last_third, overtaken_renewal_is_not_believed,
           path_is_renewed_before_the_kernel_looks_it_up)
