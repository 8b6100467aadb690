/* SPDX-License-Identifier: MIT */
/* See run_size.h. */
#include "run_size.h"

#include "options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGT";

bool run_size_parse(const char *text, uint64_t *size)
{
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;
	uint64_t number;
	char digits[24];

	if (unit)
		len--;
	if (len >= sizeof(digits))
		return false;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (!option_number(digits, 0, UINT64_MAX >> shift, &number))
		return false;
	*size = number << shift;
	return true;
}

const char *run_size_text(uint64_t size, char *buf, size_t len)
{
	unsigned int unit = 0;
	double value = (double)size;

	while (value >= 1024 && unit < sizeof(units) - 1) {
		value /= 1024;
		unit++;
	}
	if (!unit)
		snprintf(buf, len, "%" PRIu64, size);
	else
		snprintf(buf, len, "%.*f%c", value < 10 && value != (double)(uint64_t)value ? 1 : 0,
			 value, units[unit - 1]);
	return buf;
}
