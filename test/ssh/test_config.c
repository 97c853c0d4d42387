/* SPDX-License-Identifier: BSD-2-Clause */
/* From ssh_config files and a command line to a configuration: each keyword, and who wins. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/config.h"

static char dir[] = "/tmp/sftpfs-test-XXXXXX";

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(command) == 0, "%s", command);
}

/* Resolves host "h.example" with the lines of `text` as the only file, or with one keyword. */
static void resolve(struct ssh_config *cfg, const char *text, const char *keyword)
{
	char path[64];
	char *keywords[] = {(char *)keyword, NULL};
	struct ssh_request req = {.host = "h.example", .config_file = path, .keywords = keywords};
	struct link_error err;
	FILE *f;

	snprintf(path, sizeof(path), "%s/one", dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fputs(text ? text : "", f);
	fclose(f);
	ck_assert_msg(ssh_config_resolve(&req, cfg, &err) == 0, "%s: %s", text ? text : keyword,
	              err.text);
}

/* Every keyword that reaches a member: a value of it, and what must be true then. */
/* clang-format off */
#define KEYWORDS(is)                                                                               \
	is("AddKeysToAgent=confirm 5m", same(c.add_keys, "confirm 300"))                           \
	is("AddressFamily=inet6", c.address_family == AF_INET6)                                    \
	is("AddressFamily=inet", c.address_family == AF_INET)                                      \
	is("BatchMode=yes", c.batch_mode)                                                          \
	is("BindAddress=127.0.0.2", same(c.bind_address, "127.0.0.2"))                             \
	is("BindInterface=lo", same(c.bind_interface, "lo"))                                       \
	is("CertificateFile=/c", c.certificates.count == 1 && same(c.certificates.at[0], "/c"))    \
	is("Ciphers=aes256-ctr", same(c.ciphers, "aes256-ctr"))                                    \
	is("Compression=yes", c.compression)                                                       \
	is("ConnectionAttempts=4", c.connection_attempts == 4)                                     \
	is("ConnectTimeout=0", c.connect_timeout_s > 3600)                                         \
	is("ConnectTimeout=7", c.connect_timeout_s == 7)                                           \
	is("FingerprintHash=md5", same(c.fingerprint_hash, "MD5"))                                 \
	is("GlobalKnownHostsFile=/g /h", c.global_known_hosts.count == 2)                          \
	is("GSSAPIAuthentication=no", !c.gssapi_auth)                                              \
	is("GSSAPIDelegateCredentials=yes", c.gssapi_delegate)                                     \
	is("GlobalKnownHostsFile=\"/a b\" /c \"~/d  e f\"",                                        \
	   c.global_known_hosts.count == 3 && same(c.global_known_hosts.at[0], "/a b"))            \
	is("GSSAPIKeyExchange=yes", c.gssapi_kex_asked)                                            \
	is("HashKnownHosts=yes", c.hash_known_hosts)                                               \
	is("HostbasedAuthentication=yes", c.hostbased_asked)                                       \
	is("HostKeyAlgorithms=ssh-ed25519", same(c.host_key_algorithms, "ssh-ed25519"))            \
	is("HostKeyAlias=a", same(c.host_key_alias, "a"))                                          \
	is("HostName=%h.net", same(c.hostname, "h.example.net"))                                   \
	is("IdentitiesOnly=yes", c.identities_only)                                                \
	is("IdentityAgent=/s", same(c.identity_agent, "/s"))                                       \
	is("IdentityAgent=none", !c.identity_agent)                                                \
	is("IdentityAgent=$TEST_AGENT", same(c.identity_agent, "/from/env"))                       \
	is("IdentityFile=/i/%r", same(c.identities.at[0] + 3, c.user))                             \
	is("IdentityFile=none", c.identities.count + c.default_identities.count == 0)              \
	is("IPQoS=af21 cs1", c.ip_qos == 0x20)                                                     \
	is("KbdInteractiveAuthentication=no", !c.kbdint_auth)                                      \
	is("ChallengeResponseAuthentication=no", !c.kbdint_auth)                                   \
	is("KexAlgorithms=curve25519-sha256", same(c.kex, "curve25519-sha256"))                    \
	is("KnownHostsCommand=/k %H %%", same(c.known_hosts_command, "/k %H %%"))                  \
	is("MACs=hmac-sha2-256", same(c.macs, "hmac-sha2-256"))                                    \
	is("NoHostAuthenticationForLocalhost=yes", c.trust_localhost)                              \
	is("NumberOfPasswordPrompts=1", c.password_prompts == 1)                                   \
	is("PasswordAuthentication=no", !c.password_auth)                                          \
	is("PKCS11Provider=/p.so", c.pkcs11_asked)                                                 \
	is("PKCS11Provider=none", !c.pkcs11_asked)                                                 \
	is("Port=2022", c.port == 2022)                                                            \
	is("PreferredAuthentications=password", same(c.auth_order, "password"))                    \
	is("ProxyCommand=nc %h %p", same(c.proxy_command, "nc h.example 22"))                      \
	is("ProxyJump=j", same(c.proxy_jump, "j"))                                                 \
	is("ProxyUseFdpass=yes", c.proxy_fdpass)                                                   \
	is("PubkeyAcceptedAlgorithms=ssh-ed25519", same(c.pubkey_algorithms, "ssh-ed25519"))       \
	is("PubkeyAuthentication=no", !c.pubkey_auth)                                              \
	is("PubkeyAuthentication=host-bound", c.pubkey_auth)                                       \
	is("RekeyLimit=1M 1h", c.rekey_len == 1 << 20 && c.rekey_s == 3600)                        \
	is("RequiredRSASize=3072", c.rsa_min_bits == 3072)                                         \
	is("RevokedHostKeys=/r", same(c.revoked_host_keys, "/r"))                                  \
	is("SendEnv=TEST_*", c.env.count == 1 && same(c.env.at[0], "TEST_AGENT=/from/env"))        \
	is("SetEnv=A=\"b c\" D=", c.env.count == 2 && same(c.env.at[0], "A=b c"))                  \
	is("ServerAliveCountMax=9", c.alive_count_max == 9)                                        \
	is("ServerAliveInterval=4", c.alive_interval_s == 4)                                       \
	is("StrictHostKeyChecking=accept-new", c.host_key_policy == SSH_HOST_KEY_ACCEPT_NEW)       \
	is("StrictHostKeyChecking=yes", c.host_key_policy == SSH_HOST_KEY_YES)                     \
	is("StrictHostKeyChecking=no", c.host_key_policy == SSH_HOST_KEY_NO)                       \
	is("TCPKeepAlive=no", !c.tcp_keepalive)                                                    \
	is("User=%i", same(c.user, "%i"))                                                          \
	is("User=none", same(c.user, "none"))                                                      \
	is("UserKnownHostsFile=/a /b/%h", same(c.user_known_hosts.at[1], "/b/h.example"))          \
	is("UserKnownHostsFile=none", c.user_known_hosts.count == 0)                               \
	is("VerifyHostKeyDNS=ask", c.dns_asked)
/* clang-format on */

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

START_TEST(each_keyword_takes_effect)
{
	/* on the command line, in upper case there, and from a file */
	struct ssh_config c;
	char text[256];

	setenv("TEST_AGENT", "/from/env", 1);
	setenv("SSH_AUTH_SOCK", "/default/agent", 1);
#define CHECK(word, condition)                                                                     \
	snprintf(text, sizeof(text), "%s", word);                                                  \
	for (char *p = text; *p != '='; p++)                                                       \
		if (*p >= 'a')                                                                     \
			*p = (char)(*p - 32);                                                      \
	resolve(&c, NULL, text);                                                                   \
	ck_assert_msg(condition, "-o %s", text);                                                   \
	ssh_config_finish(&c);                                                                     \
	snprintf(text, sizeof(text), "Host *.example\n %s\n", word);                               \
	*strchr(text, '=') = ' ';                                                                  \
	resolve(&c, text, NULL);                                                                   \
	ck_assert_msg(condition, "%s", text);                                                      \
	ssh_config_finish(&c);
	KEYWORDS(CHECK)
#undef CHECK
}
END_TEST

START_TEST(the_first_value_wins_and_blocks_apply_as_in_ssh)
{
	static const struct {
		const char *text, *user;
	} files[] = {
	    {"User first\nUser second\n", "first"},
	    {"Host other\n User no\nHost h.*\n User yes\n", "yes"},
	    {"Host * !h.example\n User no\nHost *\n User yes\n", "yes"},
	    {"Host h.exampl?\n User yes\n", "yes"},
	    {"Match host h.example\n User yes\n", "yes"},
	    {"Match exec \"test %h = h.example\"\n User yes\n", "yes"},
	    {"Match exec false\n User no\nMatch all\n User yes\n", "yes"},
	    {"Match user nobody-at-all\n User no\nHost *\n User yes\n", "yes"},
	    {"Match originalhost h.example host real\n User no\nHost *\n User yes\n", "yes"},
	    {"HostName real\nMatch host real\n User yes\n", "yes"},
	};
	struct ssh_config c;
	char text[256];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		resolve(&c, files[i].text, NULL);
		ck_assert_msg(same(c.user, files[i].user), "%s: %s", files[i].text, c.user);
		ssh_config_finish(&c);
		resolve(&c, files[i].text, "user=typed");
		ck_assert_str_eq(c.user, "typed");
		ssh_config_finish(&c);
	}
	/* Include, with a wildcard */
	shell("mkdir -p %s/conf.d; echo 'User included' > %s/conf.d/1", dir, dir);
	snprintf(text, sizeof(text), "Include %s/conf.d/*\nUser later\n", dir);
	resolve(&c, text, NULL);
	ck_assert_str_eq(c.user, "included");
	ssh_config_finish(&c);
	/* several identities and certificates add up */
	resolve(&c, "IdentityFile /1\nIdentityFile /2\nCertificateFile /3\nCertificateFile /4\n",
	        "IdentityFile=/0");
	ck_assert_uint_eq(c.identities.count, 3);
	ck_assert_str_eq(c.identities.at[0], "/0");
	ck_assert_uint_eq(c.certificates.count, 2);
	ssh_config_finish(&c);
}
END_TEST

START_TEST(life_signs_switched_off_in_a_file_stay_off)
{
	/* 0 and 3 are ssh's own defaults, which it prints also when nobody has set them */
	static const struct {
		const char *text, *keyword;
		unsigned interval_s, count;
	} files[] = {
	    {"", NULL, 15, 3},
	    {"Host *.example\n ServerAliveInterval 0\n", NULL, 0, 3},
	    {"Host other\n ServerAliveInterval 0\n", NULL, 15, 3},
	    {"ServerAliveInterval 0\nServerAliveInterval 9\n", NULL, 0, 3},
	    {"ServerAliveInterval 0\n", "ServerAliveInterval=8", 8, 3},
	    {"ServerAliveInterval 8\n", "ServerAliveInterval=0", 0, 3},
	    {"Match exec \"test %h = h.example\"\n ServerAliveInterval 0\n ServerAliveCountMax 5\n",
	     NULL, 0, 5},
	};
	struct ssh_config c;
	char text[256];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		resolve(&c, files[i].text, files[i].keyword);
		ck_assert_msg(c.alive_interval_s == files[i].interval_s &&
		                  c.alive_count_max == files[i].count,
		              "%zu: %u %u", i, c.alive_interval_s, c.alive_count_max);
		ssh_config_finish(&c);
	}
	shell("echo 'ServerAliveInterval 0' > %s/included", dir);
	snprintf(text, sizeof(text), "Include %s/included\n", dir);
	resolve(&c, text, NULL);
	ck_assert_uint_eq(c.alive_interval_s, 0);
	ssh_config_finish(&c);
}
END_TEST

START_TEST(a_key_in_a_descriptor_is_for_us_alone)
{
	/* the program of Match exec, a child of `ssh -G`, does not have it; and it must be there */
	char *keywords[] = {NULL, NULL};
	char keyword[64], path[64], text[256];
	struct ssh_request req = {.host = "h", .config_file = path, .keywords = keywords};
	struct link_error err;
	struct ssh_config c;
	int fd = open("/dev/null", O_RDONLY);

	snprintf(keyword, sizeof(keyword), "identityfile=fd:%d", fd);
	snprintf(path, sizeof(path), "%s/with-exec", dir);
	shell("echo 'Match exec \"test -e /proc/self/fd/%d\"' > %s; echo ' User seen' >> %s", fd,
	      path, path);
	keywords[0] = keyword;
	ck_assert_int_eq(ssh_config_resolve(&req, &c, &err), 0);
	ck_assert_str_ne(c.user, "seen");
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ssh_config_finish(&c);
	close(fd);
	ck_assert_int_eq(ssh_config_resolve(&req, &c, &err), -EINVAL);
	snprintf(text, sizeof(text), "fd:%d", fd);
	ck_assert_ptr_nonnull(strstr(err.text, text));
	/* and when a file names it */
	fd = open("/dev/null", O_RDONLY);
	shell("echo 'IdentityFile fd:%d' > %s", fd, path);
	keywords[0] = NULL;
	ck_assert_int_eq(ssh_config_resolve(&req, &c, &err), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ssh_config_finish(&c);
	close(fd);
}
END_TEST

START_TEST(host_key_is_checked_before_anybody_connects)
{
	static const char *const good[] = {
	    "SHA256:LiXaRMHoKLLRqYVgvhQBuc17HvTb1usmSqeeuKlUgOM",
	    "sha256:LiXaRMHoKLLRqYVgvhQBuc17HvTb1usmSqeeuKlUgOM=",
	    "MD5:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
	    "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:FF",
	    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me",
	    "/dev/null",
	};
	static const char *const bad[] = {
	    "SHA256:short",
	    "MD5:00:11",
	    "00:11",
	    "ssh-ed25519 AAAA",
	    "/nonexistent",
	    "",
	    "MD5:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:",
	    "SHA256:",
	    "ssh-ed25519 !",
	};
	char *keys[2] = {NULL};
	struct ssh_request req = {.host = "h", .config_file = "none", .host_keys = keys};
	struct ssh_config c;
	struct link_error err;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		keys[0] = (char *)good[i];
		ck_assert_msg(ssh_config_resolve(&req, &c, &err) == 0, "%s", good[i]);
		ck_assert_uint_eq(c.host_keys.count, 1);
		ssh_config_finish(&c);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		keys[0] = (char *)bad[i];
		ck_assert_msg(ssh_config_resolve(&req, &c, &err) == -EINVAL, "%s", bad[i]);
		ck_assert_ptr_nonnull(strstr(err.text, bad[i]));
	}
}
END_TEST

START_TEST(configuration_is_what_ssh_says)
{
	char path[128];
	char *keywords[] = {(char *)"serveraliveinterval=0", (char *)"Compression=yes", NULL};
	struct ssh_request req = {.host = "alias", .config_file = path, .keywords = keywords};
	struct ssh_config cfg;
	struct link_error err;

	snprintf(path, sizeof(path), "%s/config", dir);
	shell("printf '%%s\\n' 'Host ali*' '  HostName real.example' '  User someone' "
	      "'  Port 2022' '  IdentityFile ~/.ssh/%%r-%%h-%%%%' '  UserKnownHostsFile /a ~/b' "
	      "'  Ciphers aes256-ctr' 'Match host real.example' '  ServerAliveCountMax 9' "
	      "'  ProxyJump j1,u@j2:22' 'Host *' '  Port 1' > %s",
	      path);
	ck_assert_msg(ssh_config_resolve(&req, &cfg, &err) == 0, "%s", err.text);
	ck_assert_str_eq(cfg.host, "alias");
	ck_assert_str_eq(cfg.hostname, "real.example");
	ck_assert_str_eq(cfg.user, "someone");
	ck_assert_uint_eq(cfg.port, 2022);
	ck_assert_uint_eq(cfg.identities.count, 1);
	ck_assert_ptr_nonnull(strstr(cfg.identities.at[0], "/.ssh/someone-real.example-%"));
	ck_assert_uint_eq(cfg.default_identities.count, 0);
	ck_assert_uint_eq(cfg.user_known_hosts.count, 2);
	ck_assert_str_eq(cfg.user_known_hosts.at[0], "/a");
	ck_assert_int_eq(cfg.user_known_hosts.at[1][0], '/');
	ck_assert_str_eq(cfg.ciphers, "aes256-ctr");
	ck_assert_ptr_null(cfg.macs);
	ck_assert_ptr_null(cfg.host_key_algorithms);
	ck_assert_uint_eq(cfg.alive_interval_s, 0);
	ck_assert_uint_eq(cfg.alive_count_max, 9);
	ck_assert(cfg.compression);
	ck_assert_str_eq(cfg.proxy_jump, "j1,u@j2:22");
	ssh_config_finish(&cfg);

	/* the command line wins, and defaults are ours where ssh's are not */
	req.user = "me";
	req.port = 33;
	keywords[0] = (char *)"ProxyJump=none";
	ck_assert_int_eq(ssh_config_resolve(&req, &cfg, &err), 0);
	ck_assert_str_eq(cfg.user, "me");
	ck_assert_uint_eq(cfg.port, 33);
	ck_assert_uint_eq(cfg.alive_interval_s, 15);
	ck_assert_uint_eq(cfg.connect_timeout_s, 30);
	ck_assert_uint_eq(cfg.banner_timeout_s, 15);
	ck_assert_uint_eq(cfg.login_timeout_s, 120);
	ck_assert_ptr_null(cfg.proxy_jump);
	ssh_config_finish(&cfg);

	/* mistakes */
	keywords[0] = (char *)"NoSuchKeyword=1";
	ck_assert_int_eq(ssh_config_resolve(&req, &cfg, &err), -EINVAL);
	ck_assert_ptr_nonnull(strcasestr(err.text, "nosuchkeyword"));
	ck_assert_int_eq(err.fail, LINK_FAIL_NONE);
	keywords[0] = NULL;
	req.config_file = "/nonexistent";
	ck_assert_int_eq(ssh_config_resolve(&req, &cfg, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent"));
	req.config_file = "none";
	req.host = "-oProxyCommand=x";
	ck_assert_int_eq(ssh_config_resolve(&req, &cfg, &err), -EINVAL);

	/* without an ssh program */
	setenv("PATH", "/nonexistent", 1);
	req.host = "plain";
	keywords[0] = (char *)"Port=77";
	req.port = 0;
	ck_assert_int_eq(ssh_config_resolve(&req, &cfg, &err), 0);
	ck_assert_uint_eq(cfg.port, 77);
	ck_assert_str_eq(cfg.hostname, "plain");
	ck_assert_uint_eq(cfg.default_identities.count, 5);
	ck_assert_uint_ge(cfg.user_known_hosts.count, 1);
	ssh_config_finish(&cfg);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
}
END_TEST

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void tear_down(void)
{
	shell("rm -rf %s", dir);
}

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (access("/usr/bin/ssh", X_OK))
		return 77;
	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, each_keyword_takes_effect);
	tcase_add_test(tc, the_first_value_wins_and_blocks_apply_as_in_ssh);
	tcase_add_test(tc, life_signs_switched_off_in_a_file_stay_off);
	tcase_add_test(tc, a_key_in_a_descriptor_is_for_us_alone);
	tcase_add_test(tc, host_key_is_checked_before_anybody_connects);
	tcase_add_test(tc, configuration_is_what_ssh_says);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
