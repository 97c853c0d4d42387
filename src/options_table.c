/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one table of options: parsing, --help, completion and the check of the man page read it.
 * Depends on nothing. Order within a section is the order of --help.
 */
#include <stddef.h>

#include "options.h"

#define AT(member) .at = offsetof(struct options, member)
#define ANY_MAX    INT64_MAX
#define ID_MAX     4294967294 /* the largest uid_t but one, which means "no change" */

#define SET(sec, n, member, num, h)                                                                \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_SET, .name = (n),           \
		AT(member), .number = (num), .help = (h)                                           \
	}
#define BOOL(sec, n, member, h)                                                                    \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_BOOL, .name = (n),          \
		AT(member), .value = "yes|no", .help = (h)                                         \
	}
#define NUMBER(sec, n, v, member, lo, hi, h)                                                       \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_NUMBER, .name = (n),        \
		AT(member), .value = (v), .min = (lo), .max = (hi), .help = (h)                    \
	}
#define SIZE(sec, n, member, lo, hi, h)                                                            \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_SIZE, .name = (n),          \
		AT(member), .value = "BYTES", .min = (lo), .max = (hi), .help = (h)                \
	}
#define SECONDS(sec, n, member, h)                                                                 \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_SECONDS, .name = (n),       \
		AT(member), .value = "S", .max = SECONDS_MAX_MS, .help = (h)                       \
	}
#define OCTAL(sec, n, member, h)                                                                   \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_OCTAL, .name = (n),         \
		AT(member), .value = "M", .max = 0777, .help = (h)                                 \
	}
#define STRING(sec, n, v, member, h)                                                               \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_STRING, .name = (n),        \
		AT(member), .value = (v), .help = (h)                                              \
	}
#define CHOICE(sec, n, w, member, h)                                                               \
	{                                                                                          \
		.section = OPTIONS_SECTION_##sec, .kind = OPTIONS_KIND_CHOICE, .name = (n),        \
		AT(member), .value = (w), .words = (w), .help = (h)                                \
	}
#define ACTION(n, what, h)                                                                         \
	{                                                                                          \
		.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_ACTION, .name = (n),       \
		.number = (what), .help = (h)                                                      \
	}
/* A switch of ssh that is a keyword: `w` is its name, or "name=value". */
#define ALIAS(n, v, w, lo, hi, h)                                                                  \
	{                                                                                          \
		.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_KEYWORD, .name = (n),      \
		.value = (v), .words = (w), .min = (lo), .max = (hi), .help = (h)                  \
	}
#define MOUNT(n, v, member_at, h)                                                                  \
	{                                                                                          \
		.section = OPTIONS_SECTION_MOUNT, .kind = OPTIONS_KIND_MOUNT, .name = (n),         \
		.value = (v), .at = (member_at), .help = (h)                                       \
	}
#define KEYWORD(n)                                                                                 \
	{                                                                                          \
		.section = OPTIONS_SECTION_KEYWORD, .kind = OPTIONS_KIND_KEYWORD, .name = (n),     \
		.value = "...", .words = (n)                                                       \
	}
#define IGNORED(n)                                                                                 \
	{                                                                                          \
		.section = OPTIONS_SECTION_IGNORED, .kind = OPTIONS_KIND_IGNORED, .name = (n)      \
	}
#define IGNORED_VALUE(n)                                                                           \
	{                                                                                          \
		.section = OPTIONS_SECTION_IGNORED, .kind = OPTIONS_KIND_IGNORED, .name = (n),     \
		.value = "..."                                                                     \
	}

#define SECONDS_MAX_MS (INT64_C(1000) * 1000 * 1000 * 1000)
#define WORKAROUNDS                                                                                \
	"none|all|rename|norename|renamexdev|norenamexdev|truncate|notruncate|buflimit|"           \
	"nobuflimit|"                                                                              \
	"fstat|nofstat|createmode|nocreatemode"

/* Lines of a table read best on one line each. */
/* clang-format off */
static const struct options_spec table[] = {
    /* switches */
    {.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_GROUP, .name = "-o",
     .value = "OPTION[,OPTION...]", .help = "options, as below; a backslash takes a comma as it is"},
    ALIAS("-p", "PORT", "Port", 1, 65535, "port of the server"),
    STRING(SWITCH, "-F", "FILE", config_file, "ssh configuration instead of the usual files"),
    ALIAS("-C", NULL, "Compression=yes", 0, 0, "compress what is sent"),
    ALIAS("-i", "FILE", "IdentityFile", 0, 0, "private key for the login"),
    ALIAS("-l", "USER", "User", 0, 0, "name for the login"),
    ALIAS("-J", "HOST", "ProxyJump", 0, 0, "host to go through"),
    ALIAS("-4", NULL, "AddressFamily=inet", 0, 0, "IPv4 only"),
    ALIAS("-6", NULL, "AddressFamily=inet6", 0, 0, "IPv6 only"),
    SET(SWITCH, "-f", foreground, 1, "stay in the foreground"),
    SET(SWITCH, "-d", debug, 1, "trace everything on standard error; implies -f"),
    SET(SWITCH, "--debug", debug, 1, NULL),
    {.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_COUNT, .name = "-v",
     AT(verbose_count), .help = "say more; twice: everything"},
    SET(SWITCH, "-r", readonly, 1, "read-only"),
    {.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_IGNORED, .name = "-s"},
    {.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_IGNORED, .name = "-n"},
    {.section = OPTIONS_SECTION_SWITCH, .kind = OPTIONS_KIND_IGNORED, .name = "-1"},
    ACTION("-h", OPTIONS_HELP, "this text"),
    ACTION("--help", OPTIONS_HELP, NULL),
    ACTION("-V", OPTIONS_VERSION, "versions"),
    ACTION("--version", OPTIONS_VERSION, NULL),

    /* the way to the server */
    SET(CONNECT, "password_stdin", password_stdin, 1, "the first line of standard input is the password"),
    BOOL(CONNECT, "keep_password", keep_password, "keep it in locked memory to log in again (yes)"),
    {.section = OPTIONS_SECTION_CONNECT, .kind = OPTIONS_KIND_LIST, .name = "host_key",
     .value = "KEY", AT(host_keys), .help = "fingerprint, key or file: accept only these as the server's"},
    STRING(CONNECT, "ssh_command", "COMMAND", ssh_command, "run this instead of our own SSH"),
    STRING(CONNECT, "sftp_server", "SERVER", sftp_server, "subsystem, or with a slash: command on the server"),
    NUMBER(CONNECT, "directport", "PORT", directport, 1, 65535, "plain TCP to an SFTP server, no SSH"),
    STRING(CONNECT, "vsock", "CID:PORT", vsock, "AF_VSOCK to an SFTP server, no SSH"),
    SET(CONNECT, "passive", passive, 1, "SFTP over standard input and output"),
    SET(CONNECT, "slave", passive, 1, "the same"),
    NUMBER(CONNECT, "max_conns", "N", max_conns, 1, 64, "connections (1)"),
    STRING(CONNECT, "proxy", "URL", proxy, "socks4:, socks4a:, socks5: or http://[user@]host[:port], or auto"),
    STRING(CONNECT, "proxy_password_file", "FILE", proxy_password_file, "its first line is the proxy's password"),
    NUMBER(CONNECT, "bind_port", "PORT", bind_port, 1, 65535, "local port"),
    SECONDS(CONNECT, "banner_timeout", banner_timeout_ms, "wait so long for the server's first words (15)"),
    SECONDS(CONNECT, "login_timeout", login_timeout_ms, "and for the end of the login (120; 0: for ever)"),
    CHOICE(CONNECT, "transfer", "auto|sftp|scp", transfer, "SFTP, or SCP and a shell (auto: what is there)"),
    SET(CONNECT, "delay_connect", delay_connect, 1, "mount first, connect with the first use"),
    SET(CONNECT, "no_check_root", no_check_root, 1, "do not look whether the directory exists"),
    SIZE(CONNECT, "max_read", read_len_max, 1, 1 << 30, "largest read sent to the server"),
    SIZE(CONNECT, "max_write", write_len_max, 1, 1 << 30, "largest write sent to the server"),

    /* what is shown */
    CHOICE(SHOW, "idmap", "none|user|file|all|name", idmap, "whose files they seem to be (none)"),
    STRING(SHOW, "uidfile", "FILE", uid_file, "idmap=file: lines of name:uid"),
    STRING(SHOW, "gidfile", "FILE", gid_file, "idmap=file: lines of name:gid"),
    CHOICE(SHOW, "nomap", "ignore|error", nomap, "idmap=file: ids that are not in the files"),
    NUMBER(SHOW, "uid", "N", uid, 0, ID_MAX, "owner of every file"),
    NUMBER(SHOW, "gid", "N", gid, 0, ID_MAX, "group of every file"),
    OCTAL(SHOW, "umask", umask, "permissions taken from everything, octal"),
    OCTAL(SHOW, "fmask", fmask, "permissions taken from files"),
    OCTAL(SHOW, "dmask", dmask, "permissions taken from directories"),
    SET(SHOW, "contain_symlinks", contain_symlinks, 1, "refuse symlinks that lead out of the mount"),
    SET(SHOW, "no_contain_symlinks", contain_symlinks, 0, "show all symlinks as they are (the default)"),
    SET(SHOW, "transform_symlinks", transform_symlinks, 1, "make absolute symlinks relative"),
    SET(SHOW, "follow_symlinks", follow_symlinks, 1, "show what symlinks lead to"),
    SET(SHOW, "disable_hardlink", disable_hardlink, 1, "refuse to make hard links"),
    CHOICE(SHOW, "create_as", "caller|login", create_as, "owner of new files (caller, where allowed)"),
    CHOICE(SHOW, "create_mode", "exact|server", create_mode, "mode of new files (exact)"),
    SET(SHOW, "xattr", xattr, 1, "show the server's hash as user.sftpfs.sha256"),

    /* caches */
    BOOL(CACHE, "dir_cache", dir_cache, "remember attributes and listings (yes)"),
    BOOL(CACHE, "cache", dir_cache, "the same"),
    SECONDS(CACHE, "dcache_timeout", cache_timeout_ms, "for how long all of these are remembered (by age)"),
    SECONDS(CACHE, "dcache_stat_timeout", file_timeout_ms, "attributes"),
    SECONDS(CACHE, "dcache_dir_timeout", dir_timeout_ms, "listings"),
    SECONDS(CACHE, "dcache_link_timeout", link_timeout_ms, "what symlinks contain"),
    SECONDS(CACHE, "cache_timeout", cache_timeout_ms, "the same"),
    SECONDS(CACHE, "cache_stat_timeout", file_timeout_ms, "the same"),
    SECONDS(CACHE, "cache_dir_timeout", dir_timeout_ms, "the same"),
    SECONDS(CACHE, "cache_link_timeout", link_timeout_ms, "the same"),
    SECONDS(CACHE, "entry_timeout", entry_timeout_ms, "names in the kernel"),
    SECONDS(CACHE, "attr_timeout", attr_timeout_ms, "attributes in the kernel"),
    SECONDS(CACHE, "negative_timeout", negative_timeout_ms, "names that do not exist"),
    SECONDS(CACHE, "open_window", open_window_ms, "age of an answer that may open a cached file (1)"),
    SECONDS(CACHE, "flush_age", flush_age_ms, "written data is sent within this time (1)"),
    SIZE(CACHE, "cache_size", cache_len, 1 << 20, ANY_MAX, "memory for data and listings (256M)"),
    SET(CACHE, "kernel_cache", kernel_cache, 1, "keep the kernel's pages over opens without asking"),
    SET(CACHE, "direct_io", direct_io, 1, "do not use the kernel's pages"),
    SET(CACHE, "sshfs_sync", sync_write, 1, "write() returns after the server's answer"),
    SET(CACHE, "async", async, 1, "changes return after a local check"),
    CHOICE(CACHE, "fsync", "auto|server", fsync, "where the server has no fsync: succeed, or refuse"),
    SET(CACHE, "verify", verify, 1, "compare whole copies with the server's hash"),
    SECONDS(CACHE, "soft", soft_ms, "EIO after this time of silence (0: wait for ever)"),
    SECONDS(CACHE, "drain_timeout", drain_timeout_ms, "time to deliver what is left after an unmount (60)"),

    /* the mount */
    MOUNT("allow_other", NULL, offsetof(struct options, allow_other), "let all users in"),
    MOUNT("allow_root", NULL, offsetof(struct options, allow_other), "let root in"),
    MOUNT("default_permissions", NULL, offsetof(struct options, default_permissions), "the kernel checks permissions"),
    MOUNT("auto_unmount", NULL, 0, "unmount when the process dies"),
    SET(MOUNT, "ro", readonly, 1, "read-only"),
    SET(MOUNT, "rw", readonly, 0, "read-write"),
    STRING(MOUNT, "fsname", "NAME", fsname, "source that is shown (the host argument)"),
    STRING(MOUNT, "subtype", "TYPE", subtype, "type that is shown is fuse.TYPE (sftpfs)"),
    MOUNT("suid", NULL, 0, "honour setuid bits"),
    MOUNT("nosuid", NULL, 0, "ignore them"),
    MOUNT("dev", NULL, 0, "allow device files"),
    MOUNT("nodev", NULL, 0, "refuse them"),
    MOUNT("exec", NULL, 0, "allow programs to run"),
    MOUNT("noexec", NULL, 0, "refuse them"),
    MOUNT("sync", NULL, 0, "write(2) waits, as open with O_SYNC"),
    MOUNT("dirsync", NULL, 0, "the same for directories"),
    MOUNT("noatime", NULL, 0, "do not update access times"),
    MOUNT("context", "LABEL", 0, "SELinux label"),
    MOUNT("fscontext", "LABEL", 0, "the same"),
    MOUNT("defcontext", "LABEL", 0, "the same"),
    MOUNT("rootcontext", "LABEL", 0, "the same"),

    /* the process */
    {.section = OPTIONS_SECTION_PROCESS, .kind = OPTIONS_KIND_LEVELS, .name = "log_level",
     .value = "N[:CATEGORY=N...]", AT(log_level), .help = "0 errors, 1 events, 2 requests, 3 everything (1)"},
    STRING(PROCESS, "log_file", "FILE", log_file, "instead of standard error or syslog"),
    SET(PROCESS, "debug", debug, 1, "as -d"),
    SET(PROCESS, "sshfs_debug", debug, 1, "as -d"),

    /* keywords of ssh_config(5) of every age; whoever reads them decides */
    {.section = OPTIONS_SECTION_KEYWORD, .kind = OPTIONS_KIND_KEYWORD, .name = "Port",
     .value = "PORT", .words = "Port", .min = 1, .max = 65535},
    KEYWORD("AddKeysToAgent"),
    KEYWORD("AddressFamily"),
    KEYWORD("BatchMode"),
    KEYWORD("BindAddress"),
    KEYWORD("BindInterface"),
    KEYWORD("CanonicalDomains"),
    KEYWORD("CanonicalizeFallbackLocal"),
    KEYWORD("CanonicalizeHostname"),
    KEYWORD("CanonicalizeMaxDots"),
    KEYWORD("CanonicalizePermittedCNAMEs"),
    KEYWORD("CASignatureAlgorithms"),
    KEYWORD("CertificateFile"),
    KEYWORD("ChallengeResponseAuthentication"),
    KEYWORD("ChannelTimeout"),
    KEYWORD("CheckHostIP"),
    KEYWORD("Cipher"),
    KEYWORD("Ciphers"),
    KEYWORD("ClearAllForwardings"),
    KEYWORD("Compression"),
    KEYWORD("CompressionLevel"),
    KEYWORD("ConnectionAttempts"),
    KEYWORD("ConnectTimeout"),
    KEYWORD("ControlMaster"),
    KEYWORD("ControlPath"),
    KEYWORD("ControlPersist"),
    KEYWORD("DynamicForward"),
    KEYWORD("EnableEscapeCommandline"),
    KEYWORD("EnableSSHKeysign"),
    KEYWORD("EscapeChar"),
    KEYWORD("ExitOnForwardFailure"),
    KEYWORD("FingerprintHash"),
    KEYWORD("ForkAfterAuthentication"),
    KEYWORD("ForwardAgent"),
    KEYWORD("ForwardX11"),
    KEYWORD("ForwardX11Timeout"),
    KEYWORD("ForwardX11Trusted"),
    KEYWORD("GatewayPorts"),
    KEYWORD("GlobalKnownHostsFile"),
    KEYWORD("GSSAPIAuthentication"),
    KEYWORD("GSSAPIClientIdentity"),
    KEYWORD("GSSAPIDelegateCredentials"),
    KEYWORD("GSSAPIKexAlgorithms"),
    KEYWORD("GSSAPIKeyExchange"),
    KEYWORD("GSSAPIRenewalForcesRekey"),
    KEYWORD("GSSAPIServerIdentity"),
    KEYWORD("GSSAPITrustDns"),
    KEYWORD("HashKnownHosts"),
    KEYWORD("HostbasedAcceptedAlgorithms"),
    KEYWORD("HostbasedAuthentication"),
    KEYWORD("HostbasedKeyTypes"),
    KEYWORD("HostKeyAlgorithms"),
    KEYWORD("HostKeyAlias"),
    KEYWORD("HostName"),
    KEYWORD("IdentitiesOnly"),
    KEYWORD("IdentityAgent"),
    KEYWORD("IdentityFile"),
    KEYWORD("IgnoreUnknown"),
    KEYWORD("IPQoS"),
    KEYWORD("KbdInteractiveAuthentication"),
    KEYWORD("KbdInteractiveDevices"),
    KEYWORD("KexAlgorithms"),
    KEYWORD("KnownHostsCommand"),
    KEYWORD("LocalCommand"),
    KEYWORD("LocalForward"),
    KEYWORD("LogLevel"),
    KEYWORD("LogVerbose"),
    KEYWORD("MACs"),
    KEYWORD("NoHostAuthenticationForLocalhost"),
    KEYWORD("NumberOfPasswordPrompts"),
    KEYWORD("ObscureKeystrokeTiming"),
    KEYWORD("PasswordAuthentication"),
    KEYWORD("PermitLocalCommand"),
    KEYWORD("PermitRemoteOpen"),
    KEYWORD("PKCS11Provider"),
    KEYWORD("PreferredAuthentications"),
    KEYWORD("Protocol"),
    KEYWORD("ProxyCommand"),
    KEYWORD("ProxyJump"),
    KEYWORD("ProxyUseFdpass"),
    KEYWORD("PubkeyAcceptedAlgorithms"),
    KEYWORD("PubkeyAcceptedKeyTypes"),
    KEYWORD("PubkeyAuthentication"),
    KEYWORD("RefuseConnection"),
    KEYWORD("RekeyLimit"),
    KEYWORD("RemoteCommand"),
    KEYWORD("RemoteForward"),
    KEYWORD("RequestTTY"),
    KEYWORD("RequiredRSASize"),
    KEYWORD("RevokedHostKeys"),
    KEYWORD("RhostsRSAAuthentication"),
    KEYWORD("RSAAuthentication"),
    KEYWORD("SecurityKeyProvider"),
    KEYWORD("SendEnv"),
    KEYWORD("ServerAliveCountMax"),
    KEYWORD("ServerAliveInterval"),
    KEYWORD("SessionType"),
    KEYWORD("SetEnv"),
    KEYWORD("SmartcardDevice"),
    KEYWORD("StdinNull"),
    KEYWORD("StreamLocalBindMask"),
    KEYWORD("StreamLocalBindUnlink"),
    KEYWORD("StrictHostKeyChecking"),
    KEYWORD("SyslogFacility"),
    KEYWORD("Tag"),
    KEYWORD("TCPKeepAlive"),
    KEYWORD("Tunnel"),
    KEYWORD("TunnelDevice"),
    KEYWORD("UpdateHostKeys"),
    KEYWORD("UsePrivilegedPort"),
    KEYWORD("User"),
    KEYWORD("UserKnownHostsFile"),
    KEYWORD("VerifyHostKeyDNS"),
    KEYWORD("VersionAddendum"),
    KEYWORD("VisualHostKey"),
    KEYWORD("WarnWeakCrypto"),
    KEYWORD("XAuthLocation"),

    /* accepted and without meaning here: sshfs */
    {.section = OPTIONS_SECTION_IGNORED, .kind = OPTIONS_KIND_WORDS, .name = "workaround",
     .value = "WORD[:WORD...]", .words = WORKAROUNDS},
    IGNORED("reconnect"),
    IGNORED("sync_readdir"),
    IGNORED("no_readahead"),
    IGNORED("unreliable_append"),
    IGNORED_VALUE("writeback_cache"),
    IGNORED_VALUE("ssh_protocol"),
    IGNORED_VALUE("dcache_max_size"),
    IGNORED_VALUE("cache_max_size"),
    IGNORED_VALUE("dcache_clean_interval"),
    IGNORED_VALUE("cache_clean_interval"),
    IGNORED_VALUE("dcache_min_clean_interval"),
    IGNORED_VALUE("cache_min_clean_interval"),
    /* fstab and mount(8) */
    IGNORED("auto"),
    IGNORED("noauto"),
    IGNORED("user"),
    IGNORED("nouser"),
    IGNORED("users"),
    IGNORED("nousers"),
    IGNORED("group"),
    IGNORED("nogroup"),
    IGNORED("owner"),
    IGNORED("noowner"),
    IGNORED("_netdev"),
    IGNORED("nofail"),
    IGNORED("defaults"),
    IGNORED_VALUE("comment"),
    IGNORED("x-*"),
    IGNORED("X-*"),
    IGNORED_VALUE("helper"),
    IGNORED_VALUE("uhelper"),
    IGNORED("atime"),
    IGNORED("relatime"),
    IGNORED("norelatime"),
    IGNORED("strictatime"),
    IGNORED("nostrictatime"),
    IGNORED("lazytime"),
    IGNORED("nolazytime"),
    IGNORED("diratime"),
    IGNORED("nodiratime"),
    IGNORED("iversion"),
    IGNORED("noiversion"),
    IGNORED("mand"),
    IGNORED("nomand"),
    IGNORED("silent"),
    IGNORED("loud"),
    IGNORED("symfollow"),
    IGNORED("nosymfollow"),
    /* libfuse, of versions 2 and 3 */
    IGNORED("auto_cache"),
    IGNORED("noauto_cache"),
    IGNORED_VALUE("ac_attr_timeout"),
    IGNORED("no_rofd_flush"),
    IGNORED("noforget"),
    IGNORED_VALUE("remember"),
    IGNORED_VALUE("parallel_direct_write"),
    IGNORED_VALUE("parallel_direct_writes"),
    IGNORED_VALUE("modules"),
    IGNORED_VALUE("from_code"),
    IGNORED_VALUE("to_code"),
    IGNORED_VALUE("subdir"),
    IGNORED("rellinks"),
    IGNORED("norellinks"),
    IGNORED("blkdev"),
    IGNORED_VALUE("blksize"),
    IGNORED("io_uring"),
    IGNORED_VALUE("io_uring_q_depth"),
    IGNORED("clone_fd"),
    IGNORED_VALUE("max_idle_threads"),
    IGNORED_VALUE("max_threads"),
    IGNORED_VALUE("max_background"),
    IGNORED_VALUE("congestion_threshold"),
    IGNORED_VALUE("max_readahead"),
    IGNORED("nonempty"),
    IGNORED("big_writes"),
    IGNORED("large_read"),
    IGNORED("hard_remove"),
    IGNORED("use_ino"),
    IGNORED("readdir_ino"),
    IGNORED("intr"),
    IGNORED_VALUE("intr_signal"),
    IGNORED("async_read"),
    IGNORED("sync_read"),
    IGNORED("atomic_o_trunc"),
    IGNORED("no_remote_lock"),
    IGNORED("no_remote_flock"),
    IGNORED("no_remote_posix_lock"),
    /* macOS */
    IGNORED("defer_permissions"),
    IGNORED("noappledouble"),
    IGNORED("noapplexattr"),
    IGNORED("nolocalcaches"),
    IGNORED_VALUE("volname"),
    IGNORED("local"),
    IGNORED_VALUE("iosize"),
    IGNORED("extended_security"),
    IGNORED_VALUE("daemon_timeout"),
    IGNORED("auto_xattr"),
};
/* clang-format on */

const struct options_spec *options_table(size_t *count)
{
	*count = sizeof(table) / sizeof(table[0]);
	return table;
}
