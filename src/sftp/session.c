/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of the connection: the first start with its look at the root, and after a loss the
 * attempts to connect again, the comparison of the root, and the way back to work.
 * Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/burst.h"
#include "sftp/engine.h"
#include "sftp/stripe.h"

#define BACKOFF_MIN_MS  200 /* wait before the second attempt after a loss; the first is at once */
#define BACKOFF_MAX_MS  30000 /* and at most between attempts */
#define ATTEMPT_OLD_MS  3000  /* an attempt that takes longer may be given up for a better one */
#define BACKOFF_CALM_MS 10000 /* a connection that lived this long had worked, even if idle */

enum session_state {
	SESSION_STARTING,
	SESSION_WORKING,
	SESSION_LOST,
	SESSION_OVER,
};

struct fxp_session {
	enum session_state state;
	char *asked_root; /* as given; "" is the login directory */
	char *root;       /* absolute; NULL until known */
	bool check_root;
	bool delayed; /* delay_connect: asked_root is the root, whatever it is on the server */
	struct be_attr home_attr;
	fxp_started_fn *started;
	void *arg;

	struct be_attr root_attr;
	uint64_t root_fsid;
	bool root_fsid_known;

	unsigned pending; /* looks at the root */
	bool look_later;  /* when its path is known */
	struct fxp_status status;
	struct be_attr attr;
	uint64_t fsid;
	bool fsid_known;

	bool waiting_lanes; /* reconnect: for the first bulk lane */
	bool needs_attention;
	int64_t up_ms;
	int64_t backoff_ms; /* before the next attempt; 0: at once */
	uint64_t attempt;
	int64_t attempt_ms; /* began */
	struct timer retry;
	struct timer probe;
	unsigned probe_count; /* probes in a row without an answer */
	bool probing;
};

static void look_at_root(struct fxp_backend *fb, const char *path);

static bool gave_up(const struct fxp_backend *fb)
{
	return fb->session->state == SESSION_OVER;
}

static void give_up(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	s->state = SESSION_OVER;
	timer_cancel(&s->retry);
	timer_cancel(&s->probe);
	fxp_client_stop(&fb->client);
	fxp_backend_fail_all(fb);
}

static void report(struct fxp_backend *fb, const struct link_error *error)
{
	struct fxp_session *s = fb->session;
	fxp_started_fn *started = s->started;

	s->started = NULL;
	if (started)
		started(s->arg, error, error ? NULL : s->root, error ? NULL : &s->root_attr);
}

/* Links without liveness of their own: a request on an idle lane, so that it waits for nothing. */
static void probe_answered(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;

	(void)answer;
	fb->session->probing = false;
	fb->session->probe_count = 0;
}

static void probe_timer(void *arg)
{
	struct fxp_backend *fb = arg;
	struct fxp_session *s = fb->session;
	struct fxp_client *c = &fb->client;
	int64_t interval_ms = c->cfg.probe_interval_ms;
	int64_t due_ms = c->last_packet_ms + interval_ms;
	struct fxr_args args = {.path = "."};

	if (c->state == FXP_CLIENT_UP && c->clock->now_ms >= due_ms) {
		if (s->probing && ++s->probe_count >= c->cfg.probe_count_max) {
			fxp_client_break(c, LINK_FAIL_NETWORK, "the server does not answer");
			return;
		}
		if (!s->probing && c->meta && c->meta->in_flight_count == 0)
			s->probing = fxp_client_submit_setup(c, FXR_REALPATH, &args, probe_answered,
			                                     fb) != NULL;
		due_ms = c->clock->now_ms + interval_ms;
	}
	timer_set(c->clock, &s->probe, due_ms);
}

static void start_probing(struct fxp_backend *fb)
{
	struct fxp_client *c = &fb->client;

	fb->session->probing = false;
	fb->session->probe_count = 0;
	if (!c->facts.probes && c->cfg.probe_interval_ms > 0)
		timer_set(c->clock, &fb->session->probe,
		          c->clock->now_ms + c->cfg.probe_interval_ms);
}

static void work(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	s->state = SESSION_WORKING;
	s->needs_attention = false;
	s->up_ms = fb->clock->now_ms;
	fxp_client_go(&fb->client);
	start_probing(fb);
	fxp_backend_refresh(fb);
	fxp_io_pump(fb);
}

static bool is_dir(const struct be_attr *attr)
{
	return !(attr->valid & BE_ATTR_MODE) || S_ISDIR(attr->mode);
}

static const char *why(const struct fxp_status *st)
{
	switch (st->st.code) {
	case BE_NO_SUCH_FILE:
		return "no such file or directory; check what stands behind the colon";
	case BE_PERMISSION_DENIED:
		return "permission denied; choose another directory or login";
	default:
		return st->text[0] ? st->text : "failure";
	}
}

static void first_seen(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	if (s->status.st.code != BE_OK) {
		fxp_client_break(&fb->client, LINK_FAIL_SFTP, "remote directory \"%s\": %s",
		                 s->asked_root, why(&s->status));
		return;
	}
	if (!is_dir(&s->attr)) {
		fxp_client_break(
		    &fb->client, LINK_FAIL_SFTP,
		    "remote directory \"%s\": not a directory; choose the one that it is in",
		    s->asked_root);
		return;
	}
	s->root_attr = s->attr;
	s->root_fsid = s->fsid;
	s->root_fsid_known = s->fsid_known;
	report(fb, NULL);
	work(fb);
}

static bool same_root(const struct fxp_session *s)
{
	const struct be_attr *a = &s->root_attr, *b = &s->attr;

	if (!s->check_root)
		return true;
	if (s->status.st.code != BE_OK || !is_dir(b))
		return false;
	if (a->uid == b->uid && a->gid == b->gid && a->mode == b->mode)
		return true;
	return s->root_fsid_known && s->fsid_known && s->root_fsid == s->fsid;
}

static void again_seen(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;
	struct fxp_client *c = &fb->client;

	if (!same_root(s)) {
		s->needs_attention = true;
		s->backoff_ms = BACKOFF_MAX_MS;
		fxp_client_break(c, LINK_FAIL_SFTP,
		                 "\"%s\" on the server is not the directory that was mounted",
		                 s->root);
		return;
	}
	/* Files are opened again where they will be used: once a bulk lane is up, or refused. */
	s->waiting_lanes = c->lane_count > 1 && fxp_client_lane_count(c, LANE_BULK) == 0;
	if (!s->waiting_lanes)
		fxp_recover_start(fb);
}

static void root_answered(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	if (--s->pending || fb->client.broken)
		return;
	if (!s->root) {
		fxp_client_break(
		    &fb->client, LINK_FAIL_SFTP,
		    "remote directory \"%s\": the server tells no absolute path; name one that "
		    "begins with a slash",
		    s->asked_root);
		return;
	}
	if (s->state == SESSION_STARTING)
		first_seen(fb);
	else
		again_seen(fb);
}

static void path_answered(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;
	struct fxp_session *s = fb->session;

	if (answer->lost)
		return;
	if (answer->status.st.code != BE_OK) {
		fxp_status_copy(&s->status, &answer->status.st);
		if (!s->root)
			s->root = strdup("/"); /* not used: the status ends it */
	} else if (answer->path.len && answer->path.bytes[0] == '/') {
		free(s->root);
		s->root = strndup(answer->path.bytes, answer->path.len);
		if (s->look_later && s->root)
			look_at_root(fb, s->root);
	}
	root_answered(fb);
}

static void attr_answered(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;
	struct fxp_session *s = fb->session;

	if (answer->lost)
		return;
	if (s->status.st.code == BE_OK)
		fxp_status_copy(&s->status, &answer->status.st);
	s->attr = answer->attr;
	root_answered(fb);
}

static void fsid_answered(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;
	struct fxp_session *s = fb->session;

	if (answer->lost)
		return;
	s->fsid_known = answer->status.st.code == BE_OK;
	s->fsid = answer->statvfs.fsid;
	root_answered(fb);
}

static void home_answered(void *arg, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = arg;

	if (answer->lost)
		return;
	if (answer->status.st.code == BE_OK)
		fb->session->home_attr = answer->attr;
	root_answered(fb);
}

/* One more answer to wait for. */
static void ask(struct fxp_backend *fb, enum fxr_kind kind, const char *path, fxr_done_fn *done)
{
	struct fxr_args args = {.path = path};

	if (fxp_client_submit_setup(&fb->client, kind, &args, done, fb))
		fb->session->pending++;
	else
		fxp_client_break(&fb->client, LINK_FAIL_NETWORK, "out of memory");
}

static void look_at_root(struct fxp_backend *fb, const char *path)
{
	ask(fb, FXR_STAT, path, attr_answered);
	if (fxp_ext_has(fb->client.exts, EXT_STATVFS))
		ask(fb, FXR_STATVFS, path, fsid_answered);
}

static void on_greeted(void *ctx)
{
	struct fxp_backend *fb = ctx;
	struct fxp_session *s = fb->session;
	const char *asked = s->asked_root[0] ? s->asked_root : ".";

	fxp_burst_prove(&fb->client, s->root ? s->root : asked[0] == '/' ? asked : ".");
	s->pending = 1; /* held until everything is asked */
	s->fsid_known = false;
	s->attr = (struct be_attr){.valid = BE_ATTR_MODE, .mode = S_IFDIR | 0755};
	fxp_status_set(&s->status, BE_OK, 0, "");
	if (s->state != SESSION_STARTING) {
		if (s->check_root)
			look_at_root(fb, s->root);
	} else if (s->delayed) {
		if (s->check_root)
			look_at_root(fb, s->root);
		ask(fb, FXR_STAT, ".", home_answered);
	} else if (asked[0] == '~' && fxp_ext_has(fb->client.exts, EXT_EXPAND_PATH)) {
		s->look_later = s->check_root;
		ask(fb, FXR_EXPAND_PATH, asked, path_answered);
	} else if (!s->check_root && asked[0] == '/') {
		s->root = strdup(asked);
	} else {
		ask(fb, FXR_REALPATH, asked, path_answered);
		if (s->check_root)
			look_at_root(fb, asked);
	}
	root_answered(fb);
}

static void on_lane_up(void *ctx, struct fxp_lane *lane)
{
	struct fxp_backend *fb = ctx;
	struct fxp_session *s = fb->session;

	list_for_each_safe(e, next, &fb->files)
		fxp_stripes_consider(list_entry(e, struct be_file, entry));
	if (!s->waiting_lanes || (lane && lane->state != FXP_LANE_UP))
		return;
	s->waiting_lanes = false;
	fxp_recover_start(fb);
}

void fxp_session_recovered(struct fxp_backend *fb)
{
	log_info(LOG_SFTP, "connected again, continuing");
	fb->client.stats.reconnect_count++;
	work(fb);
}

static void connect_failed(struct fxp_backend *fb, int err)
{
	struct link_error error = {.fail = LINK_FAIL_NETWORK};

	if (err == -EALREADY)
		return;
	strncpy(error.text, strerror(-err), sizeof(error.text) - 1);
	fxp_session_events.down(fb, &error);
}

void fxp_session_connect(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;
	int err;

	if (gave_up(fb) || fb->client.state != FXP_CLIENT_DOWN)
		return;
	timer_cancel(&s->retry);
	s->attempt_ms = fb->clock->now_ms;
	log_info(LOG_SFTP, "connecting again, attempt %llu", (unsigned long long)++s->attempt);
	err = fxp_client_connect(&fb->client);
	if (err)
		connect_failed(fb, err);
}

/* delay_connect: the first use, or the next one after a failure. */
static void on_needed(void *ctx)
{
	struct fxp_backend *fb = ctx;

	if (fb->session->state == SESSION_STARTING)
		timer_set(fb->clock, &fb->session->retry, fb->clock->now_ms);
}

void fxp_session_hurry(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	if (s->state != SESSION_LOST || s->needs_attention)
		return;
	s->backoff_ms = 0;
	if (fb->client.state == FXP_CLIENT_CONNECTING &&
	    fb->clock->now_ms - s->attempt_ms > ATTEMPT_OLD_MS)
		link_reset(fb->link);
	else
		fxp_session_connect(fb);
}

static void retry_timer(void *arg)
{
	struct fxp_backend *fb = arg;
	int err;

	if (fb->session->needs_attention && fb->session->state == SESSION_STARTING) {
		fxp_backend_fail_all(fb);
		return;
	}
	if (fb->session->state != SESSION_STARTING) {
		fxp_session_connect(fb);
		return;
	}
	err = fxp_client_connect(&fb->client);
	if (err)
		connect_failed(fb, err);
}

/* Up to a quarter more, so that many mounts do not knock at the same moment. */
static int64_t jitter(struct fxp_backend *fb, int64_t ms)
{
	uint64_t r = hash_u64((uint64_t)fb->clock->wall_ms * 31 + fb->session->attempt);

	return ms + (int64_t)(r % (uint64_t)(ms / 4 + 1));
}

static void plan_retry(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;
	bool calm = s->up_ms && fb->clock->now_ms - s->up_ms > BACKOFF_CALM_MS;

	/* One that breaks as soon as it stands has not worked: it is not tried without a pause. */
	if (calm || fb->client.answered)
		s->backoff_ms = 0;
	s->up_ms = 0;
	fb->client.answered = false;
	timer_set(fb->clock, &s->retry, fb->clock->now_ms + jitter(fb, s->backoff_ms));
	s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct fxp_backend *fb = ctx;
	struct fxp_session *s = fb->session;

	timer_cancel(&s->probe);
	s->waiting_lanes = false;
	if (gave_up(fb))
		return;
	if (s->state == SESSION_STARTING && s->delayed) {
		s->needs_attention =
		    error->fail == LINK_FAIL_AUTH || error->fail == LINK_FAIL_HOSTKEY;
		log_error(LOG_SFTP, "cannot connect: %s", error->text);
		fxp_backend_fail_all(fb);
		fxp_backend_refresh(fb);
		return;
	}
	if (s->state == SESSION_STARTING) {
		give_up(fb);
		report(fb, error);
		return;
	}
	fxp_recover_stop(fb);
	list_for_each(e, &fb->files)
		fxp_stripes_lost(list_entry(e, struct be_file, entry));
	log_error(LOG_SFTP, "connection lost: %s", error->text);
	s->state = SESSION_LOST;
	if (!fb->client.cfg.reconnect) {
		give_up(fb);
	} else if (error->fail == LINK_FAIL_AUTH || error->fail == LINK_FAIL_HOSTKEY) {
		s->needs_attention = true;
		log_error(LOG_SFTP, "not trying again by itself: needs attention");
	} else {
		plan_retry(fb);
	}
	fxp_backend_refresh(fb);
}

const struct fxp_client_events fxp_session_events = {
    .greeted = on_greeted,
    .needed = on_needed,
    .down = on_down,
    .lane_up = on_lane_up,
};

const struct be_attr *fxp_session_home(const struct fxp_backend *fb)
{
	return &fb->session->home_attr;
}

bool fxp_session_needs_attention(const struct fxp_backend *fb)
{
	return fb->session->needs_attention;
}

int fxp_session_create(struct fxp_backend *fb, const char *root, bool check_root,
                       fxp_started_fn *started, void *arg)
{
	struct fxp_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->asked_root = strdup(root ? root : "");
	if (!s->asked_root) {
		free(s);
		return -ENOMEM;
	}
	s->check_root = check_root;
	s->started = started;
	s->arg = arg;
	timer_init(&s->retry, retry_timer, fb);
	timer_init(&s->probe, probe_timer, fb);
	fb->session = s;
	if (fb->client.cfg.delay_connect) {
		s->delayed = true;
		s->root = strdup(s->asked_root[0] ? s->asked_root : ".");
		return s->root ? 0 : -ENOMEM;
	}
	/* `started` must not run from inside the creation: a failure shows at the second try. */
	if (fxp_client_connect(&fb->client) != 0)
		timer_set(fb->clock, &s->retry, fb->clock->now_ms);
	return 0;
}

void fxp_session_destroy(struct fxp_backend *fb)
{
	struct fxp_session *s = fb->session;

	if (!s)
		return;
	timer_cancel(&s->retry);
	timer_cancel(&s->probe);
	free(s->asked_root);
	free(s->root);
	free(s);
	fb->session = NULL;
}
