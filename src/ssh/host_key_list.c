/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys named by the user: host_key= and RevokedHostKeys.
 * Room: ssh. Thread: the back; host_key_named() any. Spec: ssh_config(5) RevokedHostKeys,
 * ssh-keygen(1) KEY REVOCATION LISTS.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host_key_parts.h"
#include "known_hosts_parts.h"
#include "ssh/child.h"
#include "util/buf.h"
#include "util/log.h"

#define KEY_LINE_MAX   16384
#define KRL_MAGIC      "SSHKRL\n"
#define KRL_TIMEOUT_MS 10000

/* --- fingerprints -------------------------------------------------------------------------- */

/* "0a:1b" as bytes. Return: how many, 0 when it is not that. */
static size_t parse_hex(const char *text, uint8_t *out, size_t size)
{
	size_t n = 0;

	for (;;) {
		char pair[3] = {text[0], text[0] ? text[1] : '\0', '\0'};

		if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]) ||
		    n == size)
			return 0;
		out[n++] = (uint8_t)strtoul(pair, NULL, 16);
		text += 2;
		if (!*text)
			return n;
		if (*text++ != ':')
			return 0;
	}
}

/* OpenSSH leaves the padding out; with it is fine too. */
static size_t parse_base64(const char *text, uint8_t *out, size_t size)
{
	char padded[96];
	uint8_t bytes[sizeof(padded) / 4 * 3]; /* what is decoded for the padding counts */
	size_t len = strcspn(text, "=");
	ssize_t n;

	if (len == 0 || len + 4 > sizeof(padded) || strspn(text + len, "=") != strlen(text + len))
		return 0;
	memcpy(padded, text, len);
	while (len % 4)
		padded[len++] = '=';
	n = known_hosts_base64_decode(padded, len, bytes);
	if (n <= 0 || (size_t)n > size)
		return 0;
	memcpy(out, bytes, (size_t)n);
	return (size_t)n;
}

static const struct digest {
	const char *name; /* as OpenSSH writes it and OpenSSL finds it */
	size_t len;
} digests[] = {{"MD5", 16}, {"SHA1", 20}, {"SHA256", 32}, {"SHA384", 48}, {"SHA512", 64}};

/* Return: the digest that `text` is of, with its bytes in `md`; NULL when it is none. */
static const struct digest *parse_fingerprint(const char *text, uint8_t *md, size_t size)
{
	for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
		const struct digest *d = &digests[i];
		size_t len = strlen(d->name);

		if (strncasecmp(text, d->name, len) != 0 || text[len] != ':')
			continue;
		text += len + 1;
		if (parse_hex(text, md, size) == d->len || parse_base64(text, md, size) == d->len)
			return d;
		return NULL;
	}
	for (size_t i = 0, len = parse_hex(text, md, size);
	     i < sizeof(digests) / sizeof(digests[0]); i++)
		if (len == digests[i].len)
			return &digests[i];
	return NULL;
}

static int has_fingerprint(const struct server_key *k, const struct digest *d, const uint8_t *md)
{
	uint8_t theirs[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (EVP_Digest(k->blob, k->blob_len, theirs, &len, EVP_get_digestbyname(d->name), NULL) !=
	    1)
		return -EINVAL; /* FIPS: no MD5 */
	if (d->len < 32)
		log_info(LOG_SSH, "a fingerprint of %s proves little: use SHA256", d->name);
	return len == d->len && memcmp(theirs, md, len) == 0;
}

/* --- lists --------------------------------------------------------------------------------- */

/* One line "type key comment": with a pattern in front it is one of known_hosts. */
static int line_names(const char *line, const struct server_key *k, bool *is_key)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query any = {.host = "any"};
	const struct known_entry *e;
	struct buf text = BUF_INIT;
	int rc = -ENOMEM;

	buf_addf(&text, "* %s", line);
	if (!buf_failed(&text))
		rc = known_hosts_parse(&kh, "", (char *)text.bytes, text.len);
	if (!rc) {
		*is_key |= kh.count > 0;
		rc = known_hosts_check(&kh, &any, k->type, k->blob, k->blob_len, &e) == KNOWN_MATCH;
	}
	known_hosts_finish(&kh);
	buf_finish(&text);
	return rc;
}

/* Adds the types of the keys of one such line. Return: 0 or -ENOMEM. */
static int line_types(const char *line, struct ssh_strings *types)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query any = {.host = "any"};
	struct buf text = BUF_INIT;
	int rc = -ENOMEM;

	buf_addf(&text, "* %s", line);
	if (!buf_failed(&text))
		rc = known_hosts_parse(&kh, "", (char *)text.bytes, text.len);
	if (!rc)
		rc = known_hosts_types(&kh, &any, types);
	known_hosts_finish(&kh);
	buf_finish(&text);
	return rc;
}

static int file_names(const char *path, const struct server_key *k, unsigned *number)
{
	char line[KEY_LINE_MAX];
	bool is_key = false;
	FILE *f = fopen(path, "re");
	int rc = 0;

	*number = 0;
	if (!f)
		return -errno;
	while (!rc && fgets(line, sizeof(line), f)) {
		++*number;
		rc = line_names(line, k, &is_key);
	}
	if (ferror(f) && !rc)
		rc = -EIO;
	fclose(f);
	return rc;
}

static bool looks_like_a_key(const char *text)
{
	return strchr(text, ' ') &&
	       (strncmp(text, "ssh-", 4) == 0 || strncmp(text, "ecdsa-", 6) == 0 ||
	        strncmp(text, "sk-", 3) == 0);
}

int host_key_named(const char *text, const struct server_key *k)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	const struct digest *d = parse_fingerprint(text, md, sizeof(md));
	bool is_key = false;
	unsigned line;
	int rc;

	if (d)
		return has_fingerprint(k, d, md);
	if (!looks_like_a_key(text))
		return file_names(text, k, &line);
	rc = line_names(text, k, &is_key);
	return rc == 0 && !is_key ? -EINVAL : rc;
}

int host_key_named_types(const char *text, struct ssh_strings *types)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	char line[KEY_LINE_MAX];
	FILE *f;
	int rc = 0;

	if (parse_fingerprint(text, md, sizeof(md)))
		return 1;
	if (looks_like_a_key(text))
		return line_types(text, types);
	f = fopen(text, "re");
	while (!rc && f && fgets(line, sizeof(line), f))
		rc = line_types(line, types);
	if (f)
		fclose(f);
	return rc;
}

/* --- binary lists -------------------------------------------------------------------------- */

static bool is_krl(const char *path)
{
	char head[sizeof(KRL_MAGIC)] = "";
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(head, 1, sizeof(head), f) : 0;

	if (f)
		fclose(f);
	return n == sizeof(head) && memcmp(head, KRL_MAGIC, sizeof(head)) == 0;
}

/* The key as a file without a name, which a child finds below our descriptors. */
static int key_file(const struct server_key *k, char *path, size_t size)
{
	struct buf line = BUF_INIT;
	char *text = malloc(4 * ((k->blob_len + 2) / 3) + 1);
	int fd = memfd_create("hostkey", MFD_CLOEXEC);

	if (text)
		EVP_EncodeBlock((unsigned char *)text, k->blob, (int)k->blob_len);
	buf_addf(&line, "%s %s\n", k->type, text ? text : "");
	free(text);
	if (fd >= 0 &&
	    (buf_failed(&line) || write(fd, line.bytes, line.len) != (ssize_t)line.len)) {
		close(fd);
		fd = -1;
	}
	buf_finish(&line);
	snprintf(path, size, "/proc/%d/fd/%d", (int)getpid(), fd);
	return fd;
}

/* `ssh-keygen -Q` ends with 1 when the key is revoked, with 0 when not. */
static int krl_names(const char *path, const struct server_key *k)
{
	char key_path[64], said[256];
	int fd = key_file(k, key_path, sizeof(key_path));
	char *argv[] = {(char *)"ssh-keygen", (char *)"-Q", (char *)"-f",
	                (char *)path,         key_path,     NULL};
	struct child ch;
	int rc, status;

	if (fd < 0)
		return -ENOMEM;
	rc = child_spawn(&ch, argv, CHILD_STDERR | CHILD_GROUP);
	if (rc) {
		close(fd);
		return rc == -ENOENT ? -ENOEXEC : rc;
	}
	status = child_wait(&ch, KRL_TIMEOUT_MS);
	child_read_stderr(&ch, false);
	child_last_line(&ch, said, sizeof(said));
	child_end(&ch, false);
	close(fd);
	if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) <= 1)
		return WEXITSTATUS(status);
	log_info(LOG_SSH, "ssh-keygen -Q: %s", said);
	return -EBADMSG;
}

int host_key_revoked(const char *path, const struct server_key *k, unsigned *line)
{
	*line = 0;
	return is_krl(path) ? krl_names(path, k) : file_names(path, k, line);
}
