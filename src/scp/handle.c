/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files of the shell backend. The server holds nothing open for us: a file is its path, asked
 * for anew each time, and its inode, which tells whether another file is there now (BE_STALE).
 * Owner: the loop.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "shell_parts.h"

struct be_file {
	struct scp_shell *sh;
	unsigned refs; /* the user's, and one for each operation */
	bool closed;
	struct scp_identity id;
	be_where_fn *where;
	void *owner;
	char path[];
};

struct file_op {
	struct shell_req req; /* first */
	struct be_file *file;
	void *arg;
	be_attr_fn *attr_done;
	be_open_fn *open_done;
};

static struct be_file *file_create(struct scp_shell *sh, const char *path)
{
	size_t size = strlen(path) + 1;
	struct be_file *f = calloc(1, sizeof(*f) + size);

	if (f) {
		f->sh = sh;
		f->refs = 1;
		memcpy(f->path, path, size);
	}
	return f;
}

static void file_unref(struct be_file *f)
{
	if (--f->refs == 0)
		free(f);
}

/* The present path. Return: 0 or -ESTALE. */
static int file_path(const struct be_file *f, char *path)
{
	if (f->owner && !f->closed)
		return f->where(f->owner, path, PATH_MAX);
	if (strlen(f->path) >= PATH_MAX)
		return -ESTALE;
	strcpy(path, f->path);
	return 0;
}

static bool same_file(const struct be_file *f, const struct scp_identity *id)
{
	return f->id.ino == 0 || (f->id.ino == id->ino && f->id.dev == id->dev);
}

static void opened(struct shell_req *r, const struct shell_reply *reply)
{
	struct file_op *op = (struct file_op *)r;
	struct be_file *f = op->file;
	struct be_status st = reply->st;
	struct be_attr a;

	if (st.code == BE_OK && !shell_attr(f->sh, reply, &a, &f->id))
		st.code = BE_MALFORMED;
	op->open_done(op->arg, &st, st.code == BE_OK ? f : NULL, st.code == BE_OK ? &a : NULL);
	if (st.code != BE_OK)
		file_unref(f);
	free(op);
}

/*
 * Made with nobody else's rights, then given its mode: nobody opens it meanwhile. noclobber makes the
 * shell use O_EXCL.
 */
static void add_create(struct buf *b, const char *path, uint32_t flags, uint32_t mode)
{
	buf_add_str(b, "p=");
	scp_quote(b, path);
	if (flags & BE_EXCL)
		buf_add_str(b, "; if [ -e \"$p\" ] || [ -h \"$p\" ]; then R e17; else ");
	else
		buf_add_str(b, "; if [ -e \"$p\" ]; then O \"$p\" w; else ");
	buf_addf(b,
	         "( umask 077; set -C; : >\"$p\" ) 2>&1 && chmod %o \"$p\" 2>&1 && S \"$p\"; "
	         "R $?; fi\n",
	         mode & 07777);
}

int shell_file_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode,
                    uint64_t node, size_t ahead_len, be_where_fn *where, void *owner,
                    be_open_fn *done, void *arg)
{
	struct file_op *op = calloc(1, sizeof(*op));
	struct buf text = BUF_INIT;
	int err;

	if (!op)
		return -ENOMEM;
	op->file = file_create(shell_of(b), path);
	op->open_done = done;
	op->arg = arg;
	if (!op->file) {
		free(op);
		return -ENOMEM;
	}
	op->file->where = where;
	op->file->owner = owner;
	if (flags & BE_CREAT) {
		add_create(&text, path, flags, mode);
	} else {
		buf_add_str(&text, "O ");
		scp_quote(&text, path);
		buf_addf(&text, " x%s%s\n", flags & BE_READ ? "r" : "",
		         flags & (BE_WRITE | BE_APPEND) ? "w" : "");
	}
	err = shell_submit(op->file->sh, &op->req, &text, NULL, opened);
	if (err) {
		file_unref(op->file);
		free(op);
	}
	return err;
}

void shell_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner)
{
	f->owner = owner;
}

static void file_answered(struct shell_req *r, const struct shell_reply *reply)
{
	struct file_op *op = (struct file_op *)r;
	struct be_status st = reply->st;
	struct scp_identity id;
	struct be_attr a;
	bool good = st.code == BE_OK && shell_attr(op->file->sh, reply, &a, &id);

	if ((good && !same_file(op->file, &id)) || st.code == BE_NO_SUCH_FILE)
		st = (struct be_status){.code = BE_STALE, .text = ""};
	op->attr_done(op->arg, &st, good && st.code == BE_OK ? &a : NULL);
	file_unref(op->file);
	free(op);
}

/* `want`: NULL to look only. Return: 0 or a negative errno. */
static int file_request(struct be_file *f, const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct file_op *op = calloc(1, sizeof(*op));
	struct buf text = BUF_INIT;
	char path[PATH_MAX];
	int err;

	if (!op)
		return -ENOMEM;
	op->file = f;
	op->attr_done = done;
	op->arg = arg;
	f->refs++;
	if (file_path(f, path) != 0) {
		buf_add_str(&text, "R e116\n"); /* ESTALE: it has no name any more */
	} else {
		if (want) {
			shell_add_changes(&text, path, BE_FOLLOWED, want);
			buf_add_str(&text, " && ");
		}
		buf_add_str(&text, "L ");
		scp_quote(&text, path);
		buf_add_str(&text, " 2>&1; R $?\n");
	}
	err = shell_submit(f->sh, &op->req, &text, NULL, file_answered);
	if (err) {
		file_unref(f);
		free(op);
	}
	return err;
}

int shell_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg)
{
	return file_request(f, NULL, done, arg);
}

int shell_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want,
                   be_attr_fn *done, void *arg)
{
	return file_request(f, want, done, arg);
}

struct fetch_op {
	struct shell_req req; /* first */
	struct scp_shell *sh;
	be_fetch_fn *done;
	void *arg;
	size_t len_max;
};

/* "+attributes", the bytes, the attributes again: a file that has changed meanwhile is not served. */
static bool parse_fetched(const struct fetch_op *op, const struct shell_reply *reply,
                          struct be_attr *a, size_t *off, size_t *len)
{
	const char *end = memchr(reply->body, '\n', reply->len);
	int64_t now_s = op->sh->clock->wall_ms / 1000;
	struct scp_identity id, id2;
	struct be_attr again;

	if (!end || reply->body[0] != '+' ||
	    !scp_attr_parse(reply->body + 1, (size_t)(end - reply->body) - 1, now_s, a, &id))
		return false;
	*off = (size_t)(end - reply->body) + 1;
	*len = a->size < op->len_max ? (size_t)a->size : op->len_max;
	if (*len > reply->len - *off)
		return false;
	if (!scp_attr_parse(reply->body + *off + *len, reply->len - *off - *len, now_s, &again,
	                    &id2))
		return false;
	if (again.size != a->size || again.mtime != a->mtime || id.ino != id2.ino)
		*len = 0;
	return true;
}

static void fetched(struct shell_req *r, const struct shell_reply *reply)
{
	struct fetch_op *op = (struct fetch_op *)r;
	struct be_status st = reply->st;
	struct data *block = NULL;
	struct be_attr a = {0};
	size_t off = 0, len = 0;

	if (st.code == BE_OK && !parse_fetched(op, reply, &a, &off, &len))
		st.code = BE_MALFORMED;
	if (st.code == BE_OK && len) {
		block = data_create(NULL, len);
		if (block)
			memcpy(block->bytes, reply->body + off, len);
		else
			st = (struct be_status){.code = BE_ERRNO, .err = ENOMEM, .text = ""};
	}
	op->done(op->arg, &st, &a, block, 0, block ? len : 0);
	free(op);
}

int shell_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg)
{
	struct fetch_op *op = calloc(1, sizeof(*op));
	struct buf text = BUF_INIT;
	int err;

	if (!op)
		return -ENOMEM;
	op->sh = shell_of(b);
	op->done = done;
	op->arg = arg;
	op->len_max = len_max;
	op->req.has_data = true;
	buf_add_str(&text, "T ");
	scp_quote(&text, path);
	buf_addf(&text, " %zu\n", len_max);
	err = shell_submit(op->sh, &op->req, &text, NULL, fetched);
	if (err)
		free(op);
	return err;
}

void shell_close(struct backend *b, struct be_file *f)
{
	f->closed = true;
	f->owner = NULL;
	file_unref(f);
}
