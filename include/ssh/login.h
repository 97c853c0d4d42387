/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proving to the server who we are, with every method in the documented order.
 *
 * Internal to ssh/. Thread: the back. Blocks: for the server and, the first time, for the user.
 */
#ifndef SSH_LOGIN_H
#define SSH_LOGIN_H

#include <libssh/libssh.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp/link.h"
#include "ssh/secret.h"

struct ssh_conn;

/* A public key or certificate as it goes over the wire. Owned by whoever has the struct. */
struct login_blob {
	uint8_t *bytes; /* NULL: none */
	size_t len;
};

/* A key in a file, or read from a descriptor ("fd:3"). */
struct login_key {
	char *path;
	struct secret *text;       /* the file, as it is on disk; NULL: not readable */
	struct secret *passphrase; /* NULL: none needed, or not yet known */
	ssh_key public_key;        /* NULL: not known without the passphrase */
	struct login_blob blob;    /* of public_key */
	bool encrypted;
	bool refused; /* the user would not say the passphrase */
};

/* For whichever key it fits, in a file or in the agent. */
struct login_certificate {
	ssh_key key;
	struct login_blob blob;
};

/* What the first login was given, for the ones after it. */
struct login_store {
	bool loaded;
	struct login_key *keys;
	size_t key_count;
	size_t explicit_count; /* the first ones are the user's own, the rest defaults */
	struct login_certificate *certificates;
	size_t certificate_count;
	char remark[256]; /* about a key file that could not be used; "" if there is none */
	bool loud;        /* the user must be told so also when the login succeeds */
	struct secret *password;
	bool stdin_read;
	bool ask_at_once;      /* trying everything else first was too much for the server */
	bool password_expired; /* and is not tried again */
};

/* Of an identity "fd:3". Return: the number, -1 when it is a path. */
int login_descriptor_of(const char *path);

/*
 * Return: 0; -EACCES with `err` filled (LINK_FAIL_AUTH); -ERESTART: the server has ended this
 * connection, a new one may do better; another negative errno.
 */
int login_run(struct ssh_conn *sc, struct link_error *err);

/* After the process has forked. */
void login_store_lock(struct login_store *st);

void login_store_finish(struct login_store *st);

#endif
