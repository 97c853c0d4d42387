/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Was a value that equals ssh's default set? `ssh -G` does not tell, but the first value of a keyword
 * wins: a file that includes the user's and ends with a value nobody would choose shows it.
 * Room: ssh. Thread: the caller's, before any other. Blocks: as config_run().
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config_parts.h"
#include "util/buf.h"
#include "util/log.h"

#define NOT_SET "2000000011" /* seconds, or a count; below INT_MAX */

/* The files that ssh would read. False when there are none, or one whose name Include would take
 * for a pattern. */
static bool add_includes(struct buf *text, const char *config_file)
{
	char *path;
	bool plain;

	if (!config_file) {
		buf_add_str(text, "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n");
		return true;
	}
	path = strcasecmp(config_file, "none") == 0 ? NULL : realpath(config_file, NULL);
	if (!path)
		return false;
	plain = !strpbrk(path, "*?[\\\"\n");
	buf_addf(text, "Include \"%s\"\n", path);
	free(path);
	return plain;
}

/* A file without a name. Return: its descriptor, -1 when there is none. */
static int make_file(const struct ssh_request *req)
{
	struct buf text = BUF_INIT;
	int fd = -1;

	if (add_includes(&text, req->config_file)) {
		buf_add_str(&text,
		            "ServerAliveInterval " NOT_SET "\nServerAliveCountMax " NOT_SET "\n");
		fd = memfd_create("ssh_config", MFD_CLOEXEC);
	}
	if (fd >= 0 &&
	    (buf_failed(&text) || write(fd, text.bytes, text.len) != (ssize_t)text.len)) {
		close(fd);
		fd = -1;
	}
	buf_finish(&text);
	return fd;
}

int config_run_set(const struct ssh_request *req, struct config_lines *lines)
{
	struct config_lines all = {0};
	struct ssh_request again = *req;
	struct link_error err = {0};
	char path[64];
	int fd = make_file(req);
	int rc;

	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	again.config_file = path;
	rc = config_run(&again, false, &all, &err);
	close(fd);
	/* What it includes must belong to the user or root, which -F does not ask for. */
	if (rc && rc != -ENOMEM) {
		log_verbose(LOG_SSH, "whether life signs are configured is not known: %s",
		            err.text);
		rc = 0;
	}
	for (size_t i = 0; !rc && i < all.keys.count; i++) {
		if (strncmp(all.keys.at[i], "serveralive", 11) != 0 ||
		    strcmp(all.values.at[i], NOT_SET) == 0)
			continue;
		rc = strings_add(&lines->keys, all.keys.at[i]);
		if (!rc)
			rc = strings_add(&lines->values, all.values.at[i]);
	}
	config_lines_finish(&all);
	return rc;
}
