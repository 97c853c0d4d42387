/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys of every kind, the agent, certificates and several factors, against a private sshd. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"
#include "ssh/ssh_link.h"
#include "util/log.h"

static struct sshd server;

/* libssh 0.10 forgets the old list of an agent's keys when it asks for a new one. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:ssh_buffer_new\n";
}

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(command) == 0, "%s", command);
}

static char keyword_text[8][256];
static char *keyword_list[9];

/* A NULL-terminated list from a list of formats, each with the directory as its only argument. */
__attribute__((format(printf, 2, 3))) static void keyword(size_t i, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(keyword_text[i], sizeof(keyword_text[i]), fmt, ap);
	va_end(ap);
	keyword_list[i] = keyword_text[i];
	keyword_list[i + 1] = NULL;
}

/* As sshd_config(), but with `identity` alone and prompts allowed. */
static struct link *login_link(const char *identity)
{
	char *keywords[16] = {NULL};
	char known[128], file[256];
	struct ssh_request req = {
	    .host = "127.0.0.1",
	    .port = server.port,
	    .config_file = "none",
	    .keywords = keywords,
	};
	struct ssh_config cfg;
	struct link_error err;
	size_t n = 0;

	while (keyword_list[n]) {
		keywords[n] = keyword_list[n];
		n++;
	}
	snprintf(known, sizeof(known), "UserKnownHostsFile=%s/known_hosts", server.dir);
	keywords[n++] = known;
	keywords[n++] = (char *)"StrictHostKeyChecking=accept-new";
	keywords[n++] = (char *)"IdentityAgent=none";
	if (identity) {
		snprintf(file, sizeof(file), "IdentityFile=%s/%s", server.dir, identity);
		keywords[n++] = file;
	}
	ck_assert_msg(ssh_config_resolve(&req, &cfg, &err) == 0, "%s", err.text);
	return ssh_link_create(&cfg);
}

static void expect_login(struct link *link, bool again)
{
	struct peer p;

	peer_init(&p, link);
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up || p.down);
	ck_assert_msg(p.up, "%s", p.error.text);
	if (again) {
		/* The second time nobody is asked, and no file is there any more. */
		setenv("SSH_ASKPASS", "/bin/false", 1);
		link_reset(p.link);
		peer_until(&p, p.down);
		ck_assert_int_eq(link_connect(p.link), 0);
		p.down = false;
		peer_until(&p, p.up || p.down);
		ck_assert_msg(p.up, "%s", p.error.text);
	}
	peer_finish(&p);
}

static void expect_refusal(struct link *link, const char *words)
{
	struct peer p;

	peer_init(&p, link);
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up || p.down);
	ck_assert(p.down);
	ck_assert_int_eq(p.error.fail, LINK_FAIL_AUTH);
	ck_assert_msg(strstr(p.error.text, words) != NULL, "%s", p.error.text);
	peer_finish(&p);
}

/* An askpass program that writes down what it is asked and answers `answer`. */
static void askpass(const char *answer)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/askpass", server.dir);
	shell("printf '#!/bin/sh\\necho \"$1\" >> %s/asked\\necho \"%s\"\\n' > %s; chmod 700 %s; "
	      ": > %s/asked",
	      server.dir, answer, path, path, server.dir);
	setenv("SSH_ASKPASS", path, 1);
	setenv("SSH_ASKPASS_REQUIRE", "force", 1);
}

static unsigned asked_count(void)
{
	char path[128], line[512];
	unsigned count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/asked", server.dir);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		count++;
	if (f)
		fclose(f);
	return count;
}

static void authorize(const char *name)
{
	shell("cat %s/%s.pub >> %s/key.pub", server.dir, name, server.dir);
}

static void make(const char *name, const char *args)
{
	shell("ssh-keygen -q %s -f %s/%s", args, server.dir, name);
	authorize(name);
}

START_TEST(keys_of_every_type_and_format)
{
	static const struct {
		const char *name, *args;
	} keys[] = {
	    {"ed", "-t ed25519 -N ''"},
	    {"ec", "-t ecdsa -b 384 -N ''"},
	    {"rsa", "-t rsa -b 2048 -N ''"},
	    {"pem", "-t rsa -b 2048 -N '' -m PEM"},
	    {"pkcs8", "-t ecdsa -N '' -m PKCS8"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		make(keys[i].name, keys[i].args);
		expect_login(login_link(keys[i].name), false);
		/* no file appears: the public half is found without */
		shell("rm %s/%s.pub", server.dir, keys[i].name);
		expect_login(login_link(keys[i].name), false);
		shell("test ! -e %s/%s.pub", server.dir, keys[i].name);
	}
}
END_TEST

START_TEST(encrypted_keys_ask_once)
{
	static const struct {
		const char *name, *args;
	} keys[] = {
	    {"e-ed", "-t ed25519 -N secret1"},
	    {"e-pem", "-t rsa -b 2048 -N secret1 -m PEM"},
	    {"e-pkcs8", "-t ecdsa -N secret1 -m PKCS8"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		make(keys[i].name, keys[i].args);
		askpass("secret1");
		expect_login(login_link(keys[i].name), true);
		ck_assert_uint_eq(asked_count(), 1);
		askpass("wrong");
		expect_refusal(login_link(keys[i].name), "passphrase");
		ck_assert_uint_eq(asked_count(), 3);
	}
	/* one that the server does not want is never asked about */
	shell("ssh-keygen -q -t ed25519 -N secret1 -f %s/stranger", server.dir);
	askpass("secret1");
	expect_refusal(login_link("stranger"), "publickey");
	ck_assert_uint_eq(asked_count(), 0);
	/* nobody to ask */
	unsetenv("SSH_ASKPASS");
	setenv("SSH_ASKPASS_REQUIRE", "never", 1);
	keyword(0, "BatchMode=yes");
	expect_refusal(login_link("e-ed"), "passphrase");
}
END_TEST

START_TEST(a_key_that_others_can_read_is_not_used)
{
	make("open", "-t ed25519 -N ''");
	shell("chmod 644 %s/open", server.dir);
	expect_refusal(login_link("open"), "nothing to log in");
	shell("chmod 600 %s/open", server.dir);
	expect_login(login_link("open"), true);
}
END_TEST

/* Also when the test has failed. */
static void stop_agent(void)
{
	shell("sed -n 's/.*SSH_AGENT_PID=\\([0-9]*\\);.*/kill \\1/p' %s/agent.env 2>/dev/null | sh; "
	      "rm -f %s/agent.env",
	      server.dir, server.dir);
}

START_TEST(the_agent_signs_and_its_keys_are_picked)
{
	char path[128];

	/* MaxAuthTries is 6: nine strangers in front of the right one */
	shell("ssh-agent -a %s/agent.sock > %s/agent.env", server.dir, server.dir);
	for (int i = 0; i < 9; i++)
		shell("ssh-keygen -q -t ed25519 -N '' -f %s/s%d; "
		      "SSH_AUTH_SOCK=%s/agent.sock ssh-add -q %s/s%d",
		      server.dir, i, server.dir, server.dir, i);
	make("inagent", "-t ed25519 -N secret2");
	snprintf(path, sizeof(path), "%s/inagent", server.dir);
	askpass("secret2");
	shell("SSH_AUTH_SOCK=%s/agent.sock ssh-add -q %s < /dev/null", server.dir, path);
	askpass("unasked");
	keyword(0, "IdentityAgent=%s/agent.sock", server.dir);
	/* the named identity first, signed for by the agent, without a passphrase */
	expect_login(login_link("inagent"), true);
	ck_assert_uint_eq(asked_count(), 0);
	/* a public key alone is enough of a name */
	shell("mkdir -p %s/only; cp %s/inagent.pub %s/only/", server.dir, server.dir, server.dir);
	keyword(1, "IdentitiesOnly=yes");
	expect_login(login_link("only/inagent"), false);
	expect_refusal(login_link("s3"), "publickey");
	/* all of them: the server ends it, and the error says what to do */
	keyword_list[1] = NULL;
	expect_refusal(login_link(NULL), "IdentitiesOnly");
	/* an agent that is not there */
	keyword(0, "IdentityAgent=%s/nobody.sock", server.dir);
	expect_login(login_link("key"), false);
	stop_agent();
}
END_TEST

START_TEST(certificates_with_and_without)
{
	shell("ssh-keygen -q -t ed25519 -N '' -f %s/cert", server.dir);
	shell("ssh-keygen -q -s %s/ca -I test -n $(id -un) -V -1d:+1d %s/cert.pub", server.dir,
	      server.dir);
	expect_login(login_link("cert"), true);
	/* an expired one: the bare key is refused too, until it is authorized */
	shell("rm %s/cert-cert.pub; ssh-keygen -q -s %s/ca -I test -n $(id -un) -V -2d:-1d "
	      "%s/cert.pub",
	      server.dir, server.dir, server.dir);
	expect_refusal(login_link("cert"), "publickey");
	authorize("cert");
	expect_login(login_link("cert"), false);
}
END_TEST

START_TEST(two_factors)
{
	struct sshd other;
	struct sshd saved = server;

	ck_assert(sshd_start(&other, "AuthenticationMethods publickey,publickey"));
	server = other;
	make("second", "-t ed25519 -N ''");
	keyword(0, "IdentityFile=%s/key", server.dir);
	expect_login(login_link("second"), true);
	/* the same key twice is not two keys */
	keyword_list[0] = NULL;
	expect_refusal(login_link("key"), "publickey");
	sshd_stop(&server);
	server = saved;
}
END_TEST

START_TEST(a_server_that_says_nothing_is_left)
{
	/* not sshd: a listener that never speaks */
	keyword(0, "ProxyCommand=sleep 100");
	struct ssh_config cfg;
	struct peer p;
	int64_t began_ms = peer_now_ms();

	sshd_config(&server, &cfg, keyword_list);
	cfg.banner_timeout_s = 1;
	peer_init(&p, ssh_link_create(&cfg));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.down);
	ck_assert_ptr_nonnull(strstr(p.error.text, "no SSH banner"));
	ck_assert_int_lt(peer_now_ms() - began_ms, 5000);
	peer_finish(&p);
	/* one that greets and then sleeps */
	keyword(0, "ProxyCommand=sh -c 'echo SSH-2.0-Sleepy; exec sleep 100'");
	sshd_config(&server, &cfg, keyword_list);
	cfg.login_timeout_s = 1;
	peer_init(&p, ssh_link_create(&cfg));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.down);
	ck_assert_msg(strstr(p.error.text, "within 1 s") != NULL, "%s", p.error.text);
	peer_finish(&p);
}
END_TEST

START_TEST(configuration_is_what_ssh_says)
{
	char path[128];
	char *keywords[] = {(char *)"serveraliveinterval=0", (char *)"Compression=yes", NULL};
	struct ssh_request req = {.host = "alias", .config_file = path, .keywords = keywords};
	struct ssh_config cfg;
	struct link_error err;

	snprintf(path, sizeof(path), "%s/config", server.dir);
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
	ck_assert_uint_eq(cfg.default_identities.count, 3);
	ck_assert_uint_ge(cfg.user_known_hosts.count, 1);
	ssh_config_finish(&cfg);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
}
END_TEST

static void set_up(void)
{
	char ca[128];

	ck_assert(sshd_start(&server, "TrustedUserCAKeys /dev/null"));
	sshd_stop(&server);
	/* once more, now that the name of the directory can be known to the configuration */
	snprintf(ca, sizeof(ca), "TrustedUserCAKeys /tmp/sftpfs-test-ca-%d.pub", (int)getpid());
	shell("ssh-keygen -q -t ed25519 -N '' -f /tmp/sftpfs-test-ca-%d", (int)getpid());
	ck_assert(sshd_start(&server, ca));
	shell("cp /tmp/sftpfs-test-ca-%d %s/ca; cp /tmp/sftpfs-test-ca-%d.pub %s/ca.pub",
	      (int)getpid(), server.dir, (int)getpid(), server.dir);
}

static void tear_down(void)
{
	stop_agent();
	sshd_stop(&server);
	shell("rm -f /tmp/sftpfs-test-ca-%d /tmp/sftpfs-test-ca-%d.pub", (int)getpid(),
	      (int)getpid());
}

static void forget_keywords(void)
{
	keyword_list[0] = NULL;
}

int main(void)
{
	Suite *suite = suite_create("login");
	TCase *tc = tcase_create("login");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (access("/usr/sbin/sshd", X_OK))
		return 77;
	signal(SIGPIPE, SIG_IGN);
	if (getenv("SFTPFS_TEST_DEBUG"))
		log_set_level(LOG_LEVEL_DEBUG);
	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, set_up, tear_down);
	tcase_add_checked_fixture(tc, forget_keywords, NULL);
	tcase_add_test(tc, keys_of_every_type_and_format);
	tcase_add_test(tc, encrypted_keys_ask_once);
	tcase_add_test(tc, a_key_that_others_can_read_is_not_used);
	tcase_add_test(tc, the_agent_signs_and_its_keys_are_picked);
	tcase_add_test(tc, certificates_with_and_without);
	tcase_add_test(tc, two_factors);
	tcase_add_test(tc, a_server_that_says_nothing_is_left);
	tcase_add_test(tc, configuration_is_what_ssh_says);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
