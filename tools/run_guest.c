/* SPDX-License-Identifier: MIT */
/*
 * See run_guest.h. A guest gives its memory back as soon as it has ended, as a VM that is shut down
 * does: what is left of it is the VM and its addresses, on which the churn goes on.
 */
#include "run_guest.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct run_command *command_of(const struct run_guest *guest)
{
	return &guest->all->pass->options->commands.command[guest->command];
}

/* "3 busybox sort wor..": enough to know it by. */
static void set_name(struct run_guest *guest, unsigned int number)
{
	const char *text = command_of(guest)->text;
	size_t room = sizeof(guest->name) - 16;
	bool cut = strlen(text) > room;

	snprintf(guest->name, sizeof(guest->name), "%u %.*s%s", number, (int)room, text,
		 cut ? ".." : "");
	/* What is not to be printed may be in it, or half a character. */
	for (char *p = guest->name; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
			*p = '?';
}

static int open_output(struct run_guest *guest)
{
	const struct run_pass *pass = guest->all->pass;

	if (pass->stream)
		guest->out = STDOUT_FILENO;
	else if (pass->measure > 0)
		guest->out = guest->all->null;
	else
		guest->out = run_output_file();
	return guest->out < 0 ? guest->out : 0;
}

static int open_errors(struct run_guest *guest, unsigned int number)
{
	int error;

	if (guest->all->pass->direct_errors || guest->all->pass->measure > 0)
		return 0;
	error = run_errors_open(&guest->errors, number);
	guest->has_errors = !error;
	return error;
}

static int create_memory(struct run_guest *guest, struct s2_pool *pool)
{
	uint64_t size = guest->all->pass->options->mem;
	int error;

	if (!pool)
		return guest_memory_plain(size, &guest->memory);
	error = guest_memory_window_create(pool, size, &guest->window);
	if (!error)
		guest->memory = &guest->window->memory;
	return error;
}

int run_guest_create(struct run_guest *guest, struct run_guests *all, unsigned int number,
		     struct s2_pool *pool)
{
	const struct run_options *options = all->pass->options;
	int error;

	*guest = (struct run_guest){
		.all = all,
		.command = (number - 1) / options->vms % options->commands.nr,
		.out = -1,
	};
	set_name(guest, number);
	error = open_output(guest);
	if (!error)
		error = open_errors(guest, number);
	if (!error)
		error = create_memory(guest, pool);
	return error;
}

static int stdin_of(const struct run_guest *guest)
{
	return guest->all->pass->interactive ? STDIN_FILENO : guest->all->null;
}

static int stderr_of(const struct run_guest *guest)
{
	if (guest->has_errors)
		return guest->errors.write_fd;
	return guest->all->pass->direct_errors ? STDERR_FILENO : guest->all->null;
}

static void run_once(struct run_guest *guest)
{
	const struct run_options *options = guest->all->pass->options;
	const struct guest_config config = {
		.memory = guest->memory,
		.root = options->root,
		.program = options->programs[guest->command].path,
		.file = options->programs[guest->command].link,
		.argv = command_of(guest)->argv,
		.envp = run_environment,
		.stdio = { stdin_of(guest), guest->out, stderr_of(guest) },
		.limits = options->limits,
		.stop = &guest->all->stop,
		.syscalls = &guest->syscalls,
	};

	guest->error = guest_run(&config, &guest->result);
}

static bool goes_on(const struct run_guest *guest)
{
	return guest->all->pass->measure > 0 && !guest->error &&
	       !atomic_load_explicit(&guest->all->stop, memory_order_relaxed);
}

static void *run_thread(void *arg)
{
	struct run_guest *guest = arg;
	const uint64_t one = 1;

	atomic_store_explicit(&guest->state, RUN_GUEST_RUNNING, memory_order_relaxed);
	do {
		run_once(guest);
		run_guest_measure(guest, &guest->last);
		guest->memory->ops->discard(guest->memory, 0, guest->memory->size);
	} while (goes_on(guest));
	guest->cpu_ns = clock_ns_of(CLOCK_THREAD_CPUTIME_ID);
	/* Release pairs with the acquire of who measures: what came of it is there. */
	atomic_store_explicit(&guest->state, RUN_GUEST_ENDED, memory_order_release);
	while (write(guest->all->ended, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

int run_guest_start(struct run_guest *guest)
{
	int error = pthread_create(&guest->thread, NULL, run_thread, guest);

	guest->started = !error;
	return -error;
}

static void measure_window(const struct guest_memory_window *window,
			   struct run_guest_sample *sample)
{
	struct s2_window_stats mapped = { 0 };
	struct s2_pool_stats pool = { 0 };
	struct s2_vm_stats vm = { 0 };

	s2_memcg_get_stats(window->memcg, &pool);
	s2_window_get_stats(window->window, &mapped);
	s2_vm_get_stats(window->vm, &vm);
	sample->resident = pool.resident;
	sample->shared = pool.shared;
	sample->swapped = pool.swapped;
	sample->merged = pool.merged;
	sample->swap_ins = pool.swap_ins;
	sample->swap_outs = pool.swap_outs;
	sample->faults = vm.faults;
	sample->invalidations = vm.invalidations;
	sample->elided = vm.elided;
	sample->window_mappings = mapped.mappings;
}

static void measure_plain(const struct guest_memory *memory, struct run_guest_sample *sample)
{
	size_t pages = memory->size / S2_PAGE_SIZE;
	unsigned char *present = malloc(pages);

	if (present && !mincore(memory->base, memory->size, present))
		for (size_t i = 0; i < pages; i++)
			sample->resident += present[i] & 1;
	free(present);
}

static void measure_ended(const struct run_guest *guest, struct run_guest_sample *sample)
{
	*sample = guest->last;
	sample->state = RUN_GUEST_ENDED;
	sample->status = guest->result.status;
	sample->resident = 0;
	sample->shared = 0;
	sample->swapped = 0;
	sample->window_mappings = 0;
}

void run_guest_measure(struct run_guest *guest, struct run_guest_sample *sample)
{
	int state = atomic_load_explicit(&guest->state, memory_order_acquire);

	if (state == RUN_GUEST_ENDED) {
		measure_ended(guest, sample);
		return;
	}
	*sample = (struct run_guest_sample){
		.state = (enum run_guest_state)state,
		.syscalls = atomic_load_explicit(&guest->syscalls, memory_order_relaxed),
	};
	if (guest->window)
		measure_window(guest->window, sample);
	else
		measure_plain(guest->memory, sample);
	if (!guest->all->pass->stream)
		sample->output = run_output_size(guest->out);
}

void run_guest_join(struct run_guest *guest)
{
	if (guest->started)
		pthread_join(guest->thread, NULL);
	guest->started = false;
}

void run_guest_destroy(struct run_guest *guest)
{
	if (guest->memory)
		guest->memory->ops->destroy(guest->memory);
	if (guest->has_errors)
		run_errors_close(&guest->errors, guest->all->pass->errors);
	if (guest->out > STDERR_FILENO && guest->out != guest->all->null)
		close(guest->out);
	guest->memory = NULL;
	guest->has_errors = false;
	guest->out = -1;
}
