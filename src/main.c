/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sftpfs: mounts a remote directory over SFTP. From the command line to the loop and back.
 *
 * Everything that can go wrong before the mount is there goes wrong in the foreground, with one
 * line on stderr and an exit code of its own (program.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "daemon.h"
#include "mountpoint.h"
#include "options.h"
#include "program.h"
#include "ssh/ssh_link.h"
#include "util/log.h"

/* Blocks of file data come from the heap, and as much of it is kept for the next ones: bytes. */
#define HEAP_BLOCK_LEN_MAX (4 << 20)
#define HEAP_KEEP_LEN      (16 << 20)

/*
 * By itself malloc gives the memory of every few blocks back to the kernel, which then clears a page for each 4 KiB
 * of the next ones: 20,000 faults in a read of 256 MiB.
 */
static void keep_heap(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_LEN_MAX);
	mallopt(M_TRIM_THRESHOLD, HEAP_KEEP_LEN);
#endif
}

static int print_version(void)
{
	printf("sftpfs %s\nlibfuse %s, %s\n", SFTPFS_VERSION, fusefs_library_version(),
	       ssh_link_version());
	return 0;
}

/* A descriptor below 3 that is closed would be taken by the first file or socket we open. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static void set_chosen_level(const struct options *o)
{
	int64_t level = o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO + o->verbose_count;

	if (o->log_level)
		log_parse_levels(o->log_level, true);
	else
		log_set_level(level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : (enum log_level)level);
}

/* Return: 0 or an exit code after a line. */
static int start_log(const struct options *o, const char *mountpoint)
{
	bool chosen = o->log_level || o->debug || o->verbose_count || o->foreground;

	/* On the terminal of a mount that goes to the background only what the user must know. */
	if (chosen || o->log_file)
		set_chosen_level(o);
	else
		log_set_level(LOG_LEVEL_ERROR);
	if (!o->log_file)
		return 0;
	if (mountpoint_contains(mountpoint, o->log_file)) {
		fprintf(stderr,
		        "sftpfs: log file '%s' is inside the mount point; choose another "
		        "place\n",
		        o->log_file);
		return PROGRAM_EXIT_USAGE;
	}
	int r = log_to_file(o->log_file);
	if (r) {
		fprintf(stderr, "sftpfs: cannot open log file '%s': %s; choose another place\n",
		        o->log_file, strerror(-r));
		return PROGRAM_EXIT_USAGE;
	}
	return 0;
}

static void log_options(const struct options *o)
{
	for (size_t i = 0; i < o->ignored.count; i++) {
		if (strncmp(o->ignored.at[i], "modules=", 8) == 0)
			log_error(LOG_MAIN,
			          "'%s' is not supported: names pass unchanged, and all of "
			          "the remote directory is shown",
			          o->ignored.at[i]);
		else if (strcmp(o->ignored.at[i], "nosymfollow") == 0)
			log_error(LOG_MAIN,
			          "'nosymfollow' is not supported: symbolic links are followed");
		else
			log_debug(LOG_MAIN, "option '%s' has no meaning here", o->ignored.at[i]);
	}
}

/* The one line about a mount that failed; in a log file as well. */
static void report(const struct program *p)
{
	if (p->options->log_file)
		log_error(LOG_MAIN, "%s: %s", p->options->source, p->error.text);
	fprintf(stderr, "sftpfs: %s: %s\n", p->options->source, p->error.text);
}

static int serve(struct program *p)
{
	const struct options *o = p->options;
	int r = program_loop_init(p);

	daemon_background();
	if (!o->foreground && !o->log_file) {
		log_to_syslog("sftpfs");
		set_chosen_level(o);
	}
	if (r == 0)
		r = link_start(p->link);
	if (r) {
		log_error(LOG_MAIN, "%s: cannot start: %s", o->source, strerror(-r));
		return PROGRAM_EXIT_MOUNTPOINT;
	}
	log_info(LOG_MAIN, "mounted '%s' on '%s'", o->source, p->mountpoint);
	daemon_ready();
	return program_loop(p);
}

static int run(const struct options *o, const char *mountpoint)
{
	struct program p = {
	    .options = o, .mountpoint = mountpoint, .epoll_fd = -1, .signal_fd = -1};

	signal(SIGPIPE, SIG_IGN);
	clock_init(&p.clock);
	clock_read(&p.clock);
	budget_init(&p.budget, (size_t)o->cache_len);

	int r = program_connect(&p);
	if (r == 0)
		r = program_mount(&p);
	if (r == 0)
		r = serve(&p);
	else
		report(&p);
	program_finish(&p);
	return r;
}

static int mount_it(const struct options *o)
{
	char err[512];
	char *mountpoint = mountpoint_check(o->mountpoint, err, sizeof(err));

	if (!mountpoint) {
		fprintf(stderr, "sftpfs: %s: %s\n", o->source, err);
		return PROGRAM_EXIT_MOUNTPOINT;
	}
	int r = start_log(o, mountpoint);
	if (r == 0 && !o->foreground && (r = daemon_fork()) != 0) {
		fprintf(stderr, "sftpfs: %s: cannot fork: %s\n", o->source, strerror(-r));
		r = PROGRAM_EXIT_USAGE;
	}
	if (r == 0) {
		log_options(o);
		r = run(o, mountpoint);
	}
	free(mountpoint);
	return r;
}

int main(int argc, char *argv[])
{
	struct options o;
	char err[512];
	int r;

	fill_standard_descriptors();
	keep_heap();
	if (command_is(argc, argv))
		return command_run(argc, argv);

	if (options_parse(&o, argc, argv, err, sizeof(err)) != 0) {
		fprintf(stderr, "sftpfs: %s; see sftpfs --help\n", err);
		options_finish(&o);
		return PROGRAM_EXIT_USAGE;
	}
	switch (o.action) {
	case OPTIONS_HELP:
		options_print_help(stdout);
		r = 0;
		break;
	case OPTIONS_VERSION:
		r = print_version();
		break;
	case OPTIONS_FAKE:
		r = 0;
		break;
	default:
		r = mount_it(&o);
	}
	options_finish(&o);
	return r;
}
