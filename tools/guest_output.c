/* SPDX-License-Identifier: MIT */
/* See guest_output.h. It ends as the kernel ends who goes beyond RLIMIT_FSIZE. */
#include "guest_output.h"

#include "guest_descriptors.h"

#include <errno.h>
#include <inttypes.h>

#define GUEST_SIGXFSZ 25
#define NAME_COSTS 4096

size_t guest_output_allowed(struct guest *guest, size_t len)
{
	uint64_t limit = guest->limits.output, left = limit - guest->files->written;

	if (!limit || len <= left)
		return len;
	guest_end(guest, 128 + GUEST_SIGXFSZ, "it wrote more than the %" PRIu64 " bytes allowed",
		  limit);
	return left;
}

void guest_output_written(struct guest *guest, size_t len)
{
	guest->files->written += len;
}

int guest_output_name(struct guest *guest)
{
	if (guest_output_allowed(guest, NAME_COSTS) < NAME_COSTS)
		return -EFBIG;
	guest_output_written(guest, NAME_COSTS);
	return 0;
}

int guest_output_length(const struct guest *guest, uint64_t length)
{
	return guest->limits.output && length > guest->limits.output ? -EFBIG : 0;
}
