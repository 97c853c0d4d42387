/* SPDX-License-Identifier: BSD-2-Clause */
/* Subcommands that speak to a running mount: status, umount, reconnect, quiesce. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>

/* Is this command line a subcommand, and not a mount point that is called like one? */
bool command_is(int argc, char *const argv[]);

/* Runs it. Return: an exit code; reasons are on stderr. Blocks: until the mount has answered. */
int command_run(int argc, char *const argv[]);

#endif
