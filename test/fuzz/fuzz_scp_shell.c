/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shell backend with every kind of request waiting, against a server that says anything. The
 * first byte says how the input is cut, the second whether the greeting was given before. Every
 * callback runs exactly once, and no name leads elsewhere.
 */
#include "fuzz.h"

#include <string.h>

#include "../unit/raw_link.h"
#include "util/data.h"
#include "util/log.h"

static unsigned begun, ended;

static void on_status(void *arg, const struct be_status *st)
{
	FUZZ_ASSERT(st->text != NULL);
	ended++;
}

static void on_attr(void *arg, const struct be_status *st, const struct be_attr *a)
{
	on_status(arg, st);
}

static void on_path(void *arg, const struct be_status *st, const char *target, size_t len)
{
	FUZZ_ASSERT(st->code != BE_OK || target);
	on_status(arg, st);
}

static void on_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	on_status(arg, st);
}

static void on_fetch(void *arg, const struct be_status *st, const struct be_attr *a,
                     struct data *block, size_t off, size_t len)
{
	FUZZ_ASSERT(len <= 50 && (!len || block->size >= off + len));
	data_unref(block);
	on_status(arg, st);
}

static void on_open(void *arg, const struct be_status *st, struct be_file *f,
                    const struct be_attr *a)
{
	struct raw_link *r = arg;

	FUZZ_ASSERT((st->code == BE_OK) == (f != NULL));
	if (f)
		r->be->ops->close(r->be, f);
	on_status(arg, st);
}

static void on_entries(void *arg, const struct be_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		FUZZ_ASSERT(strlen(entries[i].name) == entries[i].name_len && entries[i].name_len);
		FUZZ_ASSERT(!strchr(entries[i].name, '/') && strcmp(entries[i].name, "..") != 0);
	}
}

static void no_log(void *arg, enum log_level level, const char *line)
{
}

static void ask(struct raw_link *r)
{
	const struct be_ops *o = r->be->ops;
	struct be_list *l;

	begun += o->stat(r->be, "/r/a", false, on_attr, r) == 0;
	begun += o->list(r->be, "/r", on_entries, on_status, r, &l) == 0;
	begun += o->readlink(r->be, "/r/l", on_path, r) == 0;
	begun += o->fetch(r->be, "/r/f", 50, on_fetch, r) == 0;
	begun += o->statvfs(r->be, "/r", on_statvfs, r) == 0;
	begun += o->open(r->be, "/r/f", BE_READ, 0, 0, 0, NULL, NULL, on_open, r) == 0;
	begun += o->rename(r->be, "/r/a", "/r/b", BE_RENAME_REPLACE, on_status, r) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct raw_link r;

	log_set_sink(no_log, NULL);
	if (len < 2)
		return 0;
	begun = ended = 0;
	raw_start(&r, "/r");
	if (bytes[1] & 1)
		raw_greet(&r);
	ask(&r);
	raw_say(&r, bytes + 2, len - 2, bytes[0] ? bytes[0] : 1);
	/* what was lost is asked again, and answered by the same words */
	if (r.reset && r.started_count && r.fail == LINK_FAIL_NONE) {
		raw_cut(&r);
		raw_say(&r, bytes + 2, len - 2, len);
	}
	raw_finish(&r);
	FUZZ_ASSERT(begun == ended);
	return 0;
}
