/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing what may have to wait. A guest that waits can still be ended, so that the
 * host never sleeps in the read or write itself.
 */
#ifndef STAGE2_TOOLS_GUEST_STREAM_H
#define STAGE2_TOOLS_GUEST_STREAM_H

#include "guest_descriptors.h"

#include <poll.h>

/*
 * As poll(), but ends with -EINTR when the guest has to end, or gets a signal. @deadline_ns: by
 * clock_ns(); 0: only looks; UINT64_MAX: none.
 */
int guest_stream_poll(struct guest *guest, struct pollfd *fds, nfds_t n, uint64_t deadline_ns);

/*
 * One read or write, of as much as there is or as fits: at least one byte, the end (0), or a
 * negative errno. -EPIPE: the guest has got its SIGPIPE; -GUEST_RESTART: another signal.
 */
int64_t guest_stream_read(struct guest *guest, const struct guest_open_file *file, void *data,
			  size_t len);
int64_t guest_stream_write(struct guest *guest, const struct guest_open_file *file,
			   const void *data, size_t len);

#endif
