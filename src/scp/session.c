/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of the shell backend's connection: the first start with its look at the root, and after
 * a loss the attempts to connect again, as sftp/session.c does it for SFTP. Owner: the loop.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shell_parts.h"
#include "util/hash.h"

#define BACKOFF_MIN_MS  200 /* wait before the second attempt after a loss; the first is at once */
#define BACKOFF_MAX_MS  30000 /* and at most between attempts */
#define BACKOFF_CALM_MS 10000 /* a connection that lived this long had worked */

void session_break(struct scp_shell *sh, enum link_fail fail, const char *fmt, ...)
{
	va_list ap;

	if (sh->own_error.fail)
		return;
	sh->own_error.fail = fail;
	va_start(ap, fmt);
	vsnprintf(sh->own_error.text, sizeof(sh->own_error.text), fmt, ap);
	va_end(ap);
	log_info(LOG_SFTP, "%s", sh->own_error.text);
	link_reset(sh->link);
}

static void give_up(struct scp_shell *sh)
{
	sh->state = SHELL_OVER;
	timer_cancel(&sh->retry);
	shell_fail_all(sh);
}

static void report(struct scp_shell *sh, const struct link_error *error)
{
	fxp_started_fn *started = sh->started;

	sh->started = NULL;
	if (started)
		started(sh->arg, error, error ? NULL : sh->root, error ? NULL : &sh->root_attr);
}

bool shell_attr(const struct scp_shell *sh, const struct shell_reply *reply, struct be_attr *a,
                struct scp_identity *id)
{
	const char *body = reply->body, *line;
	size_t len = reply->len;
	struct scp_identity unused;

	while (len && body[len - 1] == '\n')
		len--;
	line = memrchr(body, '\n', len);
	line = line ? line + 1 : body;
	return scp_attr_parse(line, len - (size_t)(line - body), sh->clock->wall_ms / 1000, a,
	                      id ? id : &unused) != 0;
}

static void work(struct scp_shell *sh)
{
	sh->state = SHELL_WORKING;
	sh->needs_attention = false;
	sh->up_ms = sh->clock->now_ms;
	shell_go(sh);
}

static void refuse_root(struct scp_shell *sh, const char *why)
{
	session_break(sh, LINK_FAIL_SFTP, "remote directory \"%s\": %s", sh->asked_root, why);
}

/* The first look: the root's path, a newline, its attributes. */
static void first_seen(struct scp_shell *sh, const struct shell_reply *reply)
{
	const char *body = reply->body;
	size_t len = reply->len;
	const char *end;

	if (reply->st.code == BE_LOST)
		return; /* session_down() reports */
	if (reply->st.code == BE_NO_SUCH_FILE) {
		refuse_root(sh, "no such file or directory; check what stands behind the colon");
		return;
	}
	if (reply->st.code != BE_OK) {
		refuse_root(sh, reply->st.code == BE_PERMISSION_DENIED
		                    ? "permission denied; choose another directory or login"
		                : reply->st.err == ENOTDIR
		                    ? "not a directory; choose the one that it is in"
		                : reply->st.text[0] ? reply->st.text
		                                    : "failure");
		return;
	}
	while (len && body[len - 1] == '\n')
		len--;
	end = memrchr(body, '\n', len);
	if (!end || body[0] != '/' || !shell_attr(sh, reply, &sh->root_attr, &sh->root_id)) {
		refuse_root(
		    sh,
		    "the server's shell tells no absolute path and attributes; check that the login "
		    "has a POSIX shell with stat or ls");
		return;
	}
	sh->root = strndup(body, (size_t)(end - body));
	if (!sh->root) {
		session_break(sh, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	work(sh);
	report(sh, NULL);
}

/* rsync --delete must not see an empty tree because a disk is not mounted there. */
static bool same_root(const struct scp_shell *sh, const struct shell_reply *reply)
{
	const struct be_attr *old = &sh->root_attr;
	struct scp_identity id;
	struct be_attr a;

	if (!sh->check_root)
		return true;
	if (reply->st.code != BE_OK || !shell_attr(sh, reply, &a, &id) || !S_ISDIR(a.mode))
		return false;
	return (a.uid == old->uid && a.gid == old->gid && a.mode == old->mode) ||
	       (id.dev && id.dev == sh->root_id.dev);
}

static void looked(struct shell_req *r, const struct shell_reply *reply)
{
	struct scp_shell *sh = list_entry(r, struct scp_shell, look);

	if (sh->own_error.fail)
		return;
	if (sh->state == SHELL_STARTING) {
		first_seen(sh, reply);
	} else if (reply->st.code == BE_LOST) {
		return;
	} else if (!same_root(sh, reply)) {
		sh->needs_attention = true;
		sh->backoff_ms = BACKOFF_MAX_MS;
		session_break(sh, LINK_FAIL_SFTP,
		              "\"%s\" on the server is not the directory that was mounted",
		              sh->root);
	} else {
		log_info(LOG_SFTP, "connected again, continuing");
		sh->reconnect_count++;
		work(sh);
	}
}

/* "~" and "~/dir" are the login directory, as are "" and what is not absolute. */
static void add_root(struct buf *b, const char *asked)
{
	if (asked[0] == '~' && (asked[1] == '/' || !asked[1]))
		asked += asked[1] ? 2 : 1;
	if (asked[0] != '/')
		buf_add_str(b, "./");
	scp_quote(b, asked);
}

static void add_first_look(struct buf *b, const struct scp_shell *sh)
{
	buf_add_str(b, "( d=");
	add_root(b, sh->asked_root);
	buf_add_str(b, "; [ -e \"$d\" ] || { R e2; exit; }; [ -d \"$d\" ] || { R e20; exit; };"
	               " cd \"$d\" || { R e13; exit; }; pwd -P; S . && R 0 || R 5 )\n");
}

/* The request that follows the script on a new lane. */
static int prepare_look(struct scp_shell *sh)
{
	struct buf b = BUF_INIT;

	if (!sh->root) {
		add_first_look(&b, sh);
	} else {
		buf_add_str(&b, "L ");
		scp_quote(&b, sh->root);
		buf_add_str(&b, " 2>&1; R $?\n");
	}
	free(sh->look.text);
	sh->look = (struct shell_req){.text = buf_take(&b), .done = looked, .setup = true};
	sh->look.since_ms = sh->clock->now_ms;
	list_init(&sh->look.entry);
	return sh->look.text ? 0 : -ENOMEM;
}

void session_up(struct scp_shell *sh)
{
	int err = prepare_look(sh);

	sh->connected = true;
	sh->own_error.fail = LINK_FAIL_NONE;
	sh->tag = hash_u64((uint64_t)sh->clock->wall_ms ^ hash_seed());
	if (err == 0)
		err = shell_open(sh);
	if (err)
		session_break(sh, LINK_FAIL_NETWORK, "cannot open a channel: %s", strerror(-err));
}

static void plan_retry(struct scp_shell *sh)
{
	int64_t wait_ms;

	if (sh->up_ms && sh->clock->now_ms - sh->up_ms > BACKOFF_CALM_MS)
		sh->backoff_ms = 0;
	sh->up_ms = 0;
	/* Up to a quarter more, so that many mounts do not knock at the same moment. */
	wait_ms = sh->backoff_ms;
	wait_ms += (int64_t)(hash_u64((uint64_t)sh->clock->wall_ms) % (uint64_t)(wait_ms / 4 + 1));
	timer_set(sh->clock, &sh->retry, sh->clock->now_ms + wait_ms);
	sh->backoff_ms = sh->backoff_ms ? sh->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (sh->backoff_ms > BACKOFF_MAX_MS)
		sh->backoff_ms = BACKOFF_MAX_MS;
}

void session_down(struct scp_shell *sh, const struct link_error *error)
{
	struct link_error why = sh->own_error.fail ? sh->own_error : *error;

	sh->connected = false;
	sh->own_error.fail = LINK_FAIL_NONE;
	if (sh->state == SHELL_WORKING)
		sh->state = SHELL_LOST;
	shell_lose(sh);
	if (sh->state == SHELL_OVER)
		return;
	if (sh->state == SHELL_STARTING) {
		give_up(sh);
		report(sh, &why);
		return;
	}
	log_error(LOG_SFTP, "connection lost: %s", why.text);
	if (!sh->reconnect) {
		give_up(sh);
	} else if (why.fail == LINK_FAIL_AUTH || why.fail == LINK_FAIL_HOSTKEY) {
		sh->needs_attention = true;
		log_error(LOG_SFTP, "not trying again by itself: needs attention");
	} else {
		plan_retry(sh);
	}
}

void session_connect(struct scp_shell *sh)
{
	int err;

	if (sh->state == SHELL_OVER || sh->connected)
		return;
	timer_cancel(&sh->retry);
	err = link_connect(sh->link);
	if (err && err != -EALREADY) {
		struct link_error error = {.fail = LINK_FAIL_NETWORK};

		snprintf(error.text, sizeof(error.text), "%s", strerror(-err));
		session_down(sh, &error);
	}
}

static void retry_timer(void *arg)
{
	struct scp_shell *sh = arg;

	log_info(LOG_SFTP, "connecting again");
	session_connect(sh);
}

void session_start(struct scp_shell *sh)
{
	timer_init(&sh->retry, retry_timer, sh);
	/* `started` must not run from inside the creation: a failure shows at the second try. */
	if (link_connect(sh->link) != 0)
		timer_set(sh->clock, &sh->retry, sh->clock->now_ms);
}

void session_finish(struct scp_shell *sh)
{
	give_up(sh);
	sh->base.ops->quiesce(&sh->base);
}
