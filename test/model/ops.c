/* SPDX-License-Identifier: BSD-2-Clause */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace.h"

#define STREAM_COUNT_MAX 40 /* transfers of one sequential run */
#define APPEND_COUNT_MAX 8
#define PAGE_LEN         4096
#define TIME_BASE        1000000000 /* seconds; any time that no clock shows now */

static bool chance(struct run *r, unsigned int percent)
{
	return random_below(&r->random, 100) < percent;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static unsigned int number_of(const struct run *r, const struct subject *s)
{
	return (unsigned int)(s - r->files);
}

/* Where the last transfer ended, at the end, at page borders, or anywhere below `bound`. */
static size_t pick_off(struct run *r, const struct subject *s, size_t bound)
{
	uint64_t kind = random_below(&r->random, 100);
	size_t off = (size_t)random_below(&r->random, bound);

	if (kind < 20)
		off = s->next_off;
	else if (kind < 30)
		off = s->image.len;
	else if (kind < 45)
		off -= off % PAGE_LEN;
	else if (kind < 50 && off >= PAGE_LEN)
		off -= off % PAGE_LEN + 1;
	return bound == 0 ? 0 : least(off, bound - 1);
}

static size_t pick_write_off(struct run *r, const struct subject *s)
{
	return pick_off(r, s, least(s->image.len + OPS_PAST_END, s->image.len_max));
}

static int pick_writer(struct run *r, const struct subject *s)
{
	return subject_writes(s, 1) && chance(r, 50) ? 1 : 0;
}

/* Round to what an O_DIRECT descriptor takes. Return: false when nothing is left. */
static bool align(const struct subject *s, int which, size_t *off, size_t *len)
{
	if (!subject_direct(s, which))
		return *len > 0;
	*off -= *off % SUBJECT_ALIGN;
	*len -= *len % SUBJECT_ALIGN;
	return *len > 0;
}

static void op_read(struct run *r, struct subject *s)
{
	int which = (int)random_below(&r->random, 2);
	size_t off = pick_off(r, s, s->image.len + PAGE_LEN);
	size_t len = (size_t)random_len(&r->random, r->len_max);

	if (!align(s, which, &off, &len))
		return;
	trace_add(r->op, "file %u descriptor %d: pread %zu at %zu", number_of(r, s), which, len,
	          off);
	subject_check_range(&s->image, s->fd[which], off, r->buf, len, "pread");
	s->next_off = off + image_available(&s->image, off, len);
}

/* One write(2) or pwrite(2); what O_APPEND does is Linux: the offset is ignored. */
static void write_at(struct run *r, struct subject *s, int which, size_t off, size_t len, bool seek)
{
	ssize_t n;

	image_pattern(r->buf, off, len, r->op);
	if (seek) {
		if (lseek(s->fd[which], (off_t)off, SEEK_SET) != (off_t)off)
			trace_fail_errno("seek to %zu", off);
		n = write(s->fd[which], r->buf, len);
	} else {
		n = pwrite(s->fd[which], r->buf, len, (off_t)off);
	}
	if (n < 0)
		trace_fail_errno("write of %zu bytes at %zu", len, off);
	if ((size_t)n != len)
		trace_fail("write of %zu bytes at %zu: only %zd", len, off, n);
	image_write(&s->image, off, r->buf, len);
	s->next_off = off + len;
}

static void op_write(struct run *r, struct subject *s)
{
	int which = pick_writer(r, s);
	bool append = (s->flags[which] & O_APPEND) != 0, seek = chance(r, 50);
	size_t off = pick_write_off(r, s), len;

	if (append)
		off = s->image.len;
	len = least((size_t)random_len(&r->random, r->len_max), s->image.len_max - off);
	if (!align(s, which, &off, &len))
		return;
	trace_add(r->op, "file %u descriptor %d: %s%s %zu at %zu", number_of(r, s), which,
	          seek ? "write" : "pwrite", append ? " (O_APPEND)" : "", len, off);
	write_at(r, s, which, off, len, seek);
}

static void op_stream_write(struct run *r, struct subject *s)
{
	size_t off = chance(r, 30) ? 0 : pick_write_off(r, s);
	size_t len = (size_t)random_len(&r->random, r->len_max);
	uint64_t count = 2 + random_below(&r->random, STREAM_COUNT_MAX - 1);
	bool jitter = chance(r, 30);

	trace_add(r->op, "file %u: %ju writes of %s%zu from %zu on", number_of(r, s),
	          (uintmax_t)count, jitter ? "up to " : "", len, off);
	for (uint64_t i = 0; i < count && off < s->image.len_max; i++) {
		size_t n = jitter ? (size_t)random_len(&r->random, len) : len;

		n = least(n, s->image.len_max - off);
		write_at(r, s, 0, off, n, false);
		off += n;
	}
}

static void op_stream_read(struct run *r, struct subject *s)
{
	int which = subject_direct(s, 1) ? 0 : (int)random_below(&r->random, 2);
	size_t off = chance(r, 30) ? 0 : pick_off(r, s, s->image.len);
	size_t len = (size_t)random_len(&r->random, r->len_max);
	uint64_t count = 2 + random_below(&r->random, STREAM_COUNT_MAX - 1);

	trace_add(r->op, "file %u descriptor %d: %ju reads of %zu from %zu on", number_of(r, s),
	          which, (uintmax_t)count, len, off);
	for (uint64_t i = 0; i < count && off <= s->image.len; i++) {
		subject_check_range(&s->image, s->fd[which], off, r->buf, len, "sequential read");
		off += len;
	}
	s->next_off = least(off, s->image.len);
}

/* To 0, a little up or down, or to anything. */
static size_t pick_size(struct run *r, const struct subject *s)
{
	size_t len = s->image.len, step = (size_t)random_len(&r->random, OPS_PAST_END);

	if (chance(r, 10))
		return 0;
	if (chance(r, 30))
		return len > step ? len - step : 0;
	if (chance(r, 40))
		return least(len + step, s->image.len_max);
	return (size_t)random_below(&r->random, s->image.len_max + 1);
}

static void op_truncate(struct run *r, struct subject *s)
{
	size_t len = pick_size(r, s);

	trace_add(r->op, "file %u: truncate %zu to %zu", number_of(r, s), s->image.len, len);
	if (truncate(s->path, (off_t)len) != 0)
		trace_fail_errno("truncate to %zu", len);
	image_resize(&s->image, len);
}

static void op_ftruncate(struct run *r, struct subject *s)
{
	int which = pick_writer(r, s);
	size_t len = pick_size(r, s);

	trace_add(r->op, "file %u descriptor %d: ftruncate %zu to %zu", number_of(r, s), which,
	          s->image.len, len);
	if (ftruncate(s->fd[which], (off_t)len) != 0)
		trace_fail_errno("ftruncate to %zu", len);
	image_resize(&s->image, len);
}

/* A part of the file that exists. Return: false when it is empty. */
static bool pick_map(struct run *r, const struct subject *s, size_t *off, size_t *len)
{
	*off = pick_off(r, s, s->image.len);
	*len = image_available(&s->image, *off, (size_t)random_len(&r->random, r->len_max));
	return *len > 0;
}

static void op_map_read(struct run *r, struct subject *s)
{
	size_t off, len, lead, equal, tail;
	int which = (int)random_below(&r->random, 2),
	    kind = chance(r, 50) ? MAP_SHARED : MAP_PRIVATE;
	unsigned char *map;

	if (!pick_map(r, s, &off, &len))
		return;
	lead = off % PAGE_LEN;
	trace_add(r->op, "file %u descriptor %d: mapped read %zu at %zu", number_of(r, s), which,
	          len, off);
	map = mmap(NULL, lead + len, PROT_READ, kind, s->fd[which], (off_t)(off - lead));
	if (map == MAP_FAILED)
		trace_fail_errno("mmap of %zu bytes at %zu", lead + len, off - lead);
	equal = image_compare(&s->image, off, map + lead, len);
	if (equal != len) {
		fprintf(stderr, "mapped read: %zu bytes at %zu differ from offset %zu on\n", len,
		        off, off + equal);
		image_explain(&s->image, off, map + lead, len, stderr);
		trace_fail("wrong content");
	}
	/* The rest of the last page is zeros. */
	tail = off + len == s->image.len ? (PAGE_LEN - s->image.len % PAGE_LEN) % PAGE_LEN : 0;
	for (size_t i = 0; i < tail; i++)
		if (map[lead + len + i] != 0)
			trace_fail("mapped read: %#x at %zu, %zu bytes behind the end",
			           map[lead + len + i], off + len + i, i);
	munmap(map, lead + len);
	s->next_off = off + len;
}

static void op_map_write(struct run *r, struct subject *s)
{
	size_t off, len, lead;
	unsigned int sync = (unsigned int)random_below(&r->random, 3);
	static const char *const sync_names[] = {"no msync", "MS_SYNC", "MS_ASYNC"};
	unsigned char *map;

	if (!pick_map(r, s, &off, &len))
		return;
	lead = off % PAGE_LEN;
	trace_add(r->op, "file %u: mapped write %zu at %zu, %s", number_of(r, s), len, off,
	          sync_names[sync]);
	map = mmap(NULL, lead + len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd[0],
	           (off_t)(off - lead));
	if (map == MAP_FAILED)
		trace_fail_errno("mmap of %zu bytes at %zu", lead + len, off - lead);
	image_pattern(r->buf, off, len, r->op);
	memcpy(map + lead, r->buf, len);
	image_write(&s->image, off, r->buf, len);
	if (sync != 0 && msync(map, lead + len, sync == 1 ? MS_SYNC : MS_ASYNC) != 0)
		trace_fail_errno("msync");
	if (munmap(map, lead + len) != 0)
		trace_fail_errno("munmap");
	s->next_off = off + len;
}

static void op_reopen(struct run *r, struct subject *s)
{
	static const int others[] = {
	    O_RDONLY,       O_RDWR, O_RDWR | O_APPEND, O_RDWR | O_DIRECT, O_RDONLY | O_DIRECT,
	    O_RDWR | O_SYNC};
	int which = (int)random_below(&r->random, 2), flags = O_RDWR;

	if (which == 1)
		flags = others[random_below(&r->random, sizeof(others) / sizeof(others[0]))];
	if (!r->direct)
		flags &= ~O_DIRECT;
	if ((flags & O_ACCMODE) == O_RDWR && chance(r, 5))
		flags |= O_TRUNC;
	trace_add(r->op, "file %u descriptor %d: close, open with %#o", number_of(r, s), which,
	          (unsigned int)flags);
	subject_close(s, which);
	subject_open(s, which, flags);
}

static void op_append(struct run *r, struct subject *s)
{
	uint64_t count = 1 + random_below(&r->random, APPEND_COUNT_MAX);
	int fd = open(s->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	trace_add(r->op, "file %u: %ju appends at %zu on a new descriptor", number_of(r, s),
	          (uintmax_t)count, s->image.len);
	if (fd < 0)
		trace_fail_errno("open of %s for appending", s->path);
	for (uint64_t i = 0; i < count; i++) {
		size_t len = (size_t)random_len(&r->random, r->len_max / 4), off = s->image.len;

		len = least(len, s->image.len_max - off);
		image_pattern(r->buf, off, len, r->op);
		if (write(fd, r->buf, len) != (ssize_t)len)
			trace_fail_errno("append of %zu bytes at %zu", len, off);
		image_write(&s->image, off, r->buf, len);
		if (chance(r, 20))
			subject_check_range(&s->image, s->fd[0], off, r->buf, len,
			                    "pread after an append");
	}
	if (close(fd) != 0)
		trace_fail_errno("close after appending");
}

static bool overlap(const struct subject *from, size_t from_off, const struct subject *to,
                    size_t to_off, size_t len)
{
	return from == to && from_off < to_off + len && to_off < from_off + len;
}

static void op_copy(struct run *r, struct subject *s)
{
	struct subject *to = &r->files[random_below(&r->random, r->file_count)];
	size_t from_off = pick_off(r, s, s->image.len), to_off = pick_write_off(r, to);
	size_t len = (size_t)random_len(&r->random, s->image.len_max), done = 0;
	off_t in = (off_t)from_off, out = (off_t)to_off;
	bool refused;

	len = least(image_available(&s->image, from_off, len), to->image.len_max - to_off);
	if (len == 0 || r->no_copy)
		return;
	refused = overlap(s, from_off, to, to_off, len);
	trace_add(r->op, "copy_file_range %zu from file %u at %zu to file %u at %zu%s", len,
	          number_of(r, s), from_off, number_of(r, to), to_off,
	          refused ? ", overlapping" : "");
	while (done < len) {
		ssize_t n = copy_file_range(s->fd[0], &in, to->fd[0], &out, len - done, 0);

		if (n < 0 && refused && errno == EINVAL)
			return;
		if (n < 0 && done == 0 &&
		    (errno == ENOSYS || errno == EOPNOTSUPP || errno == EXDEV)) {
			r->no_copy = true;
			return;
		}
		if (n < 0)
			trace_fail_errno("copy_file_range, %zu of %zu bytes done", done, len);
		if (refused)
			trace_fail("overlapping copy_file_range was not refused");
		if (n == 0)
			trace_fail("copy_file_range stops after %zu of %zu bytes", done, len);
		done += (size_t)n;
	}
	image_write(&to->image, to_off, s->image.data + from_off, len);
	to->next_off = to_off + len;
}

static void op_sync(struct run *r, struct subject *s)
{
	int which = pick_writer(r, s);
	bool data = chance(r, 30);

	trace_add(r->op, "file %u descriptor %d: %s", number_of(r, s), which,
	          data ? "fdatasync" : "fsync");
	if ((data ? fdatasync(s->fd[which]) : fsync(s->fd[which])) != 0)
		trace_fail_errno("fsync");
}

/* A new file with new content takes the name, as editors save. The old one stays open and keeps its
 * content. */
static void op_replace(struct run *r, struct subject *s)
{
	size_t len = least((size_t)random_len(&r->random, s->image.len_max), s->image.len_max),
	       done = 0;
	int fd;

	trace_add(r->op, "file %u: replace by %zu bytes", number_of(r, s), len);
	fd = open(s->spare_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		trace_fail_errno("create %s", s->spare_path);
	while (done < len) {
		size_t n = least(len - done, r->len_max);

		image_pattern(r->buf, done, n, r->op);
		if (write(fd, r->buf, n) != (ssize_t)n)
			trace_fail_errno("write of %zu bytes at %zu of %s", n, done, s->spare_path);
		done += n;
	}
	if (chance(r, 30) && fsync(fd) != 0)
		trace_fail_errno("fsync of %s", s->spare_path);
	if (chance(r, 70)) {
		if (close(fd) != 0)
			trace_fail_errno("close of %s", s->spare_path);
		fd = -1;
	}
	if (rename(s->spare_path, s->path) != 0)
		trace_fail_errno("rename of %s to %s", s->spare_path, s->path);
	subject_replaced(s);
	for (size_t off = 0; off < len; off += r->len_max) {
		size_t n = least(len - off, r->len_max);

		image_pattern(r->buf, off, n, r->op);
		image_write(&s->image, off, r->buf, n);
	}
	if (fd >= 0 && close(fd) != 0)
		trace_fail_errno("close of %s, renamed meanwhile", s->path);
	subject_open(s, 0, O_RDWR);
	subject_open(s, 1, O_RDONLY);
}

/* Removed and made again, empty. */
static void op_remake(struct run *r, struct subject *s)
{
	trace_add(r->op, "file %u: unlink, create", number_of(r, s));
	if (unlink(s->path) != 0)
		trace_fail_errno("unlink %s", s->path);
	subject_replaced(s);
	subject_open(s, 0, O_RDWR | O_CREAT | O_EXCL);
	subject_open(s, 1, O_RDONLY);
}

/* The file that no longer has a name. */
static void op_ghost(struct run *r, struct subject *s)
{
	struct image *im = &s->ghost_image;
	size_t off, len;

	if (s->ghost < 0)
		return;
	off = (size_t)random_below(&r->random, im->len + 1);
	len = least((size_t)random_len(&r->random, r->len_max), im->len_max - off);
	if (chance(r, 20)) {
		trace_add(r->op, "replaced file %u: compare and close", number_of(r, s));
		subject_check_all(im, s->ghost, r->buf, r->len_max, "replaced file");
		subject_ghost_close(s);
	} else if (chance(r, 50) && len > 0) {
		trace_add(r->op, "replaced file %u: write %zu at %zu", number_of(r, s), len, off);
		image_pattern(r->buf, off, len, r->op);
		if (pwrite(s->ghost, r->buf, len, (off_t)off) != (ssize_t)len)
			trace_fail_errno("write to the replaced file");
		image_write(im, off, r->buf, len);
	} else if (len > 0) {
		trace_add(r->op, "replaced file %u: read %zu at %zu", number_of(r, s), len, off);
		subject_check_range(im, s->ghost, off, r->buf, len, "replaced file");
	}
}

static void op_stat(struct run *r, struct subject *s)
{
	trace_add(r->op, "file %u: stat", number_of(r, s));
	subject_check_size(s);
}

/* A time that was set is there, with whole seconds, and changes no content. */
static void op_times(struct run *r, struct subject *s)
{
	struct timespec times[2] = {{.tv_sec = TIME_BASE}, {.tv_sec = TIME_BASE}};
	struct stat st;

	times[0].tv_sec += (time_t)random_below(&r->random, TIME_BASE / 2);
	times[1].tv_sec += (time_t)random_below(&r->random, TIME_BASE / 2);
	trace_add(r->op, "file %u: set mtime %jd", number_of(r, s), (intmax_t)times[1].tv_sec);
	if (futimens(s->fd[0], times) != 0 || fstat(s->fd[0], &st) != 0)
		trace_fail_errno("futimens");
	if (st.st_mtim.tv_sec != times[1].tv_sec)
		trace_fail("mtime is %jd, not %jd", (intmax_t)st.st_mtim.tv_sec,
		           (intmax_t)times[1].tv_sec);
	if ((size_t)st.st_size != s->image.len)
		trace_fail("size is %jd, not %zu", (intmax_t)st.st_size, s->image.len);
}

const struct operation operations[] = {
    {"read", 220, op_read},
    {"write", 220, op_write},
    {"stream-read", 30, op_stream_read},
    {"stream-write", 25, op_stream_write},
    {"truncate", 30, op_truncate},
    {"ftruncate", 40, op_ftruncate},
    {"map-read", 80, op_map_read},
    {"map-write", 80, op_map_write},
    {"reopen", 60, op_reopen},
    {"append", 30, op_append},
    {"copy", 40, op_copy},
    {"sync", 20, op_sync},
    {"replace", 8, op_replace},
    {"remake", 4, op_remake},
    {"ghost", 30, op_ghost},
    {"stat", 40, op_stat},
    {"times", 10, op_times},
};

const unsigned int operation_count = sizeof(operations) / sizeof(operations[0]);
