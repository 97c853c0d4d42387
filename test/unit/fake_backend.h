/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backend that does nothing by itself: the test sees each call and answers it when and how it
 * likes. And the other end: requests of a pretended kernel and what vfs answered to them.
 */
#ifndef TEST_UNIT_FAKE_BACKEND_H
#define TEST_UNIT_FAKE_BACKEND_H

#include "vfs/backend.h"
#include "vfs/vfs.h"

/* One call of the backend that waits for its answer. */
struct call {
	struct list entry;
	const char *name; /* of the operation: "stat", "write" */
	char *path;
	char *path2;
	uint64_t off;
	size_t len;
	uint32_t flags;
	uint32_t mode; /* of open and mkdir */
	struct be_attr want;
	struct be_file *file; /* of calls on open files; a copy's is where it goes to */
	struct data *block;   /* of a write */
	size_t block_off;
	void *own; /* the test's */
	void *arg;
	be_attr_fn *attr_fn;
	be_status_fn *status_fn;
	be_open_fn *open_fn;
	be_read_fn *read_fn;
	be_fetch_fn *fetch_fn;
	be_path_fn *path_fn;
	be_statvfs_fn *statvfs_fn;
	be_entries_fn *entries_fn;
	be_id_names_fn *id_names_fn;
	be_hash_fn *hash_fn;
	struct be_ids users, groups;
};

struct fake {
	struct backend base;
	struct be_info info;
	struct list calls;   /* unanswered, oldest first */
	unsigned open_count; /* files not closed */
	uintptr_t last_file; /* what stands for the last one opened: no two are the same */
	unsigned cancel_count;
	bool paused;
};

/* What became of a request. */
struct kreq {
	struct vfs_req req;
	bool done;
	bool refuse; /* the kernel does not take the answer */
	int err;
	struct vfs_entry entry;
	struct vfs_opened opened;
	struct stat st;
	size_t written;
	size_t len;             /* of data */
	uint8_t bytes[1 << 20]; /* data, or a link's target */
	unsigned name_count;
	unsigned name_max; /* entries that fit; 0: any number */
	char names[64][32];
	uint64_t nodeids[64];
	struct stat sts[64];
	struct statvfs sv;
};

extern struct fake fake;
extern struct vfs *vfs;
extern struct clock kclock;
extern struct budget budget;

/* A new filesystem on a new backend with usual settings, which `tweak` may change. */
void fake_setup(void (*tweak)(struct vfs_config *cfg));

/* Fails the test when a call is unanswered. */
void fake_teardown(void);

/* Lets time pass. */
void fake_pass(int64_t ms);

/* The oldest unanswered call, which must be `name`. fake_none(): there must be none. */
struct call *fake_call(const char *name);

/* The oldest unanswered call of that name (of `path` where not NULL), or NULL. */
struct call *fake_find(const char *name, const char *path);
void fake_none(void);

/* Answers; the call is gone afterwards. `a` may be NULL. */
void fake_attr(struct call *c, enum be_code code, const struct be_attr *a);
void fake_status(struct call *c, enum be_code code, const char *text);
void fake_opened(struct call *c, enum be_code code, const struct be_attr *a);
void fake_data(struct call *c, enum be_code code, const void *bytes, size_t len);
void fake_fetched(struct call *c, enum be_code code, const struct be_attr *a, const void *bytes,
                  size_t len);
void fake_target(struct call *c, const char *target);

void fake_hashed(struct call *c, enum be_code code, const uint8_t *hash);

/* NULL: the server cannot tell. */
void fake_named(struct call *c, const char *const *users, const char *const *groups);
void fake_statvfs(struct call *c, enum be_code code, const struct be_statvfs *sv);
void fake_entries(struct call *c, const struct be_entry *entries, size_t count); /* stays */

/* Attributes of a regular file, of a directory. mtime 1000 is long ago: the clock is at 1000000. */
struct be_attr fake_reg(uint64_t size, uint32_t mtime);
struct be_attr fake_dir(uint32_t mtime);

/* A fresh request; freed by fake_teardown(). */
struct kreq *kreq_create(void);

/* A name looked up, a file opened: with the server's part played. */
uint64_t fake_lookup(const char *name, struct be_attr a);
uint64_t fake_open(uint64_t nodeid, int flags, struct be_attr a);

/* A read, a write of `file` + off (the bytes that the file shall have): the server's part is left to play. */
struct kreq *fake_read(uint64_t fh, size_t len, uint64_t off);
struct kreq *fake_write(uint64_t fh, const uint8_t *file, size_t len, uint64_t off);

#endif
