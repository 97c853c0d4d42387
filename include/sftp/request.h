/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of requests: what each looks like on the wire, which reply it expects, on which lane
 * it belongs, what it must not overtake, and how it is settled when its reply is lost.
 *
 * Thread: any; no state. Spec: filexfer-02 sections 6 and 7, OpenSSH PROTOCOL 4.
 */
#ifndef SFTP_REQUEST_H
#define SFTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp/extension.h"
#include "sftp/link.h"
#include "sftp/proto.h"
#include "sftp/wire.h"
#include "util/data.h"
#include "vfs/backend.h"

enum fxr_kind {
	FXR_OPEN,
	FXR_CLOSE,
	FXR_READ,
	FXR_WRITE,
	FXR_LSTAT,
	FXR_FSTAT,
	FXR_SETSTAT,
	FXR_FSETSTAT,
	FXR_OPENDIR,
	FXR_READDIR,
	FXR_REMOVE,
	FXR_MKDIR,
	FXR_RMDIR,
	FXR_REALPATH,
	FXR_STAT,
	FXR_RENAME,
	FXR_READLINK,
	FXR_SYMLINK,
	FXR_POSIX_RENAME,
	FXR_STATVFS,
	FXR_HARDLINK,
	FXR_FSYNC,
	FXR_LSETSTAT,
	FXR_LIMITS,
	FXR_EXPAND_PATH,
	FXR_COPY_DATA,
	FXR_USERS_GROUPS,
	FXR_CHECK_FILE,
	FXR_KIND_COUNT,
};

#define FXP_HASH_NAME "sha256" /* of check-file, the only one we ask for */

/* What a request must not overtake, nor be overtaken by. */
enum fxr_barrier {
	FXR_FREE,   /* nothing */
	FXR_LOOK,   /* changes of the same names, or of their parents, on other lanes */
	FXR_CHANGE, /* looks and changes of the same names, or of their parents, on other lanes */
	FXR_RANGE,  /* I/O on the same node where the ranges overlap */
	FXR_ALL,    /* all I/O on the same node */
};

/* When its reply is lost with the connection. */
enum fxr_settle {
	FXR_RESEND,      /* doing it twice is the same as doing it once */
	FXR_SETTLE_LOOK, /* its effect is looked for before it is sent again */
	FXR_DROP,        /* it died with its connection; its caller starts over */
};

enum fxr_reply {
	FXR_GET_STATUS,
	FXR_GET_HANDLE,
	FXR_GET_DATA,
	FXR_GET_NAMES,
	FXR_GET_PATH, /* a NAME of exactly one entry */
	FXR_GET_ATTR,
	FXR_GET_STATVFS,
	FXR_GET_LIMITS,
	FXR_GET_ID_NAMES,
	FXR_GET_HASH,
};

struct fxr_row {
	const char *name; /* for the log and the tests */
	enum fxp_type type;
	enum fxp_ext ext;
	const char *fields; /* see encode_field() */
	enum fxr_reply reply;
	enum lane_class lane_class;
	enum fxr_barrier barrier;
	enum fxr_settle settle;
};

extern const struct fxr_row fxr_table[FXR_KIND_COUNT];

/* The server's opaque string for an open file or directory, and the connection it belongs to. */
struct fxp_handle {
	uint8_t bytes[FXP_HANDLE_LEN_MAX];
	uint32_t len;
	uint32_t lane;
	uint64_t epoch; /* 0: not open */
};

/* The fields of a request; which are used depends on its row. */
struct fxr_args {
	const char *path;  /* SYMLINK: the target */
	const char *path2; /* RENAME, HARDLINK: the new name; SYMLINK: the link */
	struct fxp_handle *handle;
	struct fxp_handle *handle2; /* COPY_DATA: written to */
	uint64_t off;
	uint64_t off2;
	uint64_t len;
	uint32_t pflags; /* FXF_* */
	struct be_attr attr;
	const struct be_ids *users, *groups; /* USERS_GROUPS; the caller's, until it is answered */
	struct data *body;                   /* WRITE: `len` bytes from body_off */
	size_t body_off;
	bool burst; /* OPEN, OPENDIR and the CLOSE of a burst: see sftp/burst.h */
};

/*
 * Encodes everything but the payload of a WRITE. `symlink_swapped`: target first, as OpenSSH does.
 * Return: 0 with *head (one reference) and *head_len; -ENOMEM; -EMSGSIZE when the whole packet
 * would be longer than packet_len_max.
 */
int fxr_encode(enum fxr_kind kind, const struct fxr_args *args, uint32_t id, bool symlink_swapped,
               size_t packet_len_max, struct data **head, size_t *head_len);

/* A status that owns its text. */
struct fxp_status {
	struct be_status st;
	char text[FXP_STATUS_TEXT_MAX + 1];
};

void fxp_status_copy(struct fxp_status *to, const struct be_status *from);
void fxp_status_set(struct fxp_status *to, enum be_code code, int err, const char *text);

/* Spec: filexfer-02 section 7. `eof_ok`: EOF is an outcome of this request. */
void fxp_status_from_fx(struct fxp_status *to, uint32_t code, bool eof_ok, const void *text,
                        size_t text_len);

struct fxr_answer {
	struct fxp_status status;
	bool lost;     /* no reply: the connection went, or we gave up; status is BE_LOST */
	uint32_t lane; /* it came on */
	struct {
		const uint8_t *bytes;
		uint32_t len;
	} handle;
	struct {
		struct data *block; /* borrowed; take a reference to keep it */
		size_t off;
		size_t len;
	} data;
	struct {
		struct be_entry *entries; /* good names only; valid during the callback */
		size_t count;
		size_t dropped_count; /* hostile names */
		char dropped[64];     /* the first of them, cut */
	} names;
	struct {
		const char *bytes;
		size_t len;
	} path;
	struct {
		uint8_t *bytes; /* strings, one behind the other */
		size_t len;
	} users, groups;
	struct be_attr attr;
	const uint8_t *hash; /* SHA256_LEN bytes */
	struct be_statvfs statvfs;
	struct fxp_limits limits;
};

/*
 * Decodes a reply. `in` stands behind the id; `packet` is the block it lies in, held by the caller
 * alone. Free with fxr_answer_finish().
 * Return: 0; -EPROTO when malformed (in->field says where); -ENOMEM.
 */
int fxr_decode(enum fxr_kind kind, const struct fxr_args *args, uint8_t type, struct fxp_in *in,
               struct data *packet, struct fxr_answer *answer);
void fxr_answer_finish(struct fxr_answer *answer);

#endif
