/* SPDX-License-Identifier: MIT */
/*
 * A primary MMU small enough to look through: a row of host pages, each backed by
 * a frame that the test may exchange. Its fault() can be stopped after it has
 * looked the frame up, which is where a page gets stale.
 */
#ifndef TESTS_FRAME_PROVIDER_H
#define TESTS_FRAME_PROVIDER_H

#include <pthread.h>
#include <stage2/mm.h>
#include <stdatomic.h>

#define FRAME_HVA (UINT64_C(1) << 40) /* never dereferenced */
#define FRAME_PAGES 2048
#define FRAME_SPARES 64
#define FRAME_HVA_OF(page) (FRAME_HVA + (uint64_t)(page) * S2_PAGE_SIZE)

struct frame_provider {
	struct s2_provider_ops ops;
	char *frames;
	_Atomic uint32_t frame_of[FRAME_PAGES]; /* 4 KiB only; 2 MiB pages are as they were */
	unsigned shift;
	bool read_only_reads; /* a page faulted in for reading is not writable */
	_Atomic int error;
	_Atomic unsigned long faults;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopped;
	unsigned inside; /* stopped there */
};

/* Page i is frame i, of which each begins with its own number. */
void frame_provider_init(struct frame_provider *host);
void frame_provider_free(struct frame_provider *host);

/* The first word of frame @frame. */
uint64_t *frame_provider_word(struct frame_provider *host, unsigned frame);

/* From now on, faults stop before they return. */
void frame_provider_stop(struct frame_provider *host);
/* Waits until @nr faults are stopped. */
void frame_provider_await(struct frame_provider *host, unsigned nr);
void frame_provider_go(struct frame_provider *host);

#endif /* TESTS_FRAME_PROVIDER_H */
