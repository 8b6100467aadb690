/* SPDX-License-Identifier: MIT */
/* What a program that was started with preload_notifier.so can ask it, by dlsym(). */
#ifndef STAGE2_PEERS_PRELOAD_NOTIFIER_H
#define STAGE2_PEERS_PRELOAD_NOTIFIER_H

#include <stdint.h>

/* How many of the process's calls came by so far. */
uint64_t s2_preload_calls(void);

#endif
