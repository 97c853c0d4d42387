/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections through jump hosts: two private sshds, of which each is on the way to the other. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"
#include "ssh/ssh_link.h"
#include "util/log.h"

#define FXP_OPEN  3
#define FXP_READ  5
#define FXP_WRITE 6

#define BLOCK_LEN   32768u
#define BLOCK_COUNT 2000u
#define IN_FLIGHT   64

static struct sshd near, far;

/* The jump hosts' side of the configuration: `near` and `far` by name, `loop` names itself. */
static void write_config(const char *key_dir, const char *policy, char *path, size_t size)
{
	FILE *f;

	snprintf(path, size, "%s/config", near.dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fprintf(
	    f,
	    "Host near\n Port %u\n IdentityFile %s/key\nHost far\n Port %u\n"
	    " IdentityFile %s/key\nHost a\n Port %u\n ProxyJump b\nHost b\n Port %u\n ProxyJump a\n"
	    "Host *\n HostName 127.0.0.1\n IdentityAgent none\n UserKnownHostsFile %s/known_hosts\n"
	    " GlobalKnownHostsFile none\n StrictHostKeyChecking %s\n",
	    near.port, key_dir, far.port, far.dir, near.port, near.port, near.dir, policy);
	fclose(f);
}

/* The server is `far`. */
static int resolve(const char *jump, const char *key_dir, const char *policy,
                   struct ssh_config *cfg, struct link_error *err)
{
	char path[128], proxy_jump[256];
	char *keywords[] = {proxy_jump, NULL};
	struct ssh_request req = {
	    .host = "far",
	    .config_file = path,
	    .keywords = keywords,
	    .no_prompt = true,
	};

	write_config(key_dir, policy, path, sizeof(path));
	snprintf(proxy_jump, sizeof(proxy_jump), "ProxyJump=%s", jump);
	return ssh_config_resolve(&req, cfg, err);
}

static struct link *jump_link(const char *jump, const char *key_dir, const char *policy)
{
	struct ssh_config cfg;
	struct link_error err;

	ck_assert_msg(resolve(jump, key_dir, policy, &cfg, &err) == 0, "%s", err.text);
	return ssh_link_create(&cfg);
}

static void connect_through(struct peer *p, const char *jump)
{
	peer_init(p, jump_link(jump, near.dir, "accept-new"));
	ck_assert_int_eq(link_connect(p->link), 0);
	peer_until(p, p->up || p->down);
	ck_assert_msg(p->up, "%s", p->error.text);
	ck_assert_int_eq(link_start(p->link), 0);
	p->started = true;
}

static size_t put(uint8_t *m, size_t n, uint64_t v, size_t len)
{
	for (size_t i = 0; i < len; i++)
		m[n + i] = (uint8_t)(v >> 8 * (len - 1 - i));
	return n + len;
}

static void open_file(struct peer *p, uint32_t lane, const char *path)
{
	uint64_t before = p->lanes[lane].packet_count;
	uint8_t m[256];
	size_t n = put(m, 4, FXP_OPEN, 1);

	n = put(m, n, 1, 4);
	n = put(m, n, strlen(path), 4);
	memcpy(m + n, path, strlen(path));
	n = put(m, n + strlen(path), 1 | 2 | 8 | 16, 4);
	n = put(m, n, 0, 4);
	put(m, 0, n - 4, 4);
	peer_send(p, lane, m, n, NULL, 0);
	peer_until(p, p->lanes[lane].packet_count == before + 1);
}

static void send_block(struct peer *p, uint32_t lane, uint32_t block, struct data *d)
{
	uint8_t m[64];
	size_t n = put(m, 4, d ? FXP_WRITE : FXP_READ, 1);

	n = put(m, n, block, 4);
	n = put(m, n, 4, 4); /* OpenSSH's first handle */
	n = put(m, n, 0, 4);
	n = put(m, n, block * (uint64_t)BLOCK_LEN, 8);
	n = put(m, n, BLOCK_LEN, 4);
	put(m, 0, n - 4 + (d ? BLOCK_LEN : 0), 4);
	peer_send(p, lane, m, n, d ? data_ref(d) : NULL, d ? BLOCK_LEN : 0);
}

static uint32_t wrong_count;

/* Block n is filled with n's lowest byte. */
static bool check_block(struct peer *p, uint32_t lane, struct data *d, size_t len)
{
	if (d->bytes[0] == 103) {
		wrong_count += len != BLOCK_LEN + 9;
		for (size_t i = 9; i < len; i++)
			wrong_count += d->bytes[i] != d->bytes[4];
	}
	data_unref(d);
	return true;
}

/* WRITEs and READs of what they wrote, on several lanes at once. */
static void exchange(struct peer *p, uint32_t lane_count)
{
	uint32_t sent[8] = {0}, left = lane_count;
	char path[128];

	for (uint32_t lane = 0; lane < lane_count; lane++) {
		peer_open_sftp(p, lane, LANE_BULK);
		snprintf(path, sizeof(path), "%s/f%u", near.dir, lane);
		open_file(p, lane, path);
		p->lanes[lane].packet_count = 0;
	}
	p->on_packet = check_block;
	wrong_count = 0;
	while (left > 0) {
		left = 0;
		for (uint32_t lane = 0; lane < lane_count; lane++) {
			while (sent[lane] < BLOCK_COUNT &&
			       2 * sent[lane] - p->lanes[lane].packet_count < IN_FLIGHT) {
				struct data *d = data_create(NULL, BLOCK_LEN);

				memset(d->bytes, (int)(sent[lane] & 0xff), BLOCK_LEN);
				send_block(p, lane, sent[lane], d);
				send_block(p, lane, sent[lane], NULL);
				data_unref(d);
				sent[lane]++;
			}
			left += p->lanes[lane].packet_count < 2 * BLOCK_COUNT;
		}
		peer_turn(p, 1000);
		ck_assert_msg(!p->down, "%s", p->error.text);
	}
	ck_assert_uint_eq(wrong_count, 0);
	p->on_packet = NULL;
}

START_TEST(a_jump_host_carries_lanes_in_both_directions)
{
	struct link_facts facts;
	struct peer p;

	connect_through(&p, "near");
	link_facts(p.link, &facts);
	ck_assert_ptr_nonnull(strstr(facts.server_banner, "OpenSSH"));
	exchange(&p, 4);
	peer_finish(&p);
}
END_TEST

START_TEST(jump_hosts_follow_each_other)
{
	struct peer p;

	connect_through(&p, "near,far,near");
	exchange(&p, 1);
	peer_finish(&p);
}
END_TEST

START_TEST(a_lost_jump_host_is_a_lost_connection_and_is_gone_through_again)
{
	struct peer p;

	connect_through(&p, "near");
	for (uint32_t round = 0; round < 3; round++) {
		peer_open_sftp(&p, round, LANE_META);
		peer_echo(&p, round);
		ck_assert_int_gt(sshd_kill_sessions(&near, SIGKILL), 0);
		peer_until(&p, p.down);
		ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
		ck_assert_msg(strstr(p.error.text, "jump host 'near'"), "%s", p.error.text);
		ck_assert_int_eq(link_connect(p.link), 0);
		peer_until(&p, p.up);
	}
	/* and the server behind it */
	ck_assert_int_gt(sshd_kill_sessions(&far, SIGKILL), 0);
	peer_until(&p, p.down);
	ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
	ck_assert_ptr_null(strstr(p.error.text, "near"));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	peer_finish(&p);
}
END_TEST

static void expect(const char *jump, const char *key_dir, const char *policy, enum link_fail fail,
                   const char *words)
{
	struct peer p;

	peer_init(&p, jump_link(jump, key_dir, policy));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.down);
	fprintf(stderr, "%s\n", p.error.text);
	ck_assert_int_eq(p.error.fail, fail);
	ck_assert_msg(strncmp(p.error.text, "jump host '", 11) == 0, "%s", p.error.text);
	ck_assert_msg(strstr(p.error.text, words) != NULL, "%s", p.error.text);
	ck_assert_ptr_null(strstr(p.error.text + 11, "jump host '"));
	peer_finish(&p);
}

START_TEST(a_jump_host_that_cannot_be_passed_is_named)
{
	char known[128], jump[64];

	snprintf(known, sizeof(known), "%s/known_hosts", near.dir);
	unlink(known);
	expect("near", near.dir, "yes", LINK_FAIL_HOSTKEY, "'near' is not known");
	expect("near", far.dir, "accept-new", LINK_FAIL_AUTH, "publickey");
	snprintf(jump, sizeof(jump), "near,127.0.0.1:1");
	expect(jump, near.dir, "accept-new", LINK_FAIL_PROXY, "refused");
	snprintf(jump, sizeof(jump), "127.0.0.1:1,near");
	expect(jump, near.dir, "accept-new", LINK_FAIL_PROXY, "refused");
}
END_TEST

START_TEST(jump_hosts_that_name_each_other_end)
{
	struct ssh_config cfg;
	struct link_error err;

	ck_assert_int_lt(resolve("a", near.dir, "yes", &cfg, &err), 0);
	ck_assert_int_eq(err.fail, LINK_FAIL_NONE);
	ck_assert_msg(strstr(err.text, "jump hosts"), "%s", err.text);
	ck_assert_int_eq(resolve("none", near.dir, "yes", &cfg, &err), 0);
	ck_assert_ptr_null(cfg.jump);
	ssh_config_finish(&cfg);
}
END_TEST

static void set_up(void)
{
	ck_assert(sshd_start(&near, NULL));
	ck_assert(sshd_start(&far, NULL));
}

static void tear_down(void)
{
	sshd_stop(&near);
	sshd_stop(&far);
}

int main(void)
{
	Suite *suite = suite_create("jump");
	TCase *tc = tcase_create("sshd");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (access("/usr/sbin/sshd", X_OK))
		return 77;
	signal(SIGPIPE, SIG_IGN);
	if (getenv("SFTPFS_TEST_DEBUG"))
		log_set_level(LOG_LEVEL_DEBUG);
	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_jump_host_carries_lanes_in_both_directions);
	tcase_add_test(tc, jump_hosts_follow_each_other);
	tcase_add_test(tc, a_lost_jump_host_is_a_lost_connection_and_is_gone_through_again);
	tcase_add_test(tc, a_jump_host_that_cannot_be_passed_is_named);
	tcase_add_test(tc, jump_hosts_that_name_each_other_end);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
