/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decoding of replies and the meaning of status codes. Any thread.
 * Spec: filexfer-02 section 7, OpenSSH PROTOCOL 4.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/request.h"
#include "util/sha256.h"

static const struct {
	enum be_code code;
	int err;
} fx_meaning[FX_CODE_COUNT] = {
    [FX_OK] = {BE_OK, 0},
    [FX_EOF] = {BE_EOF, 0},
    [FX_NO_SUCH_FILE] = {BE_NO_SUCH_FILE, 0},
    [FX_PERMISSION_DENIED] = {BE_PERMISSION_DENIED, 0},
    [FX_FAILURE] = {BE_FAILURE, 0},
    [FX_BAD_MESSAGE] = {BE_BAD_MESSAGE, 0},
    [FX_NO_CONNECTION] = {BE_ERRNO, EIO},
    [FX_CONNECTION_LOST] = {BE_ERRNO, EIO},
    [FX_OP_UNSUPPORTED] = {BE_UNSUPPORTED, 0},
    [FX_INVALID_HANDLE] = {BE_ERRNO, EBADF},
    [FX_NO_SUCH_PATH] = {BE_ERRNO, ENOENT},
    [FX_FILE_ALREADY_EXISTS] = {BE_ERRNO, EEXIST},
    [FX_WRITE_PROTECT] = {BE_ERRNO, EROFS},
    [FX_NO_MEDIA] = {BE_ERRNO, ENOMEDIUM},
    [FX_NO_SPACE_ON_FILESYSTEM] = {BE_ERRNO, ENOSPC},
    [FX_QUOTA_EXCEEDED] = {BE_ERRNO, EDQUOT},
    [FX_UNKNOWN_PRINCIPAL] = {BE_ERRNO, EINVAL},
    [FX_LOCK_CONFLICT] = {BE_ERRNO, EAGAIN},
    [FX_DIR_NOT_EMPTY] = {BE_ERRNO, ENOTEMPTY},
    [FX_NOT_A_DIRECTORY] = {BE_ERRNO, ENOTDIR},
    [FX_INVALID_FILENAME] = {BE_ERRNO, EINVAL},
    [FX_LINK_LOOP] = {BE_ERRNO, ELOOP},
    [FX_CANNOT_DELETE] = {BE_ERRNO, EPERM},
    [FX_INVALID_PARAMETER] = {BE_ERRNO, EINVAL},
    [FX_FILE_IS_A_DIRECTORY] = {BE_ERRNO, EISDIR},
};

void fxp_status_copy(struct fxp_status *to, const struct be_status *from)
{
	fxp_status_set(to, from->code, from->err, from->text);
}

static void set_text(struct fxp_status *to, const char *text, size_t len)
{
	size_t n = len < FXP_STATUS_TEXT_MAX ? len : FXP_STATUS_TEXT_MAX;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		to->text[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	to->text[n] = '\0';
	to->st.text = to->text;
}

void fxp_status_set(struct fxp_status *to, enum be_code code, int err, const char *text)
{
	to->st.code = code;
	to->st.err = err;
	set_text(to, text, strlen(text));
}

void fxp_status_from_fx(struct fxp_status *to, uint32_t code, bool eof_ok, const void *text,
                        size_t text_len)
{
	to->st.code = code < FX_CODE_COUNT ? fx_meaning[code].code : BE_FAILURE;
	to->st.err = code < FX_CODE_COUNT ? fx_meaning[code].err : 0;
	if (code == FX_EOF && !eof_ok) {
		to->st.code = BE_ERRNO;
		to->st.err = EIO;
	}
	set_text(to, text, text_len);
}

static bool eof_ok(enum fxr_kind kind)
{
	return kind == FXR_READ || kind == FXR_READDIR || kind == FXR_COPY_DATA;
}

/* Message and language tag came with version 3; servers that leave them out are in use. */
static void decode_status(enum fxr_kind kind, struct fxp_in *in, struct fxr_answer *answer)
{
	uint32_t code = fxp_get_u32(in, "status_code");
	const uint8_t *text = NULL;
	size_t text_len = 0, lang_len;

	if (!fxp_in_failed(in) && fxp_in_left(in))
		text = fxp_get_str(in, "message", SIZE_MAX, &text_len);
	if (!fxp_in_failed(in) && fxp_in_left(in))
		fxp_get_str(in, "language", SIZE_MAX, &lang_len);
	fxp_status_from_fx(&answer->status, code, eof_ok(kind), text ? text : (const uint8_t *)"",
	                   text ? text_len : 0);
	if (code == FX_OK && fxr_table[kind].reply != FXR_GET_STATUS)
		FXP_REJECT(in, "status_code");
}

static void decode_handle(struct fxp_in *in, struct fxr_answer *answer)
{
	size_t len;

	answer->handle.bytes = fxp_get_str(in, "handle", FXP_HANDLE_LEN_MAX, &len);
	answer->handle.len = (uint32_t)len;
	fxp_get_end(in);
}

static void decode_data(const struct fxr_args *args, struct fxp_in *in, struct data *packet,
                        struct fxr_answer *answer)
{
	size_t len_max = args->len < SIZE_MAX ? (size_t)args->len : SIZE_MAX;
	const uint8_t *bytes = fxp_get_str(in, "data", len_max, &answer->data.len);

	fxp_get_end(in);
	if (fxp_in_failed(in))
		return;
	answer->data.block = packet;
	answer->data.off = (size_t)(bytes - packet->bytes);
	/* read(2) on the server said 0: the end, whatever the protocol would have it say. */
	if (answer->data.len == 0)
		fxp_status_from_fx(&answer->status, FX_EOF, true, "", 0);
}

#define ENTRY_LEN_MIN 12u /* two string lengths and the attribute flags */

static void keep_dropped(struct fxr_answer *answer, const struct be_entry *e)
{
	size_t n = e->name_len < sizeof(answer->names.dropped) - 1
	               ? e->name_len
	               : sizeof(answer->names.dropped) - 1;

	if (answer->names.dropped_count++)
		return;
	memcpy(answer->names.dropped, e->name, n);
	answer->names.dropped[n] = '\0';
}

static bool is_dot(const struct be_entry *e)
{
	return (e->name_len == 1 && e->name[0] == '.') ||
	       (e->name_len == 2 && e->name[0] == '.' && e->name[1] == '.');
}

static int decode_names(struct fxp_in *in, struct fxr_answer *answer)
{
	uint32_t count = fxp_get_u32(in, "count");

	if (!fxp_in_failed(in) && count > fxp_in_left(in) / ENTRY_LEN_MIN)
		FXP_REJECT(in, "count");
	if (fxp_in_failed(in) || count == 0)
		return 0;
	answer->names.entries = calloc(count, sizeof(*answer->names.entries));
	if (!answer->names.entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !fxp_in_failed(in); i++) {
		struct be_entry *e = &answer->names.entries[answer->names.count];

		if (fxp_get_entry(in, e))
			answer->names.count++;
		else if (!fxp_in_failed(in) && !is_dot(e))
			keep_dropped(answer, e);
	}
	/* Some servers append an end-of-list flag that came with later drafts. */
	if (!fxp_in_failed(in) && fxp_in_left(in) != 1)
		fxp_get_end(in);
	return 0;
}

static void decode_path(struct fxp_in *in, struct fxr_answer *answer)
{
	uint32_t count = fxp_get_u32(in, "count");
	size_t long_len;

	if (!fxp_in_failed(in) && count != 1)
		FXP_REJECT(in, "count");
	answer->path.bytes =
	    (const char *)fxp_get_str(in, "filename", FXP_NAME_LEN_MAX, &answer->path.len);
	fxp_get_str(in, "longname", SIZE_MAX, &long_len);
	fxp_get_attr(in, &answer->attr);
	if (answer->path.len && memchr(answer->path.bytes, '\0', answer->path.len))
		FXP_REJECT(in, "filename");
}

/*
 * Paramiko puts the extension's name first, as the drafts once had it. Another algorithm than the one
 * that was asked for is of no use.
 */
static void decode_hash(struct fxp_in *in, struct fxr_answer *answer)
{
	static const char old_head[] = "check-file";
	size_t len;
	const uint8_t *name = fxp_get_str(in, "hash_algorithm", SIZE_MAX, &len);

	if (name && len == strlen(old_head) && memcmp(name, old_head, len) == 0)
		name = fxp_get_str(in, "hash_algorithm", SIZE_MAX, &len);
	if (name && (len != strlen(FXP_HASH_NAME) || memcmp(name, FXP_HASH_NAME, len) != 0)) {
		fxp_status_set(&answer->status, BE_UNSUPPORTED, 0, "another hash than asked for");
		return;
	}
	answer->hash = fxp_get_bytes(in, "hash", SHA256_LEN);
	fxp_get_end(in);
}

static const struct {
	enum fxp_type type;
} reply_type[] = {
    [FXR_GET_STATUS] = {FXP_STATUS},
    [FXR_GET_HANDLE] = {FXP_HANDLE},
    [FXR_GET_DATA] = {FXP_DATA},
    [FXR_GET_NAMES] = {FXP_NAME},
    [FXR_GET_PATH] = {FXP_NAME},
    [FXR_GET_ATTR] = {FXP_ATTRS},
    [FXR_GET_STATVFS] = {FXP_EXTENDED_REPLY},
    [FXR_GET_LIMITS] = {FXP_EXTENDED_REPLY},
    [FXR_GET_ID_NAMES] = {FXP_EXTENDED_REPLY},
    [FXR_GET_HASH] = {FXP_EXTENDED_REPLY},
};

int fxr_decode(enum fxr_kind kind, const struct fxr_args *args, uint8_t type, struct fxp_in *in,
               struct data *packet, struct fxr_answer *answer)
{
	enum fxr_reply expected = fxr_table[kind].reply;
	int err = 0;

	memset(answer, 0, sizeof(*answer));
	fxp_status_set(&answer->status, BE_OK, 0, "");
	if (type == FXP_STATUS) {
		decode_status(kind, in, answer);
		return fxp_in_failed(in) ? -EPROTO : 0;
	}
	if (type != reply_type[expected].type) {
		FXP_REJECT(in, "type");
		return -EPROTO;
	}
	switch (expected) {
	case FXR_GET_STATUS:
		break;
	case FXR_GET_HANDLE:
		decode_handle(in, answer);
		break;
	case FXR_GET_DATA:
		decode_data(args, in, packet, answer);
		break;
	case FXR_GET_NAMES:
		err = decode_names(in, answer);
		break;
	case FXR_GET_PATH:
		decode_path(in, answer);
		break;
	case FXR_GET_ATTR:
		fxp_get_attr(in, &answer->attr);
		break;
	case FXR_GET_STATVFS:
		fxp_get_statvfs(in, &answer->statvfs);
		break;
	case FXR_GET_LIMITS:
		fxp_get_limits(in, &answer->limits);
		break;
	case FXR_GET_ID_NAMES:
		answer->users.bytes = fxp_get_str(in, "usernames", SIZE_MAX, &answer->users.len);
		answer->groups.bytes = fxp_get_str(in, "groupnames", SIZE_MAX, &answer->groups.len);
		fxp_get_end(in);
		break;
	case FXR_GET_HASH:
		decode_hash(in, answer);
		break;
	}
	if (fxp_in_failed(in)) {
		fxr_answer_finish(answer);
		return -EPROTO;
	}
	return err;
}

void fxr_answer_finish(struct fxr_answer *answer)
{
	free(answer->names.entries);
	answer->names.entries = NULL;
	answer->names.count = 0;
}
