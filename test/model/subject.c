/* SPDX-License-Identifier: BSD-2-Clause */
#include "subject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace.h"

#define FILE_MODE 0644

void subject_create(struct subject *s, const char *dir, const char *peer, unsigned int number,
                    size_t len_max)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->path, sizeof(s->path), "%s/file%u", dir, number);
	snprintf(s->spare_path, sizeof(s->spare_path), "%s/spare%u", dir, number);
	if (peer != NULL)
		snprintf(s->peer, sizeof(s->peer), "%s/file%u", peer, number);
	s->fd[0] = s->fd[1] = s->ghost = -1;
	if (image_init(&s->image, len_max) != 0 || image_init(&s->ghost_image, len_max) != 0)
		trace_fail("no memory for %zu bytes", len_max);
	subject_open(s, 0, O_RDWR | O_CREAT | O_EXCL);
	subject_open(s, 1, O_RDONLY);
}

void subject_destroy(struct subject *s, bool keep)
{
	subject_ghost_close(s);
	subject_close(s, 0);
	subject_close(s, 1);
	if (!keep && unlink(s->path) != 0)
		trace_fail_errno("unlink %s", s->path);
	image_finish(&s->image);
	image_finish(&s->ghost_image);
}

void subject_open(struct subject *s, int which, int flags)
{
	s->fd[which] = open(s->path, flags | O_CLOEXEC, FILE_MODE);
	if (s->fd[which] < 0)
		trace_fail_errno("open %s with flags %#o", s->path, (unsigned int)flags);
	s->flags[which] = flags & ~(O_CREAT | O_EXCL | O_TRUNC);
	if ((flags & O_TRUNC) != 0)
		image_resize(&s->image, 0);
}

void subject_close(struct subject *s, int which)
{
	if (s->fd[which] >= 0 && close(s->fd[which]) != 0)
		trace_fail_errno("close of descriptor %d of %s", which, s->path);
	s->fd[which] = -1;
}

void subject_ghost_close(struct subject *s)
{
	if (s->ghost >= 0 && close(s->ghost) != 0)
		trace_fail_errno("close of the replaced %s", s->path);
	s->ghost = -1;
}

void subject_replaced(struct subject *s)
{
	struct image old = s->image;

	subject_ghost_close(s);
	s->ghost = s->fd[0];
	s->fd[0] = -1;
	s->image = s->ghost_image;
	s->ghost_image = old;
	image_resize(&s->image, 0);
	subject_close(s, 1);
	s->next_off = 0;
}

bool subject_writes(const struct subject *s, int which)
{
	return (s->flags[which] & O_ACCMODE) == O_RDWR;
}

bool subject_direct(const struct subject *s, int which)
{
	return (s->flags[which] & O_DIRECT) != 0;
}

void subject_check_range(const struct image *im, int fd, size_t off, unsigned char *buf, size_t len,
                         const char *what)
{
	size_t expected = image_available(im, off, len), done = 0, equal;

	/* One call must do; a second one tells a short count from a wrong end of file. */
	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(off + done));

		if (n < 0)
			trace_fail_errno("%s: read of %zu bytes at %zu", what, len - done,
			                 off + done);
		if (n == 0)
			break;
		done += (size_t)n;
		if (done < expected)
			trace_fail("%s: read at %zu gave %zd bytes of %zu that exist", what, off, n,
			           expected);
		if (done == expected)
			break;
	}
	if (done != expected)
		trace_fail("%s: read at %zu gave %zu bytes, there are %zu (size %zu)", what, off,
		           done, expected, im->len);
	equal = image_compare(im, off, buf, expected);
	if (equal == expected)
		return;
	fprintf(stderr, "%s: %zu bytes at %zu differ from offset %zu on (size %zu)\n", what,
	        expected, off, off + equal, im->len);
	image_explain(im, off, buf, expected, stderr);
	trace_fail("wrong content");
}

void subject_check_all(const struct image *im, int fd, unsigned char *buf, size_t buf_len,
                       const char *what)
{
	for (size_t off = 0; off <= im->len; off += buf_len)
		subject_check_range(im, fd, off, buf, buf_len, what);
}

static void check_stat(const struct subject *s, const struct stat *st, const char *how)
{
	if ((size_t)st->st_size != s->image.len)
		trace_fail("%s of %s: size %jd, not %zu", how, s->path, (intmax_t)st->st_size,
		           s->image.len);
}

void subject_check_size(const struct subject *s)
{
	struct stat st;

	if (stat(s->path, &st) != 0)
		trace_fail_errno("stat of %s", s->path);
	check_stat(s, &st, "stat");
	for (int i = 0; i < 2; i++) {
		off_t end;

		if (fstat(s->fd[i], &st) != 0)
			trace_fail_errno("fstat of descriptor %d of %s", i, s->path);
		check_stat(s, &st, "fstat");
		end = lseek(s->fd[i], 0, SEEK_END);
		if (end < 0 || (size_t)end != s->image.len)
			trace_fail("seek to the end of descriptor %d: %jd, not %zu", i,
			           (intmax_t)end, s->image.len);
	}
}

static void check_peer(const struct subject *s, unsigned char *buf, size_t buf_len)
{
	struct stat st;
	int fd = open(s->peer, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		trace_fail_errno("open of %s", s->peer);
	check_stat(s, &st, "after close, on the server: fstat");
	subject_check_all(&s->image, fd, buf, buf_len, "after close, on the server");
	close(fd);
}

void subject_check_cold(struct subject *s, unsigned char *buf, size_t buf_len)
{
	int flags = s->flags[1];

	/* Pages of a writer may be dirty; only clean ones can be dropped. */
	if (fsync(s->fd[0]) != 0)
		trace_fail_errno("fsync of %s", s->path);
	posix_fadvise(s->fd[0], 0, 0, POSIX_FADV_DONTNEED);
	subject_close(s, 1);
	subject_close(s, 0);
	if (s->peer[0] != '\0')
		check_peer(s, buf, buf_len);
	subject_open(s, 1, O_RDONLY);
	posix_fadvise(s->fd[1], 0, 0, POSIX_FADV_DONTNEED);
	subject_check_all(&s->image, s->fd[1], buf, buf_len, "after close and open");
	subject_close(s, 1);
	subject_open(s, 0, O_RDWR);
	subject_open(s, 1, flags);
	subject_check_size(s);
}
