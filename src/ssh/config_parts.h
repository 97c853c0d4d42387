/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of config resolution. Internal to config*.c. */
#ifndef SSH_CONFIG_PARTS_H
#define SSH_CONFIG_PARTS_H

#include "ssh/config.h"
#include "ssh_strings.h"

/* What `ssh -G` printed: alternating keywords (lower case) and values. */
struct config_lines {
	struct ssh_strings keys;
	struct ssh_strings values;
};

void config_lines_finish(struct config_lines *lines);

/* Puts a value into `member` of `c`. Return: 0, -EINVAL or -ENOMEM. */
typedef int config_apply_fn(struct ssh_config *c, const char *value, void *member);

enum config_keyword_flags {
	KEYWORD_NOT_DEFAULT = 1, /* ssh's own default is not ours: only what the user set counts */
	KEYWORD_ADDS = 2,        /* several values add up; else the first one wins */
};

struct config_keyword {
	const char *name; /* lower case */
	config_apply_fn *apply;
	size_t member; /* offset in struct ssh_config */
	unsigned flags;
};

/* Upper or lower case. Return: NULL when it has no effect here. */
const struct config_keyword *config_keyword_find(const char *name);

/* Return: 0, -ENOMEM, or -EINVAL with `err` filled. */
int config_keyword_apply(struct ssh_config *c, const struct config_keyword *k, const char *value,
                         struct link_error *err);

/*
 * Runs `ssh -G` as `req` says; with `defaults` for an unknown host and without any file, which
 * shows ssh's own defaults. Return: 0; -ENOENT: no ssh program; -EINVAL: `err` says what ssh said.
 */
int config_run(const struct ssh_request *req, bool defaults, struct config_lines *lines,
               struct link_error *err);

/*
 * Runs it again with a last word on the keywords whose default differs from ours, to find those that
 * a file sets to ssh's own default. Only those that are set are in `lines`; none when that cannot be
 * told. Return: 0 or -ENOMEM.
 */
int config_run_set(const struct ssh_request *req, struct config_lines *lines);

/*
 * Resolves the configuration of the host named last in c->proxy_jump into c->jump; the ones before
 * it are that host's own jump hosts. Return: 0, -ENOMEM, or -EINVAL with `err` filled.
 */
int config_jump(const struct ssh_request *req, struct ssh_config *c, struct link_error *err);

/*
 * What of the way to the server is no keyword of ssh_config: proxy, local port, time limits.
 * Return: 0, -ENOMEM, or -EINVAL with `err` filled.
 */
int config_way(const struct ssh_request *req, struct ssh_config *c, struct link_error *err);

/*
 * Fills in what depends on other values and expands what may have tokens. `no_agent`: the user said
 * so. Return: 0, -EINVAL with `err`, -ENOMEM.
 */
int config_complete(struct ssh_config *c, bool no_agent, struct link_error *err);

/*
 * Expands ~, ${VAR} and the tokens of ssh_config(5).
 * Return: a string to free; NULL when out of memory or a token or variable is unknown.
 */
char *config_expand(const struct ssh_config *c, const char *text);

/* A token that only one keyword has. */
struct config_token {
	char name; /* 0 ends a list */
	const char *value;
};

/* The same with more tokens, and without ~. */
char *config_expand_with(const struct ssh_config *c, const char *text,
                         const struct config_token *more);

#endif
