/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leveled log, one buffered write per line, from any thread.
 *
 * Messages are lower case without full stop, names quoted through LOG_NAME, objects named by id
 * (`req=17 node=42`). Never pointers, file data or secrets. A line is cut at 1,024 bytes, prefix
 * and newline included, and control characters, bidirectional overrides and bytes that are not
 * UTF-8 are escaped (`\x1b`), so a server's text cannot forge lines or drive a terminal.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdarg.h>
#include <stdbool.h>

/* The format of a name: log_info(LOG_VFS, "cannot open " LOG_NAME, name). */
#define LOG_NAME "\"%s\""

enum log_level {
	LOG_LEVEL_ERROR,   /* 0: something the user must know */
	LOG_LEVEL_INFO,    /* 1: connection events, failed operations (default) */
	LOG_LEVEL_VERBOSE, /* 2: one line per request */
	LOG_LEVEL_DEBUG,   /* 3: everything but contents */
};

enum log_category {
	LOG_MAIN,
	LOG_SSH,
	LOG_SFTP,
	LOG_VFS,
	LOG_FUSE,
	LOG_CATEGORY_COUNT,
};

/*
 * Receives each line, escaped and cut, without prefix and newline. Called under the log's lock, so
 * it must not log.
 */
typedef void log_sink_fn(void *arg, enum log_level level, const char *line);

/* Lines go to stderr until told otherwise; a sink of NULL means stderr too. */
void log_set_sink(log_sink_fn *sink, void *arg);
void log_to_stderr(void);
void log_to_syslog(const char *ident);

/* Return: 0 or a negative errno of opening `path` (appended to, 0600, O_CLOEXEC). */
int log_to_file(const char *path);

void log_set_level(enum log_level level);
void log_set_category_level(enum log_category category, enum log_level level);

/*
 * "N" for every category, then ":CATEGORY=N" for single ones; sets them if `apply`.
 * Return: 0 or -EINVAL; then nothing is set.
 */
int log_parse_levels(const char *text, bool apply);

bool log_enabled(enum log_category category, enum log_level level);

void log_write(enum log_category category, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(cat, ...) log_write((cat), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_info(cat, ...)  log_write((cat), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_verbose(cat, ...)                                                                      \
	do {                                                                                       \
		if (log_enabled((cat), LOG_LEVEL_VERBOSE))                                         \
			log_write((cat), LOG_LEVEL_VERBOSE, __VA_ARGS__);                          \
	} while (0)
#define log_debug(cat, ...)                                                                        \
	do {                                                                                       \
		if (log_enabled((cat), LOG_LEVEL_DEBUG))                                           \
			log_write((cat), LOG_LEVEL_DEBUG, __VA_ARGS__);                            \
	} while (0)

/*
 * For what a server can provoke at will: at most `burst_count` lines in a window of ten seconds,
 * then one line that says how many were left out (written by the first call after the window).
 * Starts as all zeros; belongs to one thread.
 */
struct log_limit {
	long long window_start_ms;
	unsigned line_count;
	unsigned dropped_count;
};
bool log_limit_ok(struct log_limit *limit, long long now_ms, unsigned burst_count);

#endif
