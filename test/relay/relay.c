/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sftpfs-relay: a TCP relay that makes a loopback connection long, narrow, and unreliable on command.
 *
 *     sftpfs-relay [--delay MS] [--rate BITS_PER_S] [--shared] [--sftp] HOST PORT
 *
 * Listens on a port of 127.0.0.1 that the kernel picks and prints it as the first line: "port N". Every connection is
 * relayed to HOST (numeric) and PORT. The delay and the rate hold for each direction. A piece of data occupies the
 * link for its size divided by the rate, then travels for the delay. Each connection has a link of its own, or with
 * --shared all have one together; when a connection's part of it is full the relay stops reading there. TCP slow start and loss are hidden.
 *
 * Commands come on standard input, one per line; each is answered by one line, "ok", "error" or the statistics. End of
 * file on standard input ends the relay. Lines that begin with "event" may come at any time.
 *
 *     stats                     one line of JSON; stats.h says what is counted and what a round trip is
 *     reset                     all counts to 0 (triggers count on)
 *     delay MS | rate BITS      from now on; rate 0 is unlimited
 *     cut                       reset (RST) both sides of all connections
 *     refuse on|off             reset new connections
 *     stall on|off              black hole: nothing is read, forwarded or noticed, also on new connections
 *     hold up|down on|off       do not forward that direction of the present connections
 *     disarm                    forget all triggers
 *     quit
 *
 * Triggers; ACTION is cut, stall or hold; the event line repeats the command when it fires:
 *
 *     ACTION-at-request [TYPE] N      after the Nth request (of that type) from now was forwarded to the server
 *     ACTION-before-request [TYPE] N  before it is forwarded: the server never sees it
 *     ACTION-at-reply [TYPE] N        before the Nth reply is forwarded: the server did it, the client does not know
 *     ACTION-after-reply [TYPE] N     after it was forwarded
 *     ACTION-after-bytes up|down N    after N bytes
 *
 * Frames are counted over all connections from the moment of the command, in the order in which the relay receives
 * them; TYPE is a name of filexfer-02 without FXP_ (OPEN, DATA...). The word "one" at the end limits the action to the
 * connection that caused it; otherwise all connections share its fate, as when a cable is pulled. Note that a server
 * whose connection is cut right behind a request may or may not still carry it out, as in real life; the at-reply
 * form is the one where it certainly did.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "control.h"

#define EVENT_MAX 64

static char listener_tag, control_tag, timer_tag;

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int usage(const char *why)
{
	fprintf(
	    stderr,
	    "sftpfs-relay: %s\nusage: sftpfs-relay [--delay MS] [--rate BITS_PER_S] [--shared] [--sftp] HOST PORT\n",
	    why);
	return 1;
}

static int parse_target(const char *host, const char *port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&config.target;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&config.target;
	uint64_t number;

	if (!control_number(port, 65535, &number) || number == 0)
		return -EINVAL;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)number);
		config.target_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)number);
		config.target_len = sizeof(*v6);
	} else {
		return -EINVAL;
	}
	return 0;
}

static int listen_loopback(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, 128) != 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
		perror("sftpfs-relay: listen");
		return -1;
	}
	printf("port %d\n", ntohs(addr.sin_port));
	fflush(stdout);
	return fd;
}

static void watch(int epoll_fd, int fd, void *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd,
	          &ev); /* fails when stdin is a file: then there are no commands */
}

/* Return: false at end of file or after `quit`. */
static bool read_commands(void)
{
	static char buf[4096];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, buf + len, sizeof(buf) - 1 - len);
	char *line = buf, *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	len += (size_t)n;
	buf[len] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		if (!control_line(line))
			return false;
		line = end + 1;
	}
	len -= (size_t)(line - buf);
	memmove(buf, line, len);
	return len < sizeof(buf) - 1; /* a line that never ends */
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		conn_accept(fd);
}

static void arm_timer(int timer, int64_t at_us)
{
	struct itimerspec spec = {0};

	if (at_us != INT64_MAX) {
		spec.it_value.tv_sec = at_us / 1000000;
		spec.it_value.tv_nsec = at_us % 1000000 * 1000;
	}
	timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static int loop(int listener)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	bool running = true;

	if (epoll_fd < 0 || timer < 0) {
		perror("sftpfs-relay: epoll");
		return 1;
	}
	fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
	watch(epoll_fd, listener, &listener_tag);
	watch(epoll_fd, STDIN_FILENO, &control_tag);
	watch(epoll_fd, timer, &timer_tag);
	conn_setup(epoll_fd);
	while (running) {
		struct epoll_event events[EVENT_MAX];
		int count = epoll_wait(epoll_fd, events, EVENT_MAX, -1);
		int64_t now = now_us();

		for (int i = 0; i < count; i++) {
			void *tag = events[i].data.ptr;
			uint64_t ticks;

			if (tag == &listener_tag)
				accept_all(listener);
			else if (tag == &control_tag)
				running = read_commands();
			else if (tag == &timer_tag)
				(void)!read(timer, &ticks, sizeof(ticks));
			else
				conn_event(tag, events[i].events, now);
		}
		arm_timer(timer, conn_pump_all(now_us()));
	}
	conn_cut_all();
	return 0;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
	    {"delay", required_argument, NULL, 'd'},
	    {"rate", required_argument, NULL, 'r'},
	    {"shared", no_argument, NULL, 'S'},
	    {"sftp", no_argument, NULL, 's'},
	    {NULL, 0, NULL, 0},
	};
	uint64_t number;
	int opt, listener;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			config.sftp = true;
		else if (opt == 'S')
			config.shared = true;
		else if (opt == 'd' && control_number(optarg, 600000, &number))
			config.shape.delay_us = (int64_t)number * 1000;
		else if (opt == 'r' && control_number(optarg, 1000000000000ull, &number))
			config.shape.rate = number;
		else
			return usage("bad option");
	}
	if (argc - optind != 2 || parse_target(argv[optind], argv[optind + 1]) != 0)
		return usage("a numeric host and a port are needed");
	signal(SIGPIPE, SIG_IGN);
	listener = listen_loopback();
	return listener < 0 ? 1 : loop(listener);
}
