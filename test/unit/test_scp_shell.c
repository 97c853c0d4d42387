/* SPDX-License-Identifier: BSD-2-Clause */
/* The framing of the server's shell: whatever it says, what was asked is answered once, or not at
 * all. */
#include "check_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "raw_link.h"
#include "scp/script.h"
#include "util/data.h"

#define ATTR "81a4 5 0 0 5 6 1 7 8\n"

static struct raw_link r;

static struct got {
	unsigned count;
	struct be_status st;
	char text[300];
	bool has_attr;
	struct be_attr attr;
	char names[1000];
	char bytes[100];
	size_t len;
} g;

static void got_status(void *arg, const struct be_status *st)
{
	struct got *got = arg;

	got->count++;
	got->st = *st;
	snprintf(got->text, sizeof(got->text), "%s", st->text);
}

static void got_attr(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct got *got = arg;

	got_status(arg, st);
	got->has_attr = a != NULL;
	if (a)
		got->attr = *a;
}

static void got_path(void *arg, const struct be_status *st, const char *target, size_t len)
{
	struct got *got = arg;

	got_status(arg, st);
	snprintf(got->names, sizeof(got->names), "%.*s", (int)len, target ? target : "");
}

static void got_entries(void *arg, const struct be_entry *entries, size_t count)
{
	struct got *got = arg;

	for (size_t i = 0; i < count; i++)
		snprintf(got->names + strlen(got->names), 100, "[%s]", entries[i].name);
}

static void got_fetch(void *arg, const struct be_status *st, const struct be_attr *a,
                      struct data *block, size_t off, size_t len)
{
	struct got *got = arg;

	got_status(arg, st);
	got->len = len;
	if (block && len <= sizeof(got->bytes))
		memcpy(got->bytes, block->bytes + off, len);
	data_unref(block);
}

static void setup(void)
{
	memset(&g, 0, sizeof(g));
	raw_start(&r, "/r");
	raw_greet(&r);
	ck_assert_uint_eq(r.started_count, 1);
	ck_assert_int_eq(r.fail, LINK_FAIL_NONE);
	ck_assert_str_eq(r.root, "/r");
	raw_clear(&r);
}

/* For tables: with the zero bytes in it. */
#define SAID(text) text, sizeof(text) - 1

#define SAY(text) raw_say(&r, text, sizeof(text) - 1, sizeof(text))

static void ask_stat(const char *path)
{
	ck_assert_int_eq(r.be->ops->stat(r.be, path, false, got_attr, &g), 0);
}

START_TEST(what_a_login_prints_is_not_an_answer)
{
	/* banners, zero bytes, half a greeting; then everything in pieces of any size */
	static const char said[] =
	    "Welcome!\n\033[1m\0\0sftp\0sftpf" SCP_SHELL_GREETING "/r\n41ed 4096 0 0 5 6 2 7 8\n\0"
	    "0";

	static const char answers[] = ATTR "\0"
	                                   "0\0stat: no\n\0"
	                                   "e2";

	for (size_t piece = 1; piece <= sizeof(said); piece++) {
		memset(&g, 0, sizeof(g));
		raw_start(&r, "");
		raw_say(&r, said, sizeof(said), piece);
		ck_assert_uint_eq(r.started_count, 1);
		ck_assert_str_eq(r.root, "/r");
		ask_stat("/r/a");
		ask_stat("/r/b");
		raw_say(&r, answers, sizeof(answers), piece);
		ck_assert_uint_eq(g.count, 2);
		ck_assert_int_eq(g.st.code, BE_NO_SUCH_FILE);
		raw_finish(&r);
	}
}
END_TEST

START_TEST(an_endless_banner_ends_the_connection)
{
	static char noise[70000];

	memset(noise, 'x', sizeof(noise));
	raw_start(&r, "/r");
	raw_say(&r, noise, sizeof(noise), 1000);
	ck_assert(r.reset);
	raw_finish(&r);
	ck_assert_int_eq(r.fail, LINK_FAIL_SFTP);
	ck_assert_ptr_nonnull(strstr(check_log(), "may not be a POSIX shell"));
}
END_TEST

START_TEST(any_byte_of_a_name_is_quoted)
{
	/* all 255 of them, in one name; the shell reads back the same */
	char path[300] = "/r/", *to = path + 3;
	struct buf quoted = BUF_INIT;

	setup();
	for (unsigned c = 1; c < 256; c++)
		if (c != '/')
			*to++ = (char)c;
	*to = '\0';
	ask_stat(path);
	buf_add_str(&quoted, "S '");
	for (const char *p = path; *p; p++)
		*p == '\'' ? buf_add_str(&quoted, "'\\''") : buf_add(&quoted, p, 1);
	buf_add_str(&quoted, "' 2>&1; R $?\n");
	ck_assert_str_eq((char *)r.sent.bytes, (char *)quoted.bytes);
	buf_finish(&quoted);
	SAY(ATTR "\0"
	         "0\0");
	ck_assert(g.has_attr && S_ISREG(g.attr.mode));
	raw_finish(&r);
}
END_TEST

START_TEST(outcomes_are_told_by_status_and_last_words)
{
	static const struct {
		const char *said;
		size_t len;
		enum be_code code;
		int err;
	} table[] = {
	    {SAID("\0"
	          "e13\0"),
	     BE_PERMISSION_DENIED, EACCES},
	    {SAID("x: File exists\n\0"
	          "1\0"),
	     BE_ERRNO, EEXIST},
	    {SAID("first: File exists\nx: No space left on device\n\0"
	          "1\0"),
	     BE_ERRNO, ENOSPC},
	    {SAID("sh: head: not found\n\0"
	          "127\0"),
	     BE_UNSUPPORTED, EOPNOTSUPP},
	    {SAID("who knows\n\0"
	          "3\0"),
	     BE_FAILURE, 0},
	};

	setup();
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ask_stat("/r/a");
		raw_say(&r, table[i].said, table[i].len, 3);
		ck_assert_uint_eq(g.count, i + 1);
		ck_assert_int_eq(g.st.code, table[i].code);
		ck_assert_int_eq(g.st.err, table[i].err);
	}
	raw_finish(&r);
}
END_TEST

START_TEST(nonsense_ends_the_connection_and_the_question_is_asked_again)
{
	/* wrong markers, what nobody asked for; the answer on the next connection counts */
	static const struct {
		const char *said;
		size_t len;
	} table[] = {
	    {SAID(ATTR "\0what?\0")}, {SAID(ATTR "\0999\0")},
	    {SAID(ATTR "\0\0")},      {SAID(ATTR "\0-1\0")},
	    {SAID(ATTR "\0e\0")},     {SAID(ATTR "\0waaaaaaaaaaaaaaaaay too long")},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		check_allow_errors();
		setup();
		ask_stat("/r/a");
		raw_say(&r, table[i].said, table[i].len, 4);
		ck_assert(r.reset);
		ck_assert_uint_eq(g.count, 0);
		raw_cut(&r);
		SAY(ATTR "\0"
		         "0\0");
		ck_assert_uint_eq(g.count, 1);
		ck_assert(g.has_attr);
		/* a background job of the login, say */
		SAY("you have new mail\n");
		ck_assert(r.reset);
		raw_finish(&r);
	}
}
END_TEST

START_TEST(attributes_that_make_no_sense_are_none)
{
	setup();
	ask_stat("/r/a");
	SAY("drwx 12 what\n\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 1);
	ck_assert(!g.has_attr);
	ask_stat("/r/a");
	SAY("81a4 99999999999999999999 0 0 5 6 1 7 8\n\0"
	    "0\0");
	ck_assert(!g.has_attr);
	raw_finish(&r);
}
END_TEST

START_TEST(listings_hold_no_name_that_leads_elsewhere)
{
	struct be_list *l;

	setup();
	ck_assert_int_eq(r.be->ops->list(r.be, "/r", got_entries, got_status, &g, &l), 0);
	SAY("81a4 1 0 0 0 0 1 1 1 ./good\n81a4 1 0 0 0 0 1 1 1 ./..\n81a4 1 0 0 0 0 1 1 1 "
	    "./two\nlines\n"
	    "81a4 1 0 0 0 0 1 1 1 ./a/../../b\n81a4 1 0 0 0 0 1 1 1 ./last\n\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 1);
	ck_assert_ptr_nonnull(strstr(g.names, "[good]"));
	ck_assert_ptr_nonnull(strstr(g.names, "[two\nlines]"));
	ck_assert_ptr_null(strstr(g.names, ".."));
	ck_assert_ptr_null(strchr(g.names, '/'));
	raw_finish(&r);
}
END_TEST

START_TEST(file_data_may_look_like_anything)
{
	/* zero bytes, ends, greetings: the length in front counts, and never more than was asked */
	setup();
	ck_assert_int_eq(r.be->ops->fetch(r.be, "/r/f", 20, got_fetch, &g), 0);
	SAY("+81a4 8 0 0 5 6 1 7 8\n\0"
	    "0\0"
	    "e13\0\n81a4 8 0 0 5 6 1 7 8\n\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.st.code, BE_OK);
	ck_assert_uint_eq(g.len, 8);
	ck_assert_mem_eq(g.bytes,
	                 "\0"
	                 "0\0"
	                 "e13\0\n",
	                 8);

	/* a file that is said to be huge: the first bytes of it, as asked */
	ck_assert_int_eq(r.be->ops->fetch(r.be, "/r/f", 4, got_fetch, &g), 0);
	SAY("+81a4 9223372036854775807 0 0 5 6 1 7 8\nabcd81a4 9223372036854775807 0 0 5 6 1 7 "
	    "8\n\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 2);
	ck_assert_uint_eq(g.len, 4);
	ck_assert_mem_eq(g.bytes, "abcd", 4);
	raw_finish(&r);
}
END_TEST

START_TEST(a_change_whose_answer_was_lost_is_said_in_other_words)
{
	/* what the first one has done counts as done */
	setup();
	check_allow_errors();
	ck_assert_int_eq(r.be->ops->rename(r.be, "/r/a", "/r/b", BE_RENAME_REPLACE, got_status, &g),
	                 0);
	ck_assert_str_eq((char *)r.sent.bytes, "f='/r/a' t='/r/b'; M\n");
	ck_assert_int_eq(r.be->ops->readlink(r.be, "/r/l", got_path, &g), 0);
	raw_cut(&r);
	ck_assert_ptr_nonnull(strstr((char *)r.sent.bytes, "[ ! -e \"$f\" ]"));
	SAY("\0"
	    "0\0"
	    "target\n\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 2);
	ck_assert_str_eq(g.names, "target");
	raw_finish(&r);
}
END_TEST

/* A mkdir of mode 0755, said at 1 s, lost at 5 s and answered at 10 s. */
static void expect_mkdir(const char *said, size_t len, enum be_code code)
{
	setup();
	check_allow_errors();
	ck_assert_int_eq(r.be->ops->mkdir(r.be, "/r/d", 0755, got_attr, &g), 0);
	r.clock.now_ms = 5000;
	raw_cut(&r);
	ck_assert_ptr_nonnull(strstr((char *)r.sent.bytes, "[ -O '/r/d' ]"));
	r.clock.now_ms = 10000;
	raw_say(&r, said, len, len);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_msg(g.st.code == code, "%s", said);
	ck_assert(g.has_attr == (code == BE_OK));
	raw_finish(&r);
}

START_TEST(a_directory_is_ours_if_everything_speaks_for_it)
{
	/* the server's clock is another one: the directory's age counts */
	static const struct {
		const char *said;
		size_t len;
		enum be_code code;
	} cases[] = {
	    {SAID("41ed 4096 0 0 5 6 2 7 8\n\0"
	          "0\0"),
	     BE_OK},
	    {SAID("77\n41ed 4096 0 0 5 70 2 7 8\n\0"
	          "e17\0"),
	     BE_OK},
	    {SAID("77\n41c0 4096 0 0 5 66 2 7 8\n\0"
	          "e17\0"),
	     BE_OK},
	    /* made before it was asked for, and after the loss */
	    {SAID("77\n41ed 4096 0 0 5 65 2 7 8\n\0"
	          "e17\0"),
	     BE_ERRNO},
	    {SAID("77\n41ed 4096 0 0 5 75 2 7 8\n\0"
	          "e17\0"),
	     BE_ERRNO},
	    /* others may write there */
	    {SAID("77\n41fd 4096 0 0 5 70 2 7 8\n\0"
	          "e17\0"),
	     BE_ERRNO},
	    {SAID("soon\n41ed 4096 0 0 5 70 2 7 8\n\0"
	          "e17\0"),
	     BE_ERRNO},
	    {SAID("mkdir: can't create directory '/r/d': File exists\n\0"
	          "1\0"),
	     BE_ERRNO},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_mkdir(cases[i].said, cases[i].len, cases[i].code);
}
END_TEST

START_TEST(what_is_given_up_swallows_its_answer)
{
	struct be_list *l;

	setup();
	ck_assert_int_eq(r.be->ops->list(r.be, "/r", got_entries, got_status, &g, &l), 0);
	ask_stat("/r/a");
	r.be->ops->list_cancel(r.be, l);
	SAY("81a4 1 0 0 0 0 1 1 1 ./x\n\0"
	    "0\0" ATTR "\0"
	    "0\0");
	ck_assert_uint_eq(g.count, 1);
	ck_assert(g.has_attr);
	ask_stat("/r/a");
	r.be->ops->quiesce(r.be);
	ck_assert_uint_eq(g.count, 2);
	ck_assert_int_eq(g.st.code, BE_LOST);
	SAY(ATTR "\0"
	         "0\0");
	ck_assert_uint_eq(g.count, 2);
	ask_stat("/r/a");
	raw_finish(&r);
	ck_assert_uint_eq(g.count, 3);
}
END_TEST

CHECK_MAIN("scp_shell", what_a_login_prints_is_not_an_answer, an_endless_banner_ends_the_connection,
           any_byte_of_a_name_is_quoted, outcomes_are_told_by_status_and_last_words,
           nonsense_ends_the_connection_and_the_question_is_asked_again,
           attributes_that_make_no_sense_are_none, listings_hold_no_name_that_leads_elsewhere,
           file_data_may_look_like_anything, a_change_whose_answer_was_lost_is_said_in_other_words,
           a_directory_is_ours_if_everything_speaks_for_it, what_is_given_up_swallows_its_answer)
