/* SPDX-License-Identifier: BSD-2-Clause */
/* A write(2) of an appender that comes in several requests. Contract: include/vfs/append.h. */
#include "vfs/append.h"

#include <errno.h>
#include <string.h>

#define PAGE_LEN 4096 /* the smallest of any machine: a multiple of it may be the end of a page */

static void resume_waiters(void *arg)
{
	struct file *f = arg;
	struct list waiters;

	list_init(&waiters);
	list_splice(&waiters, &f->append_waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		op->resume(op);
	}
}

void append_init(struct file *f)
{
	list_init(&f->append_waiters);
	timer_init(&f->append_timer, resume_waiters, f);
}

void append_finish(struct file *f)
{
	resume_waiters(f);
	timer_cancel(&f->append_timer);
}

bool append_continues(const struct file *f, pid_t pid, uint64_t off)
{
	return f->gather && f->appender && f->appender == pid &&
	       f->gather_off + f->gather_len == off;
}

void append_gathered(struct file *f, pid_t pid, size_t at)
{
	append_over(f);
	if (!f->gather || (f->gather_off + f->gather_len) % PAGE_LEN)
		return;
	f->append_at = at;
	f->appender = pid;
	f->appended_ms = f->v->clock->now_ms;
}

void append_over(struct file *f)
{
	f->appender = 0;
	f->append_at = 0;
	/* Whoever asks may be in the middle of something: they go on later. */
	if (!list_empty(&f->append_waiters))
		timer_set(f->v->clock, &f->append_timer, f->v->clock->now_ms);
}

bool append_goes_on(const struct file *f, pid_t pid)
{
	return f->gather && f->appender && f->appender != pid &&
	       f->v->clock->now_ms - f->appended_ms < APPEND_GOES_ON_MS;
}

int append_send_before(struct file *f)
{
	size_t at = f->append_at, left_len = f->gather_len - at;
	pid_t appender = f->appender;
	struct data *left;

	if (at == 0)
		return 0;
	left = data_create(f->v->budget, f->gather->size);
	if (!left)
		return -ENOMEM;
	memcpy(left->bytes, f->gather->bytes + at, left_len);
	f->gather_len = at;
	file_send(f);
	f->gather = left;
	f->gather_off += at;
	f->gather_len = left_len;
	f->appender = appender;
	timer_set(f->v->clock, &f->flush_timer, f->v->clock->now_ms + f->v->cfg.flush_age_ms);
	return 0;
}

struct file *append_within(const struct node *n, uint64_t off, uint64_t end, pid_t pid)
{
	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (append_goes_on(f, pid) && f->gather_off + f->append_at < end &&
		    off < f->gather_off + f->gather_len)
			return f;
	}
	return NULL;
}

void append_wait(struct op *op, struct file *f, void (*resume)(struct op *op))
{
	op->resume = resume;
	list_push_back(&f->append_waiters, &op->wait);
	timer_set(f->v->clock, &f->append_timer, f->appended_ms + APPEND_GOES_ON_MS);
}
