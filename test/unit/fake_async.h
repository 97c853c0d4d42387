/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program over -o async and fake_backend.h: its calls in the root, where nothing but a name matters,
 * and the server's part of what they lead to.
 */
#ifndef TEST_UNIT_FAKE_ASYNC_H
#define TEST_UNIT_FAKE_ASYNC_H

#include "fake_backend.h"

extern const struct be_statvfs fake_roomy, fake_tight;
extern uint8_t prog_bytes[4 << 20]; /* what prog_write() writes */

/* For fake_setup(): -o async. */
void prog_tweak(struct vfs_config *cfg);

/* The root is listed; an answer for it, with the entries given. */
void prog_list(const struct be_entry *entries, size_t count);

/* The root is known, with the entries given, and so are its free space and who we are. */
void prog_setup_with(const struct be_entry *entries, size_t count);

/* The same with "old", of 3 bytes. */
void prog_setup(void);

/* What is due happens. */
void prog_tick(void);

void prog_mkdir(const char *name, struct kreq *k);
struct kreq *prog_create(const char *name, int flags);
struct kreq *prog_write(uint64_t fh, size_t len, uint64_t off);
struct kreq *prog_close(uint64_t fh);
struct kreq *prog_rename(const char *from, const char *to);
struct kreq *prog_unlink(const char *name);
struct kreq *prog_lookup(const char *name);
struct kreq *prog_link(uint64_t nodeid, const char *name);
struct kreq *prog_chmod(uint64_t nodeid, uint64_t fh, mode_t mode);

/* fsync of the root. */
struct kreq *prog_barrier(void);

/* A small file, acknowledged: nothing of it is sent. */
void prog_put(const char *name, size_t len);

/* The server opens a file that was kept, and takes its bytes and attributes. */
void serve_open(const char *path);
void serve_rest(size_t len);

/* What a failed request makes errno.c ask: the server knows nothing more. */
void serve_looks(const struct be_statvfs *sv);

#endif
