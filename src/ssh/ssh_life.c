/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is the server still there? ServerAliveInterval and ServerAliveCountMax at the SSH level.
 *
 * Any byte received counts. After an interval of silence a keepalive@openssh.com request goes out,
 * which sshd itself answers whatever its sftp-server is doing; after so many intervals without a
 * byte the connection is lost.
 * Room: ssh. Thread: the back. Spec: ssh_config(5) ServerAliveInterval; RFC 4254 section 4.
 */
#include <errno.h>
#include <libssh/server.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "ssh/ssh_conn.h"
#include "util/log.h"

/* How long an urgent probe may stay unanswered when no interval is configured. */
#define URGENT_MS 15000

/* A machine that was suspended for longer than this asks at once. */
#define JUMP_MS 3000

/* Suspended time counts: that is the point. */
static int64_t boot_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t interval_ms(const struct ssh_conn *sc)
{
	return (int64_t)sc->cfg.alive_interval_s * 1000;
}

static void arm(struct ssh_conn *sc, int64_t at_ms)
{
	struct itimerspec its = {
	    .it_value = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000},
	};

	sc->life.armed_ms = at_ms;
	if (timerfd_settime(sc->life.timer_fd, TFD_TIMER_ABSTIME, &its, NULL))
		log_error(LOG_SSH, "timerfd: %s", strerror(errno));
}

int ssh_life_start(struct ssh_conn *sc)
{
	sc->life = (struct ssh_life){
	    .timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
	    .heard_ms = boot_ms(),
	};
	if (sc->life.timer_fd < 0)
		return -errno;
	if (sc->cfg.alive_interval_s)
		arm(sc, sc->life.heard_ms + interval_ms(sc));
	return 0;
}

void ssh_life_stop(struct ssh_conn *sc)
{
	if (sc->life.timer_fd >= 0)
		close(sc->life.timer_fd);
	sc->life.timer_fd = -1;
}

void ssh_life_look(struct ssh_conn *sc)
{
	if (sc->socket_counter.in_bytes == sc->life.seen_in_len)
		return;
	sc->life.seen_in_len = sc->socket_counter.in_bytes;
	sc->life.heard_ms = boot_ms();
	sc->life.unanswered = 0;
	sc->life.urgent_ms = 0;
}

/*
 * A request that has been answered is only collected by the next call, which then sends nothing;
 * so twice: whatever the state, afterwards exactly one is under way. Never waits, for the session
 * is non-blocking.
 */
static void send_probe(struct ssh_conn *sc)
{
	log_debug(LOG_SSH, "asking the server for a sign of life");
	ssh_send_keepalive(sc->session);
	ssh_send_keepalive(sc->session);
}

void ssh_life_probe(struct conn *c)
{
	struct ssh_conn *sc = ssh_conn_of(c);
	int64_t now_ms = boot_ms();
	int64_t wait_ms = sc->cfg.alive_interval_s ? interval_ms(sc) : URGENT_MS;

	if (sc->life.urgent_ms)
		return;
	send_probe(sc);
	sc->life.urgent_ms = now_ms + wait_ms;
	if (!sc->life.armed_ms || sc->life.armed_ms > sc->life.urgent_ms)
		arm(sc, sc->life.urgent_ms);
}

static void lost(struct ssh_conn *sc, int64_t now_ms)
{
	conn_fail(&sc->conn, LINK_FAIL_NETWORK, "'%s' has not answered for %lld s: connection lost",
	          sc->cfg.host, (long long)((now_ms - sc->life.heard_ms) / 1000));
}

void ssh_life_tick(struct ssh_conn *sc)
{
	struct ssh_life *life = &sc->life;
	int64_t now_ms = boot_ms();
	int64_t late_ms = now_ms - life->armed_ms;
	uint64_t expirations;

	if (read(life->timer_fd, &expirations, sizeof(expirations)) < 0)
		return;
	life->armed_ms = 0;
	ssh_life_look(sc);
	if (life->urgent_ms && now_ms >= life->urgent_ms) {
		lost(sc, now_ms);
		return;
	}
	if (!sc->cfg.alive_interval_s)
		return;
	if (late_ms > JUMP_MS) {
		/* We were suspended or starved: the silence was ours, not the server's. */
		life->heard_ms = now_ms;
		life->unanswered = 0;
		ssh_life_probe(&sc->conn);
	} else if (now_ms - life->heard_ms < interval_ms(sc)) {
		arm(sc, life->heard_ms + interval_ms(sc));
		return;
	} else if (life->unanswered++ >= sc->cfg.alive_count_max) {
		lost(sc, now_ms);
		return;
	} else {
		send_probe(sc);
	}
	arm(sc, now_ms + interval_ms(sc));
}
