/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where host keys are known from: the files, and what KnownHostsCommand prints.
 * Room: ssh. Thread: the back. Spec: ssh_config(5) UserKnownHostsFile, KnownHostsCommand, TOKENS.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "config_parts.h"
#include "host_key_parts.h"
#include "ssh/child.h"
#include "ssh/known_hosts.h"
#include "ssh/ssh_conn.h"
#include "ssh_strings.h"
#include "util/buf.h"
#include "util/log.h"

#define COMMAND_NAME           "KnownHostsCommand"
#define COMMAND_TIMEOUT_MS     30000
#define COMMAND_OUTPUT_MAX_LEN (16 << 20)

struct known_query host_key_query(const struct ssh_conn *sc)
{
	const struct ssh_config *cfg = &sc->cfg;

	/* An alias stands for the host alone: no port, no address. */
	if (cfg->host_key_alias)
		return (struct known_query){.host = cfg->host_key_alias};
	return (struct known_query){
	    .host = cfg->hostname,
	    .address = sc->address[0] ? sc->address : NULL,
	    .port = cfg->port,
	};
}

static void read_files(struct known_hosts *kh, const struct ssh_strings *files)
{
	for (size_t i = 0; i < files->count; i++) {
		int rc = known_hosts_read(kh, files->at[i]);

		if (rc && rc != -ENOENT)
			log_info(LOG_SSH, "cannot read '%s': %s", files->at[i], strerror(-rc));
	}
}

/* --- the command --------------------------------------------------------------------------- */

/*
 * Cuts one word off `*text`, as ssh does: '...' and "..." keep spaces, a backslash keeps a quote, a
 * space or itself. Return: 1 and the word, 0 at the end, -EINVAL when a quote is not closed.
 */
static int next_word(const char **text, struct buf *word)
{
	const char *p = *text + strspn(*text, " \t");
	char quote = '\0';

	buf_clear(word);
	if (!*p)
		return 0;
	buf_add(word, "", 0);
	for (; *p && (quote || (*p != ' ' && *p != '\t')); p++) {
		if (*p == '\\' && p[1] && strchr(quote ? "\\'\"" : "\\'\" ", p[1]))
			buf_add(word, ++p, 1);
		else if (quote ? *p == quote : *p == '"' || *p == '\'')
			quote = quote ? '\0' : *p;
		else
			buf_add(word, p, 1);
	}
	*text = p;
	return quote ? -EINVAL : buf_failed(word) ? -ENOMEM : 1;
}

/* The program as it is written, its arguments expanded. Return: 0 or a negative errno. */
static int build_argv(const struct ssh_config *cfg, const struct config_token *tokens,
                      struct ssh_strings *argv)
{
	const char *text = cfg->known_hosts_command;
	struct buf word = BUF_INIT;
	int rc;

	while ((rc = next_word(&text, &word)) > 0) {
		char *expanded = argv->count > 0
		                     ? config_expand_with(cfg, (const char *)word.bytes, tokens)
		                     : NULL;

		if (argv->count > 0 && !expanded)
			rc = -EINVAL;
		else
			rc = strings_add(argv, expanded ? expanded : (const char *)word.bytes);
		free(expanded);
		if (rc)
			break;
	}
	buf_finish(&word);
	return rc ? rc : argv->count > 0 && argv->at[0][0] == '/' ? 0 : -EINVAL;
}

static int command_failed(const char *command, const char *why, struct link_error *err)
{
	conn_error(err, LINK_FAIL_HOSTKEY,
	           COMMAND_NAME " '%.200s' failed: %.200s; correct it, or set it to none", command,
	           why);
	return -EACCES;
}

static int run_command(const struct ssh_config *cfg, const struct config_token *tokens,
                       struct known_hosts *kh, struct link_error *err)
{
	struct buf out = {.max_len = COMMAND_OUTPUT_MAX_LEN};
	struct ssh_strings argv = {0};
	struct child ch = CHILD_INIT;
	char said[256];
	int rc = build_argv(cfg, tokens, &argv), status;

	if (rc == -EINVAL)
		rc = command_failed(cfg->known_hosts_command,
		                    "it must be an absolute path and "
		                    "arguments, with all quotes closed and no unknown tokens",
		                    err);
	if (rc)
		goto finish;
	rc = child_spawn(&ch, argv.at, CHILD_STDERR);
	if (!rc) {
		shutdown(ch.fd, SHUT_WR); /* it has no input */
		rc = child_collect(&ch, &out, COMMAND_TIMEOUT_MS);
	}
	if (rc) {
		rc = command_failed(argv.at[0], strerror(-rc), err);
		goto finish;
	}
	status = child_wait(&ch, COMMAND_TIMEOUT_MS);
	if (status == -ETIMEDOUT || (status >= 0 && status != 0)) {
		child_last_line(&ch, said, sizeof(said));
		rc = command_failed(argv.at[0], said[0] ? said : "without a word", err);
		goto finish;
	}
	rc = known_hosts_parse(kh, COMMAND_NAME, out.len > 0 ? (const char *)out.bytes : "",
	                       out.len);

finish:
	child_end(&ch, false);
	buf_finish(&out);
	strings_finish(&argv);
	return rc;
}

/* `name`: the host as known_hosts would have it. `k`: NULL when the order is asked for. */
static int ask_command(const struct ssh_config *cfg, const char *name, const struct server_key *k,
                       struct known_hosts *kh, struct link_error *err)
{
	char *key = k ? malloc(4 * ((k->blob_len + 2) / 3) + 1) : NULL;
	const struct config_token tokens[] = {
	    {'H', name},
	    {'I', k ? "HOSTNAME" : "ORDER"},
	    {'t', k ? k->type : "NONE"},
	    {'f', k ? k->fingerprint : "NONE"},
	    {'K', k ? key : "NONE"},
	    {0, NULL},
	};
	int rc = -ENOMEM;

	if (key)
		EVP_EncodeBlock((unsigned char *)key, k->blob, (int)k->blob_len);
	if (!k || key)
		rc = run_command(cfg, tokens, kh, err);
	free(key);
	return rc;
}

/* As with ssh: first for the name with its port, then, if that is not known, without. */
static int ask_about_key(struct ssh_conn *sc, const struct server_key *k, struct known_hosts *kh,
                         struct link_error *err)
{
	struct known_query q = host_key_query(sc);
	struct known_query bare = {.host = q.host};
	const struct known_entry *e;
	char *name = NULL, *bare_name = NULL;
	int rc = known_hosts_name(&q, &name);

	if (!rc)
		rc = known_hosts_name(&bare, &bare_name);
	if (!rc)
		rc = ask_command(&sc->cfg, name, k, kh, err);
	if (!rc && strcmp(name, bare_name) != 0 &&
	    known_hosts_check(kh, &q, k->type, k->blob, k->blob_len, &e) == KNOWN_UNKNOWN)
		rc = ask_command(&sc->cfg, bare_name, k, kh, err);
	free(name);
	free(bare_name);
	return rc;
}

int host_key_read(struct ssh_conn *sc, const struct server_key *k, struct known_hosts *kh,
                  struct link_error *err)
{
	const struct ssh_config *cfg = &sc->cfg;

	read_files(kh, &cfg->user_known_hosts);
	read_files(kh, &cfg->global_known_hosts);
	if (!cfg->known_hosts_command)
		return 0;
	return k ? ask_about_key(sc, k, kh, err) : ask_command(cfg, cfg->hostname, NULL, kh, err);
}
