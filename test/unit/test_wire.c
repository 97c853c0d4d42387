/* SPDX-License-Identifier: BSD-2-Clause */
/* Cursor, encoder and the compound fields of SFTP packets. */
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "sftp/extension.h"
#include "sftp/proto.h"
#include "sftp/wire.h"

/* A copy of exactly `len` bytes, so that a sanitizer sees every byte beyond. */
static uint8_t *exact(const void *bytes, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	memcpy(p, bytes, len);
	return p;
}

START_TEST(numbers)
{
	/* numbers are big-endian both ways, and reading beyond the end gives 0 and sticks */
	uint8_t bytes[13];
	struct fxp_out out = {.bytes = bytes, .size = sizeof(bytes)};
	struct fxp_in in;

	fxp_put_u8(&out, 0xab);
	fxp_put_u32(&out, 0x01020304);
	fxp_put_u64(&out, 0x1112131415161718);
	ck_assert(!out.failed);
	ck_assert_uint_eq(bytes[1], 1);
	fxp_in_init(&in, "test", bytes, sizeof(bytes));
	ck_assert_uint_eq(fxp_get_u8(&in, "a"), 0xab);
	ck_assert_uint_eq(fxp_get_u32(&in, "b"), 0x01020304);
	ck_assert_uint_eq(fxp_get_u64(&in, "c"), 0x1112131415161718);
	ck_assert(!fxp_in_failed(&in));
	ck_assert_uint_eq(fxp_get_u8(&in, "first"), 0);
	ck_assert_uint_eq(fxp_get_u32(&in, "second"), 0);
	ck_assert_str_eq(in.field, "first");
	fxp_put_u8(&out, 1);
	ck_assert(out.failed);
	ck_assert_uint_eq(out.len, sizeof(bytes));
}
END_TEST

START_TEST(string_caps)
{
	/* a string of 0, cap and cap + 1 bytes; a length that lies about what is left */
	static const uint8_t empty[] = {0, 0, 0, 0}, four[] = {0, 0, 0, 4, 'a', 'b', 'c', 'd'};
	static const uint8_t lie[] = {0xff, 0xff, 0xff, 0xff, 'a'};
	struct fxp_in in;
	size_t len = 99;

	fxp_in_init(&in, "test", (uint8_t *)empty, sizeof(empty));
	ck_assert_ptr_nonnull(fxp_get_str(&in, "s", 4, &len));
	ck_assert_uint_eq(len, 0);
	fxp_in_init(&in, "test", (uint8_t *)four, sizeof(four));
	ck_assert_ptr_nonnull(fxp_get_str(&in, "s", 4, &len));
	ck_assert_uint_eq(len, 4);
	fxp_in_init(&in, "test", (uint8_t *)four, sizeof(four));
	ck_assert_ptr_null(fxp_get_str(&in, "s", 3, &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_str_eq(in.field, "s");
	fxp_in_init(&in, "test", (uint8_t *)lie, sizeof(lie));
	ck_assert_ptr_null(fxp_get_str(&in, "s", SIZE_MAX, &len));
}
END_TEST

START_TEST(attr_round_trip)
{
	/* any set of attributes comes back as it was sent, and only that set */
	const struct be_attr full = {.valid = 0xf,
	                             .mode = 0104755,
	                             .size = 0x123456789abc,
	                             .uid = 1,
	                             .gid = 0xfffffffe,
	                             .atime = 0xffffffff,
	                             .mtime = 7};

	for (uint32_t valid = 0; valid < 16; valid++) {
		uint8_t bytes[FXP_ATTR_WIRE_MAX];
		struct fxp_out out = {.bytes = bytes, .size = sizeof(bytes)};
		struct be_attr sent = full, attr;
		struct fxp_in in;

		sent.valid = valid;
		fxp_put_attr(&out, &sent);
		ck_assert(!out.failed);
		fxp_in_init(&in, "test", bytes, out.len);
		fxp_get_attr(&in, &attr);
		fxp_get_end(&in);
		ck_assert(!fxp_in_failed(&in));
		ck_assert_uint_eq(attr.valid, valid);
		if (valid & BE_ATTR_SIZE)
			ck_assert_uint_eq(attr.size, full.size);
		if (valid & BE_ATTR_OWNER)
			ck_assert_uint_eq(attr.gid, full.gid);
		if (valid & BE_ATTR_MODE)
			ck_assert_uint_eq(attr.mode, full.mode);
		if (valid & BE_ATTR_TIMES)
			ck_assert_uint_eq(attr.atime, full.atime);
	}
}
END_TEST

START_TEST(attr_extended)
{
	/* extended pairs are skipped; too many, or an unknown flag, reject the packet */
	static const uint8_t pair[] = {0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'k', 0, 0, 0, 1, 'v'};
	static const uint8_t many[] = {0x80, 0, 0, 0, 0, 0, 0, FXP_ATTR_EXTENDED_MAX + 1};
	static const uint8_t unknown[] = {0, 0, 0, 0x10};
	struct be_attr attr;
	struct fxp_in in;

	fxp_in_init(&in, "test", (uint8_t *)pair, sizeof(pair));
	fxp_get_attr(&in, &attr);
	fxp_get_end(&in);
	ck_assert(!fxp_in_failed(&in));
	fxp_in_init(&in, "test", (uint8_t *)many, sizeof(many));
	fxp_get_attr(&in, &attr);
	ck_assert_str_eq(in.field, "extended_count");
	fxp_in_init(&in, "test", (uint8_t *)unknown, sizeof(unknown));
	fxp_get_attr(&in, &attr);
	ck_assert_str_eq(in.field, "attr_flags");
}
END_TEST

static size_t put_entry(uint8_t *bytes, size_t size, const void *name, size_t len,
                        const char *longname)
{
	struct be_attr attr = {.valid = BE_ATTR_MODE, .mode = 0100644};
	struct fxp_out out = {.bytes = bytes, .size = size};

	fxp_put_str(&out, name, len);
	fxp_put_str(&out, longname, strlen(longname));
	fxp_put_attr(&out, &attr);
	ck_assert(!out.failed);
	return out.len;
}

START_TEST(entry_cut)
{
	/* a directory entry cut at every byte is rejected, never read beyond */
	uint8_t whole[200];
	size_t len = put_entry(whole, sizeof(whole), "file", 4, "-rw-r--r-- 1 u g 0 x");

	for (size_t cut = 0; cut <= len; cut++) {
		uint8_t *bytes = exact(whole, cut);
		struct be_entry e;
		struct fxp_in in;
		bool good;

		fxp_in_init(&in, "test", bytes, cut);
		good = fxp_get_entry(&in, &e);
		ck_assert(good == (cut == len));
		ck_assert(fxp_in_failed(&in) == (cut < len));
		if (good)
			ck_assert_str_eq(e.name, "file");
		free(bytes);
	}
}
END_TEST

START_TEST(hostile_names)
{
	/* empty, dot, dot-dot, slash, NUL and too long are unusable; everything else is a name */
	static const struct {
		const char *name;
		size_t len;
		bool good;
	} cases[] = {
	    {"", 0, false},          {".", 1, false},       {"..", 2, false},   {"a/b", 3, false},
	    {"../../etc", 9, false}, {"/", 1, false},       {"a\0b", 3, false}, {"...", 3, true},
	    {".a", 2, true},         {"\xff\n\\", 3, true}, {" ", 1, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t bytes[200];
		size_t len = put_entry(bytes, sizeof(bytes), cases[i].name, cases[i].len, "");
		struct be_entry e;
		struct fxp_in in;

		fxp_in_init(&in, "test", bytes, len);
		ck_assert_msg(fxp_get_entry(&in, &e) == cases[i].good, "case %zu", i);
		ck_assert(!fxp_in_failed(&in));
	}
	for (size_t name_len = FXP_ENTRY_LEN_MAX; name_len <= FXP_ENTRY_LEN_MAX + 1; name_len++) {
		uint8_t bytes[FXP_ENTRY_LEN_MAX + 200], name[FXP_ENTRY_LEN_MAX + 1];
		struct be_entry e;
		struct fxp_in in;

		memset(name, 'x', sizeof(name));
		fxp_in_init(&in, "test", bytes,
		            put_entry(bytes, sizeof(bytes), name, name_len, ""));
		ck_assert(fxp_get_entry(&in, &e) == (name_len == FXP_ENTRY_LEN_MAX));
		ck_assert(!fxp_in_failed(&in));
	}
}
END_TEST

START_TEST(longname)
{
	/* the link count is taken only from what looks like ls -l */
	static const struct {
		const char *text;
		uint32_t nlink;
	} cases[] = {
	    {"-rw-r--r--    1 user group 0 Jan 1 1970 x", 1},
	    {"drwxr-xr-x   17 root root 4096 x", 17},
	    {"lrwxrwxrwx+   2 u g 0 x", 2},
	    {"-rwsr-Sr-t 4294967295 u g", 4294967295u},
	    {"-rwsr-Sr-t 4294967296 u g", 0},
	    {"-rwsr-Sr-t 18446744073709551617 u g", 0},
	    {"-rw-r--r-- 1", 0},
	    {"-rw-r--r-- x1 u", 0},
	    {"-rw-r--r--", 0},
	    {"", 0},
	    {" ", 0},
	    {"file.txt 5 bytes", 0},
	    {"01-02-20  10:00AM  5 x", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i].text);
		uint8_t *bytes = exact(cases[i].text, len);

		ck_assert_msg(fxp_longname_nlink((char *)bytes, len) == cases[i].nlink, "\"%s\"",
		              cases[i].text);
		free(bytes);
	}
}
END_TEST

START_TEST(version)
{
	/* an extension counts only where name and version both match; cut packets are rejected */
	static const char *const pairs[][2] = {
	    {"posix-rename@openssh.com", "1"}, {"statvfs@openssh.com", "1"},
	    {"fsync@openssh.com", "1"},        {"hardlink@openssh.com", "12"},
	    {"unknown@example.com", "3"},      {"fstatvfs@openssh.com", "2"},
	};
	uint8_t bytes[500];
	struct fxp_out out = {.bytes = bytes, .size = sizeof(bytes)};
	size_t ends[7];
	fxp_ext_set set;
	struct fxp_in in;

	fxp_put_u32(&out, 3);
	ends[0] = out.len;
	for (size_t i = 0; i < 6; i++) {
		fxp_put_str(&out, pairs[i][0], strlen(pairs[i][0]));
		fxp_put_str(&out, pairs[i][1], strlen(pairs[i][1]));
		ends[i + 1] = out.len;
	}
	fxp_in_init(&in, "VERSION", bytes, out.len);
	ck_assert_uint_eq(fxp_ext_get_version(&in, &set), 3);
	ck_assert(!fxp_in_failed(&in));
	ck_assert_uint_eq(set, 1u << EXT_POSIX_RENAME | 1u << EXT_FSYNC | 1u << EXT_FSTATVFS);
	for (size_t cut = 0; cut < out.len; cut++) {
		uint8_t *copy = exact(bytes, cut);
		bool whole = false;

		for (size_t i = 0; i < 7; i++)
			whole = whole || ends[i] == cut;
		fxp_in_init(&in, "VERSION", copy, cut);
		fxp_ext_get_version(&in, &set);
		ck_assert(fxp_in_failed(&in) != whole);
		free(copy);
	}
}
END_TEST

CHECK_MAIN("wire", numbers, string_caps, attr_round_trip, attr_extended, entry_cut, hostile_names,
           longname, version)
