/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A libssh session up to the end of the key exchange: options, algorithms, time limits.
 * Room: ssh. Thread: the back. libssh is used non-blocking throughout, reads no configuration and
 * no known_hosts file, and resolves and connects nothing itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "known_hosts_parts.h"
#include "ssh/ssh_conn.h"
#include "util/buf.h"
#include "util/log.h"

#define CIPHERS_WITH_AES                                                                           \
	"aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,"             \
	"aes128-ctr,aes192-ctr,aes256-ctr"
#define CIPHERS_WITHOUT_AES                                                                        \
	"chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,"             \
	"aes128-ctr,aes192-ctr,aes256-ctr"

#define NO_MATCH "no match for method "

/* --- log ----------------------------------------------------------------------------------- */

/* libssh does not tell whether the server has it, but says so in its log. Of the calling thread. */
static _Thread_local bool strict_kex_seen;

/*
 * Why no algorithm was agreed upon. When the socket becomes writable in the turn in which libssh finds
 * that out, it overwrites its own error with "Socket error: Success".
 */
static _Thread_local char no_match[640];

static void on_log(int priority, const char *function, const char *buffer, void *userdata)
{
	const char *mismatch = strstr(buffer, NO_MATCH);

	strict_kex_seen |= strstr(buffer, "Server supports strict kex") != NULL;
	if (mismatch)
		snprintf(no_match, sizeof(no_match), "%s", mismatch);
	/* Its words are in no log and no callback of libssh. */
	if (strstr(buffer, "Received SSH_MSG_DEBUG"))
		log_verbose(LOG_SSH, "the server sent a debug message");
	/* libssh writes no passwords, but at its highest levels it dumps packets: never asked for. */
	log_debug(LOG_SSH, "libssh: %s", buffer);
}

static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static void log_init(void)
{
	ssh_init();
	ssh_set_log_callback(on_log);
}

void ssh_conn_log_init(void)
{
	pthread_once(&log_once, log_init);
	/* The level belongs to the calling thread. */
	ssh_set_log_level(log_enabled(LOG_SSH, LOG_LEVEL_VERBOSE) ? SSH_LOG_PROTOCOL
	                                                          : SSH_LOG_NONE);
}

const char *ssh_conn_reason(struct ssh_conn *sc)
{
	const char *text = sc->session ? ssh_get_error(sc->session) : "";
	static const char disconnect[] = "Received SSH_MSG_DISCONNECT: ";
	static const char socket_error[] = "Socket error: ";

	if (strncmp(text, disconnect, sizeof(disconnect) - 1) == 0) {
		text = strchr(text + sizeof(disconnect) - 1, ':');
		return text && text[1] ? text + 1 : "disconnected by the server";
	}
	/* A refusal is an answer, and no error none: neither can be why the connection ended. */
	if (strcmp(text, "Socket error: disconnected") == 0 ||
	    strcmp(text, "Socket error: Success") == 0 ||
	    (sc->session && ssh_get_error_code(sc->session) == SSH_REQUEST_DENIED))
		return "the server closed the connection";
	if (strncmp(text, socket_error, sizeof(socket_error) - 1) == 0)
		text += sizeof(socket_error) - 1;
	return text[0] ? text : "connection lost";
}

bool ssh_conn_is_dead(struct ssh_conn *sc)
{
	return !ssh_is_connected(sc->session) ||
	       (ssh_get_status(sc->session) & (SSH_CLOSED | SSH_CLOSED_ERROR));
}

struct prompt ssh_conn_prompt(const struct ssh_conn *sc)
{
	bool ok = !sc->conn.first_done && !sc->cfg.batch_mode;
	struct ssh_conn *root = ssh_conn_root((struct ssh_conn *)sc);

	return (struct prompt){
	    .terminal_ok = ok,
	    .askpass_ok = ok,
	    .watch_fd = root->fd,
	    .deadline_ms = sc->login_deadline_ms,
	};
}

/* --- options ------------------------------------------------------------------------------- */

static bool cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AES) && (c & bit_PCLMUL);
#elif defined(__aarch64__)
	return getauxval(AT_HWCAP) & (1 << 3); /* HWCAP_AES */
#else
	return false;
#endif
}

/* Sets the names one by one only to see which of them libssh has. */
static void tell_unknown(struct ssh_conn *sc, enum ssh_options_e option, const char *value,
                         const char *keyword)
{
	struct buf unknown = BUF_INIT;
	char name[128];

	while (*value) {
		size_t len = strcspn(value, ",");

		snprintf(name, sizeof(name), "%.*s", (int)len, value);
		if (ssh_options_set(sc->session, option, name))
			buf_addf(&unknown, " %s", name);
		value += len;
		value += *value == ',';
	}
	if (unknown.len && !buf_failed(&unknown))
		log_verbose(LOG_SSH, "libssh does not have these of %s:%.*s", keyword,
		            (int)unknown.len, (const char *)unknown.bytes);
	buf_finish(&unknown);
}

/* A list that holds nothing libssh knows is an error; what it does not know of it is left out. */
static int set_list(struct ssh_conn *sc, enum ssh_options_e option, const char *value,
                    const char *keyword, struct link_error *err)
{
	if (!value)
		return 0;
	if (log_enabled(LOG_SSH, LOG_LEVEL_VERBOSE))
		tell_unknown(sc, option, value, keyword);
	if (ssh_options_set(sc->session, option, value) == 0)
		return 0;
	conn_error(err, LINK_FAIL_NETWORK,
	           "no algorithm of %s '%s' is supported by libssh; name others, or use "
	           "-o ssh_command=ssh",
	           keyword, value);
	return -EINVAL;
}

static int set_algorithms(struct ssh_conn *sc, struct link_error *err)
{
	const struct ssh_config *cfg = &sc->cfg;
	const char *ciphers = cfg->ciphers;
	char *host_keys;
	int rc;

	if (!ciphers)
		ciphers = cpu_has_aes() ? CIPHERS_WITH_AES : CIPHERS_WITHOUT_AES;
	rc = set_list(sc, SSH_OPTIONS_CIPHERS_C_S, ciphers, "Ciphers", err);
	if (!rc)
		rc = set_list(sc, SSH_OPTIONS_CIPHERS_S_C, ciphers, "Ciphers", err);
	if (!rc)
		rc = set_list(sc, SSH_OPTIONS_HMAC_C_S, cfg->macs, "MACs", err);
	if (!rc)
		rc = set_list(sc, SSH_OPTIONS_HMAC_S_C, cfg->macs, "MACs", err);
	if (!rc)
		rc = set_list(sc, SSH_OPTIONS_KEY_EXCHANGE, cfg->kex, "KexAlgorithms", err);
	if (!rc)
		rc = set_list(sc, SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES, cfg->pubkey_algorithms,
		              "PubkeyAcceptedAlgorithms", err);
	if (rc)
		return rc;
	rc = host_key_preference(sc, &host_keys, err);
	if (rc)
		return rc;
	rc = set_list(sc, SSH_OPTIONS_HOSTKEYS, host_keys, "HostKeyAlgorithms", err);
	free(host_keys);
	return rc;
}

static int set_options(struct ssh_conn *sc)
{
	const struct ssh_config *cfg = &sc->cfg;
	bool no = false;
	uint64_t rekey_len = cfg->rekey_len;
	uint32_t rekey_s = cfg->rekey_s;
	int rc = 0;

	/* First of all: nothing is read from files behind our back. */
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_PROCESS_CONFIG, &no);
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_HOST, cfg->hostname);
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_USER, cfg->user);
	rc |= ssh_options_set(sc->session, SSH_OPTIONS_FD, &sc->session_fd);
	rc |=
	    ssh_options_set(sc->session, SSH_OPTIONS_COMPRESSION, cfg->compression ? "yes" : "no");
	if (rekey_len)
		rc |= ssh_options_set(sc->session, SSH_OPTIONS_REKEY_DATA, &rekey_len);
	if (rekey_s)
		rc |= ssh_options_set(sc->session, SSH_OPTIONS_REKEY_TIME, &rekey_s);
	return rc ? -EINVAL : 0;
}

int ssh_conn_session_create(struct ssh_conn *sc, struct link_error *err)
{
	ssh_conn_log_init();
	sc->session_fd = fcntl(sc->fd, F_DUPFD_CLOEXEC, 3);
	if (sc->session_fd < 0)
		return -errno;
	sc->session = ssh_new();
	if (!sc->session)
		return -ENOMEM;
	memset(&sc->socket_counter, 0, sizeof(sc->socket_counter));
	memset(&sc->packet_counter, 0, sizeof(sc->packet_counter));
	ssh_set_counters(sc->session, &sc->socket_counter, &sc->packet_counter);
	if (set_options(sc)) {
		conn_error(err, LINK_FAIL_NETWORK, "libssh: %s", ssh_get_error(sc->session));
		return -EINVAL;
	}
	return set_algorithms(sc, err);
}

/* --- key exchange -------------------------------------------------------------------------- */

struct pollfd ssh_conn_pollfd(const struct ssh_conn *sc)
{
	struct pollfd pfd = {.fd = sc->fd, .events = POLLIN};

	if (ssh_get_poll_flags(sc->session) & SSH_WRITE_PENDING)
		pfd.events |= POLLOUT;
	return pfd;
}

int ssh_conn_wait(struct ssh_conn *sc, int64_t deadline_ms)
{
	struct ssh_conn *root = ssh_conn_root(sc);

	for (;;) {
		struct pollfd fds[3] = {
		    ssh_conn_pollfd(sc),
		    sc->via ? ssh_conn_pollfd(root) : (struct pollfd){.fd = -1},
		    {.fd = root->proxy.err_fd, .events = POLLIN},
		};
		int n;

		/* What it has put into the way is in these events. */
		if (jump_pump(sc))
			continue;
		n = conn_wait(&sc->top->conn, fds, 3, deadline_ms);
		if (n > 0 && fds[2].revents)
			child_read_stderr(&root->proxy, !sc->top->conn.first_done);
		if (n <= 0 || !sc->via || fds[0].revents)
			return n > 0 ? 1 : n;
	}
}

void ssh_conn_proxy_error(struct ssh_conn *sc, struct link_error *err)
{
	char line[256];
	struct pollfd pfd = {.fd = sc->proxy.err_fd, .events = POLLIN};

	if (child_wait(&sc->proxy, 300) != -ETIMEDOUT)
		while (child_read_stderr(&sc->proxy, false) && poll(&pfd, 1, 100) > 0)
			;
	child_last_line(&sc->proxy, line, sizeof(line));
	conn_error(err, LINK_FAIL_PROXY, "the proxy for '%s' ended%s%s; check ProxyCommand",
	           sc->cfg.host, line[0] ? ": " : " without a word", line);
}

/* The limit of the phase that the handshake is in. */
static int64_t handshake_deadline(struct ssh_conn *sc, int64_t banner_deadline_ms)
{
	return ssh_get_serverbanner(sc->session) ? sc->login_deadline_ms : banner_deadline_ms;
}

static int handshake_timed_out(struct ssh_conn *sc, struct link_error *err)
{
	if (ssh_get_serverbanner(sc->session))
		conn_error(err, LINK_FAIL_NETWORK,
		           "the key exchange with '%s' did not end within %u s; try again, or "
		           "raise -o login_timeout",
		           sc->cfg.host, sc->cfg.login_timeout_s);
	else
		conn_error(err, LINK_FAIL_NETWORK,
		           "no SSH banner from '%s' port %u within %u s; check that this is an "
		           "SSH server, or raise -o banner_timeout",
		           sc->cfg.hostname, sc->cfg.port, sc->cfg.banner_timeout_s);
	return -ETIMEDOUT;
}

/* Names both sides' lists, and the keyword that changes ours. */
static void explain_no_match(struct ssh_conn *sc, struct link_error *err)
{
	static const struct {
		const char *method, *option;
	} options[] = {
	    {"kex", "KexAlgorithms=+NAME"},     {"server host key", "HostKeyAlgorithms=+NAME"},
	    {"encryption", "Ciphers=+NAME"},    {"mac", "MACs=+NAME"},
	    {"compression", "Compression=yes"},
	};
	const char *method = no_match + strlen(NO_MATCH), *option = options[0].option;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strncmp(method, options[i].method, strlen(options[i].method)) == 0)
			option = options[i].option;
	conn_error(err, LINK_FAIL_NETWORK,
	           "'%s' and we have no algorithm in common: %s; allow one of the server's with "
	           "-o %s, or use -o ssh_command=ssh where libssh has none of them",
	           sc->cfg.host, no_match, option);
}

static int handshake_failed(struct ssh_conn *sc, struct link_error *err)
{
	if (sc->refused_types.count > 0 && strstr(no_match, NO_MATCH "server host key"))
		return host_key_none_named(sc, err);
	if (sc->proxy.pid && !ssh_get_serverbanner(sc->session))
		ssh_conn_proxy_error(sc, err);
	else if (no_match[0])
		explain_no_match(sc, err);
	else
		conn_error(err, LINK_FAIL_NETWORK,
		           "key exchange with '%s' port %u failed: %s; check that this is an SSH "
		           "server of version 2, its log may tell more",
		           sc->cfg.hostname, sc->cfg.port, ssh_conn_reason(sc));
	return -EPROTO;
}

/* The length of a number in a key, without leading zeros. Return: the rest behind it, or NULL. */
static const uint8_t *skip_number(const uint8_t *at, const uint8_t *end, unsigned *bits)
{
	size_t len;

	if (end - at < 4)
		return NULL;
	len = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
	at += 4;
	if ((size_t)(end - at) < len)
		return NULL;
	end = at + len;
	while (at < end && *at == 0)
		at++;
	*bits = at < end ? (unsigned)(end - at) * 8 - (unsigned)__builtin_clz(*at) + 24 : 0;
	return end;
}

/* Return: the bits of the server's RSA key, 0 when it is another kind. */
static unsigned server_rsa_bits(struct ssh_conn *sc)
{
	ssh_key key = NULL;
	char *text = NULL;
	uint8_t *blob = NULL;
	const uint8_t *at, *end;
	unsigned bits = 0;
	ssize_t len = -1;

	if (ssh_get_server_publickey(sc->session, &key) != SSH_OK)
		return 0;
	if (ssh_key_type(key) == SSH_KEYTYPE_RSA &&
	    ssh_pki_export_pubkey_base64(key, &text) == SSH_OK)
		blob = malloc(strlen(text));
	if (blob)
		len = known_hosts_base64_decode(text, strlen(text), blob);
	if (len > 0) {
		/* the name of the type, the exponent, the modulus */
		at = blob;
		end = blob + len;
		for (int i = 0; at && i < 3; i++)
			at = skip_number(at, end, &bits);
	}
	free(blob);
	ssh_string_free_char(text);
	ssh_key_free(key);
	return bits;
}

/* libssh would say that the signature is wrong, so the length is looked at here, and told to it
 * afterwards, for the keys of the login. */
static int check_rsa_size(struct ssh_conn *sc, struct link_error *err)
{
	int min_bits = (int)sc->cfg.rsa_min_bits;
	unsigned bits;

	if (!min_bits)
		return 0;
	bits = server_rsa_bits(sc);
	if (bits && bits < (unsigned)min_bits) {
		conn_error(err, LINK_FAIL_HOSTKEY,
		           "the RSA host key of '%s' has %u bits, RequiredRSASize asks for %d; "
		           "use another type of key (HostKeyAlgorithms), or lower that",
		           sc->cfg.host, bits, min_bits);
		return -EACCES;
	}
	return ssh_options_set(sc->session, SSH_OPTIONS_RSA_MIN_SIZE, &min_bits) ? -EINVAL : 0;
}

int ssh_conn_handshake(struct ssh_conn *sc, struct link_error *err)
{
	int64_t banner_deadline_ms =
	    sc->cfg.banner_timeout_s ? conn_now_ms() + (int64_t)sc->cfg.banner_timeout_s * 1000 : 0;
	int rc;

	ssh_set_blocking(sc->session, 0);
	strict_kex_seen = false;
	no_match[0] = '\0';
	if (ssh_get_log_level() < SSH_LOG_DEBUG)
		ssh_set_log_level(SSH_LOG_DEBUG);
	while ((rc = ssh_connect(sc->session)) == SSH_AGAIN) {
		int n = ssh_conn_wait(sc, handshake_deadline(sc, banner_deadline_ms));

		if (n == 0)
			return handshake_timed_out(sc, err);
		if (n < 0)
			return n;
	}
	sc->strict_kex = strict_kex_seen;
	ssh_conn_log_init();
	if (rc != SSH_OK)
		return handshake_failed(sc, err);
	/* libssh has set the socket to blocking, but a send must never hold up what comes in. */
	fcntl(sc->session_fd, F_SETFL, fcntl(sc->session_fd, F_GETFL) | O_NONBLOCK);
	return check_rsa_size(sc, err);
}
