/* SPDX-License-Identifier: BSD-2-Clause */
/* The operations of the random test. Each does something to real files, the same to their images,
 * and compares. */
#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "random.h"
#include "subject.h"

#define OPS_PAST_END 65536 /* bytes by which a write may begin behind the end of the file */

struct run {
	struct random random;
	uint32_t op; /* number of the present operation, from 1 */
	struct subject *files;
	unsigned int file_count;
	size_t len_max;     /* bytes of one transfer */
	unsigned char *buf; /* len_max bytes, aligned to SUBJECT_ALIGN */
	bool direct;        /* use O_DIRECT too */
	bool no_copy;       /* this filesystem has no copy_file_range */
};

struct operation {
	const char *name;
	unsigned int weight;
	void (*fn)(struct run *r, struct subject *s);
};

extern const struct operation operations[];
extern const unsigned int operation_count;

#endif
