/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An external ssh as a link with several lanes: the first process is a master
 * (ControlMaster) on a socket in a private directory, each further lane a process that goes
 * through it. If the user's configuration names a ControlPath, that one is used as it is.
 * Programs that are not called "ssh", or do not answer `-G`, get one lane; so does ssh where there is
 * no place for the socket, or a further process gets no session.
 *
 * Contract: sftp/link.h, ssh/pipe_link.h.
 * Thread: the caller's, before any other. Blocks: runs `ssh -G` and waits for it.
 */
#ifndef SSH_MUX_LINK_H
#define SSH_MUX_LINK_H

#include <stddef.h>

struct link;

/*
 * `argv` is the whole command line, copied; further options of ssh may be put before
 * argv[options_at].
 * Return: the link, to be ended with link_destroy(); NULL when out of memory or descriptors.
 */
struct link *mux_link_create(char *const argv[], size_t options_at);

#endif
