/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An SSH connection as a struct link: connecting, the end, facts.
 * Room: ssh. Thread: the back, except the create function.
 */
#include "ssh/ssh_link.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/dial.h"
#include "ssh/ssh_conn.h"
#include "ssh_strings.h"
#include "util/log.h"

/* Servers allow ten sessions by default; two are left for the user's other tools. */
#define LANE_MAX 8

#define FEED_START_LEN (256u << 10)

/* A goodbye may take this long to leave. */
#define GOODBYE_MS 300

/* --- connecting ---------------------------------------------------------------------------- */

/* Asked for once; the answer serves every later connection. Return: 0 or a negative errno. */
static int ask_proxy_password(struct ssh_conn *sc, struct link_error *err)
{
	struct proxy *proxy = &sc->cfg.proxy;
	struct prompt prompt = ssh_conn_prompt(sc);
	char text[600];
	int rc;

	if (!proxy->user || proxy->password || proxy->type == PROXY_SOCKS4 ||
	    proxy->type == PROXY_SOCKS4A)
		return 0;
	snprintf(text, sizeof(text), "%s's password for the proxy %s: ", proxy->user, proxy->host);
	rc = prompt_ask(&prompt, PROMPT_SECRET, text, &proxy->password);
	if (rc)
		conn_error(err, LINK_FAIL_PROXY,
		           "there is no password for user '%s' of proxy '%s'; name a file with -o "
		           "proxy_password_file",
		           proxy->user, proxy->host);
	return rc;
}

/* Return: a connected descriptor or a negative errno with `err` filled. */
static int connect_by_proxy(struct ssh_conn *sc, const struct dial *to, struct link_error *err)
{
	struct proxy *proxy = &sc->cfg.proxy;
	struct dial d = *to;
	char address[INET_ADDRSTRLEN];
	const char *host = to->host;
	int64_t deadline_ms;
	int rc = ask_proxy_password(sc, err);
	int fd;

	if (!rc && proxy->type == PROXY_SOCKS4) {
		rc = dial_lookup_ipv4(&sc->top->conn, to, address, sizeof(address), err);
		host = address;
	}
	if (rc)
		return rc;
	d.host = proxy->host;
	d.port = proxy->port;
	deadline_ms = conn_now_ms() + (int64_t)d.timeout_s * 1000;
	fd = dial_tcp(&sc->top->conn, &d, err);
	if (fd < 0) {
		struct link_error why = *err;

		conn_error(err, LINK_FAIL_PROXY, "proxy: %.900s", why.text);
		return fd;
	}
	rc = proxy_pass(&sc->top->conn, fd, proxy, host, to->port, deadline_ms, err);
	if (!sc->cfg.keep_password) {
		secret_destroy(proxy->password);
		proxy->password = NULL;
	}
	if (rc) {
		close(fd);
		return rc;
	}
	log_info(LOG_SSH, "connected to '%s' port %u by proxy '%s'", to->host, to->port,
	         proxy->host);
	return fd;
}

static int connect_direct(struct ssh_conn *sc, struct link_error *err)
{
	const struct ssh_config *cfg = &sc->cfg;
	struct dial d = {
	    .host = cfg->hostname,
	    .port = cfg->port,
	    .family = cfg->address_family,
	    .bind_address = cfg->bind_address,
	    .bind_interface = cfg->bind_interface,
	    .bind_port = cfg->bind_port,
	    .attempts = cfg->connection_attempts,
	    .timeout_s = cfg->connect_timeout_s,
	    .keepalive = cfg->tcp_keepalive,
	    .ip_qos = cfg->ip_qos,
	};
	int fd =
	    cfg->proxy.type ? connect_by_proxy(sc, &d, err) : dial_tcp(&sc->top->conn, &d, err);

	if (fd < 0)
		return fd;
	dial_set_abort(fd, true);
	sc->address[0] = '\0';
	if (cfg->proxy.type)
		return fd;
	dial_peer_name(fd, sc->address, sizeof(sc->address));
	log_info(LOG_SSH, "connected to '%s' (%s) port %u", cfg->hostname, sc->address, cfg->port);
	return fd;
}

static int reach(struct ssh_conn *sc, struct link_error *err)
{
	if (sc->via)
		return jump_connect(sc, err);
	if (sc->cfg.proxy_command)
		return proxy_command_connect(sc, err);
	return connect_direct(sc, err);
}

static void session_end(struct ssh_conn *sc, bool polite);

/* One connection, to the end of its login. */
static int establish(struct ssh_conn *sc, struct link_error *err)
{
	int rc = reach(sc, err);

	if (rc < 0)
		return rc;
	sc->fd = rc;
	sc->login_deadline_ms =
	    sc->cfg.login_timeout_s ? conn_now_ms() + (int64_t)sc->cfg.login_timeout_s * 1000 : 0;
	rc = ssh_conn_session_create(sc, err);
	if (!rc)
		rc = ssh_conn_handshake(sc, err);
	if (!rc)
		rc = host_key_check(sc, err);
	if (!rc)
		rc = login_run(sc, err);
	return rc;
}

int ssh_conn_establish(struct ssh_conn *sc, struct link_error *err)
{
	int rc;

	if (sc->lender) {
		sc->cfg.proxy = sc->lender->cfg.proxy;
		sc->store = sc->lender->store;
		sc->pinned_key = sc->lender->pinned_key;
		sc->pinned_key_len = sc->lender->pinned_key_len;
	}
	login_store_lock(&sc->store);
	/*
	 * A server shows one of its keys: the next connection asks for those of other types. And it
	 * allows only so many attempts to log in.
	 */
	while ((rc = establish(sc, err)) == -EKEYREJECTED || rc == -ERESTART)
		session_end(sc, false);
	strings_finish(&sc->refused_types);
	strings_finish(&sc->refused_keys);
	if (!rc)
		log_info(LOG_SSH, "logged in to '%s' as '%s' (%s, %s)", sc->cfg.host, sc->cfg.user,
		         ssh_get_serverbanner(sc->session), ssh_get_cipher_out(sc->session));
	return rc;
}

int ssh_conn_event_start(struct ssh_conn *sc)
{
	sc->event = ssh_event_new();
	if (!sc->event || ssh_event_add_session(sc->event, sc->session) != SSH_OK)
		return -ENOMEM;
	return 0;
}

static void copy_fact(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
}

static void note_facts(struct ssh_conn *sc)
{
	struct link_facts *f = &sc->conn.facts;

	pthread_mutex_lock(&sc->conn.facts_lock);
	copy_fact(f->server_banner, sizeof(f->server_banner), ssh_get_serverbanner(sc->session));
	copy_fact(f->client_banner, sizeof(f->client_banner), ssh_get_clientbanner(sc->session));
	copy_fact(f->cipher, sizeof(f->cipher), ssh_get_cipher_out(sc->session));
	copy_fact(f->mac, sizeof(f->mac), ssh_get_hmac_out(sc->session));
	copy_fact(f->kex, sizeof(f->kex), ssh_get_kex_algo(sc->session));
	f->strict_kex = sc->strict_kex;
	copy_fact(f->user, sizeof(f->user), sc->cfg.user);
	pthread_mutex_unlock(&sc->conn.facts_lock);
}

static int run_session(struct ssh_conn *sc)
{
	int rc = ssh_life_start(sc);

	if (rc)
		return rc;
	rc = ssh_conn_event_start(sc);
	if (rc)
		return rc;
	sc->fed_len = 0;
	sc->feed_max_len = FEED_START_LEN;
	sc->dirty = false;
	memset(sc->spares, 0, sizeof(sc->spares)); /* the last session has freed them */
	sc->spares_done = sc->refused = false;
	return 0;
}

static int ssh_conn_connect(struct conn *c, struct link_error *err)
{
	struct ssh_conn *sc = ssh_conn_of(c);
	int rc = ssh_conn_establish(sc, err);

	if (!rc)
		rc = run_session(sc);
	if (!rc)
		note_facts(sc);
	return rc;
}

/* --- the end ------------------------------------------------------------------------------- */

static void say_goodbye(struct ssh_conn *sc)
{
	int64_t deadline_ms = conn_now_ms() + GOODBYE_MS;

	/* What is on its way out first, as long as the server takes it. */
	do {
		jump_pump(sc);
		ssh_event_dopoll(sc->event, 10);
	} while ((ssh_get_status(sc->session) & SSH_WRITE_PENDING) && !ssh_conn_is_dead(sc) &&
	         conn_now_ms() < deadline_ms);
	if (ssh_conn_is_dead(sc))
		return;
	if (!sc->via)
		dial_set_abort(sc->fd, false);
	ssh_session_set_disconnect_message(sc->session, "unmounted");
	ssh_disconnect(sc->session);
	while (jump_pump(sc) && conn_now_ms() < deadline_ms)
		;
#if LIBSSH_VERSION_INT >= SSH_VERSION_INT(0, 10, 0)
	/* Since then libssh leaves a descriptor that it was given open. */
	close(sc->session_fd);
#endif
}

/* Ends a session, then those that carry it. */
static void session_end(struct ssh_conn *sc, bool polite)
{
	if (sc->session) {
		if (polite && sc->event)
			say_goodbye(sc);
		if (sc->event) {
			ssh_event_remove_session(sc->event, sc->session);
			ssh_event_free(sc->event);
		}
		ssh_free(sc->session);
	} else if (sc->session_fd >= 0) {
		close(sc->session_fd);
	}
	sc->session = NULL;
	sc->event = NULL;
	sc->session_fd = -1;
	jump_end(sc);
	if (sc->via) {
		if (sc->fd >= 0)
			close(sc->fd);
		session_end(sc->via, polite);
	} else if (sc->proxy.pid) {
		child_end(&sc->proxy, polite || !sc->top->conn.first_done);
	} else if (sc->fd >= 0) {
		close(sc->fd); /* the last reference: this sends the RST */
	}
	sc->fd = -1;
}

static void ssh_conn_fence(struct conn *c, bool polite)
{
	struct ssh_conn *sc = ssh_conn_of(c);

	/* Freeing the session frees its channels. */
	if (!polite)
		ssh_lanes_forget(sc);
	session_end(sc, polite);
	ssh_life_stop(sc);
}

/* What is not struct conn. */
static void release(struct ssh_conn *sc)
{
	if (sc->via)
		release(sc->via);
	free(sc->via);
	if (sc->lender)
		return;
	login_store_finish(&sc->store);
	free(sc->pinned_key);
	ssh_config_finish(&sc->cfg);
}

static void ssh_conn_finish(struct conn *c)
{
	release(ssh_conn_of(c));
}

static const struct conn_ops ssh_conn_ops = {
    .connect = ssh_conn_connect,
    .lane_create = ssh_lane_create,
    .lane_open = ssh_lane_open,
    .lane_send_end = ssh_lane_send_end,
    .lane_destroy = ssh_lane_destroy,
    .pump = ssh_conn_pump,
    .probe = ssh_life_probe,
    .fence = ssh_conn_fence,
    .finish = ssh_conn_finish,
};

static void prepare(struct ssh_conn *sc, struct ssh_conn *top)
{
	sc->top = top;
	sc->proxy = CHILD_INIT;
	sc->jump.fd = sc->fd = sc->session_fd = sc->life.timer_fd = -1;
}

/* Takes over the contents of `cfg`, also on failure. Return: 0 or -ENOMEM. */
static int configure(struct ssh_conn *sc, struct ssh_conn *top, struct ssh_config *cfg)
{
	struct ssh_config *jump = cfg->jump;
	int rc = 0;

	prepare(sc, top);
	sc->cfg = *cfg;
	sc->cfg.jump = NULL;
	*cfg = (struct ssh_config){0};
	if (jump) {
		sc->via = calloc(1, sizeof(*sc->via));
		if (sc->via)
			rc = configure(sc->via, top, jump);
		else
			rc = -ENOMEM;
		ssh_config_finish(jump);
		free(jump);
	}
	return rc;
}

struct link *ssh_link_create(struct ssh_config *cfg)
{
	struct ssh_conn *sc = calloc(1, sizeof(*sc));

	if (!sc) {
		ssh_config_finish(cfg);
		return NULL;
	}
	if (configure(sc, sc, cfg) == 0 && conn_init(&sc->conn, &ssh_conn_ops, LANE_MAX, true) == 0)
		return &sc->conn.link;
	release(sc);
	free(sc);
	return NULL;
}

/* Return: 0 or -ENOMEM. */
static int borrow(struct ssh_conn *sc, struct ssh_conn *top, struct ssh_conn *lender)
{
	prepare(sc, top);
	sc->lender = lender;
	sc->cfg = lender->cfg;
	sc->conn.first_done = true;
	if (!lender->via)
		return 0;
	sc->via = calloc(1, sizeof(*sc->via));
	return sc->via ? borrow(sc->via, top, lender->via) : -ENOMEM;
}

struct link *ssh_link_create_more(struct link *first)
{
	struct ssh_conn *sc = calloc(1, sizeof(*sc));

	if (!sc)
		return NULL;
	if (borrow(sc, sc, ssh_conn_of((struct conn *)first)) == 0 &&
	    conn_init(&sc->conn, &ssh_conn_ops, LANE_MAX, true) == 0)
		return &sc->conn.link;
	release(sc);
	free(sc);
	return NULL;
}

const char *ssh_link_version(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "libssh %s, %s", ssh_version(0),
	         OpenSSL_version(OPENSSL_VERSION));
	return text;
}
