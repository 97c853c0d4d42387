/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shell's lane: requests out, replies in, in order. Owner: the loop.
 * Framing: include/scp/script.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scp/script.h"
#include "shell_parts.h"
#include "util/num.h"

#define BODY_LEN_MAX     ((size_t)256 << 20) /* of one reply: a directory of about two million names */
#define STATUS_LEN_MAX   8
#define GREETING_LEN_MAX (64u << 10) /* what a login may print before */

/* --- sending ------------------------------------------------------------------------------- */

static void send_bytes(struct scp_shell *sh, const char *bytes, size_t len)
{
	struct link_packet *p = calloc(1, sizeof(*p));
	struct data *d = data_create(NULL, len);

	if (!p || !d) {
		free(p);
		data_unref(d);
		session_break(sh, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	memcpy(d->bytes, bytes, len);
	list_init(&p->entry);
	p->lane = sh->lane;
	p->head = d;
	p->head_len = len;
	link_send(sh->link, p);
}

void shell_send(struct scp_shell *sh, struct shell_req *r)
{
	const char *text = r->lost_count && r->again ? r->again : r->text;

	if (list_empty(&sh->in_flight))
		sh->round_trip_count++;
	sh->request_count++;
	list_del(&r->entry);
	list_push_back(&sh->in_flight, &r->entry);
	log_debug(LOG_SFTP, "shell: %s", text);
	send_bytes(sh, text, strlen(text));
}

void shell_go(struct scp_shell *sh)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &sh->waiting);
	while (!list_empty(&now))
		shell_send(sh, list_entry(now.next, struct shell_req, entry));
}

static void defer(struct scp_shell *sh, struct shell_req *r)
{
	list_del(&r->entry);
	list_push_back(&sh->deferred, &r->entry);
	timer_set(sh->clock, &sh->deferred_timer, sh->clock->now_ms);
}

int shell_submit(struct scp_shell *sh, struct shell_req *r, struct buf *text, struct buf *again,
                 shell_done_fn *done)
{
	list_init(&r->entry);
	r->text = buf_take(text);
	r->again = again ? buf_take(again) : NULL;
	if (!r->text || (again && !r->again)) {
		free(r->text);
		free(r->again);
		return -ENOMEM;
	}
	r->done = done;
	r->since_ms = sh->clock->now_ms;
	if (sh->state == SHELL_OVER)
		defer(sh, r);
	else if (sh->state == SHELL_WORKING)
		shell_send(sh, r);
	else
		list_push_back(&sh->waiting, &r->entry);
	return 0;
}

/* --- answers ------------------------------------------------------------------------------- */

static void answer(struct shell_req *r, const struct shell_reply *reply)
{
	list_del(&r->entry);
	free(r->text);
	free(r->again);
	r->text = r->again = NULL;
	r->done(r, reply);
}

static void answer_lost(struct shell_req *r)
{
	const struct shell_reply reply = {.st = {.code = BE_LOST, .text = ""}, .body = ""};

	answer(r, &reply);
}

static void run_deferred(void *arg)
{
	struct scp_shell *sh = arg;
	struct list now;

	list_init(&now);
	list_splice(&now, &sh->deferred);
	while (!list_empty(&now))
		answer_lost(list_entry(now.next, struct shell_req, entry));
}

void shell_fail_all(struct scp_shell *sh)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &sh->waiting);
	list_splice(&now, &sh->deferred);
	while (!list_empty(&now))
		answer_lost(list_entry(now.next, struct shell_req, entry));
}

void shell_lose(struct scp_shell *sh)
{
	struct list lost;

	sh->lane = 0;
	sh->greeted = false;
	buf_finish(&sh->in);
	sh->in_scanned = 0;
	list_init(&lost);
	list_splice(&lost, &sh->in_flight);
	list_for_each_safe(e, tmp, &lost) {
		struct shell_req *r = list_entry(e, struct shell_req, entry);

		r->lost_count++;
		r->lost_ms = sh->clock->now_ms;
		if (r->setup)
			answer_lost(r);
	}
	/* In the order asked, before what was not said yet. */
	list_splice(&lost, &sh->waiting);
	list_splice(&sh->waiting, &lost);
}

static void swallow(struct shell_req *r, const struct shell_reply *reply)
{
	free(r);
}

void shell_abandon(struct scp_shell *sh, struct shell_req *r)
{
	bool said = false;
	struct shell_req *stub;

	list_for_each(e, &sh->in_flight)
		said = said || e == &r->entry;
	stub = said ? calloc(1, sizeof(*stub)) : NULL;
	if (stub) {
		stub->text = r->text;
		stub->done = swallow;
		stub->has_data = r->has_data;
		stub->setup = true; /* not said again */
		stub->since_ms = r->since_ms;
		list_insert(&r->entry, &stub->entry);
		r->text = NULL;
	} else if (said) {
		session_break(sh, LINK_FAIL_NETWORK, "out of memory");
	}
	list_del(&r->entry);
	free(r->text);
	free(r->again);
	r->text = r->again = NULL;
}

static enum be_code code_of_errno(int err)
{
	switch (err) {
	case 0:
		return BE_FAILURE;
	case ENOENT:
		return BE_NO_SUCH_FILE;
	case EACCES:
		return BE_PERMISSION_DENIED;
	case EOPNOTSUPP:
		return BE_UNSUPPORTED;
	default:
		return BE_ERRNO;
	}
}

/* The last line, printable, for the log. */
static void copy_text(char *to, size_t size, const char *body, size_t len)
{
	const char *line;

	while (len && body[len - 1] == '\n')
		len--;
	line = memrchr(body, '\n', len);
	line = line ? line + 1 : body;
	len -= (size_t)(line - body);
	/* Its end says what is wrong, whatever names come before. */
	if (len >= size) {
		line += len - (size - 1);
		len = size - 1;
	}
	memcpy(to, line, len);
	to[len] = '\0';
	for (unsigned char *p = (unsigned char *)to; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
}

/* Return: false when `status` is none. */
static bool set_status(struct shell_reply *reply, const char *status, char *text, size_t text_size)
{
	uint64_t n;
	bool ours = status[0] == 'e';

	if (num_parse_u64(status + ours, 10, 0, 255, &n) != 0)
		return false;
	if (n == 0) {
		reply->st = (struct be_status){.code = BE_OK, .text = ""};
		return true;
	}
	copy_text(text, text_size, reply->body, reply->len);
	if (!ours)
		n = n == 127 ? EOPNOTSUPP : (uint64_t)scp_errno_of_text(text, strlen(text));
	reply->st = (struct be_status){.code = code_of_errno((int)n), .err = (int)n, .text = text};
	return true;
}

/* --- receiving ------------------------------------------------------------------------------ */

/* How much of a reply with file data cannot be its end. SIZE_MAX: not known yet. */
static size_t data_end(const struct scp_shell *sh)
{
	const char *body = (const char *)sh->in.bytes, *end;
	struct scp_identity id;
	struct be_attr a;
	uint64_t max = 0;
	const char *r_max;

	if (sh->in.len == 0)
		return SIZE_MAX;
	if (body[0] != '+')
		return 0;
	end = memchr(body, '\n', sh->in.len);
	if (!end)
		return sh->in.len > 4096 ? 0 : SIZE_MAX;
	if (!scp_attr_parse(body + 1, (size_t)(end - body) - 1, 0, &a, &id))
		return 0;
	/* "T 'path' max;" is what we have sent */
	r_max = strrchr(list_entry(sh->in_flight.next, struct shell_req, entry)->text, ' ');
	max = strtoull(r_max, NULL, 10);
	return (size_t)(end - body) + 1 + (size_t)(a.size < max ? a.size : max);
}

/* Return: true when a whole reply was taken off sh->in. */
static bool take_reply(struct scp_shell *sh)
{
	struct shell_req *r = list_entry(sh->in_flight.next, struct shell_req, entry);
	struct shell_reply reply;
	const char *bytes = (const char *)sh->in.bytes, *end, *end2;
	char status[STATUS_LEN_MAX + 1], text[256] = "";
	size_t skip = r->has_data ? data_end(sh) : 0, used;
	struct buf rest = BUF_INIT;

	if (skip == SIZE_MAX || skip > sh->in.len)
		return false;
	skip = skip > sh->in_scanned ? skip : sh->in_scanned;
	end = memchr(bytes + skip, 0, sh->in.len - skip);
	if (!end) {
		sh->in_scanned = sh->in.len;
		return false;
	}
	sh->in_scanned = (size_t)(end - bytes);
	end2 = memchr(end + 1, 0, (size_t)(bytes + sh->in.len - end - 1));
	if (!end2 && sh->in.len - sh->in_scanned <= STATUS_LEN_MAX)
		return false;
	if (!end2 || end2 - end - 1 > STATUS_LEN_MAX)
		goto broken;
	memcpy(status, end + 1, (size_t)(end2 - end));
	reply = (struct shell_reply){.body = bytes, .len = (size_t)(end - bytes)};
	if (!set_status(&reply, status, text, sizeof(text)))
		goto broken;
	/* What follows is the next reply's, also if the callback looses the connection. */
	used = (size_t)(end2 + 1 - bytes);
	buf_add(&rest, bytes + used, sh->in.len - used);
	struct buf whole = sh->in;
	sh->in = rest;
	sh->in_scanned = 0;
	if (buf_failed(&rest))
		session_break(sh, LINK_FAIL_NETWORK, "out of memory");
	if (sh->rtt_min_ms < 0 || sh->clock->now_ms - r->since_ms < sh->rtt_min_ms)
		sh->rtt_min_ms = sh->clock->now_ms - r->since_ms;
	answer(r, &reply);
	buf_finish(&whole);
	return true;

broken:
	session_break(sh, LINK_FAIL_SFTP, "the server's shell answers what was not asked");
	return false;
}

static void take_replies(struct scp_shell *sh)
{
	while (!list_empty(&sh->in_flight) && sh->in.len && !sh->own_error.fail && take_reply(sh))
		;
	/* It would be taken for the beginning of the next reply. */
	if (list_empty(&sh->in_flight) && sh->in.len && !sh->own_error.fail)
		session_break(sh, LINK_FAIL_SFTP, "the server's shell says what was not asked");
}

/* Return: true when the greeting was found; what was before it is dropped. */
static bool take_greeting(struct scp_shell *sh)
{
	const uint8_t *at =
	    memmem(sh->in.bytes, sh->in.len, SCP_SHELL_GREETING, SCP_SHELL_GREETING_LEN);
	struct buf rest = BUF_INIT;

	if (!at) {
		if (sh->in.len > GREETING_LEN_MAX)
			session_break(sh, LINK_FAIL_SFTP,
			              "the server's shell does not answer, it may not be a POSIX "
			              "shell; give the login one");
		return false;
	}
	at += SCP_SHELL_GREETING_LEN;
	buf_add(&rest, at, sh->in.len - (size_t)(at - sh->in.bytes));
	buf_finish(&sh->in);
	sh->in = rest;
	sh->greeted = true;
	return true;
}

static void on_up(void *ctx)
{
	session_up(ctx);
}

static void on_down(void *ctx, const struct link_error *error)
{
	session_down(ctx, error);
}

static void on_lane_open(void *ctx, uint32_t lane, const struct link_error *error)
{
	struct scp_shell *sh = ctx;

	if (lane != sh->lane)
		return;
	if (error) {
		session_break(sh, error->fail, "%s", error->text);
		return;
	}
	send_bytes(sh, scp_shell_script, strlen(scp_shell_script));
	shell_send(sh, &sh->look);
}

static void on_lane_packet(void *ctx, uint32_t lane, struct data *packet, size_t len)
{
	struct scp_shell *sh = ctx;

	if (lane == sh->lane && !sh->own_error.fail) {
		sh->in.max_len = BODY_LEN_MAX;
		buf_add(&sh->in, packet->bytes, len);
		if (buf_failed(&sh->in))
			session_break(sh, LINK_FAIL_SFTP, "the server's reply is too long");
		else if (sh->greeted || take_greeting(sh))
			take_replies(sh);
	}
	data_unref(packet);
}

static void on_lane_stderr(void *ctx, uint32_t lane, const uint8_t *bytes, size_t len)
{
	struct scp_shell *sh = ctx;

	copy_text(sh->said, sizeof(sh->said), (const char *)bytes, len);
	log_info(LOG_SFTP, "the server's shell says: %s", sh->said);
}

static void on_lane_closed(void *ctx, uint32_t lane, int exit_status)
{
	struct scp_shell *sh = ctx;

	if (lane != sh->lane)
		return;
	session_break(sh, LINK_FAIL_SFTP,
	              "the server's shell ended with exit status %d%s%s; check that the login may "
	              "run commands",
	              exit_status, sh->said[0] ? ": " : "", sh->said);
}

const struct link_events shell_link_events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_closed = on_lane_closed,
};

int shell_open(struct scp_shell *sh)
{
	const struct lane_spec spec = {.lane_class = LANE_META, .command = SCP_SHELL_COMMAND};

	sh->lane = ++sh->lane_next_id;
	sh->said[0] = '\0';
	return link_open_lane(sh->link, sh->lane, &spec);
}

/* --- the backend ---------------------------------------------------------------------------- */

static const struct be_info *shell_info(struct backend *b)
{
	struct scp_shell *sh = shell_of(b);
	const struct list *oldest = !list_empty(&sh->in_flight) ? sh->in_flight.next
	                            : !list_empty(&sh->waiting) ? sh->waiting.next
	                                                        : NULL;

	sh->info.connected = sh->state == SHELL_WORKING;
	sh->info.silent_since_ms =
	    oldest ? list_entry(oldest, struct shell_req, entry)->since_ms : -1;
	return &sh->info;
}

static void shell_quiesce(struct backend *b)
{
	struct scp_shell *sh = shell_of(b);
	struct list gone;

	list_init(&gone);
	list_for_each_safe(e, tmp, &sh->in_flight) {
		struct shell_req *r = list_entry(e, struct shell_req, entry);

		if (r->setup)
			continue;
		shell_abandon(sh, r);
		list_push_back(&gone, &r->entry);
	}
	while (!list_empty(&gone))
		answer_lost(list_entry(gone.next, struct shell_req, entry));
	shell_fail_all(sh);
}

static const struct be_ops shell_ops = {
    .info = shell_info,
    .stat = shell_stat,
    .setattr = shell_setattr,
    .readlink = shell_readlink,
    .symlink = shell_symlink,
    .link = shell_link,
    .mkdir = shell_mkdir,
    .rmdir = shell_rmdir,
    .remove = shell_remove,
    .rename = shell_rename,
    .statvfs = shell_statvfs,
    .id_names = shell_id_names,
    .list = shell_list,
    .list_cancel = shell_list_cancel,
    .list_pause = shell_list_pause,
    .open = shell_file_open,
    .file_node = shell_file_node,
    .fstat = shell_fstat,
    .fsetattr = shell_fsetattr,
    .fetch = shell_fetch,
    .close = shell_close,
    .quiesce = shell_quiesce,
};

struct scp_shell *scp_shell_create(struct link *link, bool reconnect, struct clock *clock,
                                   const char *root, bool check_root, fxp_started_fn *started,
                                   void *arg)
{
	struct scp_shell *sh = calloc(1, sizeof(*sh));

	if (!sh)
		return NULL;
	sh->asked_root = strdup(root ? root : "");
	if (!sh->asked_root) {
		free(sh);
		return NULL;
	}
	sh->base.ops = &shell_ops;
	sh->info.caps = (struct be_caps){
	    .posix_rename = true, .hardlink = true, .statvfs = true, .lsetstat = true};
	sh->link = link;
	sh->clock = clock;
	sh->reconnect = reconnect;
	sh->check_root = check_root;
	sh->started = started;
	sh->arg = arg;
	sh->rtt_min_ms = -1;
	list_init(&sh->in_flight);
	list_init(&sh->waiting);
	list_init(&sh->deferred);
	list_init(&sh->look.entry);
	timer_init(&sh->deferred_timer, run_deferred, sh);
	link->events = &shell_link_events;
	link->events_ctx = sh;
	session_start(sh);
	return sh;
}

struct backend *scp_shell_backend(struct scp_shell *sh)
{
	return &sh->base;
}

void scp_shell_reconnect(struct scp_shell *sh)
{
	if (sh->connected)
		link_probe(sh->link);
	else
		session_connect(sh);
}

void scp_shell_stats(const struct scp_shell *sh, struct fxp_stats *out)
{
	list_for_each(e, &sh->in_flight)
		out->in_flight_count++;
	out->round_trip_count += sh->round_trip_count;
	out->reconnect_count += sh->reconnect_count;
	out->rtt_min_ms = sh->rtt_min_ms;
	out->lane_count += sh->lane != 0;
	out->connected = sh->state == SHELL_WORKING;
	out->needs_attention = sh->needs_attention;
}

void scp_shell_destroy(struct scp_shell *sh)
{
	if (!sh)
		return;
	session_finish(sh);
	link_destroy(sh->link);
	shell_lose(sh);
	shell_fail_all(sh);
	timer_cancel(&sh->deferred_timer);
	buf_finish(&sh->in);
	free(sh->look.text);
	free(sh->asked_root);
	free(sh->root);
	free(sh);
}
