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

	/* Not what would be written as 1024 of them. */
	while (value >= 1023.5 && unit < sizeof(units) - 1) {
		value /= 1024;
		unit++;
	}
	if (!unit)
		snprintf(buf, len, "%" PRIu64 "%s", size, size ? "B" : "");
	else if (value >= 999.5)
		/* %.3g would write 1020 as 1.02e+03. */
		snprintf(buf, len, "%.0f%c", value, units[unit - 1]);
	else
		snprintf(buf, len, "%.3g%c", value, units[unit - 1]);
	return buf;
}

const char *run_pages_text(uint64_t pages, char *buf, size_t len)
{
	return run_size_text(pages * S2_PAGE_SIZE, buf, len);
}
