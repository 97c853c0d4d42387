/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Questions to the user. See include/ssh/prompt.h.
 * Room: ssh. Thread: the back, in the foreground. The terminal is put back whatever happens: an
 * answer, a signal, or the server hanging up.
 */
#include "ssh/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "ssh/child.h"
#include "ssh/conn.h"

#define ANSWER_MAX_LEN 4096

/* What ssh takes where SSH_ASKPASS is not set. */
#define DEFAULT_ASKPASS "/usr/bin/ssh-askpass"

/* How often a hang-up that poll() does not report is looked for. */
#define SLICE_MS 500

static const int caught_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
#define CAUGHT_COUNT (sizeof(caught_signals) / sizeof(caught_signals[0]))

/* Set by the handler; only the foreground asks, so there is one question at a time. */
static volatile sig_atomic_t caught_signal;

static void on_signal(int sig)
{
	caught_signal = sig;
}

static const char *askpass_program(const struct prompt *p)
{
	const char *program = getenv("SSH_ASKPASS");

	if (!program && access(DEFAULT_ASKPASS, X_OK) == 0)
		program = DEFAULT_ASKPASS;
	return p->askpass_ok && program && program[0] ? program : NULL;
}

static bool have_display(void)
{
	const char *x = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");

	return (x && x[0]) || (wayland && wayland[0]);
}

static bool have_terminal(const struct prompt *p)
{
	int fd;

	if (!p->terminal_ok)
		return false;
	fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Return: the program to ask, or NULL for the terminal (or nobody). */
static const char *choose(const struct prompt *p, bool *terminal)
{
	const char *require = getenv("SSH_ASKPASS_REQUIRE");
	const char *program = askpass_program(p);

	*terminal = have_terminal(p);
	if (require && strcasecmp(require, "never") == 0)
		return NULL;
	if (require && strcasecmp(require, "force") == 0) {
		*terminal = false;
		return program;
	}
	if (require && strcasecmp(require, "prefer") == 0 && program && have_display())
		return program;
	if (*terminal)
		return NULL;
	/* As ssh: without being told to, only where it can show a window. */
	return have_display() ? program : NULL;
}

bool prompt_possible(const struct prompt *p)
{
	bool terminal;

	return choose(p, &terminal) || terminal;
}

bool prompt_on_terminal(const struct prompt *p)
{
	bool terminal;

	return !choose(p, &terminal) && terminal;
}

/* Waits for `fd`. Return: 1 when readable, or a negative errno. */
static int wait_answer(const struct prompt *p, int fd)
{
	for (;;) {
		struct pollfd fds[2] = {
		    {.fd = fd, .events = POLLIN},
		    {.fd = p->watch_fd, .events = POLLRDHUP},
		};
		int n = poll(fds, 2, SLICE_MS);

		if (caught_signal)
			return -EINTR;
		if (n > 0 && fds[0].revents)
			return 1;
		if (n > 0 && fds[1].revents)
			return -EPIPE;
		if (p->deadline_ms && conn_now_ms() >= p->deadline_ms)
			return -ETIMEDOUT;
	}
}

/* Reads one line, a byte at a time: what follows belongs to somebody else. */
static int read_line(const struct prompt *p, int fd, struct secret *s)
{
	char byte;
	ssize_t n;
	int rc;

	for (;;) {
		rc = p ? wait_answer(p, fd) : 1;
		if (rc < 0)
			return rc;
		n = read(fd, &byte, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return s->len > 0 ? 0 : -ECANCELED;
		if (byte == '\n' || byte == '\r')
			return 0;
		/* Over-long answers are cut; the rest is read and dropped. */
		if (s->len < s->size)
			s->bytes[s->len++] = byte;
	}
}

static void write_text(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void catch_signals(struct sigaction *old)
{
	struct sigaction sa = {.sa_handler = on_signal};

	caught_signal = 0;
	for (size_t i = 0; i < CAUGHT_COUNT; i++)
		sigaction(caught_signals[i], &sa, &old[i]);
}

static void release_signals(const struct sigaction *old)
{
	for (size_t i = 0; i < CAUGHT_COUNT; i++)
		sigaction(caught_signals[i], &old[i], NULL);
	if (caught_signal)
		raise(caught_signal);
}

static int ask_terminal_once(const struct prompt *p, enum prompt_kind kind, const char *text,
                             struct secret *s)
{
	struct sigaction old_actions[CAUGHT_COUNT];
	struct termios old_term, term;
	bool hidden = false;
	int rc;
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -ENOTTY;
	catch_signals(old_actions);
	if (kind == PROMPT_SECRET && tcgetattr(fd, &old_term) == 0) {
		term = old_term;
		term.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
		hidden = tcsetattr(fd, TCSAFLUSH, &term) == 0;
	}
	write_text(fd, text);
	rc = read_line(p, fd, s);
	if (hidden || rc)
		write_text(fd, "\n");
	if (hidden)
		tcsetattr(fd, TCSAFLUSH, &old_term);
	close(fd);
	release_signals(old_actions);
	return rc;
}

static int ask_terminal(const struct prompt *p, enum prompt_kind kind, const char *text,
                        struct secret *s)
{
	int rc;

	/* A signal that did not end us (stopped and continued): ask again. */
	do {
		explicit_bzero(s->bytes, s->size);
		s->len = 0;
		rc = ask_terminal_once(p, kind, text, s);
	} while (rc == -EINTR && caught_signal == SIGTSTP);
	return rc == -EINTR ? -ECANCELED : rc;
}

static int ask_program(const struct prompt *p, enum prompt_kind kind, const char *program,
                       const char *text, struct secret *s)
{
	struct child ch;
	char *argv[] = {(char *)program, (char *)text, NULL};
	int rc, status;

	if (kind == PROMPT_CONFIRM)
		setenv("SSH_ASKPASS_PROMPT", "confirm", 1);
	rc = child_spawn(&ch, argv, CHILD_GROUP);
	if (kind == PROMPT_CONFIRM)
		unsetenv("SSH_ASKPASS_PROMPT");
	if (rc)
		return -ENOTTY;
	caught_signal = 0;
	rc = read_line(p, ch.fd, s);
	status = child_wait(&ch, 1000);
	child_end(&ch, true);
	/* "confirm" answers by exit status; words are welcome too. */
	if (kind == PROMPT_CONFIRM && rc == -ECANCELED && status == 0) {
		memcpy(s->bytes, "yes", 3);
		s->len = 3;
		return 0;
	}
	if (rc == 0 && status > 0)
		rc = -ECANCELED;
	return rc;
}

int prompt_ask(const struct prompt *p, enum prompt_kind kind, const char *text,
               struct secret **answer)
{
	bool terminal;
	const char *program = choose(p, &terminal);
	struct secret *s;
	int rc;

	*answer = NULL;
	if (!program && !terminal)
		return -ENOTTY;
	s = secret_create(ANSWER_MAX_LEN);
	if (!s)
		return -ENOMEM;
	rc = program ? ask_program(p, kind, program, text, s) : ask_terminal(p, kind, text, s);
	if (rc) {
		secret_destroy(s);
		return rc;
	}
	s->bytes[s->len] = '\0';
	*answer = s;
	return 0;
}

void prompt_show(const struct prompt *p, const char *text)
{
	char line[1024];
	size_t len = 0;
	int fd = prompt_on_terminal(p) ? open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY) : -1;

	for (; *text && len < sizeof(line) - 2; text++) {
		unsigned char b = (unsigned char)*text;

		if (b == '\r' || (b < ' ' && b != '\n' && b != '\t') || b == 0x7f)
			continue;
		line[len++] = (char)b;
	}
	if (len > 0 && line[len - 1] != '\n')
		line[len++] = '\n';
	line[len] = '\0';
	write_text(fd >= 0 ? fd : STDERR_FILENO, line);
	if (fd >= 0)
		close(fd);
}

int prompt_read_stdin(struct secret **answer)
{
	struct secret *s = secret_create(ANSWER_MAX_LEN);
	int rc;

	if (!s)
		return -ENOMEM;
	rc = read_line(NULL, STDIN_FILENO, s);
	if (rc) {
		secret_destroy(s);
		return rc;
	}
	s->bytes[s->len] = '\0';
	*answer = s;
	return 0;
}
