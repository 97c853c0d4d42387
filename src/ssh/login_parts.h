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

struct login {
	struct ssh_conn *sc;
	ssh_session session;
	struct prompt prompt;
	int methods;	     /* SSH_AUTH_METHOD_*: what the server accepts now */
	int done_methods;    /* those that counted towards a partial success, except keys */
	unsigned tried;	     /* SSH_AUTH_METHOD_* really tried */
	unsigned key_count;  /* keys offered */
	bool *key_used;	     /* store.keys that counted towards a partial success */
	struct agent_keys agent;
	bool *agent_used;    /* agent keys offered already */
	int agent_error;     /* of listing */
	int old_agent_fd;    /* of the last view, which libssh still holds; -1: none */
	int error;	     /* with LOGIN_STOPPED */
	char remark[160];    /* something to add to the error: a key that could not be read */
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

enum outcome login_public_keys(struct login *lg);
enum outcome login_password(struct login *lg);
enum outcome login_interactive(struct login *lg);

/* Reads the key files named in the configuration, once. Return: 0 or -ENOMEM. */
int login_keys_load(struct ssh_conn *sc);
void login_key_finish(struct login_key *k);

/* Remembers the password for later logins if that is wanted. Takes it over. */
void login_keep_password(struct ssh_conn *sc, struct secret *password);

#endif
