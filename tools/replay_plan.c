/* SPDX-License-Identifier: MIT */
/*
 * One walk over the recording's events that applies the memslot updates in their order, as the
 * replay will.
 */
#include "replay_plan.h"

#include "shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t plan_thread(const struct replay_plan *plan, size_t event)
{
	const struct trace_call *call = plan_call(plan, event);

	return call ? call->thread : (uint32_t)plan->nr_threads - 1;
}

uint32_t plan_process(const struct replay_plan *plan, size_t event)
{
	const struct trace_event *e = &plan->trace->events[event];

	if (e->type == TRACE_VM_GONE)
		return plan->trace->vms[e->index].process;
	return plan->trace->calls[e->index].process;
}

const struct trace_call *plan_call(const struct replay_plan *plan, size_t event)
{
	const struct trace_event *e = &plan->trace->events[event];

	return e->type == TRACE_VM_GONE ? NULL : &plan->trace->calls[e->index];
}

static const struct plan_update *plan_update_of(const struct replay_plan *plan, size_t event)
{
	return &plan->updates[plan->update_of_call[plan->trace->events[event].index]];
}

static uint32_t plan_vm_of(const struct replay_plan *plan, size_t event)
{
	const struct trace_call *call = plan_call(plan, event);

	return call ? call->vm : plan->trace->events[event].index;
}

static bool is_update(enum trace_event_type type)
{
	return type == TRACE_UPDATE || type == TRACE_VM_GONE;
}

static bool start_and_update_conflict(const struct replay_plan *plan, size_t start, size_t update)
{
	const struct trace_call *call = plan_call(plan, start);
	const struct plan_update *u;

	/* A VM that is closed takes all of its memslots along. */
	if (call->nr_ranges > 1 || !plan_call(plan, update))
		return true;
	u = plan_update_of(plan, update);
	return ranges_overlap(call->range[0], u->old_hva) ||
	       ranges_overlap(call->range[0], u->new_hva);
}

static bool updates_conflict(const struct replay_plan *plan, size_t a, size_t b)
{
	const struct trace_call *call_a = plan_call(plan, a), *call_b = plan_call(plan, b);
	const struct plan_update *ua, *ub;

	if (plan_vm_of(plan, a) != plan_vm_of(plan, b))
		return false;
	if (!call_a || !call_b || call_a->region.slot == call_b->region.slot)
		return true;
	ua = plan_update_of(plan, a);
	ub = plan_update_of(plan, b);
	return ranges_overlap(ua->old_gpa, ub->new_gpa) ||
	       ranges_overlap(ua->new_gpa, ub->old_gpa) || ranges_overlap(ua->new_gpa, ub->new_gpa);
}

bool plan_conflicts(const struct replay_plan *plan, size_t earlier, size_t later)
{
	enum trace_event_type a = plan->trace->events[earlier].type;
	enum trace_event_type b = plan->trace->events[later].type;

	if (plan_thread(plan, earlier) == plan_thread(plan, later))
		return true;
	if (plan_process(plan, earlier) != plan_process(plan, later))
		return false;
	if (is_update(a) && is_update(b))
		return updates_conflict(plan, earlier, later);
	if (is_update(a) && b == TRACE_START)
		return start_and_update_conflict(plan, later, earlier);
	if (a == TRACE_START && is_update(b))
		return start_and_update_conflict(plan, earlier, later);
	return false;
}

static int add_memory(struct plan_process *process, struct trace_range hva)
{
	hva.start &= ~UINT64_C(4095);
	hva.end = (hva.end + 4095) & ~UINT64_C(4095);
	if (hva.start >= hva.end)
		return 0;
	if (process->nr_memory == process->room_memory) {
		size_t room = process->room_memory * 2 + 16;
		void *memory = reallocarray(process->memory, room, sizeof(*process->memory));

		if (!memory)
			return -ENOMEM;
		process->memory = memory;
		process->room_memory = room;
	}
	process->memory[process->nr_memory++] = hva;
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct trace_range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Joins what overlaps or touches. */
static void merge_memory(struct plan_process *process)
{
	struct trace_range *memory = process->memory;
	size_t nr = 0;

	if (!process->nr_memory)
		return;
	qsort(memory, process->nr_memory, sizeof(*memory), compare_ranges);
	for (size_t i = 0; i < process->nr_memory; i++) {
		if (!nr || memory[i].start > memory[nr - 1].end)
			memory[nr++] = memory[i];
		else if (memory[i].end > memory[nr - 1].end)
			memory[nr - 1].end = memory[i].end;
	}
	process->nr_memory = nr;
}

static int plan_one_update(struct replay_plan *plan, struct shape *shapes, uint32_t index,
			   uint32_t *nr_updates)
{
	const struct trace_call *call = &plan->trace->calls[index];
	struct plan_process *process = &plan->processes[call->process];
	struct plan_vm *vm = &plan->vms[call->vm];
	const struct kvm_userspace_memory_region *old;

	old = shape_find(&shapes[call->vm], call->region.slot);
	plan->update_of_call[index] = *nr_updates;
	plan->updates[(*nr_updates)++] = (struct plan_update){
		.old_hva = shape_hva(old),
		.new_hva = shape_hva(&call->region),
		.old_gpa = shape_gpa(old),
		.new_gpa = shape_gpa(&call->region),
	};
	process->memslot_updates++;
	vm->memslot_updates++;
	if (call->region.slot >> 16)
		vm->two_address_spaces = true;
	if (add_memory(process, shape_hva(&call->region)))
		return -ENOMEM;
	return shape_apply(&shapes[call->vm], &call->region);
}

static bool is_related(const struct replay_plan *plan, const struct shape *shapes, uint32_t process,
		       struct trace_range range)
{
	for (size_t i = 0; i < plan->trace->nr_vms; i++) {
		if (plan->trace->vms[i].process == process && shape_overlaps(&shapes[i], range))
			return true;
	}
	return false;
}

static void plan_start(struct replay_plan *plan, const struct shape *shapes, uint32_t index)
{
	const struct trace_call *call = &plan->trace->calls[index];
	struct plan_process *process = &plan->processes[call->process];
	uint64_t elided = 0;

	process->invalidations++;
	process->related += call->related;
	if (call->nr_ranges < 2)
		return;
	for (unsigned int i = 0; i < call->nr_ranges; i++)
		elided += !is_related(plan, shapes, call->process, call->range[i]);
	process->extra_invalidations += call->nr_ranges - 1;
	process->extra_elided += elided - !call->related;
}

static int walk_events(struct replay_plan *plan, struct shape *shapes)
{
	uint32_t nr_updates = 0;

	for (size_t i = 0; i < plan->trace->nr_events; i++) {
		const struct trace_event *event = &plan->trace->events[i];

		plan->thread_events[plan_thread(plan, i)]++;
		switch (event->type) {
		case TRACE_START:
			plan_start(plan, shapes, event->index);
			break;
		case TRACE_END:
			break;
		case TRACE_UPDATE:
			if (plan_one_update(plan, shapes, event->index, &nr_updates))
				return -ENOMEM;
			break;
		case TRACE_VM_GONE:
			shape_clear(&shapes[event->index]);
			break;
		}
	}
	for (size_t i = 0; i < plan->trace->nr_processes; i++)
		merge_memory(&plan->processes[i]);
	return 0;
}

/* calloc() that does not give NULL for nothing. */
static void *zeroed_array(size_t nr, size_t size)
{
	return calloc(nr ? nr : 1, size);
}

static bool allocate_plan(struct replay_plan *plan, const struct trace *trace)
{
	plan->nr_threads = trace->nr_threads + 1;
	plan->thread_events = zeroed_array(plan->nr_threads, sizeof(*plan->thread_events));
	plan->processes = zeroed_array(trace->nr_processes, sizeof(*plan->processes));
	plan->vms = zeroed_array(trace->nr_vms, sizeof(*plan->vms));
	plan->update_of_call = zeroed_array(trace->nr_calls, sizeof(*plan->update_of_call));
	plan->updates = zeroed_array(trace->count[TRACE_MEMSLOT], sizeof(*plan->updates));
	return plan->thread_events && plan->processes && plan->vms && plan->update_of_call &&
	       plan->updates;
}

int replay_plan_create(const char *name, const struct trace *trace, struct replay_plan **out)
{
	struct replay_plan *plan = calloc(1, sizeof(*plan));
	struct shape *shapes = zeroed_array(trace->nr_vms, sizeof(*shapes));
	int error = -ENOMEM;

	if (plan && shapes) {
		plan->name = name;
		plan->trace = trace;
		if (allocate_plan(plan, trace))
			error = walk_events(plan, shapes);
	}
	for (size_t i = 0; shapes && i < trace->nr_vms; i++)
		shape_clear(&shapes[i]);
	free(shapes);
	if (error) {
		replay_plan_destroy(plan);
		return error;
	}
	*out = plan;
	return 0;
}

void replay_plan_destroy(struct replay_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; plan->processes && i < plan->trace->nr_processes; i++)
		free(plan->processes[i].memory);
	free(plan->thread_events);
	free(plan->processes);
	free(plan->vms);
	free(plan->update_of_call);
	free(plan->updates);
	free(plan);
}
