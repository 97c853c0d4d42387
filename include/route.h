/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * News of the routing table: a network that comes back is tried at once.
 * Thread: the loop. Blocks: never. Spec: rtnetlink(7), RTM_NEWROUTE.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>

/* Return: a descriptor that is readable when there is news, or a negative errno (no netlink here). */
int route_open(void);

/* Takes all the news there is. Return: true when a way to somewhere has appeared. */
bool route_appeared(int fd);

#endif
