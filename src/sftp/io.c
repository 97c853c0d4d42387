/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * READ and WRITE: each waits for its turn on the node, then for room in the window. A short reply
 * is not the end of the file: the rest is asked for. Owner: the loop.
 * Spec: filexfer-02 section 6.4.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"
#include "sftp/stripe.h"

#define STREAM_READ_LEN_MIN 65536u             /* bytes: a READ of a reader in sequence */
#define STREAM_FILE_LEN_MIN (4u * 1024 * 1024) /* bytes: a file worth a large first window */
#define STREAM_WINDOW_LEN   (4u * 1024 * 1024) /* bytes: that window */
#define CHANNEL_LEN         (1920u * 1024) /* bytes: what OpenSSH always has room for in a channel */
#define UNSENT_LEN_MAX      (512u * 1024) /* bytes that may wait in the link for a channel window */
#define SHORT_LEN_MIN       1024u /* bytes: shorter replies say nothing about a server's cap */

struct fxp_io {
	struct fxp_order_op order;
	struct list queue;           /* fb->read_queue or write_queue */
	struct fxp_ahead_wait ahead; /* READ */
	struct be_file *file;
	struct fxp_handle *handle;
	bool write;
	bool sent;
	uint64_t off;
	size_t len;
	struct data *block; /* WRITE: what to write; READ: what came in several replies */
	size_t block_off;
	size_t done_len;  /* READ: bytes in `block` */
	size_t asked_len; /* READ: of the present request */
	union {
		be_read_fn *read;
		be_status_fn *status;
	} done;
	void *arg;
};

static bool io_send(struct fxp_io *io);

static void io_free(struct fxp_io *io)
{
	struct be_file *f = io->file;

	fxp_order_done(&io->order);
	data_unref(io->block);
	f->io_count--;
	f->read_count -= !io->write && io->sent;
	fxp_file_unref(f);
	free(io);
}

/* Takes over `block`. */
static void read_finish(struct fxp_io *io, const struct be_status *st, struct data *block,
                        size_t off, size_t len)
{
	struct fxp_backend *fb = io->file->fb;

	fxp_order_done(&io->order);
	io->done.read(io->arg, st, block, off, len);
	io_free(io);
	fxp_io_pump(fb);
}

static void read_fail(struct fxp_io *io, enum be_code code, int err)
{
	struct fxp_status status;

	fxp_status_set(&status, code, err, "");
	read_finish(io, &status.st, NULL, 0, 0);
}

static void read_deliver(struct fxp_io *io)
{
	struct fxp_status ok;
	struct data *block = io->block;

	io->block = NULL;
	fxp_status_set(&ok, BE_OK, 0, "");
	read_finish(io, &ok.st, block, 0, io->done_len);
}

/* Twice the same length, and more came after: the server never sends more. */
static void learn_cap(struct fxp_backend *fb, size_t len)
{
	if (len < SHORT_LEN_MIN || len >= fb->client.read_len_max)
		return;
	if (fb->read_short_len == len) {
		log_info(LOG_SFTP, "the server answers READ with at most %zu bytes", len);
		fb->client.read_len_max = len;
	}
	fb->read_short_len = len;
}

/* What has come reaches the end that the file had, as far as known: a file that grows is read piece by piece. */
static bool ends_the_file(const struct fxp_io *io)
{
	const struct be_attr *known = &io->file->node->known;

	return (known->valid & BE_ATTR_SIZE) && io->off + io->done_len >= known->size;
}

static void read_part(struct fxp_io *io, const struct fxr_answer *answer)
{
	struct fxp_backend *fb = io->file->fb;

	if (!io->block)
		io->block = data_create(fb->budget, io->len);
	if (!io->block) {
		read_fail(io, BE_ERRNO, ENOMEM);
		return;
	}
	memcpy(io->block->bytes + io->done_len, answer->data.block->bytes + answer->data.off,
	       answer->data.len);
	io->done_len += answer->data.len;
	if (io->done_len > answer->data.len && answer->data.len < io->asked_len &&
	    !ends_the_file(io))
		learn_cap(fb, answer->data.len);
	if (io->done_len == io->len)
		read_deliver(io);
	else if (!io_send(io))
		read_fail(io, BE_ERRNO, ENOMEM);
}

static void read_done(void *arg, const struct fxr_answer *answer)
{
	struct fxp_io *io = arg;
	const struct be_status *st = &answer->status.st;

	if (st->code == BE_OK && io->done_len == 0 && answer->data.len == io->len)
		read_finish(io, st, data_ref(answer->data.block), answer->data.off,
		            answer->data.len);
	else if (st->code == BE_OK)
		read_part(io, answer);
	else if (st->code == BE_EOF && io->done_len)
		read_deliver(io);
	else
		read_finish(io, st, NULL, 0, 0);
}

static void write_finish(struct fxp_io *io, const struct be_status *st)
{
	struct be_file *f = io->file;
	struct fxp_backend *fb = f->fb;
	bool ok = st->code == BE_OK;

	if (io->sent)
		f->node->wire_len -= io->len;
	fxp_node_write_done(f->node, ok, io->off, io->len);
	if (ok)
		fxp_stripes_consider(f);
	fxp_stripes_drained(f->node);
	fxp_order_done(&io->order);
	/* First the bytes: who waits for room in the budget is woken by the answer. */
	data_unref(io->block);
	io->block = NULL;
	io->done.status(io->arg, st);
	io_free(io);
	fxp_io_pump(fb);
}

static void write_done(void *arg, const struct fxr_answer *answer)
{
	write_finish(arg, &answer->status.st);
}

static bool io_send(struct fxp_io *io)
{
	struct fxp_client *c = &io->file->fb->client;
	size_t left = io->len - (io->write ? 0 : io->done_len);
	struct fxr_args args = {.off = io->off};

	args.handle = fxp_stripes_live(io->file, io->handle);
	if (io->write) {
		args.len = left;
		args.body = io->block;
		args.body_off = io->block_off;
	} else {
		io->asked_len = left < c->read_len_max ? left : c->read_len_max;
		args.off += io->done_len;
		args.len = io->asked_len;
	}
	return fxp_client_submit(c, io->write ? FXR_WRITE : FXR_READ, 0, &args,
	                         io->write ? write_done : read_done, io) != NULL;
}

/* The lane is chosen as late as possible: more may have opened while it waited. */
static void choose_lane(struct fxp_io *io)
{
	struct fxp_handle *h;

	if (!io->write || (io->file->flags & BE_APPEND))
		return;
	h = fxp_stripes_next(io->file);
	if (h != io->handle && fxp_order_move(&io->order, h))
		io->handle = h;
}

static void ahead_done(struct fxp_ahead_wait *w)
{
	struct fxp_io *io = list_entry(w, struct fxp_io, ahead);
	struct fxp_status ok;

	fxp_status_set(&ok, BE_OK, 0, "");
	if (w->block)
		read_finish(io, &ok.st, w->block, w->block_off, w->len);
	else if (!io_send(io))
		read_fail(io, BE_ERRNO, ENOMEM);
}

/* Return: true when the bytes came, or come, with the OPEN. */
static bool take_ahead(struct fxp_io *io)
{
	io->ahead.off = io->off;
	io->ahead.len = io->len;
	io->ahead.done = ahead_done;
	return !io->write && fxp_ahead_take(io->file, &io->ahead);
}

/* Read ahead for a file that is no longer open. */
static bool cancelled(const struct fxp_io *io)
{
	return !io->write && io->file->closed;
}

static void io_go(struct fxp_io *io)
{
	struct fxp_status status;

	list_del(&io->queue);
	if (cancelled(io)) {
		read_fail(io, BE_CANCELLED, 0);
		return;
	}
	choose_lane(io);
	if (take_ahead(io)) {
		fxp_order_sent(&io->order);
		return;
	}
	if (io_send(io)) {
		fxp_order_sent(&io->order);
		io->sent = true;
		if (io->write)
			io->file->node->wire_len += io->len;
		else
			io->file->read_count++;
		return;
	}
	fxp_status_set(&status, BE_ERRNO, ENOMEM, "");
	if (io->write)
		write_finish(io, &status.st);
	else
		read_finish(io, &status.st, NULL, 0, 0);
}

/*
 * READs must not have a whole window of answers wait in the server. WRITEs are paced by the channel windows, unless
 * READs would wait behind a burst of them.
 */
static bool paced(struct fxp_backend *fb, bool write)
{
	const struct fxp_window *w = write ? &fb->client.up_window : &fb->client.down_window;
	int64_t due_ms;

	if (write && !fxp_window_faced(w))
		return false;
	due_ms = fxp_window_due_ms(w, fb->clock->now_ms);
	if (due_ms <= fb->clock->now_ms)
		return false;
	timer_set(fb->clock, &fb->pace_timers[write], due_ms);
	return true;
}

static bool room(struct fxp_backend *fb, struct fxp_io *io)
{
	struct fxp_client *c = &fb->client;

	if (c->failing || c->state != FXP_CLIENT_UP)
		return true;
	/* One channel window: more would have to come back before further handles can be proven. */
	if (io->write && fxp_stripes_possible(io->file) &&
	    io->file->node->wire_len + io->len > CHANNEL_LEN)
		return false;
	/* What waits for a channel window is better kept here: more lanes may open for it. */
	if (io->write && !fxp_stripes_ready(io->file) && c->up_window.in_flight_count > 1 &&
	    link_unsent_len(fb->link) > UNSENT_LEN_MAX)
		return false;
	if (!fxp_window_room(io->write ? &c->up_window : &c->down_window))
		return false;
	return !paced(fb, io->write);
}

static bool held(const struct fxp_backend *fb, const struct fxp_io *io)
{
	return io->write && io->file->node->prover && !fb->client.failing;
}

/*
 * The one that may go: of the file that has the fewest READs under way, so that a reader with much
 * to fetch ahead is not in the way of others. NULL when all wait for the proof of a further handle.
 */
static struct fxp_io *next_io(struct fxp_backend *fb, struct list *queue)
{
	struct fxp_io *best = NULL;

	list_for_each(e, queue) {
		struct fxp_io *io = list_entry(e, struct fxp_io, queue);

		if (!held(fb, io) && (!best || io->file->read_count < best->file->read_count))
			best = io;
		if (best && best->file->read_count == 0)
			break;
	}
	return best;
}

static void pump(struct fxp_backend *fb, struct list *queue)
{
	struct fxp_io *io;

	while ((io = next_io(fb, queue)) && (cancelled(io) || room(fb, io)))
		io_go(io);
}

void fxp_io_pump(struct fxp_backend *fb)
{
	if (fb->pumping)
		return;
	fb->pumping = true;
	pump(fb, &fb->read_queue);
	pump(fb, &fb->write_queue);
	fb->pumping = false;
}

void fxp_io_due(void *arg)
{
	fxp_io_pump(arg);
}

static void io_ready(struct fxp_order_op *order)
{
	struct fxp_io *io = list_entry(order, struct fxp_io, order);
	struct fxp_backend *fb = io->file->fb;

	list_push_back(io->write ? &fb->write_queue : &fb->read_queue, &io->queue);
	fxp_io_pump(fb);
}

static int io_start(struct fxp_io *io)
{
	struct be_file *f = io->file;

	list_init(&io->queue);
	io->order.stream = io->handle;
	io->order.ready = io_ready;
	fxp_file_ref(f);
	f->io_count++;
	if (io->write) {
		fxp_node_write_sent(f->node, io->off, io->len);
		fxp_stripes_consider(f);
	}
	if (fxp_order_add(&f->node->order, &io->order))
		io_ready(&io->order);
	return 0;
}

int fxp_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
             void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct fxp_io *io;

	if (len == 0 || len > UINT32_MAX || off + len < off)
		return -EINVAL;
	io = calloc(1, sizeof(*io));
	if (!io)
		return -ENOMEM;
	fxp_file_use(f);
	if (off == 0 && len >= STREAM_READ_LEN_MIN && (f->node->known.valid & BE_ATTR_SIZE) &&
	    f->node->known.size >= STREAM_FILE_LEN_MIN)
		fxp_window_raise(&fb->client.down_window, STREAM_WINDOW_LEN);
	io->file = f;
	io->handle = &f->handle;
	io->off = off;
	io->len = len;
	io->done.read = done;
	io->arg = arg;
	io->order.start = off;
	io->order.end = off + len;
	return io_start(io);
}

int fxp_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
              size_t block_off, size_t len, be_status_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	bool append = (f->flags & BE_APPEND) != 0;
	struct fxp_io *io;

	if (len == 0 || len > fb->client.write_len_max || off + len < off)
		return -EINVAL;
	io = calloc(1, sizeof(*io));
	if (!io)
		return -ENOMEM;
	io->write = true;
	io->file = f;
	io->handle = &f->handle;
	io->off = append ? f->node->sent_end : off;
	io->len = len;
	io->block = data_ref(block);
	io->block_off = block_off;
	io->done.status = done;
	io->arg = arg;
	io->order.change = true;
	io->order.start = append ? 0 : off;
	io->order.end = append ? UINT64_MAX : off + len;
	return io_start(io);
}
