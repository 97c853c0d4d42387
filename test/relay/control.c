/* SPDX-License-Identifier: BSD-2-Clause */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "trigger.h"

#define WORD_MAX     8
#define DELAY_MAX_MS 600000
#define RATE_MAX     1000000000000ull

bool control_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *value <= max;
}

static bool parse_switch(const char *word, bool *on)
{
	if (word == NULL || (strcmp(word, "on") != 0 && strcmp(word, "off") != 0))
		return false;
	*on = strcmp(word, "on") == 0;
	return true;
}

static bool parse_action(const char *word, size_t len, enum trigger_action *action)
{
	static const char *const names[] = {"cut", "stall", "hold"};

	for (int i = 0; i < 3; i++) {
		if (strlen(names[i]) == len && strncmp(names[i], word, len) == 0) {
			*action = (enum trigger_action)i;
			return true;
		}
	}
	return false;
}

/* ACTION-at-request|ACTION-before-request|ACTION-at-reply|ACTION-after-reply [TYPE] N [one]
 * ACTION-after-bytes up|down N [one] */
static bool arm(char *words[], int count, const char *text)
{
	const char *dash = strchr(words[0], '-');
	enum trigger_action action;
	struct trigger want = {.type = -1};
	struct trigger *t;
	int at = 1;

	if (dash == NULL || !parse_action(words[0], (size_t)(dash - words[0]), &action))
		return false;
	if (strcmp(dash, "-after-bytes") == 0) {
		want.by_bytes = true;
		if (at >= count || (strcmp(words[at], "up") != 0 && strcmp(words[at], "down") != 0))
			return false;
		want.dir = strcmp(words[at++], "up") == 0 ? UP : DOWN;
	} else if (strcmp(dash, "-at-request") == 0 || strcmp(dash, "-before-request") == 0) {
		want.dir = UP;
		want.before = strcmp(dash, "-before-request") == 0;
	} else if (strcmp(dash, "-at-reply") == 0 || strcmp(dash, "-after-reply") == 0) {
		want.dir = DOWN;
		want.before = strcmp(dash, "-at-reply") == 0;
	} else {
		return false;
	}
	if (!want.by_bytes && !config.sftp)
		return false;
	if (!want.by_bytes && at < count && (want.type = frame_type_find(words[at])) >= 0)
		at++;
	if (at >= count || !control_number(words[at++], UINT64_MAX, &want.left) || want.left == 0)
		return false;
	if (at < count && strcmp(words[at], "one") == 0) {
		want.scope = TRIGGER_ONE;
		at++;
	}
	if (at != count || (t = trigger_add()) == NULL)
		return false;
	*t = want;
	t->armed = true;
	t->action = action;
	snprintf(t->text, sizeof(t->text), "%s", text);
	return true;
}

static bool hold(char *words[], int count)
{
	bool on;

	if (count != 3 || !parse_switch(words[2], &on))
		return false;
	if (strcmp(words[1], "up") == 0)
		conn_hold_all(UP, on);
	else if (strcmp(words[1], "down") == 0)
		conn_hold_all(DOWN, on);
	else
		return false;
	return true;
}

static bool run(char *words[], int count, const char *text)
{
	const char *cmd = words[0], *arg = count == 2 ? words[1] : NULL;
	uint64_t number;
	bool on;

	if (strcmp(cmd, "delay") == 0 && control_number(arg, DELAY_MAX_MS, &number))
		config.shape.delay_us = (int64_t)number * 1000;
	else if (strcmp(cmd, "rate") == 0 && control_number(arg, RATE_MAX, &number))
		config.shape.rate = number;
	else if (strcmp(cmd, "refuse") == 0 && parse_switch(arg, &on))
		config.refuse = on;
	else if (strcmp(cmd, "stall") == 0 && parse_switch(arg, &on))
		conn_stall_all(on);
	else if (strcmp(cmd, "hold") == 0)
		return hold(words, count);
	else if (strcmp(cmd, "cut") == 0 && count == 1)
		conn_cut_all();
	else if (strcmp(cmd, "reset") == 0 && count == 1)
		stats_reset();
	else if (strcmp(cmd, "disarm") == 0 && count == 1)
		trigger_clear();
	else
		return arm(words, count, text);
	return true;
}

bool control_line(char *line)
{
	char *words[WORD_MAX], *save = NULL, text[96];
	int count = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok_r(line, " \t\r", &save); w != NULL && count < WORD_MAX;
	     w = strtok_r(NULL, " \t\r", &save))
		words[count++] = w;
	if (count == 0)
		return true;
	if (strcmp(words[0], "stats") == 0 && count == 1)
		stats_print(stdout);
	else if (strcmp(words[0], "quit") == 0 && count == 1)
		puts("ok");
	else
		puts(run(words, count, text) ? "ok" : "error");
	fflush(stdout);
	return strcmp(words[0], "quit") != 0;
}
