/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fuzz target exports: libFuzzer's entry point, which replay.c calls too. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Return: 0. A finding is a crash, of the sanitizers or of FUZZ_ASSERT(). */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Unlike assert(), also there in a release build. */
#define FUZZ_ASSERT(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
