/* SPDX-License-Identifier: BSD-2-Clause */
/* Spools. Contract: include/scp/spool.h. */
#include "scp/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void scp_spool_init(struct scp_spool *s, int dir_fd)
{
	*s = (struct scp_spool){.dir_fd = dir_fd, .fd = -1};
}

void scp_spool_finish(struct scp_spool *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->bytes);
	scp_spool_init(s, s->dir_fd);
}

void scp_spool_clear(struct scp_spool *s)
{
	scp_spool_finish(s);
}

static int write_file(struct scp_spool *s, uint64_t off, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = pwrite(s->fd, bytes, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Not every filesystem has O_TMPFILE. */
static int open_unlinked(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char name[64];

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), ".sftpfs-%d-%u", (int)getpid(), i);
		fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0) {
			unlinkat(dir_fd, name, 0);
			return fd;
		}
		if (errno != EEXIST)
			break;
	}
	return -errno;
}

static int move_to_file(struct scp_spool *s)
{
	int err;

	s->fd = open_unlinked(s->dir_fd);
	if (s->fd < 0) {
		err = s->fd;
		s->fd = -1;
		return err;
	}
	err = write_file(s, 0, s->bytes, s->size);
	if (err) {
		close(s->fd);
		s->fd = -1;
		return err;
	}
	free(s->bytes);
	s->bytes = NULL;
	s->size = 0;
	return 0;
}

static int grow(struct scp_spool *s, size_t need)
{
	size_t size = s->size ? s->size : 4096;
	uint8_t *bytes;

	while (size < need)
		size *= 2;
	if (size == s->size)
		return 0;
	bytes = realloc(s->bytes, size);
	if (!bytes)
		return -ENOMEM;
	memset(bytes + s->size, 0, size - s->size);
	s->bytes = bytes;
	s->size = size;
	return 0;
}

int scp_spool_write(struct scp_spool *s, uint64_t off, const void *bytes, size_t len)
{
	uint64_t end;
	int err = 0;

	if (__builtin_add_overflow(off, (uint64_t)len, &end) || end > INT64_MAX)
		return -EFBIG;
	if (s->fd < 0 && end > SCP_SPOOL_MEMORY_LEN)
		err = move_to_file(s);
	else if (s->fd < 0)
		err = grow(s, (size_t)end);
	if (err)
		return err;
	if (s->fd >= 0)
		return write_file(s, off, bytes, len);
	memcpy(s->bytes + off, bytes, len);
	return 0;
}

int scp_spool_read(struct scp_spool *s, uint64_t off, void *to, size_t len)
{
	size_t have = 0;

	if (s->fd < 0) {
		have = off < s->size ? s->size - (size_t)off : 0;
		have = have < len ? have : len;
		if (have)
			memcpy(to, s->bytes + off, have);
	}
	while (s->fd >= 0 && have < len) {
		ssize_t n = pread(s->fd, (uint8_t *)to + have, len - have, (off_t)(off + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	memset((uint8_t *)to + have, 0, len - have);
	return 0;
}

static void drop_file(struct scp_spool *s, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[4096];

	if (to > INT64_MAX) {
		(void)!ftruncate(s->fd, (off_t)from);
		return;
	}
	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
	              (off_t)(to - from)) == 0)
		return;
	for (size_t len; from < to; from += len) {
		len = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
		if (write_file(s, from, zeros, len) != 0)
			return;
	}
}

void scp_spool_drop(struct scp_spool *s, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	if (s->fd >= 0) {
		drop_file(s, from, to);
		return;
	}
	to = to < s->size ? to : s->size;
	if (from < to)
		memset(s->bytes + from, 0, (size_t)(to - from));
}

int scp_spool_open_dir(void)
{
	const char *places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	int err = -ENOENT;

	for (unsigned i = 0; i < 3; i++) {
		int fd;

		if (!places[i] || places[i][0] != '/')
			continue;
		fd = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		err = -errno;
	}
	return err;
}
