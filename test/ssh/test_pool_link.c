/* SPDX-License-Identifier: BSD-2-Clause */
/* Several connections, and several ssh processes over one, as one link. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"
#include "ssh/mux_link.h"
#include "ssh/pool_link.h"
#include "ssh/ssh_link.h"
#include "util/log.h"

static struct sshd server, small; /* small: two sessions a connection */

static struct link *more(void *arg, struct link *first)
{
	return ssh_link_create_more(first);
}

/* To a port where nobody listens. */
static struct link *more_nowhere(void *arg, struct link *first)
{
	struct ssh_config cfg;

	sshd_config(&server, &cfg, NULL);
	cfg.port = 1;
	return ssh_link_create(&cfg);
}

static struct link *more_nothing(void *arg, struct link *first)
{
	return NULL;
}

static void connect_pool(struct peer *p, unsigned link_max,
                         struct link *(*fn)(void *arg, struct link *first))
{
	struct pool_source source = {.more = fn};
	struct ssh_config cfg;

	sshd_config(&server, &cfg, NULL);
	peer_init(p, pool_link_create(ssh_link_create(&cfg), link_max, &source));
	ck_assert_int_eq(link_connect(p->link), 0);
	peer_until(p, p->up || p->down);
	ck_assert_msg(p->up, "%s", p->error.text);
	ck_assert_int_eq(link_start(p->link), 0);
	p->started = true;
}

static void work_on(struct peer *p, uint32_t first, uint32_t bulk_count)
{
	peer_open_sftp(p, first, LANE_META);
	for (uint32_t i = 1; i <= bulk_count; i++)
		peer_open_sftp(p, first + i, LANE_BULK);
	for (uint32_t i = 0; i <= bulk_count; i++)
		peer_echo(p, first + i);
}

START_TEST(data_is_spread_and_the_first_connection_comes_first)
{
	struct link_facts facts;
	struct peer p;

	connect_pool(&p, 3, more);
	link_facts(p.link, &facts);
	ck_assert_uint_eq(facts.lane_max, 24);
	work_on(&p, 0, 2);
	/* sshd_start() has looked whether it is there, which may not be over */
	for (int64_t until = peer_now_ms() + PEER_DEADLINE_MS; sshd_connection_count(&server) > 1;)
		ck_assert_int_lt(peer_now_ms(), until);
	peer_open_sftp(&p, 3, LANE_BULK);
	ck_assert_int_eq(sshd_connection_count(&server), 2);
	peer_open_sftp(&p, 4, LANE_BULK);
	ck_assert_int_eq(sshd_connection_count(&server), 3);
	peer_open_sftp(&p, 5, LANE_BULK);
	peer_open_sftp(&p, 6, LANE_BULK);
	ck_assert_int_eq(sshd_connection_count(&server), 3);
	for (uint32_t i = 0; i <= 6; i++)
		peer_echo(&p, i);
	/* one lane of several ends, the others do not care */
	link_close_lane(p.link, 4);
	peer_echo(&p, 6);
	peer_finish(&p);
	for (int64_t until = peer_now_ms() + PEER_DEADLINE_MS; sshd_connection_count(&server);)
		ck_assert_int_lt(peer_now_ms(), until);
}
END_TEST

START_TEST(a_lost_connection_of_several_is_the_loss_of_all)
{
	struct peer p;

	connect_pool(&p, 2, more);
	for (uint32_t round = 0; round < 3; round++) {
		work_on(&p, round * 5, 4);
		ck_assert_int_eq(sshd_connection_count(&server), 2);
		/* the younger one: pids grow */
		ck_assert_int_gt(sshd_kill_one(&server, round != 1), 0);
		peer_until(&p, p.down);
		ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
		/* `down` means fenced: nobody is connected any more */
		for (int64_t until = peer_now_ms() + PEER_DEADLINE_MS;
		     sshd_connection_count(&server);)
			ck_assert_int_lt(peer_now_ms(), until);
		ck_assert_int_eq(link_open_lane(p.link, 99, &(struct lane_spec){0}), -ENOTCONN);
		ck_assert_int_eq(link_connect(p.link), 0);
		ck_assert_int_eq(link_connect(p.link), -EALREADY);
		peer_until(&p, p.up);
	}
	ck_assert_uint_eq(p.down_count, 3);
	/* and a reset */
	peer_open_sftp(&p, 15, LANE_META);
	link_reset(p.link);
	peer_until(&p, p.down);
	peer_finish(&p);
}
END_TEST

START_TEST(without_further_connections_the_first_one_does_all)
{
	struct link *(*const sources[])(void *, struct link *) = {more_nowhere, more_nothing};
	struct lane_spec spec = {.lane_class = LANE_BULK, .packet_len_max = 300000};
	struct peer p;

	for (size_t i = 0; i < 2; i++) {
		connect_pool(&p, 3, sources[i]);
		work_on(&p, 0, 7);
		ck_assert_int_eq(sshd_connection_count(&server), 1);
		/* the eighth would be one too many */
		ck_assert_int_eq(link_open_lane(p.link, 9, &spec), -EMFILE);
		ck_assert_uint_eq(p.down_count, 0);
		peer_finish(&p);
	}
}
END_TEST

/* --- ssh as a master ----------------------------------------------------------------------- */

static void connect_mux(struct peer *p, const struct sshd *s, const char *program,
                        const char *option)
{
	char port[16], identity[128], known[128];
	/* clang-format off */
	const char *argv[] = {program, option, "-F", "none", "-p", port, "-i", identity, "-o", known,
			      "-oIdentityAgent=none", "-oStrictHostKeyChecking=accept-new",
			      "-oBatchMode=yes", "-oLogLevel=ERROR", "-s", "--", "127.0.0.1", "sftp",
			      NULL};
	/* clang-format on */

	snprintf(port, sizeof(port), "%u", s->port);
	snprintf(identity, sizeof(identity), "%s/key", s->dir);
	snprintf(known, sizeof(known), "UserKnownHostsFile=%s/known_hosts", s->dir);
	peer_init(p, mux_link_create((char *const *)argv, 1));
	ck_assert_int_eq(link_connect(p->link), 0);
	peer_until(p, p->up);
	ck_assert_int_eq(link_start(p->link), 0);
	p->started = true;
}

/* Directories of ours in /tmp. */
static int socket_dir_count(void)
{
	DIR *d = opendir("/tmp");
	struct dirent *e;
	int count = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d))) {
		char path[300];

		snprintf(path, sizeof(path), "/tmp/%s/m", e->d_name);
		count += strncmp(e->d_name, "sftpfs-", 7) == 0 && access(path, F_OK) == 0;
	}
	closedir(d);
	return count;
}

START_TEST(ssh_processes_share_a_master)
{
	int before = socket_dir_count();
	struct peer p;

	connect_mux(&p, &server, "ssh", "-x");
	for (uint32_t round = 0; round < 2; round++) {
		work_on(&p, round * 7, 5);
		ck_assert_int_eq(sshd_connection_count(&server), 1);
		ck_assert_int_eq(socket_dir_count(), before + 1);
		/* a closed lane's process ends, and its place can be used again */
		link_close_lane(p.link, round * 7 + 5);
		peer_open_sftp(&p, round * 7 + 6, LANE_BULK);
		ck_assert_int_gt(sshd_kill_sessions(&server, SIGKILL), 0);
		peer_until(&p, p.down);
		ck_assert_int_eq(link_connect(p.link), 0);
		peer_until(&p, p.up);
	}
	peer_finish(&p);
	ck_assert_int_eq(socket_dir_count(), before);
}
END_TEST

START_TEST(a_process_that_gets_no_session_is_a_closed_lane)
{
	struct lane_spec spec = {.lane_class = LANE_BULK, .packet_len_max = 300000};
	struct peer p;

	connect_mux(&p, &small, "ssh", "-x");
	work_on(&p, 0, 1);
	ck_assert_int_eq(link_open_lane(p.link, 2, &spec), 0);
	peer_until(&p, p.lanes[2].closed || p.lanes[2].refused);
	peer_echo(&p, 0);
	peer_echo(&p, 1);
	ck_assert_uint_eq(p.down_count, 0);
	peer_finish(&p);
}
END_TEST

START_TEST(another_program_than_ssh_has_one_lane)
{
	struct link_facts facts;
	struct peer p;

	connect_mux(&p, &server, "/usr/bin/env", "ssh");
	link_facts(p.link, &facts);
	ck_assert_uint_eq(facts.lane_max, 1);
	peer_open_sftp(&p, 0, LANE_META);
	peer_finish(&p);
}
END_TEST

START_TEST(a_master_of_the_user_is_used)
{
	char option[128], command[512];
	struct link_facts facts;
	struct peer p;

	snprintf(option, sizeof(option), "-oControlPath=%s/theirs", server.dir);
	snprintf(command, sizeof(command),
	         "ssh -F none -p %u -i %s/key -o IdentityAgent=none -o StrictHostKeyChecking=no "
	         "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlMaster=yes "
	         "-f -N %s 127.0.0.1 </dev/null >/dev/null 2>&1",
	         server.port, server.dir, option);
	ck_assert_int_eq(system(command), 0);
	connect_mux(&p, &server, "ssh", option);
	link_facts(p.link, &facts);
	ck_assert_uint_gt(facts.lane_max, 1);
	work_on(&p, 0, 3);
	ck_assert_int_eq(sshd_connection_count(&server), 1);
	peer_finish(&p);
	snprintf(command, sizeof(command), "ssh -F none -O exit %s 127.0.0.1 2>/dev/null", option);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

static void set_up(void)
{
	ck_assert(sshd_start(&server, NULL));
	ck_assert(sshd_start(&small, "MaxSessions 2"));
}

static void tear_down(void)
{
	sshd_stop(&server);
	sshd_stop(&small);
}

int main(void)
{
	Suite *suite = suite_create("pool_link");
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
	tcase_add_test(tc, data_is_spread_and_the_first_connection_comes_first);
	tcase_add_test(tc, a_lost_connection_of_several_is_the_loss_of_all);
	tcase_add_test(tc, without_further_connections_the_first_one_does_all);
	tcase_add_test(tc, ssh_processes_share_a_master);
	tcase_add_test(tc, a_process_that_gets_no_session_is_a_closed_lane);
	tcase_add_test(tc, another_program_than_ssh_has_one_lane);
	tcase_add_test(tc, a_master_of_the_user_is_used);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
