/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the transport share: a user of a link that records its events, a minimal SFTP
 * speaker, and a private sshd on loopback.
 */
#ifndef TEST_SSH_PEER_H
#define TEST_SSH_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sftp/link.h"
#include "ssh/config.h"

#define PEER_LANE_MAX 16

/* Everything waits for a condition, and fails the test when it has not come true by then. */
#define PEER_DEADLINE_MS 20000

struct peer_lane {
	bool open, refused, closed;
	int exit_status;
	uint64_t packet_count, packet_len; /* received */
	uint8_t last[64];                  /* the beginning of the last packet */
	size_t last_len;
	uint64_t stderr_len;
	unsigned drained_count;
};

struct peer {
	struct link *link;
	bool started; /* link_start() was called */
	bool up, down;
	unsigned up_count, down_count, late_count; /* late: events of lanes after down */
	struct link_error error;
	struct peer_lane lanes[PEER_LANE_MAX];
	/* Called for each packet if set; returns true when it took the reference. */
	bool (*on_packet)(struct peer *p, uint32_t lane, struct data *d, size_t len);
	void *arg;
};

/* Takes over the link. */
void peer_init(struct peer *p, struct link *link);
void peer_finish(struct peer *p);

/* Moves events for a while. */
void peer_turn(struct peer *p, int timeout_ms);

/* Runs until `condition` holds; the test fails when it does not in time. */
#define peer_until(p, condition)                                                                   \
	do {                                                                                       \
		int64_t until_ms_ = peer_now_ms() + PEER_DEADLINE_MS;                              \
		while (!(condition)) {                                                             \
			ck_assert_msg(peer_now_ms() < until_ms_, "never: %s (%s)", #condition,     \
			              (p)->error.text);                                            \
			peer_turn((p), 50);                                                        \
		}                                                                                  \
	} while (0)

int64_t peer_now_ms(void);

/* A packet with a body of `body_len` bytes of `body`, NULL for none. */
void peer_send(struct peer *p, uint32_t lane, const void *head, size_t head_len, struct data *body,
               size_t body_len);

/* Opens an SFTP lane and exchanges INIT and VERSION on it. */
void peer_open_sftp(struct peer *p, uint32_t lane, enum lane_class lane_class);

/* REALPATH "." and its answer: the lane works. */
void peer_echo(struct peer *p, uint32_t lane);

struct sshd {
	pid_t pid;
	unsigned port;
	char dir[64]; /* its keys, and the client's: key, key.pub, known_hosts */
};

/*
 * `extra` lines come last in its configuration. Return: false when there is no sshd.
 */
bool sshd_start(struct sshd *s, const char *extra);
void sshd_stop(struct sshd *s);

/* Kills the processes that serve connections, not the listener. Return: how many. */
int sshd_kill_sessions(struct sshd *s, int sig);

/* How many connections it serves. */
int sshd_connection_count(const struct sshd *s);

/* Kills one of them: the youngest, or the oldest. Return: how many processes. */
int sshd_kill_one(const struct sshd *s, bool youngest);

/* A configuration that logs in to it with its key, without any file of the user's. */
void sshd_config(const struct sshd *s, struct ssh_config *cfg, char *const more[]);

#endif
