/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program whose standard input and output are one end of a socket pair and the other end is
 * ours: `ssh_command=`, ProxyCommand, askpass, `ssh -G`.
 *
 * Internal to ssh/. Thread: the back of the connection that started it.
 */
#ifndef SSH_CHILD_H
#define SSH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

#define CHILD_TAIL_LEN 1024

struct child {
	pid_t pid;                 /* 0: none */
	int pid_fd;                /* readable when it has ended; -1: the kernel has none */
	int fd;                    /* its standard input and output, non-blocking; -1: none */
	int err_fd;                /* its standard error, non-blocking; -1: not captured or ended */
	bool group;                /* it leads its own process group */
	char tail[CHILD_TAIL_LEN]; /* the end of what it wrote to standard error */
	size_t tail_len;
};

#define CHILD_INIT ((struct child){.pid_fd = -1, .fd = -1, .err_fd = -1})

enum child_flags {
	CHILD_STDERR = 1,      /* capture standard error; else it is shared */
	CHILD_GROUP = 2,       /* own process group: it must not need the terminal */
	CHILD_STDERR_NULL = 4, /* standard error goes nowhere */
	CHILD_SESSION = 8,     /* own session, without a terminal; with CHILD_GROUP */
};

/*
 * Starts argv[0], looked up in PATH. Terminal signals do not reach it: it lives until we say so.
 * Return: 0 or a negative errno (-ENOENT: no such program).
 */
int child_spawn(struct child *ch, char *const argv[], unsigned flags);

/* Starts `/bin/sh -c 'exec command'`. */
int child_spawn_shell(struct child *ch, const char *command, unsigned flags);

/*
 * Reads what is there on standard error into the tail; `echo` also copies it to our own.
 * Return: false once that stream has ended.
 */
bool child_read_stderr(struct child *ch, bool echo);

/*
 * Reads standard output into `out` and standard error into the tail until both have ended; not one
 * for the network. Return: 0, -ETIMEDOUT or another negative errno.
 */
int child_collect(struct child *ch, struct buf *out, int timeout_ms);

/* The last non-empty line of the tail, without control characters; "" when there is none. */
void child_last_line(const struct child *ch, char *line, size_t size);

/*
 * Waits at most timeout_ms for the end. Return: the wait status, or -ETIMEDOUT, or -ECHILD when
 * somebody else has reaped it.
 */
int child_wait(struct child *ch, int timeout_ms);

/*
 * Ends it and waits until it has: at once with SIGKILL, or with SIGTERM and half a second's grace.
 * Closes the descriptors. Harmless when there is no child.
 */
void child_end(struct child *ch, bool gently);

#endif
