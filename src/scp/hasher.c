/* SPDX-License-Identifier: BSD-2-Clause */
/* Hashes by programs on the server. Contract: include/scp/hasher.h. */
#include "scp/hasher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scp/quote.h"
#include "util/log.h"
#include "util/sha256.h"

#define OUTPUT_LEN_MAX 1024u /* the hash, and a few words around it */

/* Beside SFTP's lanes, of which there are up to eight of the ten channels that servers allow. */
#define SIDE_CHANNELS_MAX 2u

/* The script's, but for the first. */
#define EXIT_FAILED   1 /* all of the programs say so when they cannot read */
#define EXIT_NO_FILE  2
#define EXIT_NO_RIGHT 13

/*
 * The login's own shell may be any: what it gets to read is two quoted words. The file is standard
 * input, so that no program prints (and escapes) its name.
 */
static const char script[] =
    "[ -f \"$1\" ] || exit 2; [ -r \"$1\" ] || exit 13; exec <\"$1\" || exit 13; "
    "for p in sha256sum \"shasum -a 256\" \"sha256 -q\" \"openssl dgst -sha256\"; "
    "do command -v ${p%% *} >/dev/null && exec $p; done; exit 127";

struct hash_op {
	struct list entry;
	struct scp_hasher *hasher;
	struct scp_channel ch;
	be_hash_fn *done;
	void *arg;
	size_t len;
	char output[OUTPUT_LEN_MAX];
	char path[];
};

static void finish(struct hash_op *op, enum be_code code, const char *text, const uint8_t *hash)
{
	const struct be_status st = {.code = code, .text = text};

	list_del(&op->entry);
	op->done(op->arg, &st, hash);
	free(op);
}

static int start(struct hash_op *op)
{
	struct buf b = BUF_INIT;

	op->len = 0;
	buf_add_str(&b, "exec sh -c ");
	scp_quote(&b, script);
	buf_add_str(&b, " sh ");
	scp_quote(&b, op->path);
	return scp_channel_start(&op->ch, buf_take(&b));
}

static void on_opened(struct scp_channel *ch)
{
	scp_channel_end_input(ch);
}

static void on_received(struct scp_channel *ch, const uint8_t *bytes, size_t len)
{
	struct hash_op *op = list_entry(ch, struct hash_op, ch);
	size_t room = sizeof(op->output) - op->len;

	len = len < room ? len : room;
	memcpy(op->output + op->len, bytes, len);
	op->len += len;
}

static void on_drained(struct scp_channel *ch)
{
}

static void on_ended(struct scp_channel *ch, enum scp_end end, int exit_status)
{
	struct hash_op *op = list_entry(ch, struct hash_op, ch);
	uint8_t hash[SHA256_LEN];

	if (end == SCP_END_LOST) {
		if (start(op) != 0)
			finish(op, BE_LOST, "", NULL);
	} else if (end == SCP_END_EXIT && exit_status <= 0 &&
	           sha256_find(op->output, op->len, hash)) {
		finish(op, BE_OK, "", hash);
	} else if (exit_status == EXIT_NO_FILE) {
		finish(op, BE_NO_SUCH_FILE, "", NULL);
	} else if (exit_status == EXIT_NO_RIGHT) {
		finish(op, BE_PERMISSION_DENIED, "", NULL);
	} else if (end == SCP_END_REFUSED || exit_status != EXIT_FAILED || op->len) {
		/* No commands, or something else in their place (ForceCommand), or no such program.
		 */
		log_info(LOG_SFTP, "the server has no program for SHA-256%s%s",
		         ch->said[0] ? ": " : "", ch->said);
		finish(op, BE_UNSUPPORTED, "", NULL);
	} else {
		finish(op, BE_FAILURE, ch->said, NULL);
	}
}

static const struct scp_channel_ops hash_ops = {
    .opened = on_opened,
    .received = on_received,
    .drained = on_drained,
    .ended = on_ended,
};

void scp_hasher_init(struct scp_hasher *h, struct scp_channels *channels)
{
	h->channels = channels;
	list_init(&h->ops);
}

int scp_hasher_run(struct scp_hasher *h, const char *path, be_hash_fn *done, void *arg)
{
	size_t size = strlen(path) + 1;
	struct hash_op *op = calloc(1, sizeof(*op) + size);

	if (!op)
		return -ENOMEM;
	op->hasher = h;
	op->done = done;
	op->arg = arg;
	memcpy(op->path, path, size);
	scp_channel_init(&op->ch, h->channels, &hash_ops);
	op->ch.works_in_silence = true;
	list_push_back(&h->ops, &op->entry);
	if (start(op) == 0)
		return 0;
	list_del(&op->entry);
	free(op);
	return -ENOMEM;
}

void scp_hasher_fail_all(struct scp_hasher *h)
{
	while (!list_empty(&h->ops)) {
		struct hash_op *op = list_entry(h->ops.next, struct hash_op, entry);

		scp_channel_cancel(&op->ch);
		finish(op, BE_LOST, "", NULL);
	}
}

/* --- beside SFTP ----------------------------------------------------------------------------- */

static int side_hash(void *ctx, const char *path, be_hash_fn *done, void *arg)
{
	struct scp_side_hasher *s = ctx;

	return scp_hasher_run(&s->hasher, path, done, arg);
}

static int64_t side_waits_since(void *ctx)
{
	struct scp_side_hasher *s = ctx;

	return scp_channels_silent_since(&s->channels, -1);
}

static void side_fail_all(void *ctx)
{
	struct scp_side_hasher *s = ctx;

	scp_hasher_fail_all(&s->hasher);
}

void scp_side_hasher_init(struct scp_side_hasher *s, struct link *side, bool up,
                          struct clock *clock)
{
	scp_channels_init(&s->channels, side, clock, up, SIDE_CHANNELS_MAX);
	scp_hasher_init(&s->hasher, &s->channels);
	s->for_sftp = (struct fxp_hasher){side_hash, side_waits_since, side_fail_all, s};
}

void scp_side_hasher_finish(struct scp_side_hasher *s)
{
	scp_hasher_fail_all(&s->hasher);
	scp_channels_finish(&s->channels);
}
