/* SPDX-License-Identifier: BSD-2-Clause */
/* The last names that this mount made and was told it did. Owner: the loop. */
#include <string.h>

#include "sftp/engine.h"

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

bool fxp_made_has(const struct fxp_backend *fb, const char *path)
{
	uint64_t hash = name_hash(path);

	for (unsigned i = 0; i < FXP_MADE_COUNT; i++)
		if (fb->made[i] == hash)
			return true;
	return false;
}
