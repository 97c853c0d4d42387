/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server over fake_backend.h with three names, in one directory or two. It carries out calls and answers them
 * at random times: in order for each file and for names, in any order otherwise. And what a test of random
 * things needs besides: numbers that a seed determines, and the story that is told when it fails.
 */
#ifndef TEST_UNIT_RANDOM_SERVER_H
#define TEST_UNIT_RANDOM_SERVER_H

#include <check.h>

#include "fake_backend.h"

#define RANDOM_LEN_MAX    20000 /* of a file */
#define RANDOM_NAME_COUNT 3
#define RANDOM_FILE_MAX   400 /* made in one run, on each side */

extern const char *const random_names[RANDOM_NAME_COUNT];

/* The directory that is there besides the root. */
#define RANDOM_DIR "warm"

/* Is that where the name is? Else it is in the root. */
bool random_is_below(int i);

/* A file, on the server or as the program must see it. */
struct content {
	uint8_t bytes[RANDOM_LEN_MAX];
	size_t len;
	struct be_attr attr; /* mode and times */
	/* The program's only: */
	uint64_t nodeid;
	unsigned version; /* of its size and bytes */
	unsigned open_count;
	unsigned writer_count;
};

enum { RANDOM_SERVER, RANDOM_PROGRAM }; /* whose files */

/* What has which name on the server; NULL: nothing. */
extern struct content *random_files[RANDOM_NAME_COUNT];

/* A new server, and numbers that begin with `seed`. */
void random_begin(uint64_t seed);

struct content *random_content(int side);
void random_resize(struct content *f, size_t len);

/* Something happens on the server or on the way from it, or time passes. */
void random_step(void);

/* The server refuses that one of its changes that comes `after` others; it has done so. */
void random_refuse(unsigned after);
bool random_refused(void);

/* The program has called for a rename of what is now `f`: nothing less may come to be under the new name. */
void random_renamed(int from, int to, const struct content *f);

/* It has been told of a failure: what it called for before may be carried out in part. */
void random_any_rename(void);

unsigned random_below(unsigned bound);
bool random_chance(unsigned percent);

void random_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails the test with the end of the story. */
_Noreturn void random_abort(const char *what);

#define must(what, ...)                                                                            \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			random_tell(__VA_ARGS__);                                                  \
			random_abort(#what);                                                       \
		}                                                                                  \
	} while (0)

#endif
