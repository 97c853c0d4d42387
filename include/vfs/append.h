/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One write(2) of an appender is one WRITE, so that another machine's cannot come between. The kernel
 * cuts a write(2) into requests: behind each page that it had not cached (and at max_write). It sends
 * the next one when the last one is answered, and holds the file's lock meanwhile. So what was gathered
 * up to the end of a page may go on, until the same thread or another holder of the lock asks for
 * something else; until then it is not sent without need. Thread: the loop.
 */
#ifndef VFS_APPEND_H
#define VFS_APPEND_H

#include "vfs/file.h"

/*
 * A thread that has been answered sends the next request at once; one that is not given the processor
 * for so long loses no more than the promise that nobody comes between.
 */
#define APPEND_GOES_ON_MS 50

/* Does a request of thread `pid` for bytes at `off` continue what `f` has gathered? */
bool append_continues(const struct file *f, pid_t pid, uint64_t off);

/*
 * Thread `pid` has added bytes to what `f` has gathered; its write(2) began at `at` of them. To be called
 * for appenders only.
 */
void append_gathered(struct file *f, pid_t pid, size_t at);

/* The write(2) is over: nothing is gathered, or more has come from elsewhere. Harmless otherwise. */
void append_over(struct file *f);

/* May it go on, as far as a request of thread `pid` (0: of none) can tell? */
bool append_goes_on(const struct file *f, pid_t pid);

/* Sends what was gathered before it and keeps its own bytes. Return: 0 or -ENOMEM. */
int append_send_before(struct file *f);

/* The open file of `n` of which that is true, and that has bytes of it in [off, end); or NULL. */
struct file *append_within(const struct node *n, uint64_t off, uint64_t end, pid_t pid);

/* `op` waits until it does not; `resume` is then called from a timer. */
void append_wait(struct op *op, struct file *f, void (*resume)(struct op *op));

/* For file_create() and file_release(): who waits goes on. */
void append_init(struct file *f);
void append_finish(struct file *f);

#endif
