/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connecting and mounting, in the foreground: no thread exists yet and prompts reach the terminal.
 * Thread: the main one.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "util/log.h"
#include "vfs/idmap.h"

/* How long one step of connecting may wait before signals and timers get their turn. */
#define STEP_MS 100

/* A blocking step (a name server) has this long to notice a signal. */
#define SIGNAL_GRACE_S 2

static volatile sig_atomic_t stopped_by;

static void on_alarm(int sig)
{
	_exit(128 + stopped_by);
}

static void on_stop(int sig)
{
	stopped_by = sig;
	alarm(SIGNAL_GRACE_S);
}

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void catch_signals(bool on)
{
	struct sigaction stop = {.sa_handler = on ? on_stop : SIG_DFL};
	struct sigaction alarmed = {.sa_handler = on ? on_alarm : SIG_DFL};

	sigaction(SIGALRM, &alarmed, NULL);
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++)
		sigaction(stop_signals[i], &stop, NULL);
}

static void step(struct program *p)
{
	int timeout_ms = clock_timeout_ms(&p->clock);

	if (timeout_ms < 0 || timeout_ms > STEP_MS)
		timeout_ms = STEP_MS;
	link_step(p->link, timeout_ms);
	clock_read(&p->clock);
	link_dispatch(p->link);
	clock_run(&p->clock);
}

static const struct be_attr *login_attr(const struct program *p)
{
	return p->home_attr.valid & BE_ATTR_OWNER ? &p->home_attr : &p->root_attr;
}

/* Only root may give files away. */
static bool creates_as_caller(const struct program *p)
{
	const struct options *o = p->options;
	const struct be_attr *login = login_attr(p);

	return o->allow_other && o->create_as == 0 && (login->valid & BE_ATTR_OWNER) &&
	       login->uid == 0;
}

/* delay_connect: the mount has been there for a while. */
static void delayed_start(struct program *p)
{
	p->home_attr = *fxp_backend_home(p->fxp);
	if (program_idmap_login(p, login_attr(p)) != 0)
		log_error(LOG_MAIN, "idmap is not complete: out of memory");
	vfs_create_as_caller(p->vfs, creates_as_caller(p));
}

void program_started(void *arg, const struct link_error *error, const char *root_path,
                     const struct be_attr *root_attr)
{
	struct program *p = arg;

	p->started = true;
	if (error) {
		p->error = *error;
		return;
	}
	if (root_attr)
		p->root_attr = *root_attr;
	if (p->root) {
		delayed_start(p);
		return;
	}
	p->root = strdup(root_path);
	if (!p->root) {
		p->error.fail = LINK_FAIL_SFTP;
		snprintf(p->error.text, sizeof(p->error.text), "out of memory");
	}
}

static void on_home(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct program *p = arg;

	p->home_known = true;
	if (st->code == BE_OK && attr)
		p->home_attr = *attr;
}

/* Some options ask who we are there: the owner of the login directory, as sshfs has it. */
static bool needs_login(const struct options *o)
{
	return o->idmap == OPTIONS_IDMAP_USER || o->idmap == OPTIONS_IDMAP_ALL ||
	       (o->allow_other && o->create_as == 0);
}

static void find_login(struct program *p)
{
	struct backend *be = p->backend;

	if (be->ops->stat(be, ".", true, on_home, p) != 0)
		return;
	while (!p->home_known && !stopped_by && !p->error.fail)
		step(p);
}

static int stopped(struct program *p)
{
	snprintf(p->error.text, sizeof(p->error.text), "interrupted by signal %d", (int)stopped_by);
	return 128 + stopped_by;
}

/* Nobody can be asked what the directory is: below the login directory names stay relative. */
static const char *delayed_dir(const char *dir)
{
	if (strcmp(dir, "~") == 0 || strcmp(dir, "~/") == 0)
		dir = "";
	else if (strncmp(dir, "~/", 2) == 0)
		dir += 2;
	return dir[0] ? dir : ".";
}

static bool go_on(struct program *p)
{
	if (!stopped_by)
		step(p);
	return !stopped_by;
}

/* sshd lets an expired password in, and its session then says so instead of serving files. */
static void explain_expired_password(struct program *p)
{
	char text[sizeof(p->error.text)];

	if (p->error.fail != LINK_FAIL_SFTP ||
	    !strcasestr(p->error.text, "password change required"))
		return;
	memcpy(text, p->error.text, sizeof(text));
	text[strcspn(text, ";")] = '\0'; /* its own remedy is none */
	snprintf(p->error.text, sizeof(p->error.text),
	         "the password has expired (%.200s); change it with ssh, then mount again", text);
	p->error.fail = LINK_FAIL_AUTH;
}

int program_connect(struct program *p)
{
	const struct options *o = p->options;

	const char *dir = o->delay_connect ? delayed_dir(o->dir) : o->dir;

	catch_signals(true);
	int r = program_link(o, &p->link, &p->error);
	if (r)
		return stopped_by ? stopped(p) : r;
	r = program_backend_choose(p, dir, go_on);
	explain_expired_password(p);
	if (r && !stopped_by)
		return r == LINK_FAIL_SFTP ? (int)p->error.fail : r;
	if (o->delay_connect) {
		p->root = strdup(dir);
		if (!p->root)
			snprintf(p->error.text, sizeof(p->error.text), "out of memory");
		return p->root ? 0 : LINK_FAIL_NETWORK;
	}
	if (p->started && !p->error.fail && needs_login(o))
		find_login(p);
	if (stopped_by)
		return stopped(p);
	return (int)p->error.fail;
}

/* fmask and dmask are exceptions from umask. */
static mode_t mask(int64_t own, int64_t general)
{
	return (mode_t)(own >= 0 ? own : general >= 0 ? general : 0);
}

static enum vfs_links links(const struct options *o)
{
	if (o->transform_symlinks)
		return o->contain_symlinks ? VFS_LINKS_TRANSFORM_CONTAIN : VFS_LINKS_TRANSFORM;
	return o->contain_symlinks ? VFS_LINKS_CONTAIN : VFS_LINKS_RAW;
}

static void fill_vfs_config(const struct program *p, struct vfs_config *cfg)
{
	const struct options *o = p->options;

	*cfg = (struct vfs_config){
	    .root = p->root,
	    .mount_uid = getuid(),
	    .mount_gid = getgid(),
	    .allow_other = o->allow_other,
	    .default_permissions = o->default_permissions,
	    .readonly = o->readonly,
	    .idmap = p->idmap,
	    .uid = o->uid,
	    .gid = o->gid,
	    .file_mask = mask(o->fmask, o->umask),
	    .dir_mask = mask(o->dmask, o->umask),
	    .links = links(o),
	    .create_as_caller = creates_as_caller(p),
	    .create_mode_exact = o->create_mode == 0,
	    .dir_cache = o->dir_cache,
	    .direct_io = o->direct_io,
	    .kernel_cache = o->kernel_cache,
	    .sync_write = o->sync_write,
	    .hardlink = !o->disable_hardlink,
	    .async = o->async && !o->sync_write && !p->scp,
	    .verify = o->verify,
	    .fsync_strict = o->fsync == 1,
	    .follow_symlinks = o->follow_symlinks,
	    .file_timeout_ms = o->file_timeout_ms,
	    .dir_timeout_ms = o->dir_timeout_ms,
	    .link_timeout_ms = o->link_timeout_ms,
	    .entry_timeout_ms = o->entry_timeout_ms,
	    .attr_timeout_ms = o->attr_timeout_ms,
	    .negative_timeout_ms = o->negative_timeout_ms,
	    .open_window_ms = o->open_window_ms,
	    .flush_age_ms = o->flush_age_ms,
	    .soft_ms = o->soft_ms,
	    .cache_len_max = (size_t)o->cache_len,
	};
}

static void on_reconnect(void *ctx)
{
	struct program *p = ctx;

	program_backend_reconnect(p);
}

static void on_quiesce(void *ctx)
{
	struct program *p = ctx;

	vfs_quiesce(p->vfs);
}

static int mount_failed(struct program *p, const char *text)
{
	snprintf(p->error.text, sizeof(p->error.text),
	         "cannot mount on '%s': %s; check /dev/fuse, package fuse3 and /etc/fuse.conf",
	         p->mountpoint, text);
	return PROGRAM_EXIT_MOUNTPOINT;
}

/* What libfuse is to mount with, "ro" included. Return: 0 or -ENOMEM. */
static int mount_options(const struct options *o, struct options_list *out)
{
	int r = o->readonly ? options_list_add(out, "ro") : 0;

	for (size_t i = 0; r == 0 && i < o->mount_options.count; i++)
		r = options_list_add(out, o->mount_options.at[i]);
	return r;
}

int program_mount(struct program *p)
{
	const struct options *o = p->options;
	struct vfs_config vcfg;
	struct options_list list = {0};
	struct backend *be = p->backend;
	char text[256] = "out of memory";

	if (program_idmap(p, login_attr(p)) != 0)
		return PROGRAM_EXIT_USAGE;
	if (o->idmap == OPTIONS_IDMAP_NAME && p->started && !be->ops->info(be)->caps.id_names)
		log_error(LOG_MAIN, "idmap=name: the server does not tell names "
		                    "(users-groups-by-id); owners are shown by its numbers");
	fill_vfs_config(p, &vcfg);
	p->mounted_ms = p->clock.now_ms;
	p->vfs = vfs_create(&vcfg, be, &p->clock, &fusefs_replies, &p->budget);
	if (!p->vfs || mount_options(o, &list) != 0) {
		options_list_finish(&list);
		return mount_failed(p, text);
	}

	const struct fusefs_config fcfg = {
	    .fsname = o->fsname ? o->fsname : o->source,
	    .subtype = o->subtype    ? o->subtype
	               : o->as_sshfs ? "sshfs"
	                             : "sftpfs",
	    .options = list.at,
	    .xattr = o->xattr,
	    .debug = log_enabled(LOG_FUSE, LOG_LEVEL_DEBUG),
	};
	p->control = (struct fusefs_control){
	    .status = program_status,
	    .reconnect = on_reconnect,
	    .quiesce = on_quiesce,
	    .ctx = p,
	};
	p->fusefs = fusefs_create(&fcfg, p->vfs, &p->clock, &p->control, text, sizeof(text));
	options_list_finish(&list);
	if (!p->fusefs || fusefs_mount(p->fusefs, p->mountpoint, text, sizeof(text)) != 0)
		return mount_failed(p, text);
	if (o->allow_other && !o->default_permissions)
		log_error(LOG_MAIN, "allow_other without default_permissions: every local user "
		                    "may do here what the login may");
	return 0;
}

/* From the top down: nobody is left to be called when a room goes. */
void program_finish(struct program *p)
{
	if (p->fusefs)
		fusefs_unmount(p->fusefs);
	if (p->vfs)
		vfs_quiesce(p->vfs);
	program_backend_destroy(p);
	if (p->fusefs && fusefs_unanswered_count(p->fusefs))
		log_error(LOG_MAIN, "%zu requests were left unanswered",
		          fusefs_unanswered_count(p->fusefs));
	vfs_destroy(p->vfs);
	idmap_destroy(p->idmap);
	fusefs_destroy(p->fusefs);
	free(p->root);
	catch_signals(false);
}
