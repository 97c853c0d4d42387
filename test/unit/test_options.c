/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line, and that --help and the man page tell the same as the table.
 * Environment: MAN_PAGE, the path of man/sftpfs.1.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_main.h"
#include "options.h"

#define ARGS_MAX 32

static char err[512];

/* Parses a command line typed as one string of words. */
static int parse(struct options *o, const char *line)
{
	static char copy[1024];
	char *argv[ARGS_MAX + 1];
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok(copy, " "); w && argc < ARGS_MAX; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	return options_parse(o, argc, argv, err, sizeof(err));
}

static void good(struct options *o, const char *line)
{
	int r = parse(o, line);

	ck_assert_msg(r == 0, "%s: %s", line, err);
	ck_assert_str_eq(err, "");
}

/* Refused, with what was typed in the message, which is one line. */
static void bad(const char *line, const char *repeated)
{
	struct options o;

	ck_assert_msg(parse(&o, line) == -EINVAL, "%s: accepted", line);
	ck_assert_msg(strstr(err, repeated) != NULL, "%s: '%s' is not in: %s", line, repeated, err);
	ck_assert_ptr_null(strchr(err, '\n'));
	options_finish(&o);
}

static void same(const char *got, const char *want)
{
	if (want)
		ck_assert_str_eq(got, want);
	else
		ck_assert_ptr_null(got);
}

static void is_source(const char *typed, const char *user, const char *host, int port,
                      const char *dir)
{
	struct options o = {0};

	ck_assert_msg(options_parse_source(&o, typed, err, sizeof(err)) == 0, "%s", err);
	same(o.user, user);
	same(o.host, host);
	ck_assert_int_eq(o.port, port);
	same(o.dir, dir);
	options_finish(&o);
}

static bool has(const struct options_list *l, const char *word)
{
	for (size_t i = 0; i < l->count; i++) {
		if (strcmp(l->at[i], word) == 0)
			return true;
	}
	return false;
}

START_TEST(source_forms)
{
	/* every form of the host argument is taken apart, odd bytes included */
	is_source("host:", NULL, "host", 0, "");
	is_source("host:dir", NULL, "host", 0, "dir");
	is_source("me@host:/a:b@c", "me", "host", 0, "/a:b@c");
	is_source("me@domain@host:", "me@domain", "host", 0, "");
	is_source("[::1]:/x", NULL, "::1", 0, "/x");
	is_source("me@[fe80::1%eth0]:x", "me", "fe80::1%eth0", 0, "x");
	is_source(":/dir", NULL, "", 0, "/dir");
	is_source("sftp://host", NULL, "host", 0, "");
	is_source("sftp://me@host:2022/srv/a%20b", "me", "host", 2022, "/srv/a b");
	is_source("sftp://[::1]:22/", NULL, "::1", 22, "/");
	is_source("sftp://a%40b@h/~/x", "a@b", "h", 0, "x");
	is_source("sftp://h/~", NULL, "h", 0, "");
}
END_TEST

START_TEST(source_refused)
{
	/* a host that ssh would take for an option never gets through */
	static const char *const all[] = {
	    "-oProxyCommand=x:/", "[-oProxyCommand=x]:/",
	    "-l@host:",           "nocolon",
	    "sftp://h:0/x",       "sftp://h:65536/x",
	    "sftp://h:/x",        "sftp://h/%zz",
	    "sftp://h/a%00b",     "[::1]",
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct options o = {0};

		ck_assert_msg(options_parse_source(&o, all[i], err, sizeof(err)) == -EINVAL, "%s",
		              all[i]);
		ck_assert_msg(strstr(err, all[i]) != NULL, "%s", err);
		options_finish(&o);
	}
}
END_TEST

START_TEST(anywhere)
{
	/* options and arguments may be mixed; the one with a colon is the source */
	struct options o;

	good(&o, "sftpfs -p 2022 /mnt -o reconnect me@host:/dir -C -F/cfg -o ro,idmap=user");
	ck_assert_str_eq(o.source, "me@host:/dir");
	ck_assert_str_eq(o.mountpoint, "/mnt");
	ck_assert_str_eq(o.config_file, "/cfg");
	ck_assert(has(&o.keywords, "Port=2022") && has(&o.keywords, "Compression=yes"));
	ck_assert(o.readonly && o.idmap == OPTIONS_IDMAP_USER && !o.foreground);
	ck_assert(has(&o.ignored, "reconnect"));
	options_finish(&o);

	good(&o, "sftpfs -fvC -- h: -x");
	ck_assert_str_eq(o.mountpoint, "-x");
	ck_assert(o.foreground && o.verbose_count == 1);
	options_finish(&o);
}
END_TEST

START_TEST(config_file_is_absolute)
{
	/* ssh runs again after a loss, from "/"; "none" is a word, not a file */
	struct options o;
	char want[PATH_MAX + 16];

	ck_assert_ptr_nonnull(getcwd(want, PATH_MAX));
	strcat(want, "/dir/cfg");
	good(&o, "sftpfs -F dir/cfg h: m");
	ck_assert_str_eq(o.config_file, want);
	options_finish(&o);
	good(&o, "sftpfs -F none h: m");
	ck_assert_str_eq(o.config_file, "none");
	options_finish(&o);
}
END_TEST

START_TEST(groups)
{
	/* -o is split at commas, and a backslash protects what follows it */
	struct options o;
	const char *const argv[] = {"sftpfs", "h:", "m", "-o", "fsname=a\\,b\\\\c\\054d,,uid=5",
	                            NULL};

	ck_assert_int_eq(options_parse(&o, 5, (char *const *)argv, err, sizeof(err)), 0);
	ck_assert_str_eq(o.fsname, "a,b\\c,d");
	ck_assert_int_eq(o.uid, 5);
	options_finish(&o);
}
END_TEST

START_TEST(keywords)
{
	/* keywords of ssh_config are taken in any case and passed on in their own, in order */
	struct options o;

	good(&o,
	     "sftpfs h: m -o serveraliveinterval=5,IDENTITYFILE=/a -i /b -oUser=me,user=you -4");
	ck_assert_uint_eq(o.keywords.count, 5);
	ck_assert_str_eq(o.keywords.at[0], "ServerAliveInterval=5");
	ck_assert_str_eq(o.keywords.at[1], "IdentityFile=/a");
	ck_assert_str_eq(o.keywords.at[2], "IdentityFile=/b");
	ck_assert_str_eq(o.keywords.at[3], "User=me");
	ck_assert_str_eq(o.keywords.at[4], "AddressFamily=inet");
	ck_assert_ptr_null(o.keywords.at[5]);
	ck_assert(has(&o.ignored, "user=you"));
	options_finish(&o);
	bad("sftpfs h: m -o NoSuchKeyword=1", "NoSuchKeyword=1");
	bad("sftpfs h: m -o IdentityFile", "IdentityFile");
}
END_TEST

START_TEST(numbers)
{
	/* numbers are the whole value and in range, or the value is repeated in the error */
	struct options o;

	bad("sftpfs h: m -p 0", "0");
	bad("sftpfs h: m -p 65536", "65536");
	bad("sftpfs h: m -p x", "x");
	bad("sftpfs h: m -o port=22x", "22x");
	bad("sftpfs h: m -o cache_size=12abc", "12abc");
	bad("sftpfs h: m -o dcache_timeout=x", "'x'");
	bad("sftpfs h: m -o umask=9", "9");
	bad("sftpfs h: m -o umask=1000", "1000");
	bad("sftpfs h: m -o uid=-1", "-1");
	bad("sftpfs h: m -o uid=4294967295", "4294967295");
	bad("sftpfs h: m -o log_level=4", "4");
	bad("sftpfs h: m -o log_level=1:sftp", "1:sftp");
	bad("sftpfs h: m -o log_level=1:scp=2", "scp");
	bad("sftpfs h: m -o directport=", "directport");
	bad("sftpfs h: m -o vsock=1", "'1'");
	good(&o,
	     "sftpfs h: m -o cache_size=64M,soft=0.25,umask=022,uid=0,gid=4294967294,vsock=3:99");
	ck_assert_int_eq(o.cache_len, 64 << 20);
	ck_assert_int_eq(o.soft_ms, 250);
	ck_assert_int_eq(o.umask, 022);
	ck_assert_int_eq(o.uid, 0);
	ck_assert_int_eq(o.gid, 4294967294);
	ck_assert(o.vsock_cid == 3 && o.vsock_port == 99);
	options_finish(&o);
}
END_TEST

START_TEST(timeouts)
{
	/* the common timeout fills in for those that are not given, before or after it */
	struct options o;

	good(&o, "sftpfs h: m -o dcache_dir_timeout=3,cache_timeout=20");
	ck_assert_int_eq(o.dir_timeout_ms, 3000);
	ck_assert_int_eq(o.file_timeout_ms, 20000);
	ck_assert_int_eq(o.link_timeout_ms, 20000);
	options_finish(&o);
	good(&o, "sftpfs h: m");
	ck_assert_int_eq(o.dir_timeout_ms, -1);
	options_finish(&o);
}
END_TEST

START_TEST(refused)
{
	/* what is unknown or cannot be together is an error that repeats it */
	bad("sftpfs", "missing");
	bad("sftpfs h:", "h:");
	bad("sftpfs nocolon m", "nocolon");
	bad("sftpfs h: m n", "'n'");
	bad("sftpfs h: m -x", "-x");
	bad("sftpfs h: m --nosuch", "--nosuch");
	bad("sftpfs h: m -o", "-o");
	bad("sftpfs h: m -o nosuchoption", "nosuchoption");
	bad("sftpfs h: m -o -p", "-p");
	bad("sftpfs h: m -o ro=1", "ro");
	bad("sftpfs h: m -o transfer=pigeon", "pigeon");
	bad("sftpfs h: m -o dir_cache=maybe", "maybe");
	bad("sftpfs h: m -o workaround=rename:magic", "magic");
	bad("sftpfs h: m -o passive,directport=5", "passive");
	bad("sftpfs h: m -o password_stdin,directport=5", "password_stdin");
	bad("sftpfs :/x m", ":/x");
}
END_TEST

START_TEST(lines_of_sshfs)
{
	/* command lines that people have in their fstab and scripts pass unchanged */
	static const char *const lines[] = {
	    "sshfs -o slave -o nonempty -o transform_symlinks -o allow_other :src dst",
	    "sshfs :/Users/x /Users/x -o slave -o allow_root",
	    "sshfs h:/ m -o "
	    "noauto,x-systemd.automount,_netdev,users,idmap=user,IdentityFile=/root/.ssh/k,"
	    "allow_other,default_permissions,uid=1,gid=1,umask=022,reconnect,"
	    "ServerAliveInterval=15,ServerAliveCountMax=3,ConnectTimeout=5,delay_connect,"
	    "follow_symlinks,cache=no,kernel_cache,auto_cache,compression=no,Ciphers=aes128-ctr",
	    "sshfs -o workaround=all:nofstat,big_writes,intr,intr_signal=10,max_readahead=65536 h: m",
	    "sshfs -1 -s -d -o sshfs_sync,no_readahead,sync_readdir,ssh_protocol=2 h: m",
	    "sshfs -o modules=subdir,subdir=/x,volname=X,defer_permissions,local h: m",
	    "sshfs -o cache_max_size=5,dcache_clean_interval=60,writeback_cache=no h: m",
	    "sshfs -o comment=x,X-mount.mkdir,nofail,relatime,user,user=me,owner,group h: m",
	    "sshfs -o nomap=ignore,uidfile=/a,gidfile=/b,idmap=file h: m",
	    "sshfs -o max_conns=4,max_read=65536,max_write=65536,disable_hardlink h: m",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct options o;

		good(&o, lines[i]);
		ck_assert(o.as_sshfs);
		options_finish(&o);
	}
}
END_TEST

START_TEST(mount_helper)
{
	/* called by mount(8) -s is sloppy, -f fake, and -t and -N have values */
	struct options o;

	good(&o, "/sbin/mount.sftpfs sshfs#h:/x /m -n -v -t fuse.sftpfs -N ns -o rw,noatime");
	ck_assert_str_eq(o.source, "h:/x");
	ck_assert_str_eq(o.mountpoint, "/m");
	ck_assert(!o.foreground && o.action == OPTIONS_MOUNT);
	ck_assert(has(&o.mount_options, "noatime"));
	options_finish(&o);

	good(&o, "mount.fuse.sftpfs h: /m -f -o nonsense -s");
	ck_assert_int_eq(o.action, OPTIONS_FAKE);
	options_finish(&o);
	bad("mount.sftpfs h: /m -o nonsense", "nonsense");
	bad("mount.sftpfs h: /m -q", "-q");
}
END_TEST

START_TEST(commands_are_split)
{
	/* a command is split at spaces, of which a backslash keeps one */
	struct options_list l = {0};

	ck_assert_int_eq(options_split_command("  ssh  -i a\\ b\\\\ c", &l), 0);
	ck_assert_uint_eq(l.count, 4);
	ck_assert_str_eq(l.at[2], "a b\\");
	ck_assert_str_eq(l.at[3], "c");
	options_list_finish(&l);
}
END_TEST

static char *read_all(FILE *f)
{
	char *text = calloc(1, 256 * 1024);

	ck_assert_ptr_nonnull(text);
	rewind(f);
	size_t n = fread(text, 1, 256 * 1024 - 1, f);
	ck_assert_uint_gt(n, 0);
	return text;
}

/* As a whole word: what surrounds it cannot be part of a name. */
static bool names(const char *text, const char *word)
{
	static const char part[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
		if (at > text && (strchr(part, at[-1]) || at[-1] == '-'))
			continue;
		if (!strchr(part, at[strlen(word)]) || !at[strlen(word)])
			return true;
	}
	return false;
}

START_TEST(help_is_complete)
{
	/* --help names every option of the table, and none twice */
	FILE *f = tmpfile();
	size_t count;
	const struct options_spec *t = options_table(&count);

	ck_assert_ptr_nonnull(f);
	options_print_help(f);
	char *text = read_all(f);
	fclose(f);
	for (size_t i = 0; i < count; i++) {
		ck_assert_msg(names(text, t[i].name), "--help lacks '%s'", t[i].name);
		for (size_t j = 0; j < i; j++)
			ck_assert_msg(strcmp(t[i].name, t[j].name) != 0 ||
			                  t[i].section == OPTIONS_SECTION_KEYWORD,
			              "'%s' is there twice", t[i].name);
	}
	free(text);
}
END_TEST

static const struct options_spec *find(const char *name)
{
	size_t count;
	const struct options_spec *t = options_table(&count);

	for (size_t i = 0; i < count; i++) {
		if (strcmp(t[i].name, name) == 0)
			return &t[i];
	}
	return NULL;
}

/*
 * The options that a line of the man page names: `.It Cm a Ns = ..., Cm b`, `.Cm a`, `.Fl x`,
 * `Fl Fl help`. Each is looked up and marked as seen.
 */
static void mark_line(char *line, bool *seen, const struct options_spec *t)
{
	char name[64];
	bool is_switch = false, is_word = false;

	for (char *w = strtok(line, " \n"); w; w = strtok(NULL, " \n")) {
		if (strcmp(w, "Fl") == 0 || strcmp(w, ".Fl") == 0) {
			snprintf(name, sizeof(name), is_switch ? "--" : "-");
			is_switch = true;
			continue;
		}
		if (strcmp(w, "Cm") == 0 || strcmp(w, ".Cm") == 0) {
			name[0] = '\0';
			is_word = true;
			continue;
		}
		if (is_switch || is_word) {
			size_t len = strlen(name);

			snprintf(name + len, sizeof(name) - len, "%s", w);
			const struct options_spec *s = find(name);
			ck_assert_msg(s != NULL, "the man page has '%s', which does not exist",
			              name);
			seen[s - t] = true;
		}
		is_switch = is_word = false;
	}
}

START_TEST(man_page_is_complete)
{
	/* the man page has every option of the table, and no other */
	const char *path = getenv("MAN_PAGE");
	size_t count;
	const struct options_spec *t = options_table(&count);
	bool *seen = calloc(count, sizeof(*seen));
	char line[1024];
	bool inside = false;

	ck_assert_msg(path != NULL, "MAN_PAGE is not set");
	ck_assert_ptr_nonnull(seen);
	FILE *f = fopen(path, "r");
	ck_assert_msg(f != NULL, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, ".Sh ", 4) == 0)
			inside = strcmp(line, ".Sh OPTIONS\n") == 0;
		else if (inside && line[0] == '.')
			mark_line(line, seen, t);
	}
	fclose(f);
	for (size_t i = 0; i < count; i++)
		ck_assert_msg(seen[i], "the man page lacks '%s'", t[i].name);
	free(seen);
}
END_TEST

CHECK_MAIN("options", source_forms, source_refused, anywhere, config_file_is_absolute, groups,
           keywords, numbers, timeouts, refused, lines_of_sshfs, mount_helper, commands_are_split,
           help_is_complete, man_page_is_complete)
