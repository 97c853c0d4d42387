/* SPDX-License-Identifier: BSD-2-Clause */
/* --help, from the table of options. */
#include <string.h>

#include "options.h"

#define LINE_LEN   78
#define NAME_LEN   29
#define INDENT_LEN 4

static const char *const titles[OPTIONS_SECTION_COUNT] = {
    [OPTIONS_SECTION_SWITCH] = "Switches:",
    [OPTIONS_SECTION_CONNECT] = "The way to the server (-o):",
    [OPTIONS_SECTION_SHOW] = "What the mount shows (-o):",
    [OPTIONS_SECTION_CACHE] = "Caches and time (-o):",
    [OPTIONS_SECTION_MOUNT] = "The mount (-o):",
    [OPTIONS_SECTION_PROCESS] = "The process (-o):",
    [OPTIONS_SECTION_KEYWORD] = "Keywords of ssh_config(5) (-o NAME=VALUE, in any case):",
    [OPTIONS_SECTION_IGNORED] = "Accepted and without effect:",
};

/* One per line, with its help. */
static void print_described(FILE *to, const struct options_spec *s)
{
	char name[128];
	const char *between = !s->value ? "" : s->name[0] == '-' ? " " : "=";

	snprintf(name, sizeof(name), "%s%s%s", s->name, between, s->value ? s->value : "");
	if (strlen(name) > NAME_LEN)
		fprintf(to, "%*s%s\n%*s%s\n", INDENT_LEN, "", name, INDENT_LEN + NAME_LEN + 1, "",
		        s->help);
	else
		fprintf(to, "%*s%-*s %s\n", INDENT_LEN, "", NAME_LEN, name, s->help);
}

/* Names only, filled into lines. Return: the column after it. */
static size_t print_filled(FILE *to, const struct options_spec *s, size_t column)
{
	size_t len = strlen(s->name);

	if (column && column + 1 + len > LINE_LEN) {
		fputc('\n', to);
		column = 0;
	}
	if (column)
		return column + (size_t)fprintf(to, " %s", s->name);
	return (size_t)fprintf(to, "%*s%s", INDENT_LEN, "", s->name);
}

static void print_section(FILE *to, enum options_section section)
{
	size_t count;
	const struct options_spec *t = options_table(&count);
	size_t column = 0;

	fprintf(to, "\n%s\n", titles[section]);
	for (size_t i = 0; i < count; i++) {
		if (t[i].section == section && t[i].help)
			print_described(to, &t[i]);
	}
	for (size_t i = 0; i < count; i++) {
		if (t[i].section == section && !t[i].help)
			column = print_filled(to, &t[i], column);
	}
	if (column)
		fputc('\n', to);
}

void options_print_help(FILE *to)
{
	fputs("usage: sftpfs [user@]host:[dir] mountpoint [options]\n"
	      "       sftpfs sftp://[user@]host[:port]/dir mountpoint [options]\n"
	      "       sftpfs status|umount|reconnect|quiesce mountpoint\n"
	      "       sftpfs hash file\n",
	      to);
	for (int section = 0; section < OPTIONS_SECTION_COUNT; section++)
		print_section(to, (enum options_section)section);
}
