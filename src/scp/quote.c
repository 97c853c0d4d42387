/* SPDX-License-Identifier: BSD-2-Clause */
/* Quoting for shells and reading of their errors. Contract: include/scp/quote.h. */
#include "scp/quote.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

void scp_quote(struct buf *b, const char *word)
{
	buf_add_str(b, "'");
	for (const char *end; (end = strchr(word, '\'')) != NULL; word = end + 1) {
		buf_add(b, word, (size_t)(end - word));
		buf_add_str(b, "'\\''");
	}
	buf_add_str(b, word);
	buf_add_str(b, "'");
}

/* The C locale's words, and those that shells and BusyBox have of their own. */
static const struct {
	const char *words;
	int err;
} messages[] = {
    {"no such file or directory", ENOENT},
    {"directory nonexistent", ENOENT},
    {"nonexistent directory", ENOENT},
    {"permission denied", EACCES},
    {"operation not permitted", EPERM},
    {"file exists", EEXIST},
    {"cannot overwrite existing file", EEXIST},
    {"not a directory", ENOTDIR},
    {"is a directory", EISDIR},
    {"directory not empty", ENOTEMPTY},
    {"no space left on device", ENOSPC},
    {"disk quota exceeded", EDQUOT},
    {"quota exceeded", EDQUOT},
    {"file too large", EFBIG},
    {"read-only file system", EROFS},
    {"file name too long", ENAMETOOLONG},
    {"filename too long", ENAMETOOLONG},
    {"too many levels of symbolic links", ELOOP},
    {"symbolic link loop", ELOOP},
    {"too many links", EMLINK},
    {"invalid argument", EINVAL},
    {"cross-device link", EXDEV},
    {"device or resource busy", EBUSY},
    {"text file busy", ETXTBSY},
    {"input/output error", EIO},
    {"i/o error", EIO},
    {"operation not supported", EOPNOTSUPP},
    {"not supported", EOPNOTSUPP},
    {"function not implemented", EOPNOTSUPP},
    {"too many open files", ENFILE},
    {"too many open files in system", ENFILE},
    {"stale file handle", ESTALE},
    {"not found", ENOENT},
};

int scp_errno_of_text(const char *text, size_t len)
{
	while (len && strchr(" \r\n.", text[len - 1]))
		len--;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		size_t words_len = strlen(messages[i].words);
		const char *at = text + len - words_len;

		if (len >= words_len && strncasecmp(at, messages[i].words, words_len) == 0 &&
		    (len == words_len || at[-1] == ' '))
			return messages[i].err;
	}
	return 0;
}
