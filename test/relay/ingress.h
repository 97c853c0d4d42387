/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that arrive: counted, cut into frames, matched with triggers, queued. */
#ifndef RELAY_INGRESS_H
#define RELAY_INGRESS_H

#include "conn.h"

/* Return: 0, or -ENOMEM. */
int ingress_data(struct conn *c, enum dir dir, const unsigned char *data, size_t len,
                 int64_t now_us);

/* A block was handed to the other side: what that side now knows. */
void ingress_delivered(struct conn *c, enum dir dir, const struct block *b);

#endif
