/* SPDX-License-Identifier: MIT */
/* The threads of vcpu_threads.h. */
#include "differential/vcpu_threads.h"

#include <stdlib.h>
#include <time.h>

#define NAP_NS 50000

static uint64_t gpa_of(const struct op *op)
{
	return op->gfn * S2_PAGE_SIZE + op->offset;
}

static int load(struct s2_vcpu *vcpu, struct op *op)
{
	uint8_t v8 = 0;
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	int ret;

	switch (op->bytes) {
	case 0:
		ret = s2_vcpu_load8(vcpu, gpa_of(op), &v8);
		op->value = v8;
		return ret;
	case 1:
		ret = s2_vcpu_load16(vcpu, gpa_of(op), &v16);
		op->value = v16;
		return ret;
	case 2:
		ret = s2_vcpu_load32(vcpu, gpa_of(op), &v32);
		op->value = v32;
		return ret;
	default:
		return s2_vcpu_load64(vcpu, gpa_of(op), &op->value);
	}
}

static int store(struct s2_vcpu *vcpu, const struct op *op)
{
	switch (op->bytes) {
	case 0:
		return s2_vcpu_store8(vcpu, gpa_of(op), (uint8_t)op->value);
	case 1:
		return s2_vcpu_store16(vcpu, gpa_of(op), (uint16_t)op->value);
	case 2:
		return s2_vcpu_store32(vcpu, gpa_of(op), (uint32_t)op->value);
	default:
		return s2_vcpu_store64(vcpu, gpa_of(op), op->value);
	}
}

void vcpu_work_do(struct vcpu_thread *thread, struct vcpu_work *work)
{
	if (work->op.kind == OP_EXIT) {
		work->ret = thread->inside ? s2_vcpu_exit(thread->vcpu) : 0;
		thread->inside = false;
		return;
	}
	if (work->op.kind == OP_HOLD) {
		/* Here, so that no poll comes after it that was begun before. */
		atomic_store(&thread->held, thread->inside);
		work->ret = 0;
		return;
	}
	if (!thread->inside && s2_vcpu_enter(thread->vcpu))
		abort();
	thread->inside = true;
	work->ret = work->op.kind == OP_LOAD ? load(thread->vcpu, &work->op)
					     : store(thread->vcpu, &work->op);
}

/* A vCPU with nothing to do naps in guest mode, so that whoever waits for it waits in earnest. */
static bool is_asked(struct vcpu_thread *thread)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += NAP_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return !sem_timedwait(&thread->asked, &until);
}

static void *vcpu_main(void *arg)
{
	struct vcpu_thread *thread = arg;

	for (;;) {
		if (is_asked(thread)) {
			if (thread->stop)
				break;
			vcpu_work_do(thread, thread->work);
			sem_post(&thread->answered);
		}
		if (thread->inside && !atomic_load(&thread->held))
			s2_vcpu_poll(thread->vcpu);
	}
	if (thread->inside)
		s2_vcpu_exit(thread->vcpu);
	thread->inside = false;
	return NULL;
}

void vcpu_thread_start(struct vcpu_thread *thread)
{
	sem_init(&thread->asked, 0, 0);
	sem_init(&thread->answered, 0, 0);
	if (pthread_create(&thread->thread, NULL, vcpu_main, thread))
		abort();
	thread->running = true;
}

void vcpu_thread_do(struct vcpu_thread *thread, struct vcpu_work *work)
{
	if (!thread->running) {
		vcpu_work_do(thread, work);
		return;
	}
	thread->work = work;
	sem_post(&thread->asked);
	while (sem_wait(&thread->answered))
		;
}

void vcpu_thread_let_go(struct vcpu_thread *thread)
{
	atomic_store(&thread->held, false);
}

void vcpu_thread_stop(struct vcpu_thread *thread)
{
	if (!thread->running)
		return;
	thread->stop = true;
	sem_post(&thread->asked);
	pthread_join(thread->thread, NULL);
	sem_destroy(&thread->asked);
	sem_destroy(&thread->answered);
	thread->running = false;
}
