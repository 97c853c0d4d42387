/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The extensions of SFTP that we use, by name and version.
 * Thread: any; no state. Spec: filexfer-02 section 4, OpenSSH PROTOCOL 4.2.
 */
#ifndef SFTP_EXTENSION_H
#define SFTP_EXTENSION_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/wire.h"

enum fxp_ext {
	EXT_POSIX_RENAME,
	EXT_STATVFS,
	EXT_FSTATVFS,
	EXT_HARDLINK,
	EXT_FSYNC,
	EXT_LSETSTAT,
	EXT_LIMITS,
	EXT_EXPAND_PATH,
	EXT_COPY_DATA,
	EXT_HOME_DIRECTORY,
	EXT_USERS_GROUPS,
	EXT_CHECK_FILE,
	EXT_COUNT,
	EXT_NONE = EXT_COUNT, /* part of the protocol itself */
};

/* A set of extensions: bit `1 << enum fxp_ext`. */
typedef uint32_t fxp_ext_set;

const char *fxp_ext_name(enum fxp_ext ext);

static inline bool fxp_ext_has(fxp_ext_set set, enum fxp_ext ext)
{
	return ext == EXT_NONE || (set & (1u << ext)) != 0;
}

/*
 * A VERSION packet after its type byte. An extension counts only where name and version are both
 * what we know; others are skipped.
 * Return: the server's version; *set is what it offers. Check fxp_in_failed().
 */
uint32_t fxp_ext_get_version(struct fxp_in *in, fxp_ext_set *set);

#endif
