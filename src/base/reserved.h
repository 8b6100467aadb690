/* SPDX-License-Identifier: MIT */
/* The reserved fields of a config, which a later version may give a meaning: zero until then. */
#ifndef S2_BASE_RESERVED_H
#define S2_BASE_RESERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool s2_all_zero(const uint64_t *reserved, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (reserved[i])
			return false;
	return true;
}

#define S2_RESERVED_UNUSED(config)                                                                 \
	s2_all_zero((config)->reserved, sizeof((config)->reserved) / sizeof((config)->reserved[0]))

#endif /* S2_BASE_RESERVED_H */
