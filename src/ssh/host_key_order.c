/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which types of host keys the server is asked for, in which order: as with ssh, those by which it is
 * known come first, so that a server with several keys shows the one that can be checked.
 * Room: ssh. Thread: the back. Spec: ssh_config(5) HostKeyAlgorithms.
 */
#include <errno.h>
#include <string.h>

#include "host_key_parts.h"
#include "ssh/known_hosts.h"
#include "ssh/ssh_conn.h"
#include "ssh_strings.h"
#include "util/buf.h"

#define DEFAULT_HOST_KEYS                                                                          \
	"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"                 \
	"rsa-sha2-512,rsa-sha2-256"

/* The name at the beginning of a key blob. */
static int add_type_of(struct ssh_strings *types, const uint8_t *blob, size_t blob_len)
{
	size_t len = blob_len > 4 ? blob[3] : 0;
	char name[64];

	if (len == 0 || len >= sizeof(name) || len > blob_len - 4)
		return -EINVAL;
	memcpy(name, blob + 4, len);
	name[len] = '\0';
	return strings_add(types, name);
}

/* Does one of `types` sign with the algorithm? Those of RSA differ in the hash, not in the key. */
static bool is_of(const char *algorithm, size_t len, const struct ssh_strings *types)
{
	if (len > 9 && memcmp(algorithm, "rsa-sha2-", 9) == 0) {
		algorithm = "ssh-rsa";
		len = 7;
	}
	for (size_t i = 0; i < types->count; i++)
		if (strlen(types->at[i]) == len && memcmp(types->at[i], algorithm, len) == 0)
			return true;
	return false;
}

static bool list_has(const struct buf *list, const char *name, size_t len)
{
	const char *p = list->len > 0 ? (const char *)list->bytes : "";

	while (*p) {
		size_t n = strcspn(p, ",");

		if (n == len && memcmp(p, name, len) == 0)
			return true;
		p += n;
		p += *p == ',';
	}
	return false;
}

/* Adds the algorithms of `all` for keys of `types` (NULL: of any) that are not there, in its order. */
static void add_those_of(struct buf *list, const char *all, const struct ssh_strings *types,
                         const struct ssh_strings *refused)
{
	while (*all) {
		size_t len = strcspn(all, ",");

		if (len > 0 && (!types || is_of(all, len, types)) && !is_of(all, len, refused) &&
		    !list_has(list, all, len))
			buf_addf(list, "%s%.*s", list->len > 0 ? "," : "", (int)len, all);
		all += len;
		all += *all == ',';
	}
}

int host_key_preference(struct ssh_conn *sc, char **out, struct link_error *err)
{
	const char *all = sc->cfg.host_key_algorithms;
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query q = host_key_query(sc);
	struct ssh_strings named = {0}, known = {0};
	struct buf list = BUF_INIT;
	int rc = 0;

	if (!all)
		all = DEFAULT_HOST_KEYS;
	if (sc->pinned_key) {
		rc = add_type_of(&named, sc->pinned_key, sc->pinned_key_len);
	} else {
		for (size_t i = 0; rc >= 0 && i < sc->cfg.host_keys.count; i++)
			rc = host_key_named_types(sc->cfg.host_keys.at[i], &named);
		if (rc >= 0)
			rc = host_key_read(sc, NULL, &kh, err);
		if (!rc)
			rc = known_hosts_types(&kh, &q, &known);
	}
	add_those_of(&list, all, &named, &sc->refused_types);
	add_those_of(&list, all, &known, &sc->refused_types);
	add_those_of(&list, all, NULL, &sc->refused_types);
	buf_add(&list, "", 0);
	strings_finish(&named);
	strings_finish(&known);
	known_hosts_finish(&kh);
	if (!rc && buf_failed(&list))
		rc = -ENOMEM;
	*out = rc ? NULL : buf_take(&list);
	buf_finish(&list);
	return rc || *out ? rc : -ENOMEM;
}

/* A type may be worth a try when a fingerprint is named, which does not tell its own, or it is. */
bool host_key_may_have_another(const struct ssh_conn *sc)
{
	const char *all = sc->cfg.host_key_algorithms;
	struct ssh_strings named = {0};
	struct buf list = BUF_INIT;
	bool any = false, left;

	for (size_t i = 0; i < sc->cfg.host_keys.count; i++)
		any |= host_key_named_types(sc->cfg.host_keys.at[i], &named) > 0;
	add_those_of(&list, all ? all : DEFAULT_HOST_KEYS, any ? NULL : &named, &sc->refused_types);
	left = list.len > 0;
	strings_finish(&named);
	buf_finish(&list);
	return left;
}
