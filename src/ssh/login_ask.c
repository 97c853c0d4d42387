/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging in with what a person knows: passwords and keyboard-interactive.
 * Room: ssh. Thread: the back. Spec: RFC 4252 section 8; RFC 4256.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "login_parts.h"

/* Rounds of one keyboard-interactive exchange, and prompts of one round. */
#define ROUND_MAX  16
#define PROMPT_MAX 16

void login_keep_password(struct ssh_conn *sc, struct secret *password)
{
	if (sc->store.password == password)
		return;
	if (!sc->cfg.keep_password) {
		secret_destroy(password);
		return;
	}
	secret_destroy(sc->store.password);
	sc->store.password = password;
}

struct secret *login_given_password(struct login *lg)
{
	struct ssh_conn *sc = lg->sc;

	if (!sc->store.password && sc->cfg.password_stdin && !sc->store.stdin_read) {
		int rc = prompt_read_stdin(&sc->store.password);

		sc->store.stdin_read = true;
		if (rc && !lg->remark[0])
			snprintf(
			    lg->remark, sizeof(lg->remark),
			    "there is no password on standard input; give it as the first line");
	}
	return sc->store.password;
}

static enum outcome try_password(struct login *lg, const struct secret *password)
{
	int rc;

	lg->tried |= SSH_AUTH_METHOD_PASSWORD;
	LOGIN_CALL(lg, rc, ssh_userauth_password(lg->session, NULL, password->bytes));
	return login_outcome(lg, rc);
}

static void note_asking_failed(struct login *lg, int rc)
{
	if (rc == -EPIPE || rc == -ETIMEDOUT)
		lg->error = rc;
}

enum outcome login_password(struct login *lg)
{
	struct ssh_conn *sc = lg->sc;
	struct secret *password = login_given_password(lg);
	enum outcome out = LOGIN_DENIED;
	char text[512];

	if (password) {
		out = try_password(lg, password);
		if (out != LOGIN_DENIED || sc->cfg.password_stdin)
			return out;
	}
	snprintf(text, sizeof(text), "%s@%s's password: ", sc->cfg.user, sc->cfg.host);
	for (unsigned i = 0; i < sc->cfg.password_prompts && out == LOGIN_DENIED; i++) {
		int rc = prompt_ask(&lg->prompt, PROMPT_SECRET, text, &password);

		note_asking_failed(lg, rc);
		if (rc)
			return lg->error ? LOGIN_STOPPED : LOGIN_DENIED;
		out = try_password(lg, password);
		if (out == LOGIN_SUCCESS || out == LOGIN_PARTIAL)
			login_keep_password(sc, password);
		else
			secret_destroy(password);
		if (out == LOGIN_DENIED)
			prompt_show(&lg->prompt, "Permission denied, please try again.");
	}
	return out;
}

/* --- keyboard-interactive ------------------------------------------------------------------ */

struct exchange {
	struct secret *given; /* a password that answers the first fitting prompt; NULL: none */
	bool given_used;
	struct secret *typed;  /* the answer to the only secret prompt, to be kept */
	unsigned secret_count; /* secret prompts answered */
	bool asked;            /* the user was asked something */
	int error;
};

static bool wants_password(const char *text, bool echo, int count)
{
	return !echo && count == 1 && strcasestr(text, "assword");
}

static void show_instructions(struct login *lg)
{
	const char *name = ssh_userauth_kbdint_getname(lg->session);
	const char *instruction = ssh_userauth_kbdint_getinstruction(lg->session);

	if (lg->sc->conn.first_done)
		return;
	if (name && name[0])
		prompt_show(&lg->prompt, name);
	if (instruction && instruction[0])
		prompt_show(&lg->prompt, instruction);
}

/* The server's words on our terminal: no control characters. */
static void prompt_text(const struct login *lg, const char *text, char *out, size_t size)
{
	snprintf(out, size, "(%s@%s) %s", lg->sc->cfg.user, lg->sc->cfg.host, text);
	for (unsigned char *p = (unsigned char *)out; *p; p++)
		if ((*p < ' ' && *p != '\n') || *p == 0x7f)
			*p = '?';
}

/* Return: 0 or a negative errno; then the exchange is given up. */
static int answer_prompt(struct login *lg, struct exchange *x, unsigned i, int count)
{
	char echo = 0, text[1024];
	const char *prompt = ssh_userauth_kbdint_getprompt(lg->session, i, &echo);
	struct secret *answer;
	int rc;

	if (!prompt)
		return -EPROTO;
	if (x->given && !x->given_used && wants_password(prompt, echo, count)) {
		x->given_used = true;
		rc = ssh_userauth_kbdint_setanswer(lg->session, i, x->given->bytes);
		return rc < 0 ? -ENOMEM : 0;
	}
	prompt_text(lg, prompt, text, sizeof(text));
	rc = prompt_ask(&lg->prompt, echo ? PROMPT_ECHO : PROMPT_SECRET, text, &answer);
	note_asking_failed(lg, rc);
	if (rc)
		return rc;
	x->asked = true;
	rc = ssh_userauth_kbdint_setanswer(lg->session, i, answer->bytes);
	if (!echo && x->secret_count++ == 0 && wants_password(prompt, echo, count)) {
		x->typed = answer;
	} else {
		secret_destroy(answer);
		secret_destroy(x->typed);
		x->typed = NULL;
	}
	return rc < 0 ? -ENOMEM : 0;
}

static int answer_round(struct login *lg, struct exchange *x)
{
	int count = ssh_userauth_kbdint_getnprompts(lg->session);
	int rc = 0;

	if (count > PROMPT_MAX)
		return -EPROTO;
	if (count > 0 && !(count == 1 && x->given && !x->given_used))
		show_instructions(lg);
	for (int i = 0; i < count && !rc; i++)
		rc = answer_prompt(lg, x, (unsigned)i, count);
	return rc;
}

/* One attempt, of any number of rounds. */
static enum outcome exchange(struct login *lg, struct exchange *x)
{
	int rc;

	lg->tried |= SSH_AUTH_METHOD_INTERACTIVE;
	for (unsigned round = 0; round < ROUND_MAX; round++) {
		LOGIN_CALL(lg, rc, ssh_userauth_kbdint(lg->session, NULL, NULL));
		if (rc != SSH_AUTH_INFO)
			return login_outcome(lg, rc);
		x->error = answer_round(lg, x);
		if (x->error)
			return lg->error ? LOGIN_STOPPED : LOGIN_DENIED;
	}
	x->error = -EPROTO;
	return LOGIN_DENIED;
}

enum outcome login_interactive(struct login *lg)
{
	struct ssh_conn *sc = lg->sc;
	struct secret *given = login_given_password(lg);
	enum outcome out = LOGIN_DENIED;

	if (!given && !prompt_possible(&lg->prompt))
		return LOGIN_DENIED;
	for (unsigned i = 0; i < sc->cfg.password_prompts && out == LOGIN_DENIED; i++) {
		struct exchange x = {.given = i == 0 ? given : NULL};

		out = exchange(lg, &x);
		if (x.typed && (out == LOGIN_SUCCESS || out == LOGIN_PARTIAL))
			login_keep_password(sc, x.typed);
		else
			secret_destroy(x.typed);
		/* Nobody to ask, or nothing was asked: the same would come out again. */
		if (x.error || (!x.asked && !prompt_possible(&lg->prompt)) ||
		    (x.given_used && sc->cfg.password_stdin))
			break;
	}
	return out;
}
