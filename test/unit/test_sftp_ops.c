/* SPDX-License-Identifier: BSD-2-Clause */
/* What each call of the backend puts on the wire, and what it makes of the replies. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "check_main.h"
#include "oom.h"
#include "peer.h"

static struct peer p;
static struct got g, h;
static struct be_attr file;

static void begin(void)
{
	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	peer_init(&p);
	file = peer_file_attr(100, 50);
}

START_TEST(mkdir_with_attr)
{
	/* a change and the look at what it made are sent at once: one round trip */
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 040750, got_attr, &g), 0);
	r = peer_take(&p, FXP_MKDIR);
	ck_assert_uint_eq(r->attr.valid, BE_ATTR_MODE);
	ck_assert_uint_eq(r->attr.mode, 0750);
	peer_status(&p, r, FX_OK);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert(g.attr_ok);
	/* when it fails the attributes of what is there are not passed off as its own */
	ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0750, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_MKDIR), FX_FAILURE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_FAILURE);
	ck_assert(!g.attr_ok);
	peer_finish(&p);
}
END_TEST

START_TEST(symlink_order)
{
	/* OpenSSH gets the target first, others the standard's order; a bare pipe goes by
	 * extensions */
	static const struct {
		const char *banner;
		bool ext;
		bool target_first;
	} cases[] = {
	    {"SSH-2.0-OpenSSH_9.2p1", true, true},
	    {"SSH-2.0-OpenSSH_5.0", false, true},
	    {"SSH-2.0-mod_sftp", true, false},
	    {"", true, true},
	    {"", false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer_request *r;

		begin();
		strcpy(p.banner, cases[i].banner);
		if (!cases[i].ext)
			p.exts = 0;
		peer_start(&p, "");
		ck_assert_int_eq(OPS(&p)->symlink(BE(&p), "target", "/root/l", got_attr, &g), 0);
		r = peer_take(&p, FXP_SYMLINK);
		ck_assert_str_eq(r->path, cases[i].target_first ? "target" : "/root/l");
		ck_assert_str_eq(r->path2, cases[i].target_first ? "/root/l" : "target");
		ck_assert_str_eq(peer_take(&p, FXP_LSTAT)->path, "/root/l");
		peer_finish(&p);
	}
}
END_TEST

START_TEST(setattr_steps)
{
	/* owner, then mode, then times, each alone and each behind the reply to the one before */
	struct be_attr want = {.valid = BE_ATTR_MODE | BE_ATTR_OWNER | BE_ATTR_TIMES,
	                       .mode = 0104755,
	                       .uid = 1,
	                       .gid = 2,
	                       .mtime = 9};
	static const uint32_t steps[] = {BE_ATTR_OWNER, BE_ATTR_MODE, BE_ATTR_TIMES};

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct peer_request *r = peer_take(&p, FXP_EXTENDED);

		ck_assert_str_eq(r->ext, "lsetstat@openssh.com");
		ck_assert_uint_eq(r->attr.valid, steps[i]);
		peer_status(&p, r, FX_OK);
		peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
		ck_assert_uint_eq(peer_waiting(&p), 0);
		peer_run(&p);
	}
	ck_assert_uint_eq(g.count, 1);
	ck_assert(g.attr_ok);
	/* the first failure ends it */
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_EXTENDED), FX_PERMISSION_DENIED);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 2);
	ck_assert_int_eq(g.code, BE_PERMISSION_DENIED);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

START_TEST(setattr_plain)
{
	/* a mode that lsetstat cannot set is set by SETSTAT, never on a link, and that is
	 * remembered */
	struct be_attr want = {.valid = BE_ATTR_MODE, .mode = 0700}, link = file;

	begin();
	peer_start(&p, "");
	link.mode = S_IFLNK | 0777;
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_EXTENDED), FX_FAILURE);
	link.valid = BE_ATTR_MODE;
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &link);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_FAILURE);
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_EXTENDED), FX_FAILURE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_SETSTAT), FX_OK);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_take(&p, FXP_SETSTAT);
	peer_finish(&p);
}
END_TEST

START_TEST(setattr_link)
{
	/* attributes of a link are never set on its target */
	struct be_attr want = {.valid = BE_ATTR_TIMES, .mtime = 9};

	begin();
	p.exts = 0;
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/l", true, &want, got_attr, &g), 0);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_UNSUPPORTED);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

START_TEST(setattr_size)
{
	/* a size is one round trip by path; the look behind it tells whether the server has done it */
	struct be_attr want = {.valid = BE_ATTR_SIZE, .size = 5}, cut;
	struct peer_request *r;

	begin();
	cut = file;
	cut.size = 5;
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	r = peer_take(&p, FXP_SETSTAT);
	ck_assert_uint_eq(r->attr.valid, BE_ATTR_SIZE);
	ck_assert_uint_eq(r->attr.size, 5);
	peer_status(&p, r, FX_OK);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &cut);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert(g.attr_ok);
	peer_finish(&p);
}
END_TEST

/* A server that refuses the size with `code`, or says FX_OK and does nothing. */
static void size_by_handle(uint32_t code)
{
	struct be_attr want = {.valid = BE_ATTR_SIZE, .size = 5};
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_SETSTAT), code);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	r = peer_take(&p, FXP_OPEN);
	ck_assert_uint_eq(r->pflags, FXF_WRITE);
	peer_handle(&p, r, "H");
	peer_run(&p);
	r = peer_take(&p, FXP_FSETSTAT);
	ck_assert_uint_eq(r->attr.valid, BE_ATTR_SIZE);
	ck_assert_uint_eq(r->attr.size, 5);
	peer_status(&p, r, FX_OK);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_status(&p, peer_take(&p, FXP_CLOSE), FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert(g.attr_ok);
	peer_finish(&p);
}

START_TEST(setattr_size_by_handle)
{
	/* where the server does not cut by path a handle does it, which is closed again; a refusal is one */
	struct be_attr want = {.valid = BE_ATTR_SIZE, .size = 5};

	size_by_handle(FX_OK);
	size_by_handle(FX_FAILURE);
	size_by_handle(FX_OP_UNSUPPORTED);
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->setattr(BE(&p), "/root/a", false, &want, got_attr, &g), 0);
	peer_status(&p, peer_take(&p, FXP_SETSTAT), FX_PERMISSION_DENIED);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_PERMISSION_DENIED);
	peer_finish(&p);
}
END_TEST

START_TEST(list_all)
{
	/* a listing has several READDIRs in flight, drops hostile names, and ends with CLOSE */
	static const char *const names[] = {".", "..", "good", "a/b", "", "../../etc/x", "b"};
	struct be_list *l;
	struct peer_request *r;

	begin();
	check_allow_errors();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->list(BE(&p), "/root", got_entries, got_status, &g, &l), 0);
	peer_handle(&p, peer_take(&p, FXP_OPENDIR), "D");
	peer_run(&p);
	ck_assert_uint_ge(peer_waiting(&p), 2);
	peer_names(&p, peer_take(&p, FXP_READDIR), names, 7);
	peer_run(&p);
	ck_assert_str_eq(g.names, "good b ");
	ck_assert_uint_eq(g.nlink, 3);
	ck_assert_ptr_nonnull(strstr(check_log(), "unusable names dropped, first \"a/b\""));
	while (peer_waiting(&p)) {
		ck_assert_uint_eq(g.count, 0);
		r = peer_take(&p, FXP_READDIR);
		peer_status(&p, r, FX_EOF);
		peer_run(&p);
		if (g.count)
			break;
	}
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "D");
	peer_finish(&p);
}
END_TEST

START_TEST(list_cancelled)
{
	/* a cancelled listing tells nothing more; its handle is closed, whenever it comes */
	struct be_list *l;
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->list(BE(&p), "/root", got_entries, got_status, &g, &l), 0);
	r = peer_take(&p, FXP_OPENDIR);
	OPS(&p)->list_cancel(BE(&p), l);
	peer_handle(&p, r, "D");
	peer_run(&p);
	ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "D");
	ck_assert_int_eq(OPS(&p)->list(BE(&p), "/root", got_entries, got_status, &g, &l), 0);
	peer_handle(&p, peer_take(&p, FXP_OPENDIR), "E");
	peer_run(&p);
	OPS(&p)->list_pause(BE(&p), l, true);
	OPS(&p)->list_cancel(BE(&p), l);
	ck_assert_str_eq(peer_find(&p, FXP_CLOSE)->handle, "E");
	while (peer_waiting(&p))
		peer_status(&p, peer_take(&p, FXP_READDIR), FX_FAILURE);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	peer_finish(&p);
}
END_TEST

START_TEST(rename_plain)
{
	/* without posix-rename a target in the way is moved aside, and removed only afterwards */
	struct peer_request *r;
	char aside[4200];

	begin();
	p.exts = 0;
	peer_start(&p, "");
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_REPLACE, got_status, &g), 0);
	peer_status(&p, peer_take(&p, FXP_RENAME), FX_FAILURE);
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	r = peer_take(&p, FXP_RENAME);
	ck_assert_str_eq(r->path, "/root/b");
	strcpy(aside, r->path2);
	ck_assert_int_eq(strncmp(aside, "/root/.sftpfs-", 14), 0);
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	r = peer_take(&p, FXP_RENAME);
	ck_assert_str_eq(r->path, "/root/a");
	ck_assert_str_eq(r->path2, "/root/b");
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	r = peer_take(&p, FXP_REMOVE);
	ck_assert_str_eq(r->path, aside);
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	peer_finish(&p);
}
END_TEST

START_TEST(rename_restored)
{
	/* when the rename fails after all the target comes back; a directory is never moved aside
	 */
	struct peer_request *r;
	char aside[4200];
	struct be_attr dir = {.valid = BE_ATTR_MODE, .mode = S_IFDIR | 0755};

	begin();
	p.exts = 0;
	peer_start(&p, "");
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_REPLACE, got_status, &g), 0);
	peer_status(&p, peer_take(&p, FXP_RENAME), FX_FAILURE);
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	r = peer_take(&p, FXP_RENAME);
	strcpy(aside, r->path2);
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_RENAME), FX_PERMISSION_DENIED);
	peer_run(&p);
	r = peer_take(&p, FXP_RENAME);
	ck_assert_str_eq(r->path, aside);
	ck_assert_str_eq(r->path2, "/root/b");
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_PERMISSION_DENIED);
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/d", BE_RENAME_REPLACE, got_status, &g), 0);
	peer_status(&p, peer_take(&p, FXP_RENAME), FX_FAILURE);
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &dir);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 2);
	ck_assert_int_eq(g.code, BE_FAILURE);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

START_TEST(rename_kinds)
{
	/* replace is posix-rename, noreplace plain RENAME */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_REPLACE, got_status, &g), 0);
	ck_assert_str_eq(peer_take(&p, FXP_EXTENDED)->ext, "posix-rename@openssh.com");
	ck_assert_int_eq(
	    OPS(&p)->rename(BE(&p), "/root/a", "/root/b", BE_RENAME_NOREPLACE, got_status, &g), 0);
	peer_take(&p, FXP_RENAME);
	peer_finish(&p);
}
END_TEST

START_TEST(too_long)
{
	/* a path that does not fit into a packet is refused by us, the connection lives */
	static char path[40000];

	begin();
	p.exts = 0;
	peer_start(&p, "");
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), path, false, got_attr, &g), 0);
	ck_assert_uint_eq(g.count, 0);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_ERRNO);
	ck_assert_int_eq(g.err, ENAMETOOLONG);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

static void cancel_inside(void *arg, const struct be_entry *entries, size_t count)
{
	struct be_list **l = arg;

	(void)entries;
	(void)count;
	OPS(&p)->list_cancel(BE(&p), *l);
	g.name_count++;
}

START_TEST(list_cancelled_inside)
{
	/* a listing may be cancelled from its own callback */
	static const char *const names[] = {"a", "b"};
	static struct be_list *l;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->list(BE(&p), "/root", cancel_inside, got_status, &l, &l), 0);
	peer_handle(&p, peer_take(&p, FXP_OPENDIR), "D");
	peer_run(&p);
	while (peer_waiting(&p) && g.name_count == 0) {
		peer_names(&p, peer_take(&p, FXP_READDIR), names, 2);
		peer_run(&p);
	}
	ck_assert_uint_eq(g.name_count, 1);
	ck_assert_str_eq(peer_find(&p, FXP_CLOSE)->handle, "D");
	peer_finish(&p);
}
END_TEST

static void got_id_names(void *arg, const struct be_status *st, const char *const *users,
                         const char *const *groups)
{
	struct got *got = arg;

	got_status(arg, st);
	if (st->code == BE_OK)
		snprintf(got->names, sizeof(got->names), "%s %s %s", users[0], users[1], groups[0]);
}

START_TEST(owners_have_names)
{
	/* names come back in the order asked; too few of them are no names at all */
	const struct be_ids users = {{7, 8}, 2}, groups = {{9}, 1};

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->id_names(BE(&p), &users, &groups, got_id_names, &g), 0);
	peer_id_names(&p, peer_take(&p, FXP_EXTENDED), "\0\0\0\4anna\0\0\0\0", 12, "\0\0\0\1g", 5);
	peer_run(&p);
	ck_assert_str_eq(g.names, "anna  g");
	ck_assert_int_eq(OPS(&p)->id_names(BE(&p), &users, &groups, got_id_names, &g), 0);
	peer_id_names(&p, peer_take(&p, FXP_EXTENDED), "\0\0\0\4anna", 8, "\0\0\0\1g", 5);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_MALFORMED);
	peer_finish(&p);
}
END_TEST

static void got_hash(void *arg, const struct be_status *st, const uint8_t *hash)
{
	struct got *got = arg;

	got_status(arg, st);
	if (st->code == BE_OK)
		snprintf(got->names, sizeof(got->names), "%.32s", (const char *)hash);
}

static int ask_other(void *ctx, const char *path, be_hash_fn *done, void *arg)
{
	snprintf(ctx, 64, "%s", path);
	return 0;
}

static int64_t other_waits(void *ctx)
{
	return -1;
}

static void other_fails(void *ctx)
{
}

START_TEST(hash_by_the_server)
{
	/* check-file, with the extension's name in front or not; another algorithm is none */
	static const char *const heads[] = {"", "check-file"};
	static const char hash[] = "0123456789abcdef0123456789ABCDEF";
	static char other_path[64];
	struct fxp_hasher other = {ask_other, other_waits, other_fails, other_path};

	begin();
	peer_start(&p, "");
	fxp_backend_hash_by(p.fb, &other);
	for (unsigned i = 0; i < 2; i++) {
		struct peer_request *r;

		ck_assert_int_eq(OPS(&p)->hash(BE(&p), "/root/x", got_hash, &g), 0);
		r = peer_take(&p, FXP_EXTENDED);
		ck_assert_str_eq(r->ext, "check-file-name");
		ck_assert_str_eq(r->path, "/root/x");
		ck_assert_str_eq(r->path2, "sha256");
		peer_hash(&p, r, heads[i], "sha256", hash, 32);
		peer_run(&p);
		ck_assert_str_eq(g.names, hash);
	}
	ck_assert_str_eq(other_path, "");
	ck_assert_int_eq(OPS(&p)->hash(BE(&p), "/root/x", got_hash, &g), 0);
	peer_hash(&p, peer_take(&p, FXP_EXTENDED), "", "md5", hash, 16);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_UNSUPPORTED);
	peer_finish(&p);

	begin();
	p.exts &= ~(1u << EXT_CHECK_FILE);
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->hash(BE(&p), "/root/x", got_hash, &g), 0);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_UNSUPPORTED);
	fxp_backend_hash_by(p.fb, &other);
	ck_assert_int_eq(OPS(&p)->hash(BE(&p), "/root/x", got_hash, &g), 0);
	ck_assert_str_eq(other_path, "/root/x");
	peer_finish(&p);
}
END_TEST

/* One of each call; with some allocation failing each says -ENOMEM or answers exactly once. */
static unsigned call_all(struct be_file *f, struct data *d, unsigned *started)
{
	struct backend *b = BE(&p);
	const struct be_ops *o = OPS(&p);
	struct be_attr want = {.valid = BE_ATTR_MODE | BE_ATTR_SIZE, .mode = 0600, .size = 3};
	struct be_list *l;
	unsigned n = 0;

	n += o->stat(b, "/root/a", false, got_attr, &g) == 0;
	n += o->setattr(b, "/root/b", false, &want, got_attr, &g) == 0;
	n += o->mkdir(b, "/root/c", 0700, got_attr, &g) == 0;
	n += o->remove(b, "/root/d", got_status, &g) == 0;
	n += o->rename(b, "/root/e", "/root/f", BE_RENAME_REPLACE, got_status, &g) == 0;
	n += o->list(b, "/root/g", got_entries, got_status, &g, &l) == 0;
	n += o->statvfs(b, "/root/h", got_statvfs, &g) == 0;
	n += o->open(b, "/root/i", BE_READ, 0, 9, 0, got_where, NULL, got_open, &g) == 0;
	n += o->fetch(b, "/root/j", 10, got_fetch, &g) == 0;
	n += o->read(b, f, 0, 10, got_read, &g) == 0;
	n += o->write(b, f, 0, d, 0, 10, got_status, &g) == 0;
	n += o->fstat(b, f, got_attr, &g) == 0;
	n += o->fsetattr(b, f, &want, got_attr, &g) == 0;
	n += o->fsync(b, f, got_status, &g) == 0;
	o->close(b, f);
	*started = n;
	return n;
}

START_TEST(no_memory)
{
	/* with any allocation failing a call says so at once, or answers exactly once */
	unsigned n = 1, started = 0;
	bool hit = true;

	for (; hit; n++) {
		struct be_file *f;
		struct data *d;

		begin();
		check_allow_errors();
		peer_start(&p, "");
		f = peer_open(&p, "/root/x", BE_READ | BE_WRITE, 3, "H", &file);
		d = peer_block(&p, 10);
		oom_arm(n);
		call_all(f, d, &started);
		peer_run(&p);
		hit = oom_disarm();
		data_unref(d);
		fxp_backend_destroy(p.fb);
		p.fb = NULL;
		ck_assert_msg(g.count == started, "allocation %u: %u of %u", n, g.count, started);
		peer_finish(&p);
	}
	ck_assert_uint_gt(n, 20);
}
END_TEST

CHECK_MAIN("sftp_ops", mkdir_with_attr, symlink_order, setattr_steps, setattr_plain, setattr_link,
           setattr_size, setattr_size_by_handle, list_all, list_cancelled, rename_plain,
           rename_restored, rename_kinds, too_long, list_cancelled_inside, owners_have_names,
           hash_by_the_server, no_memory)
