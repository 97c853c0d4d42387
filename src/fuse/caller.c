/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is the program that waits for an answer about to die? Thread: the loop. Blocks: for procfs.
 * Spec: proc(5), SigPnd: signals pending for the thread; a fatal signal to a process shows up as
 * SIGKILL pending in each of its threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "private.h"

bool fusefs_caller_dying(pid_t tid)
{
	char path[64];
	char text[4096];
	static const char key[] = "\nSigPnd:";

	if (tid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT; /* no such thread any more */
	ssize_t n = read(fd, text, sizeof(text) - 1);
	int err = errno;
	close(fd);
	if (n < 0)
		return err == ESRCH;
	text[n] = '\0';

	const char *at = strstr(text, key);
	if (!at)
		return false;
	unsigned long long pending = strtoull(at + strlen(key), NULL, 16);
	return pending & (1ULL << (SIGKILL - 1));
}
