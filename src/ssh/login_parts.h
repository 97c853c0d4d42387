/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a login. Internal to login*.c. */
#ifndef SSH_LOGIN_PARTS_H
#define SSH_LOGIN_PARTS_H

#include "ssh/agent.h"
#include "ssh/login.h"
#include "ssh/prompt.h"
#include "ssh/ssh_conn.h"

enum outcome {
	LOGIN_DENIED,  /* go on with the next way */
	LOGIN_SUCCESS, /* logged in */
	LOGIN_PARTIAL, /* right, but the server wants more */
	LOGIN_STOPPED, /* time limit, given up, connection lost: login.error says which */
};

/* A key that the server takes and whose passphrase would have to be asked for. */
struct postponed {
	bool waits;
	ssh_key certificate; /* to be shown with it, or NULL */
};

struct login {
	struct ssh_conn *sc;
	ssh_session session;
	struct prompt prompt;
	int methods;                 /* SSH_AUTH_METHOD_*: what the server accepts now */
	int done_methods;            /* those that counted towards a partial success, except keys */
	int accepted;                /* those that did, with keys */
	unsigned tried;              /* SSH_AUTH_METHOD_* really tried */
	unsigned key_count;          /* keys offered */
	bool *key_used;              /* store.keys that counted towards a partial success */
	struct postponed *postponed; /* of store.keys */
	bool may_ask;                /* for a passphrase, now */
	struct agent_keys agent;
	bool *agent_used; /* agent keys offered already */
	int agent_error;  /* of listing */
	int old_agent_fd; /* of the last view, which libssh still holds; -1: none */
	int error;        /* with LOGIN_STOPPED */
	char remark[256]; /* something to add to the error: a key that could not be read */
};

/*
 * Waits for the server in a call that said SSH_AUTH_AGAIN.
 * Return: false when there is no point in calling again; lg->error is set.
 */
bool login_wait(struct login *lg);

/* What libssh's result means. */
enum outcome login_outcome(struct login *lg, int rc);

/* Calls `call` until it no longer says "again". */
#define LOGIN_CALL(lg, rc, call)                                                                   \
	do                                                                                         \
		(rc) = (call);                                                                     \
	while ((rc) == SSH_AUTH_AGAIN && login_wait(lg))

/* The password there is without a question: of the last login, or on standard input. NULL: none. */
struct secret *login_given_password(struct login *lg);

enum outcome login_public_keys(struct login *lg);
enum outcome login_password(struct login *lg);
enum outcome login_interactive(struct login *lg);

/* --- login_agent.c ------------------------------------------------------------------------------- */

/*
 * AddKeysToAgent: gives the agent a key that was read from its file and that the server has taken.
 * `passphrase` is NULL when it has none.
 */
void login_add_to_agent(struct login *lg, const char *path, const struct secret *passphrase);

/* --- login_store.c: keys and certificates in files --------------------------------------------- */

/* Reads the files named in the configuration, once. Return: 0 or -ENOMEM. */
int login_store_load(struct ssh_conn *sc);

/* True when `certificate` is for the key with this public blob. */
bool login_certifies(const struct login_blob *certificate, const struct login_blob *key);

bool login_blob_equal(const struct login_blob *a, const struct login_blob *b);

/* --- login_format.c ------------------------------------------------------------------------------ */

/* A passphrase is needed. */
bool login_format_encrypted(const struct secret *text);

/* ... and of no use: ssh-keygen -Z has encrypted it with what libssh does not know. */
bool login_format_has_other_cipher(const struct secret *text);

/* Return: the private key, NULL when the format or the passphrase is wrong. */
ssh_key login_format_import(const struct secret *text, const struct secret *passphrase);

/* What is to be done about a key of another program, "is a ..., convert it ..."; NULL: nothing. */
const char *login_format_remedy(const struct secret *text);

/* Remembers the password for later logins if that is wanted. Takes it over. */
void login_keep_password(struct ssh_conn *sc, struct secret *password);

#endif
