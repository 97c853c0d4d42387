/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parsing of the command line by the table. Depends on util/ only.
 *
 * What is unknown is an error that repeats what was typed; what sshfs, libfuse or mount(8) know and
 * has no meaning here is accepted. An exact name wins over a keyword of ssh_config, whose case
 * does not matter: `user=` belongs to mount(8), `User=` to ssh.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "options.h"
#include "util/log.h"
#include "util/num.h"

struct parse {
	struct options *o;
	char *err;
	size_t err_size;
	bool sloppy; /* mount(8) -s: unknown options are ignored */
	unsigned positional_count;
};

__attribute__((format(printf, 2, 3))) static int fail(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->err, p->err_size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int options_list_add(struct options_list *l, const char *s)
{
	char **grown = reallocarray(l->at, l->count + 2, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	l->at = grown;
	l->at[l->count] = strdup(s);
	if (!l->at[l->count])
		return -ENOMEM;
	l->at[++l->count] = NULL;
	return 0;
}

void options_list_finish(struct options_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->at[i]);
	free(l->at);
	*l = (struct options_list){0};
}

static int set_string(char **to, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

/* "name" or "name=value" to a list. */
static int add_pair(struct options_list *l, const char *name, const char *value)
{
	char *pair = NULL;

	if (!value)
		return options_list_add(l, name);
	if (asprintf(&pair, "%s=%s", name, value) < 0)
		return -ENOMEM;
	int r = options_list_add(l, pair);
	free(pair);
	return r;
}

/* Which of the bar-separated `words` the `len` bytes at `word` are; -1: none. */
static int word_index(const char *words, const char *word, size_t len)
{
	for (int i = 0; words; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && memcmp(words, word, n) == 0)
			return i;
		words = words[n] ? words + n + 1 : NULL;
	}
	return -1;
}

static int check_words(struct parse *p, const struct options_spec *s, const char *value)
{
	for (const char *at = value;;) {
		size_t n = strcspn(at, ":");

		if (word_index(s->words, at, n) < 0)
			return fail(p, "unknown word '%.*s' in '%s=%s'", (int)n, at, s->name,
			            value);
		if (!at[n])
			return add_pair(&p->o->ignored, s->name, value);
		at += n + 1;
	}
}

static int set_number(struct parse *p, const struct options_spec *s, const char *value)
{
	int64_t *to = (int64_t *)((char *)p->o + s->at);
	uint64_t n = 0;
	int r;

	if (s->kind == OPTIONS_KIND_SECONDS) {
		r = num_parse_seconds(value, s->max, to);
	} else {
		uint64_t lo = (uint64_t)s->min, hi = (uint64_t)s->max;

		if (s->kind == OPTIONS_KIND_SIZE)
			r = num_parse_size(value, lo, hi, &n);
		else
			r = num_parse_u64(value, s->kind == OPTIONS_KIND_OCTAL ? 8 : 10, lo, hi,
			                  &n);
		if (r == 0)
			*to = (int64_t)n;
	}
	if (r == -ERANGE)
		return fail(p, "the value of '%s' is out of range: '%s'", s->name, value);
	if (r)
		return fail(p, "the value of '%s' is not %s: '%s'", s->name,
		            s->kind == OPTIONS_KIND_OCTAL  ? "an octal number"
		            : s->kind == OPTIONS_KIND_SIZE ? "a number of bytes"
		                                           : "a number",
		            value);
	return 0;
}

static int set_keyword(struct parse *p, const struct options_spec *s, const char *value)
{
	uint64_t n;

	if (!s->value) /* a switch that says it all */
		return options_list_add(&p->o->keywords, s->words);
	if (s->max && num_parse_u64(value, 10, (uint64_t)s->min, (uint64_t)s->max, &n) != 0)
		return fail(p, "%s must be a number from %lld to %lld: '%s'", s->words,
		            (long long)s->min, (long long)s->max, value);
	if (!value[0])
		return fail(p, "'%s' needs a value", s->name);
	return add_pair(&p->o->keywords, s->words, value);
}

static int set_mount_option(struct parse *p, const struct options_spec *s, const char *value)
{
	if (s->at)
		*(bool *)((char *)p->o + s->at) = true;
	return add_pair(&p->o->mount_options, s->name, value);
}

static int set_choice(struct parse *p, const struct options_spec *s, const char *value)
{
	int i = word_index(s->words, value, strlen(value));

	if (i < 0)
		return fail(p, "the value of '%s' is not one of %s: '%s'", s->name, s->words,
		            value);
	*(int *)((char *)p->o + s->at) = i;
	return 0;
}

static int set_bool(struct parse *p, const struct options_spec *s, const char *value)
{
	bool yes = strcmp(value, "yes") == 0;

	if (!yes && strcmp(value, "no") != 0)
		return fail(p, "the value of '%s' is neither yes nor no: '%s'", s->name, value);
	*(bool *)((char *)p->o + s->at) = yes;
	return 0;
}

static int set_levels(struct parse *p, const struct options_spec *s, const char *value)
{
	if (log_parse_levels(value, false) != 0)
		return fail(p,
		            "the value of '%s' is not N[:CATEGORY=N...] of 0 to 3 and "
		            "main, ssh, sftp, vfs, fuse: '%s'",
		            s->name, value);
	return set_string(&p->o->log_level, value);
}

static int parse_group(struct parse *p, const char *text);

/* `value` is NULL when none was typed. */
static int apply(struct parse *p, const struct options_spec *s, const char *typed,
                 const char *value)
{
	if (s->kind == OPTIONS_KIND_IGNORED)
		return add_pair(&p->o->ignored, typed, value);
	if (s->value && !value)
		return fail(p, "'%s' needs a value", typed);
	if (!s->value && value)
		return fail(p, "'%s' takes no value: '%s'", typed, value);

	void *at = (char *)p->o + s->at;
	switch (s->kind) {
	case OPTIONS_KIND_SET:
		*(bool *)at = s->number;
		return 0;
	case OPTIONS_KIND_COUNT:
		++*(int64_t *)at;
		return 0;
	case OPTIONS_KIND_ACTION:
		if (p->o->action == OPTIONS_MOUNT)
			p->o->action = (enum options_action)s->number;
		return 0;
	case OPTIONS_KIND_BOOL:
		return set_bool(p, s, value);
	case OPTIONS_KIND_NUMBER:
	case OPTIONS_KIND_OCTAL:
	case OPTIONS_KIND_SIZE:
	case OPTIONS_KIND_SECONDS:
		return set_number(p, s, value);
	case OPTIONS_KIND_STRING:
		return set_string(at, value);
	case OPTIONS_KIND_LIST:
		return options_list_add(at, value);
	case OPTIONS_KIND_LEVELS:
		return set_levels(p, s, value);
	case OPTIONS_KIND_CHOICE:
		return set_choice(p, s, value);
	case OPTIONS_KIND_WORDS:
		return check_words(p, s, value);
	case OPTIONS_KIND_KEYWORD:
		return set_keyword(p, s, value);
	case OPTIONS_KIND_MOUNT:
		return set_mount_option(p, s, value);
	case OPTIONS_KIND_GROUP:
		return parse_group(p, value);
	case OPTIONS_KIND_IGNORED:
		break;
	}
	return -EINVAL;
}

/* Switches by their exact name; others exactly, then keywords in any case, then prefixes (x-*). */
static const struct options_spec *find(const char *name)
{
	size_t count;
	const struct options_spec *t = options_table(&count);
	const struct options_spec *second = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(t[i].name);

		if (t[i].section != OPTIONS_SECTION_KEYWORD && strcmp(t[i].name, name) == 0)
			return &t[i];
		if (t[i].section == OPTIONS_SECTION_KEYWORD && strcasecmp(t[i].name, name) == 0)
			second = &t[i];
		if (t[i].name[len - 1] == '*' && strncmp(t[i].name, name, len - 1) == 0)
			second = &t[i];
	}
	return second;
}

/* One option of a group: "name" or "name=value"; changed meanwhile. */
static int parse_option(struct parse *p, char *text)
{
	char *equals = strchr(text, '=');

	if (equals)
		*equals = '\0';
	const struct options_spec *s = text[0] == '-' ? NULL : find(text);
	if (s)
		return apply(p, s, text, equals ? equals + 1 : NULL);
	if (strcmp(text, "remount") == 0)
		return fail(p,
		            "a mount cannot be changed by remount: unmount it and mount it again");
	if (p->sloppy)
		return add_pair(&p->o->ignored, text, equals ? equals + 1 : NULL);
	return fail(p, "unknown option '%s%s%s'", text, equals ? "=" : "",
	            equals ? equals + 1 : "");
}

static bool octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' &&
	       s[2] <= '7';
}

/* Splits at commas. A backslash takes the next character as it is, or three octal digits. */
static int parse_group(struct parse *p, const char *text)
{
	char *one = malloc(strlen(text) + 1);
	int r = 0;

	if (!one)
		return -ENOMEM;
	for (bool more = true; more && r == 0;) {
		char *to = one;

		for (; *text && *text != ','; text++) {
			if (*text == '\\' && octal(text + 1)) {
				*to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 +
				               (text[3] - '0'));
				text += 3;
			} else {
				if (*text == '\\' && text[1])
					text++;
				*to++ = *text;
			}
		}
		*to = '\0';
		more = *text++ == ',';
		if (one[0])
			r = parse_option(p, one);
	}
	free(one);
	return r;
}

/* Takes the type from old fstab lines: "sshfs#user@host:dir". */
static const char *without_type(const char *source)
{
	static const char *const types[] = {"sshfs#", "sftpfs#"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strncmp(source, types[i], strlen(types[i])) == 0)
			return source + strlen(types[i]);
	}
	return source;
}

static int positional(struct parse *p, const char *arg)
{
	struct options *o = p->o;

	p->positional_count++;
	if (!o->source && strchr(arg, ':')) {
		arg = without_type(arg);
		int r = set_string(&o->source, arg);
		return r ? r : options_parse_source(o, arg, p->err, p->err_size);
	}
	if (!o->mountpoint)
		return set_string(&o->mountpoint, arg);
	if (!o->source)
		return fail(p, "neither '%s' nor '%s' has the form [user@]host:[dir]",
		            o->mountpoint, arg);
	return fail(p, "one argument too many: '%s'", arg);
}

/* A word that begins with '-'. *next is the argument after it, taken if it is its value. */
static int parse_switches(struct parse *p, const char *arg, char *const **next)
{
	char name[3] = "-";

	if (arg[1] == '-') {
		const struct options_spec *s = find(arg);
		return s ? apply(p, s, arg, NULL) : fail(p, "unknown option '%s'", arg);
	}
	for (const char *at = arg + 1; *at; at++) {
		name[1] = *at;
		const struct options_spec *s = find(name);
		if (!s)
			return fail(p, "unknown option '%s'", arg);
		if (s->value) {
			const char *value = at[1] ? at + 1 : *(*next)++;

			if (!value)
				return fail(p, "'%s' needs a value", name);
			return apply(p, s, name, value);
		}
		int r = apply(p, s, name, NULL);
		if (r)
			return r;
	}
	return 0;
}

/* mount(8) helpers: -f fake, -n no mtab, -s sloppy, -v verbose, -N and -t with a value. */
static int parse_helper_switches(struct parse *p, const char *arg, char *const **next)
{
	for (const char *at = arg + 1; *at; at++) {
		switch (*at) {
		case 'f':
			p->o->action = OPTIONS_FAKE;
			break;
		case 's':
			p->sloppy = true;
			break;
		case 'v':
			p->o->verbose_count++;
			break;
		case 'r':
			p->o->readonly = true;
			break;
		case 'n':
		case 'w':
			break;
		case 'N':
		case 't':
		case 'o': {
			const char *value = at[1] ? at + 1 : *(*next)++;

			if (!value)
				return fail(p, "'-%c' needs a value", *at);
			return *at == 'o' ? parse_group(p, value) : 0;
		}
		default:
			return fail(p, "unknown option '%s'", arg);
		}
	}
	return 0;
}

static int parse_all(struct parse *p, char *const argv[], bool helper)
{
	bool only_positional = false;

	for (char *const *next = argv; *next;) {
		const char *arg = *next++;
		int r;

		if (only_positional || arg[0] != '-' || !arg[1])
			r = positional(p, arg);
		else if (strcmp(arg, "--") == 0)
			r = 0, only_positional = true;
		else if (helper)
			r = parse_helper_switches(p, arg, &next);
		else
			r = parse_switches(p, arg, &next);
		if (r)
			return r;
	}
	return 0;
}

/* -s may come after the options it is to forgive. */
static bool helper_is_sloppy(char *const argv[])
{
	for (; *argv; argv++) {
		if (argv[0][0] == '-' && argv[0][1] != 'o' && strchr(argv[0], 's'))
			return true;
		if (argv[0][0] == '-' && argv[0][1] && strchr("otN", argv[0][1]) && !argv[0][2] &&
		    argv[1])
			argv++;
	}
	return false;
}

static int check_vsock(struct parse *p)
{
	uint64_t cid, port;
	char *text = p->o->vsock;
	char *colon = strchr(text, ':');

	if (!colon)
		return fail(p, "the value of 'vsock' is not CID:PORT: '%s'", text);
	*colon = '\0';
	int r = num_parse_u64(text, 10, 0, UINT32_MAX, &cid);
	if (r == 0)
		r = num_parse_u64(colon + 1, 10, 0, UINT32_MAX, &port);
	*colon = ':';
	if (r)
		return fail(p, "the value of 'vsock' is not CID:PORT: '%s'", text);
	p->o->vsock_cid = (uint32_t)cid;
	p->o->vsock_port = (uint32_t)port;
	return 0;
}

/* What only the whole command line can show. */
static int check(struct parse *p)
{
	struct options *o = p->o;

	if (o->action == OPTIONS_HELP || o->action == OPTIONS_VERSION)
		return 0;
	if (!o->source && p->positional_count)
		return fail(p, "no argument has the form [user@]host:[dir]: '%s'", o->mountpoint);
	if (!o->source)
		return fail(p, "what to mount is missing: [user@]host:[dir] and a directory");
	if (!o->mountpoint)
		return fail(p, "the directory to mount '%s' on is missing", o->source);
	if (o->vsock && check_vsock(p) != 0)
		return -EINVAL;

	int ways =
	    (o->ssh_command != NULL) + (o->directport != 0) + (o->vsock != NULL) + o->passive;
	if (ways > 1)
		return fail(p,
		            "only one of ssh_command, directport, vsock and passive can be used");
	if (o->password_stdin && ways)
		return fail(p, "password_stdin needs our own SSH: it cannot be used with "
		               "ssh_command, directport, vsock or passive");
	if (!o->host[0] && !o->passive && !o->vsock)
		return fail(p, "the host is missing in '%s'", o->source);
	return 0;
}

/* An ssh that we run later, from the background, does not start where we did. */
static int make_config_absolute(struct options *o)
{
	char *here, *path = NULL;

	if (!o->config_file || o->config_file[0] == '/' || !o->config_file[0] ||
	    strcasecmp(o->config_file, "none") == 0)
		return 0;
	here = getcwd(NULL, 0);
	if (!here)
		return errno == ENOMEM ? -ENOMEM : 0; /* it cannot be read, and that will be said */
	int n = asprintf(&path, "%s/%s", here, o->config_file);
	free(here);
	if (n < 0)
		return -ENOMEM;
	free(o->config_file);
	o->config_file = path;
	return 0;
}

static void set_defaults(struct options *o)
{
	*o = (struct options){
	    .keep_password = true,
	    .max_conns = 1,
	    .banner_timeout_ms = -1,
	    .login_timeout_ms = -1,
	    .uid = -1,
	    .gid = -1,
	    .umask = -1,
	    .fmask = -1,
	    .dmask = -1,
	    .dir_cache = true,
	    .cache_timeout_ms = -1,
	    .file_timeout_ms = -1,
	    .dir_timeout_ms = -1,
	    .link_timeout_ms = -1,
	    .entry_timeout_ms = -1,
	    .attr_timeout_ms = -1,
	    .negative_timeout_ms = -1,
	    .open_window_ms = 1000,
	    .flush_age_ms = 1000,
	    .drain_timeout_ms = 60000,
	    .cache_len = 256 * 1024 * 1024,
	};
}

int options_parse(struct options *o, int argc, char *const argv[], char *err, size_t err_size)
{
	struct parse p = {.o = o, .err = err, .err_size = err_size};
	const char *called = argc > 0 ? argv[0] : "sftpfs";
	const char *slash = strrchr(called, '/');
	char *const *args = argc > 0 ? argv + 1 : argv;

	set_defaults(o);
	err[0] = '\0';
	if (slash)
		called = slash + 1;
	o->as_sshfs = strstr(called, "sshfs") != NULL;
	bool helper = strncmp(called, "mount.", 6) == 0;
	p.sloppy = helper && helper_is_sloppy(args);

	int r = parse_all(&p, args, helper);
	if (r == 0)
		r = check(&p);
	if (r == 0)
		r = make_config_absolute(o);
	int64_t *timeouts[] = {&o->file_timeout_ms, &o->dir_timeout_ms, &o->link_timeout_ms};
	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		if (*timeouts[i] < 0)
			*timeouts[i] = o->cache_timeout_ms;
	}
	if (o->debug || o->passive)
		o->foreground = true;
	if (r == -ENOMEM)
		snprintf(err, err_size, "out of memory");
	return r;
}

void options_finish(struct options *o)
{
	/* clang-format off */
	char *strings[] = {o->source,     o->host,        o->user,        o->dir,
	                   o->mountpoint, o->config_file, o->ssh_command, o->sftp_server,
	                   o->vsock,      o->uid_file,    o->gid_file,    o->fsname,
	                   o->subtype,    o->log_file,    o->log_level,   o->proxy,
	                   o->proxy_password_file};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	options_list_finish(&o->host_keys);
	options_list_finish(&o->keywords);
	options_list_finish(&o->mount_options);
	options_list_finish(&o->ignored);
	*o = (struct options){0};
}
