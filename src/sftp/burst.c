/* SPDX-License-Identifier: BSD-2-Clause */
/* What handle the server returns next. Owner: the loop. Contract: include/sftp/burst.h. */
#include "sftp/burst.h"

#include <string.h>

#include "util/log.h"

#define INDEX_LEN 4u /* bytes of OpenSSH's handles */

static bool eligible(const struct fxp_client *c)
{
	if (c->facts.server_banner[0])
		return strstr(c->facts.server_banner, "OpenSSH") != NULL;
	return fxp_ext_has(c->exts, EXT_LIMITS) && fxp_ext_has(c->exts, EXT_LSETSTAT) &&
	       fxp_ext_has(c->exts, EXT_EXPAND_PATH);
}

static uint32_t index_of(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static uint32_t next_index(const struct fxp_handles *hs)
{
	return hs->free_count ? hs->free[hs->free_count - 1] : hs->made_count;
}

static void push(struct fxp_handles *hs, const struct fxr *r)
{
	if (!r->indexed || hs->free_count == FXP_HANDLES_FREE_MAX)
		hs->unknown = true;
	else
		hs->free[hs->free_count++] = r->index;
}

/*
 * A burst has had a handle made and freed. When it was sent nothing was free, so what has been freed
 * since lies above.
 */
static void push_first(struct fxp_handles *hs, uint32_t index)
{
	if (hs->free_count == FXP_HANDLES_FREE_MAX) {
		hs->unknown = true;
		return;
	}
	memmove(hs->free + 1, hs->free, hs->free_count * sizeof(hs->free[0]));
	hs->free[0] = index;
	hs->free_count++;
	hs->made_count++;
}

static void pop(struct fxp_handles *hs)
{
	if (hs->free_count)
		hs->free_count--;
	else
		hs->made_count++;
}

static void refute(struct fxp_client *c, struct fxp_lane *lane)
{
	lane->handles.unknown = true;
	if (c->proof == FXP_PROOF_REFUTED)
		return;
	if (c->proof == FXP_PROOF_DONE)
		log_info(LOG_SFTP, "lane=%u a handle is not what it should be: no more bursts",
		         lane->id);
	c->proof = FXP_PROOF_REFUTED;
}

/* A handle was foretold rightly: as one never used before, or as the last one freed. */
static void confirm(struct fxp_client *c, bool reused)
{
	if (c->proof == FXP_PROOF_NONE && !reused)
		c->proof = FXP_PROOF_FIRST;
	else if (c->proof == FXP_PROOF_FIRST && reused && eligible(c)) {
		c->proof = FXP_PROOF_DONE;
		log_info(LOG_SFTP,
		         "the server's handles can be foretold: dependent requests go together");
		fxp_client_want_lanes(c, LANE_BURST, 1);
	}
}

void fxp_burst_reset(struct fxp_client *c)
{
	c->proof = FXP_PROOF_NONE;
}

static bool foretell(struct fxp_client *c, struct fxp_lane *lane, struct fxp_handle *h)
{
	const struct fxp_handles *hs = &lane->handles;
	uint32_t index = next_index(hs);

	if (!fxp_lane_speaks(c, lane) || hs->unknown || hs->opening_count || hs->closing_count)
		return false;
	h->len = INDEX_LEN;
	h->bytes[0] = (uint8_t)(index >> 24);
	h->bytes[1] = (uint8_t)(index >> 16);
	h->bytes[2] = (uint8_t)(index >> 8);
	h->bytes[3] = (uint8_t)index;
	h->lane = lane->id;
	h->epoch = c->epoch;
	return true;
}

bool fxp_burst_predict(struct fxp_client *c, uint32_t lane, enum lane_class lane_class,
                       struct fxp_handle *h)
{
	struct fxp_lane *l;

	if (c->state != FXP_CLIENT_UP || c->broken || c->failing || c->proof != FXP_PROOF_DONE)
		return false;
	l = fxp_lane_for(c, lane, lane_class);
	return l && foretell(c, l, h);
}

void fxp_burst_prove(struct fxp_client *c, const char *path)
{
	struct fxr_args args = {.path = path, .burst = true}, end = {.burst = true};
	struct fxp_handle h;

	if (!eligible(c) || !c->meta || !foretell(c, c->meta, &h))
		return;
	args.handle = end.handle = &h;
	for (unsigned i = 0; i < 2; i++) {
		fxp_client_submit_setup(c, FXR_OPENDIR, &args, NULL, NULL);
		fxp_client_submit_setup(c, FXR_CLOSE, &end, NULL, NULL);
	}
}

struct fxr *fxp_burst_open(struct fxp_client *c, enum fxr_kind kind, const struct fxr_args *args,
                           const struct fxp_handle *h, fxr_done_fn *done, void *arg)
{
	struct fxr_args first = *args;
	struct fxp_handle copy = *h;
	struct fxr *r;

	first.burst = true;
	first.handle = &copy;
	r = fxp_client_submit(c, kind, h->lane, &first, done, arg);
	if (r)
		r->args.handle = NULL;
	return r;
}

void fxp_burst_close(struct fxp_client *c, struct fxp_handle *h)
{
	struct fxr_args args = {.handle = h, .burst = true};

	if (!fxp_client_submit(c, FXR_CLOSE, h->lane, &args, NULL, NULL))
		fxp_client_break(c, LINK_FAIL_NETWORK, "out of memory");
}

bool fxp_burst_hit(const struct fxp_client *c, const struct fxp_handle *h,
                   const struct fxr_answer *answer)
{
	return h->epoch == c->epoch && h->lane == answer->lane && h->len == answer->handle.len &&
	       memcmp(h->bytes, answer->handle.bytes, h->len) == 0;
}

static bool opens(const struct fxr *r)
{
	return r->kind == FXR_OPEN || r->kind == FXR_OPENDIR;
}

void fxp_burst_sent(struct fxr *r)
{
	struct fxp_handles *hs = &r->lane->handles;
	const struct fxp_handle *h = r->args.handle;

	r->indexed = h && h->len == INDEX_LEN;
	r->index = r->indexed ? index_of(h->bytes) : 0;
	r->freed = false;
	if (r->args.burst)
		return;
	if (opens(r)) {
		hs->opening_count++;
	} else if (r->kind == FXR_CLOSE) {
		/* Behind an OPEN of unknown outcome it counts when it is answered. */
		r->freed = !hs->opening_count && !hs->closing_count;
		if (r->freed)
			push(hs, r);
		else
			hs->closing_count++;
	}
}

static bool hit(const struct fxr_answer *answer, uint32_t index)
{
	return answer->handle.len == INDEX_LEN && index_of(answer->handle.bytes) == index;
}

bool fxp_burst_leaves_open(const struct fxr *r, const struct fxr_answer *answer)
{
	return !r->args.burst || !hit(answer, r->index);
}

static void opened(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer)
{
	struct fxp_handles *hs = &r->lane->handles;
	uint32_t index = r->args.burst ? r->index : next_index(hs);
	bool reused = r->args.burst ? c->proof != FXP_PROOF_NONE : hs->free_count > 0;

	if (!hit(answer, index)) {
		refute(c, r->lane);
		return;
	}
	if (!r->args.burst)
		pop(hs);
	else if (hs->made_count == index)
		push_first(hs, index);
	confirm(c, reused);
}

void fxp_burst_answered(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer)
{
	struct fxp_handles *hs = &r->lane->handles;

	if (opens(r)) {
		hs->opening_count -= !r->args.burst;
		if (answer->status.st.code == BE_OK)
			opened(c, r, answer);
	} else if (r->kind == FXR_CLOSE && !r->args.burst && !r->freed) {
		hs->closing_count--;
		push(hs, r);
	}
}
