/* SPDX-License-Identifier: BSD-2-Clause */
/* One direction of a simulated link: timestamped blocks, a rate and a delay. No file descriptors, no clock. */
#ifndef RELAY_QUEUE_H
#define RELAY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum block_kind {
	BLOCK_DATA,
	BLOCK_EOF,     /* the sender closed its half */
	BLOCK_RST,     /* the sender reset the connection */
	BLOCK_TRIGGER, /* a trigger fires when everything before it has been forwarded */
};

struct block {
	struct block *next;
	enum block_kind kind;
	int64_t due_us; /* leaves the link at this time */
	uint32_t depth; /* of the deepest frame that ends in here, see stats.h */
	uint32_t epoch; /* of the statistics `depth` belongs to */
	int trigger;    /* index, with BLOCK_TRIGGER */
	size_t len;
	size_t done; /* bytes already forwarded */
	unsigned char data[];
};

struct link_shape {
	int64_t delay_us; /* one way */
	uint64_t rate;    /* bits per second, 0: unlimited */
};

struct queue {
	struct block *head, *tail;
	size_t bytes; /* not yet forwarded */
	int64_t *
	    free_us; /* when the link has sent what it was given: our own, or one that several queues share */
	int64_t own_free_us;
	int64_t last_due_us; /* a lower delay must not overtake */
};

/* `free_us`: of the link that it shares with others, NULL: it has one of its own. */
void queue_init(struct queue *q, int64_t *free_us);
void queue_clear(struct queue *q);

/* Stamp and append. The link is occupied for the time `len` bytes take at the rate; then they travel for the delay.
 * Return: the block, owned by the queue; NULL: out of memory. */
struct block *queue_push(struct queue *q, const struct link_shape *shape, int64_t now_us,
                         enum block_kind kind, const void *data, size_t len);
void queue_pop(struct queue *q);

/* How much one block may carry, so that at low rates a block does not leave as one large lump. */
size_t queue_quantum(const struct link_shape *shape);

/* Where reading stops: what the link itself holds, and 4 MiB that stand for socket buffers. */
size_t queue_max(const struct link_shape *shape);

#endif
