/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of requests and their encoding. Any thread.
 * Spec: filexfer-02 section 6, OpenSSH PROTOCOL 4.
 */
#include "sftp/request.h"

#include <errno.h>
#include <string.h>

/*
 * fields: p path, P path2, h handle, H handle2, q off, Q off2, L len (64 bit), l len (32 bit),
 * f pflags, u users, g groups, a attributes, s the hash's name, d len (32 bit) and then the body, which travels apart.
 */
const struct fxr_row fxr_table[FXR_KIND_COUNT] = {
    [FXR_OPEN] = {"OPEN", FXP_OPEN, EXT_NONE, "pfa", FXR_GET_HANDLE, LANE_BULK, FXR_CHANGE,
                  FXR_SETTLE_LOOK},
    [FXR_CLOSE] = {"CLOSE", FXP_CLOSE, EXT_NONE, "h", FXR_GET_STATUS, LANE_BULK, FXR_ALL, FXR_DROP},
    [FXR_READ] = {"READ", FXP_READ, EXT_NONE, "hql", FXR_GET_DATA, LANE_BULK, FXR_RANGE,
                  FXR_RESEND},
    [FXR_WRITE] = {"WRITE", FXP_WRITE, EXT_NONE, "hqd", FXR_GET_STATUS, LANE_BULK, FXR_RANGE,
                   FXR_RESEND},
    [FXR_LSTAT] = {"LSTAT", FXP_LSTAT, EXT_NONE, "p", FXR_GET_ATTR, LANE_META, FXR_LOOK,
                   FXR_RESEND},
    [FXR_FSTAT] = {"FSTAT", FXP_FSTAT, EXT_NONE, "h", FXR_GET_ATTR, LANE_BULK, FXR_ALL, FXR_RESEND},
    [FXR_SETSTAT] = {"SETSTAT", FXP_SETSTAT, EXT_NONE, "pa", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                     FXR_RESEND},
    [FXR_FSETSTAT] = {"FSETSTAT", FXP_FSETSTAT, EXT_NONE, "ha", FXR_GET_STATUS, LANE_BULK, FXR_ALL,
                      FXR_RESEND},
    [FXR_OPENDIR] = {"OPENDIR", FXP_OPENDIR, EXT_NONE, "p", FXR_GET_HANDLE, LANE_META, FXR_LOOK,
                     FXR_DROP},
    [FXR_READDIR] = {"READDIR", FXP_READDIR, EXT_NONE, "h", FXR_GET_NAMES, LANE_META, FXR_FREE,
                     FXR_DROP},
    [FXR_REMOVE] = {"REMOVE", FXP_REMOVE, EXT_NONE, "p", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                    FXR_SETTLE_LOOK},
    [FXR_MKDIR] = {"MKDIR", FXP_MKDIR, EXT_NONE, "pa", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                   FXR_SETTLE_LOOK},
    [FXR_RMDIR] = {"RMDIR", FXP_RMDIR, EXT_NONE, "p", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                   FXR_SETTLE_LOOK},
    [FXR_REALPATH] = {"REALPATH", FXP_REALPATH, EXT_NONE, "p", FXR_GET_PATH, LANE_META, FXR_FREE,
                      FXR_DROP},
    [FXR_STAT] = {"STAT", FXP_STAT, EXT_NONE, "p", FXR_GET_ATTR, LANE_META, FXR_LOOK, FXR_RESEND},
    [FXR_RENAME] = {"RENAME", FXP_RENAME, EXT_NONE, "pP", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                    FXR_SETTLE_LOOK},
    [FXR_READLINK] = {"READLINK", FXP_READLINK, EXT_NONE, "p", FXR_GET_PATH, LANE_META, FXR_LOOK,
                      FXR_RESEND},
    [FXR_SYMLINK] = {"SYMLINK", FXP_SYMLINK, EXT_NONE, "pP", FXR_GET_STATUS, LANE_META, FXR_CHANGE,
                     FXR_SETTLE_LOOK},
    [FXR_POSIX_RENAME] = {"posix-rename", FXP_EXTENDED, EXT_POSIX_RENAME, "pP", FXR_GET_STATUS,
                          LANE_META, FXR_CHANGE, FXR_SETTLE_LOOK},
    [FXR_STATVFS] = {"statvfs", FXP_EXTENDED, EXT_STATVFS, "p", FXR_GET_STATVFS, LANE_META,
                     FXR_LOOK, FXR_RESEND},
    [FXR_HARDLINK] = {"hardlink", FXP_EXTENDED, EXT_HARDLINK, "pP", FXR_GET_STATUS, LANE_META,
                      FXR_CHANGE, FXR_SETTLE_LOOK},
    [FXR_FSYNC] = {"fsync", FXP_EXTENDED, EXT_FSYNC, "h", FXR_GET_STATUS, LANE_BULK, FXR_ALL,
                   FXR_RESEND},
    [FXR_LSETSTAT] = {"lsetstat", FXP_EXTENDED, EXT_LSETSTAT, "pa", FXR_GET_STATUS, LANE_META,
                      FXR_CHANGE, FXR_RESEND},
    [FXR_LIMITS] = {"limits", FXP_EXTENDED, EXT_LIMITS, "", FXR_GET_LIMITS, LANE_META, FXR_FREE,
                    FXR_DROP},
    [FXR_EXPAND_PATH] = {"expand-path", FXP_EXTENDED, EXT_EXPAND_PATH, "p", FXR_GET_PATH, LANE_META,
                         FXR_FREE, FXR_DROP},
    [FXR_COPY_DATA] = {"copy-data", FXP_EXTENDED, EXT_COPY_DATA, "hqLHQ", FXR_GET_STATUS, LANE_COPY,
                       FXR_ALL, FXR_RESEND},
    [FXR_USERS_GROUPS] = {"users-groups-by-id", FXP_EXTENDED, EXT_USERS_GROUPS, "ug",
                          FXR_GET_ID_NAMES, LANE_META, FXR_FREE, FXR_RESEND},
    /* offset 0, length 0: all of it; block size 0: one hash */
    [FXR_CHECK_FILE] = {"check-file", FXP_EXTENDED, EXT_CHECK_FILE, "psqLl", FXR_GET_HASH,
                        LANE_BULK, FXR_LOOK, FXR_RESEND},
};

/* Bytes that any request needs besides its strings: length, type, id, numbers, string lengths. */
#define FIXED_LEN_MAX (64u + FXP_ATTR_WIRE_MAX)

static size_t encoded_len_max(const struct fxr_row *row, const struct fxr_args *args)
{
	size_t len = FIXED_LEN_MAX + strlen(fxp_ext_name(row->ext));

	len += args->path ? strlen(args->path) : 0;
	len += args->path2 ? strlen(args->path2) : 0;
	len += args->users ? args->users->count * sizeof(uint32_t) : 0;
	len += args->groups ? args->groups->count * sizeof(uint32_t) : 0;
	len += args->handle ? args->handle->len : 0;
	len += args->handle2 ? args->handle2->len : 0;
	return len;
}

/* A string that holds numbers. Spec: PROTOCOL 4.12. */
static void put_ids(struct fxp_out *out, const struct be_ids *ids)
{
	fxp_put_u32(out, (uint32_t)(ids->count * sizeof(uint32_t)));
	for (size_t i = 0; i < ids->count; i++)
		fxp_put_u32(out, ids->ids[i]);
}

static void encode_field(struct fxp_out *out, char field, const struct fxr_args *args)
{
	switch (field) {
	case 'p':
		fxp_put_str(out, args->path, strlen(args->path));
		break;
	case 'P':
		fxp_put_str(out, args->path2, strlen(args->path2));
		break;
	case 'h':
		fxp_put_str(out, args->handle->bytes, args->handle->len);
		break;
	case 'H':
		fxp_put_str(out, args->handle2->bytes, args->handle2->len);
		break;
	case 'q':
		fxp_put_u64(out, args->off);
		break;
	case 'Q':
		fxp_put_u64(out, args->off2);
		break;
	case 'L':
		fxp_put_u64(out, args->len);
		break;
	case 'l':
	case 'd':
		fxp_put_u32(out, (uint32_t)args->len);
		break;
	case 'f':
		fxp_put_u32(out, args->pflags);
		break;
	case 'u':
		put_ids(out, args->users);
		break;
	case 'g':
		put_ids(out, args->groups);
		break;
	case 's':
		fxp_put_str(out, FXP_HASH_NAME, strlen(FXP_HASH_NAME));
		break;
	case 'a':
		fxp_put_attr(out, &args->attr);
		break;
	default:
		out->failed = true;
	}
}

int fxr_encode(enum fxr_kind kind, const struct fxr_args *args, uint32_t id, bool symlink_swapped,
               size_t packet_len_max, struct data **head, size_t *head_len)
{
	const struct fxr_row *row = &fxr_table[kind];
	size_t body_len = args->body ? (size_t)args->len : 0;
	struct fxr_args swapped;
	struct fxp_out out = {0}, frame;
	struct data *d;

	if (kind == FXR_SYMLINK && !symlink_swapped) {
		swapped = *args;
		swapped.path = args->path2;
		swapped.path2 = args->path;
		args = &swapped;
	}
	d = data_create(NULL, encoded_len_max(row, args));
	if (!d)
		return -ENOMEM;
	out.bytes = d->bytes;
	out.size = d->size;
	fxp_put_u32(&out, 0);
	fxp_put_u8(&out, (uint8_t)row->type);
	fxp_put_u32(&out, id);
	if (row->ext != EXT_NONE)
		fxp_put_str(&out, fxp_ext_name(row->ext), strlen(fxp_ext_name(row->ext)));
	for (const char *f = row->fields; *f; f++)
		encode_field(&out, *f, args);
	if (out.failed || body_len > UINT32_MAX || out.len + body_len > packet_len_max) {
		data_unref(d);
		return -EMSGSIZE;
	}
	frame = (struct fxp_out){.bytes = d->bytes, .size = 4};
	fxp_put_u32(&frame, (uint32_t)(out.len - 4 + body_len));
	*head = d;
	*head_len = out.len;
	return 0;
}
