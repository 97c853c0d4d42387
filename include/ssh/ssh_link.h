/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection over SSH: libssh session, host key check, login, and lanes that are its channels.
 *
 * Contract: sftp/link.h. Before link_start() connecting may block inside link_step() and may
 * prompt on the terminal. The descriptor of standard input is read once if password_stdin is set.
 * It carries eight lanes. When OpenSSH has granted the first one, up to five channels more are opened
 * without a program behind them, as far as the eight go: a lane that takes one costs a round trip less.
 * Blocks: link_destroy() waits for the connection's thread (at most a second or so).
 */
#ifndef SSH_SSH_LINK_H
#define SSH_SSH_LINK_H

#include "sftp/link.h"
#include "ssh/config.h"

/*
 * Takes over the contents of `cfg`, which is empty afterwards (ssh_config_finish() stays
 * harmless), also on failure. Set events and call link_connect() next.
 * Return: the link, to be ended with link_destroy(); NULL when out of memory or descriptors.
 */
struct link *ssh_link_create(struct ssh_config *cfg);

/*
 * A further link to the server of `first`, from ssh_link_create(), with what its login was given: it
 * never prompts. `first` lives longer. Call link_connect() only while `first` is up, and not while
 * another such link is connecting: what they share has no lock.
 * Return: as ssh_link_create().
 */
struct link *ssh_link_create_more(struct link *first);

/* One line about the libraries in use: "libssh 0.10.6, OpenSSL 3.0.17". Static storage. */
const char *ssh_link_version(void);

#endif
