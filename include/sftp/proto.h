/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers of the SFTP protocol, version 3, in the draft's own spelling.
 * Spec: draft-ietf-secsh-filexfer-02; OpenSSH PROTOCOL section 4.
 */
#ifndef SFTP_PROTO_H
#define SFTP_PROTO_H

#define FXP_VERSION_3 3

/* Packet types: filexfer-02 section 3. */
enum fxp_type {
	FXP_INIT = 1,
	FXP_VERSION = 2,
	FXP_OPEN = 3,
	FXP_CLOSE = 4,
	FXP_READ = 5,
	FXP_WRITE = 6,
	FXP_LSTAT = 7,
	FXP_FSTAT = 8,
	FXP_SETSTAT = 9,
	FXP_FSETSTAT = 10,
	FXP_OPENDIR = 11,
	FXP_READDIR = 12,
	FXP_REMOVE = 13,
	FXP_MKDIR = 14,
	FXP_RMDIR = 15,
	FXP_REALPATH = 16,
	FXP_STAT = 17,
	FXP_RENAME = 18,
	FXP_READLINK = 19,
	FXP_SYMLINK = 20,
	FXP_STATUS = 101,
	FXP_HANDLE = 102,
	FXP_DATA = 103,
	FXP_NAME = 104,
	FXP_ATTRS = 105,
	FXP_EXTENDED = 200,
	FXP_EXTENDED_REPLY = 201,
};

/* Status codes: filexfer-02 section 7; 9 to 24 belong to later drafts, some servers send them. */
enum fx_code {
	FX_OK = 0,
	FX_EOF = 1,
	FX_NO_SUCH_FILE = 2,
	FX_PERMISSION_DENIED = 3,
	FX_FAILURE = 4,
	FX_BAD_MESSAGE = 5,
	FX_NO_CONNECTION = 6,
	FX_CONNECTION_LOST = 7,
	FX_OP_UNSUPPORTED = 8,
	FX_INVALID_HANDLE = 9,
	FX_NO_SUCH_PATH = 10,
	FX_FILE_ALREADY_EXISTS = 11,
	FX_WRITE_PROTECT = 12,
	FX_NO_MEDIA = 13,
	FX_NO_SPACE_ON_FILESYSTEM = 14,
	FX_QUOTA_EXCEEDED = 15,
	FX_UNKNOWN_PRINCIPAL = 16,
	FX_LOCK_CONFLICT = 17,
	FX_DIR_NOT_EMPTY = 18,
	FX_NOT_A_DIRECTORY = 19,
	FX_INVALID_FILENAME = 20,
	FX_LINK_LOOP = 21,
	FX_CANNOT_DELETE = 22,
	FX_INVALID_PARAMETER = 23,
	FX_FILE_IS_A_DIRECTORY = 24,
	FX_CODE_COUNT,
};

/* Flags of OPEN: filexfer-02 section 6.3. */
enum fxf_flag {
	FXF_READ = 0x01,
	FXF_WRITE = 0x02,
	FXF_APPEND = 0x04,
	FXF_CREAT = 0x08,
	FXF_TRUNC = 0x10,
	FXF_EXCL = 0x20,
};

/* Which attributes follow: filexfer-02 section 5. */
#define FX_ATTR_SIZE        0x00000001u
#define FX_ATTR_UIDGID      0x00000002u
#define FX_ATTR_PERMISSIONS 0x00000004u
#define FX_ATTR_ACMODTIME   0x00000008u
#define FX_ATTR_EXTENDED    0x80000000u

/* f_flag of statvfs@openssh.com: PROTOCOL 4.4. */
#define FX_STATVFS_RDONLY 0x1u

#define FXP_HANDLE_LEN_MAX    256u   /* bytes, filexfer-02 section 6.2 */
#define FXP_LEN_SAFE          32768u /* data bytes every server takes, filexfer-02 section 3 */
#define FXP_PACKET_LEN_SAFE   34000u /* whole packet every server takes, filexfer-02 section 3 */
#define FXP_PACKET_LEN_MAX    (1024u * 1024u + 4096u) /* our cap on what comes in */
#define FXP_NAME_LEN_MAX      65536u /* bytes of one file name or link target we accept */
#define FXP_ENTRY_LEN_MAX     1024u /* bytes of a name in a listing: what every kernel's FUSE takes */
#define FXP_STATUS_TEXT_MAX   255u /* bytes of a server's message that we keep */
#define FXP_ATTR_EXTENDED_MAX 64u  /* extended pairs in one ATTRS */

#endif
