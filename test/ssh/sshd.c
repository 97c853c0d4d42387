/* SPDX-License-Identifier: BSD-2-Clause */
/* A private sshd on loopback: own keys, own configuration, a port that the kernel picked. */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"

#define SSHD "/usr/sbin/sshd"

extern char **environ;

static void run(const char *command, const char *path)
{
	char line[1024];

	snprintf(line, sizeof(line), "%s %s", command, path);
	ck_assert_int_eq(system(line), 0);
}

static void make_key(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	run("ssh-keygen -q -t ed25519 -N '' -f", path);
}

static unsigned free_port(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static bool answers(unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ok = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	close(fd);
	return ok;
}

static void write_config(const struct sshd *s, const char *extra)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/sshd_config", s->dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fprintf(f,
	        "Port %u\nListenAddress 127.0.0.1\nHostKey %s/host_ed25519\nPidFile none\n"
	        "AuthorizedKeysFile %s/key.pub\nStrictModes no\nUsePAM no\n"
	        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
	        "MaxStartups 100\nSubsystem sftp internal-sftp\n%s\n",
	        s->port, s->dir, s->dir, extra ? extra : "");
	fclose(f);
}

bool sshd_start(struct sshd *s, const char *extra)
{
	char config[128], log[128];
	char *argv[] = {(char *)SSHD, (char *)"-D", (char *)"-f", config, (char *)"-E", log, NULL};
	int64_t until_ms;

	if (access(SSHD, X_OK))
		return false;
	if (geteuid() == 0)
		mkdir("/run/sshd", 0755);
	strcpy(s->dir, "/tmp/sftpfs-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s->dir));
	make_key(s->dir, "host_ed25519");
	make_key(s->dir, "key");
	s->port = free_port();
	write_config(s, extra);
	snprintf(config, sizeof(config), "%s/sshd_config", s->dir);
	snprintf(log, sizeof(log), "%s/sshd.log", s->dir);
	ck_assert_int_eq(posix_spawn(&s->pid, argv[0], NULL, NULL, argv, environ), 0);
	until_ms = peer_now_ms() + PEER_DEADLINE_MS;
	while (!answers(s->port)) {
		ck_assert_int_lt(peer_now_ms(), until_ms);
		ck_assert_int_eq(waitpid(s->pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	return true;
}

static pid_t parent_of(pid_t pid)
{
	char path[64], line[512];
	int parent = 0;
	char *after;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f) && (after = strrchr(line, ')')))
		sscanf(after, ") %*c %d", &parent);
	fclose(f);
	return parent;
}

/* Children first listed, then their children: sshd serves with two processes each. */
static int kill_children(pid_t parent, int sig)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int count = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && parent_of(pid) == parent) {
			count += kill_children(pid, sig);
			count += kill(pid, sig) == 0;
		}
	}
	closedir(d);
	return count;
}

int sshd_kill_sessions(struct sshd *s, int sig)
{
	return kill_children(s->pid, sig);
}

int sshd_connection_count(const struct sshd *s)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int count = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)))
		count += atoi(e->d_name) > 0 && parent_of((pid_t)atoi(e->d_name)) == s->pid;
	closedir(d);
	return count;
}

int sshd_kill_one(const struct sshd *s, bool youngest)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t chosen = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && parent_of(pid) == s->pid &&
		    (!chosen || (youngest ? pid > chosen : pid < chosen)))
			chosen = pid;
	}
	closedir(d);
	return chosen ? kill_children(chosen, SIGKILL) + (kill(chosen, SIGKILL) == 0) : 0;
}

void sshd_stop(struct sshd *s)
{
	if (s->pid > 0) {
		kill_children(s->pid, SIGCONT);
		kill_children(s->pid, SIGKILL);
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	if (!getenv("KEEP_SSHD"))
		run("rm -rf", s->dir);
	s->pid = 0;
}

void sshd_config(const struct sshd *s, struct ssh_config *cfg, char *const more[])
{
	char identity[128], known[128];
	char *keywords[16] = {identity, known, (char *)"StrictHostKeyChecking=accept-new",
	                      (char *)"IdentityAgent=none", (char *)"GlobalKnownHostsFile=none"};
	struct ssh_request req = {
	    .host = "127.0.0.1",
	    .port = s->port,
	    .config_file = "none",
	    .keywords = keywords,
	    .no_prompt = true,
	};
	struct link_error err;
	size_t n = 5;

	snprintf(identity, sizeof(identity), "IdentityFile=%s/key", s->dir);
	snprintf(known, sizeof(known), "UserKnownHostsFile=%s/known_hosts", s->dir);
	/* The first value wins: what the test wants goes before. */
	for (size_t i = 0; more && more[i]; i++) {
		ck_assert_uint_lt(n, 15);
		memmove(keywords + i + 1, keywords + i, (n - i) * sizeof(*keywords));
		keywords[i] = more[i];
		n++;
	}
	ck_assert_msg(ssh_config_resolve(&req, cfg, &err) == 0, "%s", err.text);
}
