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

#include "sftp/link.h"
#include "ssh/secret.h"

struct ssh_conn;

/* A key in a file. */
struct login_key {
	char *path;
	struct secret *text;	   /* the file, as it is on disk; NULL: not readable */
	struct secret *passphrase; /* NULL: none needed, or not yet known */
	ssh_key public_key;	   /* NULL: not known without the passphrase */
	ssh_key certificate;	   /* NULL: none */
	bool encrypted;
	bool refused; /* the user would not say the passphrase */
};

/* What the first login was given, for the ones after it. */
struct login_store {
	bool loaded;
	struct login_key *keys;
	size_t key_count;
	size_t explicit_count; /* the first ones are the user's own, the rest defaults */
	struct secret *password;
	bool stdin_read;
};

/* Return: 0; -EACCES with `err` filled (LINK_FAIL_AUTH); another negative errno. */
int login_run(struct ssh_conn *sc, struct link_error *err);

/* After the process has forked. */
void login_store_lock(struct login_store *st);

void login_store_finish(struct login_store *st);

#endif
