/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCP protocol of one plain file, both ways, without I/O. Neither side ever asks for a directory:
 * a record of one is an error, as is a name that was not asked for.
 *
 * Thread: any. Spec: none was written; OpenSSH 9.2 scp.c, functions source() and sink().
 */
#ifndef SCP_CODEC_H
#define SCP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

#define SCP_LINE_LEN_MAX                                                                           \
	8192 /* of a record or message: a path of 4,096 bytes and words around it */

/* `scp -f`: what the server sends. */
enum scp_phase {
	SCP_HEAD, /* T and C records */
	SCP_DATA,
	SCP_TAIL,  /* the byte after the data: did the server read it all? */
	SCP_ENDED, /* whole and good */
	SCP_FAILED,
};

struct scp_sink {
	enum scp_phase phase;
	const char *name; /* the last component that was asked for; owned by the caller */
	bool timed;       /* a T record has come */
	uint64_t mtime, atime;
	uint32_t mode; /* permission bits */
	uint64_t size;
	uint64_t left; /* of the data */
	char line[SCP_LINE_LEN_MAX];
	size_t line_len;
	char error[512]; /* with SCP_FAILED: the server's words, or ours */
	bool refused;    /* they are the server's */
};

/* `name` is what a C record must say and stays the caller's; it is compared byte by byte. */
void scp_sink_init(struct scp_sink *s, const char *name);

/*
 * Consumes bytes: up to and including a head, or some data, or the rest.
 * *data is then the file's next bytes inside `bytes`, *data_len may be 0.
 * Return: how many were consumed (0 when phase is SCP_ENDED or SCP_FAILED).
 */
size_t scp_sink_feed(struct scp_sink *s, const uint8_t *bytes, size_t len, const uint8_t **data,
                     size_t *data_len);

/*
 * What makes the server send a file: all acknowledgements at once, in advance. Nothing is lost by
 * it, for a file that is not wanted is dropped here.
 */
#define SCP_SINK_ACKS     "\0\0\0\0"
#define SCP_SINK_ACKS_LEN 4

/* `scp -t`: what the server answers, one byte for each record, or a message. */
struct scp_source {
	unsigned acks; /* good ones so far */
	bool failed;
	bool in_message;
	char line[SCP_LINE_LEN_MAX];
	size_t line_len;
	char error[512];
};

void scp_source_init(struct scp_source *s);

/* Consumes everything. A warning (\1) fails one file, and there is only one. */
void scp_source_feed(struct scp_source *s, const uint8_t *bytes, size_t len);

/* The record before the data. After the data follows one zero byte. */
void scp_source_head(struct buf *b, const char *name, uint32_t mode, uint64_t size);

/* Acknowledgements of a whole file: greeting, C record, data. */
#define SCP_SOURCE_ACKS 3

#endif
