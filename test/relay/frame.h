/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds SFTP frames in a byte stream without buffering it. Spec: filexfer-02 section 3. */
#ifndef RELAY_FRAME_H
#define RELAY_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_NAME_MAX 48 /* bytes kept of the name of an extended request */
#define FRAME_HEAD_MAX (13 + FRAME_NAME_MAX)

enum frame_event {
	FRAME_NONE,  /* all bytes taken, nothing happened */
	FRAME_KNOWN, /* the head is complete: type, id and name may be looked at */
	FRAME_END,   /* the last byte of the frame was taken */
	FRAME_BAD,   /* no SFTP: the scanner is dead, everything passes */
};

struct frame {
	unsigned char head[FRAME_HEAD_MAX];
	size_t head_len; /* bytes of this frame kept in head */
	uint32_t left;   /* bytes of the body still to come once the length is known */
	bool known, bad;
	uint8_t type;
	uint32_t id;                   /* INIT and VERSION: the version number */
	char name[FRAME_NAME_MAX + 1]; /* of FXP_EXTENDED, else empty */
};

void frame_init(struct frame *f);

/* Take bytes up to the next event. `*taken` is at most len. After FRAME_END the next call begins a new frame. */
enum frame_event frame_take(struct frame *f, const unsigned char *data, size_t len, size_t *taken);

/* True between frames: nothing of the next one has been taken. */
bool frame_at_boundary(const struct frame *f);

const char *frame_type_name(uint8_t type); /* "OPEN"; NULL: no such type */
int frame_type_find(const char *name);     /* -1: no such name */
bool frame_type_is_reply(uint8_t type);

#endif
