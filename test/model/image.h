/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a file must contain. Every write has its own bytes: each aligned word of 8 bytes says which
 * operation wrote it and for which offset, so that wrong bytes tell where they come from.
 */
#ifndef MODEL_IMAGE_H
#define MODEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct image {
	unsigned char *data; /* len_max bytes; 0 from len on */
	size_t len, len_max;
};

/* Return: 0, or -ENOMEM. */
int image_init(struct image *im, size_t len_max);
void image_finish(struct image *im);

/* The bytes that operation `op` (below 2^24) writes at off. */
void image_pattern(unsigned char *buf, size_t off, size_t len, uint32_t op);

/* Put bytes at off; the file grows to off + len if it was shorter. */
void image_write(struct image *im, size_t off, const unsigned char *buf, size_t len);

void image_resize(struct image *im, size_t len);

/* Return: how many of the len bytes at off exist. */
size_t image_available(const struct image *im, size_t off, size_t len);

/* Compare len existing bytes at off with `got`. Return: len when they are equal, else the index of
 * the first that differs. */
size_t image_compare(const struct image *im, size_t off, const unsigned char *got, size_t len);

/* Tell, for people, how `got` (len existing bytes at off) differs. */
void image_explain(const struct image *im, size_t off, const unsigned char *got, size_t len,
                   FILE *out);

#endif
