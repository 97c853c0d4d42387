/* SPDX-License-Identifier: BSD-2-Clause */
/* The byte-pipe transport: children, sockets and given descriptors, without any network but loopback. */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"
#include "ssh/child.h"
#include "ssh/pipe_link.h"

#define SERVER "/usr/lib/openssh/sftp-server"

static char *server_argv[] = {(char *)SERVER, NULL};

/*
 * The child of this process, whichever thread started it; 0: none. Only the link has children, and
 * none may be left behind.
 */
static pid_t only_child(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int found = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d))) {
		char path[300], text[64] = "";
		int pid = 0, second;
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/children", e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(text, sizeof(text), f)) {
			ck_assert_int_lt(sscanf(text, "%d %d", &pid, &second), 2);
			ck_assert(found == 0 || pid == 0);
			found = pid ? pid : found;
		}
		fclose(f);
	}
	closedir(d);
	return (pid_t)found;
}

static void up_with_lane(struct peer *p, bool start)
{
	ck_assert_int_eq(link_connect(p->link), 0);
	peer_until(p, p->up);
	if (start && !p->started) {
		ck_assert_int_eq(link_start(p->link), 0);
		p->started = true;
	}
	memset(p->lanes, 0, sizeof(p->lanes));
	peer_open_sftp(p, p->up_count, LANE_META);
}

START_TEST(command_speaks_sftp_in_the_foreground_and_in_a_thread)
{
	struct peer p;
	struct link_facts facts;

	peer_init(&p, pipe_link_create_command(server_argv));
	link_facts(p.link, &facts);
	ck_assert_uint_eq(facts.lane_max, 1);
	ck_assert(!facts.probes);
	up_with_lane(&p, false);
	peer_echo(&p, 1);
	ck_assert_int_eq(link_start(p.link), 0);
	p.started = true;
	for (int i = 0; i < 100; i++)
		peer_echo(&p, 1);
	peer_finish(&p);
	ck_assert_int_eq(only_child(), 0);
}
END_TEST

START_TEST(a_second_lane_and_a_raw_lane_are_refused)
{
	struct peer p;
	struct lane_spec spec = {.lane_class = LANE_BULK, .packet_len_max = 1000};

	peer_init(&p, pipe_link_create_command(server_argv));
	up_with_lane(&p, false);
	ck_assert_int_eq(link_open_lane(p.link, 5, &spec), 0);
	peer_until(&p, p.lanes[5].refused);
	spec.command = "true";
	ck_assert_int_eq(link_open_lane(p.link, 6, &spec), 0);
	peer_until(&p, p.lanes[6].refused);
	peer_echo(&p, 1);
	peer_finish(&p);
}
END_TEST

START_TEST(a_killed_server_is_down_once_and_can_be_started_again)
{
	struct peer p;

	peer_init(&p, pipe_link_create_command(server_argv));
	for (unsigned i = 1; i <= 3; i++) {
		up_with_lane(&p, true);
		ck_assert_int_gt(only_child(), 0);
		kill(only_child(), SIGKILL);
		peer_until(&p, p.down);
		ck_assert_uint_eq(p.down_count, i);
		ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
		ck_assert_ptr_nonnull(strstr(p.error.text, "killed by signal 9"));
		ck_assert_int_eq(only_child(), 0);
	}
	peer_finish(&p);
}
END_TEST

START_TEST(a_reset_kills_and_reaps_before_down)
{
	struct peer p;
	pid_t pid;

	peer_init(&p, pipe_link_create_command(server_argv));
	up_with_lane(&p, true);
	pid = only_child();
	ck_assert_int_gt(pid, 0);
	kill(pid, SIGSTOP);
	link_reset(p.link);
	peer_until(&p, p.down);
	ck_assert_int_eq(kill(pid, 0), -1);
	ck_assert_int_eq(errno, ESRCH);
	link_reset(p.link); /* nothing to reset: no second down */
	up_with_lane(&p, true);
	peer_echo(&p, 2);
	ck_assert_uint_eq(p.down_count, 1);
	peer_finish(&p);
}
END_TEST

static void expect_down(char *const argv[], enum link_fail fail, const char *words)
{
	struct peer p;
	struct lane_spec spec = {.packet_len_max = 1000};

	peer_init(&p, pipe_link_create_command(argv));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up || p.down);
	if (p.up)
		link_open_lane(p.link, 1, &spec);
	peer_until(&p, p.down);
	ck_assert_int_eq(p.error.fail, fail);
	ck_assert_msg(strstr(p.error.text, words) != NULL, "%s", p.error.text);
	peer_finish(&p);
	ck_assert_int_eq(only_child(), 0);
}

static void expect_shell(const char *script, enum link_fail fail, const char *words)
{
	expect_down((char *[]){(char *)"sh", (char *)"-c", (char *)script, NULL}, fail, words);
}

START_TEST(what_the_child_said_is_in_the_error)
{
	expect_down((char *[]){(char *)"/nonexistent/ssh", NULL}, LINK_FAIL_NETWORK,
	            "No such file");
	expect_shell("echo 'ssh: no route to host' >&2; exit 255", LINK_FAIL_NETWORK,
	             "ended with status 255: ssh: no route to host");
	expect_shell("echo 'u@h: Permission denied (publickey).' >&2; exit 255", LINK_FAIL_AUTH,
	             "Permission denied");
	expect_shell("echo 'Host key verification failed.' >&2; exit 255", LINK_FAIL_HOSTKEY,
	             "Host key");
	expect_shell("printf '\\033[31mred\\n\\n' >&2; exit 1", LINK_FAIL_NETWORK, "[31mred");
	expect_shell("exit 0", LINK_FAIL_NETWORK, "ended with status 0");
}
END_TEST

START_TEST(text_of_a_login_script_is_not_lost_before_the_lane_is_open)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"echo Welcome; sleep 5", NULL};
	struct lane_spec spec = {.packet_len_max = 1000};
	struct peer p;

	peer_init(&p, pipe_link_create_command(argv));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	for (unsigned i = 0; i < 10; i++)
		peer_turn(&p, 20);
	ck_assert_int_eq(link_open_lane(p.link, 1, &spec), 0);
	peer_until(&p, p.down);
	ck_assert_int_eq(p.error.fail, LINK_FAIL_SFTP);
	ck_assert_msg(strstr(p.error.text, "login script") != NULL, "%s", p.error.text);
	peer_finish(&p);
}
END_TEST

/* A listener on loopback that hands its connections to sftp-server. */
static unsigned listener(int *fd)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(*fd, 5), 0);
	ck_assert_int_eq(getsockname(*fd, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin_port);
}

static pid_t serve_one(int listen_fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		int fd = accept(listen_fd, NULL, NULL);

		dup2(fd, 0);
		dup2(fd, 1);
		execv(server_argv[0], server_argv);
		_exit(127);
	}
	return pid;
}

START_TEST(tcp_connects_and_reconnects)
{
	struct peer p;
	int fd;
	unsigned port = listener(&fd);

	peer_init(&p, pipe_link_create_tcp("localhost", (uint16_t)port));
	for (unsigned i = 1; i <= 2; i++) {
		pid_t pid = serve_one(fd);

		up_with_lane(&p, true);
		peer_echo(&p, i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		peer_until(&p, p.down);
		ck_assert_int_eq(p.error.fail, LINK_FAIL_NETWORK);
	}
	close(fd);
	ck_assert_int_eq(link_connect(p.link), 0);
	p.down = false;
	peer_until(&p, p.down);
	ck_assert_ptr_nonnull(strstr(p.error.text, "Connection refused"));
	peer_finish(&p);
}
END_TEST

START_TEST(a_tcp_reset_is_a_rst)
{
	struct peer p;
	int fd, peer_fd;
	char byte;
	unsigned port = listener(&fd);

	peer_init(&p, pipe_link_create_tcp("127.0.0.1", (uint16_t)port));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	peer_fd = accept(fd, NULL, NULL);
	link_reset(p.link);
	peer_until(&p, p.down);
	ck_assert_int_eq(read(peer_fd, &byte, 1), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(peer_fd);
	close(fd);
	peer_finish(&p);
}
END_TEST

START_TEST(given_descriptors_work_once)
{
	struct child ch;
	struct peer p;

	ck_assert_int_eq(child_spawn(&ch, server_argv, 0), 0);
	peer_init(&p, pipe_link_create_fds(dup(ch.fd), dup(ch.fd)));
	up_with_lane(&p, true);
	peer_echo(&p, 1);
	child_end(&ch, false);
	peer_until(&p, p.down);
	ck_assert_int_eq(link_connect(p.link), 0);
	p.down = false;
	peer_until(&p, p.down);
	ck_assert_ptr_nonnull(strstr(p.error.text, "cannot be opened again"));
	peer_finish(&p);
}
END_TEST

START_TEST(plain_pipes_work_too)
{
	struct peer p;
	int to[2], from[2];
	pid_t pid;

	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	pid = fork();
	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		for (int i = 3; i < 20; i++)
			close(i);
		execv(server_argv[0], server_argv);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	peer_init(&p, pipe_link_create_fds(from[0], to[1]));
	up_with_lane(&p, false);
	peer_echo(&p, 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* writing to it must be an error, not the end of us */
	peer_send(&p, 1, "\0\0\0\5abcde", 9, NULL, 0);
	peer_until(&p, p.down);
	peer_finish(&p);
}
END_TEST

START_TEST(a_large_write_is_whole_and_its_block_is_released)
{
	struct peer p;
	struct data *d = data_create(NULL, 8 << 20);
	static char *argv[] = {(char *)"sh", (char *)"-c",
	                       /* an SFTP "server" that swallows 8 MiB and answers one packet */
	                       (char *)"head -c 8388612 | wc -c | grep -q 8388612 && "
	                               "printf '\\0\\0\\0\\1Z'; cat >/dev/null",
	                       NULL};
	struct lane_spec spec = {.packet_len_max = 100};

	peer_init(&p, pipe_link_create_command(argv));
	ck_assert_int_eq(link_connect(p.link), 0);
	peer_until(&p, p.up);
	ck_assert_int_eq(link_start(p.link), 0);
	p.started = true;
	ck_assert_int_eq(link_open_lane(p.link, 1, &spec), 0);
	peer_until(&p, p.lanes[1].open);
	memset(d->bytes, 'q', 8 << 20);
	peer_send(&p, 1, "head", 4, data_ref(d), 8 << 20);
	peer_until(&p, p.lanes[1].packet_count == 1);
	ck_assert_uint_eq(link_unsent_len(p.link), 0);
	ck_assert_uint_eq(atomic_load(&d->refs), 1);
	data_unref(d);
	peer_finish(&p);
}
END_TEST

START_TEST(nothing_is_left_when_destroyed_at_any_moment)
{
	struct peer p;
	struct lane_spec spec = {.packet_len_max = 100};

	for (int i = 0; i < 30; i++) {
		peer_init(&p, pipe_link_create_command(server_argv));
		ck_assert_int_eq(link_start(p.link), 0);
		p.started = true;
		ck_assert_int_eq(link_connect(p.link), 0);
		if (i % 3 > 0)
			peer_until(&p, p.up);
		if (i % 3 > 1) {
			link_open_lane(p.link, 1, &spec);
			peer_send(&p, 1, "\0\0\0\5\1\0\0\0\3", 9, NULL, 0);
		}
		peer_finish(&p);
		ck_assert_int_eq(only_child(), 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pipe_link");
	TCase *tc = tcase_create("pipe_link");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (access(SERVER, X_OK))
		return 77;
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, command_speaks_sftp_in_the_foreground_and_in_a_thread);
	tcase_add_test(tc, a_second_lane_and_a_raw_lane_are_refused);
	tcase_add_test(tc, a_killed_server_is_down_once_and_can_be_started_again);
	tcase_add_test(tc, a_reset_kills_and_reaps_before_down);
	tcase_add_test(tc, what_the_child_said_is_in_the_error);
	tcase_add_test(tc, text_of_a_login_script_is_not_lost_before_the_lane_is_open);
	tcase_add_test(tc, tcp_connects_and_reconnects);
	tcase_add_test(tc, a_tcp_reset_is_a_rst);
	tcase_add_test(tc, given_descriptors_work_once);
	tcase_add_test(tc, plain_pipes_work_too);
	tcase_add_test(tc, a_large_write_is_whole_and_its_block_is_released);
	tcase_add_test(tc, nothing_is_left_when_destroyed_at_any_moment);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
