/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests: submitted, sent, answered, lost. Owner: the loop. Spec: filexfer-02 section 3. */
#include "sftp/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/burst.h"
#include "util/log.h"

#define SUSPECT_COUNT_MAX 5u /* connections that may break under one request before it is failed */

static void run_deferred(void *arg);

int fxp_client_init(struct fxp_client *c, struct link *link, const struct fxp_config *cfg,
                    struct clock *clock, const struct fxp_client_events *events, void *ctx)
{
	int err;

	memset(c, 0, sizeof(*c));
	err = hash_init(&c->by_id);
	if (err)
		return err;
	c->link = link;
	c->clock = clock;
	c->cfg = *cfg;
	c->events = events;
	c->events_ctx = ctx;
	list_init(&c->lanes);
	list_init(&c->waiting);
	list_init(&c->lost);
	list_init(&c->deferred);
	timer_init(&c->deferred_timer, run_deferred, c);
	fxp_window_init(&c->down_window, 128 * 1024);
	fxp_window_init(&c->up_window, 1024 * 1024);
	fxp_window_face(&c->down_window, &c->up_window);
	c->packet_len_max = FXP_PACKET_LEN_SAFE;
	c->read_len_max = c->write_len_max = FXP_LEN_SAFE;
	c->stats.rtt_min_ms = -1;
	link->events = &fxp_lane_link_events;
	link->events_ctx = c;
	return 0;
}

static void request_free(struct fxr *r)
{
	data_unref(r->args.body);
	free(r->own);
	free(r);
}

/* Among those in flight on its lane. */
static void attach(struct fxp_client *c, struct fxr *r)
{
	hash_add(&c->by_id, &r->by_id, hash_u64(r->id));
	list_push_back(&r->lane->in_flight, &r->entry);
	r->lane->in_flight_count++;
	r->lane->read_count += r->kind == FXR_READ;
	c->stats.in_flight_count++;
}

/* Takes a request off whatever it is on. */
static void detach(struct fxp_client *c, struct fxr *r)
{
	list_del(&r->entry);
	if (!r->lane)
		return;
	hash_del(&c->by_id, &r->by_id);
	r->lane->in_flight_count--;
	r->lane->read_count -= r->kind == FXR_READ;
	r->lane = NULL;
	c->stats.in_flight_count--;
}

static void complete(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer)
{
	detach(c, r);
	fxp_window_done(&r->sample, 0, c->clock->now_ms);
	if (r->done)
		r->done(r->arg, answer);
	request_free(r);
}

static void complete_lost(struct fxp_client *c, struct fxr *r)
{
	struct fxr_answer answer = {.lost = true};

	fxp_status_set(&answer.status, BE_LOST, 0, "");
	complete(c, r, &answer);
}

/* Its reply made no sense, and would not if it were asked for again: the connection goes alone. */
static void complete_malformed(struct fxp_client *c, struct fxr *r)
{
	struct fxr_answer answer = {.lane = r->lane->id};

	fxp_status_set(&answer.status, BE_MALFORMED, 0, "");
	complete(c, r, &answer);
}

static void run_deferred(void *arg)
{
	struct fxp_client *c = arg;
	struct list now;

	list_init(&now);
	list_splice(&now, &c->deferred);
	while (!list_empty(&now)) {
		struct fxr *r = list_entry(now.next, struct fxr, entry);
		struct fxr_answer answer = {0};

		answer.lost = r->own == NULL || r->own->st.code == BE_LOST;
		if (r->own)
			fxp_status_copy(&answer.status, &r->own->st);
		else
			fxp_status_set(&answer.status, BE_LOST, 0, "");
		complete(c, r, &answer);
	}
}

/* Answers a request ourselves, in a moment: never from inside the call that made it. */
static void defer(struct fxp_client *c, struct fxr *r, enum be_code code, int err)
{
	detach(c, r);
	if (!r->own)
		r->own = calloc(1, sizeof(*r->own));
	if (r->own)
		fxp_status_set(r->own, code, err, "");
	list_push_back(&c->deferred, &r->entry);
	timer_set(c->clock, &c->deferred_timer, c->clock->now_ms);
}

static bool id_match(const struct hash_node *n, const void *key)
{
	return list_entry(n, const struct fxr, by_id)->id == *(const uint32_t *)key;
}

static struct fxr *find(struct fxp_client *c, uint32_t id)
{
	struct hash_node *n = hash_find(&c->by_id, hash_u64(id), id_match, &id);

	return n ? list_entry(n, struct fxr, by_id) : NULL;
}

static uint32_t new_id(struct fxp_client *c)
{
	do
		c->next_id++;
	while (find(c, c->next_id));
	return c->next_id;
}

static bool handle_usable(const struct fxp_client *c, const struct fxp_handle *h)
{
	return h->epoch == c->epoch && h->len > 0;
}

/* Return: 0, or what to answer instead. */
static int check(const struct fxp_client *c, const struct fxr *r, enum be_code *code)
{
	const struct fxr_row *row = &fxr_table[r->kind];

	*code = BE_OK;
	if (!fxp_ext_has(c->exts, row->ext))
		*code = BE_UNSUPPORTED;
	else if (strchr(row->fields, 'h') && (!r->args.handle || !handle_usable(c, r->args.handle)))
		*code = BE_STALE;
	/* A handle of one lane is another file, or none, on another one. */
	else if (strchr(row->fields, 'H') &&
	         (!r->args.handle2 || !handle_usable(c, r->args.handle2) ||
	          r->args.handle2->lane != r->args.handle->lane))
		*code = BE_STALE;
	return *code == BE_OK ? 0 : -1;
}

static void transmit(struct fxp_client *c, struct fxr *r)
{
	uint32_t wanted = r->args.handle ? r->args.handle->lane : r->lane_wanted;
	struct fxp_lane *lane = fxp_lane_for(c, wanted, fxr_table[r->kind].lane_class);
	struct link_packet *p;
	enum be_code code;
	int err;

	if (!lane) {
		list_del(&r->entry);
		list_push_back(&c->waiting, &r->entry);
		return;
	}
	if (check(c, r, &code) != 0) {
		defer(c, r, code, 0);
		return;
	}
	p = calloc(1, sizeof(*p));
	r->id = new_id(c);
	err = p ? fxr_encode(r->kind, &r->args, r->id, c->symlink_swapped, c->packet_len_max,
	                     &p->head, &p->head_len)
	        : -ENOMEM;
	if (err) {
		free(p);
		defer(c, r, BE_ERRNO, err == -EMSGSIZE ? ENAMETOOLONG : -err);
		return;
	}
	list_init(&p->entry);
	if (r->args.body) {
		p->body = data_ref(r->args.body);
		p->body_off = r->args.body_off;
		p->body_len = (size_t)r->args.len;
	}
	list_del(&r->entry);
	r->lane = lane;
	fxp_burst_sent(r);
	fxp_measure_sent(c, r, p->head_len + p->body_len);
	p->lane = r->lane->id;
	attach(c, r);
	link_send(c->link, p);
}

static size_t path_size(const char *path)
{
	return path ? strlen(path) + 1 : 0;
}

static struct fxr *request_create(struct fxp_client *c, enum fxr_kind kind,
                                  const struct fxr_args *args)
{
	size_t len = path_size(args->path), len2 = path_size(args->path2);
	struct fxr *r = calloc(1, sizeof(*r) + len + len2);

	if (!r)
		return NULL;
	list_init(&r->entry);
	r->kind = kind;
	r->args = *args;
	if (args->path)
		r->args.path = memcpy(r->names, args->path, len);
	if (args->path2)
		r->args.path2 = memcpy(r->names + len, args->path2, len2);
	if (args->body)
		data_ref(args->body);
	r->seq = ++c->next_seq;
	r->since_ms = c->clock->now_ms;
	return r;
}

/* Nobody waits for it any more: what belongs to its caller must not be touched. */
static void orphan(struct fxr *r)
{
	r->done = NULL;
	r->arg = NULL;
	r->args.handle = NULL;
	r->args.handle2 = NULL;
	data_unref(r->args.body);
	r->args.body = NULL;
}

static void wait_for_connection(struct fxp_client *c, struct fxr *r)
{
	list_push_back(&c->waiting, &r->entry);
	if (c->state == FXP_CLIENT_DOWN)
		c->events->needed(c->events_ctx);
}

struct fxr *fxp_client_submit(struct fxp_client *c, enum fxr_kind kind, uint32_t lane,
                              const struct fxr_args *args, fxr_done_fn *done, void *arg)
{
	struct fxr *r = request_create(c, kind, args);

	if (!r)
		return NULL;
	r->lane_wanted = lane;
	r->done = done;
	r->arg = arg;
	if (c->failing)
		list_push_back(&c->waiting, &r->entry);
	else if (c->state == FXP_CLIENT_STOPPED)
		defer(c, r, BE_LOST, 0);
	else if (c->state == FXP_CLIENT_UP && !c->broken)
		transmit(c, r);
	else
		wait_for_connection(c, r);
	if (!done && r->lane)
		orphan(r);
	return r;
}

struct fxr *fxp_client_submit_setup(struct fxp_client *c, enum fxr_kind kind,
                                    const struct fxr_args *args, fxr_done_fn *done, void *arg)
{
	struct fxr *r = request_create(c, kind, args);

	if (!r)
		return NULL;
	r->setup = true;
	r->done = done;
	r->arg = arg;
	if (!c->meta || c->broken)
		defer(c, r, BE_LOST, 0);
	else
		transmit(c, r);
	if (!done && r->lane)
		orphan(r);
	return r;
}

void fxp_client_abandon(struct fxp_client *c, struct fxr *r)
{
	if (!r->lane) {
		detach(c, r);
		request_free(r);
		return;
	}
	orphan(r);
}

/* The handle of an OPEN or OPENDIR whose caller has left. */
static void close_late(struct fxp_client *c, struct fxp_lane *lane, const struct fxr_answer *answer)
{
	struct fxp_handle h = {.len = answer->handle.len, .lane = lane->id, .epoch = c->epoch};
	struct fxr_args args = {.handle = &h};

	memcpy(h.bytes, answer->handle.bytes, h.len);
	fxp_client_submit_setup(c, FXR_CLOSE, &args, NULL, NULL);
}

void fxp_client_packet(struct fxp_client *c, struct fxp_lane *lane, struct data *packet, size_t len)
{
	struct fxr_answer answer;
	struct fxp_in in;
	struct fxr *r;
	uint8_t type;
	uint32_t id;
	int err;

	fxp_in_init(&in, "reply", packet->bytes, len);
	type = fxp_get_u8(&in, "type");
	id = fxp_get_u32(&in, "id");
	r = fxp_in_failed(&in) ? NULL : find(c, id);
	if (!r || r->lane != lane) {
		fxp_client_break(c, LINK_FAIL_NETWORK,
		                 "protocol error: reply of type %u with bad field \"%s\" (%u)",
		                 type, in.field ? in.field : "id", id);
		return;
	}
	in.packet = fxr_table[r->kind].name;
	err = fxr_decode(r->kind, &r->args, type, &in, packet, &answer);
	if (err == -EPROTO) {
		fxp_client_break(c, LINK_FAIL_NETWORK,
		                 "protocol error: reply of type %u to %s with bad field \"%s\"",
		                 type, in.packet, in.field);
		c->blamed = true;
		complete_malformed(c, r);
		return;
	}
	if (err)
		fxp_status_set(&answer.status, BE_ERRNO, -err, "");
	answer.lane = lane->id;
	if (!r->setup && c->state == FXP_CLIENT_UP)
		c->answered = true;
	fxp_measure_answered(c, r, &answer);
	fxp_burst_answered(c, r, &answer);
	if (!r->done && fxr_table[r->kind].reply == FXR_GET_HANDLE &&
	    answer.status.st.code == BE_OK && fxp_burst_leaves_open(r, &answer))
		close_late(c, lane, &answer);
	complete(c, r, &answer);
	fxr_answer_finish(&answer);
}

void fxp_client_break(struct fxp_client *c, enum link_fail fail, const char *fmt, ...)
{
	va_list ap;

	if (c->broken)
		return;
	c->broken = true;
	c->own_error.fail = fail;
	va_start(ap, fmt);
	vsnprintf(c->own_error.text, sizeof(c->own_error.text), fmt, ap);
	va_end(ap);
	log_info(LOG_SFTP, "%s", c->own_error.text);
	link_reset(c->link);
}

static void insert_lost(struct fxp_client *c, struct fxr *r)
{
	struct list *at = c->lost.prev;

	while (at != &c->lost && list_entry(at, struct fxr, entry)->seq > r->seq)
		at = at->prev;
	list_insert(at->next, &r->entry);
}

static void lose_one(struct fxp_client *c, struct fxr *r, struct list *gone)
{
	detach(c, r);
	fxp_window_done(&r->sample, 0, c->clock->now_ms);
	r->args.burst = false;
	r->lost_count++;
	r->lost_wall_ms = c->clock->wall_ms;
	r->suspect_count += !c->blamed;
	if (!r->done)
		request_free(r);
	else if (r->setup || fxr_table[r->kind].settle == FXR_DROP)
		list_push_back(gone, &r->entry);
	else
		insert_lost(c, r);
}

void fxp_client_lose(struct fxp_client *c)
{
	struct list gone;

	list_init(&gone);
	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		while (!list_empty(&lane->in_flight))
			lose_one(c, list_entry(lane->in_flight.next, struct fxr, entry), &gone);
	}
	fxp_lane_forget_all(c);
	while (!list_empty(&gone))
		complete_lost(c, list_entry(gone.next, struct fxr, entry));
}

void fxp_client_move(struct fxp_client *c, struct fxp_lane *lane)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &lane->in_flight);
	while (!list_empty(&now)) {
		struct fxr *r = list_entry(now.next, struct fxr, entry);

		fxp_window_done(&r->sample, 0, c->clock->now_ms);
		detach(c, r);
		if (!r->done) {
			request_free(r);
			continue;
		}
		list_push_back(&c->waiting, &r->entry);
		transmit(c, r);
	}
}

int fxp_client_connect(struct fxp_client *c)
{
	c->state = FXP_CLIENT_CONNECTING;
	return link_connect(c->link);
}

void fxp_client_go(struct fxp_client *c)
{
	struct list now;

	c->state = FXP_CLIENT_UP;
	list_init(&now);
	list_splice(&now, &c->waiting);
	while (!list_empty(&now))
		transmit(c, list_entry(now.next, struct fxr, entry));
}

void fxp_client_stop(struct fxp_client *c)
{
	c->state = FXP_CLIENT_STOPPED;
}

static bool fail_in_flight(struct fxp_client *c)
{
	struct fxr_answer answer = {.lost = true};
	struct list now;
	bool any = false;

	fxp_status_set(&answer.status, BE_LOST, 0, "");
	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		list_init(&now);
		list_splice(&now, &lane->in_flight);
		while (!list_empty(&now)) {
			struct fxr *r = list_entry(now.next, struct fxr, entry);
			fxr_done_fn *done = r->done;
			void *done_arg = r->arg;

			list_del(&r->entry);
			list_push_back(&lane->in_flight, &r->entry);
			if (!done || r->setup)
				continue;
			orphan(r);
			any = true;
			done(done_arg, &answer);
		}
	}
	return any;
}

void fxp_client_fail_all(struct fxp_client *c)
{
	struct list now;
	bool any;

	c->failing = true;
	do {
		any = fail_in_flight(c);
		list_init(&now);
		list_splice(&now, &c->lost);
		list_splice(&now, &c->waiting);
		list_splice(&now, &c->deferred);
		while (!list_empty(&now)) {
			complete_lost(c, list_entry(now.next, struct fxr, entry));
			any = true;
		}
	} while (any);
	c->failing = false;
}

void fxp_client_resend(struct fxp_client *c, struct fxr *r)
{
	if (r->suspect_count > SUSPECT_COUNT_MAX)
		defer(c, r, BE_ERRNO, EIO);
	else
		transmit(c, r);
}

void fxp_client_settle(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer)
{
	complete(c, r, answer);
}

int64_t fxp_client_waits_since_ms(const struct fxp_client *c)
{
	int64_t since_ms = INT64_MAX;
	const struct list *queues[] = {&c->waiting, &c->lost};

	for (unsigned i = 0; i < 2; i++)
		if (!list_empty(queues[i])) {
			const struct fxr *r = list_entry(queues[i]->next, const struct fxr, entry);

			since_ms = r->since_ms < since_ms ? r->since_ms : since_ms;
		}
	list_for_each(e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		if (!list_empty(&lane->in_flight)) {
			const struct fxr *r =
			    list_entry(lane->in_flight.next, const struct fxr, entry);

			int64_t from_ms = r->lost_count ? r->since_ms : r->sent_ms;

			since_ms = from_ms < since_ms ? from_ms : since_ms;
		}
	}
	return since_ms == INT64_MAX ? -1 : since_ms;
}

void fxp_client_finish(struct fxp_client *c)
{
	fxp_client_stop(c);
	fxp_client_fail_all(c);
	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		while (!list_empty(&lane->in_flight))
			complete_lost(c, list_entry(lane->in_flight.next, struct fxr, entry));
	}
	fxp_client_fail_all(c);
	fxp_lane_forget_all(c);
	timer_cancel(&c->deferred_timer);
	hash_finish(&c->by_id);
}
