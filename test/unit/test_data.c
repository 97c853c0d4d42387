/* SPDX-License-Identifier: BSD-2-Clause */
/* Data blocks and budgets. */
#include <pthread.h>
#include <string.h>

#include "check_main.h"
#include "oom.h"
#include "util/data.h"

START_TEST(budget)
{
	/* what is left of a budget is never negative, and unlimited without a limit */
	struct budget b;

	budget_init(&b, 100);
	ck_assert_uint_eq(budget_left(&b), 100);
	budget_charge(&b, 99);
	ck_assert_uint_eq(budget_left(&b), 1);
	budget_charge(&b, 1);
	ck_assert_uint_eq(budget_left(&b), 0);
	budget_charge(&b, 50);
	ck_assert_uint_eq(budget_left(&b), 0);
	budget_release(&b, 51);
	ck_assert_uint_eq(budget_left(&b), 1);
	budget_init(&b, 0);
	budget_charge(&b, 1000);
	ck_assert_uint_eq(budget_left(&b), SIZE_MAX);
	budget_release(&b, 1000);
}
END_TEST

START_TEST(charge)
{
	/* a block is charged once, however many references it has, until the last is gone */
	struct budget b;
	struct data *d;

	budget_init(&b, 1000);
	d = data_create(&b, 400);
	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->size, 400);
	memset(d->bytes, 0xa5, d->size);
	ck_assert_uint_eq(budget_left(&b), 600);
	ck_assert_ptr_eq(data_ref(d), d);
	ck_assert_uint_eq(budget_left(&b), 600);
	data_unref(d);
	ck_assert_uint_eq(budget_left(&b), 600);
	ck_assert_uint_eq(d->bytes[399], 0xa5);
	data_unref(d);
	ck_assert_uint_eq(budget_left(&b), 1000);
	data_unref(NULL);
}
END_TEST

START_TEST(no_budget)
{
	/* a block without a budget, and a block without bytes, are fine */
	struct data *d = data_create(NULL, 10);

	ck_assert_ptr_nonnull(d);
	ck_assert_ptr_null(d->budget);
	data_unref(d);
	d = data_create(NULL, 0);
	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->size, 0);
	data_unref(d);
}
END_TEST

START_TEST(out_of_memory)
{
	/* a block that cannot be had is NULL and charges nothing; nor does an absurd size wrap */
	struct budget b;
	struct data *d;

	budget_init(&b, 1000);
	oom_arm(1);
	d = data_create(&b, 10);
	ck_assert(oom_disarm());
	ck_assert_ptr_null(d);
	ck_assert_uint_eq(budget_left(&b), 1000);
	ck_assert_ptr_null(data_create(&b, SIZE_MAX));
	ck_assert_ptr_null(data_create(&b, SIZE_MAX - sizeof(struct data) + 1));
	ck_assert_uint_eq(budget_left(&b), 1000);
}
END_TEST

#define SHARERS   4
#define HANDOVERS 20000

struct shared {
	struct budget budget;
	struct data *block;
	pthread_barrier_t start;
};

static void *share(void *arg)
{
	struct shared *s = arg;

	pthread_barrier_wait(&s->start);
	for (int i = 0; i < HANDOVERS; i++) {
		struct data *d = data_create(&s->budget, 3);

		if (!d)
			return s;
		data_ref(s->block);
		d->bytes[0] = s->block->bytes[0];
		data_unref(s->block);
		data_unref(d);
	}
	/* The reference that this thread was given. */
	data_unref(s->block);
	return NULL;
}

START_TEST(threads)
{
	/* threads that share a block and a budget lose neither a reference nor a byte */
	pthread_t tids[SHARERS];
	struct shared s;

	pthread_barrier_init(&s.start, NULL, SHARERS);
	budget_init(&s.budget, 1000000);
	s.block = data_create(&s.budget, 100);
	ck_assert_ptr_nonnull(s.block);
	s.block->bytes[0] = 1;
	for (int i = 0; i < SHARERS; i++) {
		data_ref(s.block);
		ck_assert_int_eq(pthread_create(&tids[i], NULL, share, &s), 0);
	}
	for (int i = 0; i < SHARERS; i++) {
		void *failed;

		pthread_join(tids[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_eq(atomic_load(&s.block->refs), 1);
	ck_assert_uint_eq(budget_left(&s.budget), 1000000 - 100);
	data_unref(s.block);
	ck_assert_uint_eq(budget_left(&s.budget), 1000000);
	pthread_barrier_destroy(&s.start);
}
END_TEST

CHECK_MAIN("data", budget, charge, no_budget, out_of_memory, threads)
