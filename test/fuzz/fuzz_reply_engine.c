/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole SFTP backend against a phony server. The input is a list of steps: start an operation,
 * answer an outstanding request with arbitrary bytes, cut, let time pass. Every callback runs
 * exactly once, nothing crashes, no file data stays charged.
 *
 *	step: u8 what, u8 len, len bytes
 */
#include "fuzz.h"

#include <string.h>

#include "sftp/sftp.h"
#include "sftp/wire.h"
#include "util/log.h"

#define PACKETS_MAX 256
#define OPS_MAX     512

struct sent {
	uint32_t lane, id;
};

static struct {
	struct link link;
	struct clock clock;
	struct budget budget;
	struct fxp_backend *fb;
	struct sent sent[PACKETS_MAX]; /* not answered, oldest first */
	unsigned sent_count;
	uint32_t opening[16]; /* lanes that the next dispatch opens */
	unsigned opening_count;
	bool connected, up_due, down_due;
	struct be_file *files[4];
	struct be_list *list;
	bool started;
	unsigned begun, ended;
} w;

static int op_connect(struct link *l)
{
	(void)l;
	w.connected = w.up_due = true;
	return 0;
}

static int op_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	(void)l;
	(void)spec;
	if (w.opening_count < 16)
		w.opening[w.opening_count++] = lane;
	return 0;
}

static void op_send(struct link *l, struct link_packet *p)
{
	const uint8_t *b = p->head->bytes;

	(void)l;
	FUZZ_ASSERT(p->head_len >= 9);
	if (w.connected && w.sent_count < PACKETS_MAX)
		w.sent[w.sent_count++] = (struct sent){
		    .lane = p->lane,
		    .id = (uint32_t)b[5] << 24 | (uint32_t)b[6] << 16 | (uint32_t)b[7] << 8 | b[8]};
	data_unref(p->head);
	data_unref(p->body);
	free(p);
}

static void op_reset(struct link *l)
{
	(void)l;
	if (w.connected)
		w.down_due = true;
	w.connected = false;
	w.sent_count = w.opening_count = 0;
}

static void op_facts(const struct link *l, struct link_facts *out)
{
	(void)l;
	memset(out, 0, sizeof(*out));
	out->lane_max = 3;
}

static void op_close_lane(struct link *l, uint32_t lane)
{
	(void)l;
	(void)lane;
}

static void op_probe(struct link *l)
{
	(void)l;
}

static void op_dispatch(struct link *l)
{
	const struct link_events *ev = l->events;
	struct link_error error = {.fail = LINK_FAIL_NETWORK, .text = "cut"};

	if (w.down_due) {
		w.down_due = w.up_due = false;
		ev->down(l->events_ctx, &error);
	}
	if (w.up_due) {
		w.up_due = false;
		ev->up(l->events_ctx);
	}
	while (w.opening_count) {
		uint32_t lane = w.opening[0];

		memmove(w.opening, w.opening + 1, --w.opening_count * sizeof(lane));
		ev->lane_open(l->events_ctx, lane, NULL);
	}
}

static void op_destroy(struct link *l)
{
	(void)l;
}

static const struct link_ops ops = {
    .connect = op_connect,
    .open_lane = op_open_lane,
    .send = op_send,
    .close_lane = op_close_lane,
    .probe = op_probe,
    .reset = op_reset,
    .facts = op_facts,
    .dispatch = op_dispatch,
    .destroy = op_destroy,
};

static void run(void)
{
	for (unsigned i = 0; i < 20; i++) {
		op_dispatch(&w.link);
		clock_run(&w.clock);
	}
}

static void started(void *arg, const struct link_error *error, const char *root,
                    const struct be_attr *attr)
{
	(void)arg;
	(void)root;
	(void)attr;
	FUZZ_ASSERT(!w.started);
	w.started = true;
	(void)error;
}

static void end_status(void *arg, const struct be_status *st)
{
	unsigned *count = arg;

	FUZZ_ASSERT(++*count == 1);
	FUZZ_ASSERT(st->text);
	w.ended++;
}

static void end_attr(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	(void)attr;
	end_status(arg, st);
}

static void end_open(void *arg, const struct be_status *st, struct be_file *f,
                     const struct be_attr *attr)
{
	(void)attr;
	end_status(arg, st);
	FUZZ_ASSERT((st->code == BE_OK) == (f != NULL));
	if (!f)
		return;
	for (unsigned i = 0; i < 4; i++)
		if (!w.files[i]) {
			w.files[i] = f;
			return;
		}
	fxp_backend(w.fb)->ops->close(fxp_backend(w.fb), f);
}

static void end_read(void *arg, const struct be_status *st, struct data *d, size_t off, size_t len)
{
	FUZZ_ASSERT((st->code == BE_OK) == (d != NULL));
	FUZZ_ASSERT(!d || (len > 0 && off + len <= d->size));
	data_unref(d);
	end_status(arg, st);
}

static void end_path(void *arg, const struct be_status *st, const char *target, size_t len)
{
	(void)target;
	(void)len;
	end_status(arg, st);
}

static void end_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	(void)sv;
	end_status(arg, st);
}

static void end_id_names(void *arg, const struct be_status *st, const char *const *users,
                         const char *const *groups)
{
	FUZZ_ASSERT(st->code != BE_OK || (strlen(users[1]) < 256 && strlen(groups[0]) < 256));
	end_status(arg, st);
}

static void end_list(void *arg, const struct be_status *st)
{
	w.list = NULL;
	end_status(arg, st);
}

static void some(void *arg, const struct be_entry *entries, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++)
		FUZZ_ASSERT(strlen(entries[i].name) == entries[i].name_len);
}

static int where(void *owner, char *path, size_t size)
{
	(void)owner;
	snprintf(path, size, "/f");
	return 0;
}

static void begin_one(uint8_t what, unsigned *count)
{
	struct backend *b = fxp_backend(w.fb);
	const struct be_ops *o = b->ops;
	struct be_attr want = {.valid = 1u << (what & 3), .mode = 0600, .size = 1};
	struct be_file *f = w.files[what & 3];
	struct data *d;
	int err = -1;

	switch ((what >> 2) % 17) {
	case 0:
		err = o->stat(b, "/a", what & 1, end_attr, count);
		break;
	case 1:
		err = o->setattr(b, "/a", false, &want, end_attr, count);
		break;
	case 2:
		err = o->mkdir(b, "/d", 0700, end_attr, count);
		break;
	case 3:
		err = o->rename(b, "/a", "/b", BE_RENAME_REPLACE, end_status, count);
		break;
	case 4:
	case 5:
		err =
		    o->open(b, "/f", what & 1 ? BE_READ | BE_WRITE : BE_WRITE | BE_CREAT | BE_EXCL,
		            0600, what & 1, 0, where, NULL, end_open, count);
		break;
	case 6:
		if (!w.list)
			err = o->list(b, "/l", some, end_list, count, &w.list);
		break;
	case 7:
		if (f)
			err = o->read(b, f, 0, 100, end_read, count);
		break;
	case 8:
		d = data_create(&w.budget, 50);
		if (f && d)
			err = o->write(b, f, what, d, 0, 50, end_status, count);
		data_unref(d);
		break;
	case 9:
		if (f)
			err = o->fstat(b, f, end_attr, count);
		break;
	case 10:
		if (f)
			err = o->fsetattr(b, f, &want, end_attr, count);
		break;
	case 11:
		if (f)
			o->close(b, f);
		w.files[what & 3] = NULL;
		break;
	case 12:
		err = o->symlink(b, "t", "/s", end_attr, count);
		break;
	case 13:
		err = o->readlink(b, "/s", end_path, count);
		break;
	case 14:
		err = o->statvfs(b, "/", end_statvfs, count);
		break;
	case 15:
		if (w.files[0] && w.files[1])
			err = o->copy(b, w.files[0], 0, w.files[1], 0, 10, end_status, count);
		break;
	case 16:
		err = o->id_names(b, &(struct be_ids){{1, 2}, 2}, &(struct be_ids){{3}, 1},
		                  end_id_names, count);
		break;
	}
	w.begun += err == 0;
}

/* `bytes`: the packet, with the id of an outstanding request put in. */
static void answer(uint8_t what, const uint8_t *bytes, size_t len)
{
	struct data *d;
	unsigned i;
	struct sent s;

	if (!w.connected || !w.sent_count)
		return;
	i = (what & 7) % w.sent_count;
	s = w.sent[i];
	memmove(&w.sent[i], &w.sent[i + 1], (--w.sent_count - i) * sizeof(s));
	d = data_create(&w.budget, len ? len : 1);
	if (!d)
		return;
	memcpy(d->bytes, bytes, len);
	if (len >= 5 && !(len > 0 && bytes[0] == 2))
		for (unsigned k = 0; k < 4; k++)
			d->bytes[1 + k] = (uint8_t)(s.id >> (24 - 8 * k));
	w.link.events->lane_packet(w.link.events_ctx, s.lane, d, len);
}

static void step(uint8_t what, const uint8_t *bytes, size_t len, unsigned *count)
{
	struct backend *b = fxp_backend(w.fb);

	switch (what >> 6) {
	case 0:
		begin_one(what & 63, count);
		break;
	case 1:
	case 2:
		answer(what, bytes, len);
		break;
	default:
		if ((what & 3) == 0)
			op_reset(&w.link);
		else if ((what & 3) == 1)
			b->ops->quiesce(b);
		else if ((what & 3) == 2 && w.list) {
			w.begun--;
			b->ops->list_cancel(b, w.list);
			w.list = NULL;
		} else
			w.clock.now_ms += 10000;
	}
	run();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static unsigned counts[OPS_MAX];
	struct fxp_config cfg = {
	    .reconnect = true, .probe_interval_ms = 5000, .probe_count_max = 2};
	size_t off = 0;

	memset(&w, 0, sizeof(w));
	memset(counts, 0, sizeof(counts));
	w.link.ops = &ops;
	clock_init(&w.clock);
	budget_init(&w.budget, 0);
	log_set_level(LOG_LEVEL_ERROR);
	log_set_category_level(LOG_SFTP, LOG_LEVEL_ERROR);
	w.fb = fxp_backend_create(&w.link, &cfg, &w.clock, &w.budget, "", true, started, NULL);
	if (!w.fb)
		return 0;
	run();
	for (unsigned i = 0; i < OPS_MAX && len - off >= 2; i++) {
		uint8_t what = bytes[off], n = bytes[off + 1];

		off += 2;
		if (n > len - off)
			n = (uint8_t)(len - off);
		step(what, bytes + off, n, &counts[i]);
		off += n;
	}
	for (unsigned i = 0; i < 4; i++)
		if (w.files[i])
			fxp_backend(w.fb)->ops->close(fxp_backend(w.fb), w.files[i]);
	memset(w.files, 0, sizeof(w.files));
	fxp_backend_destroy(w.fb);
	FUZZ_ASSERT(w.begun == w.ended);
	FUZZ_ASSERT(w.budget.used_len == 0);
	return 0;
}
