/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leveled log: one line, one write.
 * Room: util. Any thread; `log_lock` guards where lines go.
 */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_SIZE 1024  /* bytes with prefix and newline, see the header */
#define LOG_WINDOW_MS 10000 /* ms, see log_limit_ok() */
#define LOG_CUT       "..."

static const char *const category_names[LOG_CATEGORY_COUNT] = {
    [LOG_MAIN] = "main", [LOG_SSH] = "ssh",   [LOG_SFTP] = "sftp",
    [LOG_VFS] = "vfs",   [LOG_FUSE] = "fuse",
};

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_VERBOSE] = "verbose",
    [LOG_LEVEL_DEBUG] = "debug",
};

static const int level_priorities[] = {
    [LOG_LEVEL_ERROR] = LOG_ERR,
    [LOG_LEVEL_INFO] = LOG_INFO,
    [LOG_LEVEL_VERBOSE] = LOG_DEBUG,
    [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

enum log_target { LOG_TO_STDERR, LOG_TO_FILE, LOG_TO_SYSLOG, LOG_TO_SINK };

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static enum log_target log_target; /* guarded by log_lock */
static int log_fd = -1;            /* guarded by log_lock; the log file */
static log_sink_fn *log_sink;      /* guarded by log_lock */
static void *log_sink_arg;         /* guarded by log_lock */
static char log_ident[64];         /* guarded by log_lock; syslog keeps the pointer */
static atomic_int log_levels[LOG_CATEGORY_COUNT] = {
    LOG_LEVEL_INFO, LOG_LEVEL_INFO, LOG_LEVEL_INFO, LOG_LEVEL_INFO, LOG_LEVEL_INFO,
};

/* Leaves the present target. Call with the lock held. */
static void log_leave(void)
{
	if (log_target == LOG_TO_FILE) {
		close(log_fd);
		log_fd = -1;
	} else if (log_target == LOG_TO_SYSLOG) {
		closelog();
	}
	log_target = LOG_TO_STDERR;
}

void log_to_stderr(void)
{
	pthread_mutex_lock(&log_lock);
	log_leave();
	pthread_mutex_unlock(&log_lock);
}

void log_set_sink(log_sink_fn *sink, void *arg)
{
	pthread_mutex_lock(&log_lock);
	log_leave();
	if (sink) {
		log_sink = sink;
		log_sink_arg = arg;
		log_target = LOG_TO_SINK;
	}
	pthread_mutex_unlock(&log_lock);
}

void log_to_syslog(const char *ident)
{
	pthread_mutex_lock(&log_lock);
	log_leave();
	snprintf(log_ident, sizeof(log_ident), "%s", ident);
	openlog(log_ident, LOG_PID, LOG_DAEMON);
	log_target = LOG_TO_SYSLOG;
	pthread_mutex_unlock(&log_lock);
}

int log_to_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&log_lock);
	log_leave();
	log_fd = fd;
	log_target = LOG_TO_FILE;
	pthread_mutex_unlock(&log_lock);
	return 0;
}

void log_set_level(enum log_level level)
{
	for (int i = 0; i < LOG_CATEGORY_COUNT; i++)
		log_set_category_level((enum log_category)i, level);
}

void log_set_category_level(enum log_category category, enum log_level level)
{
	atomic_store_explicit(&log_levels[category], (int)level, memory_order_relaxed);
}

/* One digit up to the end of the word. Return: the level, -1 when it is none. */
static int log_level_of(const char *word, size_t len)
{
	return len == 1 && word[0] >= '0' && word[0] <= '0' + LOG_LEVEL_DEBUG ? word[0] - '0' : -1;
}

int log_parse_levels(const char *text, bool apply)
{
	size_t len = strcspn(text, ":");
	int level = log_level_of(text, len);

	if (level < 0 || (apply && log_parse_levels(text, false) != 0))
		return -EINVAL;
	if (apply)
		log_set_level((enum log_level)level);
	while (text[len] == ':') {
		const char *name = text + len + 1;
		size_t name_len = strcspn(name, "=:"), category = 0;

		len += 1 + strcspn(name, ":");
		if (name[name_len] != '=')
			return -EINVAL;
		while (category < LOG_CATEGORY_COUNT &&
		       (strlen(category_names[category]) != name_len ||
		        memcmp(category_names[category], name, name_len) != 0))
			category++;
		level = log_level_of(name + name_len + 1, strcspn(name, ":") - name_len - 1);
		if (category == LOG_CATEGORY_COUNT || level < 0)
			return -EINVAL;
		if (apply)
			log_set_category_level((enum log_category)category, (enum log_level)level);
	}
	return 0;
}

bool log_enabled(enum log_category category, enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_levels[category], memory_order_relaxed);
}

/* Length of the UTF-8 sequence at `s` and its character, or 0 when there is no valid one. */
static size_t log_utf8(const unsigned char *s, uint32_t *c)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len;

	if (s[0] < 0x80)
		len = 1;
	else if ((s[0] & 0xe0) == 0xc0)
		len = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		len = 3;
	else if ((s[0] & 0xf8) == 0xf0)
		len = 4;
	else
		return 0;
	*c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (s[i] & 0x3f);
	}
	if (*c < smallest[len] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
		return 0;
	return len;
}

/* Characters that move the cursor, end the line, or make text read in another order. */
static bool log_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/*
 * Appends `text` to `line` (of LOG_LINE_SIZE bytes, with room left for a newline and NUL), escaped
 * and, when it does not fit, cut between characters and marked.
 */
static size_t log_append(char *line, size_t len, const char *text)
{
	const size_t max_len = LOG_LINE_SIZE - 1; /* without the newline */
	const unsigned char *s = (const unsigned char *)text;
	size_t mark = len; /* the last place where LOG_CUT still fits */

	while (*s) {
		uint32_t c;
		size_t in = log_utf8(s, &c);
		bool escape = in == 0 || log_is_control(c);
		size_t out;

		if (in == 0)
			in = 1;
		out = escape ? 4 * in : in;
		if (len + strlen(LOG_CUT) <= max_len)
			mark = len;
		if (len + out > max_len) {
			memcpy(line + mark, LOG_CUT, strlen(LOG_CUT));
			len = mark + strlen(LOG_CUT);
			break;
		}
		for (size_t i = 0; i < in; i++) {
			if (escape)
				len += (size_t)snprintf(line + len, 5, "\\x%02x", s[i]);
			else
				line[len++] = (char)s[i];
		}
		s += in;
	}
	line[len] = '\0';
	return len;
}

static size_t log_prefix(char *line, enum log_target target, enum log_category category,
                         enum log_level level)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	switch (target) {
	case LOG_TO_STDERR:
		/* The user of a terminal reads errors; who asks for more wants to know who spoke.
		 */
		if (level <= LOG_LEVEL_INFO)
			return (size_t)sprintf(line, "sftpfs: ");
		return (size_t)sprintf(line, "sftpfs: %s: ", category_names[category]);
	case LOG_TO_FILE:
		clock_gettime(CLOCK_REALTIME, &now);
		localtime_r(&now.tv_sec, &tm);
		len = strftime(line, 64, "%Y-%m-%dT%H:%M:%S", &tm);
		len += (size_t)sprintf(line + len, ".%03d", (int)(now.tv_nsec / 1000000));
		len += strftime(line + len, 16, "%z", &tm);
		len += (size_t)sprintf(line + len, " %s %s: ", level_names[level],
		                       category_names[category]);
		return len;
	case LOG_TO_SYSLOG:
		return (size_t)sprintf(line, "%s: ", category_names[category]);
	case LOG_TO_SINK:
		break;
	}
	return 0;
}

void log_write(enum log_category category, enum log_level level, const char *fmt, ...)
{
	/* A few bytes more than a line: what is cut here would not fit there either. */
	char text[LOG_LINE_SIZE + 8], line[LOG_LINE_SIZE + 1];
	int saved_errno = errno;
	va_list ap;
	size_t len;
	ssize_t n;

	if (!log_enabled(category, level))
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);

	pthread_mutex_lock(&log_lock);
	len = log_prefix(line, log_target, category, level);
	len = log_append(line, len, text);
	switch (log_target) {
	case LOG_TO_SINK:
		log_sink(log_sink_arg, level, line);
		break;
	case LOG_TO_SYSLOG:
		syslog(level_priorities[level], "%s", line);
		break;
	case LOG_TO_STDERR:
	case LOG_TO_FILE:
		line[len++] = '\n';
		/* A log that cannot be written has nobody to tell. */
		n = write(log_target == LOG_TO_FILE ? log_fd : STDERR_FILENO, line, len);
		(void)n;
		break;
	}
	pthread_mutex_unlock(&log_lock);
	errno = saved_errno;
}

bool log_limit_ok(struct log_limit *limit, long long now_ms, unsigned burst_count)
{
	if (limit->line_count + limit->dropped_count == 0 ||
	    now_ms - limit->window_start_ms >= LOG_WINDOW_MS) {
		if (limit->dropped_count)
			log_info(LOG_MAIN, "%u similar lines left out", limit->dropped_count);
		limit->window_start_ms = now_ms;
		limit->line_count = 0;
		limit->dropped_count = 0;
	}
	if (limit->line_count >= burst_count) {
		if (limit->dropped_count < UINT32_MAX)
			limit->dropped_count++;
		return false;
	}
	limit->line_count++;
	return true;
}
