/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay's command language; relay.c's head lists it. */
#ifndef RELAY_CONTROL_H
#define RELAY_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

/* Strict: the whole text is a decimal number not above max. */
bool control_number(const char *text, uint64_t max, uint64_t *value);

/* Carry out one command line (modified) and print its one line of answer. Return: false after `quit`. */
bool control_line(char *line);

#endif
