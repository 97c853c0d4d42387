/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue between threads. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "check_main.h"
#include "util/mailbox.h"

struct message {
	struct list link;
	int sender;
	int number;
};

static bool readable(const struct mailbox *m, int timeout_ms)
{
	struct pollfd p = {.fd = m->fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

START_TEST(order)
{
	/* messages come out in the order of posting, after what the receiver has already */
	struct message messages[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
	struct mailbox m;
	struct list out;
	int number = 0;

	ck_assert_int_eq(mailbox_init(&m), 0);
	list_init(&out);
	mailbox_post(&m, &messages[0].link);
	mailbox_take(&m, &out);
	for (int i = 1; i < 4; i++)
		mailbox_post(&m, &messages[i].link);
	mailbox_take(&m, &out);
	list_for_each(pos, &out) {
		ck_assert_int_eq(list_entry(pos, struct message, link)->number, number);
		number++;
	}
	ck_assert_int_eq(number, 4);
	mailbox_finish(&m);
}
END_TEST

START_TEST(signals)
{
	/* the descriptor is readable exactly while messages wait, and a take is never short */
	struct message messages[2];
	struct mailbox m;
	struct list out;

	ck_assert_int_eq(mailbox_init(&m), 0);
	ck_assert_int_eq(fcntl(m.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(m.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	list_init(&out);
	ck_assert(!readable(&m, 0));
	mailbox_take(&m, &out);
	ck_assert(list_empty(&out));
	mailbox_post(&m, &messages[0].link);
	ck_assert(readable(&m, 0));
	mailbox_post(&m, &messages[1].link);
	ck_assert(readable(&m, 0));
	mailbox_take(&m, &out);
	ck_assert(!readable(&m, 0));
	ck_assert_ptr_eq(out.next, &messages[0].link);
	ck_assert_ptr_eq(out.prev, &messages[1].link);
	list_init(&out);
	mailbox_post(&m, &messages[0].link);
	ck_assert(readable(&m, 0));
	mailbox_take(&m, &out);
	ck_assert(!readable(&m, 0));
	mailbox_finish(&m);
}
END_TEST

START_TEST(no_descriptor)
{
	/* without a descriptor to spare, init is an error */
	struct rlimit old, none;
	struct mailbox m;
	int err;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	err = mailbox_init(&m);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_int_eq(err, -EMFILE);
}
END_TEST

#define SENDERS  4
#define MESSAGES 5000

struct sender {
	struct mailbox *mailbox;
	int number;
};

static void *send_all(void *arg)
{
	const struct sender *s = arg;

	for (int i = 0; i < MESSAGES; i++) {
		struct message *msg = malloc(sizeof(*msg));

		if (!msg)
			abort();
		msg->sender = s->number;
		msg->number = i;
		mailbox_post(s->mailbox, &msg->link);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

START_TEST(threads)
{
	/* many senders, one receiver that sleeps in poll: nothing lost, each sender's order kept */
	struct sender senders[SENDERS];
	pthread_t tids[SENDERS];
	int next[SENDERS] = {0}, total = 0;
	struct mailbox m;
	struct list out;

	ck_assert_int_eq(mailbox_init(&m), 0);
	list_init(&out);
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){&m, i};
		ck_assert_int_eq(pthread_create(&tids[i], NULL, send_all, &senders[i]), 0);
	}
	while (total < SENDERS * MESSAGES) {
		ck_assert(readable(&m, 30000));
		mailbox_take(&m, &out);
		list_for_each_safe(pos, tmp, &out) {
			struct message *msg = list_entry(pos, struct message, link);

			ck_assert_int_eq(msg->number, next[msg->sender]);
			next[msg->sender]++;
			total++;
			list_del(pos);
			free(msg);
		}
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(tids[i], NULL);
	ck_assert(!readable(&m, 0));
	mailbox_finish(&m);
}
END_TEST

CHECK_MAIN("mailbox", order, signals, no_descriptor, threads)
