/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The filesystem: nodes, caches, open files, read-ahead, write-behind, errno. Requests come in from
 * fuse/ (or a unit test) through the vfs_*() functions and are answered through struct vfs_replies.
 *
 * Rules for every request
 * - Thread: the loop. Blocks: never.
 * - `req` is the caller's; vfs holds it from the call until exactly one reply function has been
 *   called for it, which may be before the call returns. After the reply vfs does not touch it.
 * - Strings and buffers passed in are valid during the call only.
 * - nodeid 1 is the root. fh is what vfs_open() and friends answered; 0: none.
 */
#ifndef VFS_VFS_H
#define VFS_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "util/data.h"
#include "util/list.h"
#include "util/timer.h"
#include "vfs/backend.h"

#define VFS_ROOT 1

struct vfs;

/* One request of the kernel. Embedded in fuse/'s own struct; `op` is vfs's. */
struct vfs_req {
	uid_t uid;
	gid_t gid;
	pid_t pid;     /* the calling thread, as /proc knows it */
	pid_t program; /* its process, for those requests that look-ahead learns from; else 0 */
	mode_t umask;

	struct op *op; /* what vfs is doing about it; NULL once answered */
};

/* A name that now exists for the kernel. */
struct vfs_entry {
	uint64_t nodeid; /* 0: the name is known not to exist (negative entry) */
	struct stat st;
	int64_t entry_timeout_ms;
	int64_t attr_timeout_ms;
};

/* An open that succeeded. */
struct vfs_opened {
	uint64_t fh;
	bool keep_cache; /* the kernel's pages of this node are still right */
	bool direct_io;  /* the kernel must not use its page cache on this descriptor */
	bool cache_dir;  /* opendir: the kernel may cache the listing */
};

/*
 * Answers. Those that return bool tell whether the kernel took the answer: if not (the caller was
 * killed meanwhile) vfs takes back the lookup or closes the file itself.
 */
struct vfs_replies {
	void (*err)(struct vfs_req *req, int err); /* 0 or a positive errno */
	bool (*entry)(struct vfs_req *req, const struct vfs_entry *e);
	bool (*create)(struct vfs_req *req, const struct vfs_entry *e, const struct vfs_opened *o);
	void (*attr)(struct vfs_req *req, const struct stat *st, int64_t timeout_ms);
	void (*readlink)(struct vfs_req *req, const char *target);
	bool (*open)(struct vfs_req *req, const struct vfs_opened *o);
	void (*data)(struct vfs_req *req, const struct iovec *iov, int iov_count);
	void (*written)(struct vfs_req *req, size_t len);
	void (*statfs)(struct vfs_req *req, const struct statvfs *sv);
	void (*hash)(struct vfs_req *req, const uint8_t *hash); /* SHA256_LEN bytes */

	/*
	 * readdir: adds one entry to the answer under way; `next_off` is where the one after it
	 * starts. `e->nodeid` 0: name, type and ino only, no lookup counted.
	 * Return: false when it did not fit and was not added.
	 */
	bool (*dirent)(struct vfs_req *req, const char *name, const struct vfs_entry *e,
	               off_t next_off);
	void (*dir_end)(struct vfs_req *req);
};

struct idmap;

/* How symbolic links are shown. */
enum vfs_links {
	VFS_LINKS_RAW,               /* as they are */
	VFS_LINKS_CONTAIN,           /* those that leave the mount are refused */
	VFS_LINKS_TRANSFORM,         /* absolute ones that lead into the mount are made relative */
	VFS_LINKS_TRANSFORM_CONTAIN, /* first the one, then the other */
};

struct vfs_config {
	const char *root; /* absolute remote path of the mount's root */
	uid_t mount_uid;  /* who mounted */
	gid_t mount_gid;

	bool allow_other;         /* else only mount_uid (and root) are served */
	bool default_permissions; /* the kernel checks modes */
	bool readonly;

	struct idmap *idmap; /* the caller's; outlives vfs. NULL: numbers stay as they are */
	int64_t uid;         /* shown for every file; -1: as on the server */
	int64_t gid;
	mode_t file_mask; /* bits taken from the mode of what is no directory */
	mode_t dir_mask;  /* of directories */
	enum vfs_links links;

	/*
	 * What is created belongs to who asks, although the login (root) is somebody else; and has
	 * the mode that was asked for, whatever umask the server has.
	 */
	bool create_as_caller;
	bool create_mode_exact;

	bool dir_cache;          /* attribute, listing and negative caches */
	bool direct_io;          /* no kernel page cache */
	bool kernel_cache;       /* keep pages over opens without asking */
	bool sync_write;         /* write(2) returns after the server's answer */
	bool hardlink;           /* link(2) is offered */
	bool async;              /* changes are acknowledged after a local check */
	bool verify;             /* whole copies are compared with the server's hash */
	bool fsync_strict;       /* EOPNOTSUPP where the server cannot */
	bool follow_symlinks;    /* show what links point to */
	int64_t file_timeout_ms; /* fixed lifetimes chosen by the user; -1: ours, by age */
	int64_t dir_timeout_ms;
	int64_t link_timeout_ms;
	int64_t entry_timeout_ms;
	int64_t attr_timeout_ms;
	int64_t negative_timeout_ms;
	int64_t open_window_ms; /* close-to-open: how old an answer may vouch for content */
	int64_t flush_age_ms;   /* written data is sent within this time */
	int64_t soft_ms;        /* 0: wait for ever */
	size_t cache_len_max;   /* the budget */
};

/* `cfg` is copied, strings too. Return: NULL when out of memory. */
struct vfs *vfs_create(const struct vfs_config *cfg, struct backend *backend, struct clock *clock,
                       const struct vfs_replies *replies, struct budget *budget);

/* The login has become known after the mount: struct vfs_config's create_as_caller. */
void vfs_create_as_caller(struct vfs *v, bool on);

/* The kernel drops its pages of what is written on a descriptor without page cache: as Linux since 6.6. */
void vfs_append_directly(struct vfs *v, bool on);

/*
 * The kernel is gone: sends what is unsent and closes what is open. `done` runs from the loop when
 * the server has acknowledged all of it, or at once.
 */
void vfs_drain(struct vfs *v, void (*done)(void *arg), void *arg);

/*
 * After a drain, or instead of its end: one line in the log for every name of which something could
 * not be delivered and no program was told. Return: how many.
 */
size_t vfs_log_undelivered(struct vfs *v);

/* No request is unanswered and the backend will call back no more. NULL is fine. */
void vfs_destroy(struct vfs *v);

/* Answers everything that waits with EIO: before suspend. */
void vfs_quiesce(struct vfs *v);

/*
 * The kernel asks to interrupt `req`. `dying`: its thread has SIGKILL pending, so the answer reaches
 * nobody and EINTR frees it at once. For any other signal it goes on waiting, as on a local disk;
 * only a request without effect on a server that has been silent for a second is given up.
 */
void vfs_interrupt(struct vfs *v, struct vfs_req *req, bool dying);

void vfs_lookup(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name);
void vfs_forget(struct vfs *v, uint64_t nodeid, uint64_t count);
void vfs_getattr(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t fh);

enum vfs_set {
	VFS_SET_MODE = 1 << 0,
	VFS_SET_UID = 1 << 1,
	VFS_SET_GID = 1 << 2,
	VFS_SET_SIZE = 1 << 3,
	VFS_SET_ATIME = 1 << 4,
	VFS_SET_MTIME = 1 << 5,
	VFS_SET_ATIME_NOW = 1 << 6,
	VFS_SET_MTIME_NOW = 1 << 7,
};

void vfs_setattr(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t fh,
                 const struct stat *st, unsigned set);
void vfs_readlink(struct vfs *v, struct vfs_req *req, uint64_t nodeid);
void vfs_mknod(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name, mode_t mode);
void vfs_mkdir(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name, mode_t mode);
void vfs_unlink(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name);
void vfs_rmdir(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name);
void vfs_symlink(struct vfs *v, struct vfs_req *req, const char *target, uint64_t parent,
                 const char *name);

/* `flags`: RENAME_NOREPLACE and RENAME_EXCHANGE of renameat2(2). */
void vfs_rename(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name,
                uint64_t new_parent, const char *new_name, unsigned flags);
void vfs_link(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t new_parent,
              const char *new_name);

/* `flags` as of open(2). */
void vfs_create_file(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name,
                     mode_t mode, int flags);
void vfs_open(struct vfs *v, struct vfs_req *req, uint64_t nodeid, int flags);
void vfs_read(struct vfs *v, struct vfs_req *req, uint64_t fh, size_t len, uint64_t off);

/*
 * `page`: the kernel writes a page of a mapping, through whichever descriptor it likes: it belongs
 * at `off` even if that one appends.
 */
void vfs_write(struct vfs *v, struct vfs_req *req, uint64_t fh, const void *bytes, size_t len,
               uint64_t off, bool page);
void vfs_flush(struct vfs *v, struct vfs_req *req, uint64_t fh);
void vfs_fsync(struct vfs *v, struct vfs_req *req, uint64_t fh);
void vfs_release(struct vfs *v, struct vfs_req *req, uint64_t fh);
void vfs_copy_range(struct vfs *v, struct vfs_req *req, uint64_t fh_in, uint64_t off_in,
                    uint64_t fh_out, uint64_t off_out, uint64_t len);

void vfs_opendir(struct vfs *v, struct vfs_req *req, uint64_t nodeid);

/* Entries from `off` on, through replies->dirent. `plus`: each counts as a lookup. */
void vfs_readdir(struct vfs *v, struct vfs_req *req, uint64_t fh, off_t off, bool plus);
void vfs_releasedir(struct vfs *v, struct vfs_req *req, uint64_t fh);

/* Of any directory, or of none (0): a barrier for the whole mount. */
void vfs_fsyncdir(struct vfs *v, struct vfs_req *req, uint64_t fh);
void vfs_statfs(struct vfs *v, struct vfs_req *req, uint64_t nodeid);
void vfs_access(struct vfs *v, struct vfs_req *req, uint64_t nodeid, int mask);

/* The server's own SHA-256 of a file, with everything in it that was written here before. */
void vfs_hash(struct vfs *v, struct vfs_req *req, uint64_t nodeid);

/* Counters for `sftpfs status`; JSON is fuse/'s business. */
struct vfs_stats {
	uint64_t node_count, open_count, request_count;
	uint64_t dirty_len, cached_len;
	uint64_t write_error_count;

	/* -o async: changes acknowledged and unanswered, their bytes; so far postponed, failed. */
	uint64_t pending_count, pending_len;
	uint64_t postponed_count, postponed_error_count;
};
void vfs_get_stats(const struct vfs *v, struct vfs_stats *out);

#endif
