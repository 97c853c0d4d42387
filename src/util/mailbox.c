/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue of messages from any number of threads to one.
 * Room: util. Posting: any thread. Taking: the receiver.
 */
#include "util/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
	int err;

	list_init(&m->messages);
	m->signalled = false;
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->fd < 0)
		return -errno;
	err = pthread_mutex_init(&m->lock, NULL);
	if (err) {
		close(m->fd);
		m->fd = -1;
		return -err;
	}
	return 0;
}

void mailbox_finish(struct mailbox *m)
{
	assert(list_empty(&m->messages));
	pthread_mutex_destroy(&m->lock);
	close(m->fd);
	m->fd = -1;
}

/*
 * Both run under the lock, so that `signalled` and the eventfd agree. Neither can block or fail:
 * the count is 0 or 1.
 */
static void mailbox_signal(struct mailbox *m)
{
	ssize_t n = write(m->fd, &(uint64_t){1}, sizeof(uint64_t));

	assert(n == sizeof(uint64_t));
	(void)n;
	m->signalled = true;
}

static void mailbox_unsignal(struct mailbox *m)
{
	uint64_t count;
	ssize_t n = read(m->fd, &count, sizeof(count));

	assert(n == sizeof(count));
	(void)n;
	m->signalled = false;
}

void mailbox_post(struct mailbox *m, struct list *message)
{
	pthread_mutex_lock(&m->lock);
	list_push_back(&m->messages, message);
	if (!m->signalled)
		mailbox_signal(m);
	pthread_mutex_unlock(&m->lock);
}

void mailbox_take(struct mailbox *m, struct list *out)
{
	pthread_mutex_lock(&m->lock);
	list_splice(out, &m->messages);
	if (m->signalled)
		mailbox_unsignal(m);
	pthread_mutex_unlock(&m->lock);
}
