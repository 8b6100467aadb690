/* SPDX-License-Identifier: MIT */
/*
 * See guest_copy.h. The host reaches guest memory by the operations only: an access that cannot be
 * resolved is then an error here and no signal.
 */
#include "guest_copy.h"

#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_memory.h"

#include <errno.h>
#include <string.h>

/* A string is read in pieces that cross no page: what follows its end may be anything. */
#define PIECE 256

int guest_copy_in(struct guest *guest, uint64_t gpa, void *data, size_t len)
{
	if (!guest_maps_allow(guest->maps, gpa, len, GUEST_READ))
		return -EFAULT;
	return len ? guest->memory->ops->read(guest->memory, gpa, data, len) : 0;
}

int guest_copy_out(struct guest *guest, uint64_t gpa, const void *data, size_t len)
{
	if (!guest_maps_allow(guest->maps, gpa, len, GUEST_WRITE))
		return -EFAULT;
	return len ? guest->memory->ops->write(guest->memory, gpa, data, len) : 0;
}

int guest_copy_string(struct guest *guest, uint64_t gpa, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t len = PIECE - (gpa + done) % PIECE;
		int error;

		if (len > size - done)
			len = size - done;
		error = guest_copy_in(guest, gpa + done, buf + done, len);
		if (error)
			return error;
		if (memchr(buf + done, '\0', len))
			return 0;
		done += len;
	}
	return -ENAMETOOLONG;
}
