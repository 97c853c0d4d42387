/* SPDX-License-Identifier: BSD-2-Clause */
/* News of the routing table. Contract: include/route.h. */
#include "route.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

int route_open(void)
{
	struct sockaddr_nl sa = {
	    .nl_family = AF_NETLINK,
	    .nl_groups = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* A way to another machine; the table of the machine's own addresses changes with it. */
static bool is_new_way(const struct nlmsghdr *h)
{
	const struct rtmsg *route = NLMSG_DATA(h);

	return h->nlmsg_type == RTM_NEWROUTE && h->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) &&
	       route->rtm_type == RTN_UNICAST;
}

bool route_appeared(int fd)
{
	char buf[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool appeared = false;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0 || (n < 0 && errno == ENOBUFS)) {
		struct nlmsghdr *h = (struct nlmsghdr *)buf;

		if (n < 0) {
			appeared = true; /* more news than the kernel could keep */
			continue;
		}
		for (unsigned left = (unsigned)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			appeared |= is_new_way(h);
	}
	return appeared;
}
