/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Delivering what was written. A file goes to a temporary name next to its own, gets its mode, owner
 * and times there, and is renamed into place: the old one is whole until the new one is. Where that
 * would lose something (further hard links, an owner that we cannot give) the bytes are copied on
 * the server into the old file instead; where nothing can be made in the directory they are sent
 * into it directly. What was only appended is sent to the end of the file. Owner: the loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

#define PIECE_LEN ((size_t)1 << 20) /* handed to the link at a time */

static const struct scp_channel_ops upload_ops;

static struct content *content_of(struct upload *up)
{
	return list_entry(up, struct content, up);
}

void upload_init(struct content *c)
{
	scp_channel_init(&c->up.ch, &c->sb->channels, &upload_ops);
}

static void nobody(void *arg, const struct be_status *st)
{
}

/* The temporary file is not left behind. */
static void remove_temp(struct content *c)
{
	struct backend *in = c->sb->inner;

	if (c->up.temp && !c->sb->over)
		in->ops->remove(in, c->up.temp, nobody, NULL);
	free(c->up.temp);
	c->up.temp = NULL;
}

/* The end, good or bad. */
static void finish(struct content *c, enum be_code code, int err, const char *text)
{
	struct upload *up = &c->up;

	up->phase = UPLOAD_IDLE;
	up->direct = false;
	if (code != BE_OK)
		remove_temp(c);
	free(up->temp);
	up->temp = NULL;
	content_uploaded(c, code, err, text);
	content_unref(c);
}

static void finish_status(struct content *c, const struct be_status *st)
{
	char text[512];

	snprintf(text, sizeof(text), "%s", st->text);
	finish(c, st->code, st->err, text);
}

void upload_cancel(struct content *c)
{
	scp_channel_cancel(&c->up.ch);
	free(c->up.temp);
	c->up.temp = NULL;
	c->up.phase = UPLOAD_IDLE;
}

/* --- the new file ----------------------------------------------------------------------------- */

static void opened(void *arg, const struct be_status *st, struct be_file *f,
                   const struct be_attr *a)
{
	struct content *c = arg;
	struct backend *in = c->sb->inner;
	bool same = c->change_count == c->up.change_count;

	if (st->code == BE_LOST) {
		finish_status(c, st);
		return;
	}
	if (st->code == BE_OK) {
		if (c->inner)
			in->ops->close(in, c->inner);
		c->inner = f;
	}
	if (st->code == BE_OK && a) {
		uint64_t size = c->size;

		c->base = *a;
		/* Others may have appended too: then what is here is not what is there. */
		if (same && a->size != size) {
			scp_ranges_finish(&c->have);
			scp_spool_clear(&c->spool);
			c->size = a->size;
		}
		c->remote_len = a->size;
		c->append_from = c->up.append ? a->size : c->append_from;
		c->times_set = c->times_set && !same;
	}
	finish(c, BE_OK, 0, "");
}

/* The name leads to another file now: it is opened anew, so that it is known again. */
static void open_new(struct content *c)
{
	struct backend *in = c->sb->inner;
	char path[PATH_MAX];

	c->up.phase = UPLOAD_OPENING;
	free(c->up.temp);
	c->up.temp = NULL;
	if (content_path(c, path) != 0 ||
	    in->ops->open(in, path, c->inner_flags, 0, 0, 0, NULL, NULL, opened, c) < 0)
		finish(c, BE_OK, 0, "");
}

static void renamed(void *arg, const struct be_status *st)
{
	struct content *c = arg;

	if (st->code != BE_OK)
		finish_status(c, st);
	else
		open_new(c);
}

static void rename_temp(struct content *c)
{
	struct backend *in = c->sb->inner;
	char path[PATH_MAX];

	c->up.phase = UPLOAD_RENAMING;
	if (content_path(c, path) != 0) {
		/* Removed while it was sent: nobody wants it any more. */
		remove_temp(c);
		finish(c, BE_OK, 0, "");
	} else if (in->ops->rename(in, c->up.temp, path, BE_RENAME_REPLACE, renamed, c) < 0) {
		finish(c, BE_ERRNO, ENOMEM, "");
	}
}

/* Into the old file, which keeps owner, links and all else. */
static void copy_temp(struct content *c)
{
	struct buf b = BUF_INIT;
	char path[PATH_MAX];

	c->up.phase = UPLOAD_COPYING;
	if (content_path(c, path) != 0) {
		remove_temp(c);
		finish(c, BE_OK, 0, "");
		return;
	}
	/* SFTP does not tell how many names a file has: ask before it loses them. */
	if (!(c->base.valid & BE_ATTR_NLINK)) {
		buf_add_str(&b, "set -- $(ls -ld ");
		scp_quote(&b, path);
		buf_add_str(&b, "); [ \"$2\" = 1 ] && exec mv -f ");
		scp_quote(&b, c->up.temp);
		buf_add_str(&b, " ");
		scp_quote(&b, path);
		buf_add_str(&b, "; ");
	}
	buf_add_str(&b, "cat ");
	scp_quote(&b, c->up.temp);
	buf_add_str(&b, " >");
	scp_quote(&b, path);
	buf_add_str(&b, " && touch -c -r ");
	scp_quote(&b, c->up.temp);
	buf_add_str(&b, " ");
	scp_quote(&b, path);
	buf_add_str(&b, "; s=$?; rm -f ");
	scp_quote(&b, c->up.temp);
	buf_add_str(&b, "; exit $s");
	if (scp_channel_start(&c->up.ch, buf_take(&b)) != 0)
		finish(c, BE_ERRNO, ENOMEM, "");
}

static void set_temp(struct content *c);

static void was_set(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct content *c = arg;
	struct upload *up = &c->up;
	bool other_owner;

	if (st->code == BE_LOST) {
		finish_status(c, st);
		return;
	}
	if (up->direct || up->append) {
		open_new(c);
		return;
	}
	if (st->code != BE_OK && up->chowned) {
		copy_temp(c); /* it cannot be given away */
		return;
	}
	if (st->code != BE_OK) {
		finish_status(c, st);
		return;
	}
	if (a && a->size != up->size) {
		finish(c, BE_ERRNO, EIO, "the server has not as many bytes as were sent");
		return;
	}
	other_owner = a && (c->base.valid & BE_ATTR_OWNER) &&
	              (a->uid != c->base.uid || a->gid != c->base.gid);
	if (c->base.valid & BE_ATTR_NLINK ? c->base.nlink > 1 : !c->fresh) {
		copy_temp(c);
	} else if (other_owner && !up->chowned) {
		up->chowned = true;
		set_temp(c);
	} else {
		rename_temp(c);
	}
}

/* Mode, times and, the second time, the owner. */
static void set_temp(struct content *c)
{
	struct backend *in = c->sb->inner;
	struct upload *up = &c->up;
	struct be_attr want = {.mode = c->base.mode & 07777,
	                       .uid = c->base.uid,
	                       .gid = c->base.gid,
	                       .atime = c->atime,
	                       .mtime = c->mtime};
	char path[PATH_MAX];
	const char *at = up->temp;

	up->phase = UPLOAD_SETTING;
	want.valid = c->times_set ? BE_ATTR_TIMES : 0;
	if (up->direct || up->append) {
		if (!want.valid || content_path(c, path) != 0) {
			open_new(c);
			return;
		}
		at = path;
	} else {
		want.valid |= BE_ATTR_MODE | (up->chowned ? BE_ATTR_OWNER : 0);
	}
	if (in->ops->setattr(in, at, BE_THE_FILE, &want, was_set, c) < 0)
		finish(c, BE_ERRNO, ENOMEM, "");
}

/* --- sending --------------------------------------------------------------------------------- */

static void send_piece(struct content *c)
{
	struct upload *up = &c->up;
	uint64_t left = up->size - up->pos;
	size_t len = left < PIECE_LEN ? (size_t)left : PIECE_LEN;
	struct data *d = len ? data_create(NULL, len) : NULL;
	int err = len && !d ? -ENOMEM : 0;

	if (len && !err)
		err = scp_spool_read(&c->spool, up->pos, d->bytes, len);
	if (err) {
		data_unref(d);
		scp_channel_cancel(&up->ch);
		finish(c, BE_ERRNO, -err, "");
		return;
	}
	if (len) {
		up->pos += len;
		c->sb->written_len += len;
		scp_channel_send(&up->ch, d, len);
	}
}

static bool speaks_scp(const struct content *c)
{
	return !c->sb->no_scp && !c->up.append;
}

static void send_end(struct content *c)
{
	if (speaks_scp(c))
		scp_channel_send_bytes(&c->up.ch, "", 1);
	scp_channel_end_input(&c->up.ch);
	c->up.pos = UINT64_MAX;
}

static void on_opened(struct scp_channel *ch)
{
	struct upload *up = list_entry(ch, struct upload, ch);
	struct content *c = content_of(up);
	struct buf b = BUF_INIT;

	if (up->phase == UPLOAD_COPYING) {
		scp_channel_end_input(ch);
		return;
	}
	up->size = c->size;
	up->pos = up->from;
	up->change_count = c->change_count;
	if (speaks_scp(c)) {
		/* All of it at once: the acknowledgements are counted at the end. */
		scp_source_head(&b, "f", 0600, up->size);
		scp_channel_send_bytes(ch, b.bytes, b.len);
		buf_finish(&b);
	}
	if (up->size > up->pos)
		send_piece(c);
	else
		send_end(c);
}

static void on_drained(struct scp_channel *ch)
{
	struct upload *up = list_entry(ch, struct upload, ch);
	struct content *c = content_of(up);

	if (up->phase != UPLOAD_SENDING || up->pos == UINT64_MAX)
		return;
	if (up->pos < up->size)
		send_piece(c);
	else
		send_end(c);
}

static void on_received(struct scp_channel *ch, const uint8_t *bytes, size_t len)
{
	struct upload *up = list_entry(ch, struct upload, ch);

	if (up->phase == UPLOAD_SENDING && speaks_scp(content_of(up)))
		scp_source_feed(&up->source, bytes, len);
}

static void begin(struct content *c);

/* Nobody else may use its name, and it must be on the same filesystem as the file. */
static char *temp_name(struct content *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name;
	uint64_t tag = hash_u64(c->sb->tag++ ^ hash_seed());

	if (asprintf(&name, "%.*s/.sftpfs-%016llx", (int)(slash - path), path,
	             (unsigned long long)tag) < 0)
		return NULL;
	return name;
}

/* An append was cut off or refused: it must not be done twice. */
static void looked(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct content *c = arg;
	struct upload *up = &c->up;
	bool ours = st->code == BE_OK && a && a->size >= c->append_from && a->size <= c->size;

	if (!ours) {
		finish(c, BE_ERRNO, up->err ? up->err : EIO, up->text);
		return;
	}
	c->append_from = a->size;
	if (up->err)
		finish(c, BE_ERRNO, up->err, up->text);
	else
		begin(c);
}

static void look(struct content *c, int err, const char *text)
{
	struct backend *in = c->sb->inner;
	char path[PATH_MAX];

	c->up.phase = UPLOAD_LOOKING;
	c->up.err = err;
	snprintf(c->up.text, sizeof(c->up.text), "%s", text);
	if (content_path(c, path) != 0 || in->ops->stat(in, path, true, looked, c) < 0)
		finish(c, BE_ERRNO, err ? err : EIO, text);
}

static void failed(struct content *c, const char *text)
{
	struct upload *up = &c->up;
	int err = scp_errno_of_text(text, strlen(text));

	if (up->append) {
		look(c, err ? err : EIO, text);
		return;
	}
	if (!up->direct && (err == EACCES || err == EPERM) && up->phase == UPLOAD_SENDING) {
		/* Nothing may be made here, but perhaps what is here may be written. */
		up->direct = true;
		begin(c);
		return;
	}
	finish(c, err ? BE_ERRNO : BE_FAILURE, err, text);
}

void upload_go_on(struct content *c)
{
	if (!c->up.waiting || c->changing)
		return;
	c->up.waiting = false;
	set_temp(c);
}

static bool good_end(const struct content *c, int exit_status)
{
	const struct upload *up = &c->up;

	if (up->phase == UPLOAD_COPYING)
		return exit_status == 0;
	if (up->pos != UINT64_MAX || up->source.failed)
		return false;
	if (speaks_scp(c))
		return up->source.acks >= SCP_SOURCE_ACKS && exit_status <= 0;
	return exit_status == 0;
}

static void on_ended(struct scp_channel *ch, enum scp_end end, int exit_status)
{
	struct upload *up = list_entry(ch, struct upload, ch);
	struct content *c = content_of(up);
	char text[512];

	snprintf(text, sizeof(text), "%s", up->source.error[0] ? up->source.error : ch->said);
	if (c->sb->over) {
		up->phase = UPLOAD_IDLE;
	} else if (end == SCP_END_LOST && up->append) {
		look(c, 0, "");
	} else if (end == SCP_END_LOST) {
		begin(c);
	} else if (end == SCP_END_EXIT && good_end(c, exit_status)) {
		if (up->phase == UPLOAD_COPYING)
			open_new(c);
		else
			up->waiting = true;
		upload_go_on(c);
	} else if (end == SCP_END_EXIT && exit_status == 127 && speaks_scp(c) &&
	           up->source.acks == 0) {
		log_info(LOG_SFTP, "the server has no scp, using cat");
		c->sb->no_scp = true;
		begin(c);
	} else {
		failed(c, text);
	}
}

static const struct scp_channel_ops upload_ops = {
    .opened = on_opened,
    .received = on_received,
    .drained = on_drained,
    .ended = on_ended,
};

static char *command(const struct content *c, const char *path)
{
	struct buf b = BUF_INIT;

	if (c->up.append)
		buf_add_str(&b, "exec cat >>");
	else if (c->sb->no_scp)
		buf_add_str(&b, c->up.direct ? "exec cat >" : "umask 077; exec cat >");
	else
		buf_add_str(&b, "exec scp -t ");
	scp_quote(&b, path);
	return buf_take(&b);
}

/* From the start, also after a lost connection. */
static void begin(struct content *c)
{
	struct upload *up = &c->up;
	char path[PATH_MAX];
	const char *at = path;

	up->phase = UPLOAD_SENDING;
	up->waiting = false;
	up->chowned = false;
	up->from = up->append ? c->append_from : 0;
	up->size = c->size;
	up->pos = up->from;
	up->change_count = c->change_count;
	scp_source_init(&up->source);
	if (content_path(c, path) != 0) {
		finish(c, BE_OK, 0, "");
		return;
	}
	if (up->direct || up->append) {
		free(up->temp);
		up->temp = NULL;
	} else {
		if (!up->temp)
			up->temp = temp_name(c, path);
		at = up->temp;
	}
	if (!at || scp_channel_start(&up->ch, command(c, at)) != 0)
		finish(c, BE_ERRNO, ENOMEM, "");
}

void upload_start(struct content *c)
{
	content_ref(c);
	c->up.append = c->append_only;
	c->up.direct = false;
	begin(c);
}
