/* SPDX-License-Identifier: BSD-2-Clause */
/* The last operations, and the end of the program when one of them went wrong. */
#ifndef MODEL_TRACE_H
#define MODEL_TRACE_H

#include <stdint.h>
#include <stdio.h>

/* Everything is printed to stderr on failure; `context` (seed and options) first. Not copied. */
void trace_begin(const char *context);

/* Remember an operation, before it is tried. */
void trace_add(uint32_t op, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print the message, the last operations and the context, and exit with 1. */
void trace_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The same for a system call that failed: the text of errno follows. */
void trace_fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
