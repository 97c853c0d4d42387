/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request that must not be done twice lost its reply: was it done? Its effect is looked for;
 * then it is answered as done, or sent again. An exclusive create or mkdir counts as ours only
 * where everything speaks for it, because programs use them as locks. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/engine.h"

#define CLOCK_SLACK_S 2 /* whole seconds, and what the clocks' offset is not known to */

struct fxp_settle {
	struct fxp_backend *fb;
	struct fxr *request; /* lies in the client's `lost` */
	void (*next)(struct fxp_backend *fb);
	bool stopped;
	unsigned pending;
	struct fxp_status first_status, second_status;
	struct be_attr first, second;
	struct fxp_handle handle; /* mkdir: to see that the directory is empty */
	bool target_same;         /* symlink */
};

static void settle_free(struct fxp_settle *s)
{
	free(s);
}

void fxp_settle_stop(struct fxp_settle *s)
{
	if (!s)
		return;
	if (s->pending)
		s->stopped = true;
	else
		settle_free(s);
}

void fxp_settle_forget(struct fxp_settle *s)
{
	if (s)
		s->request = NULL;
}

static void settle_over(struct fxp_settle *s)
{
	s->next(s->fb);
}

static void settle_again(struct fxp_settle *s)
{
	fxp_client_resend(&s->fb->client, s->request);
	settle_over(s);
}

static void settle_as_done(struct fxp_settle *s)
{
	struct fxr_answer answer = {0};

	log_info(LOG_SFTP, "%s \"%s\" had been done", fxr_table[s->request->kind].name,
	         s->request->args.path ? s->request->args.path : "");
	fxp_status_set(&answer.status, BE_OK, 0, "");
	fxp_client_settle(&s->fb->client, s->request, &answer);
	settle_over(s);
}

/* Where looking brings nonsense, the request fails: the next look would break the connection too. */
static void settle_failed(struct fxp_settle *s, const struct fxr_answer *why)
{
	struct fxr_answer answer = {0};
	struct fxr *r = s->request;

	fxp_status_copy(&answer.status, &why->status.st);
	s->request = NULL;
	fxp_client_settle(&s->fb->client, r, &answer);
}

/* Return: true when the callback must not go on. */
static bool answered(struct fxp_settle *s, const struct fxr_answer *answer)
{
	s->pending--;
	if (answer->status.st.code == BE_MALFORMED && s->request && !s->stopped)
		settle_failed(s, answer);
	if (s->pending)
		return true;
	if (s->stopped) {
		settle_free(s);
		return true;
	}
	if (answer->lost)
		return true;
	if (s->request)
		return false;
	settle_over(s);
	return true;
}

static bool is_gone(const struct fxp_status *st)
{
	return st->st.code == BE_NO_SUCH_FILE ||
	       (st->st.code == BE_ERRNO && (st->st.err == ENOENT || st->st.err == ENOTDIR));
}

/* Made while the request was on its way: what came later is somebody else's. */
static bool is_of_its_time(const struct fxp_settle *s)
{
	const struct fxr *r = s->request;
	int64_t made_s = (int64_t)s->first.mtime - s->fb->skew_s;

	return (s->first.valid & BE_ATTR_TIMES) &&
	       made_s >= r->sent_wall_ms / 1000 - CLOCK_SLACK_S &&
	       made_s <= r->lost_wall_ms / 1000 + CLOCK_SLACK_S;
}

/* Made by the lost request, as far as one can see. */
static bool is_ours(const struct fxp_settle *s, uint32_t type)
{
	const struct be_attr *a = &s->first, *asked = &s->request->args.attr;

	if (fxp_made_has(s->fb, s->request->args.path))
		return false;
	if (s->first_status.st.code != BE_OK || !(a->valid & BE_ATTR_MODE) ||
	    (a->mode & S_IFMT) != type)
		return false;
	if ((asked->valid & BE_ATTR_MODE) && (a->mode & 0777 & ~asked->mode))
		return false;
	if (s->fb->own_uid_known && (!(a->valid & BE_ATTR_OWNER) || a->uid != s->fb->own_uid))
		return false;
	return is_of_its_time(s);
}

static void settle_open(struct fxp_settle *s)
{
	if (is_ours(s, S_IFREG) && (s->first.valid & BE_ATTR_SIZE) && s->first.size == 0)
		s->request->args.pflags &= ~(uint32_t)(FXF_EXCL | FXF_CREAT | FXF_TRUNC);
	/* Where it is not ours the server says so itself. */
	settle_again(s);
}

static void mkdir_read(void *arg, const struct fxr_answer *answer)
{
	struct fxp_settle *s = arg;
	struct fxr_args args = {.handle = &s->handle};

	if (answered(s, answer))
		return;
	fxp_client_submit_setup(&s->fb->client, FXR_CLOSE, &args, NULL, NULL);
	if (answer->status.st.code == BE_EOF ||
	    (answer->status.st.code == BE_OK && answer->names.count == 0))
		settle_as_done(s);
	else
		settle_again(s);
}

static void mkdir_opened(void *arg, const struct fxr_answer *answer)
{
	struct fxp_settle *s = arg;
	struct fxr_args args = {.handle = &s->handle};

	if (answered(s, answer))
		return;
	if (answer->status.st.code == BE_OK) {
		fxp_handle_set(s->fb, &s->handle, answer);
		if (fxp_client_submit_setup(&s->fb->client, FXR_READDIR, &args, mkdir_read, s)) {
			s->pending++;
			return;
		}
	}
	settle_again(s);
}

static void settle_mkdir(struct fxp_settle *s)
{
	struct fxr_args args = {.path = s->request->args.path};

	if (is_ours(s, S_IFDIR) &&
	    fxp_client_submit_setup(&s->fb->client, FXR_OPENDIR, &args, mkdir_opened, s))
		s->pending++;
	else
		settle_again(s);
}

static void settle_rename(struct fxp_settle *s)
{
	if (is_gone(&s->first_status) && s->second_status.st.code == BE_OK)
		settle_as_done(s);
	else
		settle_again(s);
}

static void settle_link(struct fxp_settle *s)
{
	const struct be_attr *a = &s->first, *b = &s->second;

	if (s->first_status.st.code == BE_OK && s->second_status.st.code == BE_OK &&
	    a->size == b->size && a->mtime == b->mtime && a->mode == b->mode && a->uid == b->uid &&
	    a->gid == b->gid)
		settle_as_done(s);
	else
		settle_again(s);
}

static void settle_decide(struct fxp_settle *s)
{
	switch (s->request->kind) {
	case FXR_OPEN:
		settle_open(s);
		break;
	case FXR_MKDIR:
		settle_mkdir(s);
		break;
	case FXR_REMOVE:
	case FXR_RMDIR:
		if (is_gone(&s->first_status))
			settle_as_done(s);
		else
			settle_again(s);
		break;
	case FXR_SYMLINK:
		if (s->target_same)
			settle_as_done(s);
		else
			settle_again(s);
		break;
	case FXR_RENAME:
	case FXR_POSIX_RENAME:
		settle_rename(s);
		break;
	case FXR_HARDLINK:
		settle_link(s);
		break;
	default:
		settle_again(s);
	}
}

static void first_looked(void *arg, const struct fxr_answer *answer)
{
	struct fxp_settle *s = arg;

	fxp_status_copy(&s->first_status, &answer->status.st);
	s->first = answer->attr;
	if (!answered(s, answer))
		settle_decide(s);
}

static void second_looked(void *arg, const struct fxr_answer *answer)
{
	struct fxp_settle *s = arg;

	fxp_status_copy(&s->second_status, &answer->status.st);
	s->second = answer->attr;
	if (!answered(s, answer))
		settle_decide(s);
}

static void target_looked(void *arg, const struct fxr_answer *answer)
{
	struct fxp_settle *s = arg;
	const char *target = s->stopped || !s->request ? "" : s->request->args.path;

	s->target_same = answer->status.st.code == BE_OK && answer->path.len == strlen(target) &&
	                 memcmp(answer->path.bytes, target, answer->path.len) == 0;
	if (!answered(s, answer))
		settle_decide(s);
}

static void append_looked(void *arg, enum be_code code, bool found)
{
	struct fxp_settle *s = arg;
	struct fxr_answer answer = {.lost = code == BE_LOST};

	fxp_status_set(&answer.status, code, 0, "");
	if (answered(s, &answer))
		return;
	if (found)
		settle_as_done(s);
	else
		settle_again(s);
}

static bool look_append(struct fxp_settle *s)
{
	struct fxr *r = s->request;
	struct be_file *f = fxp_append_file(s->fb, r);

	if (!f || !fxp_append_start(s->fb, f, r->args.body, r->args.body_off, (size_t)r->args.len,
	                            append_looked, s))
		return false;
	s->pending++;
	return true;
}

static bool look(struct fxp_settle *s, enum fxr_kind kind, const char *path, fxr_done_fn *done)
{
	struct fxr_args args = {.path = path};

	if (!fxp_client_submit_setup(&s->fb->client, kind, &args, done, s))
		return false;
	s->pending++;
	return true;
}

int fxp_settle_start(struct fxp_backend *fb, struct fxr *r, struct fxp_settle **out,
                     void (*next)(struct fxp_backend *fb))
{
	struct fxp_settle *s = calloc(1, sizeof(*s));
	bool ok;

	if (!s)
		return -ENOMEM;
	s->fb = fb;
	s->request = r;
	s->next = next;
	*out = s;
	switch (r->kind) {
	case FXR_WRITE:
		ok = look_append(s);
		break;
	case FXR_SYMLINK:
		ok = look(s, FXR_READLINK, r->args.path2, target_looked);
		break;
	case FXR_RENAME:
	case FXR_POSIX_RENAME:
	case FXR_HARDLINK:
		ok = look(s, FXR_LSTAT, r->args.path, first_looked) &&
		     look(s, FXR_LSTAT, r->args.path2, second_looked);
		break;
	default:
		ok = look(s, FXR_LSTAT, r->args.path, first_looked);
	}
	if (ok)
		return 0;
	fxp_settle_stop(s);
	*out = NULL;
	return -ENOMEM;
}
