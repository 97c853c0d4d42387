/* SPDX-License-Identifier: BSD-2-Clause */
/* -o verify, and the hash that programs ask for. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fake_backend.h"
#include "util/sha256.h"

#define SIZE 600000u

static uint8_t pattern[SIZE];
static uint8_t right[SHA256_LEN], wrong[SHA256_LEN];

static void hash_of(const void *bytes, size_t len, uint8_t hash[SHA256_LEN])
{
	struct sha256 *s = sha256_create();

	sha256_add(s, bytes, len);
	ck_assert(sha256_get(s, hash));
	sha256_destroy(s);
}

static void with_verify(struct vfs_config *cfg)
{
	cfg->verify = true;
}

static void setup(void)
{
	for (size_t i = 0; i < SIZE; i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	hash_of(pattern, SIZE, right);
	hash_of(pattern, SIZE - 1, wrong);
	fake_setup(with_verify);
}

static uint64_t file_nodeid;

static uint64_t open_again(int flags, uint64_t size)
{
	return fake_open(file_nodeid, flags, fake_reg(size, 1000));
}

static uint64_t open_file(int flags, uint64_t size)
{
	file_nodeid = fake_lookup("f", fake_reg(size, 1000));
	return open_again(flags, size);
}

static struct kreq *flush(uint64_t fh)
{
	struct kreq *k = kreq_create();

	vfs_flush(vfs, &k->req, fh);
	return k;
}

static void serve_reads(void)
{
	struct call *c;

	while ((c = fake_find("read", NULL)))
		fake_data(c, BE_OK, pattern + c->off, c->len);
}

/* All WRITEs arrive, and the server says what the file is then. */
static void serve_writes(uint64_t size)
{
	struct be_attr a = fake_reg(size, 1000000);
	struct call *c;

	while ((c = fake_find("write", NULL)))
		fake_status(c, BE_OK, "");
	while ((c = fake_find("fstat", NULL)))
		fake_attr(c, BE_OK, &a);
}

static void serve_fstat(uint64_t size)
{
	struct be_attr a = fake_reg(size, 1000000);
	struct call *c = fake_find("fstat", NULL);

	if (c)
		fake_attr(c, BE_OK, &a);
}

START_TEST(the_last_read_waits_for_the_servers_hash)
{
	// the read that makes the file whole waits, the others do not; equal hashes: nothing else happens
	struct kreq *last;
	uint64_t fh;

	setup();
	fh = open_file(O_RDONLY, SIZE);
	for (uint64_t off = 0; off + 100000 < SIZE; off += 100000) {
		struct kreq *k = fake_read(fh, 100000, off);

		serve_reads();
		ck_assert_uint_eq(k->len, 100000);
	}
	last = fake_read(fh, 131072, 500000);
	serve_reads();
	ck_assert(!last->done);
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert_uint_eq(last->len, 100000);
	ck_assert_mem_eq(last->bytes, pattern + 500000, 100000);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(another_hash_is_eio)
{
	// for the read that waits and every later one of this descriptor, not of another
	struct kreq *k;
	uint64_t fh, other;

	check_allow_errors();
	setup();
	fh = open_file(O_RDONLY, SIZE);
	k = fake_read(fh, 1 << 20, 0);
	serve_reads();
	fake_hashed(fake_call("hash"), BE_OK, wrong);
	ck_assert_int_eq(k->err, EIO);
	k = fake_read(fh, 4096, 0);
	serve_reads();
	ck_assert_int_eq(k->err, EIO);
	other = open_again(O_RDONLY, SIZE);
	k = fake_read(other, 4096, 0);
	serve_reads();
	ck_assert_uint_eq(k->len, 4096);
	fake_teardown();
}
END_TEST

START_TEST(answers_in_another_order_are_put_in_order)
{
	// reads that are served before those in front of them count as soon as these have come
	struct kreq *first, *second;
	struct call *c1, *c2;
	uint64_t fh;

	setup();
	fh = open_file(O_RDONLY | O_DIRECT, 8192);
	first = fake_read(fh, 4096, 0);
	second = fake_read(fh, 4096, 4096);
	c1 = fake_find("read", NULL);
	ck_assert_ptr_nonnull(c1);
	if (c1->len == 4096) {
		c2 = list_entry(c1->entry.next, struct call, entry);
		fake_data(c2, BE_OK, pattern + 4096, 4096);
		ck_assert(second->done);
		ck_assert(!fake_find("hash", NULL));
	}
	serve_reads();
	ck_assert(!first->done);
	hash_of(pattern, 8192, right);
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert(first->done && !first->err);
	fake_teardown();
}
END_TEST

START_TEST(reading_here_and_there_is_not_a_copy)
{
	// and does not keep more than a few bytes for the case that it becomes one
	uint64_t fh;

	setup();
	fh = open_file(O_RDONLY, SIZE);
	for (uint64_t off = 400000; off >= 100000; off -= 100000) {
		fake_read(fh, 4096, off);
		serve_reads();
	}
	fake_read(fh, 131072, 500000);
	serve_reads();
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(close_waits_for_the_hash_of_what_was_written)
{
	// asked for behind the last WRITE; once, whoever else closes the descriptor
	struct kreq *k, *second;
	uint64_t fh;

	setup();
	fh = open_file(O_WRONLY, 0);
	for (uint64_t off = 0; off < SIZE; off += 100000)
		ck_assert_uint_eq(fake_write(fh, pattern, 100000, off)->written, 100000);
	k = flush(fh);
	ck_assert(!fake_find("hash", NULL));
	serve_writes(SIZE);
	ck_assert(!k->done);
	second = flush(fh);
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert(k->done && !k->err);
	ck_assert(second->done && !second->err);
	k = flush(fh);
	serve_fstat(SIZE);
	ck_assert(k->done && !k->err);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(close_tells_of_another_hash)
{
	// also when the server says itself that it has fewer bytes
	struct kreq *k;
	uint64_t fh;

	check_allow_errors();
	setup();
	fh = open_file(O_WRONLY, 0);
	fake_write(fh, pattern, SIZE, 0);
	k = flush(fh);
	serve_writes(SIZE - 1);
	fake_hashed(fake_call("hash"), BE_OK, wrong);
	ck_assert_int_eq(k->err, EIO);
	fake_teardown();
}
END_TEST

START_TEST(a_hash_of_less_than_what_has_passed_by_now_is_no_mismatch)
{
	// a program goes on writing while another one closes the descriptor they share
	struct kreq *k;
	uint64_t fh;

	setup();
	fh = open_file(O_WRONLY, 0);
	fake_write(fh, pattern, SIZE - 1, 0);
	k = flush(fh);
	serve_writes(SIZE - 1);
	fake_write(fh, pattern, 1, SIZE - 1);
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert(k->done && !k->err);
	k = flush(fh);
	serve_writes(SIZE);
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert(k->done && !k->err);
	fake_teardown();
}
END_TEST

START_TEST(parts_are_not_compared)
{
	// the beginning of a longer file, an append, a change in the middle, what another has changed
	uint64_t fh, other;

	setup();
	fh = open_file(O_WRONLY, SIZE);
	other = open_again(O_WRONLY | O_APPEND, SIZE);
	fake_write(fh, pattern, 1000, 0);
	flush(fh);
	serve_writes(SIZE);
	fake_none();
	fake_write(other, pattern, 1000, 0);
	flush(other);
	serve_writes(SIZE);
	fake_none();
	fake_write(fh, pattern, SIZE, 0);
	fake_write(fh, pattern, 1000, 5000);
	flush(fh);
	serve_writes(SIZE);
	fake_none();
	fake_teardown();

	setup();
	fh = open_file(O_WRONLY, 0);
	other = open_again(O_WRONLY, 0);
	fake_write(fh, pattern, SIZE, 0);
	fake_write(other, pattern, 1, 7);
	flush(fh);
	serve_writes(SIZE);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(a_server_without_means_is_asked_once)
{
	// and nothing fails
	struct kreq *k;
	uint64_t fh;

	check_allow_errors();
	setup();
	fh = open_file(O_WRONLY, 0);
	for (unsigned i = 0; i < 2; i++) {
		fake_write(fh, pattern, SIZE, 0);
		k = flush(fh);
		serve_writes(SIZE);
		if (i == 0)
			fake_hashed(fake_call("hash"), BE_UNSUPPORTED, NULL);
		ck_assert(k->done && !k->err);
		fake_none();
	}
	fake_teardown();
}
END_TEST

START_TEST(who_asks_gets_the_hash_of_what_was_written)
{
	// behind the WRITEs of the file; its errors are not taken from close
	struct kreq *k = NULL;
	struct be_attr a = fake_reg(0, 1000);
	uint64_t nodeid, fh;

	fake_setup(NULL);
	nodeid = fake_lookup("f", a);
	fh = fake_open(nodeid, O_WRONLY, a);
	fake_write(fh, pattern, 1000, 0);
	k = kreq_create();
	vfs_hash(vfs, &k->req, nodeid);
	ck_assert(!fake_find("hash", NULL));
	fake_status(fake_call("write"), BE_OK, "");
	fake_hashed(fake_call("hash"), BE_OK, right);
	ck_assert_uint_eq(k->len, SHA256_LEN);
	ck_assert_mem_eq(k->bytes, right, SHA256_LEN);

	k = kreq_create();
	vfs_hash(vfs, &k->req, nodeid);
	fake_hashed(fake_call("hash"), BE_UNSUPPORTED, NULL);
	ck_assert_int_eq(k->err, EOPNOTSUPP);
	k = kreq_create();
	vfs_hash(vfs, &k->req, VFS_ROOT);
	ck_assert_int_eq(k->err, EISDIR);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_verify", the_last_read_waits_for_the_servers_hash, another_hash_is_eio,
           answers_in_another_order_are_put_in_order, reading_here_and_there_is_not_a_copy,
           close_waits_for_the_hash_of_what_was_written, close_tells_of_another_hash,
           a_hash_of_less_than_what_has_passed_by_now_is_no_mismatch, parts_are_not_compared,
           a_server_without_means_is_asked_once, who_asks_gets_the_hash_of_what_was_written)
