/* SPDX-License-Identifier: MIT */
/*
 * One lock for all of it. It is never held while an event runs, and a thread whose next event
 * follows its last one goes on without a context switch. The thread that calls order_play() is the
 * timer and the watchdog.
 */
#include "replay_order.h"

#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS UINT64_C(200000000)
#define STACK_SIZE (256u << 10)

/*
 * How many events may be passed over, in a patience's time. An update that could wait mostly does
 * not, and in the time it takes the whole recording could be passed over.
 */
#define AHEAD 64
#define PATIENCE_NS UINT64_C(1000000)

struct order;

struct order_thread {
	struct order *order;
	pthread_t id;
	pthread_cond_t granted_cond;
	size_t granted; /* the event it is to run next */
	size_t in_call; /* the last call that it has started */
	size_t remaining;
	bool running;
	struct order_thread *next_exited;
};

/* An event that was reached and has not returned: running, or passed over. */
struct open_event {
	size_t event;
	bool issued;
};

struct order_process {
	unsigned int starting;	/* invalidations whose start was issued and has not returned */
	unsigned int in_flight; /* ... whose start has returned and whose end has not */
	unsigned int updates;	/* that were issued and have not returned */
};

struct order {
	const struct replay_plan *plan;
	const struct order_options *options;
	bool (*run)(void *ctx, size_t event);
	void *ctx;

	pthread_mutex_t lock;
	pthread_cond_t main_cond;
	size_t cursor; /* the first event that was not reached */
	size_t done;
	struct open_event *open; /* in recorded order */
	size_t nr_open;
	size_t room_open;
	size_t nr_passed_over;
	size_t may_pass_over; /* so many; more when that has not helped until patience_ns */
	uint64_t patience_ns;
	size_t nr_settling; /* processes where all that runs will return by itself */

	/* Nothing more is issued until this event has returned, or, if it can wait, has begun. */
	size_t alone;
	bool alone_can_wait;

	/*
	 * Threads about to run an event that can wait, no longer under the lock. What is issued
	 * next holds back until they do, lest an end overtake the update that waited for it when
	 * recorded.
	 */
	atomic_uint entering;

	double speed;	  /* 0 after a failure: what matters then is to get done */
	uint64_t base_ns; /* when the first event was due */
	uint64_t due_ns;  /* when the next event is; 0: nobody waits for the clock */
	int error;

	struct order_process *processes;
	struct order_thread *threads;
	struct order_thread *exited;
	size_t nr_running;
};

static size_t nr_events(const struct order *order)
{
	return order->plan->trace->nr_events;
}

static bool is_finished(const struct order *order)
{
	return order->done == nr_events(order) || order->error;
}

/*
 * Adds to the counts of @event's process. Updates wait, directly or behind each other, for what is
 * in flight, and starts for updates; so while nothing is in flight, all of them return by
 * themselves, and the cursor stays until they have.
 */
static void count_event(struct order *order, size_t event, int starting, int in_flight, int updates)
{
	struct order_process *process = &order->processes[plan_process(order->plan, event)];

	order->nr_settling -= process->updates && !process->in_flight;
	process->starting += (unsigned int)starting;
	process->in_flight += (unsigned int)in_flight;
	process->updates += (unsigned int)updates;
	order->nr_settling += process->updates && !process->in_flight;
}

static bool is_update(const struct order *order, size_t event)
{
	enum trace_event_type type = order->plan->trace->events[event].type;

	return type == TRACE_UPDATE || type == TRACE_VM_GONE;
}

/* An invalidation that is starting may be in flight already, only not be known to. */
static bool can_wait(const struct order *order, size_t event)
{
	const struct order_process *process = &order->processes[plan_process(order->plan, event)];

	switch (order->plan->trace->events[event].type) {
	case TRACE_UPDATE:
	case TRACE_VM_GONE:
		return process->starting || process->in_flight;
	case TRACE_START:
		return order->options->starts_wait && process->updates;
	default:
		return false;
	}
}

static void *thread_main(void *arg);

/* Recorded threads come and go; each of ours starts when it is first needed. */
static void start_thread(struct order *order, struct order_thread *thread)
{
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	error = pthread_create(&thread->id, &attr, thread_main, thread);
	pthread_attr_destroy(&attr);
	if (error) {
		order->error = -error;
		pthread_cond_signal(&order->main_cond);
		return;
	}
	thread->running = true;
	order->nr_running++;
}

static void issue(struct order *order, struct open_event *open)
{
	struct order_thread *thread = &order->threads[plan_thread(order->plan, open->event)];
	enum trace_event_type type = order->plan->trace->events[open->event].type;

	order->alone = open->event;
	order->alone_can_wait = can_wait(order, open->event);
	count_event(order, open->event, type == TRACE_START, 0, is_update(order, open->event));
	open->issued = true;
	thread->granted = open->event;
	if (thread->running)
		pthread_cond_signal(&thread->granted_cond);
	else
		start_thread(order, thread);
}

/*
 * Must @event wait? @nr_before: the open events before it, @nr_waiting of them passed over. An end
 * follows its own start and nothing else. Anything else may overtake AHEAD events that were passed
 * over, and no more: where invalidations follow each other without a gap, an update that came late
 * would find ever more of them in flight that were recorded long after it.
 */
static bool is_held_up(const struct order *order, size_t event, size_t nr_before, size_t nr_waiting)
{
	const struct trace_event *e = &order->plan->trace->events[event];

	if (e->type == TRACE_END)
		return order->threads[plan_thread(order->plan, event)].in_call != e->index;
	if (nr_waiting > AHEAD)
		return true;
	for (size_t i = 0; i < nr_before; i++) {
		if (plan_conflicts(order->plan, order->open[i].event, event))
			return true;
	}
	return false;
}

static bool issue_passed_over(struct order *order)
{
	size_t nr_waiting = 0;

	if (!order->nr_passed_over)
		return false;
	for (size_t i = 0; i < order->nr_open; i++) {
		if (order->open[i].issued)
			continue;
		if (is_held_up(order, order->open[i].event, i, nr_waiting)) {
			nr_waiting++;
			continue;
		}
		order->nr_passed_over--;
		issue(order, &order->open[i]);
		return true;
	}
	return false;
}

static void wake_timer(struct order *order, uint64_t due_ns)
{
	order->due_ns = due_ns;
	pthread_cond_signal(&order->main_cond);
}

static bool is_due(struct order *order, size_t event)
{
	const struct trace_event *events = order->plan->trace->events;

	if (order->speed <= 0)
		return true;

	uint64_t now = clock_ns();
	double after = (double)(events[event].ns - events[0].ns) / order->speed;
	/* A hundred years are for ever, and do not overflow. */
	uint64_t due = order->base_ns + (uint64_t)(after < 3e18 ? after : 3e18);

	if (due <= now)
		return true;
	wake_timer(order, due);
	return false;
}

static struct open_event *open_next(struct order *order)
{
	if (order->nr_open == order->room_open) {
		size_t room = order->room_open * 2 + 64;
		void *open = reallocarray(order->open, room, sizeof(*order->open));

		if (!open) {
			order->error = -ENOMEM;
			pthread_cond_signal(&order->main_cond);
			return NULL;
		}
		order->open = open;
		order->room_open = room;
	}
	order->open[order->nr_open] = (struct open_event){ .event = order->cursor++ };
	return &order->open[order->nr_open++];
}

/* May the cursor go beyond what it has reached? */
static bool may_go_ahead(struct order *order)
{
	uint64_t now;

	if (order->nr_settling || order->cursor == nr_events(order))
		return false;
	if (order->nr_passed_over < order->may_pass_over)
		return true;
	now = clock_ns();
	if (!order->patience_ns)
		order->patience_ns = now + PATIENCE_NS;
	if (now < order->patience_ns) {
		wake_timer(order, order->patience_ns);
		return false;
	}
	order->patience_ns = 0;
	order->may_pass_over += AHEAD;
	return true;
}

/* Issues what can be issued. Called with the lock held whenever something has changed. */
static void advance(struct order *order)
{
	order->due_ns = 0;
	if (order->alone != ORDER_NO_EVENT || order->error || issue_passed_over(order))
		return;
	if (!order->nr_passed_over) {
		order->may_pass_over = AHEAD;
		order->patience_ns = 0;
	}
	while (may_go_ahead(order) && is_due(order, order->cursor)) {
		struct open_event *open = open_next(order);

		if (!open)
			return;
		if (!is_held_up(order, open->event, order->nr_open - 1, order->nr_passed_over)) {
			issue(order, open);
			return;
		}
		order->nr_passed_over++;
	}
}

static void close_event(struct order *order, size_t event)
{
	const struct trace_event *e = &order->plan->trace->events[event];
	size_t i = 0;

	while (order->open[i].event != event)
		i++;
	memmove(order->open + i, order->open + i + 1,
		(--order->nr_open - i) * sizeof(*order->open));
	count_event(order, event, -(e->type == TRACE_START),
		    (e->type == TRACE_START) - (e->type == TRACE_END), -is_update(order, event));
	if (e->type == TRACE_START)
		order->threads[plan_thread(order->plan, event)].in_call = e->index;
	if (order->alone == event)
		order->alone = ORDER_NO_EVENT;
	if (++order->done == nr_events(order))
		pthread_cond_signal(&order->main_cond);
}

static void run_granted(struct order *order, struct order_thread *thread)
{
	size_t event = thread->granted;
	bool went_well;

	thread->granted = ORDER_NO_EVENT;
	thread->remaining--;
	if (order->alone_can_wait) {
		order->alone = ORDER_NO_EVENT;
		atomic_fetch_add_explicit(&order->entering, 1, memory_order_relaxed);
		advance(order);
		pthread_mutex_unlock(&order->lock);
		atomic_fetch_sub_explicit(&order->entering, 1, memory_order_relaxed);
	} else {
		pthread_mutex_unlock(&order->lock);
		/* Relaxed: only about time; nothing is read that depends on it. */
		while (atomic_load_explicit(&order->entering, memory_order_relaxed))
			sched_yield();
	}
	went_well = order->run(order->ctx, event);
	pthread_mutex_lock(&order->lock);
	if (!went_well)
		order->speed = 0;
	close_event(order, event);
	advance(order);
}

static void *thread_main(void *arg)
{
	struct order_thread *thread = arg;
	struct order *order = thread->order;

	pthread_mutex_lock(&order->lock);
	while (thread->remaining) {
		while (thread->granted == ORDER_NO_EVENT)
			pthread_cond_wait(&thread->granted_cond, &order->lock);
		run_granted(order, thread);
	}
	thread->next_exited = order->exited;
	order->exited = thread;
	pthread_cond_signal(&order->main_cond);
	pthread_mutex_unlock(&order->lock);
	return NULL;
}

static void join_exited(struct order *order)
{
	while (order->exited) {
		struct order_thread *thread = order->exited;

		order->exited = thread->next_exited;
		order->nr_running--;
		pthread_mutex_unlock(&order->lock);
		pthread_join(thread->id, NULL);
		pthread_mutex_lock(&order->lock);
	}
}

static void wait_until(struct order *order, uint64_t ns)
{
	struct timespec until = { .tv_sec = (time_t)(ns / 1000000000),
				  .tv_nsec = (long)(ns % 1000000000) };

	pthread_cond_timedwait(&order->main_cond, &order->lock, &until);
}

static void report_progress(struct order *order, uint64_t now, uint64_t *reported_ns)
{
	size_t done = order->done;

	if (!order->options->progress || now - *reported_ns < TICK_NS)
		return;
	*reported_ns = now;
	pthread_mutex_unlock(&order->lock);
	order->options->progress(order->options->progress_ctx, done, nr_events(order));
	pthread_mutex_lock(&order->lock);
}

/* Waiting for the recorded time of the next event is not a stall. */
static bool is_stalled(const struct order *order, uint64_t now, uint64_t *moved_ns, size_t *moved)
{
	size_t state = order->done + order->cursor;

	if (state != *moved || order->due_ns) {
		*moved = state;
		*moved_ns = now;
	}
	return order->options->stall_ns && now - *moved_ns >= order->options->stall_ns;
}

static int watch(struct order *order)
{
	uint64_t moved_ns = clock_ns(), reported_ns = moved_ns, now;
	size_t moved = 0;

	while (!is_finished(order)) {
		now = clock_ns();
		if (is_stalled(order, now, &moved_ns, &moved))
			return -ETIMEDOUT;
		wait_until(order, order->due_ns && order->due_ns < now + TICK_NS ? order->due_ns
										 : now + TICK_NS);
		join_exited(order);
		report_progress(order, clock_ns(), &reported_ns);
		if (order->due_ns)
			advance(order);
	}
	return order->error;
}

static void order_free(struct order *order)
{
	for (size_t i = 0; order->threads && i < order->plan->nr_threads; i++)
		pthread_cond_destroy(&order->threads[i].granted_cond);
	pthread_cond_destroy(&order->main_cond);
	pthread_mutex_destroy(&order->lock);
	free(order->open);
	free(order->processes);
	free(order->threads);
	free(order);
}

static struct order *order_create(const struct replay_plan *plan)
{
	struct order *order = calloc(1, sizeof(*order));
	pthread_condattr_t attr;

	if (!order)
		return NULL;
	order->plan = plan;
	order->alone = ORDER_NO_EVENT;
	pthread_mutex_init(&order->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&order->main_cond, &attr);
	pthread_condattr_destroy(&attr);
	order->processes = calloc(plan->trace->nr_processes + 1, sizeof(*order->processes));
	order->threads = calloc(plan->nr_threads, sizeof(*order->threads));
	for (size_t i = 0; order->threads && i < plan->nr_threads; i++) {
		order->threads[i].order = order;
		order->threads[i].granted = ORDER_NO_EVENT;
		order->threads[i].in_call = ORDER_NO_EVENT;
		order->threads[i].remaining = plan->thread_events[i];
		pthread_cond_init(&order->threads[i].granted_cond, NULL);
	}
	if (!order->processes || !order->threads) {
		order_free(order);
		return NULL;
	}
	return order;
}

int order_play(const struct replay_plan *plan, const struct order_options *options,
	       bool (*run)(void *ctx, size_t event), void *ctx, size_t *stuck)
{
	struct order *order = order_create(plan);
	int error;

	*stuck = ORDER_NO_EVENT;
	if (!order)
		return -ENOMEM;
	order->options = options;
	order->run = run;
	order->ctx = ctx;
	order->speed = options->speed;
	pthread_mutex_lock(&order->lock);
	order->base_ns = clock_ns();
	advance(order);
	error = watch(order);
	if (error) {
		/* The threads that are stuck still use all of this. */
		if (order->nr_open)
			*stuck = order->open[0].event;
		pthread_mutex_unlock(&order->lock);
		return error;
	}
	while (order->nr_running) {
		join_exited(order);
		if (order->nr_running)
			wait_until(order, clock_ns() + TICK_NS);
	}
	pthread_mutex_unlock(&order->lock);
	order_free(order);
	return 0;
}
