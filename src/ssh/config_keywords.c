/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keywords of ssh_config that take effect: what their values mean, and where they go.
 * Room: ssh. Thread: the caller's, before any other. Spec: ssh_config(5).
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config_parts.h"
#include "ssh/conn.h"
#include "util/num.h"

/* A name, which may be "none" like any other. */
static int set_name(struct ssh_config *c, const char *value, void *member)
{
	char **at = member;

	free(*at);
	*at = strdup(value);
	return *at ? 0 : -ENOMEM;
}

static int set_string(struct ssh_config *c, const char *value, void *member)
{
	char **at = member;

	if (strcasecmp(value, "none") != 0)
		return set_name(c, value, member);
	free(*at);
	*at = NULL;
	return 0;
}

static int set_bool(struct ssh_config *c, const char *value, void *member)
{
	bool *at = member;

	*at = strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0;
	return 0;
}

/* Other words narrow what is allowed and do not switch it off: "host-bound". */
static int set_unless_no(struct ssh_config *c, const char *value, void *member)
{
	bool *at = member;

	*at = strcasecmp(value, "no") != 0 && strcasecmp(value, "false") != 0 &&
	      strcasecmp(value, "none") != 0;
	return 0;
}

static int set_unsigned(struct ssh_config *c, const char *value, void *member)
{
	uint64_t number;

	if (num_parse_u64(value, 10, 0, UINT32_MAX, &number))
		return -EINVAL;
	*(unsigned *)member = (unsigned)number;
	return 0;
}

static int set_time(struct ssh_config *c, const char *value, void *member)
{
	uint64_t seconds;

	if (strcasecmp(value, "none") == 0)
		return 0;
	if (num_parse_time(value, UINT32_MAX, &seconds))
		return -EINVAL;
	*(unsigned *)member = (unsigned)seconds;
	return 0;
}

static int add_string(struct ssh_config *c, const char *value, void *member)
{
	return strings_add(member, value);
}

/* Does it begin as absolute paths do, before and after expansion? */
static bool begins_path(const char *word)
{
	return strchr("/~%$", word[0]) || strcasecmp(word, "none") == 0;
}

/*
 * `ssh -G` prints several paths without quotes, so a space may be part of one: a word that does not
 * begin as a path is the rest of the one before it, unless only the word alone is there.
 */
static int add_paths(struct ssh_config *c, const char *value, void *member)
{
	struct ssh_strings words = {0}, *paths = member;
	int rc = strings_add_words(&words, value);

	for (size_t i = 0; !rc && i < words.count; i++) {
		char **last = paths->count > 0 ? &paths->at[paths->count - 1] : NULL;
		char *joined = NULL;

		if (!last || i == 0 || begins_path(words.at[i])) {
			rc = strings_add(paths, words.at[i]);
			continue;
		}
		if (asprintf(&joined, "%s %s", *last, words.at[i]) < 0) {
			rc = -ENOMEM;
		} else if (access(joined, F_OK) != 0 && access(words.at[i], F_OK) == 0) {
			rc = strings_add(paths, words.at[i]);
			free(joined);
		} else {
			free(*last);
			*last = joined;
		}
	}
	strings_finish(&words);
	return rc;
}

static int set_family(struct ssh_config *c, const char *value, void *member)
{
	c->address_family = strcasecmp(value, "inet") == 0    ? AF_INET
	                    : strcasecmp(value, "inet6") == 0 ? AF_INET6
	                                                      : AF_UNSPEC;
	return 0;
}

static int set_policy(struct ssh_config *c, const char *value, void *member)
{
	static const struct {
		const char *name;
		enum ssh_host_key_policy policy;
	} names[] = {
	    {"ask", SSH_HOST_KEY_ASK},
	    {"yes", SSH_HOST_KEY_YES},
	    {"true", SSH_HOST_KEY_YES},
	    {"no", SSH_HOST_KEY_NO},
	    {"off", SSH_HOST_KEY_NO},
	    {"false", SSH_HOST_KEY_NO},
	    {"accept-new", SSH_HOST_KEY_ACCEPT_NEW},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(value, names[i].name) == 0) {
			c->host_key_policy = names[i].policy;
			return 0;
		}
	}
	return -EINVAL;
}

/* "bytes seconds", or as the user writes it: "1G 1h", "default none". */
static int set_rekey(struct ssh_config *c, const char *value, void *member)
{
	char bytes[32], seconds[32] = "0";
	uint64_t number;

	if (sscanf(value, "%31s %31s", bytes, seconds) < 1)
		return -EINVAL;
	if (strcasecmp(bytes, "default") != 0) {
		if (num_parse_size(bytes, 0, UINT64_MAX, &number))
			return -EINVAL;
		c->rekey_len = number;
	}
	if (strcasecmp(seconds, "none") != 0) {
		if (num_parse_time(seconds, UINT32_MAX, &number))
			return -EINVAL;
		c->rekey_s = (uint32_t)number;
	}
	return 0;
}

/* Two values: interactive and bulk sessions. Ours is of the second kind. */
static int set_ip_qos(struct ssh_config *c, const char *value, void *member)
{
	static const struct {
		const char *name;
		int tos;
	} names[] = {
	    {"ef", 0xb8},   {"le", 0x04},   {"lowdelay", 0x10}, {"throughput", 0x08},
	    {"none", -1},   {"cs0", 0x00},  {"cs1", 0x20},      {"cs2", 0x40},
	    {"cs3", 0x60},  {"cs4", 0x80},  {"cs5", 0xa0},      {"cs6", 0xc0},
	    {"cs7", 0xe0},  {"af11", 0x28}, {"af12", 0x30},     {"af13", 0x38},
	    {"af21", 0x48}, {"af22", 0x50}, {"af23", 0x58},     {"af31", 0x68},
	    {"af32", 0x70}, {"af33", 0x78}, {"af41", 0x88},     {"af42", 0x90},
	    {"af43", 0x98},
	};
	const char *last = strrchr(value, ' ');
	uint64_t number;

	last = last ? last + 1 : value;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(last, names[i].name) == 0) {
			c->ip_qos = names[i].tos;
			return 0;
		}
	}
	if (strncasecmp(last, "0x", 2) == 0) {
		if (num_parse_u64(last + 2, 16, 0, 255, &number))
			return -EINVAL;
	} else if (num_parse_u64(last, 10, 0, 255, &number)) {
		return -EINVAL;
	}
	c->ip_qos = (int)number;
	return 0;
}

/* The first value of a name wins. */
static int add_env(struct ssh_config *c, const char *pair)
{
	size_t len = strcspn(pair, "=");

	for (size_t i = 0; i < c->env.count; i++)
		if (strncmp(c->env.at[i], pair, len + 1) == 0)
			return 0;
	return strings_add(&c->env, pair);
}

static int set_env(struct ssh_config *c, const char *value, void *member)
{
	return strchr(value, '=') ? add_env(c, value) : -EINVAL;
}

/*
 * A locale changes nothing of SFTP, and Debian's configuration sends it to everybody: each variable is
 * a round trip before a channel is of use.
 */
static bool is_locale(const char *pair)
{
	return strncmp(pair, "LANG=", 5) == 0 || strncmp(pair, "LC_", 3) == 0;
}

/* One pattern; those of several SendEnv come one by one. */
static int send_env(struct ssh_config *c, const char *value, void *member)
{
	int rc = 0;

	for (char **at = environ; !rc && *at; at++) {
		char name[128];
		size_t len = strcspn(*at, "=");

		if (len >= sizeof(name) || is_locale(*at))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)len, *at);
		if (fnmatch(value, name, 0) == 0)
			rc = add_env(c, *at);
	}
	return rc;
}

#define MEMBER(name) offsetof(struct ssh_config, name)

static const struct config_keyword keywords[] = {
    {"addkeystoagent", set_string, MEMBER(add_keys), KEYWORD_NOT_DEFAULT},
    {"addressfamily", set_family, 0, 0},
    {"batchmode", set_bool, MEMBER(batch_mode), 0},
    {"bindaddress", set_name, MEMBER(bind_address), 0},
    {"bindinterface", set_name, MEMBER(bind_interface), 0},
    {"certificatefile", add_string, MEMBER(certificates), KEYWORD_ADDS},
    {"ciphers", set_string, MEMBER(ciphers), KEYWORD_NOT_DEFAULT},
    {"compression", set_bool, MEMBER(compression), 0},
    {"connectionattempts", set_unsigned, MEMBER(connection_attempts), 0},
    {"connecttimeout", set_time, MEMBER(connect_timeout_s), KEYWORD_NOT_DEFAULT},
    {"fingerprinthash", set_string, MEMBER(fingerprint_hash), 0},
    {"globalknownhostsfile", add_paths, MEMBER(global_known_hosts), 0},
    {"gssapiauthentication", set_bool, MEMBER(gssapi_auth), 0},
    {"gssapiclientidentity", set_string, MEMBER(gssapi_client), 0},
    {"gssapidelegatecredentials", set_bool, MEMBER(gssapi_delegate), 0},
    {"gssapikeyexchange", set_bool, MEMBER(gssapi_kex_asked), 0},
    {"gssapiserveridentity", set_string, MEMBER(gssapi_server), 0},
    {"hashknownhosts", set_bool, MEMBER(hash_known_hosts), 0},
    {"hostbasedauthentication", set_bool, MEMBER(hostbased_asked), 0},
    {"hostkeyalgorithms", set_string, MEMBER(host_key_algorithms), KEYWORD_NOT_DEFAULT},
    {"hostkeyalias", set_name, MEMBER(host_key_alias), 0},
    {"hostname", set_name, MEMBER(hostname), 0},
    {"identitiesonly", set_bool, MEMBER(identities_only), 0},
    {"identityagent", set_string, MEMBER(identity_agent), 0},
    {"identityfile", add_string, MEMBER(identities), KEYWORD_NOT_DEFAULT | KEYWORD_ADDS},
    {"ipqos", set_ip_qos, 0, 0},
    {"kbdinteractiveauthentication", set_bool, MEMBER(kbdint_auth), 0},
    {"kexalgorithms", set_string, MEMBER(kex), KEYWORD_NOT_DEFAULT},
    {"knownhostscommand", set_string, MEMBER(known_hosts_command), 0},
    {"macs", set_string, MEMBER(macs), KEYWORD_NOT_DEFAULT},
    {"nohostauthenticationforlocalhost", set_bool, MEMBER(trust_localhost), 0},
    {"numberofpasswordprompts", set_unsigned, MEMBER(password_prompts), 0},
    {"passwordauthentication", set_bool, MEMBER(password_auth), 0},
    {"pkcs11provider", set_unless_no, MEMBER(pkcs11_asked), 0},
    {"port", set_unsigned, MEMBER(port), 0},
    {"preferredauthentications", set_string, MEMBER(auth_order), 0},
    {"proxycommand", set_string, MEMBER(proxy_command), 0},
    {"proxyjump", set_string, MEMBER(proxy_jump), 0},
    {"proxyusefdpass", set_bool, MEMBER(proxy_fdpass), 0},
    {"pubkeyacceptedalgorithms", set_string, MEMBER(pubkey_algorithms), KEYWORD_NOT_DEFAULT},
    {"pubkeyauthentication", set_unless_no, MEMBER(pubkey_auth), 0},
    {"rekeylimit", set_rekey, 0, 0},
    {"requiredrsasize", set_unsigned, MEMBER(rsa_min_bits), KEYWORD_NOT_DEFAULT},
    {"revokedhostkeys", set_string, MEMBER(revoked_host_keys), 0},
    {"sendenv", send_env, 0, 0},
    {"serveralivecountmax", set_unsigned, MEMBER(alive_count_max), KEYWORD_NOT_DEFAULT},
    {"serveraliveinterval", set_time, MEMBER(alive_interval_s), KEYWORD_NOT_DEFAULT},
    {"setenv", set_env, 0, 0},
    {"stricthostkeychecking", set_policy, 0, 0},
    {"tcpkeepalive", set_bool, MEMBER(tcp_keepalive), 0},
    {"user", set_name, MEMBER(user), 0},
    {"userknownhostsfile", add_paths, MEMBER(user_known_hosts), 0},
    {"verifyhostkeydns", set_unless_no, MEMBER(dns_asked), 0},
};

const struct config_keyword *config_keyword_find(const char *name)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strcasecmp(keywords[i].name, name) == 0)
			return &keywords[i];
	return NULL;
}

int config_keyword_apply(struct ssh_config *c, const struct config_keyword *k, const char *value,
                         struct link_error *err)
{
	int rc = k->apply(c, value, (char *)c + k->member);

	if (rc == -EINVAL)
		conn_error(err, LINK_FAIL_NONE,
		           "ssh configuration: '%s' is not a value of '%s'; see ssh_config(5)",
		           value, k->name);
	return rc;
}
