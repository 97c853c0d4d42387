/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract: fake_backend.h. */
#include "fake_backend.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/sha256.h"

#define NOW_WALL_MS 1000000000LL /* so that the server's time is 1,000,000 s */

struct fake fake;
struct vfs *vfs;
struct clock kclock;
struct budget budget;

static struct kreq *kreqs[256];
static unsigned kreq_count;

static struct call *call_new(const char *name, const char *path, void *arg)
{
	struct call *c = calloc(1, sizeof(*c));

	ck_assert_ptr_nonnull(c);
	c->name = name;
	c->path = path ? strdup(path) : NULL;
	c->arg = arg;
	list_push_back(&fake.calls, &c->entry);
	return c;
}

static void call_free(struct call *c)
{
	list_del(&c->entry);
	data_unref(c->block);
	free(c->path);
	free(c->path2);
	free(c);
}

static const struct be_info *f_info(struct backend *b)
{
	return &fake.info;
}

static int f_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg)
{
	call_new("stat", path, arg)->attr_fn = done;
	return 0;
}

static int f_setattr(struct backend *b, const char *path, enum be_target target,
                     const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct call *c = call_new("setattr", path, arg);

	c->want = *want;
	c->flags = target;
	c->attr_fn = done;
	return 0;
}

static int f_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg)
{
	call_new("readlink", path, arg)->path_fn = done;
	return 0;
}

static int f_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                     void *arg)
{
	struct call *c = call_new("symlink", path, arg);

	c->path2 = strdup(target);
	c->attr_fn = done;
	return 0;
}

static int f_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg)
{
	struct call *c = call_new("link", from, arg);

	c->path2 = strdup(to);
	c->attr_fn = done;
	return 0;
}

static int f_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg)
{
	struct call *c = call_new("mkdir", path, arg);

	c->mode = mode;
	c->attr_fn = done;
	return 0;
}

static int f_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	call_new("rmdir", path, arg)->status_fn = done;
	return 0;
}

static int f_remove(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	call_new("remove", path, arg)->status_fn = done;
	return 0;
}

static int f_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
                    be_status_fn *done, void *arg)
{
	struct call *c = call_new("rename", from, arg);

	c->path2 = strdup(to);
	c->flags = flags;
	c->status_fn = done;
	return 0;
}

static int f_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg)
{
	call_new("statvfs", path, arg)->statvfs_fn = done;
	return 0;
}

static int f_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                      be_id_names_fn *done, void *arg)
{
	struct call *c = call_new("id_names", NULL, arg);

	c->users = *users;
	c->groups = *groups;
	c->id_names_fn = done;
	return 0;
}

static int f_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
                  void *arg, struct be_list **out)
{
	struct call *c = call_new("list", path, arg);

	c->entries_fn = entries;
	c->status_fn = done;
	*out = (struct be_list *)c;
	return 0;
}

static void f_list_cancel(struct backend *b, struct be_list *l)
{
	fake.cancel_count++;
	call_free((struct call *)l);
}

static void f_list_pause(struct backend *b, struct be_list *l, bool paused)
{
	fake.paused = paused;
}

static int f_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode, uint64_t node,
                  size_t ahead_len, be_where_fn *where, void *owner, be_open_fn *done, void *arg)
{
	struct call *c = call_new("open", path, arg);

	c->flags = flags;
	c->mode = mode;
	c->len = ahead_len;
	c->want.mode = mode;
	c->open_fn = done;
	return 0;
}

static void f_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner)
{
}

static int f_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg)
{
	struct call *c = call_new("fstat", NULL, arg);

	c->file = f;
	c->attr_fn = done;
	return 0;
}

static int f_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want,
                      be_attr_fn *done, void *arg)
{
	struct call *c = call_new("fsetattr", NULL, arg);

	c->file = f;
	c->want = *want;
	c->attr_fn = done;
	return 0;
}

static int f_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
                  void *arg)
{
	struct call *c = call_new("read", NULL, arg);

	c->file = f;
	c->off = off;
	c->len = len;
	c->read_fn = done;
	return 0;
}

static int f_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
                   size_t block_off, size_t len, be_status_fn *done, void *arg)
{
	struct call *c = call_new("write", NULL, arg);

	c->file = f;
	c->block_off = block_off;
	c->off = off;
	c->len = len;
	c->block = data_ref(block);
	c->status_fn = done;
	return 0;
}

static int f_fsync(struct backend *b, struct be_file *f, be_status_fn *done, void *arg)
{
	struct call *c = call_new("fsync", NULL, arg);

	c->file = f;
	c->status_fn = done;
	return 0;
}

static int f_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
                  uint64_t to_off, uint64_t len, be_status_fn *done, void *arg)
{
	struct call *c = call_new("copy", NULL, arg);

	c->file = to;
	c->off = to_off;
	c->len = len;
	c->status_fn = done;
	return 0;
}

static int f_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done,
                   void *arg)
{
	struct call *c = call_new("fetch", path, arg);

	c->len = len_max;
	c->fetch_fn = done;
	return 0;
}

static int f_hash(struct backend *b, const char *path, be_hash_fn *done, void *arg)
{
	call_new("hash", path, arg)->hash_fn = done;
	return 0;
}

static void f_close(struct backend *b, struct be_file *f)
{
	fake.open_count--;
}

static void f_quiesce(struct backend *b)
{
}

static const struct be_ops fake_ops = {
    .info = f_info,
    .stat = f_stat,
    .setattr = f_setattr,
    .readlink = f_readlink,
    .symlink = f_symlink,
    .link = f_link,
    .mkdir = f_mkdir,
    .rmdir = f_rmdir,
    .remove = f_remove,
    .rename = f_rename,
    .statvfs = f_statvfs,
    .id_names = f_id_names,
    .list = f_list,
    .list_cancel = f_list_cancel,
    .list_pause = f_list_pause,
    .open = f_open,
    .file_node = f_file_node,
    .fstat = f_fstat,
    .fsetattr = f_fsetattr,
    .read = f_read,
    .write = f_write,
    .fsync = f_fsync,
    .copy = f_copy,
    .fetch = f_fetch,
    .close = f_close,
    .hash = f_hash,
    .quiesce = f_quiesce,
};

static struct kreq *of(struct vfs_req *req)
{
	struct kreq *k = list_entry(req, struct kreq, req);

	ck_assert_msg(!k->done, "a request was answered twice");
	k->done = true;
	return k;
}

static void r_err(struct vfs_req *req, int err)
{
	of(req)->err = err;
}

static bool r_entry(struct vfs_req *req, const struct vfs_entry *e)
{
	struct kreq *k = of(req);

	k->entry = *e;
	return !k->refuse;
}

static bool r_create(struct vfs_req *req, const struct vfs_entry *e, const struct vfs_opened *o)
{
	struct kreq *k = of(req);

	k->entry = *e;
	k->opened = *o;
	return !k->refuse;
}

static void r_attr(struct vfs_req *req, const struct stat *st, int64_t timeout_ms)
{
	of(req)->st = *st;
}

static void r_readlink(struct vfs_req *req, const char *target)
{
	strcpy((char *)of(req)->bytes, target);
}

static bool r_open(struct vfs_req *req, const struct vfs_opened *o)
{
	struct kreq *k = of(req);

	k->opened = *o;
	return !k->refuse;
}

static void r_data(struct vfs_req *req, const struct iovec *iov, int iov_count)
{
	struct kreq *k = of(req);

	for (int i = 0; i < iov_count; i++) {
		memcpy(k->bytes + k->len, iov[i].iov_base, iov[i].iov_len);
		k->len += iov[i].iov_len;
	}
}

static void r_written(struct vfs_req *req, size_t len)
{
	of(req)->written = len;
}

static void r_hash(struct vfs_req *req, const uint8_t *hash)
{
	struct kreq *k = of(req);

	memcpy(k->bytes, hash, SHA256_LEN);
	k->len = SHA256_LEN;
}

static void r_statfs(struct vfs_req *req, const struct statvfs *sv)
{
	of(req)->sv = *sv;
}

static bool r_dirent(struct vfs_req *req, const char *name, const struct vfs_entry *e,
                     off_t next_off)
{
	struct kreq *k = list_entry(req, struct kreq, req);

	if (k->name_max && k->name_count == k->name_max)
		return false;
	if (k->name_count < 64) {
		snprintf(k->names[k->name_count], sizeof(k->names[0]), "%s", name);
		k->nodeids[k->name_count] = e->nodeid;
		k->sts[k->name_count] = e->st;
	}
	k->name_count++;
	return true;
}

static void r_dir_end(struct vfs_req *req)
{
	of(req);
}

static const struct vfs_replies fake_replies = {
    .err = r_err,
    .entry = r_entry,
    .create = r_create,
    .attr = r_attr,
    .readlink = r_readlink,
    .open = r_open,
    .data = r_data,
    .written = r_written,
    .statfs = r_statfs,
    .hash = r_hash,
    .dirent = r_dirent,
    .dir_end = r_dir_end,
};

void fake_setup(void (*tweak)(struct vfs_config *cfg))
{
	struct vfs_config cfg = {
	    .root = "/r",
	    .uid = -1,
	    .gid = -1,
	    .dir_cache = true,
	    .hardlink = true,
	    .file_timeout_ms = -1,
	    .dir_timeout_ms = -1,
	    .link_timeout_ms = -1,
	    .entry_timeout_ms = -1,
	    .attr_timeout_ms = -1,
	    .negative_timeout_ms = -1,
	    .open_window_ms = 1000,
	    .flush_age_ms = 1000,
	};

	memset(&fake, 0, sizeof(fake));
	fake.base.ops = &fake_ops;
	fake.info = (struct be_info){
	    .caps = {.posix_rename = true, .hardlink = true, .fsync = true, .copy = true},
	    .read_len_max = 65536,
	    .write_len_max = 65536,
	    .read_unit_len = 65536,
	    .write_unit_len = 65536,
	    .stream_len = 1 << 20,
	    .write_stream_len = 1 << 20,
	    .silent_since_ms = -1,
	};
	list_init(&fake.calls);
	if (tweak)
		tweak(&cfg);
	clock_init(&kclock);
	kclock.now_ms = 50000;
	kclock.wall_ms = NOW_WALL_MS;
	budget_init(&budget, 64 << 20);
	vfs = vfs_create(&cfg, &fake.base, &kclock, &fake_replies, &budget);
	ck_assert_ptr_nonnull(vfs);
}

static void drained(void *arg)
{
}

void fake_teardown(void)
{
	fake_none();
	vfs_drain(vfs, drained, NULL);
	while (!list_empty(&fake.calls)) { /* what the drain sent */
		struct call *c = list_entry(fake.calls.next, struct call, entry);

		ck_assert_str_eq(c->name, "write");
		fake_status(c, BE_OK, "");
	}
	vfs_destroy(vfs);
	ck_assert_uint_eq(fake.open_count, 0);
	ck_assert_uint_eq(budget.used_len, 0);
	while (kreq_count)
		free(kreqs[--kreq_count]);
}

void fake_pass(int64_t ms)
{
	kclock.now_ms += ms;
	kclock.wall_ms += ms;
	clock_run(&kclock);
}

struct call *fake_call(const char *name)
{
	struct call *c;

	ck_assert_msg(!list_empty(&fake.calls), "no call waits, expected %s", name);
	c = list_entry(fake.calls.next, struct call, entry);
	ck_assert_str_eq(c->name, name);
	return c;
}

void fake_none(void)
{
	if (!list_empty(&fake.calls))
		ck_abort_msg("unexpected call: %s",
		             list_entry(fake.calls.next, struct call, entry)->name);
}

/* Takes the call out before answering: the answer may bring new ones. */
static struct call take(struct call *c)
{
	struct call copy = *c;

	list_del(&c->entry);
	free(c->path);
	free(c->path2);
	free(c);
	return copy;
}

void fake_attr(struct call *c, enum be_code code, const struct be_attr *a)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);

	call.attr_fn(call.arg, &st, a);
}

void fake_status(struct call *c, enum be_code code, const char *text)
{
	const struct be_status st = {.code = code, .text = text};
	struct call call = take(c);

	data_unref(call.block); /* first: who waits for room in the budget is woken by the answer */
	call.status_fn(call.arg, &st);
}

void fake_target(struct call *c, const char *target)
{
	const struct be_status st = {.code = BE_OK, .text = ""};
	struct call call = take(c);

	call.path_fn(call.arg, &st, target, strlen(target));
}

void fake_hashed(struct call *c, enum be_code code, const uint8_t *hash)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);

	call.hash_fn(call.arg, &st, code == BE_OK ? hash : NULL);
}

void fake_named(struct call *c, const char *const *users, const char *const *groups)
{
	const struct be_status st = {.code = users ? BE_OK : BE_FAILURE, .text = ""};
	struct call call = take(c);

	call.id_names_fn(call.arg, &st, users, groups);
}

void fake_opened(struct call *c, enum be_code code, const struct be_attr *a)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);

	if (code == BE_OK)
		fake.open_count++;
	call.open_fn(call.arg, &st, code == BE_OK ? (struct be_file *)++fake.last_file : NULL, a);
}

void fake_data(struct call *c, enum be_code code, const void *bytes, size_t len)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);
	struct data *block = NULL;

	if (code == BE_OK) {
		block = data_create(&budget, len + 9); /* the data need not begin the block */
		memcpy(block->bytes + 9, bytes, len);
	}
	call.read_fn(call.arg, &st, block, 9, len);
}

void fake_fetched(struct call *c, enum be_code code, const struct be_attr *a, const void *bytes,
                  size_t len)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);
	struct data *block = NULL;

	if (code == BE_OK && len) {
		block = data_create(&budget, len + 9);
		memcpy(block->bytes + 9, bytes, len);
	}
	call.fetch_fn(call.arg, &st, code == BE_OK ? a : NULL, block, block ? 9 : 0, len);
}

void fake_statvfs(struct call *c, enum be_code code, const struct be_statvfs *sv)
{
	const struct be_status st = {.code = code, .text = ""};
	struct call call = take(c);

	call.statvfs_fn(call.arg, &st, sv);
}

struct call *fake_find(const char *name, const char *path)
{
	list_for_each(e, &fake.calls) {
		struct call *c = list_entry(e, struct call, entry);

		if (strcmp(c->name, name) == 0 &&
		    (!path || (c->path && strcmp(c->path, path) == 0)))
			return c;
	}
	return NULL;
}

void fake_entries(struct call *c, const struct be_entry *entries, size_t count)
{
	c->entries_fn(c->arg, entries, count);
}

struct be_attr fake_reg(uint64_t size, uint32_t mtime)
{
	return (struct be_attr){
	    .valid = BE_ATTR_SIZE | BE_ATTR_OWNER | BE_ATTR_MODE | BE_ATTR_TIMES,
	    .mode = S_IFREG | 0644,
	    .size = size,
	    .mtime = mtime,
	    .atime = mtime,
	};
}

struct be_attr fake_dir(uint32_t mtime)
{
	struct be_attr a = fake_reg(4096, mtime);

	a.mode = S_IFDIR | 0755;
	return a;
}

struct kreq *kreq_create(void)
{
	struct kreq *k = calloc(1, sizeof(*k));

	ck_assert_ptr_nonnull(k);
	ck_assert_uint_lt(kreq_count, 256);
	kreqs[kreq_count++] = k;
	return k;
}

uint64_t fake_lookup(const char *name, struct be_attr a)
{
	struct kreq *k = kreq_create();

	vfs_lookup(vfs, &k->req, VFS_ROOT, name);
	fake_attr(fake_call("stat"), BE_OK, &a);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	return k->entry.nodeid;
}

uint64_t fake_open(uint64_t nodeid, int flags, struct be_attr a)
{
	struct kreq *k = kreq_create();

	vfs_open(vfs, &k->req, nodeid, flags);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(k->done);
	ck_assert_int_eq(k->err, 0);
	return k->opened.fh;
}

struct kreq *fake_read(uint64_t fh, size_t len, uint64_t off)
{
	struct kreq *k = kreq_create();

	vfs_read(vfs, &k->req, fh, len, off);
	return k;
}

struct kreq *fake_write(uint64_t fh, const uint8_t *file, size_t len, uint64_t off)
{
	struct kreq *k = kreq_create();

	vfs_write(vfs, &k->req, fh, file + off, len, off, false);
	return k;
}
