/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue of a lane: packets in, contiguous pieces out.
 * Room: ssh. Thread: the back; `unsent_len` is shared with the front.
 */
#include <string.h>

#include "conn_message.h"
#include "ssh/conn.h"

void lane_packet_drop(struct conn *c, struct link_packet *p, size_t sent_len)
{
	size_t len = p->head_len + p->body_len - sent_len;

	atomic_fetch_sub_explicit(&c->unsent_len, len, memory_order_relaxed);
	conn_packet_free(p);
}

static struct link_packet *lane_first(const struct lane *l)
{
	return list_entry(l->out.next, struct link_packet, entry);
}

/* The part of `p` at `off`, counted over head and body. */
static size_t packet_piece(const struct link_packet *p, size_t off, const uint8_t **bytes)
{
	if (off < p->head_len) {
		*bytes = p->head->bytes + off;
		return p->head_len - off;
	}
	off -= p->head_len;
	if (off >= p->body_len)
		return 0;
	*bytes = p->body->bytes + p->body_off + off;
	return p->body_len - off;
}

size_t lane_peek(const struct lane *l, const uint8_t **bytes)
{
	if (list_empty(&l->out))
		return 0;
	return packet_piece(lane_first(l), l->out_off, bytes);
}

unsigned lane_pieces(const struct lane *l, struct iovec *iov, unsigned max)
{
	size_t off = l->out_off;
	unsigned count = 0;

	list_for_each(pos, &l->out) {
		const struct link_packet *p = list_entry(pos, struct link_packet, entry);
		const uint8_t *bytes;
		size_t len;

		while (count < max && (len = packet_piece(p, off, &bytes)) > 0) {
			iov[count++] = (struct iovec){(void *)bytes, len};
			off += len;
		}
		off = 0;
	}
	return count;
}

size_t lane_gather(const struct lane *l, uint8_t *to, size_t max)
{
	size_t off = l->out_off;
	size_t done = 0;

	list_for_each(pos, &l->out) {
		const struct link_packet *p = list_entry(pos, struct link_packet, entry);
		const uint8_t *bytes;
		size_t len;

		while (done < max && (len = packet_piece(p, off, &bytes)) > 0) {
			if (len > max - done)
				len = max - done;
			memcpy(to + done, bytes, len);
			done += len;
			off += len;
		}
		if (done == max)
			break;
		off = 0;
	}
	return done;
}

void lane_consume(struct lane *l, size_t len)
{
	atomic_fetch_sub_explicit(&l->conn->unsent_len, len, memory_order_relaxed);
	l->out_off += len;
	while (!list_empty(&l->out)) {
		struct link_packet *p = lane_first(l);
		size_t packet_len = p->head_len + p->body_len;

		if (l->out_off < packet_len)
			break;
		l->out_off -= packet_len;
		list_del(&p->entry);
		conn_packet_free(p);
		if (list_empty(&l->out)) {
			l->conn->sweep_due |= l->ending || l->closing;
			conn_lane_drained(l);
		}
	}
}

void lane_discard(struct lane *l)
{
	list_for_each_safe(pos, tmp, &l->out) {
		struct link_packet *p = list_entry(pos, struct link_packet, entry);

		list_del(pos);
		lane_packet_drop(l->conn, p, l->out_off);
		l->out_off = 0;
	}
}
