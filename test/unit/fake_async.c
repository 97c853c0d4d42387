/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract: fake_async.h. */
#include "fake_async.h"

#include <check.h>
#include <fcntl.h>

const struct be_statvfs fake_roomy = {
    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 1 << 20};
const struct be_statvfs fake_tight = {
    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 100};
uint8_t prog_bytes[4 << 20];

void prog_tweak(struct vfs_config *cfg)
{
	cfg->async = true;
}

void prog_tick(void)
{
	fake_pass(0);
	fake_pass(0);
}

void prog_list(const struct be_entry *entries, size_t count)
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

void prog_mkdir(const char *name, struct kreq *k)
{
	vfs_mkdir(vfs, &k->req, VFS_ROOT, name, 0755);
	prog_tick();
}

void prog_setup_with(const struct be_entry *entries, size_t count)
{
	struct be_attr dir = fake_dir(1000);
	struct kreq *g = kreq_create(), *k = kreq_create();

	fake_setup(prog_tweak);
	fake.info.caps.statvfs = true;
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	fake_attr(fake_call("stat"), BE_OK, &dir);
	prog_list(entries, count);
	prog_mkdir("warm", k);
	ck_assert_msg(!k->done, "the first change must show who we are");
	fake_statvfs(fake_find("statvfs", NULL), BE_OK, &fake_roomy);
	dir.mtime = 1000000;
	fake_attr(fake_call("mkdir"), BE_OK, &dir);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	fake_none();
}

void prog_setup(void)
{
	const struct be_entry old = {"old", 3, fake_reg(3, 1000)};

	prog_setup_with(&old, 1);
}

struct kreq *prog_create(const char *name, int flags)
{
	struct kreq *k = kreq_create();

	vfs_create_file(vfs, &k->req, VFS_ROOT, name, 0644, flags);
	prog_tick();
	return k;
}

struct kreq *prog_write(uint64_t fh, size_t len, uint64_t off)
{
	struct kreq *k = kreq_create();

	vfs_write(vfs, &k->req, fh, prog_bytes, len, off, false);
	prog_tick();
	return k;
}

struct kreq *prog_close(uint64_t fh)
{
	struct kreq *k = kreq_create(), *r = kreq_create();

	vfs_flush(vfs, &k->req, fh);
	prog_tick();
	vfs_release(vfs, &r->req, fh);
	prog_tick();
	return k;
}

void prog_put(const char *name, size_t len)
{
	struct kreq *c = prog_create(name, O_WRONLY | O_EXCL), *k;

	ck_assert(c->done);
	ck_assert_int_eq(c->err, 0);
	ck_assert_uint_eq(prog_write(c->opened.fh, len, 0)->written, len);
	k = prog_close(c->opened.fh);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
}

struct kreq *prog_rename(const char *from, const char *to)
{
	struct kreq *k = kreq_create();

	vfs_rename(vfs, &k->req, VFS_ROOT, from, VFS_ROOT, to, 0);
	prog_tick();
	return k;
}

struct kreq *prog_unlink(const char *name)
{
	struct kreq *k = kreq_create();

	vfs_unlink(vfs, &k->req, VFS_ROOT, name);
	prog_tick();
	return k;
}

struct kreq *prog_lookup(const char *name)
{
	struct kreq *k = kreq_create();

	vfs_lookup(vfs, &k->req, VFS_ROOT, name);
	prog_tick();
	return k;
}

struct kreq *prog_barrier(void)
{
	struct kreq *o = kreq_create(), *k = kreq_create(), *c = kreq_create();

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	prog_tick();
	if (fake_find("list", NULL))
		fake_status(fake_find("list", NULL), BE_OK, "");
	ck_assert(o->done);
	vfs_fsyncdir(vfs, &k->req, o->opened.fh);
	prog_tick();
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	return k;
}

void serve_open(const char *path)
{
	struct be_attr a = fake_reg(0, 1000000);

	fake_opened(fake_find("open", path), BE_OK, &a);
}

void serve_rest(size_t len)
{
	struct be_attr a = fake_reg(len, 1000000);

	fake_status(fake_find("write", NULL), BE_OK, "");
	fake_attr(fake_find("fsetattr", NULL), BE_OK, &a);
}

void serve_looks(const struct be_statvfs *sv)
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
	prog_tick();
}

struct kreq *prog_link(uint64_t nodeid, const char *name)
{
	struct kreq *k = kreq_create();

	vfs_link(vfs, &k->req, nodeid, VFS_ROOT, name);
	prog_tick();
	return k;
}

struct kreq *prog_chmod(uint64_t nodeid, uint64_t fh, mode_t mode)
{
	const struct stat st = {.st_mode = mode};
	struct kreq *k = kreq_create();

	vfs_setattr(vfs, &k->req, nodeid, fh, &st, VFS_SET_MODE);
	prog_tick();
	return k;
}
