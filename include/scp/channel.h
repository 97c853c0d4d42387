/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on the server, each on a lane of its own, several at a time. What is beyond the limit, or
 * beyond what the server grants, waits its turn; so does everything while there is no connection.
 *
 * Thread: the loop.
 */
#ifndef SCP_CHANNEL_H
#define SCP_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sftp/link.h"
#include "util/list.h"
#include "util/timer.h"

#define SCP_CHANNELS_MAX 4 /* with the shell and SFTP's lanes within the ten that servers allow */

enum scp_end {
	SCP_END_EXIT,    /* it ran; the status is -1 where the server did not say */
	SCP_END_REFUSED, /* the server does not run commands */
	SCP_END_LOST,    /* the connection broke: start it again if it is still wanted */
};

struct scp_channel;

struct scp_channel_ops {
	void (*opened)(struct scp_channel *ch);
	/* Valid during the call. */
	void (*received)(struct scp_channel *ch, const uint8_t *bytes, size_t len);
	/* Everything sent so far has left: more may follow. */
	void (*drained)(struct scp_channel *ch);
	/* The channel is idle again. */
	void (*ended)(struct scp_channel *ch, enum scp_end end, int exit_status);
};

/* One command. Embedded by its owner. */
struct scp_channel {
	struct list entry; /* pool->queue or pool->running; empty: idle */
	struct scp_channels *pool;
	const struct scp_channel_ops *ops;
	char *command;
	uint32_t lane; /* 0: none yet */
	bool open;
	unsigned refused_count;
	char said[512];        /* the end of its standard error, printable */
	int64_t heard_ms;      /* when something last came or went, or was asked */
	bool works_in_silence; /* nothing comes while the command does its work */
};

struct scp_channels {
	struct link *link;
	struct clock *clock;
	bool up;
	unsigned max_count; /* at a time */
	unsigned max;       /* as the server grants, at present */
	unsigned count;     /* running */
	uint32_t lane_next_id;
	struct list queue;
	struct list running;
	uint64_t started_count;
};

/* Sets the link's events. `max_count`: at a time. */
void scp_channels_init(struct scp_channels *pool, struct link *link, struct clock *clock, bool up,
                       unsigned max_count);

/* All of them are idle. */
void scp_channels_finish(struct scp_channels *pool);

/* Return: since when nothing has come while one waited for it, if before `since_ms` (-1: never). */
int64_t scp_channels_silent_since(const struct scp_channels *pool, int64_t since_ms);

void scp_channel_init(struct scp_channel *ch, struct scp_channels *pool,
                      const struct scp_channel_ops *ops);

/* Starts an idle channel. `command` (taken over) may be NULL: out of memory. Return: 0 or -ENOMEM. */
int scp_channel_start(struct scp_channel *ch, char *command);

bool scp_channel_idle(const struct scp_channel *ch);

/* Sends bytes of `d`, whose reference is taken over. */
void scp_channel_send(struct scp_channel *ch, struct data *d, size_t len);
void scp_channel_send_bytes(struct scp_channel *ch, const void *bytes, size_t len);

/* The command sees the end of its input. */
void scp_channel_end_input(struct scp_channel *ch);

/* Closes it; no call of its ops follows. Fine when idle. */
void scp_channel_cancel(struct scp_channel *ch);

#endif
