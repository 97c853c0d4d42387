/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Further handles of one file on other lanes. Owner: the loop.
 *
 * Life: idle -> awaited (the lanes come, the WRITEs on their way are answered) -> opening (an OPEN on
 * each other bulk lane, and where the handles can be foretold an FSTAT right behind it) -> proving
 * (elsewhere, FSTAT by every handle) -> ready, or off for good. Meanwhile no WRITE of the node is sent;
 * what was handed over goes over all handles then. Lanes that take long to come are not waited for:
 * late. A lost connection leads back to idle.
 */
#include "sftp/stripe.h"

#include <limits.h>
#include <stdlib.h>

#include "sftp/burst.h"

#define STRIPE_COUNT_MAX 5u                 /* further handles: six lanes carry one file at most */
#define LANES_AT_LEN     (1024u * 1024)     /* bytes of a file written when lanes are opened */
#define STRIPE_AT_LEN    (4u * 1024 * 1024) /* bytes below which a file stays on one lane */
#define RTT_MIN_MS       2                  /* a nearer server is as fast over one lane */
#define HOLD_ROUNDS      3 /* round trips for which WRITEs wait for lanes, which need one */

enum stripes_state {
	STRIPES_IDLE,
	STRIPES_AWAITED,
	STRIPES_LATE, /* awaited, while WRITEs go on */
	STRIPES_OPENING,
	STRIPES_PROVING,
	STRIPES_READY,
	STRIPES_OFF,
};

struct fxp_stripe {
	struct fxp_stripes *all;
	struct fxp_handle handle; /* len 0: not open */
	struct fxp_handle guess;
	bool guessed; /* an FSTAT of `guess` went behind the OPEN */
	struct be_attr attr;
	bool seen;
};

struct fxp_stripes {
	struct be_file *file;
	enum stripes_state state;
	unsigned pending; /* replies */
	unsigned count;   /* of `stripes` in use */
	bool lost;        /* the connection broke while opening or proving: not the file's fault */
	bool guessed;     /* FSTATs went with the OPENs */
	struct timer hold;
	struct be_attr first;
	bool first_seen;
	struct fxp_stripe stripes[STRIPE_COUNT_MAX];
};

static void stripe_close(struct fxp_stripe *s)
{
	struct fxp_client *c = &s->all->file->fb->client;
	struct fxr_args args = {.handle = &s->handle};

	/* Sent at once or not at all: nobody keeps the pointer. */
	if (s->handle.len && s->handle.epoch == c->epoch)
		fxp_client_submit_setup(c, FXR_CLOSE, &args, NULL, NULL);
	s->handle.len = 0;
}

/* WRITEs of the node may go again, at the next pump. */
static void let_go(struct fxp_stripes *all)
{
	timer_cancel(&all->hold);
	if (all->file->node->prover == all)
		all->file->node->prover = NULL;
}

void fxp_stripes_close(struct be_file *f)
{
	struct fxp_stripes *all = f->stripes;
	bool held;

	if (!all)
		return;
	for (unsigned i = 0; i < all->count; i++)
		stripe_close(&all->stripes[i]);
	all->count = 0;
	held = all->state == STRIPES_AWAITED;
	all->state = STRIPES_OFF;
	if (held) {
		let_go(all);
		fxp_io_pump(f->fb);
	}
}

void fxp_stripes_destroy(struct be_file *f)
{
	if (f->stripes)
		let_go(f->stripes);
	free(f->stripes);
	f->stripes = NULL;
}

static bool is_stripe(const struct fxp_stripes *all, const struct fxp_handle *h)
{
	for (unsigned i = 0; i < STRIPE_COUNT_MAX; i++)
		if (h == &all->stripes[i].handle)
			return true;
	return false;
}

static void redirect(const struct fxp_stripes *all, struct list *requests)
{
	list_for_each(e, requests) {
		struct fxr *r = list_entry(e, struct fxr, entry);

		if (r->kind == FXR_WRITE && r->args.handle && is_stripe(all, r->args.handle))
			r->args.handle = &all->file->handle;
	}
}

void fxp_stripes_lost(struct be_file *f)
{
	struct fxp_stripes *all = f->stripes;

	if (!all)
		return;
	for (unsigned i = 0; i < STRIPE_COUNT_MAX; i++)
		all->stripes[i].handle.len = 0;
	redirect(all, &f->fb->client.lost);
	redirect(all, &f->fb->client.waiting);
	if (all->state == STRIPES_AWAITED)
		let_go(all);
	if (all->state == STRIPES_AWAITED || all->state == STRIPES_LATE ||
	    all->state == STRIPES_READY)
		all->state = STRIPES_IDLE;
	else if (all->state == STRIPES_OPENING || all->state == STRIPES_PROVING)
		all->lost = true;
}

/* Without lanes, or with a handle that is another file, it stays with what is proven. */
static void settle_state(struct fxp_stripes *all)
{
	struct be_file *f = all->file;
	unsigned kept = 0;

	for (unsigned i = 0; i < all->count; i++)
		if (all->stripes[i].handle.len) {
			all->stripes[kept].handle = all->stripes[i].handle;
			kept++;
		}
	for (unsigned i = kept; i < all->count; i++)
		all->stripes[i].handle.len = 0;
	all->count = kept;
	all->state = kept ? STRIPES_READY : all->lost ? STRIPES_IDLE : STRIPES_OFF;
	if (kept) {
		fxp_window_grow(&f->fb->client.up_window, kept + 1);
		log_debug(LOG_SFTP, "writing over %u lanes, window %zu", kept + 1,
		          f->fb->client.up_window.window_len);
	}
}

static bool same_file(const struct be_attr *a, const struct be_attr *b)
{
	const uint32_t all = BE_ATTR_SIZE | BE_ATTR_TIMES | BE_ATTR_MODE | BE_ATTR_OWNER;

	return (a->valid & b->valid & all) == all && a->size == b->size && a->mtime == b->mtime &&
	       a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

static void stripes_over(struct fxp_stripes *all)
{
	struct be_file *f = all->file;
	struct fxp_backend *fb = f->fb;

	let_go(all);
	fxp_file_unref(f);
	fxp_io_pump(fb);
}

/* Every handle has been looked at: those that are another file go. */
static void judge(struct fxp_stripes *all)
{
	/* A size that only our writes explain: nobody else's file has it by chance. */
	bool ours = all->first_seen && all->first.size > 0 &&
	            all->first.size == all->file->node->written_end;

	for (unsigned i = 0; i < all->count; i++) {
		struct fxp_stripe *s = &all->stripes[i];

		if (!ours || !s->seen || !same_file(&all->first, &s->attr))
			stripe_close(s);
	}
	settle_state(all);
	stripes_over(all);
}

static void stripes_opened(struct fxp_stripes *all)
{
	bool any = false, looked = all->guessed;

	for (unsigned i = 0; i < all->count; i++)
		if (all->stripes[i].handle.len) {
			any = true;
			looked = looked && all->stripes[i].guessed;
		}
	if (!any || all->file->closed) {
		fxp_stripes_close(all->file);
		if (all->lost)
			all->state = STRIPES_IDLE;
		stripes_over(all);
	} else if (looked) {
		judge(all);
	} else {
		all->state = STRIPES_PROVING;
		fxp_stripes_drained(all->file->node);
	}
}

static void stripes_answered(struct fxp_stripes *all)
{
	if (--all->pending)
		return;
	if (all->state == STRIPES_PROVING)
		judge(all);
	else
		stripes_opened(all);
}

static void first_seen(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripes *all = arg;

	all->first = answer->attr;
	all->first_seen = answer->status.st.code == BE_OK;
	stripes_answered(all);
}

static void stripe_seen(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripe *s = arg;

	s->attr = answer->attr;
	s->seen = answer->status.st.code == BE_OK;
	stripes_answered(s->all);
}

static bool look(struct fxp_stripes *all, struct fxp_handle *h, fxr_done_fn *done, void *arg)
{
	struct fxr_args args = {.handle = h};

	if (!fxp_client_submit(&all->file->fb->client, FXR_FSTAT, 0, &args, done, arg))
		return false;
	all->pending++;
	return true;
}

static void prove(struct fxp_stripes *all)
{
	all->first_seen = false;
	all->pending = 1;
	look(all, &all->file->handle, first_seen, all);
	for (unsigned i = 0; i < all->count; i++) {
		struct fxp_stripe *s = &all->stripes[i];

		s->seen = false;
		if (s->handle.len)
			look(all, &s->handle, stripe_seen, s);
	}
	stripes_answered(all);
}

static void stripe_opened(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripe *s = arg;
	const struct fxp_client *c = &s->all->file->fb->client;

	if (answer->status.st.code == BE_OK)
		fxp_handle_set(s->all->file->fb, &s->handle, answer);
	/*
	 * Closed meanwhile; or its lane went, and data must not go where lookups are; or the FSTAT was
	 * of something else.
	 */
	if (s->all->state != STRIPES_OPENING || (c->meta && answer->lane == c->meta->id) ||
	    (s->guessed && !fxp_burst_hit(c, &s->guess, answer)))
		stripe_close(s);
	stripes_answered(s->all);
}

/* On one lane. `proving`: an FSTAT goes with it, if it can. */
static void stripe_open(struct fxp_stripes *all, const struct fxp_lane *lane, const char *path,
                        bool proving)
{
	struct fxp_client *c = &all->file->fb->client;
	struct fxr_args args = {.path = path, .pflags = FXF_WRITE};
	struct fxp_stripe *s = &all->stripes[all->count];

	*s = (struct fxp_stripe){.all = all};
	s->guessed = proving && fxp_burst_predict(c, lane->id, LANE_BULK, &s->guess);
	if (!fxp_client_submit(c, FXR_OPEN, lane->id, &args, stripe_opened, s))
		return;
	all->pending++;
	all->count++;
	s->guessed = s->guessed && look(all, &s->guess, stripe_seen, s);
}

static void stripes_open(struct fxp_stripes *all)
{
	struct be_file *f = all->file;
	struct fxp_client *c = &f->fb->client;
	/* Nothing on its way, so that what an FSTAT shows now is proof. */
	bool quiet = f->node->wire_len == 0 && c->proof == FXP_PROOF_DONE;
	char path[8192];

	timer_cancel(&all->hold);
	all->count = 0;
	if (fxp_file_where(f, path, sizeof(path)) != 0) {
		fxp_stripes_close(f);
		return;
	}
	all->state = STRIPES_OPENING;
	all->lost = false;
	all->pending = 1;
	fxp_file_ref(f);
	all->first_seen = false;
	all->guessed = quiet && look(all, &f->handle, first_seen, all);
	list_for_each(e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		if (all->count < STRIPE_COUNT_MAX && fxp_lane_speaks(c, lane) &&
		    lane->lane_class == LANE_BULK && lane->id != f->handle.lane)
			stripe_open(all, lane, path, quiet);
	}
	stripes_answered(all);
}

static bool lanes_coming(const struct fxp_client *c)
{
	list_for_each(e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		if (lane->lane_class == LANE_BULK && !fxp_lane_speaks(c, lane))
			return true;
	}
	return false;
}

static bool lanes_enough(const struct fxp_client *c)
{
	return c->lane_count > 2;
}

static void stripes_late(void *arg)
{
	struct fxp_stripes *all = arg;

	all->state = STRIPES_LATE;
	let_go(all);
	fxp_io_pump(all->file->fb);
}

/* Lanes that are on their way are waited for, until they can be sent to: they open together. */
static void stripes_await(struct fxp_stripes *all)
{
	struct fxp_client *c = &all->file->fb->client;

	if (lanes_coming(c) || c->broken)
		return;
	timer_cancel(&all->hold);
	if (!lanes_enough(c))
		stripes_late(all);
	else if (all->file->node->wire_len == 0 || c->proof != FXP_PROOF_DONE)
		stripes_open(all);
	/* Else the last answer brings us back, for a proof that costs one round trip. */
}

void fxp_stripes_drained(struct fxp_node *n)
{
	struct fxp_stripes *all = n->prover;

	if (!all || n->wire_len)
		return;
	if (all->state == STRIPES_AWAITED)
		stripes_await(all);
	else if (all->state == STRIPES_PROVING && !all->pending)
		prove(all);
}

/* Its end is where our WRITEs are: only that can be proven. */
static bool grown_by_us(const struct fxp_node *n)
{
	return !(n->known.valid & BE_ATTR_SIZE) || n->sent_end > n->known.size;
}

static bool may_stripe(const struct be_file *f)
{
	const struct fxp_client *c = &f->fb->client;

	return (f->flags & BE_WRITE) && !(f->flags & BE_APPEND) && !f->closed && !f->stale &&
	       c->state == FXP_CLIENT_UP && !c->broken && c->stats.rtt_min_ms >= RTT_MIN_MS &&
	       f->node->sent_end >= LANES_AT_LEN && grown_by_us(f->node);
}

static struct fxp_stripes *stripes_create(struct be_file *f)
{
	struct fxp_stripes *all = calloc(1, sizeof(*all));

	if (all) {
		all->file = f;
		timer_init(&all->hold, stripes_late, all);
	}
	return all;
}

void fxp_stripes_consider(struct be_file *f)
{
	struct fxp_client *c = &f->fb->client;
	struct fxp_node *n = f->node;
	enum stripes_state state = f->stripes ? f->stripes->state : STRIPES_IDLE;

	if (!may_stripe(f))
		return;
	fxp_client_want_lanes(c, LANE_BULK, STRIPE_COUNT_MAX + 1);
	if (state == STRIPES_AWAITED)
		stripes_await(f->stripes);
	if ((state != STRIPES_IDLE && state != STRIPES_LATE) || n->prover)
		return;
	if (n->sent_end < STRIPE_AT_LEN || !(n->wire_len || n->written_end))
		return;
	if (lanes_coming(c) ? state == STRIPES_LATE : !lanes_enough(c))
		return;
	if (!f->stripes)
		f->stripes = stripes_create(f);
	if (!f->stripes)
		return;
	f->stripes->state = STRIPES_AWAITED;
	n->prover = f->stripes;
	timer_set(c->clock, &f->stripes->hold,
	          c->clock->now_ms + HOLD_ROUNDS * c->stats.rtt_min_ms);
	stripes_await(f->stripes);
}

static const struct fxp_lane *lane_of(struct fxp_client *c, const struct fxp_handle *h)
{
	list_for_each(e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		if (lane->id == h->lane)
			return lane;
	}
	return NULL;
}

/* A server process answers in order: behind WRITEs a READ would wait, so other lanes are better. */
static unsigned load(struct fxp_client *c, const struct fxp_handle *h)
{
	const struct fxp_lane *lane = lane_of(c, h);

	if (!lane)
		return UINT_MAX;
	return lane->read_count ? UINT_MAX - 1 : lane->in_flight_count;
}

bool fxp_stripes_possible(const struct be_file *f)
{
	return may_stripe(f) && (!f->stripes || f->stripes->state == STRIPES_IDLE) &&
	       f->fb->client.lane_count > 2;
}

bool fxp_stripes_ready(const struct be_file *f)
{
	return f->stripes && f->stripes->state == STRIPES_READY;
}

struct fxp_handle *fxp_stripes_next(struct be_file *f)
{
	struct fxp_stripes *all = f->stripes;
	struct fxp_client *c = &f->fb->client;
	struct fxp_handle *best = &f->handle;
	unsigned least;

	if (!fxp_stripes_ready(f))
		return best;
	least = load(c, best);
	for (unsigned i = 0; i < all->count; i++) {
		unsigned here = load(c, &all->stripes[i].handle);

		if (here < least) {
			least = here;
			best = &all->stripes[i].handle;
		}
	}
	return best;
}

struct fxp_handle *fxp_stripes_live(struct be_file *f, struct fxp_handle *h)
{
	return h->len && h->epoch == f->fb->client.epoch ? h : &f->handle;
}
