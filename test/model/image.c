/* SPDX-License-Identifier: BSD-2-Clause */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

#define WORD_LEN    8u
#define OP_SHIFT    40
#define INDEX_MASK  (((uint64_t)1 << OP_SHIFT) - 1)
#define EXPLAIN_MAX 6  /* stretches that are described one by one */
#define EXPLAIN_LEN 16 /* bytes shown of each */

int image_init(struct image *im, size_t len_max)
{
	im->data = calloc(1, len_max);
	im->len = 0;
	im->len_max = len_max;
	return im->data != NULL ? 0 : -ENOMEM;
}

void image_finish(struct image *im)
{
	free(im->data);
	im->data = NULL;
}

/* The low bits are scrambled by the operation, or short writes of two operations would look alike.
 */
static uint64_t word_of(uint64_t op, uint64_t index)
{
	return op << OP_SHIFT | ((index ^ random_mix(op)) & INDEX_MASK);
}

void image_pattern(unsigned char *buf, size_t off, size_t len, uint32_t op)
{
	size_t done = 0;

	while (done < len) {
		uint64_t word = word_of(op, (off + done) / WORD_LEN);
		size_t skip = (off + done) % WORD_LEN;
		size_t n = WORD_LEN - skip < len - done ? WORD_LEN - skip : len - done;

		memcpy(buf + done, (unsigned char *)&word + skip, n);
		done += n;
	}
}

void image_write(struct image *im, size_t off, const unsigned char *buf, size_t len)
{
	memcpy(im->data + off, buf, len);
	if (off + len > im->len)
		im->len = off + len;
}

void image_resize(struct image *im, size_t len)
{
	if (len < im->len)
		memset(im->data + len, 0, im->len - len);
	im->len = len;
}

size_t image_available(const struct image *im, size_t off, size_t len)
{
	if (off >= im->len)
		return 0;
	return len < im->len - off ? len : im->len - off;
}

size_t image_compare(const struct image *im, size_t off, const unsigned char *got, size_t len)
{
	size_t i = 0;

	if (memcmp(im->data + off, got, len) == 0)
		return len;
	while (im->data[off + i] == got[i])
		i++;
	return i;
}

static void print_bytes(const unsigned char *p, size_t len, FILE *out)
{
	for (size_t i = 0; i < len && i < EXPLAIN_LEN; i++)
		fprintf(out, "%02x", p[i]);
	if (len > EXPLAIN_LEN)
		fputs("...", out);
}

/* Where the word that covers off comes from; p and len are the bytes from off on. */
static void print_origin(const unsigned char *p, size_t off, size_t len, FILE *out)
{
	size_t skip = (WORD_LEN - off % WORD_LEN) % WORD_LEN;
	uint64_t word, op, index;

	if (len < skip + WORD_LEN) {
		fputs("(too short to tell)", out);
		return;
	}
	memcpy(&word, p + skip, WORD_LEN);
	op = word >> OP_SHIFT;
	index = (word & INDEX_MASK) ^ (random_mix(op) & INDEX_MASK);
	if (word == 0)
		fputs("(zeros)", out);
	else if (index == (off + skip) / WORD_LEN)
		fprintf(out, "(written here by operation %ju)", (uintmax_t)op);
	else if (index < (uint64_t)1 << 32)
		fprintf(out, "(written by operation %ju for offset %ju)", (uintmax_t)op,
		        (uintmax_t)(index * WORD_LEN));
	else
		fputs("(nobody wrote this)", out);
}

void image_explain(const struct image *im, size_t off, const unsigned char *got, size_t len,
                   FILE *out)
{
	size_t stretches = 0, wrong = 0;

	for (size_t i = 0; i < len; i++) {
		size_t begin = i, end;

		if (im->data[off + i] == got[i])
			continue;
		/* Bytes that happen to be equal do not end a stretch; a whole equal word does. */
		for (end = i + 1; i < len && i < end + WORD_LEN; i++)
			if (im->data[off + i] != got[i])
				end = i + 1;
		i = end;
		wrong += end - begin;
		if (++stretches > EXPLAIN_MAX)
			continue;
		fprintf(out, "  offset %zu to %zu (%zu bytes)\n    expected ", off + begin,
		        off + end, end - begin);
		print_bytes(im->data + off + begin, end - begin, out);
		fputc(' ', out);
		print_origin(im->data + off + begin, off + begin, len - begin, out);
		fputs("\n    got      ", out);
		print_bytes(got + begin, end - begin, out);
		fputc(' ', out);
		print_origin(got + begin, off + begin, len - begin, out);
		fputc('\n', out);
	}
	fprintf(out, "  %zu bytes differ, in %zu stretches\n", wrong, stretches);
}
