/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection over a plain byte pipe to one SFTP server: a child process (`ssh_command=`), a TCP
 * socket (`directport=`), AF_VSOCK (`vsock=`) or descriptors we were given (`passive`).
 *
 * Contract: sftp/link.h, with one lane and no probes of its own. What the server says before that
 * is open waits for it. Nothing is verified or encrypted here: that is the business of whatever
 * carries the pipe.
 * Every function returns NULL when out of memory or descriptors; arguments are copied.
 */
#ifndef SSH_PIPE_LINK_H
#define SSH_PIPE_LINK_H

#include <stdint.h>

#include "sftp/link.h"

/*
 * Runs argv[0] (looked up in PATH) with its standard input and output as the pipe. Its standard
 * error is shown to the user until the first packet has come, and the last lines of it are part
 * of the error text when it ends before that. Killed and waited for on reset.
 */
struct link *pipe_link_create_command(char *const argv[]);

/* Connects to a port, trying every address of `host` in turn; TCP_NODELAY. */
struct link *pipe_link_create_tcp(const char *host, uint16_t port);

struct link *pipe_link_create_vsock(uint32_t cid, uint32_t port);

/* Takes over two descriptors, which may be the same. Cannot reconnect: `down` comes again. */
struct link *pipe_link_create_fds(int in, int out);

#endif
