/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link in memory whose one lane is the server's shell: the test reads what was said to it and says
 * anything as the server.
 */
#ifndef TEST_UNIT_RAW_LINK_H
#define TEST_UNIT_RAW_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scp/shell.h"
#include "sftp/link.h"
#include "util/buf.h"
#include "util/timer.h"

struct raw_link {
	struct link link;
	struct clock clock;
	struct scp_shell *shell;
	struct backend *be;
	uint32_t lane; /* 0: none open */
	bool connecting;
	bool connected;
	bool reset;      /* the client has given the connection up */
	struct buf sent; /* by the client, since raw_clear() */

	/* What `started` was told. */
	unsigned started_count;
	enum link_fail fail;
	char root[256];
};

/* Connects and opens the lane; the script was sent, the greeting is owed. */
void raw_start(struct raw_link *r, const char *root);

/* The greeting and a good look at the root "/r": requests may be made. */
void raw_greet(struct raw_link *r);

/* The server says these bytes, in pieces. Stops when the client gives up. */
void raw_say(struct raw_link *r, const void *bytes, size_t len, size_t piece);

/* The connection breaks; the client connects again and the look at the root is good once more. */
void raw_cut(struct raw_link *r);

void raw_clear(struct raw_link *r);

/* Ends the client: everything that waits is answered. */
void raw_finish(struct raw_link *r);

#endif
