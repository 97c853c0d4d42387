/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attributes and changes of names. Each is one request; after a lost reply it is said again, where
 * needed in other words, so that what the first one has done counts as done: a name that is gone is
 * removed, a link that is there with the same target is made, a file that is at the new name only is
 * renamed. A directory that is there may be somebody else's, who uses it as a lock: it is ours where
 * everything speaks for it, else EEXIST.
 * Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "shell_parts.h"
#include "util/num.h"

#define CLOCK_SLACK_S 2 /* whole seconds, and the way of the answer */

struct name_op {
	struct shell_req req; /* first */
	struct scp_shell *sh;
	void *arg;
	uint32_t mode; /* mkdir */
	union {
		be_attr_fn *attr_done;
		be_status_fn *status_done;
		be_path_fn *path_done;
		be_statvfs_fn *statvfs_done;
	};
};

static struct name_op *op_of(struct shell_req *r)
{
	return (struct name_op *)r;
}

static void attr_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct name_op *op = op_of(r);
	struct be_attr a;
	bool good = reply->st.code == BE_OK && shell_attr(op->sh, reply, &a, NULL);

	op->attr_done(op->arg, &reply->st, good ? &a : NULL);
	free(op);
}

static void status_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct name_op *op = op_of(r);

	op->status_done(op->arg, &reply->st);
	free(op);
}

/* `again` may be NULL; both are taken over. Return: the operation, submitted, or NULL: no memory. */
static struct name_op *submit(struct backend *b, struct buf *text, struct buf *again,
                              shell_done_fn *done, void *arg)
{
	struct name_op *op = calloc(1, sizeof(*op));

	if (!op) {
		buf_finish(text);
		if (again)
			buf_finish(again);
		return NULL;
	}
	op->sh = shell_of(b);
	op->arg = arg;
	if (shell_submit(op->sh, &op->req, text, again, done) == 0)
		return op;
	free(op);
	return NULL;
}

/* "<words>'path'<words>" */
static void add_path(struct buf *b, const char *before, const char *path, const char *behind)
{
	buf_add_str(b, before);
	scp_quote(b, path);
	buf_add_str(b, behind);
}

/* What a change of `path` ends in: its attributes, or what the change complained about. */
static void add_attr(struct buf *b, const char *path)
{
	add_path(b, " && S ", path, "; R $?\n");
}

static int submit_attr(struct backend *b, struct buf *text, struct buf *again, be_attr_fn *done,
                       void *arg)
{
	struct name_op *op = submit(b, text, again, attr_answered, arg);

	if (op)
		op->attr_done = done;
	return op ? 0 : -ENOMEM;
}

static int submit_status(struct backend *b, struct buf *text, struct buf *again, be_status_fn *done,
                         void *arg)
{
	struct name_op *op = submit(b, text, again, status_answered, arg);

	if (op)
		op->status_done = done;
	return op ? 0 : -ENOMEM;
}

int shell_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg)
{
	struct buf text = BUF_INIT;

	add_path(&text, follow ? "L " : "S ", path, " 2>&1; R $?\n");
	return submit_attr(b, &text, NULL, done, arg);
}

/* touch -t's time, in UTC. */
static void add_time(struct buf *b, const char *options, uint32_t seconds, const char *path)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char when[32];

	gmtime_r(&t, &tm);
	strftime(when, sizeof(when), "%Y%m%d%H%M.%S", &tm);
	buf_addf(b, " && touch -c %s -t %s ", options, when);
	scp_quote(b, path);
}

void shell_add_changes(struct buf *b, const char *path, enum be_target target,
                       const struct be_attr *want)
{
	bool follow = target == BE_FOLLOWED;

	buf_add_str(b, "{ :");
	if (want->valid & BE_ATTR_OWNER) {
		buf_addf(b, " && chown %s%u:%u ", follow ? "" : "-h ", want->uid, want->gid);
		scp_quote(b, path);
	}
	if (want->valid & BE_ATTR_MODE) {
		/* chmod follows: a link put in the way must not be */
		if (!follow)
			add_path(b, " && [ ! -h ", path, " ]");
		buf_addf(b, " && chmod %o ", want->mode & 07777);
		scp_quote(b, path);
	}
	if (want->valid & BE_ATTR_SIZE) {
		buf_addf(b, " && dd if=/dev/null bs=1 count=0 seek=%llu of=",
		         (unsigned long long)want->size);
		scp_quote(b, path);
	}
	if (want->valid & BE_ATTR_TIMES) {
		add_time(b, follow ? "-a" : "-h -a", want->atime, path);
		add_time(b, follow ? "-m" : "-h -m", want->mtime, path);
	}
	buf_add_str(b, "; } 2>&1 </dev/null");
}

int shell_setattr(struct backend *b, const char *path, enum be_target target,
                  const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct buf text = BUF_INIT;

	if (target == BE_THE_LINK && (want->valid & BE_ATTR_MODE)) {
		buf_add_str(&text, "R e95\n");
	} else {
		shell_add_changes(&text, path, target, want);
		add_path(&text, target == BE_FOLLOWED ? " && L " : " && S ", path, "; R $?\n");
	}
	return submit_attr(b, &text, NULL, done, arg);
}

int shell_id_names(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
                   be_id_names_fn *done, void *arg)
{
	return -EOPNOTSUPP; /* be_caps.id_names says so */
}

static void path_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct name_op *op = op_of(r);
	size_t len = reply->len;

	if (len && reply->body[len - 1] == '\n')
		len--;
	op->path_done(op->arg, &reply->st, reply->body, len);
	free(op);
}

int shell_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg)
{
	struct buf text = BUF_INIT;
	struct name_op *op;

	/* readlink says nothing about why it fails */
	add_path(&text, "if [ -h ", path, " ]; then ");
	add_path(&text, "readlink ", path, " </dev/null; R $?; ");
	add_path(&text, "else S ", path, " 2>&1 && R e22 || R 1; fi\n");
	op = submit(b, &text, NULL, path_answered, arg);
	if (op)
		op->path_done = done;
	return op ? 0 : -ENOMEM;
}

/* "{ [ ! -e 'path' ] && [ ! -h 'path' ]; }": mv and ln would put things into a directory there. */
static void add_absent(struct buf *b, const char *path)
{
	add_path(b, "if [ -e ", path, " ]");
	add_path(b, " || [ -h ", path, " ]; then R e17; else ");
}

int shell_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                  void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;

	add_absent(&text, path);
	add_path(&text, "ln -s -- ", target, " ");
	add_path(&text, "", path, " 2>&1 </dev/null && S ");
	add_path(&text, "", path, "; R $?; fi\n");

	add_path(&again, "if [ \"$(readlink ", path, "; echo .)\" = ");
	add_path(&again, "", target, "'\n.' ]; then ");
	add_path(&again, "S ", path, "; R $?; else ");
	buf_add(&again, text.bytes, text.len ? text.len - 1 : 0);
	buf_add_str(&again, "; fi\n");
	return submit_attr(b, &text, &again, done, arg);
}

int shell_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;

	add_absent(&text, to);
	add_path(&text, "ln ", from, " ");
	add_path(&text, "", to, " 2>&1 </dev/null && S ");
	add_path(&text, "", to, "; R $?; fi\n");

	add_path(&again, "if [ ", from, " -ef ");
	add_path(&again, "", to, " ]; then ");
	add_path(&again, "S ", to, "; R $?; else ");
	buf_add(&again, text.bytes, text.len ? text.len - 1 : 0);
	buf_add_str(&again, "; fi\n");
	return submit_attr(b, &text, &again, done, arg);
}

/*
 * The directory is there that a mkdir whose answer was lost was to make: empty, and the login's. Was it
 * made while the request was on its way, with no more rights than it asked for? The body is the
 * server's time, which its age is told by, and the attributes.
 */
static bool made_by_us(const struct name_op *op, const struct shell_reply *reply)
{
	const struct shell_req *r = &op->req;
	const char *end = memchr(reply->body, '\n', reply->len);
	size_t len = end ? (size_t)(end - reply->body) : 0;
	int64_t now_ms = op->sh->clock->now_ms, age_s;
	char number[24] = "";
	struct be_attr a;
	uint64_t now_s;

	if (!r->lost_count || len >= sizeof(number))
		return false;
	memcpy(number, reply->body, len);
	if (num_parse_u64(number, 10, 0, INT64_MAX, &now_s) != 0 ||
	    !shell_attr(op->sh, reply, &a, NULL))
		return false;
	age_s = (int64_t)now_s - (int64_t)a.mtime;
	return !(a.mode & 0777 & ~op->mode) &&
	       age_s <= (now_ms - r->since_ms) / 1000 + CLOCK_SLACK_S &&
	       age_s >= (now_ms - r->lost_ms) / 1000 - CLOCK_SLACK_S;
}

static void mkdir_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct shell_reply said = *reply;

	if (reply->st.code == BE_ERRNO && reply->st.err == EEXIST) {
		said.st.text = "it is there";
		if (made_by_us(op_of(r), reply))
			said.st = (struct be_status){.code = BE_OK, .text = ""};
	}
	attr_answered(r, &said);
}

int shell_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;
	struct name_op *op;

	buf_addf(&text, "mkdir -m %o ", mode & 07777);
	add_path(&text, "", path, " 2>&1 </dev/null");
	add_attr(&text, path);

	buf_addf(&again, "if m=$(mkdir -m %o ", mode & 07777);
	add_path(&again, "", path, " 2>&1 </dev/null); then ");
	add_path(&again, "S ", path, "; R $?; ");
	add_path(&again, "elif [ -d ", path, " ]");
	add_path(&again, " && [ ! -h ", path, " ]");
	add_path(&again, " && [ -O ", path, " ]");
	add_path(&again, " && [ -z \"$(ls -A ", path, " </dev/null)\" ]; then ");
	add_path(&again, "date +%s </dev/null; S ", path, "; R e17; ");
	buf_add_str(&again, "else printf %s \"$m\"; R 1; fi\n");
	op = submit(b, &text, &again, mkdir_answered, arg);
	if (!op)
		return -ENOMEM;
	op->mode = mode;
	op->attr_done = done;
	return 0;
}

/* Gone is gone, whoever it was that did it. */
static void add_gone_is_good(struct buf *b, const char *path, const struct buf *text)
{
	add_path(b, "if [ ! -e ", path, " ]");
	add_path(b, " && [ ! -h ", path, " ]; then R 0; else ");
	buf_add(b, text->bytes, text->len ? text->len - 1 : 0);
	buf_add_str(b, "; fi\n");
}

int shell_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;

	add_path(&text, "rmdir ", path, " 2>&1 </dev/null; R $?\n");
	add_gone_is_good(&again, path, &text);
	return submit_status(b, &text, &again, done, arg);
}

int shell_remove(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;

	add_path(&text, "rm ", path, " 2>&1 </dev/null; R $?\n");
	add_gone_is_good(&again, path, &text);
	return submit_status(b, &text, &again, done, arg);
}

/*
 * mv moves into a directory that is at the new name, or that a link there leads to; -T (GNU,
 * BusyBox) stops it. Without replacing: a hard link fails where something is.
 */
int shell_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
                 be_status_fn *done, void *arg)
{
	struct buf text = BUF_INIT, again = BUF_INIT;

	buf_add_str(&text, "f=");
	scp_quote(&text, from);
	buf_add_str(&text, " t=");
	scp_quote(&text, to);
	buf_add_str(&text, "; ");
	if (flags == BE_RENAME_NOREPLACE)
		buf_add_str(&text,
		            "if [ -e \"$t\" ] || [ -h \"$t\" ]; then R e17; "
		            "elif [ -f \"$f\" ] && [ ! -h \"$f\" ] && ln \"$f\" \"$t\"; then "
		            "rm -f \"$f\" 2>&1; R $?; else M; fi\n");
	else
		buf_add_str(&text, "M\n");

	buf_add_str(&again, "f=");
	scp_quote(&again, from);
	buf_add_str(&again, " t=");
	scp_quote(&again, to);
	buf_add_str(&again, "; if [ ! -e \"$f\" ] && [ ! -h \"$f\" ] && { [ -e \"$t\" ] || "
	                    "[ -h \"$t\" ]; }; then R 0; else ");
	buf_add(&again, text.bytes, text.len ? text.len - 1 : 0);
	buf_add_str(&again, "; fi\n");
	return submit_status(b, &text, &again, done, arg);
}

static void statvfs_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct name_op *op = op_of(r);
	struct be_status st = reply->st;
	struct be_statvfs sv = {0};

	if (st.code == BE_OK && !scp_statvfs_parse(reply->body, reply->len, &sv))
		st.code = BE_UNSUPPORTED;
	op->statvfs_done(op->arg, &st, &sv);
	free(op);
}

int shell_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg)
{
	struct buf text = BUF_INIT;
	struct name_op *op;

	add_path(&text, "V ", path, " 2>&1; R $?\n");
	op = submit(b, &text, NULL, statvfs_answered, arg);
	if (op)
		op->statvfs_done = done;
	return op ? 0 : -ENOMEM;
}
