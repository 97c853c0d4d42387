/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the bytes of one open file wait: in memory up to a limit, then in an unlinked local file.
 * Sparse: what was never written reads as zeros.
 *
 * Thread: the loop. Blocks: for the local disk, as a page cache does.
 */
#ifndef SCP_SPOOL_H
#define SCP_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#define SCP_SPOOL_MEMORY_LEN (1u << 20) /* larger spools go to a file */

struct scp_spool {
	int dir_fd;     /* of the directory for the file; the caller's */
	int fd;         /* -1: in memory */
	uint8_t *bytes; /* in memory */
	size_t size;    /* allocated */
};

void scp_spool_init(struct scp_spool *s, int dir_fd);
void scp_spool_finish(struct scp_spool *s);

/* Forgets everything. */
void scp_spool_clear(struct scp_spool *s);

/* Return: 0 or a negative errno (-ENOSPC: the local disk is full). */
int scp_spool_write(struct scp_spool *s, uint64_t off, const void *bytes, size_t len);

/* Fills all of `to`. Return: as above. */
int scp_spool_read(struct scp_spool *s, uint64_t off, void *to, size_t len);

/* The bytes are needed no more, and read as zeros from now on. */
void scp_spool_drop(struct scp_spool *s, uint64_t from, uint64_t to);

/*
 * Opens the directory for spools: $TMPDIR, else /var/tmp, else /tmp. To be called before anything is
 * mounted over it. Return: a descriptor or a negative errno.
 */
int scp_spool_open_dir(void);

#endif
