/* SPDX-License-Identifier: BSD-2-Clause */
#include "frame.h"

#include <string.h>
#include <strings.h>

#define FRAME_LEN_MAX ((uint32_t)16 << 20) /* bytes; far above what any server takes */
#define TYPE_INIT     1
#define TYPE_VERSION  2
#define TYPE_EXTENDED 200

static const struct {
	uint8_t type;
	const char *name;
} types[] = {
    {1, "INIT"},      {2, "VERSION"},    {3, "OPEN"},
    {4, "CLOSE"},     {5, "READ"},       {6, "WRITE"},
    {7, "LSTAT"},     {8, "FSTAT"},      {9, "SETSTAT"},
    {10, "FSETSTAT"}, {11, "OPENDIR"},   {12, "READDIR"},
    {13, "REMOVE"},   {14, "MKDIR"},     {15, "RMDIR"},
    {16, "REALPATH"}, {17, "STAT"},      {18, "RENAME"},
    {19, "READLINK"}, {20, "SYMLINK"},   {101, "STATUS"},
    {102, "HANDLE"},  {103, "DATA"},     {104, "NAME"},
    {105, "ATTRS"},   {200, "EXTENDED"}, {201, "EXTENDED_REPLY"},
};

const char *frame_type_name(uint8_t type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == type)
			return types[i].name;
	return NULL;
}

int frame_type_find(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcasecmp(types[i].name, name) == 0)
			return types[i].type;
	return -1;
}

bool frame_type_is_reply(uint8_t type)
{
	return type == TYPE_VERSION || (type >= 101 && type <= 105) || type == 201;
}

void frame_init(struct frame *f)
{
	memset(f, 0, sizeof(*f));
}

bool frame_at_boundary(const struct frame *f)
{
	return f->head_len == 0;
}

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* How long the head must be before it says all we want; grows as more of it is known. */
static size_t head_want(const struct frame *f)
{
	size_t frame_len, want = 5;

	if (f->head_len < 5)
		return want;
	frame_len = (size_t)get32(f->head) + 4;
	want = 9;
	if (f->head[4] == TYPE_EXTENDED) {
		want = 13;
		if (f->head_len >= 13) {
			uint32_t name_len = get32(f->head + 9);

			want += name_len < FRAME_NAME_MAX ? name_len : FRAME_NAME_MAX;
		}
	}
	return want < frame_len ? want : frame_len;
}

static void head_read(struct frame *f)
{
	f->known = true;
	f->type = f->head[4];
	f->id = f->head_len >= 9 ? get32(f->head + 5) : 0;
	f->name[0] = '\0';
	if (f->type == TYPE_EXTENDED && f->head_len > 13) {
		size_t n = f->head_len - 13;

		for (size_t i = 0; i < n; i++) {
			unsigned char c = f->head[13 + i];

			f->name[i] = c > ' ' && c < 127 && c != '"' && c != '\\' ? (char)c : '?';
		}
		f->name[n] = '\0';
	}
}

enum frame_event frame_take(struct frame *f, const unsigned char *data, size_t len, size_t *taken)
{
	size_t used = 0;

	*taken = len;
	if (f->bad)
		return FRAME_NONE;
	while (!f->known && used < len) {
		f->head[f->head_len++] = data[used++];
		if (f->head_len == 4) {
			f->left = get32(f->head);
			if (f->left < 1 || f->left > FRAME_LEN_MAX) {
				f->bad = true;
				return FRAME_BAD;
			}
		} else if (f->head_len > 4) {
			f->left--;
			if (f->head_len >= head_want(f)) {
				head_read(f);
				*taken = used;
				return FRAME_KNOWN;
			}
		}
	}
	if (!f->known)
		return FRAME_NONE;
	if (f->left > len - used) {
		f->left -= (uint32_t)(len - used);
		return FRAME_NONE;
	}
	*taken = used + f->left;
	f->left = 0;
	f->known = false;
	f->head_len = 0;
	return FRAME_END;
}
