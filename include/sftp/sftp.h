/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SFTP v3 backend: struct backend over one or more links. Owns lanes, handles, request ids,
 * windows, bursts, ordering, reconnection and settlement; knows no node, cache or FUSE request.
 *
 * Thread: the loop. Spec: draft-ietf-secsh-filexfer-02; OpenSSH PROTOCOL sections 3 and 4.
 */
#ifndef SFTP_SFTP_H
#define SFTP_SFTP_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/extension.h"
#include "sftp/link.h"
#include "util/timer.h"
#include "vfs/backend.h"

struct fxp_backend;

struct fxp_config {
	size_t read_len_max;        /* user's cap on one READ; 0: what the server allows */
	size_t write_len_max;       /* the same for WRITE */
	const char *server_command; /* runs the SFTP server, static; NULL: the subsystem */
	bool reconnect;             /* after a loss: connect again and continue */
	bool delay_connect; /* connect when the first request comes; see fxp_backend_create() */
	int64_t
	    probe_interval_ms; /* links without probes of their own: REALPATH after this silence */
	unsigned probe_count_max;
};

/* What `sftpfs status` shows. */
struct fxp_stats {
	uint64_t sent_count[256];  /* requests by packet type */
	uint64_t round_trip_count; /* requests sent while none was in flight on their lane */
	uint64_t reconnect_count;
	uint64_t in_flight_count, in_flight_len;
	uint64_t read_len, written_len;
	int64_t rtt_min_ms;
	unsigned lane_count;
	fxp_ext_set exts; /* of the server; limits are what we keep to, in bytes */
	uint64_t packet_len_max, read_len_max, write_len_max;
	uint64_t handle_count_max; /* 0: the server has not said */
	bool connected;
	bool needs_attention; /* login or host key refused: attempts have stopped */
};

/*
 * Takes over `link` (its events; destroyed with the backend) before it is connected. `started` runs
 * once: with NULL when the server has answered the handshake and `root` (may be relative to the
 * login directory, or empty) has been resolved to an absolute path that is a directory, else with
 * the reason. `budget` is charged for file data in flight.
 *
 * With delay_connect requests may be made at once, below `root` as it is ("" is "."). The first one
 * starts the connection; where that fails all that wait are answered BE_LOST, and the next request
 * tries again. `started` runs when it has succeeded, before any request is answered.
 * Return: NULL when out of memory.
 */
typedef void fxp_started_fn(void *arg, const struct link_error *error, const char *root_path,
                            const struct be_attr *root_attr);
struct fxp_backend *fxp_backend_create(struct link *link, const struct fxp_config *cfg,
                                       struct clock *clock, struct budget *budget, const char *root,
                                       bool check_root, fxp_started_fn *started, void *arg);

struct backend *fxp_backend(struct fxp_backend *fb);

/* With delay_connect: the login directory's attributes; valid is 0 before `started`. */
const struct be_attr *fxp_backend_home(const struct fxp_backend *fb);

/* The user asks: look whether the server is there, or connect now, also after a refused login. */
void fxp_backend_reconnect(struct fxp_backend *fb);

/*
 * The network may have changed (a route, a wake-up): the same, except that a login that was refused
 * is not tried again, and an attempt that hangs makes room for a new one.
 */
void fxp_backend_wake(struct fxp_backend *fb);

/* The server has said that it speaks SFTP, at least once. */
bool fxp_backend_greeted(const struct fxp_backend *fb);

void fxp_backend_stats(const struct fxp_backend *fb, struct fxp_stats *out);

/*
 * Another way to the server's own hash of a file, for servers without the extension check-file.
 * The caller's, outlives the backend. `waits_since_ms` as be_info.silent_since_ms; fail_all() answers
 * everything that waits BE_LOST.
 */
struct fxp_hasher {
	int (*hash)(void *ctx, const char *path, be_hash_fn *done, void *arg);
	int64_t (*waits_since_ms)(void *ctx);
	void (*fail_all)(void *ctx);
	void *ctx;
};
void fxp_backend_hash_by(struct fxp_backend *fb, const struct fxp_hasher *hasher);

/* Stops for good; pending callbacks run with BE_LOST before this returns. NULL is fine. */
void fxp_backend_destroy(struct fxp_backend *fb);

#endif
