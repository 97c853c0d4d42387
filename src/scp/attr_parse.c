/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes out of text. Contract: include/scp/attr_parse.h. */
#include "scp/attr_parse.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "util/num.h"

#define WORD_LEN_MAX 32
#define NAME_LEN_MAX 4096

struct text {
	const char *p, *end;
	bool bad;
};

/* The next word, up to a blank or the end of the line, and the blank behind it. */
static const char *word(struct text *t, char out[WORD_LEN_MAX])
{
	size_t len = 0;

	out[0] = '\0';
	while (t->p < t->end && *t->p == ' ')
		t->p++;
	while (t->p < t->end && *t->p != ' ' && *t->p != '\n') {
		if (len == WORD_LEN_MAX - 1) {
			t->bad = true;
			break;
		}
		out[len++] = *t->p++;
	}
	out[len] = '\0';
	if (len == 0)
		t->bad = true;
	else if (t->p < t->end && *t->p == ' ')
		t->p++;
	return out;
}

static uint64_t number(struct text *t, unsigned base, uint64_t max)
{
	char w[WORD_LEN_MAX];
	uint64_t n = 0;

	if (num_parse_u64(word(t, w), base, 0, max, &n) != 0)
		t->bad = true;
	return n;
}

/* SFTP's range, so that both backends show the same: 1970 to 2106. */
static uint32_t seconds(struct text *t)
{
	char w[WORD_LEN_MAX];
	const char *digits = word(t, w);
	uint64_t n = 0;

	if (digits[0] == '-' && num_parse_u64(digits + 1, 10, 0, INT64_MAX, &n) == 0)
		return 0;
	if (num_parse_u64(digits, 10, 0, INT64_MAX, &n) != 0)
		t->bad = true;
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void parse_stat(struct text *t, struct be_attr *a, struct scp_identity *id)
{
	a->mode = (uint32_t)number(t, 16, 0xffff);
	a->size = number(t, 10, INT64_MAX);
	a->uid = (uint32_t)number(t, 10, UINT32_MAX);
	a->gid = (uint32_t)number(t, 10, UINT32_MAX);
	a->atime = seconds(t);
	a->mtime = seconds(t);
	a->nlink = (uint32_t)number(t, 10, UINT32_MAX);
	id->ino = number(t, 10, UINT64_MAX);
	id->dev = number(t, 10, UINT64_MAX);
}

/* "drwxr-sr-t" */
static uint32_t parse_mode(struct text *t)
{
	static const struct {
		char letter;
		uint32_t type;
	} types[] = {{'-', S_IFREG}, {'d', S_IFDIR}, {'l', S_IFLNK}, {'c', S_IFCHR},
	             {'b', S_IFBLK}, {'p', S_IFIFO}, {'s', S_IFSOCK}};
	static const uint32_t extra[] = {S_ISUID, S_ISGID, S_ISVTX};
	char w[WORD_LEN_MAX];
	uint32_t mode = 0;

	word(t, w);
	if (strlen(w) < 10) {
		t->bad = true;
		return 0;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].letter == w[0])
			mode = types[i].type;
	t->bad = t->bad || mode == 0;
	for (unsigned i = 0; i < 9; i++) {
		char c = w[1 + i];

		if (i % 3 == 2 && strchr("sStT", c))
			mode |= extra[i / 3] | (c == 's' || c == 't' ? 1u << (8 - i) : 0);
		else if (c != '-')
			mode |= 1u << (8 - i);
	}
	return mode;
}

/* "Jan 31 23:59" within the last year, or "Jan 31 2001"; UTC. */
static uint32_t parse_date(struct text *t, int64_t now_s)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char month[WORD_LEN_MAX], when[WORD_LEN_MAX];
	struct tm tm = {0}, now;
	time_t now_t = (time_t)now_s, at;
	const char *m;
	uint64_t n = 0;
	char *colon;

	word(t, month);
	tm.tm_mday = (int)number(t, 10, 31);
	word(t, when);
	m = strlen(month) == 3 ? strstr(months, month) : NULL;
	if (!m || (m - months) % 3 || !gmtime_r(&now_t, &now)) {
		t->bad = true;
		return 0;
	}
	tm.tm_mon = (int)(m - months) / 3;
	colon = strchr(when, ':');
	if (!colon) {
		if (num_parse_u64(when, 10, 1, 9999, &n) != 0)
			t->bad = true;
		tm.tm_year = (int)n - 1900;
	} else {
		*colon = '\0';
		tm.tm_year = now.tm_year;
		if (num_parse_u64(when, 10, 0, 23, &n) != 0)
			t->bad = true;
		tm.tm_hour = (int)n;
		if (num_parse_u64(colon + 1, 10, 0, 59, &n) != 0)
			t->bad = true;
		tm.tm_min = (int)n;
	}
	if (t->bad)
		return 0;
	at = timegm(&tm);
	if (colon && at > now_t + 24 * 3600) {
		tm.tm_year--;
		at = timegm(&tm);
	}
	return at < 0 ? 0 : at > UINT32_MAX ? UINT32_MAX : (uint32_t)at;
}

/* "ino mode nlink uid gid size date"; of a device "major, minor" in the size's place. */
static void parse_ls(struct text *t, int64_t now_s, struct be_attr *a, struct scp_identity *id)
{
	char w[WORD_LEN_MAX];
	size_t len;

	id->ino = number(t, 10, UINT64_MAX);
	a->mode = parse_mode(t);
	a->nlink = (uint32_t)number(t, 10, UINT32_MAX);
	a->uid = (uint32_t)number(t, 10, UINT32_MAX);
	a->gid = (uint32_t)number(t, 10, UINT32_MAX);
	len = strlen(word(t, w));
	if (len && w[len - 1] == ',')
		number(t, 10, UINT32_MAX);
	else if (num_parse_u64(w, 10, 0, INT64_MAX, &a->size) != 0)
		t->bad = true;
	a->atime = a->mtime = parse_date(t, now_s);
}

size_t scp_attr_parse(const char *line, size_t len, int64_t now_s, struct be_attr *out,
                      struct scp_identity *id)
{
	struct text t = {line, line + len, false};

	*out = (struct be_attr){.valid = BE_ATTR_SIZE | BE_ATTR_OWNER | BE_ATTR_MODE |
	                                 BE_ATTR_TIMES | BE_ATTR_NLINK};
	*id = (struct scp_identity){0};
	if (len && line[0] == 'L') {
		t.p++;
		parse_ls(&t, now_s, out, id);
	} else {
		parse_stat(&t, out, id);
	}
	return t.bad ? 0 : (size_t)(t.p - line);
}

/* Names that a hostile server makes up must not lead anywhere else. */
static bool name_good(const char *name, size_t len)
{
	return len > 0 && len <= NAME_LEN_MAX && !memchr(name, '/', len) &&
	       !memchr(name, '\0', len) && !(len == 1 && name[0] == '.') &&
	       !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* One line with its name. Return: false when it makes no sense. */
static bool parse_entry(const char *line, size_t len, int64_t now_s, scp_entry_fn *each, void *arg)
{
	char name[NAME_LEN_MAX + 1];
	struct scp_identity id;
	struct be_entry entry;
	size_t used = scp_attr_parse(line, len, now_s, &entry.attr, &id);

	if (used < 3 || used + 2 >= len || memcmp(line + used, "./", 2) != 0)
		return false;
	line += used + 2;
	len -= used + 2;
	if (!name_good(line, len))
		return false;
	memcpy(name, line, len);
	name[len] = '\0';
	entry.name = name;
	entry.name_len = len;
	each(arg, &entry);
	return true;
}

size_t scp_list_parse(const char *body, size_t len, int64_t now_s, scp_entry_fn *each, void *arg)
{
	const char *at = body, *end = body + len;
	size_t bad_count = 0;

	while (at < end) {
		const char *slash = memmem(at, (size_t)(end - at), "./", 2);
		const char *next =
		    slash ? memmem(slash + 2, (size_t)(end - slash - 2), "./", 2) : NULL;
		const char *stop = next ? memrchr(slash, '\n', (size_t)(next - slash)) : end;

		if (!slash || !stop) {
			bad_count++;
			break;
		}
		if (!next && end[-1] == '\n')
			stop = end - 1;
		if (!parse_entry(at, (size_t)(stop - at), now_s, each, arg))
			bad_count++;
		at = stop + 1;
	}
	return bad_count;
}

static bool parse_stat_f(struct text *t, struct be_statvfs *sv)
{
	sv->frsize = number(t, 10, UINT32_MAX);
	sv->bsize = number(t, 10, UINT32_MAX);
	sv->blocks = number(t, 10, UINT64_MAX);
	sv->bfree = number(t, 10, UINT64_MAX);
	sv->bavail = number(t, 10, UINT64_MAX);
	sv->files = number(t, 10, UINT64_MAX);
	sv->ffree = sv->favail = number(t, 10, UINT64_MAX);
	sv->fsid = number(t, 16, UINT64_MAX);
	sv->namemax = number(t, 10, 65536);
	return !t->bad;
}

/* "device 1024-blocks used available capacity mountpoint" */
static bool parse_df(const char *body, size_t len, struct be_statvfs *sv)
{
	const char *last;
	char w[WORD_LEN_MAX];
	struct text t;

	while (len && body[len - 1] == '\n')
		len--;
	last = memrchr(body, '\n', len);
	if (!last)
		return false;
	t = (struct text){memchr(last, ' ', (size_t)(body + len - last)), body + len, false};
	if (!t.p)
		return false;
	*sv = (struct be_statvfs){.bsize = 1024, .frsize = 1024, .namemax = 255};
	sv->blocks = number(&t, 10, UINT64_MAX / 1024);
	sv->bfree = number(&t, 10, UINT64_MAX / 1024);
	sv->bfree = sv->bfree < sv->blocks ? sv->blocks - sv->bfree : 0;
	sv->bavail = number(&t, 10, UINT64_MAX / 1024);
	word(&t, w);
	return !t.bad;
}

bool scp_statvfs_parse(const char *body, size_t len, struct be_statvfs *out)
{
	struct text t = {body, body + len, false};

	*out = (struct be_statvfs){0};
	return parse_stat_f(&t, out) || parse_df(body, len, out);
}
