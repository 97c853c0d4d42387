/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line: sshfs's, with our own additions, and mount(8)'s for its helpers.
 * One table (options_table()) drives parsing, --help, shell completion and the check that the man
 * page is complete. Depends on nothing but util/.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum options_action {
	OPTIONS_MOUNT,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_FAKE, /* mount(8) -f: everything was right, and nothing is to be done */
};

enum options_idmap {
	OPTIONS_IDMAP_NONE,
	OPTIONS_IDMAP_USER,
	OPTIONS_IDMAP_FILE,
	OPTIONS_IDMAP_ALL,
	OPTIONS_IDMAP_NAME,
};

enum options_transfer {
	OPTIONS_TRANSFER_AUTO,
	OPTIONS_TRANSFER_SFTP,
	OPTIONS_TRANSFER_SCP,
};

/* NULL-terminated when not empty. */
struct options_list {
	char **at;
	size_t count;
};

/* Strings are owned. Times are in milliseconds. -1 and NULL: not given, unless said otherwise. */
struct options {
	enum options_action action;
	bool as_sshfs; /* called by a name of sshfs: show its type */

	/* Where. */
	char *source; /* as typed; NULL only without a mount */
	char *host;   /* without user and brackets; "" with passive */
	char *user;
	int64_t port;     /* of an sftp:// address; keywords carry -p; 0: not given */
	char *dir;        /* "" is the login directory, what is not absolute starts there */
	char *mountpoint; /* as typed */

	/* The way there. */
	char *config_file;
	struct options_list host_keys;
	struct options_list keywords; /* "Keyword=value" of ssh_config, in the order typed */
	char *ssh_command;
	char *sftp_server;
	int64_t directport; /* 0: not given */
	char *vsock;
	uint32_t vsock_cid;
	uint32_t vsock_port;
	bool passive;
	bool password_stdin;
	bool keep_password; /* default on */
	bool delay_connect;
	bool no_check_root;
	int64_t max_conns;
	char *proxy, *proxy_password_file;
	int64_t bind_port;                           /* 0: any */
	int64_t banner_timeout_ms, login_timeout_ms; /* -1: not given; 0: none */
	int transfer;                                /* enum options_transfer */
	int64_t read_len_max, write_len_max; /* of one SFTP request; 0: what the server allows */

	/* What is shown. */
	int idmap; /* enum options_idmap */
	char *uid_file, *gid_file;
	int nomap; /* idmap=file: unknown ids are 0: shown as they are (default), 1: an error */
	int64_t uid, gid;
	int64_t umask, fmask, dmask;
	bool contain_symlinks;
	bool transform_symlinks;
	bool follow_symlinks;
	bool disable_hardlink;
	int create_as;   /* 0: the caller (default), 1: the login */
	int create_mode; /* 0: exact (default), 1: as the server makes it */
	bool xattr;

	/* Caches and times. */
	bool dir_cache; /* default on */
	bool direct_io;
	bool kernel_cache;
	bool sync_write;
	bool async;
	bool verify;
	int fsync;                /* 0: auto (default), 1: EOPNOTSUPP where the server has none */
	int64_t cache_timeout_ms; /* for those of the next three that are not given */
	int64_t file_timeout_ms, dir_timeout_ms, link_timeout_ms;
	int64_t entry_timeout_ms, attr_timeout_ms, negative_timeout_ms;
	int64_t open_window_ms;   /* default 1,000 */
	int64_t flush_age_ms;     /* default 1,000 */
	int64_t soft_ms;          /* 0: wait for ever */
	int64_t drain_timeout_ms; /* default 60,000 */
	int64_t cache_len;        /* default 256 MiB */

	/* The mount. */
	bool allow_other; /* also with allow_root */
	bool default_permissions;
	bool readonly;
	char *fsname, *subtype;
	struct options_list mount_options; /* for libfuse */

	/* The process. */
	bool foreground;
	bool debug;
	int64_t verbose_count; /* of -v */
	char *log_level;       /* "N[:CATEGORY=N...]", checked; NULL: not given */
	char *log_file;

	struct options_list ignored; /* words that were accepted and have no meaning here */
};

enum options_kind {
	OPTIONS_KIND_SET,     /* takes no value; bool := `number` */
	OPTIONS_KIND_BOOL,    /* yes or no */
	OPTIONS_KIND_COUNT,   /* int64_t: counts how often it is given */
	OPTIONS_KIND_NUMBER,  /* int64_t, decimal, in [min, max] */
	OPTIONS_KIND_OCTAL,   /* int64_t in [min, max] */
	OPTIONS_KIND_SIZE,    /* int64_t bytes, with K, M, G, T */
	OPTIONS_KIND_SECONDS, /* int64_t milliseconds */
	OPTIONS_KIND_STRING,  /* char * */
	OPTIONS_KIND_LIST,    /* struct options_list: each time one more */
	OPTIONS_KIND_LEVELS,  /* char *: a log level, and levels of categories after colons */
	OPTIONS_KIND_CHOICE,  /* int: which word of `words`, separated by bars */
	OPTIONS_KIND_WORDS,   /* colon-separated words of `words`, without effect */
	OPTIONS_KIND_KEYWORD, /* a keyword of ssh_config: `words` is its name, or "name=value" */
	OPTIONS_KIND_MOUNT,   /* handed to libfuse; also sets the bool at `at` unless it is 0 */
	OPTIONS_KIND_GROUP,   /* -o: a comma-separated list of the others */
	OPTIONS_KIND_ACTION,  /* sets `action` to `number` */
	OPTIONS_KIND_IGNORED, /* with or without value, with no effect */
};

enum options_section {
	OPTIONS_SECTION_SWITCH,
	OPTIONS_SECTION_CONNECT,
	OPTIONS_SECTION_SHOW,
	OPTIONS_SECTION_CACHE,
	OPTIONS_SECTION_MOUNT,
	OPTIONS_SECTION_PROCESS,
	OPTIONS_SECTION_KEYWORD,
	OPTIONS_SECTION_IGNORED,
	OPTIONS_SECTION_COUNT,
};

struct options_spec {
	const char *name;  /* "-p", "--help", "dir_cache", "ServerAliveInterval" */
	const char *value; /* what its value is called in the help; NULL: takes none */
	const char *help;  /* NULL: listed by name only */
	const char *words;
	enum options_kind kind;
	enum options_section section;
	size_t at; /* of its member in struct options */
	int64_t number;
	int64_t min, max;
};

/* Every option there is. Static storage. */
const struct options_spec *options_table(size_t *count);

/*
 * Parses a command line into `o`, which the caller ends with options_finish() in any case.
 * argv[0] decides: the names mount.* take mount(8)'s grammar.
 * Return: 0, or -EINVAL (-ENOMEM) with one line for people in `err`.
 */
int options_parse(struct options *o, int argc, char *const argv[], char *err, size_t err_size);

void options_finish(struct options *o);

/*
 * `[user@]host:[dir]`, `[v6]:dir`, `sftp://[user@]host[:port]/dir` into host, user, port and dir.
 * Return: as options_parse().
 */
int options_parse_source(struct options *o, const char *source, char *err, size_t err_size);

/* Splits at spaces; a backslash takes the next character as it is. Return: 0 or -ENOMEM. */
int options_split_command(const char *command, struct options_list *out);

/* Appends a copy of `s`. Return: 0 or -ENOMEM. */
int options_list_add(struct options_list *l, const char *s);
void options_list_finish(struct options_list *l);

/* The usage text, with every option of the table. */
void options_print_help(FILE *to);

#endif
