/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing the fields of SFTP packets: a bounded cursor and a bounded encoder, both
 * with a sticky error, so that callers check once at the end. Every length is checked against
 * what is left and against a cap before anything is done with it.
 *
 * Thread: any; no state. Spec: filexfer-02 sections 3 to 7, OpenSSH PROTOCOL 4.
 */
#ifndef SFTP_WIRE_H
#define SFTP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfs/backend.h"

/* Incoming bytes. The first reject is kept for the log; reads after it give zeros. */
struct fxp_in {
	uint8_t *bytes;
	size_t len;
	size_t off;
	const char *packet; /* its name, for the log */
	const char *field;  /* the field that was rejected; NULL: none */
};

/* Rejects the packet at `name_` and makes every later read give zeros; keeps the first name. */
#define FXP_REJECT(in_, name_)                                                                     \
	do {                                                                                       \
		if (!(in_)->field)                                                                 \
			(in_)->field = (name_);                                                    \
		(in_)->off = (in_)->len;                                                           \
	} while (0)

void fxp_in_init(struct fxp_in *in, const char *packet, uint8_t *bytes, size_t len);

static inline bool fxp_in_failed(const struct fxp_in *in)
{
	return in->field != NULL;
}

static inline size_t fxp_in_left(const struct fxp_in *in)
{
	return in->len - in->off;
}

uint8_t fxp_get_u8(struct fxp_in *in, const char *field);
uint32_t fxp_get_u32(struct fxp_in *in, const char *field);
uint64_t fxp_get_u64(struct fxp_in *in, const char *field);

/* A string of at most len_max bytes; points into the packet. NULL (and *len 0) on a reject. */
uint8_t *fxp_get_str(struct fxp_in *in, const char *field, size_t len_max, size_t *len);

/* So many bytes without a length before them; points into the packet. NULL on a reject. */
const uint8_t *fxp_get_bytes(struct fxp_in *in, const char *field, size_t len);

/* ATTRS; extended pairs are skipped. Spec: filexfer-02 section 5. */
void fxp_get_attr(struct fxp_in *in, struct be_attr *attr);

/* Spec: PROTOCOL 4.4. */
void fxp_get_statvfs(struct fxp_in *in, struct be_statvfs *sv);

struct fxp_limits {
	uint64_t packet_len, read_len, write_len, handle_count; /* 0: no limit told */
};

/* Spec: PROTOCOL 4.8. */
void fxp_get_limits(struct fxp_in *in, struct fxp_limits *limits);

/* Rejects bytes that are left over. */
void fxp_get_end(struct fxp_in *in);

/*
 * One entry of a NAME packet. `entry->name` points into the packet, whose byte after the name (the
 * longname's length, read before) becomes its NUL.
 * Return: false when the name must not be used: empty, ".", "..", with '/' or NUL. Check
 * fxp_in_failed() too.
 */
bool fxp_get_entry(struct fxp_in *in, struct be_entry *entry);

/* Link count from a longname in the style of ls -l. Return: 0 when it does not look like one. */
uint32_t fxp_longname_nlink(const char *longname, size_t len);

/* Outgoing bytes. */
struct fxp_out {
	uint8_t *bytes;
	size_t size;
	size_t len;
	bool failed;
};

void fxp_put_u8(struct fxp_out *out, uint8_t v);
void fxp_put_u32(struct fxp_out *out, uint32_t v);
void fxp_put_u64(struct fxp_out *out, uint64_t v);
void fxp_put_str(struct fxp_out *out, const void *bytes, size_t len);
void fxp_put_attr(struct fxp_out *out, const struct be_attr *attr);

#define FXP_ATTR_WIRE_MAX 32u /* bytes that fxp_put_attr() needs at most */

#endif
