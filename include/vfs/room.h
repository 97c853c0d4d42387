/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Room for what programs write: a write(2) is answered when the next one may come. It waits for the memory budget, of
 * which a part is left to readers; and for a moment where a program runs far ahead of its connection, so that one to a
 * fast server goes with it. A slow or silent server is not waited for: it finds the budget full in the end.
 *
 * Thread: the loop.
 */
#ifndef VFS_ROOM_H
#define VFS_ROOM_H

#include <stddef.h>

struct vfs;
struct vfs_req;

void room_init(struct vfs *v);

/* `req`, a write whose `len` bytes have been taken over, is answered now or when there is room. It can be interrupted. */
void room_answer(struct vfs *v, struct vfs_req *req, size_t len);

/* There may be more room: WRITEs were answered, or memory came back. */
void room_more(struct vfs *v);

#endif
