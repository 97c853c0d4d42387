/* SPDX-License-Identifier: BSD-2-Clause */
/* The scripted SFTP server of the unit tests. */
#include "peer.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/wire.h"

enum event_type {
	EVENT_UP,
	EVENT_DOWN,
	EVENT_LANE_OPEN,
	EVENT_PACKET,
	EVENT_LANE_CLOSED,
};

struct event {
	struct list entry;
	enum event_type type;
	uint32_t lane;
	bool failed;
	struct link_error error;
	struct data *packet;
	size_t len;
	int exit_status;
};

static struct peer *peer_of(struct link *l)
{
	return list_entry(l, struct peer, link);
}

/* The peer's own memory does not count among the allocations that are made to fail. */
static void *get(size_t size)
{
	void *p = aligned_alloc(16, (size + 15) / 16 * 16);

	if (!p)
		abort();
	memset(p, 0, size);
	return p;
}

static struct event *post(struct peer *p, enum event_type type, uint32_t lane)
{
	struct event *e = get(sizeof(*e));

	e->type = type;
	e->lane = lane;
	list_push_back(&p->events, &e->entry);
	return e;
}

static int op_connect(struct link *l)
{
	struct peer *p = peer_of(l);

	if (p->connect_err)
		return p->connect_err;
	p->connect_count++;
	p->connected = true;
	p->proof_open_count = p->proof_close_count = 0;
	post(p, EVENT_UP, 0);
	return 0;
}

static int op_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	struct peer *p = peer_of(l);
	struct event *e;

	if (!p->connected)
		return -ENOTCONN;
	if (lane >= PEER_LANES_MAX || p->lanes[lane] != PEER_LANE_NONE)
		abort();
	e = post(p, EVENT_LANE_OPEN, lane);
	e->failed = p->refuse[spec->lane_class];
	e->error.fail = LINK_FAIL_SFTP;
	snprintf(e->error.text, sizeof(e->error.text), "refused");
	if (p->hold_lanes) {
		list_del(&e->entry);
		list_push_back(&p->held_events, &e->entry);
	}
	p->lanes[lane] = e->failed ? PEER_LANE_CLOSED : PEER_LANE_OPEN;
	p->classes[lane] = spec->lane_class;
	return 0;
}

static void copy_str(struct fxp_in *in, char *to, size_t size)
{
	size_t len;
	const uint8_t *s = fxp_get_str(in, "string", size - 1, &len);

	if (s) {
		memcpy(to, s, len);
		to[len] = '\0';
	}
}

static void parse_extended(struct fxp_in *in, struct peer_request *r)
{
	copy_str(in, r->ext, sizeof(r->ext));
	if (strcmp(r->ext, "fsync@openssh.com") == 0) {
		copy_str(in, r->handle, sizeof(r->handle));
	} else if (strcmp(r->ext, "copy-data") == 0) {
		copy_str(in, r->handle, sizeof(r->handle));
		r->off = fxp_get_u64(in, "off");
		r->len = fxp_get_u64(in, "len");
		copy_str(in, r->handle2, sizeof(r->handle2));
		r->off2 = fxp_get_u64(in, "off2");
	} else if (strcmp(r->ext, "limits@openssh.com") != 0) {
		copy_str(in, r->path, sizeof(r->path));
		if (strcmp(r->ext, "lsetstat@openssh.com") == 0)
			fxp_get_attr(in, &r->attr);
		else if (fxp_in_left(in))
			copy_str(in, r->path2, sizeof(r->path2));
		if (strcmp(r->ext, "check-file-name") == 0) {
			r->off = fxp_get_u64(in, "off");
			r->len = fxp_get_u64(in, "len");
			fxp_get_u32(in, "block_size");
		}
	}
}

static void parse_handle_request(struct fxp_in *in, struct peer_request *r)
{
	size_t len;

	const uint8_t *s = fxp_get_str(in, "handle", sizeof(r->handle) - 1, &len);

	if (s)
		memcpy(r->handle, s, len);
	if (s && len == 4)
		r->index = (uint32_t)s[0] << 24 | (uint32_t)s[1] << 16 | (uint32_t)s[2] << 8 | s[3];
	if (r->type == FXP_FSETSTAT)
		fxp_get_attr(in, &r->attr);
	if (r->type != FXP_READ && r->type != FXP_WRITE)
		return;
	r->off = fxp_get_u64(in, "off");
	if (r->type == FXP_READ) {
		r->len = fxp_get_u32(in, "len");
		return;
	}
	r->data = fxp_get_str(in, "data", SIZE_MAX, &len);
	r->len = len;
}

static void parse_path_request(struct fxp_in *in, struct peer_request *r)
{
	copy_str(in, r->path, sizeof(r->path));
	if (r->type == FXP_RENAME || r->type == FXP_SYMLINK)
		copy_str(in, r->path2, sizeof(r->path2));
	if (r->type == FXP_OPEN)
		r->pflags = fxp_get_u32(in, "pflags");
	if (r->type == FXP_OPEN || r->type == FXP_SETSTAT || r->type == FXP_MKDIR)
		fxp_get_attr(in, &r->attr);
}

static void parse(struct peer_request *r)
{
	struct fxp_in in;

	r->index = UINT32_MAX;
	fxp_in_init(&in, "request", r->bytes, r->packet_len);
	r->type = fxp_get_u8(&in, "type");
	r->id = fxp_get_u32(&in, "id");
	switch (r->type) {
	case FXP_INIT:
		break;
	case FXP_EXTENDED:
		parse_extended(&in, r);
		break;
	case FXP_CLOSE:
	case FXP_READ:
	case FXP_WRITE:
	case FXP_FSTAT:
	case FXP_FSETSTAT:
	case FXP_READDIR:
		parse_handle_request(&in, r);
		break;
	default:
		parse_path_request(&in, r);
	}
	fxp_get_end(&in);
	/* What the client sends is whole, or the client is broken. */
	if (fxp_in_failed(&in)) {
		fprintf(stderr, "malformed request of type %u: %s\n", r->type, in.field);
		abort();
	}
}

static void op_send(struct link *l, struct link_packet *packet)
{
	struct peer *p = peer_of(l);
	size_t len = packet->head_len + packet->body_len - 4;
	struct peer_request *r;

	if (p->connected && p->lanes[packet->lane] == PEER_LANE_OPEN) {
		r = get(sizeof(*r) + len);
		r->lane = packet->lane;
		r->packet_len = len;
		memcpy(r->bytes, packet->head->bytes + 4, packet->head_len - 4);
		if (packet->body)
			memcpy(r->bytes + packet->head_len - 4,
			       packet->body->bytes + packet->body_off, packet->body_len);
		parse(r);
		list_push_back(&p->requests, &r->entry);
	}
	data_unref(packet->head);
	data_unref(packet->body);
	free(packet);
}

static void op_close_lane(struct link *l, uint32_t lane)
{
	peer_of(l)->lanes[lane] = PEER_LANE_CLOSED;
}

static size_t op_unsent_len(const struct link *l)
{
	(void)l;
	return 0;
}

static void op_probe(struct link *l)
{
	peer_of(l)->probe_count++;
}

void peer_open_lanes(struct peer *p)
{
	list_splice(&p->events, &p->held_events);
	peer_run(p);
}

static void forget_events(struct peer *p)
{
	list_splice(&p->events, &p->held_events);
	list_for_each_safe(pos, next, &p->events) {
		struct event *e = list_entry(pos, struct event, entry);

		list_del(&e->entry);
		data_unref(e->packet);
		free(e);
	}
}

static void forget_requests(struct list *requests)
{
	list_for_each_safe(pos, next, requests) {
		struct peer_request *r = list_entry(pos, struct peer_request, entry);

		list_del(&r->entry);
		free(r);
	}
}

static void go_down(struct peer *p, enum link_fail fail)
{
	struct event *e;

	if (!p->connected)
		return;
	p->connected = false;
	forget_events(p);
	forget_requests(&p->requests);
	for (unsigned i = 0; i < PEER_LANES_MAX; i++)
		if (p->lanes[i] == PEER_LANE_OPEN)
			p->lanes[i] = PEER_LANE_CLOSED;
	e = post(p, EVENT_DOWN, 0);
	e->error.fail = fail;
	snprintf(e->error.text, sizeof(e->error.text), "cut");
}

static void op_reset(struct link *l)
{
	struct peer *p = peer_of(l);

	p->reset_count++;
	go_down(p, LINK_FAIL_NETWORK);
}

static void op_facts(const struct link *l, struct link_facts *out)
{
	const struct peer *p = list_entry(l, const struct peer, link);

	memset(out, 0, sizeof(*out));
	memcpy(out->server_banner, p->banner, sizeof(p->banner));
	out->probes = p->probes;
	out->lane_max = p->lane_max;
}

static int op_start(struct link *l)
{
	(void)l;
	return 0;
}

static int op_step(struct link *l, int timeout_ms)
{
	(void)l;
	(void)timeout_ms;
	return 0;
}

static int op_dispatch_fd(const struct link *l)
{
	(void)l;
	return -1;
}

static void deliver(struct peer *p, struct event *e)
{
	const struct link_events *ev = p->link.events;
	void *ctx = p->link.events_ctx;
	struct data *packet = e->packet;

	e->packet = NULL;
	switch (e->type) {
	case EVENT_UP:
		ev->up(ctx);
		break;
	case EVENT_DOWN:
		ev->down(ctx, &e->error);
		break;
	case EVENT_LANE_OPEN:
		ev->lane_open(ctx, e->lane, e->failed ? &e->error : NULL);
		break;
	case EVENT_PACKET:
		ev->lane_packet(ctx, e->lane, packet, e->len);
		break;
	case EVENT_LANE_CLOSED:
		ev->lane_closed(ctx, e->lane, e->exit_status);
		break;
	}
}

static void op_dispatch(struct link *l)
{
	struct peer *p = peer_of(l);

	while (!list_empty(&p->events)) {
		struct event *e = list_entry(p->events.next, struct event, entry);

		list_del(&e->entry);
		deliver(p, e);
		free(e);
	}
}

static void op_destroy(struct link *l)
{
	peer_of(l)->destroy_count++;
}

static const struct link_ops peer_ops = {
    .connect = op_connect,
    .open_lane = op_open_lane,
    .send = op_send,
    .close_lane = op_close_lane,
    .unsent_len = op_unsent_len,
    .probe = op_probe,
    .reset = op_reset,
    .facts = op_facts,
    .start = op_start,
    .step = op_step,
    .dispatch_fd = op_dispatch_fd,
    .dispatch = op_dispatch,
    .destroy = op_destroy,
};

void peer_init(struct peer *p)
{
	memset(p, 0, sizeof(*p));
	p->link.ops = &peer_ops;
	clock_init(&p->clock);
	p->clock.now_ms = 1000000;
	p->clock.wall_ms = 1700000000000;
	budget_init(&p->budget, 0);
	list_init(&p->requests);
	list_init(&p->taken);
	list_init(&p->events);
	list_init(&p->held_events);
	snprintf(p->banner, sizeof(p->banner), "SSH-2.0-OpenSSH_9.2p1");
	p->lane_max = 8;
	p->probes = true;
	p->exts = (1u << EXT_COUNT) - 1;
	p->version = 3;
	p->limits = (struct fxp_limits){262144, 261120, 261120, 1000};
	p->fsid = 77;
	p->root_attr = (struct be_attr){.valid = BE_ATTR_MODE | BE_ATTR_OWNER | BE_ATTR_TIMES,
	                                .mode = S_IFDIR | 0755,
	                                .uid = 1000,
	                                .gid = 1000,
	                                .mtime = 5};
	p->cfg.reconnect = true;
	p->cfg.probe_interval_ms = 15000;
	p->cfg.probe_count_max = 3;
}

void peer_finish(struct peer *p)
{
	fxp_backend_destroy(p->fb);
	p->fb = NULL;
	forget_events(p);
	forget_requests(&p->requests);
	forget_requests(&p->taken);
	ck_assert_msg(list_empty(&p->clock.timers), "a timer is still armed");
	ck_assert_uint_eq(p->budget.used_len, 0);
}

static void started(void *arg, const struct link_error *error, const char *root,
                    const struct be_attr *attr)
{
	struct peer *p = arg;

	p->started_count++;
	if (error) {
		p->started_error = *error;
		return;
	}
	snprintf(p->root, sizeof(p->root), "%s", root);
	p->started_attr = *attr;
}

struct fxp_backend *peer_create(struct peer *p, const char *root)
{
	p->fb =
	    fxp_backend_create(&p->link, &p->cfg, &p->clock, &p->budget, root, true, started, p);
	return p->fb;
}

struct fxp_backend *peer_start(struct peer *p, const char *root)
{
	ck_assert_ptr_nonnull(peer_create(p, root));
	peer_run(p);
	if (!p->manual) {
		peer_answer_setup(p);
		ck_assert_uint_eq(p->started_count, 1);
		ck_assert_int_eq(p->started_error.fail, LINK_FAIL_NONE);
	}
	return p->fb;
}

void peer_run(struct peer *p)
{
	do {
		link_dispatch(&p->link);
		clock_run(&p->clock);
	} while (!list_empty(&p->events) || clock_timeout_ms(&p->clock) == 0);
}

void peer_wait(struct peer *p, int64_t ms)
{
	p->clock.now_ms += ms;
	p->clock.wall_ms += ms;
	peer_run(p);
}

static struct peer_request *take(struct peer *p, struct peer_request *r)
{
	list_del(&r->entry);
	list_push_back(&p->taken, &r->entry);
	return r;
}

struct peer_request *peer_take(struct peer *p, uint8_t type)
{
	struct peer_request *r;

	ck_assert_msg(!list_empty(&p->requests), "no request, wanted type %u", type);
	r = list_entry(p->requests.next, struct peer_request, entry);
	ck_assert_msg(r->type == type, "request of type %u \"%s\" \"%s\", wanted %u", r->type,
	              r->ext, r->path, type);
	return take(p, r);
}

struct peer_request *peer_find(struct peer *p, uint8_t type)
{
	list_for_each(pos, &p->requests) {
		struct peer_request *r = list_entry(pos, struct peer_request, entry);

		if (r->type == type)
			return take(p, r);
	}
	ck_abort_msg("no request of type %u", type);
	return NULL;
}

unsigned peer_waiting(const struct peer *p)
{
	unsigned count = 0;

	list_for_each(pos, &p->requests)
		count++;
	return count;
}

void peer_raw(struct peer *p, uint32_t lane, const void *bytes, size_t len)
{
	struct event *e;

	if (!p->connected || p->lanes[lane] != PEER_LANE_OPEN)
		return;
	p->clock.now_ms += p->rtt_ms;
	e = post(p, EVENT_PACKET, lane);
	e->packet = get(sizeof(struct data) + len + 1);
	e->packet->refs = 1;
	e->packet->size = len;
	memcpy(e->packet->bytes, bytes, len);
	e->len = len;
}

struct out {
	struct fxp_out o;
	uint8_t bytes[300000];
};

static struct out *begin(uint8_t type, uint32_t id)
{
	static struct out out;

	out.o = (struct fxp_out){.bytes = out.bytes, .size = sizeof(out.bytes)};
	fxp_put_u8(&out.o, type);
	fxp_put_u32(&out.o, id);
	return &out;
}

static void put_string(struct out *out, const char *s)
{
	fxp_put_str(&out->o, s, strlen(s));
}

static void end(struct peer *p, uint32_t lane, struct out *out)
{
	if (out->o.failed)
		abort();
	peer_raw(p, lane, out->bytes, out->o.len);
}

void peer_status(struct peer *p, const struct peer_request *r, uint32_t code)
{
	struct out *out = begin(FXP_STATUS, r->id);

	fxp_put_u32(&out->o, code);
	put_string(out, code ? "server text" : "Success");
	put_string(out, "");
	end(p, r->lane, out);
}

void peer_handle(struct peer *p, const struct peer_request *r, const char *handle)
{
	struct out *out = begin(FXP_HANDLE, r->id);

	put_string(out, handle);
	end(p, r->lane, out);
}

void peer_index(struct peer *p, const struct peer_request *r, uint32_t index)
{
	struct out *out = begin(FXP_HANDLE, r->id);

	fxp_put_u32(&out->o, 4);
	fxp_put_u32(&out->o, index);
	end(p, r->lane, out);
}

void peer_attr(struct peer *p, const struct peer_request *r, const struct be_attr *attr)
{
	struct out *out = begin(FXP_ATTRS, r->id);

	fxp_put_attr(&out->o, attr);
	end(p, r->lane, out);
}

void peer_data(struct peer *p, const struct peer_request *r, const void *bytes, size_t len)
{
	struct out *out = begin(FXP_DATA, r->id);

	fxp_put_str(&out->o, bytes, len);
	end(p, r->lane, out);
}

void peer_names(struct peer *p, const struct peer_request *r, const char *const *names,
                unsigned count)
{
	struct out *out = begin(FXP_NAME, r->id);
	struct be_attr attr = peer_file_attr(0, 1);

	fxp_put_u32(&out->o, count);
	for (unsigned i = 0; i < count; i++) {
		put_string(out, names[i]);
		put_string(out, "-rw-r--r--    3 user group 0 Jan  1  1970 x");
		fxp_put_attr(&out->o, &attr);
	}
	end(p, r->lane, out);
}

void peer_id_names(struct peer *p, const struct peer_request *r, const char *users,
                   size_t users_len, const char *groups, size_t groups_len)
{
	struct out *out = begin(FXP_EXTENDED_REPLY, r->id);

	fxp_put_str(&out->o, users, users_len);
	fxp_put_str(&out->o, groups, groups_len);
	end(p, r->lane, out);
}

void peer_hash(struct peer *p, const struct peer_request *r, const char *head, const char *name,
               const void *hash, size_t hash_len)
{
	struct out *out = begin(FXP_EXTENDED_REPLY, r->id);

	if (head[0])
		put_string(out, head);
	put_string(out, name);
	for (size_t i = 0; i < hash_len; i++)
		fxp_put_u8(&out->o, ((const uint8_t *)hash)[i]);
	end(p, r->lane, out);
}

void peer_cut(struct peer *p, enum link_fail fail)
{
	go_down(p, fail);
	peer_run(p);
}

void peer_close_lane(struct peer *p, uint32_t lane, int exit_status)
{
	struct event *e = post(p, EVENT_LANE_CLOSED, lane);

	e->exit_status = exit_status;
	p->lanes[lane] = PEER_LANE_CLOSED;
}

static void send_version(struct peer *p, uint32_t lane)
{
	struct out *out = begin(FXP_VERSION, p->version);

	for (unsigned i = 0; i < EXT_COUNT; i++) {
		bool two = i == EXT_STATVFS || i == EXT_FSTATVFS;

		if (!fxp_ext_has(p->exts, i))
			continue;
		put_string(out, fxp_ext_name(i));
		put_string(out, two ? "2" : "1");
	}
	end(p, lane, out);
}

static void send_limits(struct peer *p, const struct peer_request *r)
{
	struct out *out = begin(FXP_EXTENDED_REPLY, r->id);

	fxp_put_u64(&out->o, p->limits.packet_len);
	fxp_put_u64(&out->o, p->limits.read_len);
	fxp_put_u64(&out->o, p->limits.write_len);
	fxp_put_u64(&out->o, p->limits.handle_count);
	end(p, r->lane, out);
}

static void send_statvfs(struct peer *p, const struct peer_request *r)
{
	struct out *out = begin(FXP_EXTENDED_REPLY, r->id);

	for (unsigned i = 0; i < 11; i++)
		fxp_put_u64(&out->o, i == 8 ? p->fsid : i == 9 ? 0 : 4096 + i);
	end(p, r->lane, out);
}

static void answer_proof(struct peer *p, struct peer_request *r)
{
	if (p->proven)
		peer_index(p, r, p->proof_index[p->proof_open_count]);
	else
		peer_status(p, r, FX_PERMISSION_DENIED);
	p->proof_open_count++;
}

/* Return: true when `r` belongs to the way up. */
static bool answer_setup_one(struct peer *p, struct peer_request *r)
{
	const char *root = "/root";

	if (r->type == FXP_INIT)
		send_version(p, r->lane);
	else if (strcmp(r->ext, "limits@openssh.com") == 0)
		send_limits(p, r);
	else if (strcmp(r->ext, "statvfs@openssh.com") == 0)
		send_statvfs(p, r);
	else if (r->type == FXP_REALPATH)
		peer_names(p, r, &root, 1);
	else if (r->type == FXP_STAT && p->root_status)
		peer_status(p, r, p->root_status);
	else if (r->type == FXP_STAT)
		peer_attr(p, r, &p->root_attr);
	else if (r->type == FXP_OPENDIR && p->proof_open_count < 2)
		answer_proof(p, r);
	else if (r->type == FXP_CLOSE && p->proof_close_count < 2 && ++p->proof_close_count)
		peer_status(p, r, p->proven ? FX_OK : FX_FAILURE);
	else
		return false;
	return true;
}

void peer_answer_setup(struct peer *p)
{
	bool any;

	do {
		any = false;
		peer_run(p);
		list_for_each_safe(pos, next, &p->requests) {
			struct peer_request *r = list_entry(pos, struct peer_request, entry);

			if (!answer_setup_one(p, r))
				continue;
			take(p, r);
			any = true;
		}
	} while (any);
}

struct data *peer_block(struct peer *p, size_t len)
{
	struct data *d = data_create(&p->budget, len);

	for (size_t i = 0; i < len; i++)
		d->bytes[i] = (uint8_t)(i * 31 + 7);
	return d;
}

struct be_attr peer_file_attr(uint64_t size, uint32_t mtime)
{
	return (struct be_attr){.valid =
	                            BE_ATTR_SIZE | BE_ATTR_OWNER | BE_ATTR_MODE | BE_ATTR_TIMES,
	                        .mode = S_IFREG | 0644,
	                        .size = size,
	                        .uid = 1000,
	                        .gid = 1000,
	                        .atime = mtime,
	                        .mtime = mtime};
}

void got_status(void *arg, const struct be_status *st)
{
	struct got *g = arg;

	g->count++;
	g->code = st->code;
	g->err = st->err;
	snprintf(g->text, sizeof(g->text), "%s", st->text);
}

void got_attr(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct got *g = arg;

	got_status(arg, st);
	g->attr_ok = attr != NULL;
	if (attr)
		g->attr = *attr;
}

void got_open(void *arg, const struct be_status *st, struct be_file *f, const struct be_attr *attr)
{
	struct got *g = arg;

	got_attr(arg, st, attr);
	g->file = f;
}

void got_read(void *arg, const struct be_status *st, struct data *block, size_t off, size_t len)
{
	struct got *g = arg;

	got_status(arg, st);
	g->len = len;
	if (len && len <= sizeof(g->bytes))
		memcpy(g->bytes, block->bytes + off, len);
	data_unref(block);
}

void got_fetch(void *arg, const struct be_status *st, const struct be_attr *attr,
               struct data *block, size_t off, size_t len)
{
	struct got *g = arg;

	g->attr_ok = attr != NULL;
	if (attr)
		g->attr = *attr;
	got_read(arg, st, block, off, len);
}

void got_path(void *arg, const struct be_status *st, const char *target, size_t len)
{
	struct got *g = arg;

	got_status(arg, st);
	g->len = len;
	if (st->code == BE_OK && len < sizeof(g->bytes))
		memcpy(g->bytes, target, len);
}

void got_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct got *g = arg;

	got_status(arg, st);
	if (sv)
		g->statvfs = *sv;
}

void got_entries(void *arg, const struct be_entry *entries, size_t count)
{
	struct got *g = arg;

	for (size_t i = 0; i < count; i++) {
		size_t have = strlen(g->names);

		snprintf(g->names + have, sizeof(g->names) - have, "%s ", entries[i].name);
		g->nlink = entries[i].attr.nlink;
		g->name_count++;
	}
}

int got_where(void *owner, char *path, size_t size)
{
	if (!owner)
		return -ESTALE;
	snprintf(path, size, "%s", (const char *)owner);
	return 0;
}

struct be_file *peer_open_index(struct peer *p, const char *path, uint32_t index)
{
	const struct be_attr attr = peer_file_attr(0, 1);
	struct got *g = get(sizeof(*g));
	struct peer_request *r;
	struct be_file *f;

	ck_assert_int_eq(
	    OPS(p)->open(BE(p), path, BE_READ, 0, 0, 0, got_where, (void *)path, got_open, g), 0);
	peer_run(p);
	peer_index(p, peer_take(p, FXP_OPEN), index);
	r = peer_take(p, FXP_FSTAT);
	ck_assert_uint_eq(r->index, index);
	peer_attr(p, r, &attr);
	peer_run(p);
	ck_assert_uint_eq(g->count, 1);
	ck_assert_int_eq(g->code, BE_OK);
	f = g->file;
	free(g);
	return f;
}

struct be_file *peer_open(struct peer *p, const char *path, uint32_t flags, uint64_t node,
                          const char *handle, const struct be_attr *attr)
{
	struct got *g = get(sizeof(*g));
	struct be_file *f;

	ck_assert_int_eq(
	    OPS(p)->open(BE(p), path, flags, 0644, node, 0, got_where, (void *)path, got_open, g),
	    0);
	peer_run(p);
	peer_handle(p, peer_take(p, FXP_OPEN), handle);
	peer_attr(p, peer_take(p, FXP_LSTAT), attr);
	peer_run(p);
	ck_assert_uint_eq(g->count, 1);
	ck_assert_int_eq(g->code, BE_OK);
	f = g->file;
	free(g);
	return f;
}
