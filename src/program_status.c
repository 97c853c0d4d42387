/* SPDX-License-Identifier: BSD-2-Clause */
/* What `sftpfs status` shows, as one JSON object of fixed keys. Thread: the loop. */
#include <inttypes.h>
#include <string.h>

#include "program.h"
#include "sftp/extension.h"
#include "sftp/proto.h"
#include "util/buf.h"

/* Rates are those of an interval at least this long. */
#define RATE_MS 1000

static void add_string(struct buf *b, const char *s)
{
	buf_add_str(b, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		/* Bytes above 0x7e may not be UTF-8: shown as Latin-1. */
		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			buf_addf(b, "\\u%04x", c);
		else
			buf_addf(b, "%c", c);
	}
	buf_add_str(b, "\"");
}

static void add_text(struct buf *b, const char *key, const char *value)
{
	buf_addf(b, "%s\"%s\": ", b->len > 1 ? ", " : "", key);
	add_string(b, value);
}

static void add_number(struct buf *b, const char *key, uint64_t value)
{
	buf_addf(b, ", \"%s\": %" PRIu64, key, value);
}

static void add_requests(struct buf *b, const struct fxp_stats *st)
{
	static const struct {
		int type;
		const char *name;
	} types[] = {
	    {FXP_OPEN, "open"},         {FXP_CLOSE, "close"},       {FXP_READ, "read"},
	    {FXP_WRITE, "write"},       {FXP_LSTAT, "lstat"},       {FXP_FSTAT, "fstat"},
	    {FXP_SETSTAT, "setstat"},   {FXP_FSETSTAT, "fsetstat"}, {FXP_OPENDIR, "opendir"},
	    {FXP_READDIR, "readdir"},   {FXP_REMOVE, "remove"},     {FXP_MKDIR, "mkdir"},
	    {FXP_RMDIR, "rmdir"},       {FXP_REALPATH, "realpath"}, {FXP_STAT, "stat"},
	    {FXP_RENAME, "rename"},     {FXP_READLINK, "readlink"}, {FXP_SYMLINK, "symlink"},
	    {FXP_EXTENDED, "extended"},
	};
	bool first = true;

	buf_add_str(b, ", \"requests\": {");
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		uint64_t count = st->sent_count[types[i].type];

		if (!count)
			continue;
		buf_addf(b, "%s\"%s\": %" PRIu64, first ? "" : ", ", types[i].name, count);
		first = false;
	}
	buf_add_str(b, "}");
}

static void add_server(struct buf *b, const struct fxp_stats *st)
{
	buf_add_str(b, ", \"extensions\": [");
	for (unsigned i = 0, first = 1; i < EXT_COUNT; i++) {
		if (!fxp_ext_has(st->exts, i))
			continue;
		buf_add_str(b, first ? "" : ", ");
		add_string(b, fxp_ext_name(i));
		first = 0;
	}
	buf_add_str(b, "]");
	add_number(b, "packet_bytes_max", st->packet_len_max);
	add_number(b, "read_bytes_max", st->read_len_max);
	add_number(b, "write_bytes_max", st->write_len_max);
	add_number(b, "handles_max", st->handle_count_max);
}

static void add_cache(struct buf *b, const struct fusefs *fusefs)
{
	static const char *const hits[] = {"attr_hits", "list_hits", "open_hits", "read_hits"};
	static const char *const misses[] = {"attr_misses", "list_misses", "open_misses",
	                                     "read_misses"};
	struct fusefs_stats s;

	fusefs_get_stats(fusefs, &s);
	for (unsigned i = 0; i < FUSEFS_ASK_COUNT; i++) {
		add_number(b, hits[i], s.hit_count[i]);
		add_number(b, misses[i], s.miss_count[i]);
	}
}

void program_measure(struct program *p)
{
	struct program_rates *r = &p->rates;
	int64_t spent_ms = p->clock.now_ms - r->since_ms;
	struct fxp_stats s = {0};
	uint64_t read_len, written_len;

	if (spent_ms < RATE_MS)
		return;
	program_backend_stats(p, &s);
	read_len = s.read_len - r->read_len;
	written_len = s.written_len - r->written_len;
	/* After a pause of the loop the bytes are those from before it. */
	r->read_len_per_s = spent_ms < 2 * RATE_MS ? read_len * 1000 / (uint64_t)spent_ms : 0;
	r->written_len_per_s = spent_ms < 2 * RATE_MS ? written_len * 1000 / (uint64_t)spent_ms : 0;
	r->read_len = s.read_len;
	r->written_len = s.written_len;
	r->since_ms = p->clock.now_ms;
}

void program_status(void *ctx, char *json, size_t size)
{
	struct program *p = ctx;
	struct buf b = BUF_INIT;
	struct link_facts facts = {0};
	struct fxp_stats fs = {0};
	struct vfs_stats vs = {0};

	b.max_len = size - 2;
	link_facts(p->link, &facts);
	program_backend_stats(p, &fs);
	vfs_get_stats(p->vfs, &vs);

	buf_add_str(&b, "{");
	add_text(&b, "source", p->options->source);
	add_text(&b, "root", p->root);
	add_text(&b, "state",
	         fs.connected         ? "connected"
	         : fs.needs_attention ? "needs attention"
	                              : "connecting");
	add_text(&b, "server", facts.server_banner);
	add_text(&b, "client", facts.client_banner);
	add_text(&b, "host", p->options->host ? p->options->host : "");
	add_text(&b, "user", facts.user);
	add_text(&b, "cipher", facts.cipher);
	add_text(&b, "mac", facts.mac);
	add_text(&b, "kex", facts.kex);
	add_text(&b, "strict_kex", facts.strict_kex ? "yes" : "no");
	add_number(&b, "sftp_version", p->fxp ? FXP_VERSION_3 : 0);
	add_server(&b, &fs);
	add_number(&b, "uptime_s", (uint64_t)(p->clock.now_ms - p->mounted_ms) / 1000);
	add_number(&b, "lanes", fs.lane_count);
	add_number(&b, "rtt_min_ms", fs.rtt_min_ms > 0 ? (uint64_t)fs.rtt_min_ms : 0);
	add_number(&b, "round_trips", fs.round_trip_count);
	add_number(&b, "reconnects", fs.reconnect_count);
	add_number(&b, "in_flight", fs.in_flight_count);
	add_number(&b, "in_flight_bytes", fs.in_flight_len);
	add_number(&b, "read_bytes", fs.read_len);
	add_number(&b, "written_bytes", fs.written_len);
	add_number(&b, "read_bytes_per_s", p->rates.read_len_per_s);
	add_number(&b, "written_bytes_per_s", p->rates.written_len_per_s);
	add_number(&b, "kernel_requests", fusefs_unanswered_count(p->fusefs));
	add_cache(&b, p->fusefs);
	add_number(&b, "nodes", vs.node_count);
	add_number(&b, "open_files", vs.open_count);
	add_number(&b, "dirty_bytes", vs.dirty_len);
	add_number(&b, "cached_bytes", vs.cached_len);
	add_number(&b, "write_errors", vs.write_error_count);
	add_number(&b, "postponed", vs.postponed_count);
	add_number(&b, "postponed_pending", vs.pending_count);
	add_number(&b, "postponed_bytes", vs.pending_len);
	add_number(&b, "postponed_errors", vs.postponed_error_count);
	add_requests(&b, &fs);
	buf_add_str(&b, "}");

	snprintf(json, size, "%s", buf_failed(&b) ? "{}" : (const char *)b.bytes);
	buf_finish(&b);
}
