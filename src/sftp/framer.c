/* SPDX-License-Identifier: BSD-2-Clause */
/* Cuts a byte stream into SFTP packets. See include/sftp/framer.h. */
#include "sftp/framer.h"

#include <errno.h>
#include <string.h>

void framer_init(struct framer *f, struct budget *budget, size_t packet_len_max)
{
	*f = (struct framer){.budget = budget, .packet_len_max = packet_len_max};
}

void framer_finish(struct framer *f)
{
	data_unref(f->packet);
	f->packet = NULL;
	f->head_len = 0;
}

static size_t min_len(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Collects the length field; allocates the packet when it is complete. */
static size_t take_head(struct framer *f, const uint8_t *bytes, size_t len)
{
	size_t n = min_len(len, sizeof(f->head) - f->head_len);

	memcpy(f->head + f->head_len, bytes, n);
	f->head_len += n;
	if (f->head_len < sizeof(f->head))
		return n;

	f->packet_len = (size_t)f->head[0] << 24 | (size_t)f->head[1] << 16 |
	                (size_t)f->head[2] << 8 | f->head[3];
	f->have_len = 0;
	if (f->packet_len == 0 || f->packet_len > f->packet_len_max) {
		f->error = -EMSGSIZE;
		return n;
	}
	f->packet = data_create(f->budget, f->packet_len);
	if (!f->packet)
		f->error = -ENOMEM;
	return n;
}

static size_t take_body(struct framer *f, const uint8_t *bytes, size_t len)
{
	size_t n = min_len(len, f->packet_len - f->have_len);

	memcpy(f->packet->bytes + f->have_len, bytes, n);
	f->have_len += n;
	return n;
}

int framer_push(struct framer *f, const uint8_t *bytes, size_t len, framer_packet_fn *fn, void *arg)
{
	while (len > 0 && f->error == 0) {
		size_t n = f->packet ? take_body(f, bytes, len) : take_head(f, bytes, len);

		bytes += n;
		len -= n;
		if (f->packet && f->have_len == f->packet_len) {
			struct data *packet = f->packet;

			f->packet = NULL;
			f->head_len = 0;
			fn(arg, packet, f->packet_len);
		}
	}
	return f->error;
}
