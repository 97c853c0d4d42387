/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sftpfs-model: does random things to files of a directory and compares them with a model in
 * memory.
 *
 *     sftpfs-model [--seed N] [--ops N] [--size BYTES] [--files N] [--check N] [--direct] [--peer
 * DIR]
 *                  [--only NAME,...] [--without NAME,...] [--timeout S] [--fault N] DIRECTORY
 *
 *     --seed N       the same seed does the same things; without it one is made up. It is printed
 * first
 *     --ops N        how many operations (10000)
 *     --size BYTES   greatest size of a file (1048576)
 *     --length BYTES greatest length of one transfer (262144, or the size)
 *     --files N      how many files (2); copies go between them
 *     --check N      compare everything after every N operations (500), in turn on the open
 * descriptors and after closing them, dropping the pages and opening again
 *     --direct       use O_DIRECT too
 *     --peer DIR     where DIRECTORY is on the server, when it is this machine: after closing,
 * compare there too
 *     --only, --without NAME,...   choose among the operations that --list prints
 *     --timeout S    an operation that takes longer is a failure (120)
 *     --fault N      change a byte behind the test's back after operation N: it must fail
 *     --keep         leave the files there
 *
 * It works in a new directory below DIRECTORY, and leaves that when it fails. Exit code: 0 no
 * difference; 1 a difference or an error, with the last operations on stderr; 2 usage. Other
 * programs must not touch the files meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops.h"
#include "trace.h"

#define FILE_COUNT_MAX 16
#define SIZE_MAX_LEN   ((uint64_t)1 << 30)
#define OPS_MAX        ((1u << 24) - 1) /* what image_pattern() can tell apart */

static struct settings {
	uint64_t seed, ops, size, length, files, check, timeout, fault;
	bool direct, keep;
	const char *peer, *only, *without;
} settings = {
    .ops = 10000, .size = 1 << 20, .length = 256 << 10, .files = 2, .check = 500, .timeout = 120};

static atomic_uint progress;
static char context[512];

static bool in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p != NULL && *p != '\0';
	     p = strchr(p, ',') != NULL ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, name, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

static unsigned int weight_of(const struct operation *o)
{
	if (settings.only != NULL && !in_list(settings.only, o->name))
		return 0;
	return in_list(settings.without, o->name) ? 0 : o->weight;
}

static const struct operation *pick_operation(struct run *r, unsigned int total)
{
	uint64_t n = random_below(&r->random, total);

	for (unsigned int i = 0; i < operation_count; i++) {
		if (n < weight_of(&operations[i]))
			return &operations[i];
		n -= weight_of(&operations[i]);
	}
	return &operations[0];
}

static int usage(const char *why)
{
	fprintf(stderr,
	        "sftpfs-model: %s\nusage: sftpfs-model [--seed N] [--ops N] [--size BYTES] ... "
	        "DIRECTORY\n",
	        why);
	return 2;
}

static bool parse(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *value >= min &&
	       *value <= max;
}

static int list_operations(void)
{
	for (unsigned int i = 0; i < operation_count; i++)
		printf("%s %u\n", operations[i].name, operations[i].weight);
	return 0;
}

/* A system call that waits for a dead mount cannot be interrupted, but a thread beside it can end
 * the process. */
static void *watch(void *arg)
{
	unsigned int seen = 0, quiet = 0;

	(void)arg;
	for (;;) {
		unsigned int now = atomic_load(&progress);

		quiet = now == seen ? quiet + 1 : 0;
		seen = now;
		if (quiet >= settings.timeout)
			trace_fail("operation %u: no end after %u s", now, quiet);
		sleep(1);
	}
	return NULL;
}

static void on_bus_error(int signal_number)
{
	(void)signal_number;
	trace_fail("SIGBUS: a mapped page could not be read");
}

static void inject_fault(struct run *r)
{
	struct subject *s = &r->files[0];
	size_t off = (size_t)random_below(&r->random, s->image.len);
	unsigned char byte = s->image.data[off] ^ 1;

	if (s->image.len == 0) {
		settings.fault++; /* later, then */
		return;
	}
	if (pwrite(s->fd[0], &byte, 1, (off_t)off) != 1)
		trace_fail_errno("injecting a fault at %zu", off);
	fprintf(stderr, "fault: one bit at offset %zu of file 0 after operation %u\n", off, r->op);
}

static void check_all(struct run *r)
{
	bool cold = r->op / settings.check % 2 == 0;

	trace_add(r->op, "compare everything%s", cold ? ", closed and opened again" : "");
	for (unsigned int i = 0; i < r->file_count; i++) {
		struct subject *s = &r->files[i];

		if (cold)
			subject_check_cold(s, r->buf, r->len_max);
		else
			subject_check_all(&s->image, s->fd[0], r->buf, r->len_max,
			                  "comparison of everything");
		subject_check_size(s);
		if (s->ghost >= 0)
			subject_check_all(&s->ghost_image, s->ghost, r->buf, r->len_max,
			                  "replaced file");
	}
}

static void operate(struct run *r)
{
	unsigned int total = 0;

	for (unsigned int i = 0; i < operation_count; i++)
		total += weight_of(&operations[i]);
	for (r->op = 1; r->op <= settings.ops; r->op++) {
		struct subject *s = &r->files[random_below(&r->random, r->file_count)];

		atomic_store(&progress, r->op);
		pick_operation(r, total)->fn(r, s);
		if (r->op == settings.fault)
			inject_fault(r);
		if (r->op % settings.check == 0)
			check_all(r);
	}
	for (unsigned int i = 0; i < r->file_count; i++)
		subject_check_cold(&r->files[i], r->buf, r->len_max);
}

/* Return: 0, or -EINVAL after usage() said why. */
static int parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"seed", required_argument, NULL, 's'},
	    {"ops", required_argument, NULL, 'o'},
	    {"size", required_argument, NULL, 'z'},
	    {"length", required_argument, NULL, 'l'},
	    {"files", required_argument, NULL, 'f'},
	    {"check", required_argument, NULL, 'c'},
	    {"timeout", required_argument, NULL, 't'},
	    {"fault", required_argument, NULL, 'F'},
	    {"direct", no_argument, NULL, 'd'},
	    {"keep", no_argument, NULL, 'k'},
	    {"peer", required_argument, NULL, 'p'},
	    {"only", required_argument, NULL, 'y'},
	    {"without", required_argument, NULL, 'n'},
	    {"list", no_argument, NULL, 'L'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		bool good = true;

		switch (c) {
		case 's':
			good = parse(optarg, 0, UINT64_MAX, &settings.seed);
			break;
		case 'o':
			good = parse(optarg, 1, OPS_MAX, &settings.ops);
			break;
		case 'z':
			good = parse(optarg, SUBJECT_ALIGN, SIZE_MAX_LEN, &settings.size);
			break;
		case 'l':
			good = parse(optarg, SUBJECT_ALIGN, SIZE_MAX_LEN, &settings.length);
			break;
		case 'f':
			good = parse(optarg, 1, FILE_COUNT_MAX, &settings.files);
			break;
		case 'c':
			good = parse(optarg, 1, OPS_MAX, &settings.check);
			break;
		case 't':
			good = parse(optarg, 1, 86400, &settings.timeout);
			break;
		case 'F':
			good = parse(optarg, 1, OPS_MAX, &settings.fault);
			break;
		case 'd':
			settings.direct = true;
			break;
		case 'k':
			settings.keep = true;
			break;
		case 'p':
			settings.peer = optarg;
			break;
		case 'y':
			settings.only = optarg;
			break;
		case 'n':
			settings.without = optarg;
			break;
		case 'L':
			exit(list_operations());
		default:
			good = false;
		}
		if (!good) {
			usage(optarg != NULL ? optarg : "unknown option");
			return -EINVAL;
		}
	}
	if (settings.seed == 0) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		settings.seed = random_mix((uint64_t)now.tv_sec ^ (uint64_t)now.tv_nsec << 32 ^
		                           (uint64_t)getpid()) >>
		                32;
	}
	return 0;
}

/* The command line that does it again. */
static void describe(int argc, char **argv)
{
	size_t len;

	snprintf(context, sizeof(context), "--seed %ju", (uintmax_t)settings.seed);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--seed") == 0) {
			i++;
			continue;
		}
		if (strncmp(argv[i], "--seed=", strlen("--seed=")) == 0)
			continue;
		len = strlen(context);
		snprintf(context + len, sizeof(context) - len, " %s", argv[i]);
	}
	printf("sftpfs-model %s\n", context);
	fflush(stdout);
	trace_begin(context);
}

int main(int argc, char **argv)
{
	static struct subject files[FILE_COUNT_MAX];
	char dir[PATH_MAX - 64], peer[PATH_MAX - 64], *given;
	struct run run = {.files = files};
	pthread_t watcher;

	/* getopt moves the words around; the originals are needed for the report. */
	given = NULL;
	{
		char **words = calloc((size_t)argc + 1, sizeof(*words));

		if (words == NULL)
			return 2;
		memcpy(words, argv, (size_t)argc * sizeof(*words));
		if (parse_options(argc, argv) != 0)
			return 2;
		if (optind != argc - 1)
			return usage("one directory is needed");
		given = argv[optind];
		describe(argc, words);
		free(words);
	}
	if (settings.length > settings.size)
		settings.length = settings.size;
	snprintf(dir, sizeof(dir), "%s/model-%jx-XXXXXX", given, (uintmax_t)settings.seed);
	if (mkdtemp(dir) == NULL) {
		perror(dir);
		return 1;
	}
	if (settings.peer != NULL)
		snprintf(peer, sizeof(peer), "%s/%s", settings.peer, strrchr(dir, '/') + 1);
	run.random.state = settings.seed;
	run.file_count = (unsigned int)settings.files;
	run.len_max = (size_t)settings.length;
	run.direct = settings.direct;
	if (posix_memalign((void **)&run.buf, SUBJECT_ALIGN, run.len_max) != 0)
		return 1;
	signal(SIGBUS, on_bus_error);
	if (pthread_create(&watcher, NULL, watch, NULL) != 0)
		return 1;
	for (unsigned int i = 0; i < run.file_count; i++)
		subject_create(&files[i], dir, settings.peer != NULL ? peer : NULL, i,
		               (size_t)settings.size);
	operate(&run);
	for (unsigned int i = 0; i < run.file_count; i++)
		subject_destroy(&files[i], settings.keep);
	if (!settings.keep && rmdir(dir) != 0)
		trace_fail_errno("rmdir %s", dir);
	free(run.buf);
	printf("%ju operations, no difference%s\n", (uintmax_t)settings.ops,
	       run.no_copy ? " (no copy_file_range)" : "");
	return 0;
}
