/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The extension table. Any thread. Spec: filexfer-02 section 4, OpenSSH PROTOCOL 4.2; check-file:
 * draft-ietf-secsh-filexfer-13 section 9.1.
 */
#include "sftp/extension.h"

#include <string.h>

static const struct {
	const char *name;
	const char *version; /* NULL: any */
	const char *family;  /* under which name it may be offered too; NULL: no other */
} extensions[EXT_COUNT] = {
    [EXT_POSIX_RENAME] = {"posix-rename@openssh.com", "1", NULL},
    [EXT_STATVFS] = {"statvfs@openssh.com", "2", NULL},
    [EXT_FSTATVFS] = {"fstatvfs@openssh.com", "2", NULL},
    [EXT_HARDLINK] = {"hardlink@openssh.com", "1", NULL},
    [EXT_FSYNC] = {"fsync@openssh.com", "1", NULL},
    [EXT_LSETSTAT] = {"lsetstat@openssh.com", "1", NULL},
    [EXT_LIMITS] = {"limits@openssh.com", "1", NULL},
    [EXT_EXPAND_PATH] = {"expand-path@openssh.com", "1", NULL},
    [EXT_COPY_DATA] = {"copy-data", "1", NULL},
    [EXT_HOME_DIRECTORY] = {"home-directory", "1", NULL},
    [EXT_USERS_GROUPS] = {"users-groups-by-id@openssh.com", "1", NULL},
    [EXT_CHECK_FILE] = {"check-file-name", NULL, "check-file"},
};

const char *fxp_ext_name(enum fxp_ext ext)
{
	return ext < EXT_COUNT ? extensions[ext].name : "";
}

static bool same(const char *s, const uint8_t *bytes, size_t len)
{
	return strlen(s) == len && memcmp(s, bytes, len) == 0;
}

static bool offers(unsigned ext, const uint8_t *name, size_t len)
{
	return same(extensions[ext].name, name, len) ||
	       (extensions[ext].family && same(extensions[ext].family, name, len));
}

uint32_t fxp_ext_get_version(struct fxp_in *in, fxp_ext_set *set)
{
	uint32_t version = fxp_get_u32(in, "version");
	size_t name_len, value_len;

	*set = 0;
	while (!fxp_in_failed(in) && fxp_in_left(in)) {
		const uint8_t *name = fxp_get_str(in, "extension_name", SIZE_MAX, &name_len);
		const uint8_t *value = fxp_get_str(in, "extension_data", SIZE_MAX, &value_len);

		if (fxp_in_failed(in))
			break;
		for (unsigned i = 0; i < EXT_COUNT; i++)
			if (offers(i, name, name_len) &&
			    (!extensions[i].version ||
			     same(extensions[i].version, value, value_len)))
				*set |= 1u << i;
	}
	return version;
}
