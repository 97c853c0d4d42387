/* SPDX-License-Identifier: BSD-2-Clause */
/* The SCP protocol. Contract: include/scp/codec.h. */
#include "scp/codec.h"

#include <stdio.h>
#include <string.h>

#include "util/num.h"

#define SIZE_MAX_OFF ((uint64_t)INT64_MAX) /* what an offset can hold */

void scp_sink_init(struct scp_sink *s, const char *name)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
}

static void set_error(char *to, size_t size, const char *text, size_t len)
{
	/* The end says what is wrong, whatever names come before. */
	if (len >= size) {
		text += len - (size - 1);
		len = size - 1;
	}
	snprintf(to, size, "%.*s", (int)len, text);
	for (unsigned char *p = (unsigned char *)to; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
}

static void sink_fail(struct scp_sink *s, const char *text)
{
	s->phase = SCP_FAILED;
	set_error(s->error, sizeof(s->error), text, strlen(text));
}

/* A field of digits up to `stop`. Return: behind it, or NULL. */
static const char *get_number(const char *p, char stop, unsigned base, uint64_t max, uint64_t *out)
{
	char digits[24];
	const char *end = strchr(p, stop);
	size_t len = end ? (size_t)(end - p) : 0;

	if (!end || len == 0 || len >= sizeof(digits))
		return NULL;
	memcpy(digits, p, len);
	digits[len] = '\0';
	return num_parse_u64(digits, base, 0, max, out) == 0 ? end + 1 : NULL;
}

/* "T<mtime> 0 <atime> 0" */
static bool parse_times(struct scp_sink *s, const char *p)
{
	uint64_t usec;

	p = get_number(p, ' ', 10, INT64_MAX, &s->mtime);
	p = p ? get_number(p, ' ', 10, 999999, &usec) : NULL;
	p = p ? get_number(p, ' ', 10, INT64_MAX, &s->atime) : NULL;
	return p && num_parse_u64(p, 10, 0, 999999, &usec) == 0;
}

/* "C<mode> <size> <name>" */
static bool parse_file(struct scp_sink *s, const char *p)
{
	uint64_t mode;

	p = get_number(p, ' ', 8, 07777, &mode);
	p = p ? get_number(p, ' ', 10, SIZE_MAX_OFF, &s->size) : NULL;
	if (!p)
		return false;
	s->mode = (uint32_t)mode;
	s->left = s->size;
	return strcmp(p, s->name) == 0;
}

static void take_line(struct scp_sink *s)
{
	const char *line = s->line;

	s->line[s->line_len] = '\0';
	if (strlen(line) != s->line_len) {
		sink_fail(s, "a record holds a zero byte");
		return;
	}
	switch (line[0]) {
	case '\1':
	case '\2':
		s->refused = true;
		s->phase = SCP_FAILED;
		set_error(s->error, sizeof(s->error), line + 1, s->line_len - 1);
		break;
	case 'T':
		if (s->timed || !parse_times(s, line + 1))
			sink_fail(s, "the server sent a bad record of times");
		s->timed = true;
		break;
	case 'C':
		if (parse_file(s, line + 1))
			s->phase = s->size ? SCP_DATA : SCP_TAIL;
		else
			sink_fail(s, "the server sent another file than was asked for");
		break;
	default:
		sink_fail(s, "the server sent what was not asked for");
		break;
	}
	s->line_len = 0;
}

static size_t feed_line(struct scp_sink *s, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && s->phase == SCP_HEAD) {
		char c = (char)bytes[used++];

		if (c == '\n' && s->line_len) {
			take_line(s);
			break;
		}
		if (s->line_len == sizeof(s->line) - 1) {
			sink_fail(s, "the server sent an endless line");
			break;
		}
		s->line[s->line_len++] = c;
	}
	return used;
}

/* The server's word on the data it has sent: zero, or a message. */
static size_t feed_tail(struct scp_sink *s, const uint8_t *bytes, size_t len)
{
	if (bytes[0] == 0) {
		s->phase = SCP_ENDED;
		return 1;
	}
	if (bytes[0] != 1 && bytes[0] != 2) {
		sink_fail(s, "the server sent more data than it had announced");
		return 1;
	}
	s->refused = true;
	s->phase = SCP_FAILED;
	set_error(s->error, sizeof(s->error), (const char *)bytes + 1, len - 1);
	return len;
}

size_t scp_sink_feed(struct scp_sink *s, const uint8_t *bytes, size_t len, const uint8_t **data,
                     size_t *data_len)
{
	*data = bytes;
	*data_len = 0;
	if (len == 0)
		return 0;
	switch (s->phase) {
	case SCP_HEAD:
		return feed_line(s, bytes, len);
	case SCP_DATA:
		*data_len = s->left < len ? (size_t)s->left : len;
		s->left -= *data_len;
		if (s->left == 0)
			s->phase = SCP_TAIL;
		return *data_len;
	case SCP_TAIL:
		return feed_tail(s, bytes, len);
	default:
		return 0;
	}
}

void scp_source_init(struct scp_source *s)
{
	memset(s, 0, sizeof(*s));
}

static void source_fail(struct scp_source *s)
{
	s->failed = true;
	set_error(s->error, sizeof(s->error), s->line, s->line_len);
}

void scp_source_feed(struct scp_source *s, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len && !s->failed; i++) {
		char c = (char)bytes[i];

		if (!s->in_message && c == 0) {
			s->acks++;
		} else if (!s->in_message) {
			/* What is not \1 or \2 is text of somebody else: a message all the same. */
			s->in_message = true;
			if (c != 1 && c != 2)
				s->line[s->line_len++] = c;
		} else if (c == '\n' || s->line_len == sizeof(s->line) - 1) {
			source_fail(s);
		} else {
			s->line[s->line_len++] = c;
		}
	}
}

void scp_source_head(struct buf *b, const char *name, uint32_t mode, uint64_t size)
{
	buf_addf(b, "C%04o %llu %s\n", mode & 07777, (unsigned long long)size, name);
}
