/* SPDX-License-Identifier: BSD-2-Clause */
/* The SFTP backend as the vfs sees it. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"
#include "sftp/stripe.h"

/* While the window grows a stream must ask for more than it gets, or it never will. */
static size_t stream_len(const struct fxp_window *w)
{
	return w->full ? w->window_len + w->window_len / 4 : 2 * w->window_len;
}

void fxp_backend_refresh(struct fxp_backend *fb)
{
	const struct fxp_client *c = &fb->client;
	struct be_info *info = &fb->info;

	info->caps.posix_rename = fxp_ext_has(c->exts, EXT_POSIX_RENAME);
	info->caps.hardlink = fxp_ext_has(c->exts, EXT_HARDLINK);
	info->caps.fsync = fxp_ext_has(c->exts, EXT_FSYNC);
	info->caps.statvfs = fxp_ext_has(c->exts, EXT_STATVFS);
	info->caps.lsetstat = fxp_ext_has(c->exts, EXT_LSETSTAT);
	info->caps.copy = fxp_ext_has(c->exts, EXT_COPY_DATA);
	info->caps.id_names = fxp_ext_has(c->exts, EXT_USERS_GROUPS);
	info->read_len_max = c->read_len_max;
	info->write_len_max = c->write_len_max;
	info->read_unit_len = fxp_window_unit_len(&c->down_window, c->read_len_max);
	info->write_unit_len = fxp_window_unit_len(&c->up_window, c->write_len_max);
	info->stream_len = stream_len(&c->down_window);
	info->write_stream_len = stream_len(&c->up_window);
	info->open_max = c->limits.handle_count;
	info->epoch = c->epoch;
	info->connected = c->state == FXP_CLIENT_UP && !c->broken;
	/* A server that answers others is busy with this one, not silent. */
	info->silent_since_ms = fxp_client_waits_since_ms(c);
	if (info->connected && info->silent_since_ms >= 0 &&
	    info->silent_since_ms < c->last_packet_ms)
		info->silent_since_ms = c->last_packet_ms;
	if (fb->hasher && info->silent_since_ms < 0)
		info->silent_since_ms = fb->hasher->waits_since_ms(fb->hasher->ctx);
}

static const struct be_info *backend_info(struct backend *b)
{
	struct fxp_backend *fb = fxp_backend_of(b);

	fxp_backend_refresh(fb);
	return &fb->info;
}

void fxp_backend_fail_all(struct fxp_backend *fb)
{
	/* With this set, what waits for the window goes to the client, to be failed there. */
	fb->client.failing = true;
	fxp_recover_forget(fb);
	fxp_io_pump(fb);
	fxp_ahead_deliver(fb);
	fxp_client_fail_all(&fb->client);
	if (fb->hasher)
		fb->hasher->fail_all(fb->hasher->ctx);
}

static void backend_quiesce(struct backend *b)
{
	fxp_backend_fail_all(fxp_backend_of(b));
}

static const struct be_ops backend_ops = {
    .info = backend_info,
    .stat = fxp_stat,
    .setattr = fxp_setattr,
    .readlink = fxp_readlink,
    .symlink = fxp_symlink,
    .link = fxp_link,
    .mkdir = fxp_mkdir,
    .rmdir = fxp_rmdir,
    .remove = fxp_remove,
    .rename = fxp_rename,
    .statvfs = fxp_statvfs,
    .id_names = fxp_id_names,
    .list = fxp_list,
    .list_cancel = fxp_list_cancel,
    .list_pause = fxp_list_pause,
    .open = fxp_open,
    .file_node = fxp_file_node,
    .fstat = fxp_fstat,
    .fsetattr = fxp_fsetattr,
    .read = fxp_read,
    .write = fxp_write,
    .fsync = fxp_fsync,
    .copy = fxp_copy,
    .fetch = fxp_fetch,
    .hash = fxp_hash,
    .close = fxp_close,
    .quiesce = backend_quiesce,
};

static void backend_free(struct fxp_backend *fb)
{
	if (fb->recover)
		fxp_recover_stop(fb);
	fxp_client_finish(&fb->client);
	fxp_ahead_deliver(fb);
	timer_cancel(&fb->ahead_timer);
	timer_cancel(&fb->pace_timers[false]);
	timer_cancel(&fb->pace_timers[true]);
	fxp_recover_destroy(fb);
	fxp_session_destroy(fb);
	while (!list_empty(&fb->files)) {
		struct be_file *f = list_entry(fb->files.next, struct be_file, entry);

		f->refs = 1;
		fxp_file_unref(f);
	}
	hash_finish(&fb->nodes);
	free(fb);
}

struct fxp_backend *fxp_backend_create(struct link *link, const struct fxp_config *cfg,
                                       struct clock *clock, struct budget *budget, const char *root,
                                       bool check_root, fxp_started_fn *started, void *arg)
{
	struct fxp_backend *fb = calloc(1, sizeof(*fb));

	if (!fb)
		return NULL;
	fb->base.ops = &backend_ops;
	fb->link = link;
	fb->clock = clock;
	fb->budget = budget;
	fxp_order_init(&fb->names);
	list_init(&fb->files);
	list_init(&fb->read_queue);
	list_init(&fb->ahead_ready);
	timer_init(&fb->ahead_timer, fxp_ahead_deliver, fb);
	timer_init(&fb->pace_timers[false], fxp_io_due, fb);
	timer_init(&fb->pace_timers[true], fxp_io_due, fb);
	list_init(&fb->write_queue);
	if (hash_init(&fb->nodes) != 0) {
		free(fb);
		return NULL;
	}
	if (fxp_client_init(&fb->client, link, cfg, clock, &fxp_session_events, fb) != 0) {
		hash_finish(&fb->nodes);
		free(fb);
		return NULL;
	}
	fb->client.budget = budget;
	if (fxp_recover_create(fb) != 0 ||
	    fxp_session_create(fb, root, check_root, started, arg) != 0) {
		backend_free(fb);
		return NULL;
	}
	fxp_backend_refresh(fb);
	return fb;
}

struct backend *fxp_backend(struct fxp_backend *fb)
{
	return &fb->base;
}

const struct be_attr *fxp_backend_home(const struct fxp_backend *fb)
{
	return fxp_session_home(fb);
}

void fxp_backend_reconnect(struct fxp_backend *fb)
{
	if (fb->client.state == FXP_CLIENT_UP)
		link_probe(fb->link);
	else
		fxp_session_connect(fb);
}

void fxp_backend_wake(struct fxp_backend *fb)
{
	if (fb->client.state == FXP_CLIENT_UP)
		link_probe(fb->link);
	else
		fxp_session_hurry(fb);
}

bool fxp_backend_greeted(const struct fxp_backend *fb)
{
	return fb->client.greeted;
}

void fxp_backend_stats(const struct fxp_backend *fb, struct fxp_stats *out)
{
	const struct fxp_client *c = &fb->client;

	*out = c->stats;
	out->in_flight_len = c->down_window.in_flight_len + c->up_window.in_flight_len;
	out->lane_count = c->lane_count;
	out->exts = c->exts;
	out->packet_len_max = c->packet_len_max;
	out->read_len_max = c->read_len_max;
	out->write_len_max = c->write_len_max;
	out->handle_count_max = c->limits.handle_count;
	out->connected = c->state == FXP_CLIENT_UP && !c->broken;
	out->needs_attention = fxp_session_needs_attention(fb);
}

void fxp_backend_hash_by(struct fxp_backend *fb, const struct fxp_hasher *hasher)
{
	fb->hasher = hasher;
}

void fxp_backend_destroy(struct fxp_backend *fb)
{
	struct link *link;

	if (!fb)
		return;
	link = fb->link;
	fxp_client_stop(&fb->client);
	fxp_backend_fail_all(fb);
	link_destroy(link);
	backend_free(fb);
}
