/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tokens, variables and tildes that `ssh -G` leaves in its answer.
 * Room: ssh. Thread: the caller's, before any other. Spec: ssh_config(5) TOKENS.
 */
#include <netdb.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_parts.h"
#include "util/buf.h"

static const char *home_dir(void)
{
	struct passwd *pw = getpwuid(getuid());

	/* As ssh does: the account's, not the environment's. */
	if (pw && pw->pw_dir && pw->pw_dir[0])
		return pw->pw_dir;
	return getenv("HOME");
}

static void add_local_host(struct buf *b, bool with_domain)
{
	char name[256] = "";

	gethostname(name, sizeof(name) - 1);
	if (!with_domain)
		name[strcspn(name, ".")] = '\0';
	buf_add_str(b, name);
}

/* %C: SHA-1 of %l%h%p%r in hexadecimal. */
static void add_connection_hash(struct buf *b, const struct ssh_config *c)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int md_len = 0;
	struct buf text = BUF_INIT;

	add_local_host(&text, true);
	buf_addf(&text, "%s%u%s", c->hostname, c->port, c->user);
	if (!buf_failed(&text) &&
	    EVP_Digest(text.bytes, text.len, md, &md_len, EVP_sha1(), NULL) == 1)
		for (unsigned int i = 0; i < md_len; i++)
			buf_addf(b, "%02x", md[i]);
	buf_finish(&text);
}

static bool add_token(struct buf *b, const struct ssh_config *c, char token)
{
	struct passwd *pw;
	const char *home;

	switch (token) {
	case '%':
		buf_add(b, "%", 1);
		break;
	case 'C':
		add_connection_hash(b, c);
		break;
	case 'd':
		home = home_dir();
		buf_add_str(b, home ? home : "/");
		break;
	case 'h':
		buf_add_str(b, c->hostname);
		break;
	case 'i':
		buf_addf(b, "%u", (unsigned)getuid());
		break;
	case 'k':
		buf_add_str(b, c->host_key_alias ? c->host_key_alias : c->host);
		break;
	case 'L':
		add_local_host(b, false);
		break;
	case 'l':
		add_local_host(b, true);
		break;
	case 'n':
		buf_add_str(b, c->host);
		break;
	case 'p':
		buf_addf(b, "%u", c->port);
		break;
	case 'r':
		buf_add_str(b, c->user);
		break;
	case 'u':
		pw = getpwuid(getuid());
		buf_add_str(b, pw ? pw->pw_name : "");
		break;
	default:
		return false;
	}
	return true;
}

/* "${NAME}" at `text`. Return: the length of that, 0 when it is not one or has no value. */
static size_t add_variable(struct buf *b, const char *text)
{
	const char *end = strchr(text, '}');
	char name[128];
	const char *value;

	if (!end || (size_t)(end - text) >= sizeof(name))
		return 0;
	memcpy(name, text + 2, (size_t)(end - text) - 2);
	name[end - text - 2] = '\0';
	value = getenv(name);
	if (!value)
		return 0;
	buf_add_str(b, value);
	return (size_t)(end - text) + 1;
}

/* "~" or "~user" at the start. Return: the length of it, 0 when there is none. */
static size_t add_tilde(struct buf *b, const char *text)
{
	size_t len = strcspn(text, "/");
	const char *home;
	struct passwd *pw;
	char name[64];

	if (text[0] != '~' || len >= sizeof(name))
		return 0;
	memcpy(name, text + 1, len - 1);
	name[len - 1] = '\0';
	if (!name[0]) {
		home = home_dir();
	} else {
		pw = getpwnam(name);
		home = pw ? pw->pw_dir : NULL;
	}
	if (!home)
		return 0;
	buf_add_str(b, home);
	return len;
}

static bool add_one_of(struct buf *b, const struct config_token *tokens, char name)
{
	for (; tokens && tokens->name; tokens++) {
		if (tokens->name == name) {
			buf_add_str(b, tokens->value);
			return true;
		}
	}
	return false;
}

/* `b` has what a tilde stood for, and is used up. */
static char *expand(struct buf b, const struct ssh_config *c, const char *p,
                    const struct config_token *more)
{
	while (*p) {
		size_t len = 1;

		if (p[0] == '%') {
			if (!add_one_of(&b, more, p[1]) && !add_token(&b, c, p[1]))
				goto fail;
			len = 2;
		} else if (p[0] == '$' && p[1] == '{') {
			len = add_variable(&b, p);
			if (len == 0)
				goto fail;
		} else {
			buf_add(&b, p, 1);
		}
		p += len;
	}
	buf_add(&b, "", 0);
	return buf_take(&b);

fail:
	buf_finish(&b);
	return NULL;
}

char *config_expand(const struct ssh_config *c, const char *text)
{
	struct buf b = BUF_INIT;
	size_t tilde_len = add_tilde(&b, text);

	return expand(b, c, text + tilde_len, NULL);
}

char *config_expand_with(const struct ssh_config *c, const char *text,
                         const struct config_token *more)
{
	return expand(BUF_INIT, c, text, more);
}
