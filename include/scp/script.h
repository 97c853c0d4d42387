/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is said to the server's shell. The command starts a POSIX shell; the script makes its functions
 * and greets; each request is some lines behind it that end in R, the function that ends a reply.
 *
 * A reply is a body, a zero byte, the status, a zero byte. Names, link targets and messages of
 * programs cannot hold zero bytes, so nothing in a body is taken for its end; the one request whose
 * body is file data (T) tells its length first. Status 0 is success, "e13" an errno of ours, anything
 * else that of the program whose message is the body's last line.
 *
 * Functions: S path, L path: attributes, of what a link leads to. N: of the names in the working
 * directory. V path: filesystem. O path rw: may it be opened? T path max: a small file.
 */
#ifndef SCP_SCRIPT_H
#define SCP_SCRIPT_H

#define SCP_SHELL_COMMAND "exec sh"

/* Behind whatever a login prints; then comes the reply to the first request. */
#define SCP_SHELL_GREETING     "\0sftpfs\0"
#define SCP_SHELL_GREETING_LEN 8

extern const char scp_shell_script[];

#endif
