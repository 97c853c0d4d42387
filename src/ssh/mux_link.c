/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ssh processes that share a master. See include/ssh/mux_link.h.
 * Room: ssh. Thread: the caller's; create functions of others are called from the loop.
 */
#include "ssh/mux_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ssh/child.h"
#include "ssh/conn.h"
#include "ssh/pipe_link.h"
#include "ssh/pool_link.h"
#include "ssh_strings.h"
#include "util/buf.h"
#include "util/log.h"

/* `Match exec` may run anything, but not for ever. */
#define ASK_TIMEOUT_MS 30000
#define ANSWER_MAX_LEN (1 << 20)

/* Servers allow ten sessions by default; two are left for the user's other tools. */
#define LANE_MAX 8

struct mux {
	struct ssh_strings more; /* the command line of a further process */
	char dir[32];            /* ours; "": the user has a ControlPath */
	char path[48];           /* of the socket in it */
};

/* `argv` with `extra` put in. Return: 0 or -ENOMEM. */
static int insert(struct ssh_strings *out, char *const argv[], size_t at, const char *const extra[])
{
	int rc = 0;

	for (size_t i = 0; !rc && i < at; i++)
		rc = strings_add(out, argv[i]);
	for (size_t i = 0; !rc && extra[i]; i++)
		rc = strings_add(out, extra[i]);
	for (size_t i = at; !rc && argv[i]; i++)
		rc = strings_add(out, argv[i]);
	return rc;
}

/* --- what ssh says ------------------------------------------------------------------------- */

static void read_answer(struct child *ch, struct buf *answer)
{
	int64_t deadline_ms = conn_now_ms() + ASK_TIMEOUT_MS;
	char bytes[4096];

	for (;;) {
		struct pollfd pfd = {.fd = ch->fd, .events = POLLIN};
		int64_t left_ms = deadline_ms - conn_now_ms();
		ssize_t n;

		if (left_ms <= 0 || (poll(&pfd, 1, (int)left_ms) < 0 && errno != EINTR))
			return;
		n = read(ch->fd, bytes, sizeof(bytes));
		if (n > 0)
			buf_add(answer, bytes, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return;
	}
}

/* Return: 0 with `*own` saying whether there is a ControlPath; negative: it is no OpenSSH. */
static int ask_control_path(char *const argv[], size_t at, bool *own)
{
	static const char *const dash_g[] = {"-G", NULL};
	struct buf answer = {.max_len = ANSWER_MAX_LEN};
	struct ssh_strings question = {0};
	struct child ch = CHILD_INIT;
	const char *text;
	int rc = insert(&question, argv, at, dash_g);

	if (!rc)
		rc = child_spawn(&ch, question.at, CHILD_STDERR_NULL | CHILD_GROUP);
	if (!rc) {
		read_answer(&ch, &answer);
		buf_add(&answer, "", 1);
		text = (const char *)answer.bytes;
		if (buf_failed(&answer) || !strstr(text, "\nhostname "))
			rc = -ENOTSUP;
		else
			*own =
			    strstr(text, "\ncontrolpath ") && !strstr(text, "\ncontrolpath none");
	}
	child_end(&ch, false);
	buf_finish(&answer);
	strings_finish(&question);
	return rc;
}

/* --- the processes ------------------------------------------------------------------------- */

static struct link *more(void *arg, struct link *first)
{
	struct mux *mux = arg;

	return pipe_link_create_command(mux->more.at);
}

static void finish(void *arg)
{
	struct mux *mux = arg;

	if (mux->dir[0]) {
		/* ssh removes its socket when it ends by itself only. */
		unlink(mux->path);
		if (rmdir(mux->dir))
			log_info(LOG_SSH, "cannot remove '%s': %s", mux->dir, strerror(errno));
	}
	strings_finish(&mux->more);
	free(mux);
}

/* Return: 0 or a negative errno. */
static int build(struct mux *mux, bool own, char *const argv[], size_t at,
                 struct ssh_strings *first)
{
	char control_path[80] = "-oControlPath=none";
	/* Without the master there is no other way: it must not log in by itself. */
	const char *const through[] = {"-oControlMaster=no", "-oProxyCommand=false",
	                               "-oBatchMode=yes", own ? NULL : control_path, NULL};
	/* "auto" and not "yes": it clears away the socket of a master that was killed. */
	const char *const master[] = {"-oControlMaster=auto", "-oControlPersist=no", control_path,
	                              NULL};
	int rc;

	if (!own) {
		/* Short: the address of a socket has 107 bytes, of which ssh wants 17. */
		strcpy(mux->dir, "/tmp/sftpfs-XXXXXX");
		if (!mkdtemp(mux->dir)) {
			rc = -errno;
			mux->dir[0] = '\0';
			return rc;
		}
		snprintf(mux->path, sizeof(mux->path), "%s/m", mux->dir);
		snprintf(control_path, sizeof(control_path), "-oControlPath=%s", mux->path);
	}
	rc = insert(&mux->more, argv, at, through);
	return rc ? rc : insert(first, argv, at, own ? master + 3 : master);
}

struct link *mux_link_create(char *const argv[], size_t options_at)
{
	const char *slash = strrchr(argv[0], '/');
	struct ssh_strings first_argv = {0};
	struct pool_source source = {.more = more, .finish = finish};
	struct link *link = NULL, *first;
	struct mux *mux = NULL;
	bool own = false;
	int rc;

	if (strcmp(slash ? slash + 1 : argv[0], "ssh") != 0 ||
	    ask_control_path(argv, options_at, &own))
		return pipe_link_create_command(argv);
	mux = calloc(1, sizeof(*mux));
	if (!mux)
		goto done;
	rc = build(mux, own, argv, options_at, &first_argv);
	if (rc) {
		log_info(LOG_SSH, "no place for the socket of a master (%s): one lane",
		         strerror(-rc));
		link = pipe_link_create_command(argv);
		goto done;
	}
	first = pipe_link_create_command(first_argv.at);
	if (!first)
		goto done;
	source.arg = mux;
	link = pool_link_create(first, LANE_MAX, &source);
	mux = NULL;

done:
	strings_finish(&first_argv);
	if (mux)
		finish(mux);
	return link;
}
