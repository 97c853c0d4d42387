/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reaching a TCP port: name lookup, every address in turn, one time limit over all of it, and again if
 * that is asked for.
 * Internal to ssh/. Thread: the back; name lookup uses a helper thread, for getaddrinfo() knows no
 * time limit.
 */
#ifndef SSH_DIAL_H
#define SSH_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/link.h"

struct conn;

struct dial {
	const char *host;
	unsigned port;
	int family;                 /* AF_UNSPEC, AF_INET, AF_INET6 */
	const char *bind_address;   /* NULL: any */
	const char *bind_interface; /* NULL: any */
	unsigned bind_port;         /* 0: any */
	unsigned attempts;          /* rounds over all addresses, a second apart; 0 is 1 */
	unsigned timeout_s;         /* of each round; the first one includes the lookup */
	bool keepalive;
	unsigned silence_s;     /* not 0: how often the peer's machine is asked when it is silent */
	unsigned silence_count; /* and how often in vain before the connection is lost */
	int ip_qos;             /* -1: leave */
};

/*
 * Blocks: in conn_wait().
 * Return: a connected, non-blocking, close-on-exec descriptor; or a negative errno with `err`
 * filled (-ECANCELED: given up).
 */
int dial_tcp(struct conn *c, const struct dial *d, struct link_error *err);

/*
 * The first IPv4 address of a host, as text. `size` of 16 is enough. Blocks and returns as
 * dial_tcp(), 0 for success.
 */
int dial_lookup_ipv4(struct conn *c, const struct dial *d, char *address, size_t size,
                     struct link_error *err);

/* The peer's address as text, "" when there is none. */
void dial_peer_name(int fd, char *name, size_t size);

/* From now on closing `fd` discards what is unsent and resets the connection; or not. */
void dial_set_abort(int fd, bool abort_on_close);

#endif
