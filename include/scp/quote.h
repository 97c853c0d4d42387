/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of a POSIX shell, and the words of its programs' errors. Thread: any. */
#ifndef SCP_QUOTE_H
#define SCP_QUOTE_H

#include <stddef.h>

#include "util/buf.h"

/* Appends `word` so that a shell reads back exactly these bytes and interprets none of them. */
void scp_quote(struct buf *b, const char *word);

/*
 * The errno that a message of a program in the C locale ends with ("mkdir: x: File exists").
 * Only the end counts: names come before it. Return: a positive errno; 0: it names none.
 */
int scp_errno_of_text(const char *text, size_t len);

#endif
