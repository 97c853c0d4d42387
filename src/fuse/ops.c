/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of the kernel to vfs, one function each. Thread: the loop.
 *
 * Left out on purpose: listxattr, and getxattr unless asked for with -o xattr (a handler makes the
 * kernel ask for security.capability before every write), getlk, setlk and flock (locks stay in the kernel),
 * write_buf (data is copied once into write-behind in any case), lseek and fallocate (the kernel's
 * own answers are right).
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fuse/control.h"
#include "private.h"
#include "util/sha256.h"

static struct vfs *vfs_of(fuse_req_t req)
{
	struct fusefs *fs = fuse_req_userdata(req);

	return fs->vfs;
}

/* The handlers below need the request as vfs knows it, or are done. */
#define CALL_OR_RETURN(call, req)                                                                  \
	struct fusefs_call *call = fusefs_call_create(req);                                        \
	if (!call)                                                                                 \
	return

/* Look-ahead learns from these requests. */
static void name_program(struct fusefs_call *call)
{
	call->req.program = fusefs_caller_program(call->fs, call->req.pid);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	name_program(call);
	vfs_lookup(fs->vfs, &call->req, parent, name);
	fusefs_count(fs, FUSEFS_ASK_ATTR);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	vfs_forget(vfs_of(req), ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		vfs_forget(vfs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	vfs_getattr(fs->vfs, &call->req, ino, fi ? fi->fh : 0);
	fusefs_count(fs, FUSEFS_ASK_ATTR);
}

static unsigned set_of(int to_set)
{
	static const struct {
		int fuse;
		unsigned vfs;
	} map[] = {
	    {FUSE_SET_ATTR_MODE, VFS_SET_MODE},
	    {FUSE_SET_ATTR_UID, VFS_SET_UID},
	    {FUSE_SET_ATTR_GID, VFS_SET_GID},
	    {FUSE_SET_ATTR_SIZE, VFS_SET_SIZE},
	    {FUSE_SET_ATTR_ATIME, VFS_SET_ATIME},
	    {FUSE_SET_ATTR_MTIME, VFS_SET_MTIME},
	    {FUSE_SET_ATTR_ATIME_NOW, VFS_SET_ATIME_NOW},
	    {FUSE_SET_ATTR_MTIME_NOW, VFS_SET_MTIME_NOW},
	};
	unsigned set = 0;

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (to_set & map[i].fuse)
			set |= map[i].vfs;
	}
	return set;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_setattr(call->fs->vfs, &call->req, ino, fi ? fi->fh : 0, st, set_of(to_set));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	vfs_readlink(fs->vfs, &call->req, ino);
	fusefs_count(fs, FUSEFS_ASK_ATTR);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	CALL_OR_RETURN(call, req);
	vfs_mknod(call->fs->vfs, &call->req, parent, name, mode);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	CALL_OR_RETURN(call, req);
	name_program(call);
	vfs_mkdir(call->fs->vfs, &call->req, parent, name, mode);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CALL_OR_RETURN(call, req);
	vfs_unlink(call->fs->vfs, &call->req, parent, name);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CALL_OR_RETURN(call, req);
	vfs_rmdir(call->fs->vfs, &call->req, parent, name);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	CALL_OR_RETURN(call, req);
	vfs_symlink(call->fs->vfs, &call->req, target, parent, name);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
	CALL_OR_RETURN(call, req);
	vfs_rename(call->fs->vfs, &call->req, parent, name, new_parent, new_name, flags);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	CALL_OR_RETURN(call, req);
	vfs_link(call->fs->vfs, &call->req, ino, new_parent, new_name);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_create_file(call->fs->vfs, &call->req, parent, name, mode, fi->flags);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	name_program(call);
	vfs_open(fs->vfs, &call->req, ino, fi->flags);
	fusefs_count(fs, FUSEFS_ASK_OPEN);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	vfs_read(fs->vfs, &call->req, fi->fh, size, (uint64_t)off);
	fusefs_count(fs, FUSEFS_ASK_READ);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_write(call->fs->vfs, &call->req, fi->fh, bytes, size, (uint64_t)off, fi->writepage);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_flush(call->fs->vfs, &call->req, fi->fh);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_fsync(call->fs->vfs, &call->req, fi->fh);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_release(call->fs->vfs, &call->req, fi->fh);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                               struct fuse_file_info *fi_out, size_t len, int flags)
{
	CALL_OR_RETURN(call, req);
	vfs_copy_range(call->fs->vfs, &call->req, fi_in->fh, (uint64_t)off_in, fi_out->fh,
	               (uint64_t)off_out, len);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fusefs_control_opens(ino, fi)) {
		fusefs_control_open(req);
		return;
	}
	CALL_OR_RETURN(call, req);
	struct fusefs *fs = call->fs;
	name_program(call);
	vfs_opendir(fs->vfs, &call->req, ino);
	fusefs_count(fs, FUSEFS_ASK_LIST);
}

static void read_directory(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi,
                           bool plus)
{
	if (fi->fh == FUSEFS_CONTROL_FH) {
		fuse_reply_err(req, EBADF);
		return;
	}
	CALL_OR_RETURN(call, req);
	call->dir_size = size;
	call->dir_plus = plus;
	vfs_readdir(call->fs->vfs, &call->req, fi->fh, off, plus);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
	read_directory(req, size, off, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
	read_directory(req, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fi->fh == FUSEFS_CONTROL_FH) {
		fuse_reply_err(req, 0);
		return;
	}
	CALL_OR_RETURN(call, req);
	vfs_releasedir(call->fs->vfs, &call->req, fi->fh);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	CALL_OR_RETURN(call, req);
	vfs_fsyncdir(call->fs->vfs, &call->req, fi->fh == FUSEFS_CONTROL_FH ? 0 : fi->fh);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	CALL_OR_RETURN(call, req);
	vfs_statfs(call->fs->vfs, &call->req, ino);
}

static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	CALL_OR_RETURN(call, req);
	vfs_access(call->fs->vfs, &call->req, ino, mask);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                     size_t out_size)
{
	struct fusefs *fs = fuse_req_userdata(req);

	if (flags & FUSE_IOCTL_COMPAT) {
		fuse_reply_err(req, ENOTTY);
	} else if (cmd == (unsigned)CONTROL_HASH) {
		CALL_OR_RETURN(call, req);
		vfs_hash(fs->vfs, &call->req, ino);
	} else if (ino == VFS_ROOT) {
		fusefs_control_ioctl(fs, req, cmd);
	} else {
		/* Programs probe files with terminal and filesystem ioctls. */
		fuse_reply_err(req, ENOTTY);
	}
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (strcmp(name, "user.sftpfs.sha256") != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (size == 0) {
		fuse_reply_xattr(req, SHA256_TEXT_LEN);
		return;
	}
	CALL_OR_RETURN(call, req);
	call->xattr_size = size;
	vfs_hash(call->fs->vfs, &call->req, ino);
}

/* Features that cost more than they give here. */
static const unsigned unwanted =
    FUSE_CAP_AUTO_INVAL_DATA       /* drops our pages when the server's mtime arrives */
    | FUSE_CAP_EXPLICIT_INVAL_DATA /* pages are dropped by opens and by size changes */
    | FUSE_CAP_HANDLE_KILLPRIV     /* the kernel clears setuid itself, with a SETATTR */
    | FUSE_CAP_WRITEBACK_CACHE     /* write-behind is ours: it knows about errors */
    | FUSE_CAP_CACHE_SYMLINKS      /* no timeout of its own */
    | FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_FLOCK_LOCKS |
    FUSE_CAP_POSIX_LOCKS /* locks are local, as the kernel does them */
    | FUSE_CAP_DONT_MASK | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;

static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO |
                               FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
                               FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_IOCTL_DIR;

/* Linux 6.6: a write past the page cache drops the pages that it overtakes. */
#define MINOR_DROPS_PAGES 39

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fusefs *fs = userdata;

	conn->want &= ~unwanted;
	conn->want |= wanted & conn->capable;
	conn->max_write = (unsigned)fs->write_len_max;
	conn->max_background = fs->background_count_max;
	conn->congestion_threshold = fs->background_count_max * 3 / 4;
	conn->time_gran = 1000000000; /* whole seconds: all that SFTP v3 carries */
	vfs_append_directly(fs->vfs, conn->proto_minor >= MINOR_DROPS_PAGES);
}

static const struct fuse_lowlevel_ops plain_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .create = op_create,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .fsync = op_fsync,
    .release = op_release,
    .copy_file_range = op_copy_file_range,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .access = op_access,
    .ioctl = op_ioctl,
};

struct fuse_lowlevel_ops fusefs_ops(bool xattr)
{
	struct fuse_lowlevel_ops ops = plain_ops;

	if (xattr)
		ops.getxattr = op_getxattr;
	return ops;
}
