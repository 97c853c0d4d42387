/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lanes: opening, greeting, choosing one, and the events of the link. Owner: the loop.
 * Spec: filexfer-02 section 4.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/burst.h"
#include "sftp/client.h"
#include "util/log.h"

#define FIRST_BULK_LANES 2u /* for reading and for writing; ready when the first file is opened */

static struct fxp_lane *lane_find(struct fxp_client *c, uint32_t id)
{
	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		if (lane->id == id)
			return lane;
	}
	return NULL;
}

static void lane_forget(struct fxp_client *c, struct fxp_lane *lane)
{
	list_del(&lane->entry);
	c->lane_count--;
	if (c->meta == lane)
		c->meta = NULL;
	free(lane);
}

void fxp_lane_forget_all(struct fxp_client *c)
{
	list_for_each_safe(e, next, &c->lanes)
		lane_forget(c, list_entry(e, struct fxp_lane, entry));
}

/* Return: 0 or a negative errno. */
static int lane_open(struct fxp_client *c, enum lane_class lane_class)
{
	struct fxp_lane *lane = calloc(1, sizeof(*lane));
	struct lane_spec spec = {.lane_class = lane_class,
	                         .budget = c->budget,
	                         .command = c->cfg.server_command,
	                         .packet_len_max = FXP_PACKET_LEN_MAX};
	int err;

	if (!lane)
		return -ENOMEM;
	lane->id = ++c->lane_next_id;
	lane->lane_class = lane_class;
	list_init(&lane->in_flight);
	err = link_open_lane(c->link, lane->id, &spec);
	if (err) {
		free(lane);
		return err;
	}
	list_push_back(&c->lanes, &lane->entry);
	c->lane_count++;
	return 0;
}

static void on_up(void *ctx)
{
	struct fxp_client *c = ctx;
	int err;

	link_facts(c->link, &c->facts);
	c->epoch++;
	c->broken = false;
	c->blamed = false;
	c->answered = false;
	fxp_burst_reset(c);
	c->last_packet_ms = c->clock->now_ms;
	memset(c->refused, 0, sizeof(c->refused));
	fxp_window_reset(&c->down_window);
	fxp_window_reset(&c->up_window);
	err = lane_open(c, LANE_META);
	if (err)
		fxp_client_break(c, LINK_FAIL_NETWORK, "cannot open a channel: %s", strerror(-err));
	else if (!strstr(c->facts.server_banner, "dropbear"))
		fxp_client_want_lanes(c, LANE_BULK, FIRST_BULK_LANES);
	/* Some versions of dropbear drop the connection when several programs are not there. */
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct fxp_client *c = ctx;
	struct link_error why = c->own_error.fail ? c->own_error : *error;

	c->own_error.fail = LINK_FAIL_NONE;
	c->broken = false;
	if (c->state != FXP_CLIENT_STOPPED)
		c->state = FXP_CLIENT_DOWN;
	fxp_client_lose(c);
	c->events->down(c->events_ctx, &why);
}

static void refuse(struct fxp_client *c, struct fxp_lane *lane, const char *text)
{
	enum lane_class lane_class = lane->lane_class;

	log_info(LOG_SFTP, "lane=%u refused by the server (%s), sharing %u", lane->id, text,
	         c->lane_count - 1);
	c->refused[lane_class] = true;
	lane->state = FXP_LANE_OPENING;
	fxp_client_move(c, lane);
	lane_forget(c, lane);
	c->events->lane_up(c->events_ctx, NULL);
}

static void send_init(struct fxp_client *c, struct fxp_lane *lane)
{
	struct link_packet *p = calloc(1, sizeof(*p));
	struct data *head = data_create(NULL, 16);
	struct fxp_out out = {0};

	if (!p || !head) {
		free(p);
		data_unref(head);
		fxp_client_break(c, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	out.bytes = head->bytes;
	out.size = head->size;
	fxp_put_u32(&out, 5);
	fxp_put_u8(&out, FXP_INIT);
	fxp_put_u32(&out, FXP_VERSION_3);
	list_init(&p->entry);
	p->lane = lane->id;
	p->head = head;
	p->head_len = out.len;
	lane->state = FXP_LANE_GREETING;
	log_debug(LOG_SFTP, "lane=%u open, saying hello", lane->id);
	link_send(c->link, p);
}

static void on_lane_open(void *ctx, uint32_t id, const struct link_error *error)
{
	struct fxp_client *c = ctx;
	struct fxp_lane *lane = lane_find(c, id);

	if (!lane || c->broken)
		return;
	if (error && lane->lane_class != LANE_META) {
		refuse(c, lane, error->text);
		return;
	}
	if (error) {
		fxp_client_break(c, error->fail, "%s", error->text);
		return;
	}
	send_init(c, lane);
	if (fxp_lane_speaks(c, lane) && lane->lane_class != LANE_META)
		c->events->lane_up(c->events_ctx, lane);
}

static size_t limit(uint64_t told, size_t fallback, size_t user, size_t cap)
{
	size_t len = told ? (told < cap ? (size_t)told : cap) : fallback;

	return user && user < len ? user : len;
}

static void set_sizes(struct fxp_client *c)
{
	const struct fxp_limits *l = &c->limits;
	const size_t overhead = 1024; /* bytes around a WRITE's payload, handle included */
	size_t packet_len = limit(l->packet_len, FXP_PACKET_LEN_SAFE, 0, FXP_PACKET_LEN_MAX);

	if (packet_len < 2 * overhead)
		packet_len = FXP_PACKET_LEN_SAFE;
	c->packet_len_max = packet_len;
	c->read_len_max =
	    limit(l->read_len, FXP_LEN_SAFE, c->cfg.read_len_max, FXP_PACKET_LEN_MAX - 4096);
	c->write_len_max =
	    limit(l->write_len, FXP_LEN_SAFE, c->cfg.write_len_max, packet_len - overhead);
	log_info(LOG_SFTP, "requests: packet %zu, read %zu, write %zu bytes, %llu handles",
	         c->packet_len_max, c->read_len_max, c->write_len_max,
	         (unsigned long long)l->handle_count);
}

static void greeted(struct fxp_client *c)
{
	c->state = FXP_CLIENT_SETUP;
	set_sizes(c);
	c->events->greeted(c->events_ctx);
}

static void limits_done(void *arg, const struct fxr_answer *answer)
{
	struct fxp_client *c = arg;

	if (answer->lost || c->broken)
		return;
	if (answer->status.st.code == BE_OK)
		c->limits = answer->limits;
	greeted(c);
}

/* OpenSSH put the arguments of SYMLINK the wrong way round, and its relatives with it. */
static bool symlink_swapped(const struct fxp_client *c)
{
	if (c->facts.server_banner[0])
		return strstr(c->facts.server_banner, "OpenSSH") != NULL;
	return fxp_ext_has(c->exts, EXT_POSIX_RENAME);
}

/* ProFTPD's mod_sftp has check-file, but tells only clients of later versions of the protocol. */
static fxp_ext_set silent_exts(const struct fxp_client *c)
{
	return strstr(c->facts.server_banner, "mod_sftp") ? 1u << EXT_CHECK_FILE : 0;
}

static void meta_up(struct fxp_client *c, struct fxp_lane *lane, fxp_ext_set exts)
{
	struct fxr_args args = {0};

	c->meta = lane;
	c->greeted = true;
	fxp_client_want_lanes(c, LANE_BULK, FIRST_BULK_LANES);
	c->exts = exts | silent_exts(c);
	c->symlink_swapped = symlink_swapped(c);
	c->limits = (struct fxp_limits){0};
	c->packet_len_max = FXP_PACKET_LEN_SAFE;
	if (!fxp_ext_has(exts, EXT_LIMITS)) {
		greeted(c);
		return;
	}
	if (!fxp_client_submit_setup(c, FXR_LIMITS, &args, limits_done, c))
		fxp_client_break(c, LINK_FAIL_NETWORK, "out of memory");
}

static void on_version(struct fxp_client *c, struct fxp_lane *lane, uint8_t *bytes, size_t len)
{
	struct fxp_in in;
	fxp_ext_set exts;
	uint32_t version;
	uint8_t type;

	fxp_in_init(&in, "VERSION", bytes, len);
	type = fxp_get_u8(&in, "type");
	if (type != FXP_VERSION)
		FXP_REJECT(&in, "type");
	version = fxp_ext_get_version(&in, &exts);
	if (fxp_in_failed(&in)) {
		fxp_client_break(
		    c, LINK_FAIL_SFTP,
		    "the server does not speak SFTP: bad field \"%s\" in %s; check what it runs "
		    "(sftp_server), or use -o transfer=scp",
		    in.field, in.packet);
		return;
	}
	if (version != FXP_VERSION_3) {
		fxp_client_break(
		    c, LINK_FAIL_SFTP,
		    "the server speaks SFTP version %u, version 3 is needed; use another server "
		    "(sftp_server), or -o transfer=scp",
		    version);
		return;
	}
	lane->state = FXP_LANE_UP;
	log_verbose(LOG_SFTP, "lane=%u can be used", lane->id);
	if (lane->lane_class == LANE_META)
		meta_up(c, lane, exts);
	else
		c->events->lane_up(c->events_ctx, lane);
}

static void on_lane_packet(void *ctx, uint32_t id, struct data *packet, size_t len)
{
	struct fxp_client *c = ctx;
	struct fxp_lane *lane = lane_find(c, id);

	if (lane && !c->broken) {
		c->last_packet_ms = c->clock->now_ms;
		if (lane->state == FXP_LANE_UP)
			fxp_client_packet(c, lane, packet, len);
		else
			on_version(c, lane, packet->bytes, len);
	}
	data_unref(packet);
}

/* The last line of it is kept: it says why the server ends, if it does. */
static void on_lane_stderr(void *ctx, uint32_t id, const uint8_t *bytes, size_t len)
{
	struct fxp_client *c = ctx;
	struct fxp_lane *lane = lane_find(c, id);
	const char *text = (const char *)bytes, *line;

	if (log_limit_ok(&c->said_limit, c->clock->now_ms, 10))
		log_info(LOG_SFTP, "lane=%u server says: %.*s", id, (int)(len < 512 ? len : 512),
		         text);
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	line = memrchr(text, '\n', len);
	line = line ? line + 1 : text;
	if (lane)
		snprintf(lane->said, sizeof(lane->said), "%.*s", (int)(text + len - line), line);
}

static void on_lane_closed(void *ctx, uint32_t id, int exit_status)
{
	struct fxp_client *c = ctx;
	struct fxp_lane *lane = lane_find(c, id);

	if (!lane || c->broken)
		return;
	if (lane->lane_class != LANE_META && lane->state != FXP_LANE_UP) {
		refuse(c, lane, "closed");
		return;
	}
	/*
	 * What the lost process has done with its requests is as unknown as after a broken
	 * connection, so it is one.
	 */
	if (exit_status >= 0)
		fxp_client_break(
		    c, LINK_FAIL_SFTP,
		    "the SFTP server ended with exit status %d%s%s; check what it runs "
		    "(sftp_server)",
		    exit_status, lane->said[0] ? ": " : "", lane->said);
	else
		fxp_client_break(c, LINK_FAIL_SFTP,
		                 "the SFTP server ended; check what it runs (sftp_server)");
}

const struct link_events fxp_lane_link_events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_closed = on_lane_closed,
};

bool fxp_lane_speaks(const struct fxp_client *c, const struct fxp_lane *lane)
{
	return lane->state == FXP_LANE_UP || (lane->state == FXP_LANE_GREETING && c->meta);
}

struct fxp_lane *fxp_lane_for(struct fxp_client *c, uint32_t wanted, enum lane_class lane_class)
{
	struct fxp_lane *best = NULL;

	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		if (wanted && lane->id == wanted && fxp_lane_speaks(c, lane))
			return lane;
		if (lane->state != FXP_LANE_UP)
			continue;
		if (!wanted && lane->lane_class == lane_class && lane_class != LANE_META &&
		    (!best || lane->in_flight_count < best->in_flight_count))
			best = lane;
	}
	return best ? best : c->meta;
}

uint32_t fxp_client_file_lane(struct fxp_client *c, bool writes)
{
	unsigned count = fxp_client_lane_count(c, LANE_BULK), turn, pick;

	/* Every other lane is for readers: a server process with WRITEs to do answers READs late. */
	turn = c->lane_turn++;
	pick = count > 1 ? 2 * (turn % (count / 2)) + writes : 0;
	list_for_each(e, &c->lanes) {
		struct fxp_lane *lane = list_entry(e, struct fxp_lane, entry);

		if (lane->state == FXP_LANE_UP && lane->lane_class == LANE_BULK && pick-- == 0)
			return lane->id;
	}
	return c->meta ? c->meta->id : 0;
}

unsigned fxp_client_lane_count(const struct fxp_client *c, enum lane_class lane_class)
{
	unsigned count = 0;

	list_for_each(e, &c->lanes) {
		const struct fxp_lane *lane = list_entry(e, const struct fxp_lane, entry);

		count += lane->state == FXP_LANE_UP && lane->lane_class == lane_class;
	}
	return count;
}

void fxp_client_want_lanes(struct fxp_client *c, enum lane_class lane_class, unsigned count)
{
	unsigned have = 0, lane_max = c->facts.lane_max;

	if (lane_max > FXP_LANES_MAX)
		lane_max = FXP_LANES_MAX;
	list_for_each(e, &c->lanes)
		have += list_entry(e, struct fxp_lane, entry)->lane_class == lane_class;
	while (have < count && c->lane_count < lane_max && !c->refused[lane_class] && !c->broken) {
		if (lane_open(c, lane_class) != 0)
			return;
		have++;
	}
}
