/* SPDX-License-Identifier: MIT */
/*
 * The limit of what a guest writes, wherever to. A name is a block on the host's disk as well,
 * without which a guest could fill that with empty files.
 */
#ifndef STAGE2_TOOLS_GUEST_OUTPUT_H
#define STAGE2_TOOLS_GUEST_OUTPUT_H

#include "guest_internal.h"

#include <stddef.h>

/* How many of @len bytes may be written. With fewer than all the guest ends after this call. */
size_t guest_output_allowed(struct guest *guest, size_t len);
void guest_output_written(struct guest *guest, size_t len);

/* A name is about to be made. -EFBIG: it may not, and the guest ends. */
int guest_output_name(struct guest *guest);

/* -EFBIG: no file may be made so long. */
int guest_output_length(const struct guest *guest, uint64_t length);

#endif
