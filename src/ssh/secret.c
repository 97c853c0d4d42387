/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for secrets. See include/ssh/secret.h. Room: ssh. Thread: the owner's. */
#include "ssh/secret.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/log.h"

void secret_lock(struct secret *s)
{
	/* RLIMIT_MEMLOCK may be small; a secret that can be swapped is still better than none. */
	if (s && mlock(s, s->map_len))
		log_debug(LOG_SSH, "mlock: %s", strerror(errno));
}

struct secret *secret_create(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t len;
	struct secret *s;

	if (size > SIZE_MAX / 2)
		return NULL;
	len = (sizeof(*s) + size + 1 + page - 1) / page * page;
	s = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return NULL;
	s->map_len = len;
	s->size = size;
	madvise(s, len, MADV_DONTDUMP);
	secret_lock(s);
	return s;
}

struct secret *secret_copy(const void *bytes, size_t len)
{
	struct secret *s = secret_create(len);

	if (!s)
		return NULL;
	memcpy(s->bytes, bytes, len);
	s->len = len;
	return s;
}

void secret_destroy(struct secret *s)
{
	size_t len;

	if (!s)
		return;
	len = s->map_len;
	explicit_bzero(s, len);
	munmap(s, len);
}
