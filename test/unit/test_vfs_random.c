/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program does random things to three names of a directory, through descriptors that stay open, over
 * a server that answers at random times. What the program is told must be what a local disk would tell it:
 * sizes and modes in every answer with attributes, bytes, one node for one file. At the end the server
 * must have the same. VFS_RANDOM=SEED[:COUNT] runs other seeds than usual.
 */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "random_server.h"

#define FD_COUNT   3
#define OP_COUNT   150 /* of a seed */
#define SEED_COUNT 100
#define ASIDE_MAX  8 /* questions that run beside the program */

static struct content *seen[RANDOM_NAME_COUNT];
static uint64_t below; /* the directory that is not the root */

static struct fd {
	struct content *file;
	uint64_t fh;
	int flags;
} fds[FD_COUNT];

/* A question beside the program's own calls. */
static struct aside {
	struct kreq *k;
	struct content *file;
	unsigned version;
} asides[ASIDE_MAX];
static bool changing;        /* the program's call under way may change a size */
static unsigned error_count; /* that the program was told of */
static unsigned op_number;

/* Requests are large: they are used again. */
static struct kreq *spares[ASIDE_MAX + 8];
static unsigned spare_count;

static struct kreq *request(void)
{
	struct kreq *k = spare_count ? spares[--spare_count] : malloc(sizeof(*k));

	ck_assert_ptr_nonnull(k);
	memset(k, 0, offsetof(struct kreq, bytes));
	k->name_count = k->name_max = 0;
	k->req.pid = k->req.program = 7;
	return k;
}

static void give_back(struct kreq *k)
{
	if (spare_count < sizeof(spares) / sizeof(spares[0]))
		spares[spare_count++] = k;
	else
		free(k);
}

/* What the program sees, as long as the server does what it is asked. */
#define expect(what, ...)                                                                          \
	do {                                                                                       \
		if (!random_refused())                                                             \
			must(what, __VA_ARGS__);                                                   \
	} while (0)

/* Frees the request. Return: false when the program was told of a failure. */
static bool succeeds(struct kreq *k, const char *what)
{
	int err = k->err;

	give_back(k);
	if (!err)
		return true;
	random_tell("%s: error %d\n", what, err);
	must(random_refused(), "without a reason\n");
	error_count++;
	random_any_rename();
	return false;
}

static void look_aside(void)
{
	for (int i = 0; i < ASIDE_MAX; i++) {
		struct aside *s = &asides[i];
		const struct stat *st;

		if (!s->k || !s->k->done)
			continue;
		st = s->k->entry.nodeid ? &s->k->entry.st : &s->k->st;
		random_tell("   aside %d: error %d size %jd\n", i, s->k->err,
		            (intmax_t)st->st_size);
		if (!s->k->err && !changing && s->version == s->file->version && st->st_ino)
			expect((size_t)st->st_size == s->file->len, "beside: size %jd of %zu\n",
			       (intmax_t)st->st_size, s->file->len);
		give_back(s->k);
		s->k = NULL;
	}
}

static void step(void)
{
	random_step();
	look_aside();
}

static void wait_for(struct kreq *k)
{
	for (unsigned i = 0; !k->done; i++) {
		must(i < 20000, "no answer\n");
		step();
	}
}

/* The first question about a file that is open. */
static void ask_aside(void)
{
	unsigned i = random_below(ASIDE_MAX);
	const struct fd *d = &fds[random_below(FD_COUNT)];

	if (asides[i].k || !d->file)
		return;
	asides[i] = (struct aside){request(), d->file, d->file->version};
	random_tell("   aside %u: getattr\n", i);
	vfs_getattr(vfs, &asides[i].k->req, d->file->nodeid, random_chance(50) ? d->fh : 0);
	look_aside();
}

static void check_attr(const struct content *f, const struct stat *st, const char *what)
{
	expect((size_t)st->st_size == f->len, "%s shows %jd, not %zu\n", what,
	       (intmax_t)st->st_size, f->len);
	expect((st->st_mode & 07777) == (f->attr.mode & 07777), "%s shows mode %o, not %o\n", what,
	       st->st_mode, f->attr.mode);
}

static void check_bytes(const struct content *f, const struct kreq *k, size_t off, size_t len)
{
	size_t there = off < f->len ? f->len - off : 0;

	there = there < len ? there : len;
	expect(k->len == there, "read of %zu at %zu: %zu of %zu bytes\n", len, off, k->len, there);
	expect(memcmp(k->bytes, f->bytes + off, there) == 0, "read of %zu at %zu: wrong bytes\n",
	       len, off);
}

static uint64_t dir_of(int i)
{
	return random_is_below(i) ? below : VFS_ROOT;
}

/* Return: the nodeid; 0: it is not there. */
static uint64_t do_lookup(int i)
{
	struct kreq *k = request();
	struct content *f = seen[i];
	uint64_t nodeid;

	vfs_lookup(vfs, &k->req, dir_of(i), random_names[i]);
	wait_for(k);
	nodeid = k->err ? 0 : k->entry.nodeid;
	must(k->err == 0 || k->err == ENOENT, "lookup of %s: error %d\n", random_names[i], k->err);
	expect(!nodeid == !f, "lookup of %s: %sthere\n", random_names[i], nodeid ? "" : "not ");
	if (f && nodeid) {
		expect(!f->open_count || nodeid == f->nodeid, "lookup of %s: another node\n",
		       random_names[i]);
		if (!f->open_count)
			f->nodeid = nodeid;
		check_attr(f, &k->entry.st, "lookup");
	}
	give_back(k);
	return f ? nodeid : 0;
}

static struct fd *free_fd(void)
{
	struct fd *d = &fds[random_below(FD_COUNT)];

	return d->file ? NULL : d;
}

static struct fd *any_fd(void)
{
	struct fd *d = &fds[random_below(FD_COUNT)];

	return d->file ? d : NULL;
}

static struct fd *writer(void)
{
	struct fd *d = &fds[random_below(FD_COUNT)];

	return d->file && (d->flags & O_ACCMODE) != O_RDONLY ? d : NULL;
}

static void give_fd(struct fd *d, struct content *f, uint64_t fh, int flags)
{
	*d = (struct fd){f, fh, flags};
	f->open_count++;
	f->writer_count += (flags & O_ACCMODE) != O_RDONLY;
}

static void do_create(int i, struct fd *d)
{
	struct kreq *k = request();
	struct content *f = random_content(RANDOM_PROGRAM);
	uint64_t fh;

	vfs_create_file(vfs, &k->req, dir_of(i), random_names[i], 0644, O_RDWR | O_EXCL);
	wait_for(k);
	f->nodeid = k->entry.nodeid;
	fh = k->opened.fh;
	if (!k->err)
		check_attr(f, &k->entry.st, "create");
	if (!succeeds(k, "create"))
		return;
	seen[i] = f;
	give_fd(d, f, fh, O_RDWR);
}

static struct kreq *try_open(uint64_t nodeid, int flags)
{
	struct kreq *k = request();

	vfs_open(vfs, &k->req, nodeid, flags);
	wait_for(k);
	return k;
}

static void op_open(void)
{
	static const int all[] = {O_RDONLY, O_RDWR, O_RDWR | O_APPEND, O_RDWR | O_TRUNC};
	int i = (int)random_below(RANDOM_NAME_COUNT), flags = all[random_below(4)];
	struct fd *d = free_fd();
	struct content *f = seen[i];
	struct kreq *k;
	uint64_t nodeid, fh;

	if (!d)
		return;
	random_tell("%u: open %s %#o as %d\n", op_number, random_names[i], (unsigned)flags,
	            (int)(d - fds));
	nodeid = do_lookup(i);
	if (!f) {
		do_create(i, d);
		return;
	}
	changing = flags & O_TRUNC;
	k = try_open(nodeid, flags);
	if (k->err == ESTALE) { /* the kernel looks again, once */
		give_back(k);
		k = try_open(do_lookup(i), flags);
	}
	changing = false;
	fh = k->opened.fh;
	if (!succeeds(k, "open"))
		return;
	give_fd(d, f, fh, flags & ~O_TRUNC);
	if (flags & O_TRUNC) {
		random_resize(f, 0);
		f->version++;
	}
}

static bool do_flush(struct fd *d)
{
	struct kreq *k = request();

	vfs_flush(vfs, &k->req, d->fh);
	wait_for(k);
	return succeeds(k, "close");
}

static void do_close(struct fd *d)
{
	struct kreq *k = request();

	random_tell("%u: close %d\n", op_number, (int)(d - fds));
	do_flush(d);
	vfs_release(vfs, &k->req, d->fh);
	wait_for(k);
	give_back(k);
	d->file->open_count--;
	d->file->writer_count -= (d->flags & O_ACCMODE) != O_RDONLY;
	d->file = NULL;
}

static void op_close(void)
{
	struct fd *d = any_fd();

	if (d)
		do_close(d);
}

/* Another descriptor of the same open file is closed. */
static void op_flush(void)
{
	struct fd *d = any_fd();

	if (!d)
		return;
	random_tell("%u: flush %d\n", op_number, (int)(d - fds));
	do_flush(d);
}

static void op_fsync(void)
{
	struct fd *d = writer();
	struct kreq *k;

	if (!d)
		return;
	random_tell("%u: fsync %d\n", op_number, (int)(d - fds));
	k = request();
	vfs_fsync(vfs, &k->req, d->fh);
	wait_for(k);
	succeeds(k, "fsync");
}

static void op_write(void)
{
	struct fd *d = writer();
	uint8_t bytes[3000];
	size_t off, len = 1 + random_below(sizeof(bytes));
	struct kreq *k;

	if (!d)
		return;
	off = d->flags & O_APPEND ? d->file->len : random_below((unsigned)d->file->len + 500);
	if (off + len > RANDOM_LEN_MAX)
		return;
	random_tell("%u: write %d %zu at %zu\n", op_number, (int)(d - fds), len, off);
	memset(bytes, (int)(1 + op_number % 255), len);
	k = request();
	changing = true;
	vfs_write(vfs, &k->req, d->fh, bytes, len, off, false);
	wait_for(k);
	changing = false;
	if (!succeeds(k, "write"))
		return;
	if (off + len > d->file->len)
		random_resize(d->file, off + len);
	memcpy(d->file->bytes + off, bytes, len);
	d->file->version++;
}

static void op_read(void)
{
	struct fd *d = any_fd();
	size_t off, len = 4096 * (1 + random_below(4));
	struct kreq *k;

	if (!d)
		return;
	off = random_below((unsigned)d->file->len + 1) & ~(size_t)4095;
	random_tell("%u: read %d %zu at %zu\n", op_number, (int)(d - fds), len, off);
	k = request();
	vfs_read(vfs, &k->req, d->fh, len, off);
	wait_for(k);
	if (!k->err)
		check_bytes(d->file, k, off, len);
	succeeds(k, "read");
}

static void op_getattr(void)
{
	struct fd *d = any_fd();
	struct kreq *k;

	if (!d)
		return;
	random_tell("%u: getattr %d\n", op_number, (int)(d - fds));
	k = request();
	vfs_getattr(vfs, &k->req, d->file->nodeid, random_chance(50) ? d->fh : 0);
	wait_for(k);
	if (!k->err)
		check_attr(d->file, &k->st, "getattr");
	succeeds(k, "getattr");
}

static void set(struct content *f, uint64_t fh, const struct stat *st, unsigned what)
{
	struct kreq *k = request();

	changing = true;
	vfs_setattr(vfs, &k->req, f->nodeid, fh, st, what);
	wait_for(k);
	changing = false;
	if (!k->err && (what & VFS_SET_SIZE)) {
		random_resize(f, (size_t)st->st_size);
		f->version++;
	}
	if (!k->err && (what & VFS_SET_MODE))
		f->attr.mode = S_IFREG | st->st_mode;
	if (!k->err)
		check_attr(f, &k->st, "setattr");
	succeeds(k, "setattr");
}

static void op_truncate(void)
{
	struct fd *d = writer();
	int i = (int)random_below(RANDOM_NAME_COUNT);
	struct stat st = {.st_size = random_below(RANDOM_LEN_MAX / 2)};

	if (d && random_chance(60)) {
		random_tell("%u: ftruncate %d to %jd\n", op_number, (int)(d - fds),
		            (intmax_t)st.st_size);
		set(d->file, d->fh, &st, VFS_SET_SIZE);
		return;
	}
	random_tell("%u: truncate %s to %jd\n", op_number, random_names[i], (intmax_t)st.st_size);
	if (do_lookup(i))
		set(seen[i], 0, &st, VFS_SET_SIZE);
}

static void op_set(void)
{
	struct fd *d = writer();
	int i = (int)random_below(RANDOM_NAME_COUNT);
	struct stat st = {.st_mode = random_chance(50) ? 0644 : 0600};
	unsigned what = random_chance(50) ? VFS_SET_MODE : VFS_SET_ATIME | VFS_SET_MTIME;

	st.st_mtim.tv_sec = 900000 + random_below(1000);
	random_tell("%u: set %s %o of %s %d\n", op_number, what & VFS_SET_MODE ? "mode" : "times",
	            st.st_mode, d ? "descriptor" : random_names[i], d ? (int)(d - fds) : 0);
	if (d)
		set(d->file, d->fh, &st, what);
	else if (do_lookup(i))
		set(seen[i], 0, &st, what);
}

static void op_unlink(void)
{
	int i = (int)random_below(RANDOM_NAME_COUNT);
	struct kreq *k;

	random_tell("%u: unlink %s\n", op_number, random_names[i]);
	if (!do_lookup(i))
		return;
	k = request();
	vfs_unlink(vfs, &k->req, dir_of(i), random_names[i]);
	wait_for(k);
	if (succeeds(k, "unlink"))
		seen[i] = NULL;
}

static bool is_linked(int i)
{
	for (int j = 0; j < RANDOM_NAME_COUNT; j++)
		if (j != i && seen[j] == seen[i])
			return true;
	return false;
}

static void op_rename(void)
{
	int i = (int)random_below(RANDOM_NAME_COUNT), j = (int)random_below(RANDOM_NAME_COUNT);
	struct kreq *k;

	if (i == j)
		return;
	random_tell("%u: rename %s %s\n", op_number, random_names[i], random_names[j]);
	if (!do_lookup(i))
		return;
	do_lookup(j);
	if (seen[i] == seen[j])
		return;
	if (!error_count && !is_linked(i))
		random_renamed(i, j, seen[i]);
	k = request();
	vfs_rename(vfs, &k->req, dir_of(i), random_names[i], dir_of(j), random_names[j], 0);
	wait_for(k);
	if (!succeeds(k, "rename"))
		return;
	seen[j] = seen[i];
	seen[i] = NULL;
}

static void op_link(void)
{
	int i = (int)random_below(RANDOM_NAME_COUNT), j = (int)random_below(RANDOM_NAME_COUNT);
	struct kreq *k;

	random_tell("%u: link %s %s\n", op_number, random_names[i], random_names[j]);
	if (!do_lookup(i) || do_lookup(j) || seen[j])
		return;
	k = request();
	vfs_link(vfs, &k->req, seen[i]->nodeid, dir_of(j), random_names[j]);
	wait_for(k);
	if (!k->err)
		check_attr(seen[i], &k->entry.st, "link");
	if (succeeds(k, "link"))
		seen[j] = seen[i];
}

static void op_lookup(void)
{
	int i = (int)random_below(RANDOM_NAME_COUNT);

	random_tell("%u: lookup %s\n", op_number, random_names[i]);
	do_lookup(i);
}

static void op_list(void)
{
	struct kreq *o = request(), *d = request(), *c = request();
	unsigned count = 0, there = 0;
	bool plus = random_chance(50);
	uint64_t dir = random_chance(70) ? VFS_ROOT : below;

	random_tell("%u: list%s%s\n", op_number, dir == below ? " " RANDOM_DIR : "",
	            plus ? " with attributes" : "");
	vfs_opendir(vfs, &o->req, dir);
	wait_for(o);
	must(o->err == 0, "opendir: error %d\n", o->err);
	vfs_readdir(vfs, &d->req, o->opened.fh, 0, plus);
	wait_for(d);
	must(d->err == 0, "readdir: error %d\n", d->err);
	for (int i = 0; i < RANDOM_NAME_COUNT; i++)
		count += seen[i] != NULL && dir_of(i) == dir;
	for (unsigned i = 0; i < d->name_count; i++) {
		const struct content *f;

		if (strlen(d->names[i]) != 1 || d->names[i][0] == '.')
			continue;
		there++;
		f = seen[d->names[i][0] - 'a'];
		if (f && d->nodeids[i])
			check_attr(f, &d->sts[i], "listing");
	}
	expect(there == count, "listing shows %u of %u names\n", there, count);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	wait_for(c);
	give_back(o);
	give_back(d);
	give_back(c);
}

static void op_pass(void)
{
	unsigned ms = random_chance(50) ? random_below(100) : random_below(5000);

	random_tell("%u: %u ms pass\n", op_number, ms);
	while (ms) {
		unsigned part = ms < 50 ? ms : 50;

		fake_pass(part);
		ms -= part;
		step();
	}
}

static void (*const ops[])(void) = {
    op_open,  op_open,  op_open,    op_close,    op_close, op_flush,  op_fsync,  op_write,
    op_write, op_write, op_write,   op_read,     op_read,  op_read,   op_read,   op_getattr,
    op_set,   op_list,  op_getattr, op_truncate, op_set,   op_unlink, op_rename, op_lookup,
    op_pass,  op_pass,  op_lookup,  op_truncate, op_link,
};

/* Return: the server has what the program believes. */
static bool server_agrees(void)
{
	for (int i = 0; i < RANDOM_NAME_COUNT; i++) {
		const struct content *f = random_files[i];

		if (!f != !seen[i])
			return false;
		if (f && (f->len != seen[i]->len || memcmp(f->bytes, seen[i]->bytes, f->len) != 0 ||
		          f->attr.mode != seen[i]->attr.mode))
			return false;
	}
	return true;
}

static void do_barrier(void)
{
	struct kreq *o = request(), *k = request(), *c = request();

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	wait_for(o);
	vfs_fsyncdir(vfs, &k->req, o->opened.fh);
	wait_for(k);
	succeeds(k, "barrier");
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	wait_for(c);
	give_back(o);
	give_back(c);
}

static void quiet(void)
{
	for (unsigned i = 0; i < 400; i++)
		step();
}

static bool with_async;

static void tweak(struct vfs_config *cfg)
{
	cfg->async = with_async;
	cfg->dir_cache = !random_chance(10);
	if (random_chance(20))
		cfg->file_timeout_ms = random_below(2) * 500;
	if (random_chance(20))
		cfg->dir_timeout_ms = random_below(2) * 500;
	if (random_chance(20))
		cfg->open_window_ms = random_below(2) * 3000;
}

static void begin(bool async, uint64_t seed)
{
	struct kreq *g = request(), *k = request();

	with_async = async;

	random_begin(seed);
	memset(seen, 0, sizeof(seen));
	memset(fds, 0, sizeof(fds));
	error_count = 0;
	fake_setup(tweak);
	fake.info.caps.statvfs = true;
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	wait_for(g);
	vfs_mkdir(vfs, &k->req, VFS_ROOT, RANDOM_DIR, 0755); /* the journal sees who we are */
	wait_for(k);
	ck_assert_int_eq(k->err, 0);
	below = k->entry.nodeid;
	give_back(g);
	give_back(k);
}

static void run(bool async, bool refuses, uint64_t seed)
{
	begin(async, seed);
	if (refuses)
		random_refuse(random_below(OP_COUNT));
	for (op_number = 0; op_number < OP_COUNT; op_number++) {
		if (random_chance(30))
			ask_aside();
		ops[random_below(sizeof(ops) / sizeof(ops[0]))]();
	}
	for (int i = 0; i < FD_COUNT; i++)
		if (fds[i].file)
			do_close(&fds[i]);
	quiet();
	do_barrier();
	must(error_count || server_agrees(), "the server has something else at the end\n");
	quiet();
	fake_teardown();
}

static void run_all(bool async, bool refuses)
{
	const char *wish = getenv("VFS_RANDOM"), *colon = wish ? strchr(wish, ':') : NULL;
	uint64_t first = wish ? strtoull(wish, NULL, 10) : 1;
	uint64_t count = wish ? colon ? strtoull(colon + 1, NULL, 10) : 1 : SEED_COUNT;

	for (uint64_t i = first; i < first + count; i++)
		run(async, refuses, i);
}

START_TEST(program_sees_its_own_changes)
{
	// whatever the order of answers, as on a local disk
	run_all(false, false);
}
END_TEST

START_TEST(program_sees_its_own_changes_with_async)
{
	// the same where changes are acknowledged before the server has seen them
	run_all(true, false);
}
END_TEST

START_TEST(program_is_told_of_what_was_refused)
{
	// one change is refused: then something is told, or the server has it all in spite of that
	check_allow_errors();
	run_all(false, true);
}
END_TEST

START_TEST(program_is_told_of_what_was_refused_with_async)
{
	// the same; and a rename carries nothing less than what the program had written
	check_allow_errors();
	run_all(true, true);
}
END_TEST

CHECK_MAIN("vfs_random", program_sees_its_own_changes, program_sees_its_own_changes_with_async,
           program_is_told_of_what_was_refused, program_is_told_of_what_was_refused_with_async)
