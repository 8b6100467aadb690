/* SPDX-License-Identifier: MIT */
/*
 * Signals that have been sent to a guest and not been delivered.
 */
#ifndef STAGE2_TOOLS_GUEST_PENDING_H
#define STAGE2_TOOLS_GUEST_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_SIGNALS 64

/* As the kernel's: a guest gets it as it is. @pid and @uid, and @value, where there is a sender. */
struct guest_siginfo {
	int32_t signal;
	int32_t error;
	int32_t code;
	int32_t gap;
	uint32_t pid;
	uint32_t uid;
	uint64_t value;
	unsigned char rest[96];
};

_Static_assert(sizeof(struct guest_siginfo) == 128 && offsetof(struct guest_siginfo, pid) == 16,
	       "as the kernel's");

/* Real-time signals are queued, up to so many; of the others there is one of a kind. */
#define GUEST_QUEUED_SIGNALS 128
#define GUEST_FIRST_QUEUED 32

/* @to_thread: not to the process. With one thread that is only about which is the first. */
struct guest_pending {
	unsigned int nr;
	unsigned int queued;
	struct {
		bool to_thread;
		struct guest_siginfo info;
	} signals[GUEST_QUEUED_SIGNALS + 2 * GUEST_FIRST_QUEUED];
};

/* Bit n - 1 is signal n, as in the kernel's masks. */
static inline uint64_t guest_signal_bit(int signal)
{
	return UINT64_C(1) << (signal - 1);
}

/* -EAGAIN: too many are queued. */
int guest_pending_add(struct guest_pending *pending, const struct guest_siginfo *info,
		      bool to_thread);

uint64_t guest_pending_set(const struct guest_pending *pending);

/* Takes the one of @set that the kernel would; false: there is none. */
bool guest_pending_take(struct guest_pending *pending, uint64_t set, struct guest_siginfo *info);

/* Forgets all of @set. */
void guest_pending_discard(struct guest_pending *pending, uint64_t set);

#endif
