/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

#define SOCKET_BUFFER_LEN ((size_t)4 << 20)
#define UNLIMITED_RATE                                                                             \
	10000000000ull     /* bits/s, used only to size the queue of a link without a rate */
#define BLOCK_LEN_MIN 1448 /* bytes, one Ethernet segment */
#define BLOCK_LEN_MAX 65536

void queue_init(struct queue *q, int64_t *free_us)
{
	memset(q, 0, sizeof(*q));
	q->free_us = free_us != NULL ? free_us : &q->own_free_us;
}

void queue_clear(struct queue *q)
{
	while (q->head != NULL)
		queue_pop(q);
}

static int64_t serialization_us(const struct link_shape *shape, size_t len)
{
	if (shape->rate == 0)
		return 0;
	return (int64_t)((double)len * 8e6 / (double)shape->rate);
}

struct block *queue_push(struct queue *q, const struct link_shape *shape, int64_t now_us,
                         enum block_kind kind, const void *data, size_t len)
{
	struct block *b = malloc(sizeof(*b) + len);

	if (b == NULL)
		return NULL;
	memset(b, 0, sizeof(*b));
	b->kind = kind;
	b->len = len;
	if (len > 0)
		memcpy(b->data, data, len);
	if (*q->free_us < now_us)
		*q->free_us = now_us;
	*q->free_us += serialization_us(shape, len);
	b->due_us = *q->free_us + shape->delay_us;
	if (b->due_us < q->last_due_us)
		b->due_us = q->last_due_us;
	q->last_due_us = b->due_us;
	q->bytes += len;
	if (q->tail != NULL)
		q->tail->next = b;
	else
		q->head = b;
	q->tail = b;
	return b;
}

void queue_pop(struct queue *q)
{
	struct block *b = q->head;

	q->head = b->next;
	if (q->head == NULL)
		q->tail = NULL;
	q->bytes -= b->len - b->done;
	free(b);
}

size_t queue_quantum(const struct link_shape *shape)
{
	uint64_t half_ms_len = shape->rate / 8 / 2000;

	if (shape->rate == 0 || half_ms_len > BLOCK_LEN_MAX)
		return BLOCK_LEN_MAX;
	return half_ms_len < BLOCK_LEN_MIN ? BLOCK_LEN_MIN : (size_t)half_ms_len;
}

size_t queue_max(const struct link_shape *shape)
{
	uint64_t rate = shape->rate != 0 ? shape->rate : UNLIMITED_RATE;

	return SOCKET_BUFFER_LEN + (size_t)((double)rate / 8e6 * (double)shape->delay_us);
}
