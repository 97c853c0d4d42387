/* SPDX-License-Identifier: BSD-2-Clause */
/* What a new file was just given is read back from here. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fake_backend.h"

#define NOW_S     1000000 /* the fake clock's */
#define LEN       300000  /* several WRITEs of the fake server's 65536 */
#define PIECE_LEN 4096

static uint8_t content[LEN];

static void setup(void (*tweak)(struct vfs_config *cfg))
{
	for (size_t i = 0; i < LEN; i++)
		content[i] = (uint8_t)(i * 7 + i / 251);
	fake_setup(tweak);
}

/* The server answers every WRITE with `code`, and what is asked behind them with `a`. */
static void serve_writes(enum be_code code, const struct be_attr *a)
{
	struct call *c;

	while ((c = fake_find("write", NULL)) != NULL)
		fake_status(c, code, "");
	while ((c = fake_find("fstat", NULL)) != NULL)
		fake_attr(c, BE_OK, a);
}

/* A new file with the first `len` bytes of `content`, which is still open. */
static struct kreq *make_file(size_t len)
{
	struct be_attr empty = fake_reg(0, NOW_S);
	struct kreq *c = kreq_create();

	vfs_create_file(vfs, &c->req, VFS_ROOT, "f", 0644, O_RDWR | O_EXCL);
	fake_opened(fake_call("open"), BE_OK, &empty);
	for (size_t off = 0; off < len; off += PIECE_LEN)
		fake_write(c->opened.fh, content, len - off < PIECE_LEN ? len - off : PIECE_LEN,
		           off);
	return c;
}

static void close_file(const struct kreq *c, struct be_attr a)
{
	struct kreq *f = kreq_create(), *r = kreq_create();

	vfs_flush(vfs, &f->req, c->opened.fh);
	serve_writes(BE_OK, &a);
	ck_assert(f->done && f->err == 0);
	vfs_release(vfs, &r->req, c->opened.fh);
	fake_none();
}

static uint64_t open_again(uint64_t nodeid, struct be_attr a)
{
	return fake_open(nodeid, O_RDONLY, a);
}

static void release(uint64_t fh)
{
	struct kreq *r = kreq_create();

	vfs_release(vfs, &r->req, fh);
}

static bool asks(uint64_t fh, uint64_t off)
{
	struct kreq *k = fake_read(fh, PIECE_LEN, off);
	struct call *c;
	bool asked = !k->done;

	while ((c = fake_find("read", NULL)) != NULL)
		fake_data(c, BE_OK, content + c->off, c->len);
	ck_assert(k->done && k->err == 0);
	ck_assert_uint_eq(k->len, LEN - off < PIECE_LEN ? LEN - off : PIECE_LEN);
	ck_assert_mem_eq(k->bytes, content + off, k->len);
	return asked;
}

START_TEST(what_a_new_file_was_given_is_read_back_without_asking)
{
	// in any order, as often as anybody likes, also by the next open when the server shows the same file
	struct be_attr a = fake_reg(LEN, NOW_S);
	struct kreq *c;
	uint64_t fh;

	setup(NULL);
	c = make_file(LEN);
	serve_writes(BE_OK, NULL);
	ck_assert(!asks(c->opened.fh, 65536 - 1000));
	close_file(c, a);
	fake_pass(5000);
	fh = open_again(c->entry.nodeid, a);
	for (unsigned i = 0; i < 100; i++)
		ck_assert(!asks(fh, (uint64_t)i * 97 % 74 * PIECE_LEN));
	release(fh);
	fake_teardown();
}
END_TEST

START_TEST(what_is_written_over_is_not_read_back)
{
	// the newest bytes, sent or not
	struct kreq *c;

	setup(NULL);
	c = make_file(LEN);
	for (size_t i = 0; i < 10000; i++)
		content[70000 + i]++;
	fake_write(c->opened.fh, content, 10000, 70000);
	serve_writes(BE_OK, NULL);
	for (uint64_t off = 60000; off < 90000; off += 1000)
		asks(c->opened.fh, off);
	close_file(c, fake_reg(LEN, NOW_S));
	fake_teardown();
}
END_TEST

START_TEST(another_version_at_an_open_ends_it)
{
	// somebody else has changed the file: nothing of ours is shown
	struct kreq *c;
	uint64_t fh;

	setup(NULL);
	c = make_file(LEN);
	close_file(c, fake_reg(LEN, NOW_S));
	fake_pass(5000);
	fh = open_again(c->entry.nodeid, fake_reg(LEN, NOW_S + 4));
	ck_assert(asks(fh, 0));
	release(fh);
	fake_teardown();
}
END_TEST

START_TEST(another_length_behind_the_writes_ends_it)
{
	// somebody else writes to it at the same time
	struct kreq *c, *f = kreq_create();
	struct be_attr longer = fake_reg(LEN + 1, NOW_S);

	setup(NULL);
	c = make_file(LEN);
	vfs_flush(vfs, &f->req, c->opened.fh);
	serve_writes(BE_OK, &longer);
	ck_assert(asks(c->opened.fh, 0));
	release(c->opened.fh);
	fake_teardown();
}
END_TEST

START_TEST(a_failed_write_ends_it)
{
	// what the server has not taken is not shown as if it had
	struct kreq *c;
	struct call *w;

	setup(NULL);
	check_allow_errors();
	c = make_file(LEN);
	w = fake_call("write");
	fake_status(w, BE_FAILURE, "No space left");
	while ((w = fake_find("statvfs", NULL)) != NULL)
		fake_statvfs(w, BE_FAILURE, NULL);
	serve_writes(BE_OK, NULL);
	ck_assert(asks(c->opened.fh, 0));
	release(c->opened.fh);
	serve_writes(BE_OK, NULL);
	fake_teardown();
}
END_TEST

START_TEST(it_stays_for_half_a_minute_behind_its_last_use)
{
	// and then its memory is free
	struct kreq *c;

	setup(NULL);
	c = make_file(LEN);
	serve_writes(BE_OK, NULL);
	fake_pass(25000);
	serve_writes(BE_OK, NULL); /* the last piece, by its age */
	ck_assert(!asks(c->opened.fh, 0));
	fake_pass(25000);
	ck_assert(!asks(c->opened.fh, 0));
	ck_assert_uint_gt(budget.used_len, LEN);
	fake_pass(30001);
	ck_assert_uint_eq(budget.used_len, 0);
	ck_assert(asks(c->opened.fh, 0));
	close_file(c, fake_reg(LEN, NOW_S));
	fake_teardown();
}
END_TEST

START_TEST(it_has_a_small_part_of_the_budget)
{
	// an eighth: of what is longer nothing is kept
	struct kreq *c;

	setup(NULL);
	budget.max_len = 8 * (LEN / 2);
	c = make_file(LEN);
	close_file(c, fake_reg(LEN, NOW_S));
	ck_assert_uint_eq(budget.used_len, 0);
	fake_teardown();
}
END_TEST

static void without_caches(struct vfs_config *cfg)
{
	cfg->dir_cache = false;
}

START_TEST(nothing_is_kept_without_caches)
{
	// cache=no: every read asks, once the bytes are sent
	struct kreq *c;

	setup(without_caches);
	c = make_file(LEN);
	serve_writes(BE_OK, NULL);
	ck_assert(asks(c->opened.fh, 0));
	close_file(c, fake_reg(LEN, NOW_S));
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_kept", what_a_new_file_was_given_is_read_back_without_asking,
           what_is_written_over_is_not_read_back, another_version_at_an_open_ends_it,
           another_length_behind_the_writes_ends_it, a_failed_write_ends_it,
           it_stays_for_half_a_minute_behind_its_last_use, it_has_a_small_part_of_the_budget,
           nothing_is_kept_without_caches)
