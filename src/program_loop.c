/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop: one epoll over the kernel, the connection's inbox and signals, and the clock's timers.
 * Thread: the main one; nothing here blocks but epoll_wait().
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "route.h"
#include "util/log.h"

/* The machine has slept when boot time gains this on monotonic time in one turn. */
#define SLEPT_MS 1000

static int watch(struct program *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Never expires, but is told when the clock is set, which waking up does: timerfd_create(2). */
static int watch_clock(int fd)
{
	const struct itimerspec never = {.it_value.tv_sec = (time_t)1 << 33};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

int program_loop_init(struct program *p)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->signal_fd < 0 || p->epoll_fd < 0 || p->clock_fd < 0 || watch_clock(p->clock_fd) < 0)
		return -errno;
	p->route_fd = route_open();
	return 0;
}

static void unmount(struct program *p)
{
	if (p->unmounted)
		return;
	p->unmounted = true;
	if (fusefs_fd(p->fusefs) >= 0)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fusefs_fd(p->fusefs), NULL);
	fusefs_unmount(p->fusefs);
}

static void take_signals(struct program *p)
{
	struct signalfd_siginfo info;

	while (read(p->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1) {
			log_info(LOG_MAIN, "asked to reconnect by SIGUSR1");
			program_backend_reconnect(p);
			continue;
		}
		log_info(LOG_MAIN, "ended by signal %u", info.ssi_signo);
		if (p->unmounted)
			p->hurry = true;
		unmount(p);
	}
}

static int64_t suspended_ms(void)
{
	struct timespec boot, mono;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	return (boot.tv_sec - mono.tv_sec) * 1000 + (boot.tv_nsec - mono.tv_nsec) / 1000000;
}

/* After a sleep the connection is most likely dead: ask at once instead of with the next probe. */
static void notice_sleep(struct program *p)
{
	int64_t now_ms = suspended_ms();

	if (now_ms - p->suspended_ms > SLEPT_MS) {
		log_info(LOG_MAIN, "the machine has slept, looking whether the server is there");
		program_backend_wake(p);
	}
	p->suspended_ms = now_ms;
}

static void take_clock(struct program *p)
{
	uint64_t expirations;

	/* That it wakes the loop is all: notice_sleep() has looked what happened. */
	if (read(p->clock_fd, &expirations, sizeof(expirations)) < 0 && errno == ECANCELED)
		watch_clock(p->clock_fd);
}

static void take_routes(struct program *p)
{
	if (!route_appeared(p->route_fd))
		return;
	log_verbose(LOG_MAIN, "a route has appeared");
	program_backend_wake(p);
}

static void turn(struct program *p, int timeout_ms)
{
	struct epoll_event events[8];
	int n = epoll_wait(p->epoll_fd, events, 8, timeout_ms);

	clock_read(&p->clock);
	notice_sleep(p);
	program_measure(p);
	link_dispatch(p->link);
	for (int i = 0; i < n; i++) {
		int fd = events[i].data.fd;

		if (fd == p->signal_fd) {
			take_signals(p);
		} else if (fd == p->clock_fd) {
			take_clock(p);
		} else if (fd == p->route_fd) {
			take_routes(p);
		} else if (!p->unmounted && fd == fusefs_fd(p->fusefs)) {
			if (fusefs_dispatch(p->fusefs) < 0)
				unmount(p);
		}
	}
	clock_run(&p->clock);
}

static void on_drained(void *arg)
{
	struct program *p = arg;

	p->drained = true;
}

/* The kernel is gone. What programs wrote goes out, for as long as the user allows. */
static int drain(struct program *p)
{
	int64_t deadline_ms = p->clock.now_ms + p->options->drain_timeout_ms;

	vfs_drain(p->vfs, on_drained, p);
	while (!p->drained && !p->hurry && p->clock.now_ms < deadline_ms) {
		int64_t left_ms = deadline_ms - p->clock.now_ms;
		int timeout_ms = clock_timeout_ms(&p->clock);

		if (timeout_ms < 0 || timeout_ms > left_ms)
			timeout_ms = (int)(left_ms < 1000 ? left_ms : 1000);
		turn(p, timeout_ms);
	}
	size_t names = vfs_log_undelivered(p->vfs);

	if (p->drained)
		return names ? PROGRAM_EXIT_UNDELIVERED : PROGRAM_EXIT_OK;

	struct vfs_stats stats;
	vfs_get_stats(p->vfs, &stats);
	log_error(LOG_MAIN, "unmounted with %llu bytes undelivered",
	          (unsigned long long)(stats.dirty_len + stats.pending_len));
	return PROGRAM_EXIT_UNDELIVERED;
}

int program_loop(struct program *p)
{
	int r = watch(p, p->signal_fd);

	if (r == 0)
		r = watch(p, fusefs_fd(p->fusefs));
	if (r == 0)
		r = watch(p, link_dispatch_fd(p->link));
	if (r == 0)
		r = watch(p, p->clock_fd);
	if (r == 0 && p->route_fd >= 0)
		r = watch(p, p->route_fd);
	if (r) {
		log_error(LOG_MAIN, "cannot watch descriptors: errno %d", -r);
		unmount(p);
	}
	p->suspended_ms = suspended_ms();
	clock_read(&p->clock);
	while (!p->unmounted)
		turn(p, clock_timeout_ms(&p->clock));
	log_info(LOG_MAIN, "unmounted");
	return drain(p);
}
