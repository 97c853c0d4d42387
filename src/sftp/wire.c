/* SPDX-License-Identifier: BSD-2-Clause */
/* Fields of SFTP packets. Any thread. Spec: filexfer-02 sections 3 to 7, OpenSSH PROTOCOL 4. */
#include "sftp/wire.h"

#include <string.h>

#include "sftp/proto.h"

void fxp_in_init(struct fxp_in *in, const char *packet, uint8_t *bytes, size_t len)
{
	*in = (struct fxp_in){.bytes = bytes, .len = len, .packet = packet};
}

const uint8_t *fxp_get_bytes(struct fxp_in *in, const char *field, size_t len)
{
	if (in->field)
		return NULL;
	if (fxp_in_left(in) < len) {
		FXP_REJECT(in, field);
		return NULL;
	}
	in->off += len;
	return in->bytes + in->off - len;
}

static uint32_t load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint8_t fxp_get_u8(struct fxp_in *in, const char *field)
{
	const uint8_t *p = fxp_get_bytes(in, field, 1);

	return p ? *p : 0;
}

uint32_t fxp_get_u32(struct fxp_in *in, const char *field)
{
	const uint8_t *p = fxp_get_bytes(in, field, 4);

	return p ? load_u32(p) : 0;
}

uint64_t fxp_get_u64(struct fxp_in *in, const char *field)
{
	const uint8_t *p = fxp_get_bytes(in, field, 8);

	return p ? (uint64_t)load_u32(p) << 32 | load_u32(p + 4) : 0;
}

uint8_t *fxp_get_str(struct fxp_in *in, const char *field, size_t len_max, size_t *len)
{
	uint32_t n = fxp_get_u32(in, field);

	*len = 0;
	if (in->field)
		return NULL;
	if (n > len_max || n > fxp_in_left(in)) {
		FXP_REJECT(in, field);
		return NULL;
	}
	*len = n;
	in->off += n;
	return in->bytes + in->off - n;
}

static void skip_extended(struct fxp_in *in)
{
	uint32_t count = fxp_get_u32(in, "extended_count");
	size_t len;

	if (count > FXP_ATTR_EXTENDED_MAX)
		FXP_REJECT(in, "extended_count");
	for (uint32_t i = 0; i < count && !in->field; i++) {
		fxp_get_str(in, "extended_type", SIZE_MAX, &len);
		fxp_get_str(in, "extended_data", SIZE_MAX, &len);
	}
}

void fxp_get_attr(struct fxp_in *in, struct be_attr *attr)
{
	uint32_t flags = fxp_get_u32(in, "attr_flags");
	const uint32_t known = FX_ATTR_SIZE | FX_ATTR_UIDGID | FX_ATTR_PERMISSIONS |
	                       FX_ATTR_ACMODTIME | FX_ATTR_EXTENDED;

	*attr = (struct be_attr){0};
	/* A flag we do not know has a field whose length we do not know. */
	if (flags & ~known)
		FXP_REJECT(in, "attr_flags");
	if (in->field)
		return;
	if (flags & FX_ATTR_SIZE) {
		attr->size = fxp_get_u64(in, "size");
		attr->valid |= BE_ATTR_SIZE;
	}
	if (flags & FX_ATTR_UIDGID) {
		attr->uid = fxp_get_u32(in, "uid");
		attr->gid = fxp_get_u32(in, "gid");
		attr->valid |= BE_ATTR_OWNER;
	}
	if (flags & FX_ATTR_PERMISSIONS) {
		attr->mode = fxp_get_u32(in, "permissions");
		attr->valid |= BE_ATTR_MODE;
	}
	if (flags & FX_ATTR_ACMODTIME) {
		attr->atime = fxp_get_u32(in, "atime");
		attr->mtime = fxp_get_u32(in, "mtime");
		attr->valid |= BE_ATTR_TIMES;
	}
	if (flags & FX_ATTR_EXTENDED)
		skip_extended(in);
	if (in->field)
		*attr = (struct be_attr){0};
}

void fxp_get_statvfs(struct fxp_in *in, struct be_statvfs *sv)
{
	*sv = (struct be_statvfs){0};
	sv->bsize = fxp_get_u64(in, "f_bsize");
	sv->frsize = fxp_get_u64(in, "f_frsize");
	sv->blocks = fxp_get_u64(in, "f_blocks");
	sv->bfree = fxp_get_u64(in, "f_bfree");
	sv->bavail = fxp_get_u64(in, "f_bavail");
	sv->files = fxp_get_u64(in, "f_files");
	sv->ffree = fxp_get_u64(in, "f_ffree");
	sv->favail = fxp_get_u64(in, "f_favail");
	sv->fsid = fxp_get_u64(in, "f_fsid");
	sv->readonly = (fxp_get_u64(in, "f_flag") & FX_STATVFS_RDONLY) != 0;
	sv->namemax = fxp_get_u64(in, "f_namemax");
}

void fxp_get_limits(struct fxp_in *in, struct fxp_limits *limits)
{
	*limits = (struct fxp_limits){0};
	limits->packet_len = fxp_get_u64(in, "max-packet-length");
	limits->read_len = fxp_get_u64(in, "max-read-length");
	limits->write_len = fxp_get_u64(in, "max-write-length");
	limits->handle_count = fxp_get_u64(in, "max-open-handles");
}

void fxp_get_end(struct fxp_in *in)
{
	if (!in->field && fxp_in_left(in))
		FXP_REJECT(in, "end");
}

static bool name_ok(const uint8_t *name, size_t len)
{
	/* A longer one makes the kernel fail the whole listing. More than 255 bytes do exist: names of
	 * 255 UTF-16 units, and ZFS. */
	if (len == 0 || len > FXP_ENTRY_LEN_MAX || memchr(name, '/', len) ||
	    memchr(name, '\0', len))
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return true;
}

bool fxp_get_entry(struct fxp_in *in, struct be_entry *entry)
{
	size_t name_len, long_len;
	uint8_t *name = fxp_get_str(in, "filename", FXP_NAME_LEN_MAX, &name_len);
	uint8_t *longname = fxp_get_str(in, "longname", SIZE_MAX, &long_len);
	uint32_t nlink;

	*entry = (struct be_entry){.name = ""};
	fxp_get_attr(in, &entry->attr);
	if (in->field)
		return false;
	nlink = fxp_longname_nlink((const char *)longname, long_len);
	if (nlink) {
		entry->attr.nlink = nlink;
		entry->attr.valid |= BE_ATTR_NLINK;
	}
	name[name_len] = '\0';
	entry->name = (const char *)name;
	entry->name_len = name_len;
	return name_ok(name, name_len);
}

/* "-rwxr-xr-x": a type letter, nine permission letters, perhaps a mark for an ACL. */
static bool mode_string_ok(const char *s, size_t len)
{
	if (len < 10 || len > 11 || !memchr("-dlbcpsD", s[0], 8))
		return false;
	for (size_t i = 1; i < 10; i++)
		if (!memchr("rwxsStT-", s[i], 8))
			return false;
	return true;
}

uint32_t fxp_longname_nlink(const char *longname, size_t len)
{
	size_t i = 0, start;
	uint64_t n = 0;

	while (i < len && longname[i] != ' ')
		i++;
	if (!mode_string_ok(longname, i))
		return 0;
	while (i < len && longname[i] == ' ')
		i++;
	for (start = i; i < len && longname[i] >= '0' && longname[i] <= '9'; i++) {
		n = n * 10 + (uint64_t)(longname[i] - '0');
		if (n > UINT32_MAX)
			return 0;
	}
	if (i == start || i == len || longname[i] != ' ')
		return 0;
	return (uint32_t)n;
}

static uint8_t *room(struct fxp_out *out, size_t len)
{
	if (out->failed || out->size - out->len < len) {
		out->failed = true;
		return NULL;
	}
	out->len += len;
	return out->bytes + out->len - len;
}

void fxp_put_u8(struct fxp_out *out, uint8_t v)
{
	uint8_t *p = room(out, 1);

	if (p)
		*p = v;
}

void fxp_put_u32(struct fxp_out *out, uint32_t v)
{
	uint8_t *p = room(out, 4);

	if (!p)
		return;
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

void fxp_put_u64(struct fxp_out *out, uint64_t v)
{
	fxp_put_u32(out, (uint32_t)(v >> 32));
	fxp_put_u32(out, (uint32_t)v);
}

void fxp_put_str(struct fxp_out *out, const void *bytes, size_t len)
{
	uint8_t *p;

	if (len > UINT32_MAX) {
		out->failed = true;
		return;
	}
	fxp_put_u32(out, (uint32_t)len);
	p = room(out, len);
	if (p && len)
		memcpy(p, bytes, len);
}

void fxp_put_attr(struct fxp_out *out, const struct be_attr *attr)
{
	uint32_t flags = 0;

	flags |= attr->valid & BE_ATTR_SIZE ? FX_ATTR_SIZE : 0;
	flags |= attr->valid & BE_ATTR_OWNER ? FX_ATTR_UIDGID : 0;
	flags |= attr->valid & BE_ATTR_MODE ? FX_ATTR_PERMISSIONS : 0;
	flags |= attr->valid & BE_ATTR_TIMES ? FX_ATTR_ACMODTIME : 0;
	fxp_put_u32(out, flags);
	if (flags & FX_ATTR_SIZE)
		fxp_put_u64(out, attr->size);
	if (flags & FX_ATTR_UIDGID) {
		fxp_put_u32(out, attr->uid);
		fxp_put_u32(out, attr->gid);
	}
	if (flags & FX_ATTR_PERMISSIONS)
		fxp_put_u32(out, attr->mode);
	if (flags & FX_ATTR_ACMODTIME) {
		fxp_put_u32(out, attr->atime);
		fxp_put_u32(out, attr->mtime);
	}
}
