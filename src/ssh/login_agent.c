/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AddKeysToAgent: ssh-add reads the key from its file and the passphrase, if there is one, from a
 * pipe: without a terminal and without askpass it takes standard input. No argument, environment or
 * file ever has the secret.
 * Room: ssh. Thread: the back, in the foreground. Spec: ssh_config(5) AddKeysToAgent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "login_parts.h"
#include "ssh/child.h"
#include "util/log.h"

#define ADD_TIMEOUT_MS 10000

/* As ssh: only a program is asked, and where there is none the answer is no. */
static bool user_agrees(struct login *lg, const char *path)
{
	struct prompt p = lg->prompt;
	struct secret *answer;
	char text[4200];
	bool yes;

	p.terminal_ok = false;
	snprintf(text, sizeof(text), "Add key %s to agent?", path);
	if (prompt_ask(&p, PROMPT_CONFIRM, text, &answer))
		return false;
	yes = answer->len == 0 || strcasecmp(answer->bytes, "yes") == 0;
	secret_destroy(answer);
	return yes;
}

/* A passphrase fits into the buffer of the pipe. */
static bool tell(struct child *ch, const struct secret *passphrase)
{
	if (passphrase && (send(ch->fd, passphrase->bytes, passphrase->len, MSG_NOSIGNAL) < 0 ||
	                   send(ch->fd, "\n", 1, MSG_NOSIGNAL) < 0))
		return false;
	return shutdown(ch->fd, SHUT_WR) == 0;
}

static void set_or_unset(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

/* Return: 0 or a negative errno. There is one thread yet, so the environment is ours. */
static int start(struct child *ch, char *const argv[], const char *agent)
{
	static const char *const names[] = {"SSH_AUTH_SOCK", "SSH_ASKPASS_REQUIRE"};
	char *saved[2];
	int rc;

	for (size_t i = 0; i < 2; i++) {
		const char *value = getenv(names[i]);

		saved[i] = value ? strdup(value) : NULL;
	}
	setenv(names[0], agent, 1);
	setenv(names[1], "never", 1);
	rc = child_spawn(ch, argv, CHILD_GROUP | CHILD_SESSION | CHILD_STDERR);
	for (size_t i = 0; i < 2; i++) {
		set_or_unset(names[i], saved[i]);
		free(saved[i]);
	}
	return rc;
}

static void run_ssh_add(char *const argv[], const struct login *lg, const char *path,
                        const struct secret *passphrase)
{
	struct child ch = CHILD_INIT;
	char said[256] = "";
	int status = -1;
	int rc = start(&ch, argv, lg->sc->cfg.identity_agent);

	if (!rc && tell(&ch, passphrase))
		status = child_wait(&ch, ADD_TIMEOUT_MS);
	if (!rc)
		child_read_stderr(&ch, false);
	child_last_line(&ch, said, sizeof(said));
	child_end(&ch, false);
	if (status == 0)
		log_info(LOG_SSH, "the agent has the key '%s' now", path);
	else
		log_error(LOG_SSH, "AddKeysToAgent: ssh-add did not add '%s': %s", path,
		          rc ? strerror(-rc) : said);
}

void login_add_to_agent(struct login *lg, const char *path, const struct secret *passphrase)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	const char *how = cfg->add_keys;
	const char *argv[] = {"ssh-add", "-q", "-k", NULL, NULL, NULL, NULL, NULL, NULL};
	size_t n = 3;

	if (!how || !cfg->identity_agent || lg->agent_error || lg->sc->conn.first_done ||
	    login_descriptor_of(path) >= 0 || strcasecmp(how, "no") == 0)
		return;
	if (strcasecmp(how, "ask") == 0 && !user_agrees(lg, path))
		return;
	if (strncasecmp(how, "confirm", 7) == 0) {
		argv[n++] = "-c";
		how += 7 + strspn(how + 7, " ");
	}
	if (*how >= '0' && *how <= '9') {
		argv[n++] = "-t";
		argv[n++] = how;
	}
	argv[n++] = "--";
	argv[n] = path;
	run_ssh_add((char *const *)argv, lg, path, passphrase);
}
