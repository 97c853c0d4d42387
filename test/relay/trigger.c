/* SPDX-License-Identifier: BSD-2-Clause */
#include "trigger.h"

#include <string.h>

struct trigger triggers[TRIGGER_MAX];

struct trigger *trigger_add(void)
{
	for (int i = 0; i < TRIGGER_MAX; i++) {
		if (triggers[i].armed)
			continue;
		memset(&triggers[i], 0, sizeof(triggers[i]));
		triggers[i].armed = true;
		triggers[i].type = -1;
		return &triggers[i];
	}
	return NULL;
}

void trigger_clear(void)
{
	memset(triggers, 0, sizeof(triggers));
}

bool trigger_any(void)
{
	for (int i = 0; i < TRIGGER_MAX; i++)
		if (triggers[i].armed && !triggers[i].matched)
			return true;
	return false;
}

int trigger_frame(enum dir dir, const struct frame *f, int after)
{
	for (int i = after + 1; i < TRIGGER_MAX; i++) {
		struct trigger *t = &triggers[i];

		if (!t->armed || t->matched || t->by_bytes || t->dir != dir)
			continue;
		if (t->type >= 0 && t->type != f->type)
			continue;
		if (--t->left > 0)
			continue;
		t->matched = true;
		return i;
	}
	return -1;
}

uint64_t trigger_bytes(enum dir dir, uint64_t len, int *which)
{
	*which = -1;
	for (int i = 0; i < TRIGGER_MAX; i++) {
		struct trigger *t = &triggers[i];

		if (!t->armed || t->matched || !t->by_bytes || t->dir != dir || t->left > len)
			continue;
		len = t->left;
		*which = i;
	}
	for (int i = 0; i < TRIGGER_MAX; i++) {
		struct trigger *t = &triggers[i];

		if (t->armed && !t->matched && t->by_bytes && t->dir == dir)
			t->left -= len;
	}
	if (*which >= 0)
		triggers[*which].matched = true;
	return len;
}
