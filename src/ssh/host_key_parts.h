/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of keys that are no known_hosts files. Internal to host_key*.c and config.c. */
#ifndef SSH_HOST_KEY_PARTS_H
#define SSH_HOST_KEY_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssh/config.h"
#include "ssh/known_hosts.h"

struct server_key {
	const char *type;
	uint8_t *blob;
	size_t blob_len;
	char fingerprint[64];
};

/*
 * Does `text`, a value of `host_key=`, name this key? It is a fingerprint ("SHA256:...",
 * "MD5:..." or hexadecimal with colons), a public key ("ssh-ed25519 AAAA...") or the path of a
 * file of public keys.
 * Return: 1 or 0; -EINVAL: it is none of these; another negative errno: the file cannot be read.
 */
int host_key_named(const char *text, const struct server_key *k);

/*
 * Adds the types of the keys that a value of `host_key=` names.
 * Return: 0; 1: it is a fingerprint, which does not tell; -ENOMEM.
 */
int host_key_named_types(const char *text, struct ssh_strings *types);

/*
 * Is the key in a RevokedHostKeys file? That is a list of public keys or a binary list (KRL), which
 * ssh-keygen reads. `*line` is 0 for the latter.
 * Return: 1 or 0; -ENOEXEC: no ssh-keygen; another negative errno: it cannot be read.
 */
int host_key_revoked(const char *path, const struct server_key *k, unsigned *line);

struct ssh_conn;

/* What to look for in known_hosts. Points into `sc`. */
struct known_query host_key_query(const struct ssh_conn *sc);

/*
 * Reads everything that is known: the files, and what KnownHostsCommand says about `k`, the server's
 * key, or about the order of types when that is NULL.
 * Return: 0, -ENOMEM, or -EACCES with `err` filled when the command fails.
 */
int host_key_read(struct ssh_conn *sc, const struct server_key *k, struct known_hosts *kh,
                  struct link_error *err);

/* Is there a type left that was not seen and may be one that host_key= names? */
bool host_key_may_have_another(const struct ssh_conn *sc);

#endif
