/* SPDX-License-Identifier: BSD-2-Clause */
/* The pure parts of scp/: codec, quoting, texts, ranges, spool. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_main.h"
#include "scp/attr_parse.h"
#include "scp/codec.h"
#include "scp/quote.h"
#include "scp/ranges.h"
#include "scp/spool.h"

/* Feeds all of it in pieces. Return: the phase; the file's bytes are appended to `got`. */
static enum scp_phase sink_feed(struct scp_sink *s, const void *bytes, size_t len, size_t piece,
                                struct buf *got)
{
	for (size_t off = 0; off < len;) {
		const uint8_t *data;
		size_t data_len, part = len - off < piece ? len - off : piece;
		size_t used =
		    scp_sink_feed(s, (const uint8_t *)bytes + off, part, &data, &data_len);

		buf_add(got, data, data_len);
		if (used == 0)
			break;
		off += used;
	}
	return s->phase;
}

START_TEST(a_file_is_received_however_it_is_cut)
{
	static const char wire[] = "T1000000001 0 1000000000 0\nC0741 5 na me\nhel\0o";

	for (size_t piece = 1; piece <= sizeof(wire); piece++) {
		struct buf got = BUF_INIT;
		struct scp_sink s;

		scp_sink_init(&s, "na me");
		/* the string's own zero is the server's last word */
		ck_assert_int_eq(sink_feed(&s, wire, sizeof(wire), piece, &got), SCP_ENDED);
		ck_assert_mem_eq(got.bytes, "hel\0o", 5);
		ck_assert_uint_eq(got.len, 5);
		ck_assert_uint_eq(s.mode, 0741);
		ck_assert_uint_eq(s.mtime, 1000000001);
		ck_assert_uint_eq(s.atime, 1000000000);
		buf_finish(&got);
	}
}
END_TEST

START_TEST(what_was_not_asked_for_is_refused)
{
	static const char *const bad[] = {
	    "C0644 1 other\n",
	    "C0644 1 ../name\n",
	    "C0644 1 name/\n",
	    "D0755 0 name\n",
	    "E\n",
	    "C0644 -1 name\n",
	    "C0644 9223372036854775808 name\n",
	    "C10000 1 name\n",
	    "C0644 1\n",
	    "C 1 name\n",
	    "T1 0 1\n",
	    "T1 0 1 0\nT1 0 1 0\n",
	    "hello there\n",
	    "C0644 1 name \n",
	    "C0644  1 name\n",
	    "C0648 1 name\n",
	    "C0644 1 Name\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct buf got = BUF_INIT;
		struct scp_sink s;

		scp_sink_init(&s, "name");
		ck_assert_msg(sink_feed(&s, bad[i], strlen(bad[i]), 7, &got) == SCP_FAILED, "%s",
		              bad[i]);
		ck_assert(!s.refused);
		ck_assert_uint_eq(got.len, 0);
		buf_finish(&got);
	}
}
END_TEST

START_TEST(an_endless_line_is_bounded)
{
	struct buf got = BUF_INIT;
	struct scp_sink s;

	scp_sink_init(&s, "name");
	for (unsigned i = 0; i < SCP_LINE_LEN_MAX && s.phase == SCP_HEAD; i++)
		sink_feed(&s, "CCCC", 4, 4, &got);
	ck_assert_int_eq(s.phase, SCP_FAILED);
}
END_TEST

START_TEST(warnings_and_errors_keep_their_text)
{
	static const char *const said[] = {"\1scp: f: No such file or directory\n",
	                                   "\2fatal: Permission denied\n"};
	struct buf got = BUF_INIT;
	struct scp_source source;
	struct scp_sink s;

	for (unsigned i = 0; i < 2; i++) {
		scp_sink_init(&s, "f");
		ck_assert_int_eq(sink_feed(&s, said[i], strlen(said[i]), 3, &got), SCP_FAILED);
		ck_assert(s.refused);
		ck_assert_int_eq(scp_errno_of_text(s.error, strlen(s.error)), i ? EACCES : ENOENT);
	}
	scp_source_init(&source);
	scp_source_feed(&source, (const uint8_t *)"\0\0\1scp: no space\n", 17);
	ck_assert_uint_eq(source.acks, 2);
	ck_assert(source.failed);
	ck_assert_str_eq(source.error, "scp: no space");
	/* the tail of a file may still be an error of reading it */
	scp_sink_init(&s, "f");
	ck_assert_int_eq(sink_feed(&s, "C0644 1 f\nx\1scp: f: Input/output error\n", 39, 99, &got),
	                 SCP_FAILED);
	buf_finish(&got);
}
END_TEST

START_TEST(quoting_leaves_nothing_to_interpret)
{
	struct buf b = BUF_INIT;

	scp_quote(&b, "it's $(x) `y` \n\\ \"z\" -");
	ck_assert_str_eq((char *)b.bytes, "'it'\\''s $(x) `y` \n\\ \"z\" -'");
	buf_clear(&b);
	scp_quote(&b, "'");
	ck_assert_str_eq((char *)b.bytes, "''\\'''");
	buf_finish(&b);
}
END_TEST

START_TEST(errors_are_read_at_the_end_only)
{
	static const struct {
		const char *text;
		int err;
	} table[] = {
	    {"mkdir: can't create directory 'a': File exists", EEXIST},
	    {"mv: cannot move 'File exists' to 'b': No such file or directory\n", ENOENT},
	    {"rm: 'a' is a directory", EISDIR},
	    {"sh: can't create x: nonexistent directory", ENOENT},
	    {"scp: /a: No space left on device", ENOSPC},
	    {"File exists: but not this time", 0},
	    {"", 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_int_eq(scp_errno_of_text(table[i].text, strlen(table[i].text)),
		                 table[i].err);
}
END_TEST

START_TEST(attributes_of_stat_and_ls)
{
	static const char stat_line[] = "81a4 12 1000 100 1000000000 1000000001 2 77 2049";
	static const char ls_line[] = "L77 -rwsr-x--T 2 1000 100 12 Sep  9  2001";
	static const char ls_new[] = "L77 drwxr-xr-x 2 0 0 4096 Dec 31 23:59";
	static const char device[] = "L77 crw-rw-rw- 1 0 0 1, 3 Jan  1 00:00";
	struct scp_identity id;
	struct be_attr a;

	ck_assert_uint_gt(scp_attr_parse(stat_line, strlen(stat_line), 0, &a, &id), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0644);
	ck_assert_uint_eq(a.size, 12);
	ck_assert_uint_eq(a.mtime, 1000000001);
	ck_assert_uint_eq(id.ino, 77);
	ck_assert_uint_gt(scp_attr_parse(ls_line, strlen(ls_line), 1000000000, &a, &id), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | S_ISUID | S_ISVTX | 0750);
	ck_assert_uint_eq(a.mtime, 999993600);
	/* a date without a year is of the last twelve months */
	ck_assert_uint_gt(scp_attr_parse(ls_new, strlen(ls_new), 1000000000, &a, &id), 0);
	ck_assert_uint_eq(a.mtime, 978307140);
	ck_assert_uint_gt(scp_attr_parse(device, strlen(device), 1000000000, &a, &id), 0);
	ck_assert(S_ISCHR(a.mode));
	ck_assert_uint_eq(scp_attr_parse("81a4 -1 0 0 0 0 1 1 1", 21, 0, &a, &id), 0);
	ck_assert_uint_eq(scp_attr_parse("", 0, 0, &a, &id), 0);
}
END_TEST

static void add_name(void *arg, const struct be_entry *e)
{
	buf_add_str(arg, "[");
	buf_add(arg, e->name, e->name_len);
	buf_add_str(arg, "]");
}

START_TEST(a_listing_with_newlines_and_lines_that_look_like_others)
{
	static const char body[] = "81a4 1 0 0 0 0 1 1 1 ./a\n"
	                           "81a4 1 0 0 0 0 1 1 1 ./b\n81a4 1 0 0 0 0 1 1 1 x\n"
	                           "81a4 1 0 0 0 0 1 1 1 ./\n\n"
	                           "81a4 1 0 0 0 0 1 1 1 ./..\n"
	                           "81a4 1 0 0 0 0 1 1 1 ./c\n\n";
	struct buf got = BUF_INIT;

	ck_assert_uint_eq(scp_list_parse(body, strlen(body), 0, add_name, &got), 1);
	ck_assert_str_eq((char *)got.bytes, "[a][b\n81a4 1 0 0 0 0 1 1 1 x][\n][c\n]");
	buf_finish(&got);
}
END_TEST

START_TEST(ranges_against_a_plain_map)
{
	struct scp_ranges r = {0};
	bool map[64] = {false};
	uint32_t seed = 1;

	for (unsigned round = 0; round < 5000; round++) {
		uint64_t from, to;
		bool add;

		seed = seed * 1103515245u + 12345u;
		from = seed >> 16 & 63;
		seed = seed * 1103515245u + 12345u;
		to = from + (seed >> 16) % (65 - from);
		add = seed >> 8 & 1;
		ck_assert_int_eq(
		    add ? scp_ranges_add(&r, from, to) : scp_ranges_remove(&r, from, to), 0);
		for (uint64_t i = from; i < to; i++)
			map[i] = add;
		for (uint64_t i = 0; i < 64; i++) {
			uint64_t gap = i, next = i;

			while (gap < 64 && map[gap])
				gap++;
			while (next < 64 && !map[next])
				next++;
			ck_assert_uint_eq(scp_ranges_gap(&r, i), gap);
			ck_assert_uint_eq(scp_ranges_next(&r, i), next == 64 ? UINT64_MAX : next);
		}
	}
	scp_ranges_finish(&r);
}
END_TEST

START_TEST(a_spool_keeps_bytes_in_memory_and_in_its_file)
{
	int dir_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct scp_spool s;
	char got[8];

	scp_spool_init(&s, dir_fd);
	ck_assert_int_eq(scp_spool_write(&s, 10, "abc", 3), 0);
	ck_assert_int_eq(s.fd, -1);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(scp_spool_read(&s, 8, got, 8), 0);
		ck_assert_mem_eq(got, "\0\0abc\0\0\0", 8);
		ck_assert_int_eq(scp_spool_write(&s, SCP_SPOOL_MEMORY_LEN, "end", 3), 0);
	}
	ck_assert_int_ge(s.fd, 0);
	scp_spool_drop(&s, 0, 11);
	ck_assert_int_eq(scp_spool_read(&s, 8, got, 8), 0);
	ck_assert_mem_eq(got, "\0\0\0bc\0\0\0", 8);
	ck_assert_int_eq(scp_spool_write(&s, INT64_MAX, "x", 1), -EFBIG);
	scp_spool_finish(&s);
	close(dir_fd);
}
END_TEST

CHECK_MAIN("scp", a_file_is_received_however_it_is_cut, what_was_not_asked_for_is_refused,
           an_endless_line_is_bounded, warnings_and_errors_keep_their_text,
           quoting_leaves_nothing_to_interpret, errors_are_read_at_the_end_only,
           attributes_of_stat_and_ls, a_listing_with_newlines_and_lines_that_look_like_others,
           ranges_against_a_plain_map, a_spool_keeps_bytes_in_memory_and_in_its_file)
