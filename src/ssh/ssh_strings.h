/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be done with a struct ssh_strings. Internal to ssh/. */
#ifndef SSH_SSH_STRINGS_H
#define SSH_SSH_STRINGS_H

#include "ssh/config.h"

/* Return: 0 or -ENOMEM. */
int strings_add(struct ssh_strings *s, const char *text);
void strings_finish(struct ssh_strings *s);

/* Cuts `text` at white space. */
int strings_add_words(struct ssh_strings *s, const char *text);

#endif
