/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What procfs tells of the program that waits for an answer: is it about to die, and which process is
 * it? Thread: the loop. Blocks: for procfs.
 * Spec: proc(5), SigPnd: signals pending for the thread; a fatal signal to a process shows up as
 * SIGKILL pending in each of its threads. Once a thread is on its way out, and closes its files, the signal
 * is gone, but its flags tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "private.h"

/* How long a thread's process is remembered: numbers of threads are used again, but not at once. */
#define PROGRAM_LIFE_MS 1000

#define STAT_FLAGS   9   /* field of /proc/TID/stat */
#define FLAG_EXITING 4ul /* the kernel's PF_EXITING */

/* Return: 0 or a negative errno. */
static int read_proc(pid_t tid, const char *name, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, size - 1);
	int err = n < 0 ? -errno : 0;
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return err;
}

/*
 * The text after `key` in the status of a thread; `text` holds it.
 * Return: NULL with a negative errno in *err, 0 when there is no such line.
 */
static const char *status_of(pid_t tid, const char *key, char *text, size_t size, int *err)
{
	*err = read_proc(tid, "status", text, size);

	const char *at = *err ? NULL : strstr(text, key);
	return at ? at + strlen(key) : NULL;
}

static unsigned long stat_field(const char *stat, int number)
{
	const char *at = strrchr(stat, ')'); /* the second field may hold anything */

	for (int i = 2; at && i < number; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoul(at, NULL, 10) : 0;
}

static bool is_exiting(pid_t tid)
{
	char text[4096];

	return read_proc(tid, "stat", text, sizeof(text)) == 0 &&
	       stat_field(text, STAT_FLAGS) & FLAG_EXITING;
}

bool fusefs_caller_dying(pid_t tid)
{
	char text[4096];
	int err;

	if (tid <= 0)
		return false;
	const char *at = status_of(tid, "\nSigPnd:", text, sizeof(text), &err);
	if (!at)
		return err == -ENOENT || err == -ESRCH; /* no such thread any more */
	return strtoull(at, NULL, 16) & (1ULL << (SIGKILL - 1)) || is_exiting(tid);
}

pid_t fusefs_caller_program(struct fusefs *fs, pid_t tid)
{
	struct fusefs_caller *c = &fs->callers[(unsigned)tid % FUSEFS_CALLER_COUNT];
	char text[4096];
	int err;

	if (tid <= 0)
		return 0;
	if (c->tid == tid && fs->clock->now_ms - c->since_ms < PROGRAM_LIFE_MS)
		return c->program;
	const char *at = status_of(tid, "\nTgid:", text, sizeof(text), &err);
	*c = (struct fusefs_caller){
	    .tid = tid,
	    .program = at ? (pid_t)strtol(at, NULL, 10) : tid,
	    .since_ms = fs->clock->now_ms,
	};
	return c->program;
}
