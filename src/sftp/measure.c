/* SPDX-License-Identifier: BSD-2-Clause */
/* What is counted, timed and logged of requests. Owner: the loop. */
#include <stdio.h>

#include "sftp/client.h"
#include "util/log.h"

void fxp_measure_sent(struct fxp_client *c, struct fxr *r, size_t len)
{
	if (r->lane->in_flight_count == 0)
		c->stats.round_trip_count++;
	c->stats.sent_count[fxr_table[r->kind].type]++;
	r->sent_ms = c->clock->now_ms;
	if (!r->sent_wall_ms)
		r->sent_wall_ms = c->clock->wall_ms;
	if (r->kind == FXR_READ)
		fxp_window_sent(&c->down_window, &r->sample, (size_t)r->args.len, r->sent_ms);
	else if (r->kind == FXR_WRITE)
		fxp_window_sent(&c->up_window, &r->sample, (size_t)r->args.len, r->sent_ms);
	log_debug(LOG_SFTP, "req=%u lane=%u %s sent, %zu bytes", r->id, r->lane->id,
	          fxr_table[r->kind].name, len);
}

static void log_answer(const struct fxr *r, const struct be_status *st, int64_t rtt_ms)
{
	const struct fxr_args *args = &r->args;
	const char *status = st->code == BE_OK ? "ok" : st->text[0] ? st->text : "refused";
	char handle[24] = "", what[512] = "";

	if (!log_enabled(LOG_SFTP, LOG_LEVEL_VERBOSE))
		return;
	/* The handle itself may be gone by now. */
	if (r->indexed)
		snprintf(handle, sizeof(handle), " handle=%u", r->index);
	if (r->kind == FXR_READ || r->kind == FXR_WRITE)
		snprintf(what, sizeof(what), " off=%llu len=%llu", (unsigned long long)args->off,
		         (unsigned long long)args->len);
	else if (args->path && args->path2)
		snprintf(what, sizeof(what), " " LOG_NAME " to " LOG_NAME, args->path, args->path2);
	else if (args->path)
		snprintf(what, sizeof(what), " " LOG_NAME, args->path);
	log_verbose(LOG_SFTP, "req=%u %s%s%s: %s in %lld ms", r->id, fxr_table[r->kind].name,
	            handle, what, status, (long long)rtt_ms);
}

void fxp_measure_answered(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer)
{
	int64_t rtt_ms = c->clock->now_ms - r->sent_ms;
	bool ok = answer->status.st.code == BE_OK;
	size_t len = 0;

	if (c->stats.rtt_min_ms < 0 || rtt_ms < c->stats.rtt_min_ms)
		c->stats.rtt_min_ms = rtt_ms;
	if (ok && r->kind == FXR_READ)
		c->stats.read_len += len = answer->data.len;
	else if (ok && r->kind == FXR_WRITE)
		c->stats.written_len += len = (size_t)r->args.len;
	fxp_window_done(&r->sample, len, c->clock->now_ms);
	log_answer(r, &answer->status.st, rtt_ms);
}
