/* SPDX-License-Identifier: MIT */
/*
 * vCPUs that each have a thread of their own and stay in guest mode between their
 * accesses, polling: so an update or an invalidation has somebody to wait for, and
 * an answer shows whether it did. One that is held does not poll, so that whoever may
 * not wait has to give up. One operation at a time: the order stays the sequence's.
 */
#ifndef TESTS_DIFFERENTIAL_VCPU_THREADS_H
#define TESTS_DIFFERENTIAL_VCPU_THREADS_H

#include "differential/op.h"

#include <pthread.h>
#include <semaphore.h>
#include <stage2/stage2.h>
#include <stdatomic.h>

/* A load, store, exit or hold, with its answer; a load's value comes back in @op.value. */
struct vcpu_work {
	struct op op;
	int ret;
};

struct vcpu_thread {
	pthread_t thread;
	struct s2_vcpu *vcpu;
	bool inside; /* guest mode */
	_Atomic bool held;
	bool running;
	struct vcpu_work *work;
	bool stop;
	sem_t asked;
	sem_t answered;
};

/* On the calling thread, which enters guest mode for it and stays there. */
void vcpu_work_do(struct vcpu_thread *thread, struct vcpu_work *work);

void vcpu_thread_start(struct vcpu_thread *thread);
/* On the vCPU's thread if it has one, and else on this one; returns when it is done. */
void vcpu_thread_do(struct vcpu_thread *thread, struct vcpu_work *work);
/* It polls again, in its own time. */
void vcpu_thread_let_go(struct vcpu_thread *thread);
void vcpu_thread_stop(struct vcpu_thread *thread);

#endif /* TESTS_DIFFERENTIAL_VCPU_THREADS_H */
