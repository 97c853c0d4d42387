/* SPDX-License-Identifier: BSD-2-Clause */
/* From options to a link: SSH of our own, or one of the byte pipes. Thread: the main one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "ssh/mux_link.h"
#include "ssh/pipe_link.h"
#include "ssh/pool_link.h"
#include "ssh/ssh_link.h"

static int set_error(struct link_error *error, enum link_fail cause, const char *text)
{
	error->fail = cause;
	snprintf(error->text, sizeof(error->text), "%s", text);
	return cause == LINK_FAIL_NONE ? PROGRAM_EXIT_USAGE : (int)cause;
}

static struct link *more_ssh(void *arg, struct link *first)
{
	(void)arg;
	return ssh_link_create_more(first);
}

/* Of our options 0 is none, of a request negative; both have a value for "not given". */
static int64_t limit_ms(int64_t given_ms)
{
	return given_ms < 0 ? 0 : given_ms == 0 ? -1 : given_ms;
}

static struct link *ssh_link(const struct options *o, struct link_error *error)
{
	const struct ssh_request req = {
	    .host = o->host,
	    .user = o->user,
	    .port = (unsigned)o->port,
	    .config_file = o->config_file,
	    .keywords = o->keywords.at,
	    .host_keys = o->host_keys.at,
	    .sftp_server = o->sftp_server,
	    .password_stdin = o->password_stdin,
	    .drop_password = !o->keep_password,
	    .proxy = o->proxy,
	    .proxy_password_file = o->proxy_password_file,
	    .bind_port = (unsigned)o->bind_port,
	    .banner_timeout_ms = limit_ms(o->banner_timeout_ms),
	    .login_timeout_ms = limit_ms(o->login_timeout_ms),
	};
	struct ssh_config cfg;

	if (ssh_config_resolve(&req, &cfg, error) != 0)
		return NULL;
	struct link *l = ssh_link_create(&cfg);
	ssh_config_finish(&cfg);
	if (!l || o->max_conns == 1)
		return l;
	return pool_link_create(l, (unsigned)o->max_conns, &(struct pool_source){.more = more_ssh});
}

/*
 * ssh's command line: no forwarding, then what the user gave, then host and server. `options_at` is
 * where the options begin.
 */
static int build_command(const struct options *o, struct options_list *argv, size_t *options_at)
{
	static const char *const fixed[] = {"-x", "-a", "-oClearAllForwardings=yes"};
	bool program = o->sftp_server && strchr(o->sftp_server, '/');
	char *text = NULL;
	int r = options_split_command(o->ssh_command, argv);

	if (r == 0 && argv->count == 0)
		return -EINVAL;
	*options_at = argv->count;
	for (size_t i = 0; r == 0 && i < sizeof(fixed) / sizeof(fixed[0]); i++)
		r = options_list_add(argv, fixed[i]);
	if (r == 0 && o->config_file && asprintf(&text, "-F%s", o->config_file) >= 0) {
		r = options_list_add(argv, text);
		free(text);
	}
	for (size_t i = 0; r == 0 && i < o->keywords.count; i++) {
		if (asprintf(&text, "-o%s", o->keywords.at[i]) < 0)
			return -ENOMEM;
		r = options_list_add(argv, text);
		free(text);
	}
	if (r == 0 && o->port) {
		if (asprintf(&text, "-oPort=%d", (int)o->port) < 0)
			return -ENOMEM;
		r = options_list_add(argv, text);
		free(text);
	}
	if (r == 0 && !program)
		r = options_list_add(argv, "-s");
	if (r == 0)
		r = options_list_add(argv, "--");
	if (r == 0) {
		if (asprintf(&text, "%s%s%s", o->user ? o->user : "", o->user ? "@" : "", o->host) <
		    0)
			return -ENOMEM;
		r = options_list_add(argv, text);
		free(text);
	}
	return r ? r : options_list_add(argv, o->sftp_server ? o->sftp_server : "sftp");
}

static struct link *command_link(const struct options *o, struct link_error *error)
{
	struct options_list argv = {0};
	struct link *l = NULL;
	size_t options_at = 0;
	int r = build_command(o, &argv, &options_at);

	if (r == -EINVAL)
		set_error(error, LINK_FAIL_NONE, "ssh_command is empty; name a program");
	else if (r == 0)
		l = mux_link_create(argv.at, options_at);
	options_list_finish(&argv);
	return l;
}

/* Standard input and output carry SFTP: nothing else may read or write them by accident. */
static struct link *passive_link(void)
{
	int in = fcntl(0, F_DUPFD_CLOEXEC, 3);
	int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, 0);
		dup2(2, 1);
		close(null);
	}
	if (in < 0 || out < 0)
		return NULL;
	return pipe_link_create_fds(in, out);
}

int program_link(const struct options *o, struct link **out, struct link_error *error)
{
	*error = (struct link_error){0};
	if (o->passive)
		*out = passive_link();
	else if (o->ssh_command)
		*out = command_link(o, error);
	else if (o->directport)
		*out = pipe_link_create_tcp(o->host, (uint16_t)o->directport);
	else if (o->vsock)
		*out = pipe_link_create_vsock(o->vsock_cid, o->vsock_port);
	else
		*out = ssh_link(o, error);

	if (*out)
		return 0;
	if (!error->text[0])
		return set_error(error, LINK_FAIL_NETWORK, "out of memory or descriptors");
	return error->fail == LINK_FAIL_NONE ? PROGRAM_EXIT_USAGE : (int)error->fail;
}
