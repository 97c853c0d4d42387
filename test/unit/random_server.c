/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract: random_server.h. */
#include "random_server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READY_MAX    64
#define RENAME_MAX   64
#define STORY_SIZE   (1 << 16)
#define STORY_SHOWN  9000 /* bytes of its end that are shown */
#define HANDLE_COUNT 8192

const char *const random_names[RANDOM_NAME_COUNT] = {"a", "b", "c"};
struct content *random_files[RANDOM_NAME_COUNT];

static struct handle {
	struct content *file;
	bool append;
} handles[HANDLE_COUNT]; /* by number of be_file */
static struct content contents[2][RANDOM_FILE_MAX];
static unsigned content_count[2];
static struct be_attr dir_attr;

/* Renames that the program has called for, in its order. */
static struct renamed {
	int from, to;
	size_t len;
	uint8_t bytes[RANDOM_LEN_MAX];
	bool whole; /* nobody writes to it any more */
} renames[RENAME_MAX];
static unsigned rename_count, rename_turn;

static uint64_t seed, state;
static unsigned change_count, refused_change;
static char story[STORY_SIZE];
static size_t story_len;

unsigned random_below(unsigned bound)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((state >> 33) % bound);
}

bool random_chance(unsigned percent)
{
	return random_below(100) < percent;
}

void random_tell(const char *format, ...)
{
	va_list args;

	if (story_len > STORY_SIZE / 2) {
		memmove(story, story + story_len - STORY_SHOWN, STORY_SHOWN);
		story_len = STORY_SHOWN;
	}
	va_start(args, format);
	story_len += (size_t)vsnprintf(story + story_len, STORY_SIZE - story_len, format, args);
	va_end(args);
}

void random_abort(const char *what)
{
	fprintf(stderr, "%s\n", story + (story_len > STORY_SHOWN ? story_len - STORY_SHOWN : 0));
	ck_abort_msg("VFS_RANDOM=%ju: %s", (uintmax_t)seed, what);
	abort();
}

void random_begin(uint64_t number)
{
	seed = number;
	state = number;
	story_len = 0;
	content_count[0] = content_count[1] = 0;
	rename_count = rename_turn = change_count = refused_change = 0;
	memset(random_files, 0, sizeof(random_files));
	dir_attr = fake_dir(1000);
}

void random_refuse(unsigned after)
{
	refused_change = change_count + 1 + after;
}

bool random_refused(void)
{
	return refused_change && change_count >= refused_change;
}

void random_any_rename(void)
{
	rename_turn = rename_count;
}

void random_renamed(int from, int to, const struct content *f)
{
	struct renamed *r = &renames[rename_count++ % RENAME_MAX];

	r->from = from;
	r->to = to;
	r->len = f->len;
	r->whole = !f->writer_count;
	memcpy(r->bytes, f->bytes, f->len);
}

bool random_is_below(int i)
{
	return i == RANDOM_NAME_COUNT - 1 && seed % 2;
}

/* Without the root, and a directory's own name: 0 the root, 1 the other one, -1 none. */
static int dir_of(const char **path)
{
	int dir = strncmp(*path, "/r/" RANDOM_DIR, strlen("/r/" RANDOM_DIR)) == 0;

	*path += dir ? strlen("/r/" RANDOM_DIR) : strlen("/r");
	if (**path == '/')
		(*path)++;
	return **path ? -1 : dir;
}

static int number_of(const char *path)
{
	const char *name = path;
	int below = strncmp(path, "/r/" RANDOM_DIR "/", strlen("/r/" RANDOM_DIR "/")) == 0;

	dir_of(&name);
	for (int i = 0; i < RANDOM_NAME_COUNT; i++)
		if (random_is_below(i) == below && strcmp(name, random_names[i]) == 0)
			return i;
	return -1;
}

struct result {
	enum be_code code;
	bool has_attr;
	struct be_attr attr;
	struct content *file;
	struct be_entry entries[RANDOM_NAME_COUNT + 1];
	size_t count;
	size_t len;
	uint8_t bytes[RANDOM_LEN_MAX];
};

static uint32_t server_now(void)
{
	return (uint32_t)(kclock.wall_ms / 1000);
}

struct content *random_content(int side)
{
	struct content *f;

	ck_assert_uint_lt(content_count[side], RANDOM_FILE_MAX);
	f = &contents[side][content_count[side]++];

	memset(f, 0, sizeof(*f));
	f->attr = fake_reg(0, server_now());
	return f;
}

void random_resize(struct content *f, size_t len)
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
		random_resize(f, (size_t)want->size);
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
	struct content *f = random_files[i];

	r->code = BE_OK;
	if (!f && !(c->flags & BE_CREAT))
		r->code = BE_NO_SUCH_FILE;
	else if (f && (c->flags & BE_EXCL))
		r->code = BE_FAILURE;
	if (r->code != BE_OK)
		return;
	if (!f) {
		f = random_files[i] = random_content(RANDOM_SERVER);
		f->attr.mode = S_IFREG | (c->mode & 07777);
		dir_attr.mtime = server_now();
	} else if (c->flags & BE_TRUNC) {
		random_resize(f, 0);
		f->attr.mtime = server_now();
	}
	r->file = f;
	show(r, f);
}

/* One of those of these names that the program has called for; some may never come. */
static void check_rename(int i, int j, const struct content *f)
{
	bool expected = false;

	for (unsigned n = rename_turn; n < rename_count; n++) {
		const struct renamed *r = &renames[n % RENAME_MAX];

		if (r->from != i || r->to != j)
			continue;
		if (!r->whole || (f->len == r->len && memcmp(f->bytes, r->bytes, r->len) == 0)) {
			rename_turn = n + 1;
			return;
		}
		expected = true;
	}
	must(!expected, "renamed to %s with %zu bytes, not as the program left it\n",
	     random_names[j], f->len);
}

static bool is_change(const struct call *c)
{
	return strcmp(c->name, "write") == 0 || strcmp(c->name, "rename") == 0 ||
	       strcmp(c->name, "remove") == 0 || strcmp(c->name, "link") == 0 ||
	       strcmp(c->name, "setattr") == 0 || strcmp(c->name, "fsetattr") == 0 ||
	       (strcmp(c->name, "open") == 0 && (c->flags & BE_CREAT));
}

static void serve_names(const struct call *c, struct result *r)
{
	int i = number_of(c->path), j = c->path2 ? number_of(c->path2) : -1;
	struct content *f = i < 0 ? NULL : random_files[i];
	const char *rest = c->path;
	int dir = dir_of(&rest);

	r->code = f || dir >= 0 ? BE_OK : BE_NO_SUCH_FILE;
	if (strcmp(c->name, "open") == 0) {
		serve_open(c, r, i);
	} else if (strcmp(c->name, "mkdir") == 0) {
		r->code = BE_OK;
		r->has_attr = true;
		r->attr = fake_dir(server_now());
		dir_attr.mtime = server_now();
	} else if (strcmp(c->name, "statvfs") == 0) {
		r->code = BE_OK;
	} else if (strcmp(c->name, "list") == 0) {
		for (i = 0; i < RANDOM_NAME_COUNT; i++) {
			struct be_entry *e = &r->entries[r->count];

			if (!random_files[i] || random_is_below(i) != dir)
				continue;
			*e = (struct be_entry){random_names[i], 1, random_files[i]->attr};
			e->attr.size = random_files[i]->len;
			r->count++;
		}
		if (!dir)
			r->entries[r->count++] =
			    (struct be_entry){RANDOM_DIR, strlen(RANDOM_DIR), dir_attr};
	} else if (strcmp(c->name, "stat") == 0 && dir >= 0) {
		r->has_attr = true;
		r->attr = dir_attr;
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
		random_files[i] = NULL;
		dir_attr.mtime = server_now();
	} else if (strcmp(c->name, "rename") == 0) {
		if (c->flags == BE_RENAME_NOREPLACE && random_files[j]) {
			r->code = BE_FAILURE;
			return;
		}
		check_rename(i, j, f);
		random_files[i] = f == random_files[j] ? f : NULL;
		random_files[j] = f;
		dir_attr.mtime = server_now();
	} else if (strcmp(c->name, "link") == 0) {
		r->code = random_files[j] ? BE_FAILURE : BE_OK;
		random_files[j] = random_files[j] ? random_files[j] : f;
		show(r, random_files[j]);
		dir_attr.mtime = server_now();
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
			random_resize(f, off + c->len);
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
	if (is_change(c) && ++change_count == refused_change)
		r->code = BE_FAILURE;
	else if (c->file)
		serve_file(c, r, file_of(c));
	else
		serve_names(c, r);
	random_tell(
	    "      server: %s %s off %ju len %zu want %#x %o -> %d size %ju mode %o mtime %u\n",
	    c->name, c->path ? c->path : "", (uintmax_t)c->off, c->len, c->want.valid, c->want.mode,
	    r->code, (uintmax_t)r->attr.size, r->attr.mode, r->attr.mtime);
}

static void give_answer(struct call *c)
{
	static const struct be_statvfs roomy = {
	    .bsize = 4096, .frsize = 4096, .blocks = 1 << 20, .bavail = 1 << 20};
	struct result *r = c->own;
	const struct be_attr *a = r->has_attr ? &r->attr : NULL;

	random_tell("      answer: %s %s\n", c->name, c->path ? c->path : "");
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

static bool is_io(const struct call *c)
{
	return strcmp(c->name, "read") == 0 || strcmp(c->name, "write") == 0;
}

/* Of one file, or of names; reads and writes where their ranges overlap. */
static bool in_order(const struct call *before, const struct call *c)
{
	if (file_of(before) != file_of(c))
		return false;
	if (!is_io(before) || !is_io(c) || handles[(uintptr_t)before->file].append ||
	    handles[(uintptr_t)c->file].append)
		return true;
	return before->off < c->off + c->len && c->off < before->off + before->len;
}

void random_step(void)
{
	struct call *ready[READY_MAX];
	unsigned count = 0;

	list_for_each(e, &fake.calls) {
		struct call *c = list_entry(e, struct call, entry);
		bool first = true, first_undone = true;

		for (struct list *b = fake.calls.next; b != e; b = b->next) {
			struct call *before = list_entry(b, struct call, entry);

			if (!in_order(before, c))
				continue;
			first = false;
			first_undone = first_undone && before->own;
		}
		if ((c->own ? first : first_undone) && count < READY_MAX)
			ready[count++] = c;
	}
	if (count == 0 || random_chance(20)) {
		fake_pass(count ? random_below(3) : random_below(40));
	} else {
		struct call *c = ready[random_below(count)];

		if (c->own)
			give_answer(c);
		else
			carry_out(c);
		fake_pass(0);
	}
}
