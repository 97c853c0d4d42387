/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose files they seem to be, what is made of a new file's owner and mode, how links are shown. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fake_backend.h"
#include "vfs/idmap.h"
#include "vfs/links.h"

static struct idmap *map;

static void mapped(struct vfs_config *cfg)
{
	cfg->idmap = map;
}

static void with_map(enum idmap_kind kind, bool strict)
{
	map = idmap_create(kind, strict);
	ck_assert_ptr_nonnull(map);
	fake_setup(mapped);
}

static void finish(void)
{
	fake_teardown();
	idmap_destroy(map);
	map = NULL;
}

static struct be_attr owned(uint32_t uid, uint32_t gid)
{
	struct be_attr a = fake_reg(5, 1000);

	a.uid = uid;
	a.gid = gid;
	return a;
}

START_TEST(table_maps_both_ways)
{
	// what is in the table is translated in both directions, the rest stays as it is
	uint32_t id;

	map = idmap_create(IDMAP_TABLE, false);
	ck_assert_int_eq(idmap_pair(map, IDMAP_USERS, 7, 1000), 0);
	ck_assert_int_eq(idmap_pair(map, IDMAP_USERS, 7, 2000), 0); /* the first counts */
	ck_assert_int_eq(idmap_to_local(map, IDMAP_USERS, 7, &id), 0);
	ck_assert_uint_eq(id, 1000);
	ck_assert_int_eq(idmap_to_server(map, IDMAP_USERS, 1000, &id), 0);
	ck_assert_uint_eq(id, 7);
	ck_assert_int_eq(idmap_to_local(map, IDMAP_GROUPS, 7, &id), 0);
	ck_assert_uint_eq(id, 7);
	ck_assert_int_eq(idmap_to_server(map, IDMAP_USERS, 55, &id), 0);
	ck_assert_uint_eq(id, 55);
	idmap_destroy(map);
}
END_TEST

START_TEST(strict_table_refuses_strangers)
{
	// nomap=error: a file of somebody who is not in the table cannot be looked at
	struct kreq *k = kreq_create(), *c = kreq_create();
	struct be_attr mine = owned(7, 8), other = owned(9, 8);
	struct stat st = {.st_uid = 66};
	uint64_t id;

	with_map(IDMAP_TABLE, true);
	idmap_pair(map, IDMAP_USERS, 7, 1000);
	idmap_pair(map, IDMAP_GROUPS, 8, 100);
	id = fake_lookup("mine", mine);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "other");
	fake_attr(fake_call("stat"), BE_OK, &other);
	ck_assert_int_eq(k->err, EPERM);
	vfs_setattr(vfs, &c->req, id, 0, &st, VFS_SET_UID);
	ck_assert_int_eq(c->err, EPERM);
	finish();
}
END_TEST

START_TEST(squash_shows_everything_as_mine)
{
	// idmap=all: any owner is the mounting user; a chown to him means the login
	struct kreq *k = kreq_create(), *c = kreq_create();
	struct be_attr a = owned(0, 33);
	struct stat st = {.st_uid = 1000};
	struct call *call;

	with_map(IDMAP_ALL, false);
	idmap_squash(map, IDMAP_USERS, 1000);
	idmap_squash(map, IDMAP_GROUPS, 100);
	idmap_pair(map, IDMAP_USERS, 7, 1000);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &a);
	ck_assert_uint_eq(k->entry.st.st_uid, 1000);
	ck_assert_uint_eq(k->entry.st.st_gid, 100);
	vfs_setattr(vfs, &c->req, k->entry.nodeid, 0, &st, VFS_SET_UID);
	call = fake_call("setattr");
	ck_assert_uint_eq(call->want.uid, 7);
	ck_assert_uint_eq(call->want.gid, 33); /* the other half stays what it is there */
	fake_attr(call, BE_OK, &a);
	finish();
}
END_TEST

START_TEST(owners_by_name_are_asked_once)
{
	// the first answer waits for the server's name of the owner, later ones do not
	static const char *const users[] = {"anna"}, *const groups[] = {""};
	struct kreq *k = kreq_create(), *again = kreq_create(), *c = kreq_create();
	struct be_attr a = owned(7, 8), b = owned(7, 8);
	struct stat st = {.st_uid = 4242};
	struct call *call;

	with_map(IDMAP_NAME, false);
	idmap_local_name(map, IDMAP_USERS, "anna", 1001);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &a);
	ck_assert(!k->done);
	call = fake_call("id_names");
	ck_assert_uint_eq(call->users.count, 1);
	ck_assert_uint_eq(call->users.ids[0], 7);
	ck_assert_uint_eq(call->groups.ids[0], 8);
	fake_named(call, users, groups);
	ck_assert(k->done);
	ck_assert_uint_eq(k->entry.st.st_uid, 1001);
	ck_assert_uint_eq(k->entry.st.st_gid, 8); /* without a name: as it is */
	vfs_lookup(vfs, &again->req, VFS_ROOT, "b");
	fake_attr(fake_call("stat"), BE_OK, &b);
	ck_assert_uint_eq(again->entry.st.st_uid, 1001);
	fake_none();
	/* nobody of this name was seen there: its number would mean somebody else */
	vfs_setattr(vfs, &c->req, k->entry.nodeid, 0, &st, VFS_SET_UID);
	ck_assert_int_eq(c->err, EINVAL);
	finish();
}
END_TEST

START_TEST(listing_waits_for_all_its_owners)
{
	// a listing with strangers asks for all of them in one question
	static const char *const users[] = {"", "", ""}, *const groups[] = {"", "", ""};
	struct be_entry entries[] = {
	    {"a", 1, owned(1, 2)}, {"b", 1, owned(3, 2)}, {"c", 1, owned(5, 2)}};
	struct kreq *o = kreq_create(), *r = kreq_create(), *c = kreq_create();
	struct call *call;

	with_map(IDMAP_NAME, false);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	call = fake_call("list");
	fake_entries(call, entries, 3);
	fake_status(call, BE_OK, "");
	vfs_readdir(vfs, &r->req, o->opened.fh, 2, true);
	ck_assert(!r->done);
	call = fake_call("id_names");
	ck_assert_uint_eq(call->users.count, 3);
	ck_assert_uint_eq(call->groups.count, 1);
	fake_named(call, users, groups);
	ck_assert(r->done);
	ck_assert_uint_eq(r->name_count, 3);
	ck_assert_uint_ne(r->nodeids[2], 0);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	finish();
}
END_TEST

START_TEST(server_without_names_shows_numbers)
{
	// a failed question is no failure of the mount
	struct kreq *k = kreq_create();
	struct be_attr a = owned(7, 8);

	with_map(IDMAP_NAME, false);
	vfs_lookup(vfs, &k->req, VFS_ROOT, "a");
	fake_attr(fake_call("stat"), BE_OK, &a);
	fake_named(fake_call("id_names"), NULL, NULL);
	ck_assert_uint_eq(k->entry.st.st_uid, 7);
	finish();
}
END_TEST

static void exact(struct vfs_config *cfg)
{
	cfg->create_mode_exact = true;
}

static void as_caller(struct vfs_config *cfg)
{
	cfg->create_as_caller = true;
	cfg->create_mode_exact = true;
}

static struct be_attr young(uint32_t mode, uint32_t uid)
{
	struct be_attr a = fake_reg(0, 1000000);

	a.mode = mode;
	a.uid = uid;
	a.gid = uid;
	return a;
}

START_TEST(mode_that_the_servers_umask_took_is_given_back)
{
	// create_mode=exact: 0666 that became 0644 there is corrected before the answer
	struct be_attr cut = young(S_IFREG | 0644, 1000), full = young(S_IFREG | 0666, 1000);
	struct kreq *k = kreq_create(), *again = kreq_create();
	struct call *c;

	fake_setup(exact);
	vfs_create_file(vfs, &k->req, VFS_ROOT, "f", 0666, O_WRONLY);
	c = fake_call("open");
	fake_opened(c, BE_OK, &cut);
	ck_assert(!k->done);
	c = fake_call("fsetattr");
	ck_assert_uint_eq(c->want.valid, BE_ATTR_MODE);
	ck_assert_uint_eq(c->want.mode & 07777, 0666);
	fake_attr(c, BE_OK, &full);
	ck_assert_uint_eq(k->entry.st.st_mode, S_IFREG | 0666);
	/* what is as asked costs nothing more */
	vfs_create_file(vfs, &again->req, VFS_ROOT, "g", 0644, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &cut);
	ck_assert(again->done);
	fake_teardown();
}
END_TEST

START_TEST(found_file_keeps_its_mode)
{
	// O_CREAT that opened somebody's file changes nothing of it
	struct be_attr old = young(S_IFREG | 0600, 1000);
	struct kreq *k = kreq_create();

	old.mtime = 5000;
	fake_setup(exact);
	vfs_create_file(vfs, &k->req, VFS_ROOT, "f", 0666, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &old);
	ck_assert(k->done);
	fake_teardown();
}
END_TEST

START_TEST(filesystem_without_modes_is_asked_once)
{
	// a mode that does not change is not tried with every new file
	struct be_attr fat = young(S_IFREG | 0755, 1000);
	struct kreq *k = kreq_create(), *again = kreq_create();

	fake_setup(exact);
	vfs_create_file(vfs, &k->req, VFS_ROOT, "f", 0644, O_WRONLY | O_EXCL);
	fake_opened(fake_call("open"), BE_OK, &fat);
	fake_attr(fake_call("fsetattr"), BE_OK, &fat);
	ck_assert(k->done && k->err == 0);
	vfs_create_file(vfs, &again->req, VFS_ROOT, "g", 0644, O_WRONLY | O_EXCL);
	fake_opened(fake_call("open"), BE_OK, &fat);
	ck_assert(again->done);
	fake_teardown();
}
END_TEST

START_TEST(new_file_of_a_root_login_belongs_to_the_caller)
{
	// create_as=caller: nobody else gets in before owner and then mode are right
	struct be_attr root = young(S_IFREG | 0600, 0), done = young(S_IFREG | 0644, 1000);
	struct kreq *k = kreq_create();
	struct call *c;

	fake_setup(as_caller);
	k->req.uid = k->req.gid = 1000;
	vfs_create_file(vfs, &k->req, VFS_ROOT, "f", 0644, O_WRONLY | O_EXCL);
	c = fake_call("open");
	ck_assert_uint_eq(c->want.mode, 0600);
	fake_opened(c, BE_OK, &root);
	c = fake_call("fsetattr");
	ck_assert_uint_eq(c->want.valid, BE_ATTR_OWNER | BE_ATTR_MODE);
	ck_assert_uint_eq(c->want.uid, 1000);
	ck_assert_uint_eq(c->want.gid, 1000);
	ck_assert_uint_eq(c->want.mode & 07777, 0644);
	fake_attr(c, BE_OK, &done);
	ck_assert_uint_eq(k->entry.st.st_uid, 1000);
	fake_teardown();
}
END_TEST

START_TEST(new_directory_in_a_setgid_one_keeps_the_group)
{
	// mkdir by a caller: owner changes, the inherited group and setgid bit stay
	struct be_attr parent = fake_dir(1000), made = fake_dir(1000000), done;
	struct kreq *k = kreq_create();
	struct call *c;
	uint64_t id;

	fake_setup(as_caller);
	parent.mode |= S_ISGID;
	id = fake_lookup("shared", parent);
	k->req.uid = k->req.gid = 1000;
	vfs_mkdir(vfs, &k->req, id, "d", 0755);
	c = fake_call("mkdir");
	made.mode = S_IFDIR | S_ISGID | 0700;
	made.uid = 0;
	made.gid = 55;
	fake_attr(c, BE_OK, &made);
	c = fake_call("setattr");
	ck_assert_uint_eq(c->want.uid, 1000);
	ck_assert_uint_eq(c->want.gid, 55);
	ck_assert_uint_eq(c->want.mode & 07777, S_ISGID | 0755);
	done = made;
	done.uid = 1000;
	done.mode = S_IFDIR | S_ISGID | 0755;
	fake_attr(c, BE_OK, &done);
	ck_assert_uint_eq(k->entry.st.st_uid, 1000);
	fake_teardown();
}
END_TEST

static void expect_relative(const char *root, size_t depth, const char *target, const char *want)
{
	int err;
	char *got = links_relative(root, depth, target, &err);

	ck_assert_int_eq(err, 0);
	if (want)
		ck_assert_str_eq(got ? got : "(NULL)", want);
	else
		ck_assert_ptr_null(got);
	free(got);
}

START_TEST(absolute_links_become_relative)
{
	// only targets below the root, compared by whole components
	expect_relative("/r", 0, "/r/a", "a");
	expect_relative("/r", 2, "/r/a/b", "../../a/b");
	expect_relative("/r", 1, "/r", "../");
	expect_relative("/r", 0, "/r/", ".");
	expect_relative("/r", 0, "//r//a", "a");
	expect_relative("/", 1, "/etc/x", "../etc/x");
	expect_relative("/r", 0, "/rest", NULL);
	expect_relative("/r", 0, "/", NULL);
	expect_relative("/r", 0, "a/b", NULL);
}
END_TEST

START_TEST(links_that_may_leave_are_found)
{
	// upwards only at the beginning, and not above the root: a name may be a link itself
	ck_assert(links_contained(0, "a/b"));
	ck_assert(links_contained(1, "../a"));
	ck_assert(links_contained(1, "./.././a"));
	ck_assert(!links_contained(0, "../a"));
	ck_assert(!links_contained(1, "../../a"));
	ck_assert(!links_contained(5, "a/../b"));
	ck_assert(!links_contained(5, "/etc"));
}
END_TEST

static void contained(struct vfs_config *cfg)
{
	cfg->links = VFS_LINKS_TRANSFORM_CONTAIN;
}

START_TEST(readlink_follows_the_rules)
{
	// transformed first, then refused if it still leads out
	struct be_attr a = fake_reg(3, 1000);
	struct kreq *k = kreq_create(), *out = kreq_create();
	uint64_t id;

	a.mode = S_IFLNK | 0777;
	fake_setup(contained);
	id = fake_lookup("l", a);
	vfs_readlink(vfs, &k->req, id);
	fake_target(fake_call("readlink"), "/r/x");
	ck_assert_str_eq((char *)k->bytes, "x");
	id = fake_lookup("m", a);
	vfs_readlink(vfs, &out->req, id);
	fake_target(fake_call("readlink"), "/etc/passwd");
	ck_assert_int_eq(out->err, EPERM);
	fake_teardown();
}
END_TEST

static void masked(struct vfs_config *cfg)
{
	cfg->file_mask = 0133;
	cfg->dir_mask = 0022;
}

START_TEST(files_and_directories_have_masks_of_their_own)
{
	// fmask and dmask
	struct kreq *f = kreq_create(), *d = kreq_create();
	struct be_attr file = fake_reg(1, 1000), dir = fake_dir(1000);

	file.mode = S_IFREG | 0777;
	dir.mode = S_IFDIR | 0777;
	fake_setup(masked);
	vfs_lookup(vfs, &f->req, VFS_ROOT, "f");
	fake_attr(fake_call("stat"), BE_OK, &file);
	vfs_lookup(vfs, &d->req, VFS_ROOT, "d");
	fake_attr(fake_call("stat"), BE_OK, &dir);
	ck_assert_uint_eq(f->entry.st.st_mode, S_IFREG | 0644);
	ck_assert_uint_eq(d->entry.st.st_mode, S_IFDIR | 0755);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_owners", table_maps_both_ways, strict_table_refuses_strangers,
           squash_shows_everything_as_mine, owners_by_name_are_asked_once,
           listing_waits_for_all_its_owners, server_without_names_shows_numbers,
           mode_that_the_servers_umask_took_is_given_back, found_file_keeps_its_mode,
           filesystem_without_modes_is_asked_once, new_file_of_a_root_login_belongs_to_the_caller,
           new_directory_in_a_setgid_one_keeps_the_group, absolute_links_become_relative,
           links_that_may_leave_are_found, readlink_follows_the_rules,
           files_and_directories_have_masks_of_their_own)
