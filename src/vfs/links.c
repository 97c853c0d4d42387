/* SPDX-License-Identifier: BSD-2-Clause */
/* Symbolic links' targets. Contract: include/vfs/links.h. */
#include "vfs/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The next component of a path, "" at its end; *len its length. */
static const char *component(const char *path, size_t *len)
{
	path += strspn(path, "/");
	*len = strcspn(path, "/");
	return path;
}

static bool is_up(const char *name, size_t len)
{
	return len == 2 && memcmp(name, "..", 2) == 0;
}

static bool is_here(const char *name, size_t len)
{
	return len == 1 && name[0] == '.';
}

/* What of `target` follows `root`, or NULL. Both absolute; compared component by component. */
static const char *below(const char *root, const char *target)
{
	size_t root_len, len;

	for (;;) {
		root = component(root, &root_len);
		target = component(target, &len);
		if (root_len == 0)
			return target;
		if (len != root_len || memcmp(root, target, len) != 0)
			return NULL;
		root += len;
		target += len;
	}
}

char *links_relative(const char *root, size_t depth, const char *target, int *err)
{
	const char *rest = target[0] == '/' ? below(root, target) : NULL;
	size_t up_len = 3 * depth;
	char *out;

	*err = 0;
	if (!rest)
		return NULL;
	out = malloc(up_len + strlen(rest) + 2);
	if (!out) {
		*err = -ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < depth; i++)
		memcpy(out + 3 * i, "../", 3);
	strcpy(out + up_len, rest[0] || depth ? rest : ".");
	return out;
}

bool links_contained(size_t depth, const char *target)
{
	bool named = false;
	size_t len;

	if (target[0] == '/')
		return false;
	for (target = component(target, &len); len; target = component(target + len, &len)) {
		if (is_here(target, len))
			continue;
		if (!is_up(target, len))
			named = true;
		else if (named || depth-- == 0)
			return false;
	}
	return true;
}
