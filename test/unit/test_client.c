/* SPDX-License-Identifier: BSD-2-Clause */
/* The client engine: start, lanes, request ids, replies in any order, packets that make no sense.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check_main.h"
#include "oom.h"
#include "peer.h"
#include "sftp/wire.h"

static struct peer p;
static struct got g, h;

static void begin(void)
{
	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	peer_init(&p);
}

static void finish(void)
{
	peer_finish(&p);
	ck_assert_uint_eq(p.destroy_count, 1);
}

START_TEST(start)
{
	/* the start resolves the root, takes the server's limits and opens a second lane */
	const struct be_info *info;

	begin();
	peer_start(&p, "");
	ck_assert_str_eq(p.root, "/root");
	ck_assert_uint_eq(p.started_attr.mode, S_IFDIR | 0755);
	info = OPS(&p)->info(BE(&p));
	ck_assert_uint_eq(info->read_len_max, 261120);
	ck_assert_uint_eq(info->write_len_max, 261120);
	ck_assert_uint_eq(info->open_max, 1000);
	ck_assert(info->connected && info->caps.posix_rename && info->caps.copy);
	ck_assert_int_eq(info->silent_since_ms, -1);
	ck_assert_int_eq(p.classes[2], LANE_BULK);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	finish();
}
END_TEST

START_TEST(packet_limit)
{
	/* no WRITE is longer than the packets that the server takes, whatever else it says */
	begin();
	p.limits.packet_len = 40000;
	peer_start(&p, "");
	ck_assert_uint_eq(OPS(&p)->info(BE(&p))->write_len_max, 40000 - 1024);
	finish();
}
END_TEST

START_TEST(bare_server)
{
	/* a server without extensions gets 32 KiB requests, and one lane is enough */
	const struct be_info *info;

	begin();
	p.exts = 0;
	p.lane_max = 1;
	peer_start(&p, "/x");
	info = OPS(&p)->info(BE(&p));
	ck_assert_uint_eq(info->read_len_max, 32768);
	ck_assert_uint_le(info->write_len_max, 32768);
	ck_assert(!info->caps.posix_rename && !info->caps.fsync && !info->caps.statvfs);
	ck_assert_int_eq(p.lanes[2], PEER_LANE_NONE);
	finish();
}
END_TEST

START_TEST(lane_refused)
{
	/* a refused second lane is no error: everything shares the first */
	struct be_attr attr = peer_file_attr(1, 1);

	begin();
	p.refuse[LANE_BULK] = true;
	peer_start(&p, "");
	OPS(&p)->close(BE(&p), peer_open(&p, "/root/a", BE_READ, 1, "H", &attr));
	ck_assert_uint_eq(peer_take(&p, FXP_CLOSE)->lane, 1);
	finish();
}
END_TEST

START_TEST(root_missing)
{
	/* a root that does not exist, or is no directory, fails the start with its words, once */
	begin();
	check_allow_errors();
	p.manual = true;
	p.root_status = FX_NO_SUCH_FILE;
	peer_start(&p, "gone");
	peer_answer_setup(&p);
	ck_assert_uint_eq(p.started_count, 1);
	ck_assert_ptr_nonnull(strstr(p.started_error.text, "\"gone\": no such file"));
	finish();
	begin();
	p.root_attr.mode = S_IFREG | 0644;
	p.manual = true;
	peer_start(&p, "file");
	peer_answer_setup(&p);
	ck_assert_uint_eq(p.started_count, 1);
	ck_assert_int_eq(p.started_error.fail, LINK_FAIL_SFTP);
	ck_assert_ptr_nonnull(strstr(p.started_error.text, "not a directory"));
	peer_wait(&p, 100000);
	ck_assert_uint_eq(p.connect_count, 1);
	finish();
}
END_TEST

START_TEST(start_fails)
{
	/* a connection that cannot be made is reported once, with its reason, and not tried again
	 */
	begin();
	p.manual = true;
	peer_start(&p, "");
	peer_cut(&p, LINK_FAIL_AUTH);
	ck_assert_uint_eq(p.started_count, 1);
	ck_assert_int_eq(p.started_error.fail, LINK_FAIL_AUTH);
	peer_wait(&p, 100000);
	ck_assert_uint_eq(p.connect_count, 1);
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/a", false, got_attr, &g), 0);
	ck_assert_uint_eq(g.count, 0);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_LOST);
	finish();
}
END_TEST

START_TEST(old_version)
{
	/* a server of version 2, or one that sends nonsense first, is refused with a clear line */
	begin();
	check_allow_errors();
	p.version = 2;
	p.manual = true;
	peer_start(&p, "");
	peer_answer_setup(&p);
	ck_assert_uint_eq(p.started_count, 1);
	ck_assert_int_eq(p.started_error.fail, LINK_FAIL_SFTP);
	ck_assert_ptr_nonnull(strstr(p.started_error.text, "version 2"));
	finish();
	begin();
	p.manual = true;
	peer_start(&p, "");
	peer_take(&p, FXP_INIT);
	peer_raw(&p, 1, "Welcome!", 8);
	peer_run(&p);
	ck_assert_int_eq(p.started_error.fail, LINK_FAIL_SFTP);
	finish();
}
END_TEST

START_TEST(any_order)
{
	/* replies are matched by id, in whatever order they come */
	struct peer_request *a, *b;
	struct be_attr attr = peer_file_attr(1, 1), other = peer_file_attr(2, 2);

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/b", true, got_attr, &h), 0);
	a = peer_take(&p, FXP_LSTAT);
	b = peer_take(&p, FXP_STAT);
	ck_assert_str_eq(a->path, "/root/a");
	ck_assert_str_eq(b->path, "/root/b");
	ck_assert_uint_ne(a->id, b->id);
	peer_attr(&p, b, &other);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_uint_eq(h.attr.size, 2);
	peer_attr(&p, a, &attr);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_uint_eq(g.attr.size, 1);
	finish();
}
END_TEST

START_TEST(status_codes)
{
	/* each status code has its meaning, and the server's text is kept without control bytes */
	static const struct {
		uint32_t fx;
		enum be_code code;
		int err;
	} cases[] = {
	    {1, BE_ERRNO, EIO},        {2, BE_NO_SUCH_FILE, 0},     {3, BE_PERMISSION_DENIED, 0},
	    {4, BE_FAILURE, 0},        {5, BE_BAD_MESSAGE, 0},      {6, BE_ERRNO, EIO},
	    {7, BE_ERRNO, EIO},        {8, BE_UNSUPPORTED, 0},      {9, BE_ERRNO, EBADF},
	    {10, BE_ERRNO, ENOENT},    {11, BE_ERRNO, EEXIST},      {12, BE_ERRNO, EROFS},
	    {13, BE_ERRNO, ENOMEDIUM}, {14, BE_ERRNO, ENOSPC},      {15, BE_ERRNO, EDQUOT},
	    {16, BE_ERRNO, EINVAL},    {17, BE_ERRNO, EAGAIN},      {18, BE_ERRNO, ENOTEMPTY},
	    {19, BE_ERRNO, ENOTDIR},   {20, BE_ERRNO, EINVAL},      {21, BE_ERRNO, ELOOP},
	    {22, BE_ERRNO, EPERM},     {23, BE_ERRNO, EINVAL},      {24, BE_ERRNO, EISDIR},
	    {25, BE_FAILURE, 0},       {0xffffffff, BE_FAILURE, 0},
	};
	uint8_t evil[300];
	struct fxp_out out;
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
		peer_status(&p, peer_take(&p, FXP_LSTAT), cases[i].fx);
		peer_run(&p);
		ck_assert_uint_eq(g.count, i + 1);
		ck_assert_msg(g.code == cases[i].code, "code %u", cases[i].fx);
		ck_assert_int_eq(g.err, cases[i].err);
		ck_assert_str_eq(g.text, "server text");
	}
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	r = peer_take(&p, FXP_LSTAT);
	out = (struct fxp_out){.bytes = evil, .size = sizeof(evil)};
	fxp_put_u8(&out, FXP_STATUS);
	fxp_put_u32(&out, r->id);
	fxp_put_u32(&out, 4);
	fxp_put_str(&out, "a\x1b[2J\n", 6);
	peer_raw(&p, r->lane, evil, out.len);
	peer_run(&p);
	ck_assert_str_eq(g.text, "a?[2J?");
	finish();
}
END_TEST

/* Sends a STAT, answers with `bytes` (its id put in at 1), expects the connection to be reset. */
static void expect_reset(const void *bytes, size_t len, bool patch_id)
{
	uint8_t copy[200];
	struct peer_request *r;
	unsigned resets = p.reset_count;

	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	r = peer_find(&p, FXP_LSTAT);
	memcpy(copy, bytes, len);
	if (patch_id && len >= 5)
		for (unsigned i = 0; i < 4; i++)
			copy[1 + i] = (uint8_t)(r->id >> (24 - 8 * i));
	peer_raw(&p, r->lane, copy, len);
	peer_run(&p);
	ck_assert_uint_eq(p.reset_count, resets + 1);
	ck_assert_uint_eq(g.count, patch_id);
}

static const struct {
	const char *bytes;
	size_t len;
	bool patch_id;
} malformed_cases[] = {
    {"", 0, false},
    {"\x69", 1, false},
    {"\x69\0\0\0", 4, false},
    {"\x69\0\0\0\0", 5, true},                      /* ATTRS without flags */
    {"\x69\0\0\0\0\0\0\0\x01\0\0", 11, true},       /* half a size */
    {"\x69\0\0\0\0\0\1\0\0", 9, true},              /* unknown flag */
    {"\x65\0\0\0\0\0\0", 7, true},                  /* half a status */
    {"\x65\0\0\0\0\0\0\0\4\0\0\0\x09zz", 15, true}, /* text cut */
    {"\x65\0\0\0\0\0\0\0\0", 9, true},              /* OK where ATTRS is due */
    {"\x66\0\0\0\0\0\0\0\1x", 10, true},            /* a handle */
    {"\x67\0\0\0\0\0\0\0\1x", 10, true},            /* data */
    {"\x01\0\0\0\0\0\0\0\1x", 10, true},            /* a request */
    {"\x69\xff\xff\xff\xff\0\0\0\0", 9, false},     /* unknown id */
};

START_TEST(malformed)
{
	/* a malformed reply costs the connection and fails its request at once; one that belongs to
	 * no request fails none, and what was asked is asked again */
	begin();
	check_allow_errors();
	peer_start(&p, "");
	for (size_t i = 0; i < sizeof(malformed_cases) / sizeof(malformed_cases[0]); i++) {
		bool known = malformed_cases[i].patch_id;

		memset(&g, 0, sizeof(g));
		expect_reset(malformed_cases[i].bytes, malformed_cases[i].len, known);
		if (known)
			ck_assert_int_eq(g.code, BE_MALFORMED);
		peer_wait(&p, 60000);
		peer_answer_setup(&p);
		ck_assert_uint_eq(peer_waiting(&p), !known);
		if (!known) {
			peer_status(&p, peer_find(&p, FXP_LSTAT), FX_NO_SUCH_FILE);
			peer_run(&p);
			ck_assert_int_eq(g.code, BE_NO_SUCH_FILE);
		}
		ck_assert_msg(g.count == 1, "case %zu", i);
	}
	finish();
}
END_TEST

START_TEST(malformed_others)
{
	/* the others outlive any number of malformed replies to one: they are not to blame */
	begin();
	check_allow_errors();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->readlink(BE(&p), "/root/l", got_path, &h), 0);
	for (unsigned i = 0; i < 20; i++) {
		memset(&g, 0, sizeof(g));
		expect_reset("\x66\0\0\0\0\0\0\0\1x", 10, true);
		ck_assert_int_eq(g.code, BE_MALFORMED);
		ck_assert_uint_eq(h.count, 0);
		peer_wait(&p, 60000);
		peer_answer_setup(&p);
	}
	peer_status(&p, peer_take(&p, FXP_READLINK), FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_int_eq(h.code, BE_NO_SUCH_FILE);
	finish();
}
END_TEST

START_TEST(duplicate)
{
	/* a second reply to one request is an unknown id */
	struct peer_request *r;

	begin();
	check_allow_errors();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	r = peer_take(&p, FXP_LSTAT);
	peer_status(&p, r, FX_NO_SUCH_FILE);
	peer_status(&p, r, FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_uint_eq(p.reset_count, 1);
	finish();
}
END_TEST

START_TEST(wrong_lane)
{
	/* a reply on another lane than its request is a protocol error */
	struct peer_request *r;

	begin();
	check_allow_errors();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	r = peer_take(&p, FXP_LSTAT);
	r->lane = 2;
	peer_status(&p, r, FX_NO_SUCH_FILE);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	ck_assert_uint_eq(p.reset_count, 1);
	finish();
}
END_TEST

START_TEST(quiesce)
{
	/* quiesce answers everything once; late replies are swallowed, a late handle is closed */
	struct peer_request *stat, *open, *look, *closing;
	struct be_attr attr = peer_file_attr(1, 1);

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	ck_assert_int_eq(
	    OPS(&p)->open(BE(&p), "/root/b", BE_READ, 0, 0, 0, got_where, NULL, got_open, &h), 0);
	stat = peer_take(&p, FXP_LSTAT);
	open = peer_take(&p, FXP_OPEN);
	look = peer_take(&p, FXP_LSTAT);
	OPS(&p)->quiesce(BE(&p));
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_LOST);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_int_eq(h.code, BE_LOST);
	peer_attr(&p, stat, &attr);
	peer_handle(&p, open, "late");
	peer_attr(&p, look, &attr);
	peer_run(&p);
	closing = peer_take(&p, FXP_CLOSE);
	ck_assert_str_eq(closing->handle, "late");
	ck_assert_uint_eq(closing->lane, open->lane);
	peer_status(&p, closing, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_uint_eq(p.reset_count, 0);
	/* and it works again */
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &attr);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_OK);
	finish();
}
END_TEST

START_TEST(destroy_pending)
{
	/* destroying answers everything that waits with BE_LOST, before it returns */
	begin();
	peer_start(&p, "");
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	peer_cut(&p, LINK_FAIL_NETWORK);
	check_allow_errors();
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(OPS(&p)->mkdir(BE(&p), "/root/d", 0700, got_attr, &h), 0);
	finish();
	ck_assert_uint_eq(g.count, 5);
	ck_assert_uint_eq(h.count, 5);
	ck_assert_int_eq(h.code, BE_LOST);
}
END_TEST

START_TEST(unsupported)
{
	/* what the server does not offer is answered by us, later, and nothing is sent */
	begin();
	p.exts = 0;
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->statvfs(BE(&p), "/root", got_statvfs, &g), 0);
	ck_assert_int_eq(OPS(&p)->link(BE(&p), "/root/a", "/root/b", got_attr, &h), 0);
	ck_assert_uint_eq(g.count + h.count, 0);
	peer_find(&p, FXP_LSTAT);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_UNSUPPORTED);
	finish();
	ck_assert_int_eq(h.code, BE_UNSUPPORTED);
}
END_TEST

START_TEST(probe)
{
	/* over a bare pipe an idle lane is probed; a server that stays silent is lost */
	begin();
	check_allow_errors();
	p.probes = false;
	p.lane_max = 1;
	peer_start(&p, "");
	peer_wait(&p, 14999);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_wait(&p, 1);
	{
		const char *root = "/root";

		peer_names(&p, peer_take(&p, FXP_REALPATH), &root, 1);
	}
	peer_run(&p);
	for (unsigned i = 0; i < 4; i++)
		peer_wait(&p, 15000);
	ck_assert_uint_eq(p.reset_count, 1);
	finish();
}
END_TEST

START_TEST(busy_not_probed)
{
	/* a lane with a request under way is not probed: a slow server is not a dead one */
	begin();
	p.probes = false;
	p.lane_max = 1;
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &g), 0);
	for (unsigned i = 0; i < 20; i++)
		peer_wait(&p, 15000);
	ck_assert_uint_eq(p.reset_count, 0);
	ck_assert_uint_eq(peer_waiting(&p), 1);
	ck_assert_int_eq(OPS(&p)->info(BE(&p))->silent_since_ms, 1000000);
	finish();
}
END_TEST

START_TEST(no_memory)
{
	/* with any allocation failing, the start fails cleanly or works, and nothing leaks */
	for (unsigned n = 1;; n++) {
		struct fxp_backend *fb;

		begin();
		check_allow_errors();
		oom_arm(n);
		fb = peer_create(&p, "");
		if (fb) {
			peer_run(&p);
			peer_answer_setup(&p);
		}
		if (!oom_disarm()) {
			ck_assert_uint_eq(p.started_count, 1);
			finish();
			break;
		}
		if (fb) {
			ck_assert_uint_le(p.started_count, 1);
			peer_finish(&p);
		}
	}
}
END_TEST

CHECK_MAIN("client", start, packet_limit, bare_server, lane_refused, root_missing, start_fails,
           old_version, any_order, status_codes, malformed, malformed_others, duplicate, wrong_lane,
           quiesce, destroy_pending, unsupported, probe, busy_not_probed, no_memory)
