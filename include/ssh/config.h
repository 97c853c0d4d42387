/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one connection needs to know, resolved once before connecting: the command line and the
 * user's and the system's ssh configuration, read by OpenSSH itself (`ssh -G`), so that Match,
 * Include, tokens and "first value wins" mean what they mean to ssh.
 *
 * Thread: the caller's, before any other thread exists. Blocks: runs `ssh -G` and waits for it.
 * Spec: ssh_config(5).
 */
#ifndef SSH_CONFIG_H
#define SSH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp/link.h"
#include "ssh/proxy.h"

/* What the command line says. Nothing is kept: ssh_config_resolve() copies. */
struct ssh_request {
	const char *host;        /* as typed, without brackets; an alias of ssh_config is fine */
	const char *user;        /* NULL: configuration, else the local user */
	unsigned port;           /* 0: configuration, else 22 */
	const char *config_file; /* -F; NULL: the usual files; "none": no file at all */
	char *const *keywords;   /* "Keyword=value" of ssh_config, NULL-terminated; or NULL */
	const char *sftp_server; /* NULL: subsystem "sftp"; with a slash: a program to run; else the
				  * name of another subsystem */
	bool compression;        /* -C */
	bool password_stdin;     /* the first line of standard input is the password */
	bool drop_password;      /* keep_password=no: a reconnect cannot log in with a password */
	bool no_prompt;          /* as BatchMode=yes */
	const char *proxy;       /* URL of one for TCP; "auto": from the environment; or NULL */
	const char *proxy_password_file;             /* its first line; NULL: ask */
	unsigned bind_port;                          /* local port; 0: any */
	int64_t banner_timeout_ms, login_timeout_ms; /* 0: the usual; negative: none */
	unsigned jump_depth;    /* jump hosts between this one and the server; set by us alone */
	char *const *host_keys; /* host_key=: fingerprints, keys or files; as keywords */
};

/* A growable list of strings, NULL-terminated when not empty. */
struct ssh_strings {
	char **at;
	size_t count;
};

enum ssh_host_key_policy {
	SSH_HOST_KEY_ASK, /* the default: a question on a terminal, else a refusal */
	SSH_HOST_KEY_YES, /* unknown keys are refused */
	SSH_HOST_KEY_ACCEPT_NEW,
	SSH_HOST_KEY_NO, /* unknown keys are added without asking; changed ones still refused */
};

/* Everything resolved. Strings are owned; NULL means "not set" where not said otherwise. */
struct ssh_config {
	char *host;     /* as typed */
	char *hostname; /* the name to look up */
	char *user;     /* never NULL */
	unsigned port;  /* 1..65535 */
	char *sftp_server;
	char *config_file; /* -F, for programs of OpenSSH that we run */

	/* The way there. */
	int address_family; /* AF_UNSPEC, AF_INET, AF_INET6 */
	char *bind_address;
	char *bind_interface;
	unsigned bind_port;
	struct proxy proxy;
	char *proxy_command;     /* tokens expanded */
	bool proxy_fdpass;       /* it hands over a connected socket and ends */
	char *proxy_jump;        /* as written; NULL also where a hop is reached by its own means */
	struct ssh_config *jump; /* the host to go through, which may have one too; owned */
	unsigned connection_attempts; /* of each, a second between them; at least 1 */
	unsigned connect_timeout_s;   /* name, TCP and proxy together; default 30 */
	unsigned banner_timeout_s;    /* default 15; 0: none */
	unsigned login_timeout_s;     /* prompts included; default 120; 0: none */
	bool tcp_keepalive;
	int ip_qos; /* IP_TOS value, -1: leave */

	struct ssh_strings env; /* "NAME=value", sent before a server program is asked for */

	/* Life signs. */
	unsigned alive_interval_s; /* default 15; 0: off */
	unsigned alive_count_max;  /* default 3 */

	/* Algorithms: NULL means our own order. */
	char *ciphers, *macs, *kex, *host_key_algorithms, *pubkey_algorithms;
	bool compression;
	uint64_t rekey_len;    /* bytes; 0: libssh's default */
	uint32_t rekey_s;      /* seconds; 0: never by time */
	unsigned rsa_min_bits; /* 0: libssh's default */

	/* Host keys. */
	enum ssh_host_key_policy host_key_policy;
	char *host_key_alias;
	struct ssh_strings user_known_hosts;   /* the first one is written */
	struct ssh_strings global_known_hosts; /* never written */
	char *revoked_host_keys;
	char *known_hosts_command; /* as written, its tokens are those of a connection */
	char *fingerprint_hash;    /* "MD5" or "SHA256" for people to read; NULL: SHA256 */
	bool hash_known_hosts;
	bool trust_localhost;         /* no check of a server on a loopback address */
	struct ssh_strings host_keys; /* if any: only a key that one of these names is accepted */

	/* Login. */
	bool pubkey_auth, password_auth, kbdint_auth, gssapi_auth, gssapi_delegate;
	char *gssapi_server; /* names at Kerberos; NULL: the host's, the ticket's */
	char *gssapi_client;
	char *auth_order;              /* PreferredAuthentications */
	struct ssh_strings identities; /* the user's own, in order */
	struct ssh_strings default_identities;
	struct ssh_strings certificates;
	bool identities_only;
	char *identity_agent; /* socket path; NULL: no agent */
	char *add_keys;       /* AddKeysToAgent, as written; NULL: no */
	bool batch_mode;
	unsigned password_prompts;
	bool password_stdin;
	bool keep_password;

	/* Asked for, and only ssh itself can do it: said where it might have helped. */
	bool dns_asked, gssapi_kex_asked, hostbased_asked, pkcs11_asked;
};

/*
 * Resolves `req` into `out`, which the caller ends with ssh_config_finish().
 * Return: 0; -EINVAL with a line in err->text when the configuration or a keyword is wrong
 * (err->fail is LINK_FAIL_NONE: a usage error); -ENOMEM.
 */
int ssh_config_resolve(const struct ssh_request *req, struct ssh_config *out,
                       struct link_error *err);

/* Frees what `c` holds, not `c`. */
void ssh_config_finish(struct ssh_config *c);

#endif
