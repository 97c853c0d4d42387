/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drives a fuzz target without libFuzzer: feeds it every file given, or in the directories given,
 * then mutations of each that are the same in every run. An input that crashes the target is left
 * behind in the working directory as crash-<target>.
 *
 *	fuzz_<name> [-n MUTATIONS] FILE|DIRECTORY...
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTATIONS      500                /* runs per file, our choice: well under a second */
#define INPUT_LEN_MAX  (1024 * 1024)      /* bytes; longer files are an error */
#define INPUT_GROW_MAX 64                 /* bytes that one mutation may insert */
#define EDITS_MAX      8                  /* changes in one mutation */
#define SEED           0x5eed5f7c0ffee123 /* any odd constant */

struct input {
	uint8_t *bytes;
	size_t len;
	size_t size;
};

/* For the signal handler: the input that the target is looking at. */
static const uint8_t *running_bytes;
static size_t running_len;
static char crash_path[256];

static unsigned long run_count;

static void save_crash(int sig)
{
	int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

	if (fd >= 0) {
		if (write(fd, running_bytes, running_len) == (ssize_t)running_len) {
			static const char text[] = "the input is in crash-<target>\n";

			if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
				_exit(2);
		}
		close(fd);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

/* xorshift64*: one fixed sequence, on every machine. */
static uint64_t random_state = SEED;

static size_t random_below(size_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1d) >> 16) % limit;
}

/* Runs the target on a block of exactly the input's length, so that a sanitizer sees the end. */
static void run(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy) {
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	if (len)
		memcpy(copy, bytes, len);
	running_bytes = copy;
	running_len = len;
	FUZZ_ASSERT(LLVMFuzzerTestOneInput(copy, len) == 0);
	running_len = 0;
	free(copy);
	run_count++;
}

/* Lengths, counts and types live in integers: values at the borders find more than noise does. */
static void edit_integer(struct input *in)
{
	static const uint32_t borders[] = {0,          1,          0x7f,       0x80,
	                                   0xff,       0x7fff,     0x8000,     0xffff,
	                                   0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
	uint32_t value = borders[random_below(sizeof(borders) / sizeof(borders[0]))];
	size_t off;

	if (in->len < 4)
		return;
	off = random_below(in->len - 3);
	for (size_t i = 0; i < 4; i++)
		in->bytes[off + i] = (uint8_t)(value >> (24 - 8 * i));
}

static void edit_insert(struct input *in)
{
	size_t len = 1 + random_below(INPUT_GROW_MAX), off = random_below(in->len + 1);

	if (in->len + len > in->size)
		return;
	memmove(in->bytes + off + len, in->bytes + off, in->len - off);
	for (size_t i = 0; i < len; i++)
		in->bytes[off + i] = (uint8_t)random_below(256);
	in->len += len;
}

static void edit_remove(struct input *in)
{
	size_t off, len;

	if (in->len == 0)
		return;
	off = random_below(in->len);
	len = 1 + random_below(in->len - off);
	memmove(in->bytes + off, in->bytes + off + len, in->len - off - len);
	in->len -= len;
}

static void edit_repeat(struct input *in)
{
	size_t off, len;

	if (in->len == 0)
		return;
	off = random_below(in->len);
	len = 1 + random_below(in->len - off);
	if (in->len + len > in->size)
		return;
	memmove(in->bytes + off + len, in->bytes + off, in->len - off);
	in->len += len;
}

static void edit(struct input *in)
{
	switch (random_below(7)) {
	case 0:
		if (in->len)
			in->bytes[random_below(in->len)] ^= (uint8_t)(1u << random_below(8));
		break;
	case 1:
		if (in->len)
			in->bytes[random_below(in->len)] = (uint8_t)random_below(256);
		break;
	case 2:
		edit_integer(in);
		break;
	case 3:
		edit_insert(in);
		break;
	case 4:
		edit_remove(in);
		break;
	case 5:
		edit_repeat(in);
		break;
	case 6:
		in->len = random_below(in->len + 1);
		break;
	}
}

/* Return: the file's contents with room to grow; exits when it cannot be read. */
static struct input load(const char *path)
{
	struct input in = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	in.size = INPUT_LEN_MAX + EDITS_MAX * INPUT_GROW_MAX;
	in.bytes = malloc(in.size);
	if (fd >= 0 && in.bytes) {
		do {
			n = read(fd, in.bytes + in.len, INPUT_LEN_MAX - in.len);
			in.len += n > 0 ? (size_t)n : 0;
		} while (n > 0);
	}
	if (n < 0 || in.len == INPUT_LEN_MAX) {
		fprintf(stderr, "%s: %s\n", path, n < 0 ? strerror(errno) : "too long");
		exit(2);
	}
	close(fd);
	return in;
}

static void replay_file(const char *path, unsigned long mutations)
{
	struct input in = load(path), base = in;

	run(in.bytes, in.len);
	base.bytes = malloc(in.len ? in.len : 1);
	if (!base.bytes)
		exit(2);
	memcpy(base.bytes, in.bytes, in.len);
	/* From the same place for each file: a new file does not change what the others test. */
	random_state = SEED;
	for (unsigned long i = 0; i < mutations; i++) {
		size_t edits = 1 + random_below(EDITS_MAX);

		memcpy(in.bytes, base.bytes, base.len);
		in.len = base.len;
		while (edits--)
			edit(&in);
		run(in.bytes, in.len);
	}
	free(base.bytes);
	free(in.bytes);
}

/* Return: how many files there were. */
static unsigned long replay(const char *path, unsigned long mutations)
{
	struct dirent **names;
	unsigned long count = 0;
	struct stat st;
	int n;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path, mutations);
		return 1;
	}
	n = scandir(path, &names, NULL, alphasort);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	for (int i = 0; i < n; i++) {
		char *child;

		if (names[i]->d_name[0] != '.' &&
		    asprintf(&child, "%s/%s", path, names[i]->d_name) >= 0) {
			count += replay(child, mutations);
			free(child);
		}
		free(names[i]);
	}
	free(names);
	return count;
}

int main(int argc, char **argv)
{
	unsigned long mutations = MUTATIONS, count = 0;
	int opt;

	while ((opt = getopt(argc, argv, "n:")) != -1) {
		if (opt != 'n')
			return 2;
		mutations = strtoul(optarg, NULL, 10);
	}
	snprintf(crash_path, sizeof(crash_path), "crash-%s", program_invocation_short_name);
	signal(SIGABRT, save_crash);
#if !defined(__SANITIZE_ADDRESS__)
	/* The sanitizer's own report is better, and it takes these signals for it. */
	signal(SIGSEGV, save_crash);
	signal(SIGBUS, save_crash);
	signal(SIGFPE, save_crash);
#endif
	run(NULL, 0);
	for (; optind < argc; optind++)
		count += replay(argv[optind], mutations);
	printf("%lu files, %lu runs\n", count, run_count);
	/* An empty corpus is a mistake in the build, not a success. */
	return count ? 0 : 1;
}
