/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Adding lines to a known_hosts file, and fingerprints.
 * Room: ssh. Any thread: writers in this and other processes of ours are kept apart by a lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "known_hosts_parts.h"
#include "util/buf.h"

#define SALT_LEN 20 /* of SHA-1, as OpenSSH does */

static void add_base64(struct buf *b, const uint8_t *bytes, size_t len)
{
	size_t size = 4 * ((len + 2) / 3) + 1;
	unsigned char *text = malloc(size);

	if (!text) {
		b->failed = true;
		return;
	}
	EVP_EncodeBlock(text, bytes, (int)len);
	buf_add_str(b, (char *)text);
	free(text);
}

static void md5_fingerprint(const uint8_t *key, size_t key_len, char *text, size_t size)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int md_len = 0;
	struct buf b = BUF_INIT;

	/* FIPS: there is none. */
	if (EVP_Digest(key, key_len, md, &md_len, EVP_md5(), NULL) != 1)
		md_len = 0;
	buf_add_str(&b, md_len ? "MD5" : "MD5:?");
	for (unsigned int i = 0; i < md_len; i++)
		buf_addf(&b, ":%02x", md[i]);
	snprintf(text, size, "%s", buf_failed(&b) ? "MD5:?" : (const char *)b.bytes);
	buf_finish(&b);
}

void known_hosts_fingerprint(const uint8_t *key, size_t key_len, const char *hash, char *text,
                             size_t size)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned char encoded[2 * EVP_MAX_MD_SIZE];
	unsigned int md_len = 0;

	if (hash && strcasecmp(hash, "md5") == 0) {
		md5_fingerprint(key, key_len, text, size);
		return;
	}
	snprintf(text, size, "SHA256:?");
	if (EVP_Digest(key, key_len, md, &md_len, EVP_sha256(), NULL) != 1)
		return;
	EVP_EncodeBlock(encoded, md, (int)md_len);
	encoded[strcspn((char *)encoded, "=")] = '\0';
	snprintf(text, size, "SHA256:%s", (char *)encoded);
}

static int add_host(struct buf *b, const struct known_query *q, bool hashed)
{
	unsigned char salt[SALT_LEN], md[EVP_MAX_MD_SIZE];
	unsigned int md_len = 0;
	char *name;
	int rc = known_hosts_name(q, &name);

	if (rc)
		return rc;
	if (!hashed) {
		buf_add_str(b, name);
	} else if (RAND_bytes(salt, sizeof(salt)) == 1 &&
	           HMAC(EVP_sha1(), salt, sizeof(salt), (unsigned char *)name, strlen(name), md,
	                &md_len)) {
		buf_add_str(b, "|1|");
		add_base64(b, salt, sizeof(salt));
		buf_add_str(b, "|");
		add_base64(b, md, md_len);
	} else {
		rc = -EIO;
	}
	free(name);
	return rc;
}

static int make_directory(const char *path)
{
	char *copy = strdup(path);
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	if (mkdir(dirname(copy), 0700) && errno != EEXIST)
		rc = -errno;
	free(copy);
	return rc;
}

static bool known_already(const char *path, const struct known_query *q, const char *type,
                          const uint8_t *key, size_t key_len)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	const struct known_entry *e;
	struct known_query exact = {.host = q->host, .port = q->port};
	bool found;

	found = known_hosts_read(&kh, path) == 0 &&
	        known_hosts_check(&kh, &exact, type, key, key_len, &e) == KNOWN_MATCH;
	known_hosts_finish(&kh);
	return found;
}

/* The last line of a file that an editor left without a newline must stay a line of its own. */
static bool lacks_newline(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	char last;

	return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

int known_hosts_line(struct buf *line, const struct known_query *q, const char *type,
                     const uint8_t *key, size_t key_len, bool hashed)
{
	int rc = add_host(line, q, hashed);

	if (rc)
		return rc;
	buf_addf(line, " %s ", type);
	add_base64(line, key, key_len);
	buf_add_str(line, "\n");
	return buf_failed(line) ? -ENOMEM : 0;
}

int known_hosts_append(const char *path, const struct known_query *q, const char *type,
                       const uint8_t *key, size_t key_len, bool hashed)
{
	struct buf line = BUF_INIT;
	int fd, rc;

	rc = known_hosts_line(&line, q, type, key, key_len, hashed);
	if (!rc)
		rc = make_directory(path);
	if (rc)
		goto finish;
	fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0) {
		rc = -errno;
		goto finish;
	}
	while (flock(fd, LOCK_EX) && errno == EINTR)
		;
	if (!known_already(path, q, type, key, key_len)) {
		if (lacks_newline(fd) && write(fd, "\n", 1) != 1)
			rc = -errno;
		if (!rc && write(fd, line.bytes, line.len) != (ssize_t)line.len)
			rc = errno ? -errno : -EIO;
	}
	close(fd);

finish:
	buf_finish(&line);
	return rc;
}
