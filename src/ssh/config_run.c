/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asks OpenSSH what its configuration says.
 * Room: ssh. Thread: the caller's, before any other. Blocks: until ssh has answered; a
 * `Match exec` of the user's is part of that.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config_parts.h"
#include "ssh/child.h"
#include "ssh/conn.h"
#include "util/buf.h"

/* `Match exec` may run anything, but not for ever. */
#define RUN_TIMEOUT_MS 30000
#define OUTPUT_MAX_LEN (1 << 20)

void config_lines_finish(struct config_lines *lines)
{
	strings_finish(&lines->keys);
	strings_finish(&lines->values);
}

static int add_option(struct ssh_strings *argv, const char *option, const char *value)
{
	int rc = strings_add(argv, option);

	return rc ? rc : strings_add(argv, value);
}

static int build_argv(const struct ssh_request *req, bool defaults, struct ssh_strings *argv)
{
	char port[16];
	int rc = strings_add(argv, "ssh");

	if (!rc)
		rc = strings_add(argv, "-G");
	if (!rc && defaults)
		rc = add_option(argv, "-F", "none");
	else if (!rc && req->config_file)
		rc = add_option(argv, "-F", req->config_file);
	if (!rc && !defaults) {
		snprintf(port, sizeof(port), "%u", req->port);
		if (req->port)
			rc = add_option(argv, "-p", port);
		if (!rc && req->user)
			rc = add_option(argv, "-l", req->user);
		for (size_t i = 0; !rc && req->keywords && req->keywords[i]; i++)
			rc = add_option(argv, "-o", req->keywords[i]);
	}
	return rc ? rc : add_option(argv, "--", defaults ? "localhost" : req->host);
}

/* ssh's last line often only counts the errors; the first one names them. */
static void explain(const struct child *ch, struct link_error *err)
{
	const char *end = memchr(ch->tail, '\n', ch->tail_len);
	size_t len = end ? (size_t)(end - ch->tail) : ch->tail_len;
	char line[400];

	snprintf(line, sizeof(line), "%.*s", (int)len, ch->tail);
	if (strncmp(line, "Pseudo-terminal", 15) == 0)
		child_last_line(ch, line, sizeof(line));
	for (size_t n = strlen(line); n > 0 && (unsigned char)line[n - 1] <= ' ';)
		line[--n] = '\0'; /* ssh ends its lines with "\r\n" */
	conn_error(err, LINK_FAIL_NONE, "ssh configuration: %s; correct it (see ssh_config(5))",
	           line[0] ? line : "'ssh -G' failed without a word");
}

static int parse(struct buf *out, struct config_lines *lines)
{
	char *text = buf_take(out), *save = NULL;
	int rc = 0;

	if (!text)
		return -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line && !rc;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		for (char *p = line; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		value[strcspn(value, "\r")] = '\0';
		rc = strings_add(&lines->keys, line);
		if (!rc)
			rc = strings_add(&lines->values, value);
	}
	free(text);
	return rc;
}

int config_run(const struct ssh_request *req, bool defaults, struct config_lines *lines,
               struct link_error *err)
{
	struct ssh_strings argv = {0};
	struct child ch = CHILD_INIT;
	struct buf out = {.max_len = OUTPUT_MAX_LEN};
	int rc = build_argv(req, defaults, &argv);
	int status;

	if (!rc)
		rc = child_spawn(&ch, argv.at, CHILD_STDERR);
	if (rc)
		goto finish;
	rc = child_collect(&ch, &out, RUN_TIMEOUT_MS);
	if (rc) {
		conn_error(err, LINK_FAIL_NONE, "reading the ssh configuration: %s", strerror(-rc));
		rc = -EINVAL;
		goto finish;
	}
	status = child_wait(&ch, RUN_TIMEOUT_MS);
	if (status == -ECHILD)
		status = out.len > 0 ? 0 : 1 << 8; /* SIGCHLD is ignored: judge by the output */
	if (status != 0) {
		explain(&ch, err);
		rc = -EINVAL;
		goto finish;
	}
	rc = parse(&out, lines);

finish:
	child_end(&ch, false);
	buf_finish(&out);
	strings_finish(&argv);
	return rc;
}
