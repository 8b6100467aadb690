/* SPDX-License-Identifier: MIT */
/*
 * Copies between the host and a guest's memory, for system calls: what the guest has not mapped, or
 * must not read or write itself, is -EFAULT, as is a range that wraps. An error leaves nothing
 * written.
 */
#ifndef STAGE2_TOOLS_GUEST_COPY_H
#define STAGE2_TOOLS_GUEST_COPY_H

#include <stddef.h>
#include <stdint.h>

struct guest;

int guest_copy_in(struct guest *guest, uint64_t gpa, void *data, size_t len);
int guest_copy_out(struct guest *guest, uint64_t gpa, const void *data, size_t len);

/*
 * A string with its end. -ENAMETOOLONG: it does not fit into @size bytes; what @buf holds then is
 * anything.
 */
int guest_copy_string(struct guest *guest, uint64_t gpa, char *buf, size_t size);

#endif
