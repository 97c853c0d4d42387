/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link in memory with a scripted SFTP server at its end: the test takes each request that the
 * client has sent and answers it, or does not, in any order and with any bytes. Time stands still
 * unless the test moves it.
 *
 *	peer_init(&p);
 *	fb = peer_start(&p, "/root");
 *	be->ops->stat(be, "/root/x", false, got_attr, &result);
 *	r = peer_take(&p, FXP_LSTAT);
 *	peer_status(&p, r, FX_NO_SUCH_FILE);
 *	peer_run(&p);
 */
#ifndef TEST_UNIT_PEER_H
#define TEST_UNIT_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/extension.h"
#include "sftp/link.h"
#include "sftp/proto.h"
#include "sftp/sftp.h"
#include "util/data.h"
#include "util/list.h"
#include "util/timer.h"

#define PEER_LANES_MAX 64

/* A request as the server sees it; fields that the type does not have are 0 or "". */
struct peer_request {
	struct list entry;
	uint32_t lane;
	uint8_t type;
	uint32_t id;
	char ext[64];
	char path[4200];
	char path2[4200];
	char handle[257];
	char handle2[257];
	uint32_t index; /* the handle where it is one of OpenSSH's, else UINT32_MAX */
	uint64_t off, off2, len;
	uint32_t pflags;
	struct be_attr attr;
	const uint8_t *data; /* WRITE: `len` bytes */
	size_t packet_len;   /* without the length field */
	uint8_t bytes[];
};

enum peer_lane_state {
	PEER_LANE_NONE,
	PEER_LANE_OPEN,
	PEER_LANE_CLOSED,
};

struct peer {
	struct link link;
	struct clock clock;
	struct budget budget;
	struct fxp_config cfg;

	/* What the server is like; set before peer_start(). */
	char banner[64];
	unsigned lane_max;
	bool probes;
	fxp_ext_set exts;
	uint32_t version;
	bool refuse[LANE_CLASS_COUNT];
	bool hold_lanes;         /* further lanes do not open until peer_open_lanes() */
	bool proven;             /* opens the directories of the way up; else they are refused */
	uint32_t proof_index[2]; /* with these handles */
	bool manual;             /* INIT, limits and the looks at the root are left to the test */
	struct fxp_limits limits;
	uint64_t fsid;
	struct be_attr root_attr;
	uint32_t root_status; /* FX_OK: the root is there */
	int64_t rtt_ms;       /* every answer lets so much time pass */
	int connect_err;      /* what link_connect() returns */

	bool connected;
	unsigned proof_open_count, proof_close_count; /* answered on this connection */
	unsigned connect_count, reset_count, destroy_count, probe_count;
	enum peer_lane_state lanes[PEER_LANES_MAX];
	enum lane_class classes[PEER_LANES_MAX];
	struct list requests; /* struct peer_request, oldest first */
	struct list taken;
	struct list events;
	struct list held_events; /* of lanes that are held */
	struct fxp_backend *fb;

	/* from `started` */
	unsigned started_count;
	struct link_error started_error;
	char root[4200];
	struct be_attr started_attr;
};

/* An OpenSSH 9.2 with every extension, eight lanes, its limits. */
void peer_init(struct peer *p);

/* Destroys the backend, frees everything, and asserts that no file data is left charged. */
void peer_finish(struct peer *p);

/* Creates the backend and (unless `manual`) takes it through the start. */
struct fxp_backend *peer_start(struct peer *p, const char *root);

/* The same, without running anything: NULL when out of memory. */
struct fxp_backend *peer_create(struct peer *p, const char *root);

/* Delivers events and runs timers that are due, until nothing happens any more. */
void peer_run(struct peer *p);

/* Moves time and runs. */
void peer_wait(struct peer *p, int64_t ms);

/* The oldest request not taken; asserts that there is one and its type. */
struct peer_request *peer_take(struct peer *p, uint8_t type);

/* The oldest request of the type, whatever came before it; asserts that there is one. */
struct peer_request *peer_find(struct peer *p, uint8_t type);

/* Requests not taken. */
unsigned peer_waiting(const struct peer *p);

void peer_status(struct peer *p, const struct peer_request *r, uint32_t code);
void peer_handle(struct peer *p, const struct peer_request *r, const char *handle);
void peer_index(struct peer *p, const struct peer_request *r, uint32_t index);
void peer_attr(struct peer *p, const struct peer_request *r, const struct be_attr *attr);
void peer_data(struct peer *p, const struct peer_request *r, const void *bytes, size_t len);

/* NAME with the given names; attributes of an empty regular file, longname in ls -l style. */
void peer_names(struct peer *p, const struct peer_request *r, const char *const *names,
                unsigned count);

/* The answer to users-groups-by-id: the two strings as they are. */
void peer_id_names(struct peer *p, const struct peer_request *r, const char *users,
                   size_t users_len, const char *groups, size_t groups_len);

/* The answer to check-file-name; `head` stands before the algorithm's name unless it is "". */
void peer_hash(struct peer *p, const struct peer_request *r, const char *head, const char *name,
               const void *hash, size_t hash_len);

/* Any bytes behind the length field. */
void peer_raw(struct peer *p, uint32_t lane, const void *bytes, size_t len);

/* The connection breaks; requests not taken are forgotten. */
void peer_cut(struct peer *p, enum link_fail fail);

/* The lanes that were held open, all in one moment. */
void peer_open_lanes(struct peer *p);

/* The server ends one lane. */
void peer_close_lane(struct peer *p, uint32_t lane, int exit_status);

/* Answers the requests of the way back up: INIT, limits, root. */
void peer_answer_setup(struct peer *p);

struct be_attr peer_file_attr(uint64_t size, uint32_t mtime);

/* Bytes to write, each unlike its neighbours. The caller owns the reference. */
struct data *peer_block(struct peer *p, size_t len);

/* What a callback brought. One per call; `count` shows that it ran exactly once. */
struct got {
	unsigned count;
	enum be_code code;
	int err;
	char text[300];
	bool attr_ok;
	struct be_attr attr;
	struct be_file *file;
	struct be_statvfs statvfs;
	uint8_t bytes[300000];
	size_t len;
	char names[2000]; /* of a listing, with a blank behind each */
	unsigned name_count;
	uint32_t nlink; /* of the last entry */
};

void got_status(void *arg, const struct be_status *st);
void got_attr(void *arg, const struct be_status *st, const struct be_attr *attr);
void got_open(void *arg, const struct be_status *st, struct be_file *f, const struct be_attr *attr);
void got_read(void *arg, const struct be_status *st, struct data *block, size_t off, size_t len);
void got_fetch(void *arg, const struct be_status *st, const struct be_attr *attr,
               struct data *block, size_t off, size_t len);
void got_path(void *arg, const struct be_status *st, const char *target, size_t len);
void got_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv);
void got_entries(void *arg, const struct be_entry *entries, size_t count);

/* be_where_fn: `owner` is the path, NULL: -ESTALE. */
int got_where(void *owner, char *path, size_t size);

/* Opens `path` against the peer: answers OPEN with `handle` and LSTAT with `attr`. */
struct be_file *peer_open(struct peer *p, const char *path, uint32_t flags, uint64_t node,
                          const char *handle, const struct be_attr *attr);

/* The same for reading, where a handle is as foretold; an empty file of yore. */
struct be_file *peer_open_index(struct peer *p, const char *path, uint32_t index);

/* Calls into the backend under test. */
#define BE(p)  (fxp_backend((p)->fb))
#define OPS(p) (fxp_backend((p)->fb)->ops)

#endif
