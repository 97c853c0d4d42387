/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Further handles of one file on other lanes. Owner: the loop.
 *
 * Life: idle -> opening (an OPEN on each other bulk lane) -> proving (FSTAT by every handle, when the
 * WRITEs on their way are answered) -> ready, or off for good. Meanwhile no WRITE of the node is sent;
 * what was handed over goes over all handles then. A lost connection leads back to idle.
 */
#include "sftp/stripe.h"

#include <limits.h>
#include <stdlib.h>

#define STRIPE_COUNT_MAX 5u                 /* further handles: six lanes carry one file at most */
#define LANES_AT_LEN     (1024u * 1024)     /* bytes of a file written when lanes are opened */
#define STRIPE_AT_LEN    (4u * 1024 * 1024) /* bytes below which a file stays on one lane */
#define RTT_MIN_MS       2                  /* a nearer server is as fast over one lane */

enum stripes_state {
	STRIPES_IDLE,
	STRIPES_OPENING,
	STRIPES_PROVING,
	STRIPES_READY,
	STRIPES_OFF,
};

struct fxp_stripe {
	struct fxp_stripes *all;
	struct fxp_handle handle; /* len 0: not open */
	struct be_attr attr;
	bool seen;
};

struct fxp_stripes {
	struct be_file *file;
	enum stripes_state state;
	unsigned pending; /* replies */
	unsigned count;   /* of `stripes` in use */
	bool lost; /* the connection broke while opening or proving: not the file's fault */
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

void fxp_stripes_close(struct be_file *f)
{
	struct fxp_stripes *all = f->stripes;

	if (!all)
		return;
	for (unsigned i = 0; i < all->count; i++)
		stripe_close(&all->stripes[i]);
	all->count = 0;
	all->state = STRIPES_OFF;
}

void fxp_stripes_destroy(struct be_file *f)
{
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
	list_for_each (e, requests) {
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
	if (all->state == STRIPES_READY)
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

	if (f->node->prover == all)
		f->node->prover = NULL;
	fxp_file_unref(f);
	fxp_io_pump(fb);
}

static void stripes_proven(struct fxp_stripes *all)
{
	struct fxp_node *n = all->file->node;
	/* A size that only our writes explain: nobody else's file has it by chance. */
	bool ours = all->first_seen && all->first.size > 0 && all->first.size == n->written_end;

	if (--all->pending)
		return;
	for (unsigned i = 0; i < all->count; i++) {
		struct fxp_stripe *s = &all->stripes[i];

		if (!ours || !s->seen || !same_file(&all->first, &s->attr))
			stripe_close(s);
	}
	settle_state(all);
	stripes_over(all);
}

static void first_seen(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripes *all = arg;

	all->first = answer->attr;
	all->first_seen = answer->status.st.code == BE_OK;
	stripes_proven(all);
}

static void stripe_seen(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripe *s = arg;

	s->attr = answer->attr;
	s->seen = answer->status.st.code == BE_OK;
	stripes_proven(s->all);
}

static void prove(struct fxp_stripes *all)
{
	struct fxp_client *c = &all->file->fb->client;
	struct fxr_args args = {.handle = &all->file->handle};

	all->first_seen = false;
	all->pending = 1;
	if (fxp_client_submit(c, FXR_FSTAT, 0, &args, first_seen, all))
		all->pending++;
	for (unsigned i = 0; i < all->count; i++) {
		struct fxp_stripe *s = &all->stripes[i];

		s->seen = false;
		args.handle = &s->handle;
		if (s->handle.len && fxp_client_submit(c, FXR_FSTAT, 0, &args, stripe_seen, s))
			all->pending++;
	}
	stripes_proven(all);
}

static void stripes_opened(struct fxp_stripes *all)
{
	bool any = false;

	if (--all->pending)
		return;
	for (unsigned i = 0; i < all->count; i++)
		any = any || all->stripes[i].handle.len;
	if (!any || all->file->closed) {
		fxp_stripes_close(all->file);
		if (all->lost)
			all->state = STRIPES_IDLE;
		stripes_over(all);
		return;
	}
	all->state = STRIPES_PROVING;
	fxp_stripes_drained(all->file->node);
}

void fxp_stripes_drained(struct fxp_node *n)
{
	struct fxp_stripes *all = n->prover;

	if (all && all->state == STRIPES_PROVING && n->wire_count == 0 && !all->pending)
		prove(all);
}

static void stripe_opened(void *arg, const struct fxr_answer *answer)
{
	struct fxp_stripe *s = arg;

	const struct fxp_lane *meta = s->all->file->fb->client.meta;

	if (answer->status.st.code == BE_OK)
		fxp_handle_set(s->all->file->fb, &s->handle, answer);
	/* Closed meanwhile; or its lane went, and data must not go where lookups are. */
	if (s->all->state != STRIPES_OPENING || (meta && answer->lane == meta->id))
		stripe_close(s);
	stripes_opened(s->all);
}

static void stripes_open(struct fxp_stripes *all)
{
	struct be_file *f = all->file;
	struct fxp_client *c = &f->fb->client;
	char path[8192];
	struct fxr_args args = {.path = path, .pflags = FXF_WRITE};

	all->count = 0;
	if (fxp_file_where(f, path, sizeof(path)) != 0) {
		all->state = STRIPES_OFF;
		return;
	}
	all->state = STRIPES_OPENING;
	all->lost = false;
	all->pending = 1;
	f->node->prover = all;
	fxp_file_ref(f);
	list_for_each (e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);
		struct fxp_stripe *s = &all->stripes[all->count];

		if (all->count == STRIPE_COUNT_MAX || !fxp_lane_speaks(c, lane) ||
		    lane->lane_class != LANE_BULK || lane->id == f->handle.lane)
			continue;
		s->all = all;
		s->handle.len = 0;
		if (fxp_client_submit(c, FXR_OPEN, lane->id, &args, stripe_opened, s)) {
			all->pending++;
			all->count++;
		}
	}
	stripes_opened(all);
}

/* Lanes that are on their way are waited for, until they can be sent to: they open together. */
static bool lanes_ready(struct fxp_client *c)
{
	bool any = false;

	list_for_each (e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		if (lane->lane_class != LANE_BULK)
			continue;
		if (!fxp_lane_speaks(c, lane))
			return false;
		any = true;
	}
	return any && c->lane_count > 2;
}

static bool may_stripe(const struct be_file *f)
{
	const struct fxp_client *c = &f->fb->client;

	return (f->flags & BE_WRITE) && !(f->flags & BE_APPEND) && !f->closed && !f->stale &&
	       c->state == FXP_CLIENT_UP && !c->broken && c->stats.rtt_min_ms >= RTT_MIN_MS &&
	       f->node->sent_end >= LANES_AT_LEN;
}

void fxp_stripes_foresee(struct be_file *f)
{
	if (may_stripe(f))
		fxp_client_want_lanes(&f->fb->client, LANE_BULK, STRIPE_COUNT_MAX + 1);
}

void fxp_stripes_consider(struct be_file *f)
{
	struct fxp_client *c = &f->fb->client;
	struct fxp_node *n = f->node;

	if (n->prover || !may_stripe(f))
		return;
	if (f->stripes && f->stripes->state != STRIPES_IDLE)
		return;
	if (n->sent_end < STRIPE_AT_LEN || !n->written_end || !lanes_ready(c))
		return;
	if (!f->stripes) {
		f->stripes = calloc(1, sizeof(*f->stripes));
		if (!f->stripes)
			return;
		f->stripes->file = f;
	}
	stripes_open(f->stripes);
}

static const struct fxp_lane *lane_of(struct fxp_client *c, const struct fxp_handle *h)
{
	list_for_each (e, &c->lanes) {
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
