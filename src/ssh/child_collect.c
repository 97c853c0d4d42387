/* SPDX-License-Identifier: BSD-2-Clause */
/* All that a program says. See include/ssh/child.h. Room: ssh. Thread: the caller's. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "ssh/child.h"
#include "ssh/conn.h"
#include "util/buf.h"

int child_collect(struct child *ch, struct buf *out, int timeout_ms)
{
	int64_t deadline_ms = conn_now_ms() + timeout_ms;
	bool err_open = ch->err_fd >= 0, out_open = true;
	char bytes[4096];
	ssize_t n;

	while (out_open || err_open) {
		struct pollfd fds[2] = {
		    {.fd = out_open ? ch->fd : -1, .events = POLLIN},
		    {.fd = err_open ? ch->err_fd : -1, .events = POLLIN},
		};
		int64_t left_ms = deadline_ms - conn_now_ms();

		if (left_ms <= 0)
			return -ETIMEDOUT;
		if (poll(fds, 2, (int)left_ms) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			err_open = child_read_stderr(ch, false);
		if (!fds[0].revents)
			continue;
		n = read(ch->fd, bytes, sizeof(bytes));
		if (n > 0)
			buf_add(out, bytes, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			out_open = false;
	}
	return buf_failed(out) ? -ENOMEM : 0;
}
