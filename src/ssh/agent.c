/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The authentication agent. See include/ssh/agent.h.
 * Room: ssh. Thread: the back; view_main() is the thread of a view and owns its two descriptors
 * until it has been joined.
 */
#include "ssh/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_IDENTITIES 11
#define IDENTITIES_ANSWER  12
#define SIGN_REQUEST       13

/* As much as OpenSSH's agent would say. */
#define MESSAGE_MAX_LEN (256 * 1024)
#define KEY_MAX_COUNT   2048

/* Listing is quick; signing may wait for a touch or a confirmation, so it has no limit here. */
#define LIST_TIMEOUT_S 10

struct message {
	uint8_t *bytes; /* after the length field */
	size_t len;
};

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static int read_all(int fd, void *to, size_t len)
{
	uint8_t *p = to;

	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const void *from, size_t len)
{
	const uint8_t *p = from;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int message_read(int fd, struct message *m)
{
	uint8_t head[4];
	int rc = read_all(fd, head, sizeof(head));

	m->bytes = NULL;
	if (rc)
		return rc;
	m->len = get_u32(head);
	if (m->len == 0 || m->len > MESSAGE_MAX_LEN)
		return -EMSGSIZE;
	m->bytes = malloc(m->len);
	if (!m->bytes)
		return -ENOMEM;
	rc = read_all(fd, m->bytes, m->len);
	if (rc) {
		free(m->bytes);
		m->bytes = NULL;
	}
	return rc;
}

static int message_write(int fd, const uint8_t *bytes, size_t len)
{
	uint8_t head[4];
	int rc;

	put_u32(head, (uint32_t)len);
	rc = write_all(fd, head, sizeof(head));
	return rc ? rc : write_all(fd, bytes, len);
}

static int agent_connect(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/* --- listing ------------------------------------------------------------------------------- */

/* A string field at *off. Return: its bytes, NULL when it does not fit. */
static const uint8_t *take_string(const struct message *m, size_t *off, size_t *len)
{
	const uint8_t *p;

	if (m->len - *off < 4)
		return NULL;
	*len = get_u32(m->bytes + *off);
	if (*len > m->len - *off - 4)
		return NULL;
	p = m->bytes + *off + 4;
	*off += 4 + *len;
	return p;
}

static int add_key(struct agent_keys *keys, const uint8_t *blob, size_t blob_len,
                   const uint8_t *comment, size_t comment_len)
{
	struct agent_key *k = &keys->at[keys->count];

	k->blob = malloc(blob_len + 1);
	k->comment = strndup((const char *)comment, comment_len);
	if (!k->blob || !k->comment) {
		free(k->blob);
		free(k->comment);
		return -ENOMEM;
	}
	memcpy(k->blob, blob, blob_len);
	k->blob_len = blob_len;
	keys->count++;
	return 0;
}

static int parse_keys(const struct message *m, struct agent_keys *keys)
{
	size_t off = 5, count;

	if (m->len < 5 || m->bytes[0] != IDENTITIES_ANSWER)
		return -EPROTO;
	count = get_u32(m->bytes + 1);
	if (count > KEY_MAX_COUNT)
		return -EPROTO;
	keys->at = calloc(count + 1, sizeof(*keys->at));
	if (!keys->at)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t blob_len, comment_len;
		const uint8_t *blob = take_string(m, &off, &blob_len);
		const uint8_t *comment = blob ? take_string(m, &off, &comment_len) : NULL;
		int rc;

		if (!comment)
			return -EPROTO;
		rc = add_key(keys, blob, blob_len, comment, comment_len);
		if (rc)
			return rc;
	}
	return 0;
}

void agent_keys_finish(struct agent_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		free(keys->at[i].blob);
		free(keys->at[i].comment);
	}
	free(keys->at);
	*keys = (struct agent_keys){0};
}

int agent_list(const char *path, struct agent_keys *keys)
{
	static const uint8_t request[] = {REQUEST_IDENTITIES};
	struct timeval limit = {.tv_sec = LIST_TIMEOUT_S};
	struct message m;
	int fd = agent_connect(path);
	int rc;

	*keys = (struct agent_keys){0};
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	rc = message_write(fd, request, sizeof(request));
	if (!rc)
		rc = message_read(fd, &m);
	if (!rc) {
		rc = parse_keys(&m, keys);
		free(m.bytes);
	}
	close(fd);
	if (rc)
		agent_keys_finish(keys);
	return rc;
}

/* --- a view -------------------------------------------------------------------------------- */

static int answer_list(const struct agent_view *v)
{
	size_t comment_len = strlen(v->shown->comment);
	size_t len = 1 + 4 + 4 + v->shown->blob_len + 4 + comment_len;
	uint8_t *m = malloc(len), *p = m;
	int rc;

	if (!m)
		return -ENOMEM;
	*p++ = IDENTITIES_ANSWER;
	put_u32(p, 1);
	put_u32(p + 4, (uint32_t)v->shown->blob_len);
	memcpy(p + 8, v->shown->blob, v->shown->blob_len);
	p += 8 + v->shown->blob_len;
	put_u32(p, (uint32_t)comment_len);
	memcpy(p + 4, v->shown->comment, comment_len);
	rc = message_write(v->inner_fd, m, len);
	free(m);
	return rc;
}

/* The agent signs with the key it has, whatever certificate was shown for it. */
static int write_request(const struct agent_view *v, const struct message *m)
{
	size_t off = 1, blob_len, len;
	const uint8_t *blob;
	uint8_t *request;
	int rc;

	if (v->shown == v->signer || m->bytes[0] != SIGN_REQUEST)
		return message_write(v->agent_fd, m->bytes, m->len);
	blob = take_string(m, &off, &blob_len);
	if (!blob)
		return -EPROTO;
	len = 5 + v->signer->blob_len + m->len - off;
	request = malloc(len);
	if (!request)
		return -ENOMEM;
	request[0] = SIGN_REQUEST;
	put_u32(request + 1, (uint32_t)v->signer->blob_len);
	memcpy(request + 5, v->signer->blob, v->signer->blob_len);
	memcpy(request + 5 + v->signer->blob_len, m->bytes + off, m->len - off);
	rc = message_write(v->agent_fd, request, len);
	free(request);
	return rc;
}

static int forward(const struct agent_view *v, const struct message *m)
{
	struct message answer;
	int rc = write_request(v, m);

	if (!rc)
		rc = message_read(v->agent_fd, &answer);
	if (rc)
		return rc;
	rc = message_write(v->inner_fd, answer.bytes, answer.len);
	free(answer.bytes);
	return rc;
}

static void *view_main(void *arg)
{
	const struct agent_view *v = arg;
	struct message m;
	int rc = 0;

	while (!rc && message_read(v->inner_fd, &m) == 0) {
		rc = m.bytes[0] == REQUEST_IDENTITIES ? answer_list(v) : forward(v, &m);
		free(m.bytes);
	}
	/* libssh waits for an answer without a limit: the end is one. */
	shutdown(v->inner_fd, SHUT_RDWR);
	return NULL;
}

int agent_view_open(struct agent_view *v, const char *path, const struct agent_key *shown,
                    const struct agent_key *signer)
{
	sigset_t all, old;
	int pair[2], rc;

	v->shown = shown;
	v->signer = signer;
	v->agent_fd = agent_connect(path);
	if (v->agent_fd < 0)
		return v->agent_fd;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		rc = -errno;
		goto close_agent;
	}
	v->fd = pair[0];
	v->inner_fd = pair[1];
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&v->thread, NULL, view_main, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return 0;
	close(pair[0]);
	close(pair[1]);
close_agent:
	close(v->agent_fd);
	return rc;
}

void agent_view_close(struct agent_view *v)
{
	shutdown(v->inner_fd, SHUT_RDWR);
	shutdown(v->agent_fd, SHUT_RDWR);
	pthread_join(v->thread, NULL);
	close(v->inner_fd);
	close(v->agent_fd);
}
