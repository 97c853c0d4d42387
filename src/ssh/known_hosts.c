/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading known_hosts files and answering from them. See include/ssh/known_hosts.h.
 * Room: ssh. Any thread. Spec: sshd(8) SSH_KNOWN_HOSTS FILE FORMAT.
 */
#include "ssh/known_hosts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "known_hosts_parts.h"
#include "ssh_strings.h"
#include "util/buf.h"

#define SSH_PORT 22

/* A line longer than this holds no key that anybody can use. */
#define LINE_MAX_LEN (64 * 1024)

/* Large sites have large files; this only bounds a file that is none. */
#define FILE_MAX_LEN (256 << 20)

/* --- parsing ------------------------------------------------------------------------------- */

ssize_t known_hosts_base64_decode(const char *text, size_t len, uint8_t *out)
{
	size_t pad = 0;
	int n;

	if (len == 0 || len % 4 != 0 || len > LINE_MAX_LEN)
		return -1;
	while (pad < 2 && text[len - 1 - pad] == '=')
		pad++;
	n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
	return n < (int)pad ? -1 : n - (ssize_t)pad;
}

/* The next word of a line. Return: its length, 0 at the end. */
static size_t next_word(const char **text, const char *end, const char **word)
{
	const char *p = *text;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	*word = p;
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	*text = p;
	return (size_t)(p - *word);
}

static bool word_is(const char *word, size_t len, const char *text)
{
	return strlen(text) == len && memcmp(word, text, len) == 0;
}

static void entry_finish(struct known_entry *e)
{
	free(e->patterns);
	free(e->type);
	free(e->key);
}

/* The blob begins with the name of its type: a line whose type says otherwise is damaged. */
static bool key_is_of_type(const struct known_entry *e)
{
	size_t len = strlen(e->type), said;

	if (e->key_len < 4)
		return false;
	said =
	    (size_t)e->key[0] << 24 | (size_t)e->key[1] << 16 | (size_t)e->key[2] << 8 | e->key[3];
	return said == len && e->key_len - 4 >= len && memcmp(e->key + 4, e->type, len) == 0;
}

/* Return: 1 and an entry, 0 when the line holds none, -ENOMEM. */
static int parse_line(const char *line, const char *end, struct known_entry *e)
{
	const char *word, *key;
	size_t len = next_word(&line, end, &word), key_len;
	ssize_t n;

	if (len == 0 || word[0] == '#')
		return 0;
	if (word[0] == '@') {
		if (word_is(word, len, "@cert-authority"))
			e->mark = KNOWN_CA;
		else if (word_is(word, len, "@revoked"))
			e->mark = KNOWN_REVOKED;
		else
			return 0;
		len = next_word(&line, end, &word);
		if (len == 0)
			return 0;
	}
	e->patterns = strndup(word, len);
	len = next_word(&line, end, &word);
	key_len = next_word(&line, end, &key);
	if (!e->patterns)
		return -ENOMEM;
	if (len == 0 || key_len == 0 || key_len > LINE_MAX_LEN)
		return 0;
	e->type = strndup(word, len);
	e->key = malloc(key_len);
	if (!e->type || !e->key)
		return -ENOMEM;
	n = known_hosts_base64_decode(key, key_len, e->key);
	if (n < 0)
		return 0;
	e->key_len = (size_t)n;
	return key_is_of_type(e);
}

static int entry_add(struct known_hosts *kh, const struct known_entry *e)
{
	if (kh->count == kh->size) {
		size_t size = kh->size ? 2 * kh->size : 64;
		struct known_entry *at = realloc(kh->entries, size * sizeof(*at));

		if (!at)
			return -ENOMEM;
		kh->entries = at;
		kh->size = size;
	}
	kh->entries[kh->count++] = *e;
	return 0;
}

int known_hosts_parse(struct known_hosts *kh, const char *path, const char *text, size_t len)
{
	const char *end = text + len;
	unsigned line_number = 0;
	int rc = strings_add(&kh->files, path);

	while (!rc && text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = eol ? eol : end;
		struct known_entry e = {.file = kh->files.count - 1, .line = ++line_number};
		int found;

		if (line_end > text && line_end[-1] == '\r')
			line_end--;
		found = parse_line(text, line_end, &e);
		if (found > 0)
			rc = entry_add(kh, &e);
		else
			rc = found;
		if (found <= 0 || rc)
			entry_finish(&e);
		text = eol ? eol + 1 : end;
	}
	return rc;
}

int known_hosts_read(struct known_hosts *kh, const char *path)
{
	struct buf text = {.max_len = FILE_MAX_LEN};
	char bytes[16384];
	ssize_t n;
	int rc = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		buf_add(&text, bytes, (size_t)n);
	if (n < 0)
		rc = -errno;
	else if (buf_failed(&text))
		rc = -ENOMEM;
	else
		rc = known_hosts_parse(kh, path, (const char *)text.bytes, text.len);
	close(fd);
	buf_finish(&text);
	return rc;
}

void known_hosts_finish(struct known_hosts *kh)
{
	for (size_t i = 0; i < kh->count; i++)
		entry_finish(&kh->entries[i]);
	free(kh->entries);
	strings_finish(&kh->files);
	*kh = KNOWN_HOSTS_INIT;
}

/* --- matching ------------------------------------------------------------------------------ */

/* '*' and '?', case does not matter. Linear but for one remembered star. */
static bool wildcard_match(const char *pattern, size_t pattern_len, const char *name)
{
	size_t p = 0, n = 0, star = SIZE_MAX, star_n = 0;
	size_t name_len = strlen(name);

	while (n < name_len) {
		if (p < pattern_len && pattern[p] == '*') {
			star = p++;
			star_n = n;
		} else if (p < pattern_len &&
		           (pattern[p] == '?' || tolower((unsigned char)pattern[p]) ==
		                                     tolower((unsigned char)name[n]))) {
			p++;
			n++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			n = ++star_n;
		} else {
			return false;
		}
	}
	while (p < pattern_len && pattern[p] == '*')
		p++;
	return p == pattern_len;
}

/* "|1|salt|hash": HMAC-SHA1 of the name with the salt as key. */
static bool hashed_match(const char *text, size_t len, const char *name)
{
	const char *bar = memchr(text + 3, '|', len - 3);
	uint8_t salt[64], hash[64], md[EVP_MAX_MD_SIZE];
	unsigned int md_len = 0;
	ssize_t salt_len, hash_len;
	size_t salt_text_len, hash_text_len;

	if (!bar)
		return false;
	salt_text_len = (size_t)(bar - text) - 3;
	hash_text_len = len - salt_text_len - 4;
	if (salt_text_len > 64 || hash_text_len > 64)
		return false;
	salt_len = known_hosts_base64_decode(text + 3, salt_text_len, salt);
	hash_len = known_hosts_base64_decode(bar + 1, hash_text_len, hash);
	if (salt_len <= 0 || hash_len <= 0 ||
	    !HMAC(EVP_sha1(), salt, (int)salt_len, (const unsigned char *)name, strlen(name), md,
	          &md_len))
		return false;
	return md_len == (size_t)hash_len && CRYPTO_memcmp(md, hash, md_len) == 0;
}

/* A negated pattern that matches makes the whole line not match. */
static bool patterns_match(const char *patterns, const char *name)
{
	bool found = false;

	if (strncmp(patterns, "|1|", 3) == 0)
		return hashed_match(patterns, strlen(patterns), name);
	while (*patterns) {
		size_t len = strcspn(patterns, ",");
		bool negated = patterns[0] == '!';

		if (wildcard_match(patterns + negated, len - negated, name)) {
			if (negated)
				return false;
			found = true;
		}
		patterns += len;
		patterns += *patterns == ',';
	}
	return found;
}

static char *name_with_port(const char *host, unsigned port)
{
	char *name;
	int n = port == 0 || port == SSH_PORT ? asprintf(&name, "%s", host)
	                                      : asprintf(&name, "[%s]:%u", host, port);

	if (n < 0)
		return NULL;
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return name;
}

int known_hosts_name(const struct known_query *q, char **name)
{
	*name = name_with_port(q->host, q->port);
	return *name ? 0 : -ENOMEM;
}

static bool same_key(const struct known_entry *e, const char *type, const uint8_t *key,
                     size_t key_len)
{
	return strcmp(e->type, type) == 0 && e->key_len == key_len &&
	       memcmp(e->key, key, key_len) == 0;
}

/* One name. */
static enum known_result check_name(const struct known_hosts *kh, const char *name,
                                    const char *type, const uint8_t *key, size_t key_len,
                                    const struct known_entry **entry)
{
	enum known_result result = KNOWN_UNKNOWN;

	for (size_t i = 0; i < kh->count; i++) {
		const struct known_entry *e = &kh->entries[i];
		enum known_result here;

		if (!patterns_match(e->patterns, name))
			continue;
		if (e->mark == KNOWN_CA)
			here = KNOWN_ONLY_CA;
		else if (e->mark == KNOWN_REVOKED)
			here = same_key(e, type, key, key_len) ? KNOWN_IS_REVOKED : KNOWN_UNKNOWN;
		else if (same_key(e, type, key, key_len))
			here = KNOWN_MATCH;
		else
			here = strcmp(e->type, type) == 0 ? KNOWN_CHANGED : KNOWN_OTHER_TYPE;

		/* revoked beats match beats changed beats another type beats a CA beats nothing */
		if (known_hosts_weight(here) > known_hosts_weight(result)) {
			result = here;
			*entry = e;
		}
	}
	return result;
}

int known_hosts_weight(enum known_result r)
{
	static const int weights[] = {
	    [KNOWN_UNKNOWN] = 0, [KNOWN_ONLY_CA] = 1, [KNOWN_OTHER_TYPE] = 2,
	    [KNOWN_CHANGED] = 3, [KNOWN_MATCH] = 4,   [KNOWN_IS_REVOKED] = 5,
	};

	return weights[r];
}

/*
 * The name with its port decides. Where it says nothing, the name without port and then the
 * address may vouch for the key (or revoke it), but never accuse it: other hosts live there too.
 */
enum known_result known_hosts_check(const struct known_hosts *kh, const struct known_query *q,
                                    const char *type, const uint8_t *key, size_t key_len,
                                    const struct known_entry **entry)
{
	const struct {
		const char *host;
		unsigned port;
	} names[] = {{q->host, q->port}, {q->host, 0}, {q->address, q->port}, {q->address, 0}};
	enum known_result result = KNOWN_UNKNOWN;

	*entry = NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct known_entry *e = NULL;
		char *name = names[i].host ? name_with_port(names[i].host, names[i].port) : NULL;
		enum known_result here;

		if (!name)
			continue;
		here = check_name(kh, name, type, key, key_len, &e);
		free(name);
		if (i == 0 || here == KNOWN_IS_REVOKED ||
		    (here == KNOWN_MATCH && (result == KNOWN_UNKNOWN || result == KNOWN_ONLY_CA))) {
			if (i > 0 && known_hosts_weight(here) <= known_hosts_weight(result))
				continue;
			result = here;
			*entry = e;
		}
	}
	return result;
}

int known_hosts_types(const struct known_hosts *kh, const struct known_query *q,
                      struct ssh_strings *types)
{
	char *name = name_with_port(q->host, q->port);
	char *bare = name_with_port(q->host, 0);
	int rc = name && bare ? 0 : -ENOMEM;

	for (size_t i = 0; !rc && i < kh->count; i++) {
		const struct known_entry *e = &kh->entries[i];
		bool have = false;

		if (e->mark != KNOWN_PLAIN ||
		    (!patterns_match(e->patterns, name) && !patterns_match(e->patterns, bare)))
			continue;
		for (size_t j = 0; j < types->count; j++)
			have |= strcmp(types->at[j], e->type) == 0;
		if (!have)
			rc = strings_add(types, e->type);
	}
	free(name);
	free(bare);
	return rc;
}
