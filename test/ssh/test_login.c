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
	    {"ed", "-t ed25519 -N ''"},           {"ec", "-t ecdsa -b 384 -N ''"},
	    {"rsa", "-t rsa -b 2048 -N ''"},      {"pem", "-t rsa -b 2048 -N '' -m PEM"},
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

/* PKCS#1, PKCS#8 and SEC1 in DER, PKCS#12, and Ed25519 in PKCS#8: OpenSSL reads them. */
static const struct {
	const char *name, *type, *convert, *convert_locked;
} binary_keys[] = {
    {"der-rsa", "rsa -b 2048", "openssl rsa -in %s -outform DER -traditional", NULL},
    {"der-ec", "ecdsa", "openssl ec -in %s -outform DER", NULL},
    {"der-p8", "ecdsa", "openssl pkcs8 -topk8 -in %s -outform DER -nocrypt",
     "openssl pkcs8 -topk8 -in %s -outform DER -passout pass:secret1"},
    {"p12", "rsa -b 2048",
     "openssl pkcs12 -export -inkey %s -nocerts -passout pass: -keypbe NONE -certpbe NONE",
     "openssl pkcs12 -export -inkey %s -nocerts -passout pass:secret1"},
};

static void make_binary(size_t i, bool locked)
{
	const char *name = binary_keys[i].name;
	char pem[128], convert[256];

	shell("ssh-keygen -q -t %s -m PEM -N '' -f %s/source", binary_keys[i].type, server.dir);
	shell("cat %s/source.pub >> %s/key.pub", server.dir, server.dir);
	snprintf(pem, sizeof(pem), "%s/source", server.dir);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(convert, sizeof(convert),
	         locked ? binary_keys[i].convert_locked : binary_keys[i].convert, pem);
#pragma GCC diagnostic pop
	shell("%s > %s/%s 2> %s/openssl.log; chmod 600 %s/%s; rm %s/source %s/source.pub", convert,
	      server.dir, name, server.dir, server.dir, name, server.dir, server.dir);
}

START_TEST(binary_keys_of_openssl)
{
	for (size_t i = 0; i < sizeof(binary_keys) / sizeof(binary_keys[0]); i++) {
		make_binary(i, false);
		askpass("not asked");
		expect_login(login_link(binary_keys[i].name), true);
		ck_assert_uint_eq(asked_count(), 0);
		if (!binary_keys[i].convert_locked)
			continue;
		make_binary(i, true);
		askpass("secret1");
		expect_login(login_link(binary_keys[i].name), true);
		ck_assert_uint_eq(asked_count(), 1);
		askpass("wrong");
		expect_refusal(login_link(binary_keys[i].name), "passphrase");
	}
	shell("openssl genpkey -algorithm ed25519 -out %s/ed-p8 && chmod 600 %s/ed-p8", server.dir,
	      server.dir);
	expect_refusal(login_link("ed-p8"), "publickey"); /* read, offered, not authorized */
}
END_TEST

START_TEST(keys_of_other_programs_say_how_to_convert_them)
{
	static const struct {
		const char *content, *words;
	} keys[] = {
	    {"PuTTY-User-Key-File-3: ssh-ed25519", "puttygen"},
	    {"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", "ssh-keygen -i"},
	    {"<RSAKeyValue><Modulus>AA==</Modulus></RSAKeyValue>", "PEM"},
	    {"{\"kty\":\"RSA\",\"n\":\"AA\"}", "step crypto"},
	    {"complete nonsense", "format"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		shell("umask 077; echo '%s' > %s/foreign", keys[i].content, server.dir);
		expect_refusal(login_link("foreign"), keys[i].words);
	}
}
END_TEST

START_TEST(a_key_may_come_from_a_descriptor)
{
	char path[128], word[64];
	int fd;

	make("piped", "-t ed25519 -N ''");
	snprintf(path, sizeof(path), "%s/piped", server.dir);
	fd = open(path, O_RDONLY);
	shell("rm %s %s.pub", path, path);
	snprintf(word, sizeof(word), "IdentityFile=fd:%d", fd);
	keyword(0, "%s", word);
	expect_login(login_link(NULL), true);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* taken over */
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
	/* no question where libssh cannot make use of the answer */
	make("gcm", "-t ed25519 -N secret1 -Z aes256-gcm@openssh.com");
	askpass("secret1");
	expect_refusal(login_link("gcm"), "-Z aes256-ctr");
	ck_assert_uint_eq(asked_count(), 0);
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
	expect_refusal(login_link("open"), "chmod 600");
	shell("chmod 600 %s/open", server.dir);
	expect_login(login_link("open"), true);
}
END_TEST

/* Also when the test has failed. */
static void stop_agent(void)
{
	shell(
	    "sed -n 's/.*SSH_AGENT_PID=\\([0-9]*\\);.*/kill \\1/p' %s/agent.env 2>/dev/null | sh; "
	    "rm -f %s/agent.env",
	    server.dir, server.dir);
}

static void start_agent(void)
{
	shell("ssh-agent -a %s/agent.sock > %s/agent.env", server.dir, server.dir);
}

static void agent_add(const char *name)
{
	shell("SSH_AUTH_SOCK=%s/agent.sock ssh-add -q %s/%s < /dev/null 2> %s/ssh-add.log",
	      server.dir, server.dir, name, server.dir);
}

START_TEST(the_agent_signs_and_its_keys_are_picked)
{

	/* MaxAuthTries is 6: nine strangers in front of the right one */
	start_agent();
	for (int i = 0; i < 9; i++)
		shell("ssh-keygen -q -t ed25519 -N '' -f %s/s%d; "
		      "SSH_AUTH_SOCK=%s/agent.sock ssh-add -q %s/s%d",
		      server.dir, i, server.dir, server.dir, i);
	make("inagent", "-t ed25519 -N secret2");
	askpass("secret2");
	agent_add("inagent");
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

static void make_certified(const char *name, const char *args)
{
	shell("ssh-keygen -q %s -f %s/%s", args, server.dir, name);
	shell("ssh-keygen -q -s %s/ca -I test -n $(id -un) -V -1d:+1d %s/%s.pub", server.dir,
	      server.dir, name);
}

START_TEST(certificate_files_go_with_the_key_they_fit)
{
	/* two keys and two certificates elsewhere: each is tried with its own */
	make_certified("c1", "-t ed25519 -N ''");
	make_certified("c2", "-t rsa -b 2048 -N ''");
	shell("cd %s; mkdir -p certs; mv c1-cert.pub certs/1; mv c2-cert.pub certs/2", server.dir);
	expect_refusal(login_link("c2"), "publickey");
	keyword(0, "CertificateFile=%s/certs/1", server.dir);
	keyword(1, "CertificateFile=%s/certs/2", server.dir);
	keyword(2, "IdentityFile=%s/stranger-first", server.dir);
	shell("ssh-keygen -q -t ed25519 -N '' -f %s/stranger-first", server.dir);
	expect_login(login_link("c2"), true);
	expect_login(login_link("c1"), true);
}
END_TEST

START_TEST(certificate_files_go_with_keys_of_the_agent)
{
	make_certified("ac1", "-t ed25519 -N ''");
	make_certified("ac2", "-t rsa -b 2048 -N ''");
	start_agent();
	/* the agent has key and certificate */
	agent_add("ac1");
	keyword(0, "IdentityAgent=%s/agent.sock", server.dir);
	expect_login(login_link(NULL), true);
	/* the agent has the key, the certificate is a file, and the key file is gone */
	shell("SSH_AUTH_SOCK=%s/agent.sock ssh-add -qD", server.dir);
	shell("cd %s; mv ac2-cert.pub ac2.certificate", server.dir);
	agent_add("ac2");
	shell("rm %s/ac2", server.dir);
	expect_refusal(login_link(NULL), "publickey");
	keyword(1, "CertificateFile=%s/ac2.certificate", server.dir);
	expect_login(login_link(NULL), true);
	keyword(2, "IdentitiesOnly=yes");
	expect_login(login_link("ac2"), true); /* named by its public half */
	stop_agent();
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
	tcase_add_checked_fixture(tc, forget_keywords, stop_agent);
	tcase_add_test(tc, keys_of_every_type_and_format);
	tcase_add_test(tc, binary_keys_of_openssl);
	tcase_add_test(tc, keys_of_other_programs_say_how_to_convert_them);
	tcase_add_test(tc, a_key_may_come_from_a_descriptor);
	tcase_add_test(tc, encrypted_keys_ask_once);
	tcase_add_test(tc, a_key_that_others_can_read_is_not_used);
	tcase_add_test(tc, the_agent_signs_and_its_keys_are_picked);
	tcase_add_test(tc, certificates_with_and_without);
	tcase_add_test(tc, certificate_files_go_with_the_key_they_fit);
	tcase_add_test(tc, certificate_files_go_with_keys_of_the_agent);
	tcase_add_test(tc, two_factors);
	tcase_add_test(tc, a_server_that_says_nothing_is_left);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
