/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <inttypes.h>
#include <string.h>

struct stats stats;

/* Connections that are open live on in the new period, with empty counts. */
void stats_reset(void)
{
	struct stats old = stats;

	memset(&stats, 0, sizeof(stats));
	stats.epoch = old.epoch + 1;
	stats.active = old.active;
	/* Slots keep their place: connections hold pointers to them. */
	stats.conn_count = old.conn_count;
	for (uint32_t i = 0; i < old.conn_count; i++) {
		stats.conns[i].serial = old.conns[i].serial;
		stats.conns[i].open = old.conns[i].open;
	}
}

struct stats_conn *stats_conn_add(uint32_t serial)
{
	struct stats_conn *c = NULL;

	for (uint32_t i = 0; i < stats.conn_count && c == NULL; i++)
		if (!stats.conns[i].open &&
		    stats.conns[i].bytes[UP] + stats.conns[i].bytes[DOWN] == 0)
			c = &stats.conns[i];
	if (c == NULL) {
		if (stats.conn_count == STATS_CONN_MAX)
			return NULL;
		c = &stats.conns[stats.conn_count++];
	}
	memset(c, 0, sizeof(*c));
	c->serial = serial;
	c->open = true;
	return c;
}

void stats_frame(enum dir dir, const struct frame *f)
{
	stats.types[dir][f->type]++;
	if (f->name[0] == '\0')
		return;
	for (int i = 0; i < STATS_EXT_MAX; i++) {
		if (stats.ext[i].name[0] == '\0')
			memcpy(stats.ext[i].name, f->name, sizeof(f->name));
		if (strcmp(stats.ext[i].name, f->name) == 0) {
			stats.ext[i].count++;
			return;
		}
	}
}

static void print_types(FILE *out, const char *label, const uint64_t *counts)
{
	const char *comma = "";

	fprintf(out, ",\"%s\":{", label);
	for (int i = 0; i < 256; i++) {
		const char *name = frame_type_name((uint8_t)i);

		if (counts[i] == 0)
			continue;
		if (name != NULL)
			fprintf(out, "%s\"%s\":%" PRIu64, comma, name, counts[i]);
		else
			fprintf(out, "%s\"type%d\":%" PRIu64, comma, i, counts[i]);
		comma = ",";
	}
	fputc('}', out);
}

void stats_print(FILE *out)
{
	const char *comma = "";

	fprintf(out, "{\"up_bytes\":%" PRIu64 ",\"down_bytes\":%" PRIu64, stats.bytes[UP],
	        stats.bytes[DOWN]);
	fprintf(out, ",\"connections\":%u,\"active\":%u", stats.accepted, stats.active);
	fprintf(out, ",\"round_trips\":%u,\"flips\":%" PRIu64, stats.depth, stats.flips);
	fprintf(out, ",\"request_frames\":%" PRIu64 ",\"reply_frames\":%" PRIu64, stats.frames[UP],
	        stats.frames[DOWN]);
	print_types(out, "requests", stats.types[UP]);
	print_types(out, "replies", stats.types[DOWN]);
	fputs(",\"extended\":{", out);
	for (int i = 0; i < STATS_EXT_MAX && stats.ext[i].name[0] != '\0'; i++) {
		fprintf(out, "%s\"%s\":%" PRIu64, comma, stats.ext[i].name, stats.ext[i].count);
		comma = ",";
	}
	fputs("},\"per_connection\":[", out);
	comma = "";
	for (uint32_t i = 0; i < stats.conn_count; i++) {
		const struct stats_conn *c = &stats.conns[i];

		if (!c->open && c->bytes[UP] + c->bytes[DOWN] == 0)
			continue;
		fprintf(out,
		        "%s{\"serial\":%u,\"open\":%s,\"up_bytes\":%" PRIu64
		        ",\"down_bytes\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"replies\":%" PRIu64
		        "}",
		        comma, c->serial, c->open ? "true" : "false", c->bytes[UP], c->bytes[DOWN],
		        c->frames[UP], c->frames[DOWN]);
		comma = ",";
	}
	fputs("]}\n", out);
}
