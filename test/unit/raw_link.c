/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract: raw_link.h. */
#include "raw_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scp/script.h"
#include "util/data.h"

static struct raw_link *of(const struct link *l)
{
	return list_entry(l, struct raw_link, link);
}

static int op_connect(struct link *l)
{
	struct raw_link *r = of(l);

	if (r->connecting || r->connected)
		return -EALREADY;
	r->connecting = true;
	return 0;
}

static int op_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	of(l)->lane = lane;
	return 0;
}

static void op_send(struct link *l, struct link_packet *p)
{
	buf_add(&of(l)->sent, p->head->bytes, p->head_len);
	data_unref(p->head);
	free(p);
}

static void op_lane(struct link *l, uint32_t lane)
{
}

static size_t op_unsent_len(const struct link *l)
{
	return 0;
}

static void op_probe(struct link *l)
{
}

static void op_reset(struct link *l)
{
	of(l)->reset = true;
}

static void op_facts(const struct link *l, struct link_facts *out)
{
}

static void op_destroy(struct link *l)
{
}

static const struct link_ops raw_ops = {
    .connect = op_connect,
    .open_lane = op_open_lane,
    .send = op_send,
    .end_lane = op_lane,
    .close_lane = op_lane,
    .unsent_len = op_unsent_len,
    .probe = op_probe,
    .reset = op_reset,
    .facts = op_facts,
    .destroy = op_destroy,
};

static void started(void *arg, const struct link_error *error, const char *root,
                    const struct be_attr *attr)
{
	struct raw_link *r = arg;

	r->started_count++;
	r->fail = error ? error->fail : LINK_FAIL_NONE;
	snprintf(r->root, sizeof(r->root), "%s", root ? root : "");
}

static void go_up(struct raw_link *r)
{
	r->connecting = false;
	r->connected = true;
	r->link.events->up(r->link.events_ctx);
	r->link.events->lane_open(r->link.events_ctx, r->lane, NULL);
}

void raw_start(struct raw_link *r, const char *root)
{
	memset(r, 0, sizeof(*r));
	r->link.ops = &raw_ops;
	clock_init(&r->clock);
	r->clock.now_ms = 1000;
	r->clock.wall_ms = 1000000000000;
	r->shell = scp_shell_create(&r->link, true, &r->clock, root, true, started, r);
	if (!r->shell)
		abort();
	r->be = scp_shell_backend(r->shell);
	go_up(r);
}

static const char good_look[] = SCP_SHELL_GREETING "/r\n41ed 4096 0 0 5 6 2 7 8\n\0"
                                                   "0";

void raw_greet(struct raw_link *r)
{
	raw_say(r, good_look, sizeof(good_look), sizeof(good_look));
}

static void go_down(struct raw_link *r)
{
	const struct link_error error = {LINK_FAIL_NETWORK, "cut"};

	r->connected = r->reset = false;
	r->lane = 0;
	r->link.events->down(r->link.events_ctx, &error);
}

void raw_say(struct raw_link *r, const void *bytes, size_t len, size_t piece)
{
	for (size_t off = 0; off < len && r->lane && !r->reset; off += piece) {
		size_t part = len - off < piece ? len - off : piece;
		struct data *d = data_create(NULL, part);

		if (!d)
			abort();
		memcpy(d->bytes, (const char *)bytes + off, part);
		r->link.events->lane_packet(r->link.events_ctx, r->lane, d, part);
	}
}

void raw_cut(struct raw_link *r)
{
	go_down(r);
	buf_clear(&r->sent);
	for (unsigned i = 0; i < 100 && !r->connecting; i++) {
		r->clock.now_ms += 1000;
		clock_run(&r->clock);
	}
	go_up(r);
	raw_say(r,
	        SCP_SHELL_GREETING "41ed 4096 0 0 5 6 2 7 8\n\0"
	                           "0",
	        SCP_SHELL_GREETING_LEN + 27, 100);
}

void raw_clear(struct raw_link *r)
{
	buf_clear(&r->sent);
}

void raw_finish(struct raw_link *r)
{
	if (r->reset)
		go_down(r);
	scp_shell_destroy(r->shell);
	buf_finish(&r->sent);
}
