/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of host keys that OpenSSH keeps: reading, asking, appending.
 *
 * Internal to ssh/. Pure but for the two functions that name a file. Any thread.
 * Spec: sshd(8) SSH_KNOWN_HOSTS FILE FORMAT.
 */
#ifndef SSH_KNOWN_HOSTS_H
#define SSH_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssh/config.h"

enum known_mark {
	KNOWN_PLAIN,
	KNOWN_CA,
	KNOWN_REVOKED,
};

struct buf;

/* One line. */
struct known_entry {
	enum known_mark mark;
	char *patterns; /* the host field, as written */
	char *type;     /* "ssh-ed25519" */
	uint8_t *key;   /* the key blob */
	size_t key_len;
	size_t file; /* index into known_hosts.files */
	unsigned line;
};

struct known_hosts {
	struct known_entry *entries;
	size_t count;
	size_t size; /* allocated */
	struct ssh_strings files;
};

#define KNOWN_HOSTS_INIT ((struct known_hosts){0})

void known_hosts_finish(struct known_hosts *kh);

/*
 * Adds the lines of `text`, read from a file called `path`. Lines that make no sense are skipped.
 * Return: 0 or -ENOMEM.
 */
int known_hosts_parse(struct known_hosts *kh, const char *path, const char *text, size_t len);

/* Adds the lines of a file. Return: 0, -ENOMEM, or the negative errno of reading it. */
int known_hosts_read(struct known_hosts *kh, const char *path);

/* Who is asked about. */
struct known_query {
	const char *host;    /* the name or alias */
	const char *address; /* the numeric address, or NULL */
	unsigned port;       /* 22 is written without port; 0: as 22 (an alias has no port) */
};

enum known_result {
	KNOWN_UNKNOWN,    /* no line for this host */
	KNOWN_MATCH,      /* this very key */
	KNOWN_CHANGED,    /* another key of the same type */
	KNOWN_OTHER_TYPE, /* only keys of other types */
	KNOWN_ONLY_CA,    /* only @cert-authority lines */
	KNOWN_IS_REVOKED, /* this key is revoked for this host */
};

/*
 * What the files say about `key`. `*entry` is the line that decided, NULL when none did.
 */
enum known_result known_hosts_check(const struct known_hosts *kh, const struct known_query *q,
                                    const char *type, const uint8_t *key, size_t key_len,
                                    const struct known_entry **entry);

/*
 * The types of the keys known for a host, in the order of the files, without repetition.
 * Return: 0 or -ENOMEM.
 */
int known_hosts_types(const struct known_hosts *kh, const struct known_query *q,
                      struct ssh_strings *types);

/* "host", or "[host]:port". Return: 0 or -ENOMEM. */
int known_hosts_name(const struct known_query *q, char **name);

/* The line for a key, with its newline, behind what `line` holds. Return: 0 or a negative errno. */
int known_hosts_line(struct buf *line, const struct known_query *q, const char *type,
                     const uint8_t *key, size_t key_len, bool hashed);

/*
 * Appends one line under a lock; creates the file with 0600 and its directory with 0700.
 * Does nothing when that very line is there already.
 * Return: 0 or a negative errno.
 */
int known_hosts_append(const char *path, const struct known_query *q, const char *type,
                       const uint8_t *key, size_t key_len, bool hashed);

/*
 * "SHA256:..." or, when `hash` is "MD5", "MD5:00:11...", as OpenSSH prints it. `hash` may be NULL.
 * `size` of 64 is enough.
 */
void known_hosts_fingerprint(const uint8_t *key, size_t key_len, const char *hash, char *text,
                             size_t size);

#endif
