/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cuts a byte stream into SFTP packets: a 32-bit length, then that many bytes.
 *
 * Sans-I/O: bytes in, whole packets out, no matter how the stream was cut on its way.
 * Thread: whoever owns the struct. Spec: filexfer-02 section 3.
 */
#ifndef SFTP_FRAMER_H
#define SFTP_FRAMER_H

#include <stddef.h>
#include <stdint.h>

#include "util/data.h"

/* One packet, without its length field. The receiver owns the reference. */
typedef void framer_packet_fn(void *arg, struct data *packet, size_t len);

struct framer {
	struct budget *budget; /* charged for each packet; NULL: none */
	size_t packet_len_max; /* inclusive; a longer packet is an error */
	uint8_t head[4];       /* the length field as far as it has come */
	size_t head_len;
	struct data *packet; /* NULL until the length is known */
	size_t packet_len;
	size_t have_len; /* bytes of `packet` that have come */
	int error;       /* sticky: a negative errno, 0 while all is well */
};

void framer_init(struct framer *f, struct budget *budget, size_t packet_len_max);

/* Drops a partial packet. */
void framer_finish(struct framer *f);

/*
 * Takes `len` bytes of the stream; calls `fn` for every packet they complete.
 * Return: 0; -EMSGSIZE when a packet is empty or longer than allowed; -ENOMEM. An error stays:
 * the rest of the stream cannot be understood.
 */
int framer_push(struct framer *f, const uint8_t *bytes, size_t len, framer_packet_fn *fn,
                void *arg);

#endif
