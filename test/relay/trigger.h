/* SPDX-License-Identifier: BSD-2-Clause */
/* "When that frame or that byte passes, do this": armed by commands, matched when bytes arrive, each fires once. */
#ifndef RELAY_TRIGGER_H
#define RELAY_TRIGGER_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "stats.h"

#define TRIGGER_MAX 32

enum trigger_action { TRIGGER_CUT, TRIGGER_STALL, TRIGGER_HOLD };
enum trigger_scope {
	TRIGGER_ALL,
	TRIGGER_ONE
}; /* all connections, as a pulled cable, or the one it came by */

struct trigger {
	bool armed;
	bool matched; /* on its way through a queue */
	enum trigger_action action;
	enum trigger_scope scope;
	enum dir dir;
	bool by_bytes; /* `left` is bytes, else frames */
	bool before;   /* the frame itself is not forwarded (a few bytes of its head may be) */
	int type;      /* of frames counted, -1: any */
	uint64_t
	    left; /* until it fires: bytes to forward, or matching frames to see, the last included */
	char text[96]; /* as it was asked for, repeated in the event */
};

extern struct trigger triggers[TRIGGER_MAX];

/* Return: the armed trigger to fill in; NULL: table full. */
struct trigger *trigger_add(void);
void trigger_clear(void);

/* A frame of that direction is known. Return: index of a trigger that fires on it, or -1. Call until -1. */
int trigger_frame(enum dir dir, const struct frame *f, int after);
/* How many of `len` bytes may pass before a byte trigger fires; `*which` is its index or -1. */
uint64_t trigger_bytes(enum dir dir, uint64_t len, int *which);
bool trigger_any(void);

#endif
