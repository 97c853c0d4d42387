/* SPDX-License-Identifier: BSD-2-Clause */
/* The last names that this mount made and was told it did. Owner: the loop. */
#include <string.h>

#include "sftp/engine.h"

#define PROMPT_MS 1000

static uint64_t name_hash(const char *path)
{
	return hash_bytes(path, strlen(path), 0) | 1;
}

void fxp_made_add(struct fxp_backend *fb, const char *path)
{
	fb->made[fb->made_turn++ % FXP_MADE_COUNT] = name_hash(path);
}

void fxp_made_del(struct fxp_backend *fb, const char *path)
{
	uint64_t hash = name_hash(path);

	for (unsigned i = 0; i < FXP_MADE_COUNT; i++)
		if (fb->made[i] == hash)
			fb->made[i] = 0;
}

void fxp_made_learn(struct fxp_backend *fb, const struct be_attr *a, int64_t sent_ms)
{
	if (a->valid & BE_ATTR_OWNER) {
		fb->own_uid = a->uid;
		fb->own_uid_known = true;
	}
	/* Of an answer that has been long on its way nobody knows when the server did it. */
	if ((a->valid & BE_ATTR_TIMES) && fb->clock->now_ms - sent_ms < PROMPT_MS)
		fb->skew_s = (int64_t)a->mtime - fb->clock->wall_ms / 1000;
}

bool fxp_made_has(const struct fxp_backend *fb, const char *path)
{
	uint64_t hash = name_hash(path);

	for (unsigned i = 0; i < FXP_MADE_COUNT; i++)
		if (fb->made[i] == hash)
			return true;
	return false;
}
