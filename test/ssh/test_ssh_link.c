/* SPDX-License-Identifier: BSD-2-Clause */
/* The SSH transport against a private sshd. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"
#include "ssh/ssh_link.h"
#include "util/log.h"

#define FXP_OPEN   3
#define FXP_READ   5
#define FXP_WRITE  6
#define FXP_HANDLE 102
#define FXP_DATA   103
#define FXP_STATUS 101

#define BLOCK_LEN 261120u
#define FILE_LEN  (256ull << 20)
#define IN_FLIGHT 64

static struct sshd server;

static struct link *new_link(char *const more[])
{
	struct ssh_config cfg;

	sshd_config(&server, &cfg, more);
	return ssh_link_create(&cfg);
}

static void connect_peer(struct peer *p, char *const more[], bool start)
{
	peer_init(p, new_link(more));
	ck_assert_int_eq(link_connect(p->link), 0);
	peer_until(p, p->up);
	if (start) {
		ck_assert_int_eq(link_start(p->link), 0);
		p->started = true;
	}
}

static size_t put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
	return 4;
}

static size_t put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)(v >> 32));
	put_u32(p + 4, (uint32_t)v);
	return 8;
}

static size_t put_handle(uint8_t *p)
{
	/* OpenSSH's first handle on a lane */
	put_u32(p, 4);
	put_u32(p + 4, 0);
	return 8;
}

static void open_file(struct peer *p, uint32_t lane, const char *path, uint32_t flags)
{
	uint8_t m[512];
	size_t len = strlen(path), n = 4;
	uint64_t before = p->lanes[lane].packet_count;

	m[n++] = FXP_OPEN;
	n += put_u32(m + n, 1);
	n += put_u32(m + n, (uint32_t)len);
	memcpy(m + n, path, len);
	n += len;
	n += put_u32(m + n, flags);
	n += put_u32(m + n, 0);
	put_u32(m, (uint32_t)n - 4);
	peer_send(p, lane, m, n, NULL, 0);
	peer_until(p, p->lanes[lane].packet_count == before + 1);
	ck_assert_uint_eq(p->lanes[lane].last[0], FXP_HANDLE);
}

static void send_read(struct peer *p, uint32_t lane, uint32_t id, uint64_t off)
{
	uint8_t m[64];
	size_t n = 4;

	m[n++] = FXP_READ;
	n += put_u32(m + n, id);
	n += put_handle(m + n);
	n += put_u64(m + n, off);
	n += put_u32(m + n, BLOCK_LEN);
	put_u32(m, (uint32_t)n - 4);
	peer_send(p, lane, m, n, NULL, 0);
}

static void send_write(struct peer *p, uint32_t lane, uint32_t id, uint64_t off, struct data *d)
{
	uint8_t m[64];
	size_t n = 4;

	m[n++] = FXP_WRITE;
	n += put_u32(m + n, id);
	n += put_handle(m + n);
	n += put_u64(m + n, off);
	n += put_u32(m + n, BLOCK_LEN);
	put_u32(m, (uint32_t)n - 4 + BLOCK_LEN);
	peer_send(p, lane, m, n, data_ref(d), BLOCK_LEN);
}

static void report(const char *what, uint64_t len, int64_t since_ms)
{
	int64_t ms = peer_now_ms() - since_ms;

	fprintf(stderr, "%s: %llu MB in %lld ms, %.0f MB/s\n", what,
	        (unsigned long long)(len / 1000000), (long long)ms,
	        (double)len / 1000.0 / (double)(ms ? ms : 1));
}

START_TEST(login_and_lanes)
{
	struct peer p;
	struct link_facts facts;

	connect_peer(&p, NULL, false);
	link_facts(p.link, &facts);
	ck_assert_ptr_nonnull(strstr(facts.server_banner, "OpenSSH"));
	ck_assert_uint_ge(facts.lane_max, 2);
	ck_assert(facts.probes);
	peer_open_sftp(&p, 0, LANE_META);
	peer_open_sftp(&p, 1, LANE_BULK);
	peer_echo(&p, 0);
	ck_assert_int_eq(link_start(p.link), 0);
	p.started = true;
	for (uint32_t i = 2; i < facts.lane_max; i++)
		peer_open_sftp(&p, i, LANE_BULK);
	for (uint32_t i = 0; i < facts.lane_max; i++)
		peer_echo(&p, i);
	link_close_lane(p.link, 1);
	peer_open_sftp(&p, 9, LANE_COPY);
	peer_echo(&p, 9);
	peer_finish(&p);
}
END_TEST

START_TEST(too_many_lanes_are_refused_one_by_one)
{
	struct peer p;
	struct lane_spec spec = {.lane_class = LANE_META, .packet_len_max = 300000};

	connect_peer(&p, NULL, true);
	for (uint32_t i = 0; i < 12; i++)
		ck_assert_int_eq(link_open_lane(p.link, i, &spec), 0);
	peer_until(&p, p.lanes[10].refused && p.lanes[11].refused);
	ck_assert_int_eq(p.error.fail, LINK_FAIL_SFTP);
	peer_until(&p, p.lanes[9].open);
	ck_assert(p.up && !p.down);
	peer_finish(&p);
}
END_TEST

static bool drop_packet(struct peer *p, uint32_t lane, struct data *d, size_t len)
{
	data_unref(d);
	return true;
}

START_TEST(download_at_full_speed)
{
	char path[128];
	struct peer p;
	uint64_t sent_count = 0, total = FILE_LEN / BLOCK_LEN;
	int64_t began_ms;
	int fd;

	snprintf(path, sizeof(path), "%s/big", server.dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(posix_fallocate(fd, 0, FILE_LEN), 0);
	close(fd);
	connect_peer(&p, NULL, true);
	peer_open_sftp(&p, 0, LANE_BULK);
	open_file(&p, 0, path, 1);
	p.on_packet = drop_packet;
	p.lanes[0].packet_count = 0;
	p.lanes[0].packet_len = 0;
	began_ms = peer_now_ms();
	while (p.lanes[0].packet_count < total) {
		while (sent_count < total && sent_count - p.lanes[0].packet_count < IN_FLIGHT) {
			send_read(&p, 0, (uint32_t)sent_count, sent_count * BLOCK_LEN);
			sent_count++;
		}
		peer_turn(&p, 1000);
		ck_assert(!p.down);
	}
	report("download", p.lanes[0].packet_len, began_ms);
	ck_assert_uint_eq(p.lanes[0].packet_len, total * (BLOCK_LEN + 9));
	peer_finish(&p);
}
END_TEST

START_TEST(upload_at_full_speed)
{
	char path[128];
	struct peer p;
	struct data *d = data_create(NULL, BLOCK_LEN);
	uint64_t sent_count = 0, total = FILE_LEN / BLOCK_LEN;
	int64_t began_ms;
	struct stat st;

	memset(d->bytes, 'x', BLOCK_LEN);
	snprintf(path, sizeof(path), "%s/up", server.dir);
	connect_peer(&p, NULL, true);
	peer_open_sftp(&p, 0, LANE_BULK);
	open_file(&p, 0, path, 2 | 8 | 16);
	p.lanes[0].packet_count = 0;
	began_ms = peer_now_ms();
	while (p.lanes[0].packet_count < total) {
		while (sent_count < total && sent_count - p.lanes[0].packet_count < IN_FLIGHT) {
			send_write(&p, 0, (uint32_t)sent_count, sent_count * BLOCK_LEN, d);
			sent_count++;
		}
		peer_turn(&p, 1000);
		ck_assert(!p.down);
	}
	report("upload", total * BLOCK_LEN, began_ms);
	ck_assert_uint_eq(link_unsent_len(p.link), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, total * BLOCK_LEN);
	data_unref(d);
	peer_finish(&p);
}
END_TEST

START_TEST(a_killed_server_is_down_once_and_comes_back_without_questions)
{
	struct peer p;

	connect_peer(&p, NULL, true);
	for (int round = 0; round < 3; round++) {
		peer_open_sftp(&p, (uint32_t)round, LANE_META);
		ck_assert_int_gt(sshd_kill_sessions(&server, SIGKILL), 0);
		peer_until(&p, p.down);
		ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
		ck_assert_int_eq(link_open_lane(p.link, 9, &(struct lane_spec){0}), -ENOTCONN);
		ck_assert_int_eq(link_connect(p.link), 0);
		ck_assert_int_eq(link_connect(p.link), -EALREADY);
		peer_until(&p, p.up);
	}
	ck_assert_uint_eq(p.down_count, 3);
	peer_finish(&p);
}
END_TEST

START_TEST(a_reset_is_down_and_drops_what_is_unsent)
{
	struct peer p;
	struct data *d = data_create(NULL, BLOCK_LEN);
	char path[128];

	memset(d->bytes, 'x', BLOCK_LEN);
	snprintf(path, sizeof(path), "%s/reset", server.dir);
	connect_peer(&p, NULL, true);
	peer_open_sftp(&p, 0, LANE_BULK);
	open_file(&p, 0, path, 2 | 8 | 16);
	for (uint32_t i = 0; i < 400; i++)
		send_write(&p, 0, i, i * (uint64_t)BLOCK_LEN, d);
	link_reset(p.link);
	peer_until(&p, p.down);
	ck_assert_uint_eq(link_unsent_len(p.link), 0);
	ck_assert_uint_eq(atomic_load(&d->refs), 1);
	data_unref(d);
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	peer_finish(&p);
}
END_TEST

START_TEST(raw_lanes_carry_bytes_errors_and_the_exit_status)
{
	struct peer p;
	struct lane_spec spec = {.lane_class = LANE_META, .command = "cat; echo words >&2; exit 7"};
	struct data *d = data_create(NULL, 1 << 20);

	memset(d->bytes, 'y', 1 << 20);
	connect_peer(&p, NULL, true);
	ck_assert_int_eq(link_open_lane(p.link, 3, &spec), 0);
	peer_until(&p, p.lanes[3].open);
	peer_send(&p, 3, "head", 4, data_ref(d), 1 << 20);
	peer_until(&p, p.lanes[3].packet_len == (1 << 20) + 4);
	ck_assert_uint_gt(p.lanes[3].drained_count, 0);
	/* It sees the end of its input behind the last byte, and still speaks. */
	peer_send(&p, 3, "tail", 4, NULL, 0);
	link_end_lane(p.link, 3);
	peer_until(&p, p.lanes[3].closed);
	ck_assert_int_eq(p.lanes[3].exit_status, 7);
	ck_assert_uint_eq(p.lanes[3].packet_len, (1 << 20) + 8);
	ck_assert_uint_eq(p.lanes[3].stderr_len, 6);
	/* Several at once, each with its own status. */
	for (uint32_t i = 5; i < 9; i++) {
		char command[64];

		snprintf(command, sizeof(command), "cat >/dev/null; exit %u", (unsigned)i);
		spec.command = command;
		ck_assert_int_eq(link_open_lane(p.link, i, &spec), 0);
	}
	for (uint32_t i = 5; i < 9; i++) {
		peer_until(&p, p.lanes[i].open);
		peer_send(&p, i, "x", 1, data_ref(d), 1 << 20);
		link_end_lane(p.link, i);
	}
	for (uint32_t i = 5; i < 9; i++) {
		peer_until(&p, p.lanes[i].closed);
		ck_assert_int_eq(p.lanes[i].exit_status, (int)i);
	}
	data_unref(d);
	spec.command = "echo out; echo words >&2; exit 7";
	ck_assert_int_eq(link_open_lane(p.link, 4, &spec), 0);
	peer_until(&p, p.lanes[4].closed);
	ck_assert_int_eq(p.lanes[4].exit_status, 7);
	ck_assert_uint_eq(p.lanes[4].packet_len, 4);
	ck_assert_uint_eq(p.lanes[4].stderr_len, 6);
	peer_finish(&p);
}
END_TEST

START_TEST(a_stopped_server_is_lost_after_the_probes)
{
	char *more[] = {(char *)"ServerAliveInterval=1", (char *)"ServerAliveCountMax=2", NULL};
	struct peer p;
	int64_t began_ms;

	connect_peer(&p, more, true);
	peer_open_sftp(&p, 0, LANE_META);
	/* An idle connection is kept by its probes. */
	for (int64_t until = peer_now_ms() + 4500; peer_now_ms() < until;)
		peer_turn(&p, 100);
	ck_assert(!p.down);
	peer_echo(&p, 0);
	ck_assert_int_gt(sshd_kill_sessions(&server, SIGSTOP), 0);
	began_ms = peer_now_ms();
	peer_until(&p, p.down);
	ck_assert_int_gt(peer_now_ms() - began_ms, 2000);
	ck_assert_int_lt(peer_now_ms() - began_ms, 6000);
	ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
	ck_assert_ptr_nonnull(strstr(p.error.text, "has not answered"));
	sshd_kill_sessions(&server, SIGCONT);
	sshd_kill_sessions(&server, SIGKILL);
	peer_finish(&p);
}
END_TEST

START_TEST(a_probe_on_demand_finds_a_dead_server)
{
	char *more[] = {(char *)"ServerAliveInterval=2", NULL};
	struct peer p;

	connect_peer(&p, more, true);
	link_probe(p.link);
	for (int64_t until = peer_now_ms() + 2500; peer_now_ms() < until;)
		peer_turn(&p, 100);
	ck_assert(!p.down);
	ck_assert_int_gt(sshd_kill_sessions(&server, SIGSTOP), 0);
	link_probe(p.link);
	peer_until(&p, p.down);
	sshd_kill_sessions(&server, SIGCONT);
	sshd_kill_sessions(&server, SIGKILL);
	peer_finish(&p);
}
END_TEST

static void expect_failure(char *const more[], enum link_fail fail, const char *words)
{
	struct peer p;

	peer_init(&p, new_link(more));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.down);
	fprintf(stderr, "%s\n", p.error.text);
	ck_assert_int_eq(p.error.fail, fail);
	ck_assert_msg(strstr(p.error.text, words) != NULL, "%s", p.error.text);
	peer_finish(&p);
}

START_TEST(failures_name_cause_and_code)
{
	char known[128], line[256];

	expect_failure((char *[]){(char *)"User=nobody", (char *)"PasswordAuthentication=no", NULL},
	               LINK_FAIL_AUTH, "publickey");
	expect_failure((char *[]){(char *)"StrictHostKeyChecking=yes",
	                          (char *)"UserKnownHostsFile=/nonexistent", NULL},
	               LINK_FAIL_HOSTKEY, "SHA256:");
	expect_failure((char *[]){(char *)"StrictHostKeyChecking=ask",
	                          (char *)"UserKnownHostsFile=/nonexistent", NULL},
	               LINK_FAIL_HOSTKEY, "no terminal");
	expect_failure((char *[]){(char *)"HostName=nosuch.invalid", NULL}, LINK_FAIL_NETWORK,
	               "cannot find host 'nosuch.invalid'");
	expect_failure((char *[]){(char *)"ProxyCommand=echo no way >&2", NULL}, LINK_FAIL_PROXY,
	               "no way");
	expect_failure((char *[]){(char *)"Ciphers=3des-cbc", NULL}, LINK_FAIL_NETWORK,
	               "algorithm in common");
	/* another key of the same type */
	snprintf(known, sizeof(known), "UserKnownHostsFile=%s/changed", server.dir);
	snprintf(line, sizeof(line),
	         "(printf '[127.0.0.1]:%u '; cut -d' ' -f1,2 %s/key.pub) > %s/changed", server.port,
	         server.dir, server.dir);
	ck_assert_int_eq(system(line), 0);
	expect_failure((char *[]){known, (char *)"StrictHostKeyChecking=no", NULL},
	               LINK_FAIL_HOSTKEY, "CHANGED");
}
END_TEST

START_TEST(a_proxy_command_carries_the_connection)
{
	char proxy[512];
	struct peer p;

	snprintf(proxy, sizeof(proxy),
	         "ProxyCommand=ssh -F none -i %s/key -o IdentityAgent=none -o LogLevel=ERROR "
	         "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p %u -W %%h:%%p "
	         "127.0.0.1",
	         server.dir, server.port);
	connect_peer(&p, (char *[]){proxy, NULL}, true);
	peer_open_sftp(&p, 0, LANE_META);
	peer_echo(&p, 0);
	ck_assert_int_gt(sshd_kill_sessions(&server, SIGKILL), 0);
	peer_until(&p, p.down);
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	peer_finish(&p);
}
END_TEST

START_TEST(rekeying_does_not_disturb_the_traffic)
{
	char *more[] = {(char *)"RekeyLimit=1M", NULL};
	char path[128];
	struct peer p;
	struct data *d = data_create(NULL, BLOCK_LEN);
	uint64_t sent_count = 0, total = 200;

	memset(d->bytes, 'x', BLOCK_LEN);
	snprintf(path, sizeof(path), "%s/rekey", server.dir);
	connect_peer(&p, more, true);
	peer_open_sftp(&p, 0, LANE_BULK);
	open_file(&p, 0, path, 1 | 2 | 8 | 16);
	p.lanes[0].packet_count = 0;
	while (p.lanes[0].packet_count < 2 * total) {
		while (sent_count < total && 2 * sent_count - p.lanes[0].packet_count < IN_FLIGHT) {
			send_write(&p, 0, (uint32_t)sent_count, sent_count * BLOCK_LEN, d);
			send_read(&p, 0, (uint32_t)sent_count, sent_count * BLOCK_LEN);
			sent_count++;
		}
		peer_turn(&p, 1000);
		ck_assert_msg(!p.down, "%s", p.error.text);
	}
	data_unref(d);
	peer_finish(&p);
}
END_TEST

START_TEST(destroying_a_busy_link_frees_everything)
{
	struct peer p;
	struct data *d = data_create(NULL, BLOCK_LEN);

	connect_peer(&p, NULL, true);
	peer_open_sftp(&p, 0, LANE_BULK);
	open_file(&p, 0, "/dev/null", 2);
	for (uint32_t i = 0; i < 300; i++)
		send_write(&p, 0, i, 0, d);
	peer_finish(&p);
	ck_assert_uint_eq(atomic_load(&d->refs), 1);
	data_unref(d);
	/* and one that never connected, and one that is connecting */
	peer_init(&p, new_link(NULL));
	peer_finish(&p);
	peer_init(&p, new_link((char *[]){(char *)"ProxyCommand=sleep 60", NULL}));
	ck_assert_int_eq(link_start(p.link), 0);
	p.started = true;
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_turn(&p, 50);
	peer_finish(&p);
}
END_TEST

static void set_up(void)
{
	ck_assert(sshd_start(&server, ""));
}

static void tear_down(void)
{
	sshd_stop(&server);
}

int main(void)
{
	Suite *suite = suite_create("ssh_link");
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
	tcase_add_test(tc, login_and_lanes);
	tcase_add_test(tc, too_many_lanes_are_refused_one_by_one);
	tcase_add_test(tc, download_at_full_speed);
	tcase_add_test(tc, upload_at_full_speed);
	tcase_add_test(tc, a_killed_server_is_down_once_and_comes_back_without_questions);
	tcase_add_test(tc, a_reset_is_down_and_drops_what_is_unsent);
	tcase_add_test(tc, raw_lanes_carry_bytes_errors_and_the_exit_status);
	tcase_add_test(tc, a_stopped_server_is_lost_after_the_probes);
	tcase_add_test(tc, a_probe_on_demand_finds_a_dead_server);
	tcase_add_test(tc, failures_name_cause_and_code);
	tcase_add_test(tc, a_proxy_command_carries_the_connection);
	tcase_add_test(tc, rekeying_does_not_disturb_the_traffic);
	tcase_add_test(tc, destroying_a_busy_link_frees_everything);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
