/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers of vfs to the kernel: struct vfs_replies over fuse_reply_*(). Every function but
 * add_dirent() ends the call. Thread: the loop.
 *
 * A reply that the kernel refuses with ENOENT belongs to a caller that is gone; the lookup or open
 * it carried then never happened, which vfs learns from the result.
 */
#include <errno.h>
#include <stdlib.h>

#include "private.h"
#include "util/sha256.h"

/* One readdir answer never grows beyond this, whatever the kernel has room for. */
#define DIR_SIZE_MAX (1024 * 1024)

static struct fusefs_call *call_of(struct vfs_req *req)
{
	return list_entry(req, struct fusefs_call, req);
}

static double seconds(int64_t ms)
{
	return ms > 0 ? (double)ms / 1000 : 0;
}

static void entry_param(struct fuse_entry_param *out, const struct vfs_entry *e)
{
	*out = (struct fuse_entry_param){
	    .ino = e->nodeid,
	    .generation = 0, /* nodeids are never used again */
	    .attr = e->st,
	    .attr_timeout = seconds(e->attr_timeout_ms),
	    .entry_timeout = seconds(e->entry_timeout_ms),
	};
}

static void file_info(struct fuse_file_info *out, const struct vfs_opened *o)
{
	*out = (struct fuse_file_info){
	    .fh = o->fh,
	    .keep_cache = o->keep_cache,
	    .direct_io = o->direct_io,
	    .cache_readdir = o->cache_dir,
	};
}

static void reply_err(struct vfs_req *req, int err)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_err(call->fuse, err);
	fusefs_call_destroy(call);
}

static bool reply_entry(struct vfs_req *req, const struct vfs_entry *e)
{
	struct fusefs_call *call = call_of(req);
	struct fuse_entry_param param;

	entry_param(&param, e);
	int r = fuse_reply_entry(call->fuse, &param);
	fusefs_call_destroy(call);
	return r == 0;
}

static bool reply_create(struct vfs_req *req, const struct vfs_entry *e, const struct vfs_opened *o)
{
	struct fusefs_call *call = call_of(req);
	struct fuse_entry_param param;
	struct fuse_file_info fi;

	entry_param(&param, e);
	file_info(&fi, o);
	int r = fuse_reply_create(call->fuse, &param, &fi);
	fusefs_call_destroy(call);
	return r == 0;
}

static void reply_attr(struct vfs_req *req, const struct stat *st, int64_t timeout_ms)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_attr(call->fuse, st, seconds(timeout_ms));
	fusefs_call_destroy(call);
}

static void reply_readlink(struct vfs_req *req, const char *target)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_readlink(call->fuse, target);
	fusefs_call_destroy(call);
}

static bool reply_open(struct vfs_req *req, const struct vfs_opened *o)
{
	struct fusefs_call *call = call_of(req);
	struct fuse_file_info fi;

	file_info(&fi, o);
	int r = fuse_reply_open(call->fuse, &fi);
	fusefs_call_destroy(call);
	return r == 0;
}

static void reply_data(struct vfs_req *req, const struct iovec *iov, int iov_count)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_iov(call->fuse, iov, iov_count);
	fusefs_call_destroy(call);
}

static void reply_written(struct vfs_req *req, size_t len)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_write(call->fuse, len);
	fusefs_call_destroy(call);
}

static void reply_statfs(struct vfs_req *req, const struct statvfs *sv)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_statfs(call->fuse, sv);
	fusefs_call_destroy(call);
}

/* 32 bytes for our own program, digits for getfattr. */
static void reply_hash(struct vfs_req *req, const uint8_t *hash)
{
	struct fusefs_call *call = call_of(req);
	char text[SHA256_TEXT_LEN + 1];

	sha256_text(hash, text);
	if (!call->xattr_size)
		fuse_reply_ioctl(call->fuse, 0, hash, SHA256_LEN);
	else if (call->xattr_size < SHA256_TEXT_LEN)
		fuse_reply_err(call->fuse, ERANGE);
	else
		fuse_reply_buf(call->fuse, text, SHA256_TEXT_LEN);
	fusefs_call_destroy(call);
}

static bool add_dirent(struct vfs_req *req, const char *name, const struct vfs_entry *e,
                       off_t next_off)
{
	struct fusefs_call *call = call_of(req);

	if (!call->dir_bytes) {
		if (call->dir_size > DIR_SIZE_MAX)
			call->dir_size = DIR_SIZE_MAX;
		call->dir_bytes = malloc(call->dir_size);
		if (!call->dir_bytes)
			return false;
	}

	char *at = call->dir_bytes + call->dir_len;
	size_t room = call->dir_size - call->dir_len;
	size_t need;

	if (call->dir_plus) {
		struct fuse_entry_param param;

		entry_param(&param, e);
		need = fuse_add_direntry_plus(call->fuse, at, room, name, &param, next_off);
	} else {
		need = fuse_add_direntry(call->fuse, at, room, name, &e->st, next_off);
	}
	if (need > room)
		return false;
	call->dir_len += need;
	return true;
}

static void reply_dir_end(struct vfs_req *req)
{
	struct fusefs_call *call = call_of(req);

	fuse_reply_buf(call->fuse, call->dir_bytes, call->dir_len);
	fusefs_call_destroy(call);
}

const struct vfs_replies fusefs_replies = {
    .err = reply_err,
    .entry = reply_entry,
    .create = reply_create,
    .attr = reply_attr,
    .readlink = reply_readlink,
    .open = reply_open,
    .data = reply_data,
    .written = reply_written,
    .statfs = reply_statfs,
    .hash = reply_hash,
    .dirent = add_dirent,
    .dir_end = reply_dir_end,
};
