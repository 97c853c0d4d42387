/* SPDX-License-Identifier: BSD-2-Clause */
/* The errno that a program sees, from what the server said and what a second look shows. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_backend.h"
#include "vfs/errno.h"

#define NONE 0 /* a look that finds nothing there */

struct row {
	const char *what;
	enum op_kind kind;
	int flags;
	enum be_code code;
	const char *text;
	uint32_t mode;   /* of what the second look finds at the path */
	uint32_t mode2;  /* at the second path, where the request has one */
	uint32_t parent; /* of the directory */
	uint64_t bavail;
	bool readonly;
	bool other_fs; /* the second path is on another filesystem */
	int expect;
};

#define DIR (S_IFDIR | 0755)
#define REG (S_IFREG | 0644)
#define LNK (S_IFLNK | 0777)

static const struct row rows[] = {
    {"missing file", OP_OPEN, 0, BE_NO_SUCH_FILE, "", NONE, NONE, DIR, 99, 0, 0, ENOENT},
    {"parent is a file", OP_MKDIR, 0, BE_NO_SUCH_FILE, "", NONE, NONE, REG, 99, 0, 0, ENOTDIR},
    {"link loop", OP_OPEN, 0, BE_NO_SUCH_FILE, "", LNK, NONE, DIR, 99, 0, 0, ELOOP},
    {"write on a read handle", OP_WRITE, 0, BE_NO_SUCH_FILE, "", REG, NONE, DIR, 99, 0, 0, EBADF},
    {"denied", OP_OPEN, 0, BE_PERMISSION_DENIED, "", REG, NONE, DIR, 99, 0, 0, EACCES},
    {"denied change", OP_SETATTR, 0, BE_PERMISSION_DENIED, "", REG, NONE, DIR, 99, 0, 0, EPERM},
    {"denied link", OP_LINK, 0, BE_PERMISSION_DENIED, "", REG, NONE, DIR, 99, 0, 0, EPERM},
    {"sticky directory", OP_UNLINK, 0, BE_PERMISSION_DENIED, "", REG, NONE, DIR | S_ISVTX, 99, 0, 0,
     EPERM},
    {"plain directory", OP_UNLINK, 0, BE_PERMISSION_DENIED, "", REG, NONE, DIR, 99, 0, 0, EACCES},
    {"mkdir of what is there", OP_MKDIR, 0, BE_FAILURE, "", DIR, NONE, DIR, 99, 0, 0, EEXIST},
    {"symlink onto a file", OP_SYMLINK, 0, BE_FAILURE, "", REG, NONE, DIR, 99, 0, 0, EEXIST},
    {"link onto a file", OP_LINK, 0, BE_FAILURE, "", REG, REG, DIR, 99, 0, 0, EEXIST},
    {"link across filesystems", OP_LINK, 0, BE_FAILURE, "", REG, NONE, DIR, 99, 0, 1, EXDEV},
    {"exclusive create", OP_CREATE, O_EXCL, BE_FAILURE, "", REG, NONE, DIR, 99, 0, 0, EEXIST},
    {"write to a directory", OP_OPEN, O_WRONLY, BE_FAILURE, "", DIR, NONE, DIR, 99, 0, 0, EISDIR},
    {"full directory removed", OP_RMDIR, 0, BE_FAILURE, "", DIR, NONE, DIR, 99, 0, 0, ENOTEMPTY},
    {"directory unlinked", OP_UNLINK, 0, BE_FAILURE, "", DIR, NONE, DIR, 99, 0, 0, EISDIR},
    {"onto a full directory", OP_RENAME, 0, BE_FAILURE, "", DIR, DIR, DIR, 99, 0, 0, ENOTEMPTY},
    {"directory onto a file", OP_RENAME, 0, BE_FAILURE, "", DIR, REG, DIR, 99, 0, 0, ENOTDIR},
    {"file onto a directory", OP_RENAME, 0, BE_FAILURE, "", REG, DIR, DIR, 99, 0, 0, EISDIR},
    {"no replace", OP_RENAME, RENAME_NOREPLACE, BE_FAILURE, "", REG, REG, DIR, 99, 0, 0, EEXIST},
    {"across filesystems", OP_RENAME, 0, BE_FAILURE, "", REG, NONE, DIR, 99, 0, 1, EXDEV},
    {"full disk", OP_WRITE, 0, BE_FAILURE, "", REG, NONE, DIR, 0, 0, 0, ENOSPC},
    {"disk with room", OP_WRITE, 0, BE_FAILURE, "", REG, NONE, DIR, 9999, 0, 0, EIO},
    {"full disk, new directory", OP_MKDIR, 0, BE_FAILURE, "", NONE, NONE, DIR, 0, 0, 0, ENOSPC},
    {"read-only disk", OP_CREATE, 0, BE_FAILURE, "", NONE, NONE, DIR, 9999, 1, 0, EROFS},
    {"read-only disk, unlink", OP_UNLINK, 0, BE_FAILURE, "", REG, NONE, DIR, 9999, 1, 0, EROFS},
    {"quota in words", OP_WRITE, 0, BE_FAILURE, "Disk quota exceeded", REG, NONE, DIR, 99, 0, 0,
     EDQUOT},
    {"too large in words", OP_WRITE, 0, BE_FAILURE, "File too large", REG, NONE, DIR, 99, 0, 0,
     EFBIG},
    {"readlink of a file", OP_READLINK, 0, BE_BAD_MESSAGE, "", REG, NONE, DIR, 99, 0, 0, EINVAL},
    {"link unsupported", OP_LINK, 0, BE_UNSUPPORTED, "", REG, NONE, DIR, 99, 0, 0, EPERM},
    {"change unsupported", OP_SETATTR, 0, BE_UNSUPPORTED, "", REG, NONE, DIR, 99, 0, 0, EOPNOTSUPP},
    {"connection lost", OP_LOOKUP, 0, BE_LOST, "", NONE, NONE, NONE, 99, 0, 0, EIO},
    {"unexplained", OP_LOOKUP, 0, BE_FAILURE, "", NONE, NONE, DIR, 9999, 0, 0, EIO},
    {"end of file where none can be", OP_LOOKUP, 0, BE_EOF, "", NONE, NONE, DIR, 99, 0, 0, EIO},
    {"stale handle", OP_READ, 0, BE_STALE, "", REG, NONE, DIR, 99, 0, 0, ESTALE},
    {"malformed reply", OP_READ, 0, BE_MALFORMED, "", REG, NONE, DIR, 99, 0, 0, EIO},
};

static void answer_look(struct call *c, const struct row *row)
{
	bool second = strstr(c->path, "/two") != NULL;
	struct be_attr a = fake_reg(0, 0);

	if (strcmp(c->name, "statvfs") == 0) {
		const struct be_statvfs sv = {
		    .bsize = 4096,
		    .frsize = 4096,
		    .blocks = 100000,
		    .bavail = row->bavail,
		    .readonly = row->readonly,
		    .fsid = strcmp(c->path, "/r/d2") == 0 && row->other_fs,
		};
		const struct be_status ok = {.code = BE_OK, .text = ""};
		be_statvfs_fn *fn = c->statvfs_fn;
		void *arg = c->arg;

		list_del(&c->entry);
		free(c->path);
		free(c);
		fn(arg, &ok, &sv);
		return;
	}
	if (strcmp(c->name, "list") == 0) {
		const struct be_entry e = {"inside", 6, a};

		fake_entries(c, &e, 1);
		fake_status(c, BE_OK, "");
		return;
	}
	a.mode = strcmp(c->path, "/r/d") == 0 ? row->parent : second ? row->mode2 : row->mode;
	fake_attr(c, a.mode ? BE_OK : BE_NO_SUCH_FILE, a.mode ? &a : NULL);
}

static void resolved(void *arg, int err)
{
	*(int *)arg = err;
}

START_TEST(each_outcome_has_its_errno)
{
	// every row of the table: what the server says, and looks that tell it apart
	fake_setup(NULL);
	fake.info.caps.statvfs = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const struct errno_query q = {
		    .kind = row->kind,
		    .flags = row->flags,
		    .path =
		        row->code == BE_NO_SUCH_FILE || row->kind != OP_READ ? "/r/d/one" : NULL,
		    .path2 = row->kind == OP_RENAME || row->kind == OP_LINK ? "/r/d2/two" : NULL,
		    .len = 4096,
		};
		const struct be_status st = {.code = row->code, .text = row->text};
		int err = 1;

		errno_resolve(vfs, &q, &st, resolved, &err);
		while (!list_empty(&fake.calls))
			answer_look(list_entry(fake.calls.next, struct call, entry), row);
		ck_assert_msg(err == -row->expect, "%s: %s, expected %s", row->what, strerror(-err),
		              strerror(row->expect));
	}
	fake_teardown();
}
END_TEST

START_TEST(long_name_is_told_from_a_bad_one)
{
	// BAD_MESSAGE for a component longer than the server's limit is ENAMETOOLONG, else EINVAL
	char path[400] = "/r/d/";
	const struct be_status st = {.code = BE_BAD_MESSAGE, .text = ""};
	int err = 1;

	fake_setup(NULL);
	memset(path + 5, 'x', 300);
	errno_resolve(vfs, &(struct errno_query){.kind = OP_MKDIR, .path = path}, &st, resolved,
	              &err);
	while (!list_empty(&fake.calls))
		fake_attr(list_entry(fake.calls.next, struct call, entry), BE_NO_SUCH_FILE, NULL);
	ck_assert_int_eq(err, -ENAMETOOLONG);
	path[100] = '\0';
	errno_resolve(vfs, &(struct errno_query){.kind = OP_MKDIR, .path = path}, &st, resolved,
	              &err);
	while (!list_empty(&fake.calls))
		fake_attr(list_entry(fake.calls.next, struct call, entry), BE_NO_SUCH_FILE, NULL);
	ck_assert_int_eq(err, -EINVAL);
	fake_teardown();
}
END_TEST

START_TEST(handle_limit_is_enfile)
{
	// an open refused while we hold as many files as the server allows
	const struct errno_query q = {.kind = OP_OPEN, .path = "/r/d/one"};
	const struct be_status st = {.code = BE_FAILURE, .text = ""};
	struct be_attr a = fake_reg(1, 1000);
	int err = 1;

	fake_setup(NULL);
	fake.info.open_max = 1;
	fake_open(fake_lookup("f", a), O_RDONLY, a);
	errno_resolve(vfs, &q, &st, resolved, &err);
	while (!list_empty(&fake.calls))
		fake_attr(list_entry(fake.calls.next, struct call, entry), BE_OK, &a);
	ck_assert_int_eq(err, -ENFILE);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_errno", each_outcome_has_its_errno, long_name_is_told_from_a_bad_one,
           handle_limit_is_enfile)
