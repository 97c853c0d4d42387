/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue of messages from any number of threads to one, with an eventfd to poll.
 * The only thing in the core that takes a lock.
 */
#ifndef UTIL_MAILBOX_H
#define UTIL_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "util/list.h"

struct mailbox {
	pthread_mutex_t lock;
	struct list messages; /* guarded by lock */
	bool signalled;       /* guarded by lock: eventfd already holds a count */
	int fd;               /* readable while messages wait */
};

/* Return: 0 or a negative errno. */
int mailbox_init(struct mailbox *m);

/* The queue must be empty: its messages belong to their senders' conventions, not to us. */
void mailbox_finish(struct mailbox *m);

/* Any thread. Never blocks beyond the lock. */
void mailbox_post(struct mailbox *m, struct list *message);

/* Receiver only: moves everything that waits, in order, to the end of `out`. */
void mailbox_take(struct mailbox *m, struct list *out);

#endif
