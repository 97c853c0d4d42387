/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The authentication agent: which keys it holds, and a view of it that shows libssh only one.
 *
 * libssh tries every key of an agent in the agent's order and cannot be told which; servers allow
 * six attempts. So it is given a socket on which we answer, with one key at a time.
 *
 * Internal to ssh/. Thread: the back; a view runs a thread of its own until it is closed.
 * Spec: draft-miller-ssh-agent.
 */
#ifndef SSH_AGENT_H
#define SSH_AGENT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct agent_key {
	uint8_t *blob;
	size_t blob_len;
	char *comment;
};

struct agent_keys {
	struct agent_key *at;
	size_t count;
};

/* Asks the agent at `path`. Return: 0 or a negative errno. */
int agent_list(const char *path, struct agent_keys *keys);
void agent_keys_finish(struct agent_keys *keys);

struct agent_view {
	pthread_t thread;
	int fd;       /* for libssh, which closes it */
	int inner_fd; /* the other end of it */
	int agent_fd; /* to the real agent */
	const struct agent_key *shown;
	const struct agent_key *signer;
};

/*
 * `shown` is what libssh sees; where it is a certificate that the agent does not hold, `signer` is
 * the agent's key for it, else the same. Both must stay until agent_view_close().
 * Return: 0 or a negative errno.
 */
int agent_view_open(struct agent_view *v, const char *path, const struct agent_key *shown,
                    const struct agent_key *signer);
void agent_view_close(struct agent_view *v);

#endif
