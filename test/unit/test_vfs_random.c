/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program does random things to three names of a directory, through descriptors that stay open, over
 * a server that carries out and answers its calls at random times: in order for each file and for
 * names, in any order otherwise. What the program is told must be what a local disk would tell it:
 * sizes in every answer with attributes, bytes, one node for one file. At the end the server must have
 * the same. VFS_RANDOM=SEED[:COUNT] runs other seeds than usual.
 */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_backend.h"

#define LEN_MAX    20000 /* of a file */
#define NAME_COUNT 3
#define FD_COUNT   3
#define OP_COUNT   150 /* of a seed */
#define SEED_COUNT 300
#define FILE_MAX   (2 * OP_COUNT)
#define ASIDE_MAX  8    /* questions that run beside the program */
#define STORY_LEN  9000 /* the end of what happened */

/* A file, on the server and as the program must see it. */
struct content {
	uint8_t bytes[LEN_MAX];
	size_t len;
	struct be_attr attr; /* the server's: mode and times */
	bool used;
	uint64_t nodeid;
	unsigned version;    /* of the size */
	unsigned open_count; /* descriptors */
};

static struct content *server[NAME_COUNT], *seen[NAME_COUNT];
static struct handle {
	struct content *file;
	bool append;
} handles[8192]; /* by number of be_file */
static struct content contents[2][FILE_MAX];
static unsigned content_count[2];
static struct be_attr server_dir;

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
static bool changing; /* the program's call under way may change a size */

static uint64_t random_state;
static uint64_t seed;
static unsigned op_number;
static char story[1 << 16];
static size_t story_len;

#define tell(...)                                                                                  \
	(story_len = story_len < sizeof(story) / 2 ? story_len : 0,                                \
	 story_len += (size_t)snprintf(story + story_len, sizeof(story) - story_len, __VA_ARGS__))
#define must(what, ...)                                                                            \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			tell(__VA_ARGS__);                                                         \
			fprintf(stderr, "%s",                                                      \
			        story_len < STORY_LEN ? story : story + story_len - STORY_LEN);    \
			ck_abort_msg("seed %ju, operation %u: %s", (uintmax_t)seed, op_number,     \
			             #what);                                                       \
		}                                                                                  \
	} while (0)

static unsigned below(unsigned bound)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((random_state >> 33) % bound);
}

static bool chance(unsigned percent)
{
	return below(100) < percent;
}

static const char *const names[NAME_COUNT] = {"a", "b", "c"};

static int number_of(const char *path)
{
	for (int i = 0; i < NAME_COUNT; i++)
		if (strncmp(path, "/r/", 3) == 0 && strcmp(path + 3, names[i]) == 0)
			return i;
	return -1;
}

/* The server. */

struct result {
	enum be_code code;
	bool has_attr;
	struct be_attr attr;
	struct content *file;
	struct be_entry entries[NAME_COUNT];
	size_t count;
	size_t len;
	uint8_t bytes[LEN_MAX];
};

static uint32_t server_now(void)
{
	return (uint32_t)(kclock.wall_ms / 1000);
}

static struct content *content_new(int side)
{
	struct content *f = &contents[side][content_count[side]++];

	memset(f, 0, sizeof(*f));
	f->attr = fake_reg(0, server_now());
	return f;
}

static void resize(struct content *f, size_t len)
{
	if (len > f->len)
		memset(f->bytes + f->len, 0, len - f->len);
	f->len = len;
}

static void show(struct result *r, const struct content *f)
{
	r->has_attr = true;
	r->attr = f->attr;
	r->attr.size = f->len;
}

static void set_attr(struct content *f, const struct be_attr *want)
{
	if (want->valid & BE_ATTR_SIZE) {
		resize(f, (size_t)want->size);
		f->attr.mtime = server_now();
	}
	if (want->valid & BE_ATTR_MODE)
		f->attr.mode = S_IFREG | want->mode;
	if (want->valid & BE_ATTR_TIMES) {
		f->attr.mtime = want->mtime;
		f->attr.atime = want->atime;
	}
}

static void serve_open(const struct call *c, struct result *r, int i)
{
	struct content *f = server[i];

	r->code = BE_OK;
	if (!f && !(c->flags & BE_CREAT))
		r->code = BE_NO_SUCH_FILE;
	else if (f && (c->flags & BE_EXCL))
		r->code = BE_FAILURE;
	if (r->code != BE_OK)
		return;
	if (!f) {
		f = server[i] = content_new(0);
		f->attr.mode = S_IFREG | (c->mode & 07777);
		server_dir.mtime = server_now();
	} else if (c->flags & BE_TRUNC) {
		resize(f, 0);
		f->attr.mtime = server_now();
	}
	r->file = f;
	show(r, f);
}

static void serve_names(const struct call *c, struct result *r)
{
	int i = number_of(c->path), j = c->path2 ? number_of(c->path2) : -1;
	struct content *f = i < 0 ? NULL : server[i];
	bool dir = strcmp(c->path, "/r") == 0;

	r->code = f || dir ? BE_OK : BE_NO_SUCH_FILE;
	if (strcmp(c->name, "open") == 0) {
		serve_open(c, r, i);
	} else if (strcmp(c->name, "mkdir") == 0) {
		r->code = BE_OK;
		r->has_attr = true;
		r->attr = fake_dir(server_now());
		server_dir.mtime = server_now();
	} else if (strcmp(c->name, "statvfs") == 0) {
		r->code = BE_OK;
	} else if (strcmp(c->name, "list") == 0) {
		for (i = 0; i < NAME_COUNT; i++) {
			struct be_entry *e = &r->entries[r->count];

			if (!server[i])
				continue;
			*e = (struct be_entry){names[i], 1, server[i]->attr};
			e->attr.size = server[i]->len;
			r->count++;
		}
	} else if (strcmp(c->name, "stat") == 0 && dir) {
		r->has_attr = true;
		r->attr = server_dir;
	} else if (!f) {
		return;
	} else if (strcmp(c->name, "setattr") == 0) {
		set_attr(f, &c->want);
		show(r, f);
	} else if (strcmp(c->name, "stat") == 0) {
		show(r, f);
	} else if (strcmp(c->name, "fetch") == 0) {
		show(r, f);
		r->len = f->len < c->len ? f->len : c->len;
		memcpy(r->bytes, f->bytes, r->len);
	} else if (strcmp(c->name, "remove") == 0) {
		server[i] = NULL;
		server_dir.mtime = server_now();
	} else if (strcmp(c->name, "rename") == 0) {
		if (c->flags == BE_RENAME_NOREPLACE && server[j]) {
			r->code = BE_FAILURE;
			return;
		}
		server[i] = NULL;
		server[j] = f;
		server_dir.mtime = server_now();
	} else {
		must(false, "call %s\n", c->name);
	}
}

static void serve_file(const struct call *c, struct result *r, struct content *f)
{
	r->code = BE_OK;
	if (strcmp(c->name, "fstat") == 0) {
		show(r, f);
	} else if (strcmp(c->name, "fsetattr") == 0) {
		set_attr(f, &c->want);
		show(r, f);
	} else if (strcmp(c->name, "write") == 0) {
		size_t off = handles[(uintptr_t)c->file].append ? f->len : (size_t)c->off;

		if (off + c->len > f->len)
			resize(f, off + c->len);
		memcpy(f->bytes + off, c->block->bytes + c->block_off, c->len);
		f->attr.mtime = server_now();
	} else if (strcmp(c->name, "read") == 0) {
		r->len = c->off < f->len ? f->len - (size_t)c->off : 0;
		r->len = r->len < c->len ? r->len : c->len;
		memcpy(r->bytes, f->bytes + c->off, r->len);
		r->code = r->len ? BE_OK : BE_EOF;
	} else if (strcmp(c->name, "fsync") != 0) {
		must(false, "call %s\n", c->name);
	}
}

static struct content *file_of(const struct call *c)
{
	return c->file ? handles[(uintptr_t)c->file].file : NULL;
}

static void carry_out(struct call *c)
{
	struct result *r = calloc(1, sizeof(*r));

	ck_assert_ptr_nonnull(r);
	c->own = r;
	if (c->file)
		serve_file(c, r, file_of(c));
	else
		serve_names(c, r);
	tell("      server: %s %s off %ju len %zu%s -> %d size %ju mtime %u\n", c->name,
	     c->path ? c->path : "", (uintmax_t)c->off, c->len,
	     c->want.valid & BE_ATTR_SIZE ? " size" : "", r->code, (uintmax_t)r->attr.size,
	     r->attr.mtime);
}

static void give_answer(struct call *c)
{
	static const struct be_statvfs roomy = {
	    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 1 << 20};
	struct result *r = c->own;
	const struct be_attr *a = r->has_attr ? &r->attr : NULL;

	tell("      answer: %s %s\n", c->name, c->path ? c->path : "");
	if (c->open_fn) {
		if (r->code == BE_OK)
			handles[fake.last_file + 1] =
			    (struct handle){r->file, c->flags & BE_APPEND};
		fake_opened(c, r->code, a);
	} else if (c->entries_fn) {
		fake_entries(c, r->entries, r->count);
		fake_status(c, BE_OK, "");
	} else if (c->fetch_fn) {
		fake_fetched(c, r->code, a, r->bytes, r->len);
	} else if (c->read_fn) {
		fake_data(c, r->code, r->bytes, r->len);
	} else if (c->statvfs_fn) {
		fake_statvfs(c, BE_OK, &roomy);
	} else if (c->attr_fn) {
		fake_attr(c, r->code, a);
	} else {
		fake_status(c, r->code, "");
	}
	free(r);
}

static void look_aside(void);

/* Something happens on the server or on the way from it, or time passes. */
static void step(void)
{
	struct call *ready[64];
	unsigned count = 0;

	list_for_each(e, &fake.calls) {
		struct call *c = list_entry(e, struct call, entry);
		bool first = true, first_undone = true;

		for (struct list *b = fake.calls.next; b != e; b = b->next) {
			struct call *before = list_entry(b, struct call, entry);

			if (file_of(before) != file_of(c))
				continue;
			first = false;
			first_undone = first_undone && before->own;
		}
		if ((c->own ? first : first_undone) && count < 64)
			ready[count++] = c;
	}
	if (count == 0 || chance(20)) {
		fake_pass(count ? below(3) : below(40));
	} else {
		struct call *c = ready[below(count)];

		if (c->own)
			give_answer(c);
		else
			carry_out(c);
		fake_pass(0);
	}
	look_aside();
}

/* The kernel. */

static struct kreq *request(void)
{
	struct kreq *k = malloc(sizeof(*k));

	ck_assert_ptr_nonnull(k);
	memset(k, 0, offsetof(struct kreq, bytes));
	k->name_count = k->name_max = 0;
	k->req.pid = k->req.program = 7;
	return k;
}

static void wait_for(struct kreq *k)
{
	for (unsigned i = 0; !k->done; i++) {
		must(i < 20000, "no answer\n");
		step();
	}
}

static void look_aside(void)
{
	for (int i = 0; i < ASIDE_MAX; i++) {
		struct aside *s = &asides[i];
		const struct stat *st;

		if (!s->k || !s->k->done)
			continue;
		st = s->k->entry.nodeid ? &s->k->entry.st : &s->k->st;
		tell("   aside %d: error %d size %jd\n", i, s->k->err, (intmax_t)st->st_size);
		if (!s->k->err && !changing && s->version == s->file->version && st->st_ino)
			must((size_t)st->st_size == s->file->len, "beside: size %jd of %zu\n",
			     (intmax_t)st->st_size, s->file->len);
		free(s->k);
		s->k = NULL;
	}
}

/* The first question about a file that is open. */
static void ask_aside(void)
{
	unsigned i = below(ASIDE_MAX);
	const struct fd *d = &fds[below(FD_COUNT)];

	if (asides[i].k || !d->file)
		return;
	asides[i] = (struct aside){request(), d->file, d->file->version};
	tell("   aside %u: getattr\n", i);
	vfs_getattr(vfs, &asides[i].k->req, d->file->nodeid, chance(50) ? d->fh : 0);
	look_aside();
}

static void check_size(const struct content *f, const struct stat *st, const char *what)
{
	must((size_t)st->st_size == f->len, "%s shows %jd, not %zu\n", what, (intmax_t)st->st_size,
	     f->len);
}

static void check_bytes(const struct content *f, const struct kreq *k, size_t off, size_t len)
{
	size_t there = off < f->len ? f->len - off : 0;

	there = there < len ? there : len;
	must(k->err == 0, "read: error %d\n", k->err);
	must(k->len == there, "read of %zu at %zu: %zu of %zu bytes\n", len, off, k->len, there);
	must(memcmp(k->bytes, f->bytes + off, there) == 0, "read of %zu at %zu: wrong bytes\n", len,
	     off);
}

/* Return: the nodeid; 0: it is not there. */
static uint64_t do_lookup(int i)
{
	struct kreq *k = request();
	uint64_t nodeid;
	struct content *f = seen[i];

	vfs_lookup(vfs, &k->req, VFS_ROOT, names[i]);
	wait_for(k);
	nodeid = k->err == ENOENT ? 0 : k->entry.nodeid;
	must(k->err == 0 || k->err == ENOENT, "lookup of %s: error %d\n", names[i], k->err);
	must(!nodeid == !f, "lookup of %s: %sthere\n", names[i], nodeid ? "" : "not ");
	if (f) {
		must(!f->open_count || nodeid == f->nodeid, "lookup of %s: another node\n",
		     names[i]);
		f->nodeid = nodeid;
		check_size(f, &k->entry.st, "lookup");
	}
	free(k);
	return nodeid;
}

static struct fd *free_fd(void)
{
	struct fd *d = &fds[below(FD_COUNT)];

	return d->file ? NULL : d;
}

static struct fd *writer(void)
{
	struct fd *d = &fds[below(FD_COUNT)];

	return d->file && (d->flags & O_ACCMODE) != O_RDONLY ? d : NULL;
}

static void do_create(int i, struct fd *d)
{
	struct kreq *k = request();
	struct content *f = content_new(1);

	vfs_create_file(vfs, &k->req, VFS_ROOT, names[i], 0644, O_RDWR | O_EXCL);
	wait_for(k);
	must(k->err == 0, "create: error %d\n", k->err);
	seen[i] = f;
	f->nodeid = k->entry.nodeid;
	f->open_count++;
	check_size(f, &k->entry.st, "create");
	*d = (struct fd){f, k->opened.fh, O_RDWR};
	free(k);
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
	int i = (int)below(NAME_COUNT), flags = all[below(4)];
	struct fd *d = free_fd();
	struct content *f = seen[i];
	struct kreq *k;
	uint64_t nodeid;

	if (!d)
		return;
	tell("%u: open %s %#o as %d\n", op_number, names[i], (unsigned)flags, (int)(d - fds));
	nodeid = do_lookup(i);
	if (!nodeid) {
		do_create(i, d);
		return;
	}
	changing = flags & O_TRUNC;
	k = try_open(nodeid, flags);
	if (k->err == ESTALE) { /* the kernel looks again, once */
		free(k);
		k = try_open(do_lookup(i), flags);
	}
	changing = false;
	must(k->err == 0, "open: error %d\n", k->err);
	*d = (struct fd){f, k->opened.fh, flags & ~O_TRUNC};
	f->open_count++;
	if (flags & O_TRUNC) {
		resize(f, 0);
		f->version++;
	}
	free(k);
}

static void do_flush(struct fd *d)
{
	struct kreq *k = request();

	vfs_flush(vfs, &k->req, d->fh);
	wait_for(k);
	must(k->err == 0, "flush: error %d\n", k->err);
	free(k);
}

static void op_close(void)
{
	struct fd *d = &fds[below(FD_COUNT)];
	struct kreq *k;

	if (!d->file)
		return;
	tell("%u: close %d\n", op_number, (int)(d - fds));
	do_flush(d);
	k = request();
	vfs_release(vfs, &k->req, d->fh);
	wait_for(k);
	free(k);
	d->file->open_count--;
	d->file = NULL;
}

static void op_flush(void)
{
	struct fd *d = &fds[below(FD_COUNT)];

	if (!d->file)
		return;
	tell("%u: flush %d\n", op_number, (int)(d - fds));
	do_flush(d);
}

static void op_fsync(void)
{
	struct fd *d = writer();
	struct kreq *k;

	if (!d)
		return;
	tell("%u: fsync %d\n", op_number, (int)(d - fds));
	k = request();
	vfs_fsync(vfs, &k->req, d->fh);
	wait_for(k);
	must(k->err == 0, "fsync: error %d\n", k->err);
	free(k);
}

static void op_write(void)
{
	struct fd *d = writer();
	uint8_t bytes[3000];
	size_t off, len = 1 + below(sizeof(bytes));
	struct kreq *k;

	if (!d)
		return;
	off = d->flags & O_APPEND ? d->file->len : below((unsigned)d->file->len + 500);
	if (off + len > LEN_MAX)
		return;
	tell("%u: write %d %zu at %zu\n", op_number, (int)(d - fds), len, off);
	memset(bytes, (int)(1 + op_number % 255), len);
	k = request();
	changing = true;
	vfs_write(vfs, &k->req, d->fh, bytes, len, off, false);
	wait_for(k);
	changing = false;
	must(k->err == 0 && k->written == len, "write: error %d\n", k->err);
	if (off + len > d->file->len)
		resize(d->file, off + len);
	memcpy(d->file->bytes + off, bytes, len);
	d->file->version++;
	free(k);
}

static void op_read(void)
{
	struct fd *d = &fds[below(FD_COUNT)];
	size_t off, len = 4096 * (1 + below(4));
	struct kreq *k;

	if (!d->file)
		return;
	off = below((unsigned)d->file->len + 1) & ~(size_t)4095;
	tell("%u: read %d %zu at %zu\n", op_number, (int)(d - fds), len, off);
	k = request();
	vfs_read(vfs, &k->req, d->fh, len, off);
	wait_for(k);
	check_bytes(d->file, k, off, len);
	free(k);
}

static void op_getattr(void)
{
	struct fd *d = &fds[below(FD_COUNT)];
	struct kreq *k;

	if (!d->file)
		return;
	tell("%u: getattr %d\n", op_number, (int)(d - fds));
	k = request();
	vfs_getattr(vfs, &k->req, d->file->nodeid, chance(50) ? d->fh : 0);
	wait_for(k);
	must(k->err == 0, "getattr: error %d\n", k->err);
	check_size(d->file, &k->st, "getattr");
	free(k);
}

static void set(struct content *f, uint64_t fh, const struct stat *st, unsigned what)
{
	struct kreq *k = request();

	changing = true;
	vfs_setattr(vfs, &k->req, f->nodeid, fh, st, what);
	wait_for(k);
	changing = false;
	must(k->err == 0, "setattr: error %d\n", k->err);
	if (what & VFS_SET_SIZE) {
		resize(f, (size_t)st->st_size);
		f->version++;
	}
	check_size(f, &k->st, "setattr");
	free(k);
}

static void op_truncate(void)
{
	struct fd *d = writer();
	int i = (int)below(NAME_COUNT);
	struct content *f = d && chance(60) ? d->file : NULL;
	struct stat st = {.st_size = below(LEN_MAX / 2)};

	if (f) {
		tell("%u: ftruncate %d to %jd\n", op_number, (int)(d - fds), (intmax_t)st.st_size);
		set(f, d->fh, &st, VFS_SET_SIZE);
		return;
	}
	tell("%u: truncate %s to %jd\n", op_number, names[i], (intmax_t)st.st_size);
	if (do_lookup(i))
		set(seen[i], 0, &st, VFS_SET_SIZE);
}

static void op_set(void)
{
	struct fd *d = writer();
	int i = (int)below(NAME_COUNT);
	struct stat st = {.st_mode = chance(50) ? 0644 : 0600};
	unsigned what = chance(50) ? VFS_SET_MODE : VFS_SET_ATIME | VFS_SET_MTIME;

	st.st_mtim.tv_sec = 900000 + below(1000);
	tell("%u: set %s of %s\n", op_number, what & VFS_SET_MODE ? "mode" : "times",
	     d ? "a descriptor" : names[i]);
	if (d)
		set(d->file, d->fh, &st, what);
	else if (do_lookup(i))
		set(seen[i], 0, &st, what);
}

static void op_unlink(void)
{
	int i = (int)below(NAME_COUNT);
	struct kreq *k;

	tell("%u: unlink %s\n", op_number, names[i]);
	if (!do_lookup(i))
		return;
	k = request();
	vfs_unlink(vfs, &k->req, VFS_ROOT, names[i]);
	wait_for(k);
	must(k->err == 0, "unlink: error %d\n", k->err);
	seen[i] = NULL;
	free(k);
}

static void op_rename(void)
{
	int i = (int)below(NAME_COUNT), j = (int)below(NAME_COUNT);
	struct kreq *k;

	if (i == j)
		return;
	tell("%u: rename %s %s\n", op_number, names[i], names[j]);
	if (!do_lookup(i))
		return;
	do_lookup(j);
	k = request();
	vfs_rename(vfs, &k->req, VFS_ROOT, names[i], VFS_ROOT, names[j], 0);
	wait_for(k);
	must(k->err == 0, "rename: error %d\n", k->err);
	seen[j] = seen[i];
	seen[i] = NULL;
	free(k);
}

static void op_lookup(void)
{
	int i = (int)below(NAME_COUNT);

	tell("%u: lookup %s\n", op_number, names[i]);
	do_lookup(i);
}

static void op_list(void)
{
	struct kreq *o = request(), *d = request(), *c = request();
	unsigned count = 0, there = 0;

	tell("%u: list\n", op_number);
	vfs_opendir(vfs, &o->req, VFS_ROOT);
	wait_for(o);
	must(o->err == 0, "opendir: error %d\n", o->err);
	vfs_readdir(vfs, &d->req, o->opened.fh, 0, false);
	wait_for(d);
	must(d->err == 0, "readdir: error %d\n", d->err);
	for (int i = 0; i < NAME_COUNT; i++)
		count += seen[i] != NULL;
	for (unsigned i = 0; i < d->name_count; i++)
		there += strlen(d->names[i]) == 1 && d->names[i][0] != '.';
	must(there == count, "listing shows %u of %u names\n", there, count);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	wait_for(c);
	free(o);
	free(d);
	free(c);
}

static void op_pass(void)
{
	unsigned ms = chance(50) ? below(100) : below(5000);

	tell("%u: %u ms pass\n", op_number, ms);
	while (ms) {
		unsigned part = ms < 50 ? ms : 50;

		fake_pass(part);
		ms -= part;
		step();
	}
}

static void (*const ops[])(void) = {
    op_open,   op_open,    op_open,   op_close, op_close,   op_flush,    op_fsync,
    op_write,  op_write,   op_write,  op_write, op_read,    op_read,     op_read,
    op_read,   op_getattr, op_set,    op_list,  op_getattr, op_truncate, op_set,
    op_unlink, op_rename,  op_lookup, op_pass,  op_pass,    op_lookup,   op_truncate,
};

static void quiet(void)
{
	for (unsigned i = 0; i < 400; i++)
		step();
}

/* Everything that the program has closed and synced is on the server. */
static void check_server(void)
{
	struct kreq *o = request(), *k = request(), *c = request();

	vfs_opendir(vfs, &o->req, VFS_ROOT);
	wait_for(o);
	vfs_fsyncdir(vfs, &k->req, o->opened.fh);
	wait_for(k);
	must(k->err == 0, "barrier: error %d\n", k->err);
	vfs_releasedir(vfs, &c->req, o->opened.fh);
	wait_for(c);
	for (int i = 0; i < NAME_COUNT; i++) {
		must(!server[i] == !seen[i], "%s is %sthere at the end\n", names[i],
		     server[i] ? "" : "not ");
		if (!seen[i])
			continue;
		must(server[i]->len == seen[i]->len, "%s has %zu bytes at the end, not %zu\n",
		     names[i], server[i]->len, seen[i]->len);
		must(memcmp(server[i]->bytes, seen[i]->bytes, seen[i]->len) == 0,
		     "%s has other bytes at the end\n", names[i]);
	}
	free(o);
	free(k);
	free(c);
}

static void tweak_async(struct vfs_config *cfg)
{
	cfg->async = true;
}

static void run(bool async, uint64_t number)
{
	struct kreq *g = request(), *k = request();

	seed = number;
	random_state = number * 2 + async;
	story_len = 0;
	memset(server, 0, sizeof(server));
	memset(seen, 0, sizeof(seen));
	memset(fds, 0, sizeof(fds));
	content_count[0] = content_count[1] = 0;
	fake_setup(async ? tweak_async : NULL);
	fake.info.caps.statvfs = true;
	server_dir = fake_dir(1000);
	vfs_getattr(vfs, &g->req, VFS_ROOT, 0);
	wait_for(g);
	vfs_mkdir(vfs, &k->req, VFS_ROOT, "warm", 0755);
	wait_for(k);
	ck_assert_int_eq(k->err, 0);
	for (op_number = 0; op_number < OP_COUNT; op_number++) {
		if (chance(30))
			ask_aside();
		ops[below(sizeof(ops) / sizeof(ops[0]))]();
	}
	for (int i = 0; i < FD_COUNT * 60; i++)
		op_close();
	quiet();
	check_server();
	quiet();
	fake_teardown();
	free(g);
	free(k);
}

static void run_all(bool async)
{
	const char *wish = getenv("VFS_RANDOM"), *colon = wish ? strchr(wish, ':') : NULL;
	uint64_t first = wish ? strtoull(wish, NULL, 10) : 1;
	uint64_t count = wish ? colon ? strtoull(colon + 1, NULL, 10) : 1 : SEED_COUNT;

	for (uint64_t i = first; i < first + count; i++)
		run(async, i);
}

START_TEST(program_sees_its_own_changes)
{
	// whatever the order of answers, as on a local disk
	run_all(false);
}
END_TEST

START_TEST(program_sees_its_own_changes_with_async)
{
	// the same where changes are acknowledged before the server has seen them
	run_all(true);
}
END_TEST

CHECK_MAIN("vfs_random", program_sees_its_own_changes, program_sees_its_own_changes_with_async)
