/* SPDX-License-Identifier: BSD-2-Clause */
/* known_hosts files: what they say about a key, and adding to them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ssh/known_hosts.h"

/* Two blobs of type ssh-ed25519 and one of ssh-rsa: only the type's name must be right. */
#define KEY_A "AAAAC3NzaC1lZDI1NTE5AAAAAUE="
#define KEY_B "AAAAC3NzaC1lZDI1NTE5AAAAAUI="
#define KEY_R "AAAAB3NzaC1yc2EAAAABUg=="

static const uint8_t blob_a[] = "\0\0\0\013ssh-ed25519\0\0\0\1A";
static const uint8_t blob_b[] = "\0\0\0\013ssh-ed25519\0\0\0\1B";

static const struct known_entry *entry;
static struct known_hosts files;

static enum known_result check_at(const char *text, const char *host, const char *address,
                                  unsigned port)
{
	struct known_query q = {.host = host, .address = address, .port = port};

	known_hosts_finish(&files);
	ck_assert_int_eq(known_hosts_parse(&files, "FILE", text, strlen(text)), 0);
	return known_hosts_check(&files, &q, "ssh-ed25519", blob_a, sizeof(blob_a) - 1, &entry);
}

static enum known_result check_host(const char *text, const char *host)
{
	return check_at(text, host, NULL, 22);
}

START_TEST(plain_lines)
{
	ck_assert_int_eq(check_host("", "h"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("h ssh-ed25519 " KEY_A, "h"), KNOWN_MATCH);
	ck_assert_int_eq(check_host("h ssh-ed25519 " KEY_A " comment\r\n", "H"), KNOWN_MATCH);
	ck_assert_int_eq(check_host("# x\n\nh,10.0.0.1\tssh-ed25519\t" KEY_B "\n", "h"),
	                 KNOWN_CHANGED);
	ck_assert_uint_eq(entry->line, 3);
	ck_assert_str_eq(files.files.at[entry->file], "FILE");
	ck_assert_int_eq(check_host("h ssh-rsa " KEY_R "\n", "h"), KNOWN_OTHER_TYPE);
	/* a second line with the right key counts, wherever it is */
	ck_assert_int_eq(check_host("h ssh-ed25519 " KEY_B "\nh ssh-ed25519 " KEY_A, "h"),
	                 KNOWN_MATCH);
}
END_TEST

START_TEST(lines_that_make_no_sense_are_skipped)
{
	ck_assert_int_eq(check_host("h\nh ssh-ed25519\nh ssh-ed25519 !!!!\nh ssh-ed25519 QQ=\n"
	                            "h ssh-rsa " KEY_A "\n@weird h ssh-ed25519 " KEY_A "\n"
	                            "h 1024 35 1234567890\n",
	                            "h"),
	                 KNOWN_UNKNOWN);
}
END_TEST

START_TEST(patterns_and_negation)
{
	ck_assert_int_eq(check_host("*.lan,!bad.lan ssh-ed25519 " KEY_A, "good.lan"), KNOWN_MATCH);
	ck_assert_int_eq(check_host("*.lan,!bad.lan ssh-ed25519 " KEY_A, "bad.lan"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("!bad.lan,*.lan ssh-ed25519 " KEY_A, "bad.lan"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("h?st ssh-ed25519 " KEY_A, "host"), KNOWN_MATCH);
	ck_assert_int_eq(check_host("h?st ssh-ed25519 " KEY_A, "hst"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("*a*b*c* ssh-ed25519 " KEY_A, "xxaxxbxxbcx"), KNOWN_MATCH);
	ck_assert_int_eq(check_host("!h ssh-ed25519 " KEY_A, "other"), KNOWN_UNKNOWN);
}
END_TEST

START_TEST(hashed_names)
{
	char dir[] = "/tmp/sftpfs-test-XXXXXX", path[64], command[256];
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query q = {.host = "Example.com", .port = 2022};

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/kh", dir);
	/* our own hashing, read back */
	ck_assert_int_eq(
	    known_hosts_append(path, &q, "ssh-ed25519", blob_a, sizeof(blob_a) - 1, true), 0);
	ck_assert_int_eq(known_hosts_read(&kh, path), 0);
	ck_assert_uint_eq(kh.count, 1);
	ck_assert_int_eq(strncmp(kh.entries[0].patterns, "|1|", 3), 0);
	ck_assert_int_eq(
	    known_hosts_check(&kh, &q, "ssh-ed25519", blob_a, sizeof(blob_a) - 1, &entry),
	    KNOWN_MATCH);
	q.port = 22;
	ck_assert_int_eq(
	    known_hosts_check(&kh, &q, "ssh-ed25519", blob_a, sizeof(blob_a) - 1, &entry),
	    KNOWN_UNKNOWN);
	known_hosts_finish(&kh);
	/* and OpenSSH finds it */
	snprintf(command, sizeof(command), "ssh-keygen -F '[example.com]:2022' -f %s >/dev/null",
	         path);
	ck_assert_int_eq(system(command), 0);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
	/* damaged ones match nothing */
	ck_assert_int_eq(check_host("|1| ssh-ed25519 " KEY_A, "h"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("|1|| ssh-ed25519 " KEY_A, "h"), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_host("|1|QUFB|QUFB ssh-ed25519 " KEY_A, "h"), KNOWN_UNKNOWN);
}
END_TEST

START_TEST(ports_and_addresses)
{
	ck_assert_int_eq(check_at("[h]:2022 ssh-ed25519 " KEY_A, "h", NULL, 2022), KNOWN_MATCH);
	ck_assert_int_eq(check_at("[h]:2022 ssh-ed25519 " KEY_A, "h", NULL, 22), KNOWN_UNKNOWN);
	/* without the port a line can vouch, but not accuse */
	ck_assert_int_eq(check_at("h ssh-ed25519 " KEY_A, "h", NULL, 2022), KNOWN_MATCH);
	ck_assert_int_eq(check_at("h ssh-ed25519 " KEY_B, "h", NULL, 2022), KNOWN_UNKNOWN);
	ck_assert_int_eq(check_at("127.0.0.1 ssh-ed25519 " KEY_A, "localhost", "127.0.0.1", 22),
	                 KNOWN_MATCH);
	ck_assert_int_eq(check_at("127.0.0.1 ssh-ed25519 " KEY_B, "localhost", "127.0.0.1", 22),
	                 KNOWN_UNKNOWN);
	/* the name says it has changed: the address does not help */
	ck_assert_int_eq(
	    check_at("h ssh-ed25519 " KEY_B "\n10.0.0.1 ssh-ed25519 " KEY_A, "h", "10.0.0.1", 22),
	    KNOWN_CHANGED);
}
END_TEST

START_TEST(marks)
{
	/* a revoked key is refused although a plain line has it, in any order */
	ck_assert_int_eq(check_host("h ssh-ed25519 " KEY_A "\n@revoked * ssh-ed25519 " KEY_A, "h"),
	                 KNOWN_IS_REVOKED);
	ck_assert_int_eq(check_host("@revoked h ssh-ed25519 " KEY_A "\nh ssh-ed25519 " KEY_A, "h"),
	                 KNOWN_IS_REVOKED);
	ck_assert_uint_eq(entry->line, 1);
	ck_assert_int_eq(check_host("@revoked h ssh-ed25519 " KEY_B "\nh ssh-ed25519 " KEY_A, "h"),
	                 KNOWN_MATCH);
	ck_assert_int_eq(check_at("@revoked 10.0.0.1 ssh-ed25519 " KEY_A "\nh ssh-ed25519 " KEY_A,
	                          "h", "10.0.0.1", 22),
	                 KNOWN_IS_REVOKED);
	ck_assert_int_eq(check_host("@cert-authority * ssh-ed25519 " KEY_A, "h"), KNOWN_ONLY_CA);
	ck_assert_int_eq(
	    check_host("@cert-authority * ssh-ed25519 " KEY_A "\nh ssh-ed25519 " KEY_A, "h"),
	    KNOWN_MATCH);
}
END_TEST

START_TEST(types_are_preferred_in_file_order)
{
	struct ssh_strings types = {0};
	struct known_query q = {.host = "h", .port = 22};

	check_host("h ssh-rsa " KEY_R "\nh ssh-ed25519 " KEY_A "\nh ssh-rsa " KEY_R
	           "\n@cert-authority h ssh-dss " KEY_R,
	           "h");
	ck_assert_int_eq(known_hosts_types(&files, &q, &types), 0);
	ck_assert_uint_eq(types.count, 2);
	ck_assert_str_eq(types.at[0], "ssh-rsa");
	ck_assert_str_eq(types.at[1], "ssh-ed25519");
	for (size_t i = 0; i < types.count; i++)
		free(types.at[i]);
	free(types.at);
}
END_TEST

START_TEST(appending_is_safe_and_idempotent)
{
	char dir[] = "/tmp/sftpfs-test-XXXXXX", path[128], command[256];
	struct known_query q = {.host = "h", .port = 22};
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct stat st;
	FILE *f;
	int status;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/.ssh/known_hosts", dir);
	/* twenty at a time, five different lines */
	for (int i = 0; i < 20; i++) {
		if (fork() == 0) {
			char name[16];

			snprintf(name, sizeof(name), "h%d", i % 5);
			q.host = name;
			_exit(known_hosts_append(path, &q, "ssh-ed25519", blob_a,
			                         sizeof(blob_a) - 1, false) != 0);
		}
	}
	for (int i = 0; i < 20; i++) {
		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(known_hosts_read(&kh, path), 0);
	ck_assert_uint_eq(kh.count, 5);
	known_hosts_finish(&kh);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	snprintf(command, sizeof(command), "%s/.ssh", dir);
	ck_assert_int_eq(stat(command, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	/* a file whose last line has no newline */
	f = fopen(path, "we");
	fputs("x ssh-ed25519 " KEY_B, f);
	fclose(f);
	ck_assert_int_eq(
	    known_hosts_append(path, &q, "ssh-ed25519", blob_b, sizeof(blob_b) - 1, false), 0);
	ck_assert_int_eq(known_hosts_read(&kh, path), 0);
	ck_assert_uint_eq(kh.count, 2);
	ck_assert_str_eq(kh.entries[1].patterns, "h");
	known_hosts_finish(&kh);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(fingerprints_are_sha256_in_base64)
{
	char text[64], command[256], said[256] = "";
	FILE *p;

	known_hosts_fingerprint(blob_a, sizeof(blob_a) - 1, NULL, text, sizeof(text));
	ck_assert_int_eq(strncmp(text, "SHA256:", 7), 0);
	ck_assert_uint_eq(strlen(text), 7 + 43);
	snprintf(command, sizeof(command),
	         "printf %%s '" KEY_A "' | base64 -d | openssl dgst -sha256 -binary | base64");
	p = popen(command, "re");
	ck_assert_ptr_nonnull(p);
	if (fgets(said, sizeof(said), p) && strlen(said) > 43)
		ck_assert_int_eq(strncmp(said, text + 7, 43), 0);
	pclose(p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("known_hosts");
	TCase *tc = tcase_create("known_hosts");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, plain_lines);
	tcase_add_test(tc, lines_that_make_no_sense_are_skipped);
	tcase_add_test(tc, patterns_and_negation);
	tcase_add_test(tc, hashed_names);
	tcase_add_test(tc, ports_and_addresses);
	tcase_add_test(tc, marks);
	tcase_add_test(tc, types_are_preferred_in_file_order);
	tcase_add_test(tc, appending_is_safe_and_idempotent);
	tcase_add_test(tc, fingerprints_are_sha256_in_base64);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	known_hosts_finish(&files);
	return failed ? 1 : 0;
}
