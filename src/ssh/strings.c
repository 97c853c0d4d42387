/* SPDX-License-Identifier: BSD-2-Clause */
/* Growable lists of strings. Room: ssh. Thread: the owner's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_strings.h"

int strings_add(struct ssh_strings *s, const char *text)
{
	char **at = realloc(s->at, (s->count + 2) * sizeof(*at));

	if (!at)
		return -ENOMEM;
	s->at = at;
	at[s->count] = strdup(text);
	if (!at[s->count])
		return -ENOMEM;
	at[++s->count] = NULL;
	return 0;
}

int strings_add_words(struct ssh_strings *s, const char *text)
{
	char *copy = strdup(text), *save = NULL;
	int rc = copy ? 0 : -ENOMEM;

	if (copy)
		for (char *w = strtok_r(copy, " \t", &save); w && !rc;
		     w = strtok_r(NULL, " \t", &save))
			rc = strings_add(s, w);
	free(copy);
	return rc;
}

void strings_finish(struct ssh_strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->at[i]);
	free(s->at);
	*s = (struct ssh_strings){0};
}
