/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a mount: connect, mount, serve, unmount, drain. Holds the rooms together and decides
 * nothing that belongs to one of them.
 *
 * Thread: the main one, which is the loop's. Exit codes: below and enum link_fail.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "fuse/fusefs.h"
#include "options.h"
#include "scp/hasher.h"
#include "scp/scp.h"
#include "scp/share.h"
#include "scp/shell.h"
#include "sftp/sftp.h"
#include "util/data.h"
#include "util/timer.h"
#include "vfs/vfs.h"

enum program_exit {
	PROGRAM_EXIT_OK = 0,
	PROGRAM_EXIT_USAGE = 1,
	/* 2 to 6: enum link_fail */
	PROGRAM_EXIT_MOUNTPOINT = 7,
	PROGRAM_EXIT_UNDELIVERED =
	    9, /* something written could not be delivered after the unmount */
};

struct program {
	const struct options *options;
	const char *mountpoint; /* absolute */

	struct clock clock;
	int64_t mounted_ms;
	struct budget budget;
	struct link
	    *link; /* owned by fxp or shell once that exists, and by share if there is one */
	struct scp_share *share;       /* NULL: SFTP only */
	struct fxp_backend *fxp;       /* this one */
	struct scp_shell *shell;       /* or this one */
	struct scp_backend *scp;       /* contents, over one of them; or NULL */
	struct scp_side_hasher hasher; /* beside fxp without scp; channels.link is NULL: none */
	struct backend *backend;       /* what vfs uses */
	const char *dir;               /* on the server, as asked for */
	struct idmap *idmap;           /* NULL: none */
	struct vfs *vfs;
	struct fusefs *fusefs;
	struct fusefs_control control;

	/* What connecting has found. */
	bool started;
	struct link_error error; /* fail is LINK_FAIL_NONE when all is well */
	char *root;
	struct be_attr root_attr;
	struct be_attr home_attr; /* valid is 0: not known */
	bool home_known;          /* the answer has come, good or bad */

	/* The loop. */
	int epoll_fd, signal_fd;
	int clock_fd;         /* readable when the clock was set, as after a sleep */
	int route_fd;         /* readable when routes change; -1: not to be had */
	int64_t suspended_ms; /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC */
	struct program_rates {
		int64_t since_ms; /* when the present interval began */
		uint64_t read_len, written_len;
		uint64_t read_len_per_s, written_len_per_s; /* of the last one */
	} rates;
	bool unmounted;
	bool drained;
	bool hurry; /* asked a second time to end */
};

/*
 * Connects, logs in and finds the root, in the foreground.
 * Return: an exit code; when not 0 the reason is in p->error.
 * Blocks: for the network and for prompts.
 */
int program_connect(struct program *p);

/* program_idmap.c: makes p->idmap if there is to be one. Return: as program_connect(). */
int program_idmap(struct program *p, const struct be_attr *login);

/* With delay_connect: the login has become known. Return: 0 or -ENOMEM. */
int program_idmap_login(struct program *p, const struct be_attr *login);

/* Makes the filesystem and mounts it. Return: as program_connect(). */
int program_mount(struct program *p);

/* Signals come through a descriptor from here on. Return: 0 or a negative errno. */
int program_loop_init(struct program *p);

/* fxp_started_fn, with the program as its argument. */
void program_started(void *arg, const struct link_error *error, const char *root_path,
                     const struct be_attr *root_attr);

/*
 * program_backend.c: the backend that the options and the server allow, connected, over p->link.
 * Return: as program_connect(). Blocks: for the network.
 */
int program_backend_choose(struct program *p, const char *dir, bool (*step)(struct program *p));
void program_backend_wake(struct program *p);
void program_backend_reconnect(struct program *p);
void program_backend_stats(struct program *p, struct fxp_stats *out);
void program_backend_destroy(struct program *p);

/* Serves until the mount is gone and what is left is delivered. Return: an exit code. */
int program_loop(struct program *p);

void program_finish(struct program *p);

/* In every turn of the loop, which is one with every byte that is moved. */
void program_measure(struct program *p);

/* p->control.status: one JSON object. */
void program_status(void *ctx, char *json, size_t size);

/* The link that the options ask for. Return: an exit code; when not 0 the reason is in *error. */
int program_link(const struct options *o, struct link **out, struct link_error *error);

#endif
