/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which protocol: SFTP by the subsystem, SFTP by a program on the server, or SCP and a shell. Each
 * is tried on the connection that the one before has left, logged in. Thread: the main one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "scp/spool.h"
#include "util/log.h"

/* Where distributions put it. */
static const char find_sftp_server[] =
    "exec /bin/sh -c 'for s in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server "
    "/usr/libexec/sftp-server /usr/lib/ssh/sftp-server /usr/lib/misc/sftp-server "
    "/usr/lib/sftp-server /usr/local/libexec/sftp-server /usr/local/lib/sftp-server "
    "/opt/libexec/sftp-server /opt/lib/sftp-server; do [ -x \"$s\" ] && exec \"$s\"; done; "
    "exit 127'";

static int no_memory(struct program *p)
{
	p->error.fail = LINK_FAIL_NETWORK;
	snprintf(p->error.text, sizeof(p->error.text), "out of memory");
	return LINK_FAIL_NETWORK;
}

/* Until it works or has failed. */
static void wait_started(struct program *p, bool (*step)(struct program *p))
{
	while (!p->started && step(p))
		;
}

static bool create_sftp(struct program *p, const char *command)
{
	const struct options *o = p->options;
	const struct fxp_config cfg = {
	    .read_len_max = (size_t)o->read_len_max,
	    .write_len_max = (size_t)o->write_len_max,
	    .server_command = command,
	    .reconnect = !o->passive,
	    .delay_connect = o->delay_connect,
	    .probe_interval_ms = 15000,
	    .probe_count_max = 3,
	};

	p->started = false;
	p->error = (struct link_error){0};
	p->fxp = fxp_backend_create(p->link, &cfg, &p->clock, &p->budget, p->dir, !o->no_check_root,
	                            program_started, p);
	if (!p->fxp)
		no_memory(p);
	p->backend = p->fxp ? fxp_backend(p->fxp) : NULL;
	return p->fxp != NULL;
}

/* Return: true when the server speaks SFTP, whatever else may be wrong; p->error tells. */
static bool try_sftp(struct program *p, const char *command, bool (*step)(struct program *p))
{
	if (!create_sftp(p, command))
		return true;
	wait_started(p, step);
	if (!p->started || !p->error.fail || fxp_backend_greeted(p->fxp))
		return true;
	/* Some versions of dropbear drop the connection when a program that they run is not there. */
	return p->error.fail != LINK_FAIL_SFTP && p->error.fail != LINK_FAIL_NETWORK;
}

static void start_shell(struct program *p, bool (*step)(struct program *p))
{
	const struct options *o = p->options;

	p->started = false;
	p->error = (struct link_error){0};
	p->shell = scp_shell_create(p->link, true, &p->clock, p->dir, !o->no_check_root,
	                            program_started, p);
	if (!p->shell)
		no_memory(p);
	else
		wait_started(p, step);
}

/* Once more where the programs that are not there have cost the connection. */
static void try_shell(struct program *p, bool (*step)(struct program *p))
{
	start_shell(p, step);
	if (!p->started || p->error.fail != LINK_FAIL_NETWORK || !scp_share_hold(p->share, true))
		return;
	scp_shell_destroy(p->shell);
	start_shell(p, step);
}

/* The one that has failed goes, the login stays. Return: false when there never was one. */
static bool try_next(struct program *p)
{
	if (!scp_share_hold(p->share, true))
		return false;
	log_info(LOG_MAIN, "transfer: no SFTP by this way: %s", p->error.text);
	fxp_backend_destroy(p->fxp);
	p->fxp = NULL;
	return true;
}

/* Return: the exit code; 0: p->fxp or p->shell works, `why` is for the log. */
static int find_way(struct program *p, bool (*step)(struct program *p), const char **why)
{
	bool others = p->share && p->options->transfer != OPTIONS_TRANSFER_SFTP;

	*why = "by SFTP";
	if (try_sftp(p, NULL, step) || !others || !try_next(p))
		return (int)p->error.fail;
	*why = "by SFTP, through sftp-server: the server has no sftp subsystem";
	if (!p->options->sftp_server && (try_sftp(p, find_sftp_server, step) || !try_next(p)))
		return (int)p->error.fail;
	*why = "contents by SCP, the rest through a shell: the server has no SFTP";
	try_shell(p, step);
	return (int)p->error.fail;
}

static int add_scp(struct program *p)
{
	struct backend *inner = p->shell ? scp_shell_backend(p->shell) : fxp_backend(p->fxp);
	int fd = scp_spool_open_dir();

	if (fd < 0) {
		p->error.fail = LINK_FAIL_SFTP;
		snprintf(p->error.text, sizeof(p->error.text),
		         "no directory for spool files: %s; set TMPDIR", strerror(-fd));
		return LINK_FAIL_SFTP;
	}
	p->scp = scp_backend_create(scp_share_side(p->share), true, inner, &p->clock, fd);
	if (!p->scp)
		return no_memory(p);
	p->backend = scp_backend(p->scp);
	return 0;
}

/* Commands beside SFTP: for the hash of a file. */
static void add_hasher(struct program *p)
{
	if (!p->share || !p->fxp || p->scp)
		return;
	scp_side_hasher_init(&p->hasher, scp_share_side(p->share), p->started, &p->clock);
	fxp_backend_hash_by(p->fxp, &p->hasher.for_sftp);
}

int program_backend_choose(struct program *p, const char *dir, bool (*step)(struct program *p))
{
	const struct options *o = p->options;
	/* A byte pipe is one lane: no command can be run beside it, nor another way be tried. */
	bool ssh = !o->passive && !o->directport && !o->vsock && !o->ssh_command;
	const char *why;
	int r;

	p->dir = dir;
	if (o->transfer == OPTIONS_TRANSFER_SCP && (!ssh || o->delay_connect)) {
		snprintf(
		    p->error.text, sizeof(p->error.text),
		    "transfer=scp needs our own SSH, and to ask the server before the mount; leave "
		    "out ssh_command, directport, vsock, passive and delay_connect");
		return PROGRAM_EXIT_USAGE;
	}
	if (ssh) {
		p->share = scp_share_create(p->link);
		p->link = p->share ? scp_share_main(p->share) : NULL;
		if (!p->share)
			return no_memory(p);
	}
	/* Without a server there is nothing to choose by. */
	if (o->delay_connect) {
		if (!create_sftp(p, NULL))
			return (int)p->error.fail;
		add_hasher(p);
		return 0;
	}
	if (ssh && o->transfer != OPTIONS_TRANSFER_SFTP)
		scp_share_hold(p->share, true);
	r = find_way(p, step, &why);
	if (p->share)
		scp_share_hold(p->share, false);
	if (r || !p->started)
		return r;
	if (p->shell || o->transfer == OPTIONS_TRANSFER_SCP)
		r = add_scp(p);
	add_hasher(p);
	if (p->fxp && p->scp)
		why = "contents by SCP, the rest by SFTP: as asked for";
	log_info(LOG_MAIN, "transfer: %s", why);
	return r;
}

void program_backend_reconnect(struct program *p)
{
	if (p->shell)
		scp_shell_reconnect(p->shell);
	else
		fxp_backend_reconnect(p->fxp);
}

void program_backend_wake(struct program *p)
{
	if (p->shell)
		scp_shell_reconnect(p->shell);
	else
		fxp_backend_wake(p->fxp);
}

void program_backend_stats(struct program *p, struct fxp_stats *out)
{
	if (p->shell)
		scp_shell_stats(p->shell, out);
	else
		fxp_backend_stats(p->fxp, out);
	if (p->scp)
		scp_backend_stats(p->scp, out);
}

void program_backend_destroy(struct program *p)
{
	scp_backend_stop(p->scp);
	scp_shell_destroy(p->shell);
	fxp_backend_destroy(p->fxp);
	if (p->hasher.channels.link)
		scp_side_hasher_finish(&p->hasher);
	if (!p->shell && !p->fxp && !p->share)
		link_destroy(p->link);
	scp_share_destroy(p->share);
	scp_backend_destroy(p->scp);
}
