/* SPDX-License-Identifier: BSD-2-Clause */
/* A file under test: its names, its descriptors, and the image of what it must contain. */
#ifndef MODEL_SUBJECT_H
#define MODEL_SUBJECT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "image.h"

#define SUBJECT_ALIGN 4096 /* bytes, of offsets, lengths and buffers of an O_DIRECT descriptor */

struct subject {
	char path[PATH_MAX], spare_path[PATH_MAX];
	char peer[PATH_MAX]; /* the same file on the server's disk; "" = not known */
	struct image image;
	struct image ghost_image;
	int fd[2];       /* [0] is O_RDWR, [1] anything that can read */
	int flags[2];    /* of open(2) */
	int ghost;       /* the file that was last replaced or removed, still open; -1 = none */
	size_t next_off; /* where the last read or write ended */
};

/* Create the file, empty. Fails the run when that fails; so do all others here. `peer` may be NULL.
 */
void subject_create(struct subject *s, const char *dir, const char *peer, unsigned int number,
                    size_t len_max);

/* Close everything, and remove the file unless `keep`. */
void subject_destroy(struct subject *s, bool keep);

void subject_open(struct subject *s, int which, int flags);
void subject_close(struct subject *s, int which);

/* The name has a new file (empty or not, in place already): what was open becomes the ghost, with
 * the old image. */
void subject_replaced(struct subject *s);
void subject_ghost_close(struct subject *s);

bool subject_writes(const struct subject *s, int which);
bool subject_direct(const struct subject *s, int which);

/*
 * pread(2) until len bytes or the end, and compare with the image; `buf` has len bytes. fd is of
 * that image. A short count in the middle of the file is an error: a filesystem must not do that.
 */
void subject_check_range(const struct image *im, int fd, size_t off, unsigned char *buf, size_t len,
                         const char *what);

/* All of the file through descriptor `fd`, in pieces of buf_len. */
void subject_check_all(const struct image *im, int fd, unsigned char *buf, size_t buf_len,
                       const char *what);

/* st_size by name and by descriptor. */
void subject_check_size(const struct subject *s);

/*
 * What is there when everybody has closed the file and the pages are gone: close both descriptors,
 * compare what the server has, open again, compare, and leave both descriptors open with the flags
 * they had.
 */
void subject_check_cold(struct subject *s, unsigned char *buf, size_t buf_len);

#endif
