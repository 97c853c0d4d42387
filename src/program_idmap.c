/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idmap=: the table of owners, from the login, from files, or from the names of this host. Made
 * before the mount, because asking for names of this host may block. Thread: the main one.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"
#include "util/log.h"
#include "util/num.h"
#include "vfs/idmap.h"

#define ID_MAX 4294967294u /* the last but one: (uid_t)-1 is no user */

static int local_id(enum idmap_side side, const char *name, uint32_t *id)
{
	const struct passwd *user = side == IDMAP_USERS ? getpwnam(name) : NULL;
	const struct group *group = side == IDMAP_GROUPS ? getgrnam(name) : NULL;

	if (!user && !group)
		return -ENOENT;
	*id = user ? user->pw_uid : group->gr_gid;
	return 0;
}

/* "name:id", or a line of passwd(5) or group(5), whose third field it is. */
static int add_line(struct idmap *m, enum idmap_side side, char *line)
{
	char *name = strsep(&line, ":"), *id = strsep(&line, ":");
	uint64_t remote;
	uint32_t local;

	if (line)
		id = strsep(&line, ":");
	if (!id || !name[0] || num_parse_u64(id, 10, 0, ID_MAX, &remote) != 0)
		return -EINVAL;
	if (local_id(side, name, &local) != 0) {
		log_debug(LOG_MAIN, "idmap: this host has no '%s'", name);
		return 0;
	}
	return idmap_pair(m, side, (uint32_t)remote, local);
}

static int fail(struct program *p, const char *path, const char *why)
{
	snprintf(p->error.text, sizeof(p->error.text),
	         "cannot use '%s': %s; check uidfile and gidfile", path, why);
	return PROGRAM_EXIT_USAGE;
}

static int read_lines(struct program *p, struct idmap *m, enum idmap_side side, const char *path,
                      FILE *from)
{
	char *line = NULL, where[64];
	size_t size = 0;
	int r = 0;

	for (unsigned number = 1; r == 0 && getline(&line, &size, from) >= 0; number++) {
		line[strcspn(line, "\r\n")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		snprintf(where, sizeof(where), "line %u is not NAME:NUMBER", number);
		if (add_line(m, side, line) != 0)
			r = fail(p, path, where);
	}
	free(line);
	return r;
}

/* Whoever can write the file decides whose the files are: nobody else may. */
static int read_file(struct program *p, struct idmap *m, enum idmap_side side, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	FILE *from = fd >= 0 ? fdopen(fd, "r") : NULL;
	struct stat st;
	int r;

	if (!from || fstat(fd, &st) != 0) {
		r = fail(p, path, strerror(errno));
		if (!from && fd >= 0)
			close(fd);
	} else if ((st.st_uid != getuid() && st.st_uid != 0) || (st.st_mode & 022)) {
		r = fail(
		    p, path,
		    "it must belong to you and be writable by nobody else (chown, chmod go-w)");
	} else {
		r = read_lines(p, m, side, path, from);
	}
	if (from)
		fclose(from);
	return r;
}

static int add_names_of_host(struct idmap *m)
{
	const struct passwd *user;
	const struct group *group;
	int r = 0;

	setpwent();
	while (r == 0 && (user = getpwent()) != NULL)
		r = idmap_local_name(m, IDMAP_USERS, user->pw_name, user->pw_uid);
	endpwent();
	setgrent();
	while (r == 0 && (group = getgrent()) != NULL)
		r = idmap_local_name(m, IDMAP_GROUPS, group->gr_name, group->gr_gid);
	endgrent();
	/* Directories that do not enumerate still know who asks. */
	user = getpwuid(getuid());
	if (r == 0 && user)
		r = idmap_local_name(m, IDMAP_USERS, user->pw_name, user->pw_uid);
	group = getgrgid(getgid());
	if (r == 0 && group)
		r = idmap_local_name(m, IDMAP_GROUPS, group->gr_name, group->gr_gid);
	return r;
}

int program_idmap_login(struct program *p, const struct be_attr *login)
{
	const struct options *o = p->options;
	int r = 0;

	if ((o->idmap == OPTIONS_IDMAP_USER || o->idmap == OPTIONS_IDMAP_ALL) &&
	    (login->valid & BE_ATTR_OWNER)) {
		r = idmap_pair(p->idmap, IDMAP_USERS, login->uid, getuid());
		if (r == 0)
			r = idmap_pair(p->idmap, IDMAP_GROUPS, login->gid, getgid());
	}
	return r;
}

static int fill(struct program *p, struct idmap *m, const struct be_attr *login)
{
	const struct options *o = p->options;
	int r = 0;

	switch ((enum options_idmap)o->idmap) {
	case OPTIONS_IDMAP_NONE:
		break;
	case OPTIONS_IDMAP_ALL:
		idmap_squash(m, IDMAP_USERS, getuid());
		idmap_squash(m, IDMAP_GROUPS, getgid());
		/* fallthrough */
	case OPTIONS_IDMAP_USER:
		r = program_idmap_login(p, login);
		break;
	case OPTIONS_IDMAP_FILE:
		if (o->uid_file)
			r = read_file(p, m, IDMAP_USERS, o->uid_file);
		if (r == 0 && o->gid_file)
			r = read_file(p, m, IDMAP_GROUPS, o->gid_file);
		break;
	case OPTIONS_IDMAP_NAME:
		r = add_names_of_host(m);
		break;
	}
	return r;
}

int program_idmap(struct program *p, const struct be_attr *login)
{
	const struct options *o = p->options;
	enum idmap_kind kind = o->idmap == OPTIONS_IDMAP_NAME  ? IDMAP_NAME
	                       : o->idmap == OPTIONS_IDMAP_ALL ? IDMAP_ALL
	                                                       : IDMAP_TABLE;
	int r;

	if (o->idmap == OPTIONS_IDMAP_NONE)
		return 0;
	p->idmap = idmap_create(kind, o->idmap == OPTIONS_IDMAP_FILE && o->nomap == 1);
	r = p->idmap ? fill(p, p->idmap, login) : -ENOMEM;
	if (r < 0) {
		snprintf(p->error.text, sizeof(p->error.text), "out of memory");
		r = PROGRAM_EXIT_USAGE;
	}
	return r;
}
