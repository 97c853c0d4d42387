/* SPDX-License-Identifier: BSD-2-Clause */
/* Random numbers that are the same for a seed on every machine: splitmix64. */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint64_t random_next(struct random *r)
{
	r->state += 0x9e3779b97f4a7c15u;
	return random_mix(r->state);
}

/* Return: 0 to bound - 1; 0 when bound is 0. */
static inline uint64_t random_below(struct random *r, uint64_t bound)
{
	return bound == 0 ? 0 : random_next(r) % bound;
}

/* Return: 1 to max, small values as likely as large ones: every power of two has the same chance.
 */
static inline uint64_t random_len(struct random *r, uint64_t max)
{
	unsigned int bits = 0;
	uint64_t top;

	while (max >> bits > 1)
		bits++;
	top = (uint64_t)1 << random_below(r, bits + 1);
	top += random_below(r, top);
	return top < max ? top : max;
}

#endif
