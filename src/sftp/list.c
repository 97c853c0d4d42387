/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listing a directory. As one burst where the handle can be predicted: OPENDIR, a few READDIRs, CLOSE.
 * One that has more entries than these READDIRs bring starts anew, as one whose connection breaks does,
 * and keeps READDIRs in flight until the end: the plain way. What was told already is left out.
 * Hostile names never leave this room. Owner: the loop. Spec: filexfer-02 section 6.7.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/burst.h"
#include "sftp/engine.h"

#define AHEAD_MIN   2u  /* READDIRs in flight at first */
#define AHEAD_MAX   64u /* and at most */
#define BURST_COUNT 4u  /* READDIRs of a burst: OpenSSH's bring 100 names each, the last none */
#define FULL_COUNT                                                                                 \
	98u /* names that one of those has without "." and "..", but for the last with any */
#define AHEAD_LARGE 16u /* READDIRs in flight at first where a burst has not come to the end */

struct list_slot {
	struct be_list *list;
	struct fxr *request; /* NULL: free */
};

struct be_list {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	be_entries_fn *entries;
	be_status_fn *done;
	void *arg;
	struct fxr *opening;
	struct fxp_handle handle;
	struct list_slot slots[AHEAD_MAX];
	unsigned pending; /* READDIRs in flight */
	unsigned ahead;   /* how many may be */
	bool paused;
	bool nears_end; /* OpenSSH brings the end with what is in flight */
	bool telling;   /* inside `entries` */
	bool cancelled; /* from there */
	bool over;      /* no more is asked for: the end, or an error in `status` */
	bool lost;      /* to be started anew */
	bool guessed;   /* the handle is predicted, what is in flight names it */
	bool burst;     /* and its CLOSE is sent */
	bool large;     /* no burst the next time */
	bool discard;   /* what is in flight named a handle that is not the directory's */
	bool again;     /* OPENDIR sent a second time, files were parked for it */
	struct fxp_status status;
	uint64_t *told; /* hashes of the names told; sorted once it starts anew */
	size_t told_count, told_size, told_sorted;
	char path[];
};

static bool list_open(struct be_list *l);
static void list_ask(struct be_list *l);

static void list_free(struct be_list *l)
{
	free(l->told);
	free(l);
}

static void list_closed(void *arg, const struct fxr_answer *answer)
{
	(void)answer;
	list_free(arg);
}

/* Closes what is open, then frees. A burst closes its handle itself. */
static void list_close(struct be_list *l)
{
	struct fxr_args args = {.handle = &l->handle};

	if (l->burst || l->guessed || !l->handle.len || l->handle.epoch != l->fb->client.epoch ||
	    !fxp_client_submit(&l->fb->client, FXR_CLOSE, 0, &args, list_closed, l))
		list_free(l);
}

static void list_finish(struct be_list *l)
{
	fxp_order_done(&l->order);
	l->done(l->arg, &l->status.st);
	list_close(l);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool told_before(const struct be_list *l, uint64_t hash)
{
	return l->told_sorted &&
	       bsearch(&hash, l->told, l->told_sorted, sizeof(hash), compare) != NULL;
}

static bool tell_grow(struct be_list *l, size_t more)
{
	size_t size = l->told_size ? l->told_size : 128;
	uint64_t *told;

	while (size < l->told_count + more)
		size *= 2;
	if (size == l->told_size)
		return true;
	told = realloc(l->told, size * sizeof(*told));
	if (!told)
		return false;
	l->told = told;
	l->told_size = size;
	return true;
}

/* Return: false when out of memory. */
static bool list_tell(struct be_list *l, const struct fxr_answer *answer)
{
	struct be_entry *entries = answer->names.entries;
	size_t count = 0;

	if (!tell_grow(l, answer->names.count))
		return false;
	for (size_t i = 0; i < answer->names.count; i++) {
		uint64_t hash = hash_bytes(entries[i].name, entries[i].name_len, 0);

		if (told_before(l, hash))
			continue;
		l->told[l->told_count++] = hash;
		entries[count++] = entries[i];
	}
	if (answer->names.dropped_count &&
	    log_limit_ok(&l->fb->hostile_limit, l->fb->clock->now_ms, 5))
		log_error(LOG_SFTP, "listing \"%s\": %zu unusable names dropped, first \"%s\"",
		          l->path, answer->names.dropped_count, answer->names.dropped);
	if (count)
		l->entries(l->arg, entries, count);
	return true;
}

/* Where OpenSSH's handles cannot be foretold just now its answers still are what they are. */
static unsigned ahead_at_first(const struct fxp_backend *fb)
{
	return fb->client.proof == FXP_PROOF_DONE ? BURST_COUNT : AHEAD_MIN;
}

static void list_restart(struct be_list *l)
{
	l->lost = false;
	l->over = false;
	l->burst = false;
	l->guessed = false;
	l->handle.len = 0;
	l->ahead = l->large ? AHEAD_LARGE : ahead_at_first(l->fb);
	if (l->told_count)
		qsort(l->told, l->told_count, sizeof(*l->told), compare);
	l->told_sorted = l->told_count;
	if (list_open(l))
		return;
	fxp_status_set(&l->status, BE_ERRNO, ENOMEM, "");
	list_finish(l);
}

static void list_go_on(struct be_list *l)
{
	if (l->burst && !l->pending && !l->opening && !l->over)
		l->large = l->lost = true;
	if (l->discard && !l->pending)
		l->discard = false;
	if (!l->over && !l->lost && !l->burst && !l->discard && !l->opening &&
	    !(l->nears_end && l->pending))
		list_ask(l);
	if (l->pending || l->opening)
		return;
	if (l->lost && (!l->over || l->status.st.code == BE_OK))
		list_restart(l);
	else if (l->over)
		list_finish(l);
}

static void list_end(struct be_list *l, const struct be_status *st)
{
	if (l->over)
		return;
	l->over = true;
	fxp_status_copy(&l->status, st);
}

static void list_read(void *arg, const struct fxr_answer *answer)
{
	struct list_slot *slot = arg;
	struct be_list *l = slot->list;
	struct fxp_backend *fb = l->fb;
	struct fxp_status status;

	slot->request = NULL;
	l->pending--;
	if (l->discard) {
		list_go_on(l);
		return;
	}
	if (answer->status.st.code == BE_STALE ||
	    (answer->lost && !fb->client.failing && fb->client.state != FXP_CLIENT_STOPPED)) {
		l->lost = true;
	} else if (answer->status.st.code == BE_EOF) {
		fxp_status_set(&status, BE_OK, 0, "");
		list_end(l, &status.st);
	} else if (answer->status.st.code != BE_OK) {
		list_end(l, &answer->status.st);
	} else {
		if (l->ahead < AHEAD_MAX)
			l->ahead += 2;
		l->nears_end = fb->client.proof == FXP_PROOF_DONE &&
		               answer->names.count + answer->names.dropped_count < FULL_COUNT;
		l->telling = true;
		if (!list_tell(l, answer)) {
			fxp_status_set(&status, BE_ERRNO, ENOMEM, "");
			list_end(l, &status.st);
		}
		l->telling = false;
		if (l->cancelled) {
			list_close(l);
			return;
		}
	}
	list_go_on(l);
}

static void list_ask(struct be_list *l)
{
	struct fxr_args args = {.handle = &l->handle};
	unsigned count = l->burst ? BURST_COUNT : l->paused ? 0 : l->ahead;

	for (unsigned i = 0; i < AHEAD_MAX && l->pending < count; i++) {
		struct list_slot *slot = &l->slots[i];

		if (slot->request)
			continue;
		slot->request =
		    fxp_client_submit(&l->fb->client, FXR_READDIR, 0, &args, list_read, slot);
		if (!slot->request) {
			struct fxp_status status;

			fxp_status_set(&status, BE_ERRNO, ENOMEM, "");
			list_end(l, &status.st);
			return;
		}
		l->pending++;
	}
}

static void list_opened(void *arg, const struct fxr_answer *answer)
{
	struct be_list *l = arg;
	struct fxp_client *c = &l->fb->client;

	l->opening = NULL;
	if (answer->lost && !c->failing && c->state != FXP_CLIENT_STOPPED) {
		l->lost = true;
		list_go_on(l);
		return;
	}
	if (answer->status.st.code == BE_FAILURE && !l->again &&
	    fxp_park_some(l->fb, answer->lane)) {
		l->again = l->lost = true;
		l->discard = l->guessed;
		l->guessed = l->burst = false;
		list_go_on(l);
		return;
	}
	fxp_order_done(&l->order);
	if (answer->status.st.code != BE_OK) {
		l->handle.len = 0;
		list_end(l, &answer->status.st);
	} else if (!l->guessed || !fxp_burst_hit(c, &l->handle, answer)) {
		fxp_handle_set(l->fb, &l->handle, answer);
		l->discard = l->guessed;
		l->burst = false;
	}
	l->guessed = false;
	list_go_on(l);
}

static bool list_open(struct be_list *l)
{
	struct fxr_args args = {.path = l->path};
	struct fxp_client *c = &l->fb->client;

	l->guessed = fxp_burst_predict(c, 0, LANE_META, &l->handle);
	l->burst = l->guessed && !l->large;
	if (l->burst)
		l->opening = fxp_burst_open(c, FXR_OPENDIR, &args, &l->handle, list_opened, l);
	else
		l->opening = fxp_client_submit(c, FXR_OPENDIR, 0, &args, list_opened, l);
	if (!l->opening)
		return false;
	if (l->guessed)
		list_ask(l);
	if (l->burst)
		fxp_burst_close(c, &l->handle);
	return true;
}

static void list_ready(struct fxp_order_op *order)
{
	struct be_list *l = list_entry(order, struct be_list, order);

	if (list_open(l)) {
		fxp_order_sent(&l->order);
		return;
	}
	fxp_status_set(&l->status, BE_ERRNO, ENOMEM, "");
	list_finish(l);
}

int fxp_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
             void *arg, struct be_list **out)
{
	size_t size = strlen(path) + 1;
	struct be_list *l = calloc(1, sizeof(*l) + size);

	if (!l)
		return -ENOMEM;
	l->fb = fxp_backend_of(b);
	l->entries = entries;
	l->done = done;
	l->arg = arg;
	l->ahead = ahead_at_first(l->fb);
	for (unsigned i = 0; i < AHEAD_MAX; i++)
		l->slots[i].list = l;
	memcpy(l->path, path, size);
	l->order.path = l->path;
	l->order.stream = l->fb->client.meta;
	l->order.ready = list_ready;
	if (out)
		*out = l;
	if (!fxp_order_add(&l->fb->names, &l->order))
		return 0;
	if (list_open(l)) {
		fxp_order_sent(&l->order);
		return 0;
	}
	fxp_order_done(&l->order);
	list_free(l);
	return -ENOMEM;
}

void fxp_list_cancel(struct backend *b, struct be_list *l)
{
	struct fxp_client *c = &fxp_backend_of(b)->client;

	fxp_order_done(&l->order);
	if (l->opening)
		fxp_client_abandon(c, l->opening);
	for (unsigned i = 0; i < AHEAD_MAX; i++)
		if (l->slots[i].request)
			fxp_client_abandon(c, l->slots[i].request);
	l->cancelled = true;
	if (!l->telling)
		list_close(l);
}

void fxp_list_pause(struct backend *b, struct be_list *l, bool paused)
{
	(void)b;
	l->paused = paused;
	if (!paused && l->handle.len && !l->over && !l->lost && !l->burst && !l->guessed &&
	    !l->discard)
		list_ask(l);
}
