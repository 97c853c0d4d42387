/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by known_hosts.c and known_hosts_write.c. */
#ifndef SSH_KNOWN_HOSTS_PARTS_H
#define SSH_KNOWN_HOSTS_PARTS_H

#include <sys/types.h>

#include "ssh/known_hosts.h"

/* Strict: whole groups of four. `out` has room for `len` bytes. Return: the length or -1. */
ssize_t known_hosts_base64_decode(const char *text, size_t len, uint8_t *out);

/* Which of two findings about one key counts. */
int known_hosts_weight(enum known_result r);

#endif
