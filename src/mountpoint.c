/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks of the directory to mount on. What is mounted is read from the kernel's table first,
 * because looking at a dead or silent mount fails or hangs.
 * Spec: proc(5), mountinfo.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mountpoint.h"

/* mountinfo writes blanks and backslashes as octal escapes. In place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Fields of one line: id, parent, device, root, mount point, options, tags..., -, type, source. */
static bool parse_line(char *line, char **place, char **type)
{
	char *save;
	char *field = strtok_r(line, " \n", &save);

	for (int i = 1; field && i < 5; i++)
		field = strtok_r(NULL, " \n", &save);
	*place = field;
	while (field && strcmp(field, "-") != 0)
		field = strtok_r(NULL, " \n", &save);
	*type = field ? strtok_r(NULL, " \n", &save) : NULL;
	return *type != NULL;
}

char *mountpoint_type(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	char *found = NULL;

	while (f && getline(&line, &size, f) > 0) {
		char *place, *type;

		if (!parse_line(line, &place, &type))
			continue;
		unescape(place);
		if (strcmp(place, path) == 0) {
			free(found); /* the last one covers the others */
			found = strdup(type);
		}
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* Does process `pid` have a filesystem of that device in its table of mounts? */
static bool has_mount(long pid, unsigned major, unsigned minor)
{
	char path[64], *line = NULL;
	size_t size = 0;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%ld/mountinfo", pid);
	FILE *f = fopen(path, "re");
	while (f && !found && getline(&line, &size, f) > 0) {
		unsigned dev[2];

		found = sscanf(line, "%*u %*u %u:%u", &dev[0], &dev[1]) == 2 && dev[0] == major &&
		        dev[1] == minor;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static void process_name(long pid, char *name, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	FILE *f = fopen(path, "re");
	if (!f || !fgets(name, (int)size, f))
		name[0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	if (f)
		fclose(f);
}

pid_t mountpoint_holder(unsigned major, unsigned minor, char *name, size_t name_size)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	long found = 0;

	while (proc && !found && (entry = readdir(proc))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid > 0 && !*end && has_mount(pid, major, minor))
			found = pid;
	}
	if (proc)
		closedir(proc);
	if (found)
		process_name(found, name, name_size);
	return (pid_t)found;
}

char *mountpoint_resolve_parent(const char *path)
{
	char *copy = strdup(path);
	char *result = NULL;

	if (!copy)
		return NULL;
	size_t len = strlen(copy);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';

	char *slash = strrchr(copy, '/');
	const char *last = slash ? slash + 1 : copy;
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
		result = realpath(copy, NULL);
	} else {
		char *parent;

		if (!slash) {
			parent = realpath(".", NULL);
		} else if (slash == copy) {
			parent = strdup("/");
		} else {
			*slash = '\0';
			parent = realpath(copy, NULL);
		}
		if (parent &&
		    asprintf(&result, "%s/%s", strcmp(parent, "/") ? parent : "", last) < 0)
			result = NULL;
		free(parent);
	}
	free(copy);
	return result;
}

static bool is_fuse(const char *type)
{
	return type && (strcmp(type, "fuse") == 0 || strncmp(type, "fuse.", 5) == 0);
}

/* Refuses a place where something of FUSE is mounted, alive or dead. */
static bool busy(const char *path, char *err, size_t err_size)
{
	char *type = mountpoint_type(path);
	bool is_busy = is_fuse(type);

	if (is_busy)
		snprintf(err, err_size,
		         "'%s' is a busy mount point, %s is mounted there; "
		         "unmount it first: fusermount3 -u '%s'",
		         path, type, path);
	free(type);
	return is_busy;
}

static const char *cause(int error)
{
	switch (error) {
	case ENOENT:
		return "does not exist; create it first";
	case ENOTDIR:
		return "is not a directory; choose another mount point";
	case ENOTCONN:
		return "is a dead mount; unmount it first with fusermount3 -u";
	default:
		return NULL;
	}
}

char *mountpoint_check(const char *path, char *err, size_t err_size)
{
	struct stat st;

	if (strncmp(path, "/dev/fd/", 8) == 0)
		return strdup(path);

	char *textual = mountpoint_resolve_parent(path);
	if (textual && busy(textual, err, err_size)) {
		free(textual);
		return NULL;
	}
	free(textual);

	char *real = realpath(path, NULL);
	int error = real && stat(real, &st) == 0 ? 0 : errno;
	if (!error && !S_ISDIR(st.st_mode))
		error = ENOTDIR;
	if (!error && busy(real, err, err_size)) {
		free(real);
		return NULL;
	}
	if (!error && getuid() != 0 && access(real, W_OK) != 0)
		error = errno;
	if (error) {
		const char *text = cause(error);

		if (text)
			snprintf(err, err_size, "mount point '%s' %s", path, text);
		else if (error == EACCES)
			snprintf(err, err_size,
			         "no permission to mount on '%s'; it must be writable for you",
			         path);
		else
			snprintf(err, err_size, "mount point '%s': %s", path, strerror(error));
		free(real);
		return NULL;
	}
	return real;
}

bool mountpoint_contains(const char *mountpoint, const char *file)
{
	char *absolute = mountpoint_resolve_parent(file);
	size_t len = strlen(mountpoint);
	bool inside = absolute && strncmp(absolute, mountpoint, len) == 0 && absolute[len] == '/';

	free(absolute);
	return inside;
}
