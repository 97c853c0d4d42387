/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one small interface through which vfs/ reaches a server. sftp/ implements it, scp/ will;
 * vfs never asks which.
 *
 * Rules for every call
 * - Thread: the loop. Blocks: never.
 * - A return of 0 means that `done` runs exactly once, later, from the loop. A negative errno means
 *   that it never runs and nothing was started.
 * - Paths are absolute, raw bytes, NUL-terminated, copied before the call returns. stat() alone also
 *   takes ".", the login directory, which idmap=user asks about.
 * - What a callback receives by pointer is valid during the callback only, unless it says that the
 *   receiver owns it.
 * - A lost connection is the backend's business: it reconnects, resends, reopens and settles. A
 *   caller sees BE_LOST only when the backend has given up for good (quiesce, unmount, soft limit).
 * - Namespace changes are carried out in the order of the calls. I/O on one node is ordered where
 *   ranges overlap; size changes, fsync, copy and close wait for everything before them on the node.
 */
#ifndef VFS_BACKEND_H
#define VFS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/data.h"

/*
 * Outcome of a request. As coarse as SFTP v3's status codes, because no backend knows more for
 * certain; vfs/errno.c turns them into errno, with a second look where they are ambiguous.
 */
enum be_code {
	BE_OK,
	BE_EOF,
	BE_NO_SUCH_FILE, /* also ENOTDIR, ELOOP */
	BE_PERMISSION_DENIED,
	BE_FAILURE,     /* anything */
	BE_BAD_MESSAGE, /* EINVAL, ENAMETOOLONG */
	BE_UNSUPPORTED,
	BE_LOST,      /* the connection is gone and the backend has given up */
	BE_STALE,     /* the open file is no longer the one that was opened */
	BE_CANCELLED, /* a read whose file was closed before it was sent */
	BE_MALFORMED, /* the server broke the protocol */
	BE_ERRNO,     /* `err` below is exact */
};

struct be_status {
	enum be_code code;
	int err;          /* BE_ERRNO: a positive errno */
	const char *text; /* the server's own words, sanitized, or ""; never NULL */
};

enum be_attr_valid {
	BE_ATTR_SIZE = 1 << 0,
	BE_ATTR_OWNER = 1 << 1,   /* uid and gid */
	BE_ATTR_MODE = 1 << 2,    /* type and permission bits */
	BE_ATTR_TIMES = 1 << 3,   /* atime and mtime */
	BE_ATTR_NLINK = 1 << 4,   /* only where a listing's long form shows it; never for changes */
	BE_ATTR_ASSUMED = 1 << 5, /* vfs only: what it will be when our changes are there */
};

struct be_attr {
	uint32_t valid; /* enum be_attr_valid */
	uint32_t mode;
	uint64_t size;
	uint32_t uid;
	uint32_t gid;
	uint32_t atime; /* seconds since 1970, unsigned: to 2106 */
	uint32_t mtime;
	uint32_t nlink;
};

struct be_statvfs {
	uint64_t bsize, frsize, blocks, bfree, bavail;
	uint64_t files, ffree, favail, fsid, namemax;
	bool readonly;
};

struct be_entry {
	const char *name; /* NUL-terminated; never empty, ".", "..", nor with '/' */
	size_t name_len;
	struct be_attr attr;
};

enum be_open_flags {
	BE_READ = 1 << 0,
	BE_WRITE = 1 << 1,
	BE_APPEND = 1 << 2,
	BE_CREAT = 1 << 3,
	BE_TRUNC = 1 << 4,
	BE_EXCL = 1 << 5,
};

/* What a change by path is for. */
enum be_target {
	BE_THE_FILE, /* what stands there; a symbolic link put in the way is not followed */
	BE_THE_LINK, /* a symbolic link itself */
	BE_FOLLOWED, /* what a symbolic link leads to */
};

enum be_rename_flags {
	BE_RENAME_REPLACE,   /* rename(2): the target is replaced atomically */
	BE_RENAME_NOREPLACE, /* refused where the target exists */
};

/* An open file on the server, however many handles it takes. Owned by vfs until close(). */
struct be_file;

/* A listing in progress. */
struct be_list;

typedef void be_status_fn(void *arg, const struct be_status *st);

/* `attr` is NULL when the change succeeded but its attributes could not be had. */
typedef void be_attr_fn(void *arg, const struct be_status *st, const struct be_attr *attr);

/* On BE_OK `file` now belongs to vfs; `attr` as above. */
typedef void be_open_fn(void *arg, const struct be_status *st, struct be_file *file,
                        const struct be_attr *attr);

/*
 * On BE_OK bytes [off, off + len) of `block` are the data; the receiver owns the reference.
 * len is less than asked for only at the end of the file; BE_EOF means none at all.
 */
typedef void be_read_fn(void *arg, const struct be_status *st, struct data *block, size_t off,
                        size_t len);

/*
 * On BE_OK `attr` and the file's first `len` bytes, the reference to `block` as above (NULL when len
 * is 0). A len that is not the smaller of attr->size and len_max shows a file that changed
 * meanwhile, or one that tells no size: it is not to be served as the whole.
 */
typedef void be_fetch_fn(void *arg, const struct be_status *st, const struct be_attr *attr,
                         struct data *block, size_t off, size_t len);

/* `target` of `len` bytes, not NUL-terminated. */
typedef void be_path_fn(void *arg, const struct be_status *st, const char *target, size_t len);

typedef void be_statvfs_fn(void *arg, const struct be_status *st, const struct be_statvfs *sv);

/* Some entries of a listing, in the server's order. */
typedef void be_entries_fn(void *arg, const struct be_entry *entries, size_t count);

/*
 * Asked when a file has to be opened again on a new connection: writes the file's present absolute
 * path into `path` (`size` bytes). Return: 0, or -ESTALE when it has no name any more.
 */
typedef int be_where_fn(void *owner, char *path, size_t size);

/*
 * Names of users and groups, in the order asked; "" where the server has none. NULL unless BE_OK.
 */
typedef void be_id_names_fn(void *arg, const struct be_status *st, const char *const *users,
                            const char *const *groups);

/* The SHA-256 that the server has computed; NULL unless BE_OK. */
typedef void be_hash_fn(void *arg, const struct be_status *st, const uint8_t *hash);

#define BE_ID_COUNT_MAX 64 /* numbers of each side in one id_names() */

struct be_ids {
	uint32_t ids[BE_ID_COUNT_MAX];
	size_t count;
};

struct be_caps {
	bool posix_rename; /* rename replaces atomically */
	bool hardlink;
	bool fsync;
	bool statvfs;
	bool lsetstat; /* attributes of a symbolic link can be changed */
	bool copy;     /* server-side copy */
	bool id_names; /* names of numeric users and groups */
};

/* What the backend has learned; live, may change with every event. */
struct be_info {
	struct be_caps caps;
	size_t read_len_max;  /* largest read() */
	size_t write_len_max; /* largest write() */
	size_t read_unit_len; /* pieces of a stream: less on a slow line, where others would wait */
	size_t write_unit_len;
	size_t stream_len;       /* bytes one sequential reader should keep in flight */
	size_t write_stream_len; /* and one writer */
	uint64_t open_max;       /* files the server lets us hold open; 0: unknown */
	bool connected;
	uint32_t
	    epoch; /* which connection this is: what was sent on another is answered in any order */
	int64_t
	    silent_since_ms; /* nothing has come since then while a request waited; -1: none waits */
};

struct backend;

struct be_ops {
	const struct be_info *(*info)(struct backend *b);

	/* Attributes of `path`; `follow`: of what a symbolic link points to. */
	int (*stat)(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg);

	/*
	 * Changes what `want->valid` names, in the order owner, mode, size, times, and reports the
	 * attributes afterwards. BE_UNSUPPORTED where the server cannot change a link. The first
	 * failure ends it.
	 */
	int (*setattr)(struct backend *b, const char *path, enum be_target target,
	               const struct be_attr *want, be_attr_fn *done, void *arg);

	int (*readlink)(struct backend *b, const char *path, be_path_fn *done, void *arg);
	int (*symlink)(struct backend *b, const char *target, const char *path, be_attr_fn *done,
	               void *arg);
	int (*link)(struct backend *b, const char *from, const char *to, be_attr_fn *done,
	            void *arg);
	int (*mkdir)(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done,
	             void *arg);
	int (*rmdir)(struct backend *b, const char *path, be_status_fn *done, void *arg);
	int (*remove)(struct backend *b, const char *path, be_status_fn *done, void *arg);
	int (*rename)(struct backend *b, const char *from, const char *to,
	              enum be_rename_flags flags, be_status_fn *done, void *arg);
	int (*statvfs)(struct backend *b, const char *path, be_statvfs_fn *done, void *arg);

	/* How the server names its users and groups. Both are copied. */
	int (*id_names)(struct backend *b, const struct be_ids *users, const struct be_ids *groups,
	                be_id_names_fn *done, void *arg);

	/*
	 * Lists `path`: `entries` runs any number of times, then `done` once, where BE_OK means that
	 * the listing is complete. Never overtaken by a namespace change that was sent before it.
	 * *out is valid until `done` has run or list_cancel() is called.
	 */
	int (*list)(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
	            void *arg, struct be_list **out);

	/* Stops a listing: neither callback runs any more. */
	void (*list_cancel)(struct backend *b, struct be_list *l);

	/* While paused no further part is asked for; parts that are on their way still arrive. */
	void (*list_pause)(struct backend *b, struct be_list *l, bool paused);

	/*
	 * Opens `path`. `node` identifies the file among open ones (the nodeid): I/O on equal nodes
	 * is ordered as the rules above say; 0: not known yet, set by file_node(). `mode` is for
	 * BE_CREAT. `where(owner, ...)` serves reopening; while `owner` is NULL `path` does.
	 * `ahead_len`: bytes from offset 0 that will surely be read: where the server allows it they
	 * are asked for together with the OPEN, and read() is served from what is coming. 0: none.
	 */
	int (*open)(struct backend *b, const char *path, uint32_t flags, uint32_t mode,
	            uint64_t node, size_t ahead_len, be_where_fn *where, void *owner,
	            be_open_fn *done, void *arg);
	void (*file_node)(struct backend *b, struct be_file *f, uint64_t node, void *owner);

	int (*fstat)(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg);
	int (*fsetattr)(struct backend *b, struct be_file *f, const struct be_attr *want,
	                be_attr_fn *done, void *arg);

	/* At most read_len_max bytes. Short replies are asked again inside. */
	int (*read)(struct backend *b, struct be_file *f, uint64_t off, size_t len,
	            be_read_fn *done, void *arg);

	/*
	 * Writes bytes [block_off, block_off + len) of `block`, at most write_len_max, at `off`
	 * (ignored with BE_APPEND). The backend takes its own reference until acknowledged.
	 */
	int (*write)(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
	             size_t block_off, size_t len, be_status_fn *done, void *arg);

	/*
	 * NULL: a WRITE is answered when the server has it. Otherwise WRITEs are answered when they
	 * are safe here, and this delivers them: everything written to the file before is on the
	 * server under its name, or the outcome says why not.
	 */
	int (*flush)(struct backend *b, struct be_file *f, be_status_fn *done, void *arg);

	/* To stable storage. BE_UNSUPPORTED where the server has nothing for it. */
	int (*fsync)(struct backend *b, struct be_file *f, be_status_fn *done, void *arg);

	/*
	 * Copies within the server. BE_UNSUPPORTED where it cannot. A slice is as long as stays
	 * interruptible; `done` of each reports for the length asked.
	 */
	int (*copy)(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
	            uint64_t to_off, uint64_t len, be_status_fn *done, void *arg);

	/*
	 * The whole of a small regular file in as few round trips as the server allows: its
	 * attributes from the handle that was read, and its bytes up to `len_max`; attr->size tells
	 * when there is more. Leaves nothing open on the server. Waits for namespace changes that
	 * were sent before it, but not for I/O on open files: not for what is being written.
	 */
	int (*fetch)(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done,
	             void *arg);

	/*
	 * SHA-256 of the bytes that the file at `path` has on the server, computed there. Waits for
	 * nothing that was written before. BE_UNSUPPORTED where the server has no means.
	 */
	int (*hash)(struct backend *b, const char *path, be_hash_fn *done, void *arg);

	/* Closes after everything before it on the file. `f` is gone when this returns. */
	void (*close)(struct backend *b, struct be_file *f);

	/* Everything that waits is answered BE_LOST now; later calls work again when connected. */
	void (*quiesce)(struct backend *b);
};

struct backend {
	const struct be_ops *ops;
};

#endif
