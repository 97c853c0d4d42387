/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Questions to the user, on the terminal or through SSH_ASKPASS.
 *
 * Internal to ssh/. Thread: the back, and only in the foreground before link_start() (a terminal
 * is not asked from the background). Blocks: for the answer.
 * Spec: ssh(1) SSH_ASKPASS, SSH_ASKPASS_REQUIRE.
 */
#ifndef SSH_PROMPT_H
#define SSH_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "ssh/secret.h"

struct prompt {
	bool terminal_ok;    /* the terminal may be asked */
	bool askpass_ok;     /* SSH_ASKPASS may be asked */
	int watch_fd;        /* the question is withdrawn when this hangs up; -1: none */
	int64_t deadline_ms; /* conn_now_ms() scale; 0: none */
};

enum prompt_kind {
	PROMPT_SECRET,  /* the answer is not shown */
	PROMPT_ECHO,    /* it is */
	PROMPT_CONFIRM, /* yes or no; askpass shows buttons */
};

/* True when there is somebody to ask. */
bool prompt_possible(const struct prompt *p);

/* True when the terminal will be asked, not a program. */
bool prompt_on_terminal(const struct prompt *p);

/*
 * Asks. Return: 0 with the answer, without its newline, in `*answer`; -ENOTTY: nobody to ask;
 * -ECANCELED: the user declined; -EPIPE: the peer has gone; -ETIMEDOUT; -ENOMEM.
 */
int prompt_ask(const struct prompt *p, enum prompt_kind kind, const char *text,
               struct secret **answer);

/* Shows text (of a server: made harmless first) where the questions are asked. */
void prompt_show(const struct prompt *p, const char *text);

/* One line from standard input, for `password_stdin`. Return: as prompt_ask(). */
int prompt_read_stdin(struct secret **answer);

#endif
