/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the subcommands (`sftpfs status MOUNTPOINT`, ...) say to a running mount: ioctls on its root
 * directory. Served by the loop without a look at the server, so they work while it is silent. And
 * one on a file, which asks the server.
 *
 * Only the mounting user gets this far: the kernel refuses everyone else unless allow_other is set,
 * and changes are refused to others even then.
 */
#ifndef FUSE_CONTROL_H
#define FUSE_CONTROL_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "util/sha256.h"

/*
 * How the root is opened for these ioctls. A plain open of a directory asks the server; O_APPEND,
 * which means nothing for a directory, tells ours that it need not.
 */
#define CONTROL_OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_APPEND | O_CLOEXEC)

#define CONTROL_MAGIC 0x53465450u /* "SFTP" */

struct control_status {
	uint32_t magic;  /* CONTROL_MAGIC: this really is one of our mounts */
	int32_t pid;     /* of the daemon, in the daemon's own pid namespace */
	char json[8184]; /* one object, NUL-terminated */
};

struct control_hello {
	uint32_t magic; /* CONTROL_MAGIC */
	int32_t pid;
};

/* Counters and the state of the connection. */
#define CONTROL_STATUS _IOR('s', 0x51, struct control_status)

/* Who serves this mount? The first call of every subcommand. */
#define CONTROL_HELLO _IOR('s', 0x52, struct control_hello)

/* Connect again now, also after a refused login. */
#define CONTROL_RECONNECT _IO('s', 0x53)

struct control_hash {
	uint8_t sha256[SHA256_LEN];
};

/* Of any file: the server's own hash of it. */
#define CONTROL_HASH _IOR('s', 0x55, struct control_hash)

/* Answer everything that waits, before the machine sleeps. */
#define CONTROL_QUIESCE _IO('s', 0x54)

#endif
