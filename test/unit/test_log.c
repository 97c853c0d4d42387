/* SPDX-License-Identifier: BSD-2-Clause */
/* The log. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_main.h"
#include "util/log.h"

/* What the sink received last. */
static char got[2048];
static enum log_level got_level;
static int got_count;

static void keep(void *arg, enum log_level level, const char *line)
{
	/* No assertions under the log's lock. */
	snprintf(arg, sizeof(got), "%s", line);
	got_level = level;
	got_count++;
}

static void setup_keep(void)
{
	got[0] = '\0';
	got_count = 0;
	log_set_sink(keep, got);
}

START_TEST(levels)
{
	/* a line passes when its category's level admits it, and no other category's */
	setup_keep();
	log_set_level(LOG_LEVEL_INFO);
	log_info(LOG_SSH, "up %d", 1);
	ck_assert_str_eq(got, "up 1");
	ck_assert_int_eq(got_level, LOG_LEVEL_INFO);
	log_verbose(LOG_SSH, "no");
	log_debug(LOG_SSH, "no");
	ck_assert_int_eq(got_count, 1);
	log_set_category_level(LOG_SFTP, LOG_LEVEL_DEBUG);
	log_debug(LOG_SFTP, "yes");
	ck_assert_str_eq(got, "yes");
	log_verbose(LOG_SFTP, "too");
	log_verbose(LOG_VFS, "no");
	ck_assert_int_eq(got_count, 3);
	log_set_level(LOG_LEVEL_ERROR);
	log_info(LOG_SFTP, "no");
	ck_assert_int_eq(got_count, 3);
	log_error(LOG_SFTP, "bad");
	ck_assert_str_eq(got, "bad");
	ck_assert_int_eq(got_level, LOG_LEVEL_ERROR);
	ck_assert(log_enabled(LOG_FUSE, LOG_LEVEL_ERROR));
	ck_assert(!log_enabled(LOG_FUSE, LOG_LEVEL_INFO));
}
END_TEST

static int evaluated;

static const char *evaluate(void)
{
	evaluated++;
	return "x";
}

START_TEST(lazy)
{
	/* the arguments of a line below the level are not evaluated */
	setup_keep();
	log_set_level(LOG_LEVEL_INFO);
	log_debug(LOG_SFTP, "%s", evaluate());
	log_verbose(LOG_SFTP, "%s", evaluate());
	ck_assert_int_eq(evaluated, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug(LOG_SFTP, "%s", evaluate());
	ck_assert_int_eq(evaluated, 1);
}
END_TEST

START_TEST(escapes)
{
	/* what can forge a line, drive a terminal or is not UTF-8 arrives escaped, the rest as it
	 * is */
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"plain \"text\" \\ ~", "plain \"text\" \\ ~"},
	    {"a\nb", "a\\x0ab"},
	    {"a\r\tb\x7f", "a\\x0d\\x09b\\x7f"},
	    {"\x1b[2J", "\\x1b[2J"},
	    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
	     "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
	    {"c1 \xc2\x9b"
	     "2J",
	     "c1 \\xc2\\x9b2J"},
	    {"\xc2\xa0", "\xc2\xa0"},
	    {"latin1 \xfc", "latin1 \\xfc"},
	    {"lone \x80", "lone \\x80"},
	    {"short \xe2\x82", "short \\xe2\\x82"},
	    {"long \xc0\x8a \xe0\x80\x8a \xf0\x80\x80\x8a",
	     "long \\xc0\\x8a \\xe0\\x80\\x8a \\xf0\\x80\\x80\\x8a"},
	    {"overlong \xc1\x81 \xe0\x81\x81", "overlong \\xc1\\x81 \\xe0\\x81\\x81"},
	    {"surrogate \xed\xa0\x80", "surrogate \\xed\\xa0\\x80"},
	    {"beyond \xf4\x90\x80\x80 \xff", "beyond \\xf4\\x90\\x80\\x80 \\xff"},
	    {"bidi \xe2\x80\xae \xe2\x81\xa6 \xe2\x80\x8f",
	     "bidi \\xe2\\x80\\xae \\xe2\\x81\\xa6 \\xe2\\x80\\x8f"},
	    {"separator \xe2\x80\xa8", "separator \\xe2\\x80\\xa8"},
	};

	setup_keep();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		log_info(LOG_VFS, "%s", cases[i].in);
		ck_assert_str_eq(got, cases[i].out);
	}
	log_info(LOG_VFS, "cannot open " LOG_NAME, "a\nb");
	ck_assert_str_eq(got, "cannot open \"a\\x0ab\"");
}
END_TEST

START_TEST(cut)
{
	/* a line is at most 1,023 bytes and its newline; a longer one ends in "..." */
	static char text[5000];

	setup_keep();
	for (size_t len = 1015; len < 1040; len++) {
		memset(text, 'x', len);
		text[len] = '\0';
		log_info(LOG_VFS, "%s", text);
		if (len <= 1023) {
			ck_assert_str_eq(got, text);
		} else {
			ck_assert_uint_eq(strlen(got), 1023);
			ck_assert_str_eq(got + 1019, "x...");
		}
	}
	memset(text, 'x', sizeof(text) - 1);
	log_info(LOG_VFS, "%s", text);
	ck_assert_uint_eq(strlen(got), 1023);
}
END_TEST

START_TEST(cut_between_characters)
{
	/* the cut falls between characters and never into an escape */
	static char text[5000];

	setup_keep();
	for (int shift = 0; shift < 4; shift++) {
		size_t len = (size_t)shift;

		memset(text, 'x', len);
		for (; len < 4000; len += 4)
			memcpy(text + len, "\xf0\x9f\x98\x80", 5);
		log_info(LOG_VFS, "%s", text);
		len = strlen(got);
		ck_assert_uint_le(len, 1023);
		ck_assert_uint_gt(len, 1023 - 8);
		ck_assert_str_eq(got + len - 7, "\xf0\x9f\x98\x80...");

		memset(text + shift, '\n', 4000);
		log_info(LOG_VFS, "%s", text);
		len = strlen(got);
		ck_assert_uint_le(len, 1023);
		ck_assert_uint_gt(len, 1023 - 8);
		ck_assert_str_eq(got + len - 7, "\\x0a...");
	}
}
END_TEST

START_TEST(keeps_errno)
{
	/* logging does not change errno */
	int saved = dup(STDERR_FILENO), err;

	log_to_stderr();
	close(STDERR_FILENO);
	errno = EXDEV;
	log_info(LOG_VFS, "to nobody");
	err = errno;
	dup2(saved, STDERR_FILENO);
	close(saved);
	ck_assert_int_eq(err, EXDEV);
}
END_TEST

/* Reads the file `fd` from its start into `got`. */
static void slurp(int fd)
{
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);

	ck_assert_int_ge(n, 0);
	got[n] = '\0';
}

static int temp_file(char *path, size_t size)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(path, size, "%s/sftpfs-log-XXXXXX", dir ? dir : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(to_stderr)
{
	/* on stderr a line is one packet that starts with our name and ends with a newline */
	int pair[2], saved = dup(STDERR_FILENO);
	static char text[2000];
	ssize_t n;

	/* Packets keep the borders between writes. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
	log_to_stderr();
	log_error(LOG_SSH, "cannot connect to \"%s\"", "host");
	log_debug(LOG_SSH, "req=%d", 17);
	memset(text, 'x', sizeof(text) - 1);
	log_error(LOG_SSH, "%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);

	n = recv(pair[0], got, sizeof(got) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_str_eq(got, "sftpfs: cannot connect to \"host\"\n");
	n = recv(pair[0], got, sizeof(got) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_str_eq(got, "sftpfs: ssh: req=17\n");
	n = recv(pair[0], got, sizeof(got) - 1, MSG_DONTWAIT);
	ck_assert_int_eq(n, 1024);
	got[n] = '\0';
	ck_assert_str_eq(got + n - 4, "...\n");
	ck_assert_int_lt(recv(pair[0], got, sizeof(got), MSG_DONTWAIT), 0);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(to_file)
{
	/* a log file is appended to, each line with its time, level and category */
	char path[256];
	int fd = temp_file(path, sizeof(path));
	const char *second;

	ck_assert_int_eq(write(fd, "old\n", 4), 4);
	ck_assert_int_eq(log_to_file(path), 0);
	log_error(LOG_SFTP, "first");
	log_debug(LOG_FUSE, "second");
	log_to_stderr();
	slurp(fd);
	close(fd);
	unlink(path);
	ck_assert_mem_eq(got, "old\n2", 5);
	/* 2026-01-31T23:59:59.999+0100 */
	ck_assert_int_eq(got[4 + 10], 'T');
	ck_assert_int_eq(got[4 + 19], '.');
	ck_assert_mem_eq(got + 4 + 28, " error sftp: first\n", 19);
	second = got + 4 + 28 + 19;
	ck_assert_str_eq(second + 28, " debug fuse: second\n");
}
END_TEST

START_TEST(file_mode)
{
	/* a new log file is the owner's alone, and one that cannot be opened changes nothing */
	char path[256];
	struct stat st;
	mode_t mask;
	int fd = temp_file(path, sizeof(path));

	close(fd);
	unlink(path);
	mask = umask(0);
	ck_assert_int_eq(log_to_file(path), 0);
	umask(mask);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	unlink(path);
	setup_keep();
	ck_assert_int_eq(log_to_file("/nonexistent/log"), -ENOENT);
	log_info(LOG_MAIN, "still here");
	ck_assert_str_eq(got, "still here");
}
END_TEST

static int open_count(bool cloexec)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);

		count += flags >= 0 && (flags & FD_CLOEXEC || !cloexec);
	}
	return count;
}

START_TEST(descriptors)
{
	/* the log file is not inherited by children, and every change of target closes it */
	char path[256];
	int fd = temp_file(path, sizeof(path));
	int before = open_count(false), cloexec_before = open_count(true);

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(log_to_file(path), 0);
		ck_assert_int_eq(open_count(true), cloexec_before + 1);
		ck_assert_int_eq(open_count(false), before + 1);
	}
	log_to_syslog("test");
	ck_assert_int_eq(open_count(false), before);
	ck_assert_int_eq(log_to_file(path), 0);
	log_set_sink(NULL, NULL);
	ck_assert_int_eq(open_count(false), before);
	close(fd);
	unlink(path);
}
END_TEST

START_TEST(limit)
{
	/* a burst passes, the rest of ten seconds does not, and then their number is told once */
	struct log_limit l = {0};

	for (int i = 0; i < 3; i++)
		ck_assert(log_limit_ok(&l, 100 + i, 3));
	for (int i = 0; i < 5; i++)
		ck_assert(!log_limit_ok(&l, 10099, 3));
	ck_assert_str_eq(check_log(), "");
	ck_assert(log_limit_ok(&l, 10100, 3));
	ck_assert_str_eq(check_log(), "5 similar lines left out\n");
	ck_assert(log_limit_ok(&l, 10101, 3));
	ck_assert(log_limit_ok(&l, 20099, 3));
	ck_assert(!log_limit_ok(&l, 20099, 3));
	ck_assert(log_limit_ok(&l, 90000, 3));
	ck_assert(log_limit_ok(&l, 190000, 3));
	ck_assert_str_eq(check_log(), "5 similar lines left out\n1 similar lines left out\n");
}
END_TEST

START_TEST(levels_of_categories)
{
	/* one level for all, others for single ones; a mistake changes nothing */
	static const char *const wrong[] = {"",          "4",        "x",        "1:",
	                                    "1:sftp",    "1:sftp=",  "1:sftp=4", "1:scp=2",
	                                    "1:sftp=2:", "1,sftp=2", "12",       "1:=2"};

	ck_assert_int_eq(log_parse_levels("0:sftp=2:ssh=3", true), 0);
	ck_assert(!log_enabled(LOG_VFS, LOG_LEVEL_INFO));
	ck_assert(log_enabled(LOG_SFTP, LOG_LEVEL_VERBOSE));
	ck_assert(!log_enabled(LOG_SFTP, LOG_LEVEL_DEBUG));
	ck_assert(log_enabled(LOG_SSH, LOG_LEVEL_DEBUG));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_int_eq(log_parse_levels(wrong[i], true), -EINVAL);
	ck_assert(!log_enabled(LOG_VFS, LOG_LEVEL_INFO));
	ck_assert_int_eq(log_parse_levels("1", true), 0);
	ck_assert(!log_enabled(LOG_SSH, LOG_LEVEL_VERBOSE));
}
END_TEST

START_TEST(limit_of_zero)
{
	/* a burst of zero lets nothing through, and counts it */
	struct log_limit l = {0};

	for (int i = 0; i < 4; i++)
		ck_assert(!log_limit_ok(&l, i, 0));
	ck_assert(!log_limit_ok(&l, 10000, 0));
	ck_assert_str_eq(check_log(), "4 similar lines left out\n");
}
END_TEST

#define WRITERS 4
#define LINES   500

static pthread_barrier_t start;

static void *write_lines(void *arg)
{
	pthread_barrier_wait(&start);
	for (int i = 0; i < LINES; i++)
		log_info(LOG_SSH, "%s%s", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", (const char *)arg);
	return NULL;
}

START_TEST(threads)
{
	/* lines of several threads do not mix, even while another thread changes the target */
	static char text[WRITERS][2] = {"0", "1", "2", "3"};
	char path[256], line[256];
	int fd = temp_file(path, sizeof(path)), count = 0;
	pthread_t tids[WRITERS];
	FILE *f;

	ck_assert_int_eq(log_to_file(path), 0);
	pthread_barrier_init(&start, NULL, WRITERS);
	for (int i = 0; i < WRITERS; i++)
		ck_assert_int_eq(pthread_create(&tids[i], NULL, write_lines, text[i]), 0);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(log_to_file(path), 0);
		log_set_category_level(LOG_VFS, i % 2 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(tids[i], NULL);
	pthread_barrier_destroy(&start);
	log_to_stderr();
	f = fdopen(fd, "r");
	while (fgets(line, sizeof(line), f)) {
		ck_assert_uint_eq(strlen(line), 28 + strlen(" info ssh: ") + 26 + 1 + 1);
		ck_assert_mem_eq(line + 28, " info ssh: ABCDEFGHIJKLMNOPQRSTUVWXYZ", 37);
		count++;
	}
	ck_assert_int_eq(count, WRITERS * LINES);
	fclose(f);
	unlink(path);
}
END_TEST

CHECK_MAIN("log", levels, lazy, escapes, cut, cut_between_characters, keeps_errno, to_stderr,
           to_file, file_mode, descriptors, levels_of_categories, limit, limit_of_zero, threads)
