/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fetching: whole files by `scp -f`, or `cat` where there is no scp or where the size is not to be
 * believed; from somewhere in the middle by `dd`. Whoever waits for bytes is served as they come.
 * Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

/* A reader this close behind a transfer waits for it instead of asking for itself. */
#define REACH_LEN ((uint64_t)4 << 20)

/* Files up to this are fetched from their start, wherever the first read is. */
#define WHOLE_LEN ((uint64_t)1 << 20)

#define BLOCK_LEN     65536u /* of dd */
#define RANGE_LEN_MIN ((uint64_t)256 << 10)
#define RANGE_LEN_MAX ((uint64_t)64 << 20) /* beyond: to the end of the file */
#define RANGE_GROWTH  4

/* So much ahead of the reader is enough, and from so little on it goes on. */
#define AHEAD_LEN_MAX ((uint64_t)64 << 20)
#define AHEAD_LEN_MIN ((uint64_t)16 << 20)

#define MISMATCH_COUNT_MAX 3u /* a file that is another each time it is asked for */

static const struct scp_channel_ops download_ops;

void downloads_init(struct content *c)
{
	for (unsigned i = 0; i < DOWNLOADS_MAX; i++) {
		c->downloads[i].c = c;
		scp_channel_init(&c->downloads[i].ch, &c->sb->channels, &download_ops);
	}
}

bool downloads_running(const struct content *c)
{
	for (unsigned i = 0; i < DOWNLOADS_MAX; i++)
		if (!scp_channel_idle(&c->downloads[i].ch))
			return true;
	return false;
}

static void download_stop(struct download *d)
{
	d->c->last_end = d->pos;
	scp_channel_cancel(&d->ch);
}

void downloads_cancel(struct content *c)
{
	for (unsigned i = 0; i < DOWNLOADS_MAX; i++)
		scp_channel_cancel(&c->downloads[i].ch);
}

/* --- what has come --------------------------------------------------------------------------- */

static void fail(struct download *d, int err, const char *text)
{
	struct content *c = d->c;

	scp_channel_cancel(&d->ch);
	content_distrust(c);
	log_info(LOG_SFTP, "a file could not be fetched: %s", text[0] ? text : strerror(err));
	if (err == ENOENT)
		content_fail_readers(c, BE_STALE, 0, text);
	else
		content_fail_readers(c, BE_ERRNO, err, text);
	content_touch(c);
}

static void fail_text(struct download *d, const char *text)
{
	int err = scp_errno_of_text(text, strlen(text));

	fail(d, err ? err : EIO, text);
}

/* It is not what we were told: ask, forget what is here of it, and try again. */
static void mismatch(struct download *d)
{
	struct content *c = d->c;

	if (c->dirty || ++c->mismatch_count > MISMATCH_COUNT_MAX) {
		fail(d, EIO, "the file changes while it is fetched");
		return;
	}
	scp_channel_cancel(&d->ch);
	content_look(c);
	content_touch(c);
}

static void take(struct download *d, const uint8_t *bytes, size_t len)
{
	struct content *c = d->c;
	uint64_t left = c->size_known && c->remote_len > d->pos ? c->remote_len - d->pos : 0;
	int err;

	d->any = d->any || len;
	if (!c->size_known)
		left = len;
	err = content_arrived(c, d->pos, bytes, len < left ? len : (size_t)left);
	d->pos += len;
	if (err)
		fail(d, -err, "the spool is full");
}

static void take_scp(struct download *d, const uint8_t *bytes, size_t len)
{
	struct content *c = d->c;

	while (len && !scp_channel_idle(&d->ch)) {
		const uint8_t *data;
		size_t data_len;
		bool head = d->sink.phase == SCP_HEAD;
		size_t used = scp_sink_feed(&d->sink, bytes, len, &data, &data_len);

		if (d->sink.phase == SCP_FAILED) {
			if (d->sink.refused)
				fail_text(d, d->sink.error);
			else
				fail(d, EIO, d->sink.error);
			return;
		}
		/* Written to meanwhile, only a part of the old file may still be of use. */
		if (head && d->sink.phase != SCP_HEAD && d->sink.size != c->base.size) {
			mismatch(d);
			return;
		}
		if (data_len)
			take(d, data, data_len);
		if (used == 0)
			return;
		bytes += used;
		len -= used;
	}
}

static void pause_ahead(struct download *d)
{
	struct content *c = d->c;

	if (c->dirty || !list_empty(&c->fillers) || !c->size_known ||
	    d->pos < c->read_end + AHEAD_LEN_MAX)
		return;
	download_stop(d);
	c->range_len = RANGE_LEN_MAX;
	c->paused = true;
}

static void on_received(struct scp_channel *ch, const uint8_t *bytes, size_t len)
{
	struct download *d = list_entry(ch, struct download, ch);
	struct content *c = d->c;

	content_ref(c);
	if (d->kind == DOWNLOAD_SCP)
		take_scp(d, bytes, len);
	else
		take(d, bytes, len);
	if (!scp_channel_idle(ch))
		pause_ahead(d);
	content_touch(c);
	content_unref(c);
}

static void on_opened(struct scp_channel *ch)
{
	struct download *d = list_entry(ch, struct download, ch);

	if (d->kind == DOWNLOAD_SCP)
		scp_channel_send_bytes(ch, SCP_SINK_ACKS, SCP_SINK_ACKS_LEN);
	else
		scp_channel_end_input(ch);
}

static void on_drained(struct scp_channel *ch)
{
}

/* The whole of a file that tells no size, or the end of one that was to be longer. */
static void ended_well(struct download *d)
{
	struct content *c = d->c;

	c->last_end = d->pos;
	if (!c->size_known) {
		c->size_known = true;
		c->size = c->remote_len = d->pos;
	} else if (d->pos < c->remote_len && d->pos < d->end) {
		mismatch(d);
	} else {
		c->mismatch_count = 0;
	}
}

static void ended(struct scp_channel *ch, enum scp_end end, int exit_status)
{
	struct download *d = list_entry(ch, struct download, ch);
	struct content *c = d->c;
	const char *said = ch->said[0] ? ch->said : "the server ended the transfer";

	content_touch(c);
	if (end == SCP_END_LOST)
		return;
	if (end == SCP_END_REFUSED) {
		fail(d, EIO, said);
	} else if (d->kind == DOWNLOAD_SCP && exit_status == 127 && !d->any) {
		if (!c->sb->no_scp)
			log_info(LOG_SFTP, "the server has no scp, using cat");
		c->sb->no_scp = true;
	} else if (d->kind == DOWNLOAD_SCP && d->sink.phase != SCP_ENDED) {
		if (ch->said[0])
			fail_text(d, said);
		else
			fail(d, EIO, said);
	} else if (d->kind != DOWNLOAD_SCP && exit_status > 0) {
		fail_text(d, said);
	} else {
		ended_well(d);
	}
}

static void on_ended(struct scp_channel *ch, enum scp_end end, int exit_status)
{
	struct content *c = list_entry(ch, struct download, ch)->c;

	content_ref(c);
	ended(ch, end, exit_status);
	content_unref(c);
}

static const struct scp_channel_ops download_ops = {
    .opened = on_opened,
    .received = on_received,
    .drained = on_drained,
    .ended = on_ended,
};

/* --- what to ask for -------------------------------------------------------------------------- */

static char *whole_command(struct download *d, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	struct buf b = BUF_INIT;

	/* A newline in a name is written in different ways by different versions of scp. */
	if (!d->c->size_known || d->c->sb->no_scp || strchr(name, '\n') ||
	    strlen(name) >= sizeof(d->name)) {
		d->kind = DOWNLOAD_CAT;
		buf_add_str(&b, "exec cat ");
	} else {
		d->kind = DOWNLOAD_SCP;
		strcpy(d->name, name);
		scp_sink_init(&d->sink, d->name);
		buf_add_str(&b, "exec scp -f ");
	}
	scp_quote(&b, path);
	return buf_take(&b);
}

static char *range_command(struct download *d, const char *path)
{
	struct buf b = BUF_INIT;

	d->kind = DOWNLOAD_RANGE;
	buf_add_str(&b, "exec dd if=");
	scp_quote(&b, path);
	buf_addf(&b, " bs=%u skip=%llu", BLOCK_LEN, (unsigned long long)(d->pos / BLOCK_LEN));
	if (d->end != UINT64_MAX)
		buf_addf(&b, " count=%llu", (unsigned long long)((d->end - d->pos) / BLOCK_LEN));
	buf_add_str(&b, " 2>/dev/null");
	return buf_take(&b);
}

/* How long the range at `from` is to be when [from, to) is wanted: longer if it continues one. */
static uint64_t range_end(struct content *c, uint64_t from, uint64_t to)
{
	bool continues = from <= c->last_end && c->last_end - from < 2 * BLOCK_LEN;
	uint64_t end;

	if (!continues)
		c->range_len = RANGE_LEN_MIN;
	else if (c->range_len < RANGE_LEN_MAX)
		c->range_len *= RANGE_GROWTH;
	if (c->range_len >= RANGE_LEN_MAX)
		return UINT64_MAX;
	end = from + c->range_len > to ? from + c->range_len : to;
	end += (BLOCK_LEN - end % BLOCK_LEN) % BLOCK_LEN;
	return end < c->remote_len ? end : UINT64_MAX;
}

static void start(struct download *d, uint64_t from, uint64_t to)
{
	struct content *c = d->c;
	char path[PATH_MAX];
	char *command;

	if (content_path(c, path) != 0 || path[0] != '/') {
		content_fail_readers(c, BE_STALE, 0, "");
		return;
	}
	d->any = false;
	d->pos = 0;
	d->end = UINT64_MAX;
	if (from < BLOCK_LEN || !c->size_known || c->remote_len <= WHOLE_LEN) {
		command = whole_command(d, path);
	} else {
		d->pos = from - from % BLOCK_LEN;
		d->end = range_end(c, d->pos, to);
		command = range_command(d, path);
	}
	c->paused = false;
	if (scp_channel_start(&d->ch, command) != 0)
		content_fail_readers(c, BE_ERRNO, ENOMEM, "");
	/* While it is on its way the server is asked whether this still is the file that we know. */
	content_look(c);
}

/* Return: true when a transfer under way will soon bring byte `from`. */
static bool comes(const struct content *c, uint64_t from, bool patient)
{
	for (unsigned i = 0; i < DOWNLOADS_MAX; i++) {
		const struct download *d = &c->downloads[i];

		if (!scp_channel_idle(&d->ch) && d->pos <= from && from < d->end &&
		    (patient || from - d->pos < REACH_LEN))
			return true;
	}
	return false;
}

/* One that nobody waits for. */
static struct download *useless(struct content *c)
{
	uint64_t from, to;

	for (unsigned i = 0; i < DOWNLOADS_MAX; i++) {
		struct download *d = &c->downloads[i];
		bool used = false;

		for (size_t k = 0; !used && readers_want(c, &from, &to, k); k++)
			used = d->pos <= from && from < d->end && from - d->pos < REACH_LEN;
		if (!used)
			return d;
	}
	return NULL;
}

static struct download *idle_one(struct content *c)
{
	for (unsigned i = 0; i < DOWNLOADS_MAX; i++)
		if (scp_channel_idle(&c->downloads[i].ch))
			return &c->downloads[i];
	return NULL;
}

static void want(struct content *c, uint64_t from, uint64_t to)
{
	struct download *d;
	uint64_t more_from, more_to;

	if (from >= to || comes(c, from, false))
		return;
	d = idle_one(c);
	if (!d) {
		d = useless(c);
		if (!d)
			return; /* when one of them has ended */
		download_stop(d);
	}
	/* What others want right behind it comes along. */
	for (size_t k = 0; readers_want(c, &more_from, &more_to, k); k++)
		if (more_from <= to && more_to > to)
			to = more_to;
	start(d, from, to);
}

static bool wants_all(const struct content *c)
{
	return !list_empty(&c->fillers) || (c->dirty && !c->append_only && !c->unlinked &&
	                                    (c->flush_wanted || !list_empty(&c->flushers)));
}

void downloads_pump(struct content *c)
{
	uint64_t from, to;

	if (c->sb->over)
		return;
	for (size_t k = 0; readers_want(c, &from, &to, k); k++) {
		if (from < to || !c->size_known)
			want(c, from, to);
	}
	if (wants_all(c)) {
		from = scp_ranges_gap(&c->have, 0);
		if (from < c->remote_len && !comes(c, from, true) && idle_one(c)) {
			c->last_end = from;
			c->range_len = RANGE_LEN_MAX;
			start(idle_one(c), from, c->remote_len);
		}
	} else if (c->paused && !c->dirty && !downloads_running(c)) {
		from = scp_ranges_gap(&c->have, c->read_end);
		if (from < c->remote_len && from < c->read_end + AHEAD_LEN_MIN) {
			c->last_end = from;
			start(idle_one(c), from, c->remote_len);
		}
	}
}
