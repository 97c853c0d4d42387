/* SPDX-License-Identifier: BSD-2-Clause */
/* Names, attributes, listings and which node a name stands for. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fake_backend.h"

static struct be_entry entry(const char *name, struct be_attr a)
{
	return (struct be_entry){name, strlen(name), a};
}

/* Lists the root with the entries given. */
static void list_root(const struct be_entry *entries, size_t count, bool plus)
{
	struct kreq *o = kreq_create(), *r = kreq_create(), *c = kreq_create();
	struct call *l;

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	l = fake_call("list");
	fake_entries(l, entries, count);
	fake_status(l, BE_OK, "");
	ck_assert(o->done);
	vfs_readdir(vfs, &r->req, o->opened.fh, 0, plus);
	ck_assert(r->done);
	ck_assert_uint_eq(r->name_count, count + 2);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
}

START_TEST(lookup_is_cached_until_it_expires)
{
	// an old file's attributes answer lookups for a minute, then the server is asked again
	struct kreq *again = kreq_create(), *late = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", fake_reg(5, 1000));
	vfs_lookup(vfs, &again->req, VFS_ROOT, "a");
	ck_assert_uint_eq(again->entry.nodeid, id);
	fake_none();
	fake_pass(60001);
	vfs_lookup(vfs, &late->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &(struct be_attr){.valid = 15, .mode = S_IFREG | 0644});
	ck_assert_uint_eq(late->entry.nodeid, id);
	fake_teardown();
}
END_TEST

START_TEST(young_file_is_believed_for_three_seconds)
{
	// attributes of a file changed just now are asked again after 3 s
	struct kreq *k = kreq_create();

	fake_setup(NULL);
	fake_lookup("a", fake_reg(5, 1000000));
	fake_pass(3001);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	fake_teardown();
}
END_TEST

/* A name that is not there, looked up; `asks`: the server says so. Return: how long the kernel believes it. */
static int64_t look_for(uint64_t dir, const char *name, bool asks)
{
	struct kreq *k = kreq_create();

	vfs_lookup(vfs, &k->req, dir, name);
	if (asks)
		fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	fake_none();
	ck_assert(k->done);
	ck_assert_uint_eq(k->entry.nodeid, 0);
	return k->entry.entry_timeout_ms;
}

START_TEST(absent_name_is_remembered)
{
	// a missing name is asked once in as long as its directory is believed, and the kernel is told so
	struct kreq *r = kreq_create();
	uint64_t old, young;

	fake_setup(NULL);
	old = fake_lookup("old", fake_dir(1000));
	young = fake_lookup("young", fake_dir(1000000));
	ck_assert_int_eq(look_for(old, "x", true), 20000);
	ck_assert_int_eq(look_for(young, "x", true), 3000);
	ck_assert_int_eq(look_for(young, "x", false), 3000);
	fake_pass(3000);
	ck_assert_int_eq(look_for(young, "x", true), 3000);
	fake_pass(16999);
	ck_assert_int_eq(look_for(old, "x", false), 1);
	fake_pass(1);
	ck_assert_int_eq(look_for(old, "x", true), 20000);
	vfs_rmdir(vfs, &r->req, VFS_ROOT, "young");
	fake_status(fake_call("rmdir"), BE_OK, "");
	ck_assert_int_eq(look_for(VFS_ROOT, "young", false), 3000); /* what we changed is young */
	fake_teardown();
}
END_TEST

START_TEST(absent_name_in_a_listing_is_believed_as_long_as_it)
{
	// our own changes keep the listing and what it lacks; a name that we removed is one of these
	const struct be_entry e[] = {entry("a", fake_reg(1, 1000))};
	struct kreq *m = kreq_create(), *u = kreq_create();
	struct be_attr d = fake_dir(1000000);

	fake_setup(NULL);
	list_root(e, 1, false);
	vfs_mkdir(vfs, &m->req, VFS_ROOT, "d", 0755);
	fake_attr(fake_call("mkdir"), BE_OK, &d);
	vfs_unlink(vfs, &u->req, VFS_ROOT, "a");
	fake_status(fake_call("remove"), BE_OK, "");
	ck_assert_int_eq(look_for(VFS_ROOT, "x", false), 20000);
	fake_pass(19999);
	ck_assert_int_eq(look_for(VFS_ROOT, "x", false), 1);
	ck_assert_int_eq(look_for(VFS_ROOT, "a", false), 1);
	fake_pass(1);
	look_for(VFS_ROOT, "x", true);
	fake_teardown();
}
END_TEST

static void negative_second(struct vfs_config *cfg)
{
	cfg->negative_timeout_ms = 1000;
}

START_TEST(negative_timeout_wins)
{
	// negative_timeout=1: what is not there is asked again after a second, whatever a listing says
	const struct be_entry e[] = {entry("a", fake_reg(1, 1000))};

	fake_setup(negative_second);
	list_root(e, 1, false);
	ck_assert_int_eq(look_for(VFS_ROOT, "x", false), 1000);
	fake_pass(1000);
	ck_assert_int_eq(look_for(VFS_ROOT, "x", true), 1000);
	fake_teardown();
}
END_TEST

static void no_cache(struct vfs_config *cfg)
{
	cfg->dir_cache = false;
}

START_TEST(dir_cache_no_asks_every_time)
{
	// dir_cache=no: neither names nor their absence are remembered, here or by the kernel
	struct kreq *a = kreq_create(), *b = kreq_create();

	fake_setup(no_cache);
	fake_lookup("a", fake_reg(5, 1000));
	vfs_lookup(vfs, &a->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &(struct be_attr){.valid = 15, .mode = S_IFREG | 0644});
	ck_assert_int_eq(a->entry.attr_timeout_ms, 0);
	vfs_lookup(vfs, &b->req, VFS_ROOT, "x");
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	ck_assert_int_eq(b->err, ENOENT);
	fake_teardown();
}
END_TEST

/* A getattr of `thread`. Return: has the server been asked? */
static bool getattr_asks(uint64_t nodeid, pid_t thread)
{
	struct be_attr now = fake_reg(5, 1000);
	struct kreq *k = kreq_create();
	bool asked;

	k->req.pid = thread;
	vfs_getattr(vfs, &k->req, nodeid, 0);
	asked = !k->done;
	if (asked)
		fake_attr(fake_call("stat"), BE_OK, &now);
	ck_assert(k->done && k->st.st_size == 5);
	return asked;
}

static uint64_t lookup_of(pid_t thread)
{
	struct be_attr now = fake_reg(5, 1000);
	struct kreq *k = kreq_create();

	k->req.pid = thread;
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &now);
	return k->entry.nodeid;
}

START_TEST(dir_cache_no_asks_once_for_one_stat)
{
	// the kernel's getattr behind the lookup of the same stat(2) is answered; any other asks
	uint64_t n;

	fake_setup(no_cache);
	n = lookup_of(7);
	ck_assert(!getattr_asks(n, 7));
	ck_assert(getattr_asks(n, 7));
	lookup_of(7);
	ck_assert(getattr_asks(n, 8));
	lookup_of(7);
	fake_pass(11);
	ck_assert(getattr_asks(n, 7));
	fake_teardown();
}
END_TEST

/* The root has been listed with the directory d, and d been looked up. */
static struct kreq *listed_d(void)
{
	const struct be_entry e[] = {entry("d", fake_dir(1000))};
	struct kreq *l = kreq_create();

	fake_setup(NULL);
	list_root(e, 1, false);
	vfs_lookup(vfs, &l->req, VFS_ROOT, "d");
	ck_assert(l->done);
	return l;
}

START_TEST(what_our_own_change_has_ended_is_asked_for_behind_a_lookup)
{
	// a name made in a directory: its lookup is answered, but what its times are now only the server can tell
	const struct be_attr made = fake_dir(2000);
	struct kreq *l = listed_d(), *m = kreq_create(), *again = kreq_create(), *g = kreq_create();

	vfs_mkdir(vfs, &m->req, l->entry.nodeid, "new", 0755);
	fake_attr(fake_call("mkdir"), BE_OK, &made);
	again->req.pid = g->req.pid = 7;
	vfs_lookup(vfs, &again->req, VFS_ROOT, "d");
	ck_assert(again->done);
	vfs_getattr(vfs, &g->req, l->entry.nodeid, 0);
	fake_attr(fake_call("stat"), BE_OK, &made);
	ck_assert_int_eq(g->st.st_mtime, 2000);
	fake_teardown();
}
END_TEST

START_TEST(changed_directory_that_was_forgotten_is_asked_for)
{
	// a name made in a directory, which the kernel then forgets: the listing above does not bring back its old times
	const struct be_attr made = fake_dir(2000);
	struct kreq *l = listed_d(), *m = kreq_create(), *again = kreq_create();

	vfs_mkdir(vfs, &m->req, l->entry.nodeid, "new", 0755);
	fake_attr(fake_call("mkdir"), BE_OK, &made);
	vfs_forget(vfs, m->entry.nodeid, 1);
	vfs_forget(vfs, l->entry.nodeid, 1);
	vfs_lookup(vfs, &again->req, VFS_ROOT, "d");
	fake_attr(fake_call("stat"), BE_OK, &made);
	ck_assert_int_eq(again->entry.st.st_mtime, 2000);
	fake_teardown();
}
END_TEST

START_TEST(unchanged_directory_that_was_forgotten_is_not_asked_for)
{
	// what nobody has changed is still as it was listed
	struct kreq *l = listed_d(), *again = kreq_create();

	vfs_forget(vfs, l->entry.nodeid, 1);
	vfs_lookup(vfs, &again->req, VFS_ROOT, "d");
	ck_assert_int_eq(again->entry.st.st_mtime, 1000);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(listing_that_was_on_its_way_when_a_changed_directory_was_forgotten_is_not_believed)
{
	const struct be_entry e[] = {entry("d", fake_dir(1000))};
	const struct be_attr old = fake_dir(1000), made = fake_dir(2000);
	struct kreq *l = kreq_create(), *o = kreq_create(), *m = kreq_create(),
	            *again = kreq_create(), *c = kreq_create();
	struct call *list;

	fake_setup(NULL);
	vfs_lookup(vfs, &l->req, VFS_ROOT, "d");
	fake_attr(fake_call("stat"), BE_OK, &old);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	list = fake_call("list");
	fake_entries(list, e, 1);
	vfs_mkdir(vfs, &m->req, l->entry.nodeid, "new", 0755);
	fake_attr(fake_find("mkdir", NULL), BE_OK, &made);
	vfs_forget(vfs, m->entry.nodeid, 1);
	vfs_forget(vfs, l->entry.nodeid, 1);
	fake_status(list, BE_OK, "");
	vfs_lookup(vfs, &again->req, VFS_ROOT, "d");
	fake_attr(fake_call("stat"), BE_OK, &made);
	ck_assert_int_eq(again->entry.st.st_mtime, 2000);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(listing_answers_lookups)
{
	// a complete listing answers names that are there and names that are not
	const struct be_entry e[] = {entry("a", fake_reg(1, 1000)), entry("b", fake_dir(1000))};
	struct kreq *a = kreq_create(), *x = kreq_create();

	fake_setup(NULL);
	list_root(e, 2, false);
	vfs_lookup(vfs, &a->req, VFS_ROOT, "a");
	ck_assert_uint_ne(a->entry.nodeid, 0);
	ck_assert_int_eq(a->entry.st.st_size, 1);
	vfs_lookup(vfs, &x->req, VFS_ROOT, "x");
	ck_assert(x->done);
	ck_assert_uint_eq(x->entry.nodeid, 0);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(own_changes_update_the_listing)
{
	// after mkdir and unlink the cached listing shows what is there now, without a new one
	const struct be_entry e[] = {entry("a", fake_reg(1, 1000))};
	struct kreq *m = kreq_create(), *u = kreq_create(), *o = kreq_create(), *r = kreq_create(),
	            *c = kreq_create();
	struct be_attr d = fake_dir(1000000);

	fake_setup(NULL);
	list_root(e, 1, false);
	vfs_mkdir(vfs, &m->req, VFS_ROOT, "d", 0755);
	fake_attr(fake_call("mkdir"), BE_OK, &d);
	vfs_unlink(vfs, &u->req, VFS_ROOT, "a");
	fake_status(fake_call("remove"), BE_OK, "");
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	vfs_readdir(vfs, &r->req, o->opened.fh, 2, true);
	ck_assert_uint_eq(r->name_count, 1);
	ck_assert_str_eq(r->names[0], "d");
	ck_assert_uint_eq(r->nodeids[0], m->entry.nodeid);
	fake_none();
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(overtaken_listing_is_not_installed)
{
	// a listing that was on its way while we changed the directory answers no lookup later
	struct kreq *o = kreq_create(), *m = kreq_create(), *k = kreq_create(), *c = kreq_create();
	struct be_attr d = fake_dir(1000000), reg = fake_reg(1, 1000);
	struct call *l, *mk;

	fake_setup(NULL);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	l = fake_call("list");
	vfs_mkdir(vfs, &m->req, VFS_ROOT, "d", 0755);
	mk = list_entry(l->entry.next, struct call, entry);
	fake_attr(mk, BE_OK, &d);
	fake_status(l, BE_OK, "");
	vfs_lookup(vfs, &k->req, VFS_ROOT, "y");
	fake_attr(fake_call("stat"), BE_OK, &reg);
	ck_assert_uint_ne(k->entry.nodeid, 0);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(rewinddir_lists_anew_when_stale)
{
	// rewinddir on an open directory shows a fresh listing, not the exhausted one
	const struct be_entry e[] = {entry("a", fake_reg(1, 1000))};
	const struct be_entry e2[] = {entry("b", fake_reg(1, 1000))};
	struct kreq *o = kreq_create(), *r = kreq_create(), *r2 = kreq_create(),
	            *r3 = kreq_create(), *c = kreq_create();
	struct call *l;

	fake_setup(no_cache);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	l = fake_call("list");
	fake_entries(l, e, 1);
	fake_status(l, BE_OK, "");
	vfs_readdir(vfs, &r->req, o->opened.fh, 0, false);
	vfs_readdir(vfs, &r2->req, o->opened.fh, 0, false);
	l = fake_call("list");
	fake_entries(l, e2, 1);
	fake_status(l, BE_OK, "");
	ck_assert_uint_eq(r2->name_count, 2); /* "." and ".." need no answer of the server */
	vfs_readdir(vfs, &r3->req, o->opened.fh, 2, false);
	ck_assert_uint_eq(r3->name_count, 1);
	ck_assert_str_eq(r3->names[0], "b");
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(huge_directory_streams_in_bounded_memory)
{
	// a directory of 30,000 entries is read to its end while at most half of it is held
	struct kreq *o = kreq_create(), *c = kreq_create();
	unsigned seen = 0, given = 0;
	char name[16];
	off_t off = 2;
	struct call *l;
	size_t most = 0;

	fake_setup(NULL);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	l = fake_call("list");
	while (seen < 30000) {
		struct kreq k = {.name_max = 5000};

		while (!fake.paused && given < 30000) {
			struct be_entry e;

			snprintf(name, sizeof(name), "f%u", given++);
			e = entry(name, fake_reg(1, 1000));
			fake_entries(l, &e, 1);
			if (given == 30000) {
				fake_status(l, BE_OK, "");
				break;
			}
		}
		most = budget.used_len > most ? budget.used_len : most;
		vfs_readdir(vfs, &k.req, o->opened.fh, off, false);
		ck_assert(k.done);
		seen += k.name_count;
		off += k.name_count;
	}
	ck_assert_uint_eq(seen, 30000);
	ck_assert_uint_lt(most, 15000 * 160);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(replaced_file_is_a_new_node)
{
	// a name that shows another file while the old one is open gets a new node, the old one stays
	struct be_attr old = fake_reg(5, 1000), new = fake_reg(5, 2000);
	struct kreq *k = kreq_create(), *g = kreq_create();
	uint64_t id, fh;

	fake_setup(NULL);
	id = fake_lookup("a", old);
	fh = fake_open(id, O_RDONLY, old);
	fake_pass(60001);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &new);
	fake_attr(fake_call("fstat"), BE_OK, &old); /* the open handle still shows the old one */
	ck_assert_uint_ne(k->entry.nodeid, id);
	vfs_getattr(vfs, &g->req, id, fh);
	fake_attr(fake_call("fstat"), BE_OK, &old);
	ck_assert_int_eq(g->st.st_mtim.tv_sec, 1000);
	fake_teardown();
}
END_TEST

START_TEST(file_changed_in_place_keeps_its_node)
{
	// a name whose open handle shows the same new attributes was rewritten in place
	struct be_attr old = fake_reg(5, 1000), new = fake_reg(9, 2000);
	struct kreq *k = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", old);
	fake_open(id, O_RDONLY, old);
	fake_pass(60001);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &new);
	fake_attr(fake_call("fstat"), BE_OK, &new);
	ck_assert_uint_eq(k->entry.nodeid, id);
	ck_assert_int_eq(k->entry.st.st_size, 9);
	fake_teardown();
}
END_TEST

START_TEST(file_that_grows_meanwhile_is_not_replaced)
{
	// both sides are asked at once until they agree, or rest and do not
	struct be_attr old = fake_reg(5, 1000), seen = fake_reg(7, 2000), now = fake_reg(9, 2000);
	struct kreq *k = kreq_create(), *l = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", old);
	fake_open(id, O_RDONLY, old);
	fake_pass(60001);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &seen);
	fake_attr(fake_call("fstat"), BE_OK, &now);
	ck_assert(!k->done);
	fake_attr(fake_call("fstat"), BE_OK, &now);
	fake_attr(fake_call("stat"), BE_OK, &now);
	ck_assert_uint_eq(k->entry.nodeid, id);
	ck_assert_int_eq(k->entry.st.st_size, 9);
	fake_pass(60001);
	vfs_lookup(vfs, &l->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &seen);
	fake_attr(fake_call("fstat"), BE_OK, &now);
	fake_attr(fake_call("fstat"), BE_OK, &now);
	fake_attr(fake_call("stat"), BE_OK, &seen);
	ck_assert(l->done);
	ck_assert_uint_ne(l->entry.nodeid, id);
	fake_teardown();
}
END_TEST

START_TEST(open_of_a_replaced_file_is_estale)
{
	// an open that meets another file than the one that is open answers ESTALE and lets it go
	struct be_attr old = fake_reg(5, 1000), new = fake_reg(5, 2000);
	struct kreq *k = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", old);
	fake_open(id, O_RDONLY, old);
	vfs_open(vfs, &k->req, id, O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &new);
	fake_attr(fake_call("fstat"), BE_OK, &old);
	ck_assert_int_eq(k->err, ESTALE);
	ck_assert_uint_eq(fake.open_count, 1);
	fake_teardown();
}
END_TEST

/* An open by `program` that the server answers with `code` and `a`. */
static struct kreq *open_by(pid_t program, uint64_t id, enum be_code code, const struct be_attr *a)
{
	struct kreq *k = kreq_create();

	k->req.program = program;
	vfs_open(vfs, &k->req, id, O_RDONLY);
	fake_opened(fake_call("open"), code, a);
	ck_assert(k->done);
	return k;
}

START_TEST(a_program_is_sent_back_once_for_each_open)
{
	// ESTALE makes the kernel open again by itself, one time: the second answer is the program's
	struct be_attr old = fake_reg(5, 1000), longer = fake_reg(6, 2000),
	               longest = fake_reg(7, 3000);
	struct kreq *k;
	uint64_t id;

	fake_setup(NULL);
	for (unsigned i = 0; i < 2;
	     i++) { /* replaced while open: first tries without a second one */
		k = kreq_create();
		k->req.program = 7;
		id = fake_lookup(i ? "b" : "a", old);
		fake_open(id, O_RDONLY, old);
		vfs_open(vfs, &k->req, id, O_RDONLY);
		fake_opened(fake_call("open"), BE_OK, &longer);
		fake_attr(fake_call("fstat"), BE_OK, &old);
		ck_assert_int_eq(k->err, ESTALE);
	}
	fake_pass(5000);
	id = fake_lookup("grows", old);
	ck_assert_int_eq(open_by(7, id, BE_OK, &longer)->err, ESTALE);
	k = open_by(7, id, BE_OK, &longest);
	ck_assert_int_eq(k->err, 0);
	ck_assert(k->opened.direct_io);
	k = open_by(7, fake_lookup("gone", old), BE_NO_SUCH_FILE, NULL);
	ck_assert_int_eq(k->err, ESTALE);
	k = open_by(7, fake_lookup("gone", old), BE_NO_SUCH_FILE, NULL);
	ck_assert_int_eq(k->err, ENOENT);
	fake_teardown();
}
END_TEST

START_TEST(rename_gives_the_new_path_its_number)
{
	// after `mv a b; create a` the two files show different inode numbers
	struct be_attr reg = fake_reg(5, 1000);
	struct kreq *r = kreq_create(), *k = kreq_create(), *g = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", reg);
	vfs_rename(vfs, &r->req, VFS_ROOT, "a", VFS_ROOT, "b", 0);
	fake_status(fake_call("rename"), BE_OK, "");
	vfs_create_file(vfs, &k->req, VFS_ROOT, "a", 0644, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &reg);
	vfs_getattr(vfs, &g->req, id, 0);
	ck_assert_uint_ne(g->st.st_ino, k->entry.st.st_ino);
	ck_assert_uint_ne(k->entry.nodeid, id);
	fake_teardown();
}
END_TEST

START_TEST(link_shows_two_names_of_one_node)
{
	// link() makes both names one node whose link count is known
	struct be_attr reg = fake_reg(5, 1000);
	struct kreq *l = kreq_create(), *k = kreq_create();
	uint64_t id;

	fake_setup(NULL);
	id = fake_lookup("a", reg);
	vfs_link(vfs, &l->req, id, VFS_ROOT, "b");
	fake_attr(fake_call("link"), BE_OK, &reg);
	ck_assert_uint_eq(l->entry.nodeid, id);
	ck_assert_uint_eq(l->entry.st.st_nlink, 2);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	ck_assert_uint_eq(k->entry.nodeid, id);
	ck_assert_uint_eq(k->entry.st.st_nlink, 2);
	fake_teardown();
}
END_TEST

START_TEST(a_killed_program_is_answered_at_once)
{
	// EINTR frees a dying program; the late answer is processed in full
	struct be_attr reg = fake_reg(5, 1000);
	struct kreq *k = kreq_create(), *again = kreq_create(), *o = kreq_create();
	struct call *c;

	fake_setup(NULL);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	vfs_interrupt(vfs, &k->req, true);
	ck_assert_int_eq(k->err, EINTR);
	fake_attr(fake_call("stat"), BE_OK, &reg);
	vfs_lookup(vfs, &again->req, VFS_ROOT, "a");
	c = fake_call("stat");
	vfs_interrupt(vfs, &again->req, false);
	ck_assert(!again->done); /* a handled signal never shows on a healthy link */
	fake_attr(c, BE_OK, &reg);
	ck_assert_int_eq(again->err, 0);
	vfs_open(vfs, &o->req, again->entry.nodeid, O_RDONLY);
	vfs_interrupt(vfs, &o->req, true);
	fake_opened(fake_call("open"), BE_OK, &reg);
	ck_assert_uint_eq(fake.open_count, 0); /* nobody will release it: closed again */
	fake_teardown();
}
END_TEST

START_TEST(a_signal_is_answered_when_the_server_is_silent)
{
	// after a second of silence a signal ends what has no effect on the server, nothing else
	struct kreq *k = kreq_create(), *m = kreq_create();
	struct be_attr d = fake_dir(1000000);

	fake_setup(NULL);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	vfs_mkdir(vfs, &m->req, VFS_ROOT, "d", 0755);
	fake.info.silent_since_ms = kclock.now_ms;
	vfs_interrupt(vfs, &k->req, false);
	vfs_interrupt(vfs, &m->req, false);
	ck_assert(!k->done);
	fake_pass(1001);
	ck_assert_int_eq(k->err, EINTR);
	ck_assert(!m->done);
	fake_attr(fake_call("stat"), BE_NO_SUCH_FILE, NULL);
	fake_attr(fake_call("mkdir"), BE_OK, &d);
	ck_assert(m->done);
	fake_teardown();
}
END_TEST

START_TEST(the_root_of_a_silent_server_is_a_directory_before_anything_is_known_of_it)
{
	// "df" and "ls -l .." are answered after a second of silence; a root of another type is one no more
	struct kreq *k = kreq_create();

	fake_setup(NULL);
	vfs_getattr(vfs, &k->req, VFS_ROOT, 0);
	fake.info.silent_since_ms = kclock.now_ms;
	fake_pass(1500);
	ck_assert(k->done && k->err == 0);
	ck_assert(S_ISDIR(k->st.st_mode));
	fake_attr(fake_call("stat"), BE_OK, &(struct be_attr){.valid = 15, .mode = S_IFDIR | 0700});
	fake_teardown();
}
END_TEST

START_TEST(who_gave_up_reading_a_directory_may_close_it)
{
	// its listing goes with it, and nothing waits for that any more (seen by valgrind and ASan)
	struct kreq *o = kreq_create(), *r = kreq_create(), *c = kreq_create();

	fake_setup(NULL);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	fake.info.silent_since_ms = kclock.now_ms;
	fake_pass(1500);
	ck_assert(o->done && o->err == 0);
	vfs_readdir(vfs, &r->req, o->opened.fh, 2, false); /* behind "." and ".." */
	ck_assert(!r->done);
	vfs_interrupt(vfs, &r->req, true);
	ck_assert_int_eq(r->err, EINTR);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	ck_assert(c->done);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_cache", lookup_is_cached_until_it_expires, young_file_is_believed_for_three_seconds,
           absent_name_is_remembered, absent_name_in_a_listing_is_believed_as_long_as_it,
           negative_timeout_wins, dir_cache_no_asks_every_time, dir_cache_no_asks_once_for_one_stat,
           what_our_own_change_has_ended_is_asked_for_behind_a_lookup,
           changed_directory_that_was_forgotten_is_asked_for,
           unchanged_directory_that_was_forgotten_is_not_asked_for,
           listing_that_was_on_its_way_when_a_changed_directory_was_forgotten_is_not_believed,
           listing_answers_lookups, own_changes_update_the_listing,
           overtaken_listing_is_not_installed, rewinddir_lists_anew_when_stale,
           huge_directory_streams_in_bounded_memory, replaced_file_is_a_new_node,
           file_changed_in_place_keeps_its_node, file_that_grows_meanwhile_is_not_replaced,
           open_of_a_replaced_file_is_estale, a_program_is_sent_back_once_for_each_open,
           rename_gives_the_new_path_its_number, link_shows_two_names_of_one_node,
           a_killed_program_is_answered_at_once, a_signal_is_answered_when_the_server_is_silent,
           the_root_of_a_silent_server_is_a_directory_before_anything_is_known_of_it,
           who_gave_up_reading_a_directory_may_close_it)
