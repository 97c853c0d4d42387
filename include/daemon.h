/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Going to the background. The process forks before it connects: the child does all the work, so
 * that processes and threads it starts are its own from the beginning; the parent holds the
 * terminal until the mount is there, or hands on the exit code.
 */
#ifndef DAEMON_H
#define DAEMON_H

/*
 * Forks. In the child: returns. The parent never returns: it exits with 0 when the child calls
 * daemon_background(), else with the child's exit code, and passes on signals meanwhile.
 * Return: 0, or a negative errno when the fork failed.
 */
int daemon_fork(void);

/*
 * Cuts the ties to terminal, working directory and standard streams. Nothing without daemon_fork(),
 * where it only leaves the working directory.
 */
void daemon_background(void);

/* The parent may exit now: the mount is there. Nothing without daemon_fork(). */
void daemon_ready(void);

#endif
