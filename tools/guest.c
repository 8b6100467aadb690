/* SPDX-License-Identifier: MIT */
/*
 * The life of a guest.
 */
#include "guest.h"

#include "clock.h"
#include "guest_cpu.h"
#include "guest_elf.h"
#include "guest_files.h"
#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_signals.h"
#include "guest_stack.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

void guest_end(struct guest *guest, int status, const char *format, ...)
{
	va_list args;

	if (guest->ended)
		return;
	guest->ended = true;
	guest->result->status = status;
	if (!format)
		return;
	va_start(args, format);
	vsnprintf(guest->result->reason, sizeof(guest->result->reason), format, args);
	va_end(args);
}

bool guest_must_stop(struct guest *guest)
{
	const _Atomic bool *stop = guest->config->stop;

	if (stop && atomic_load_explicit(stop, memory_order_relaxed))
		guest_end(guest, 128 + SIGKILL, "it was told to stop");
	else if (clock_ns() >= guest->deadline_ns)
		guest_end(guest, 128 + SIGKILL, "it ran longer than the %llu s it is allowed",
			  (unsigned long long)guest->limits.seconds);
	return guest->ended;
}

static void set_limits(struct guest *guest)
{
	struct guest_limits *limits = &guest->limits;

	*limits = guest->config->limits;
	if (!limits->files)
		limits->files = GUEST_DEFAULT_FILES;
	if (!limits->maps)
		limits->maps = GUEST_DEFAULT_MAPS;
	if (!limits->code)
		limits->code = GUEST_DEFAULT_CODE;
	guest->deadline_ns = UINT64_MAX;
	if (limits->seconds && limits->seconds < (UINT64_MAX - guest->start_ns) / NS_PER_S)
		guest->deadline_ns = guest->start_ns + limits->seconds * NS_PER_S;
}

/* What fails here is the host's fault; a program that cannot be run says so itself. */
static int refuse(struct guest *guest, int error, const char *part)
{
	guest_end(guest, GUEST_NOT_RUN, "cannot make the guest's %s: %s", part, strerror(-error));
	return error;
}

static int create_parts(struct guest *guest)
{
	const char *part = "address space";
	int error = guest_maps_create(guest->memory, guest->limits.maps, &guest->maps);

	if (!error) {
		part = "signals";
		error = guest_signals_create(&guest->signals);
	}
	if (!error) {
		part = "files";
		error = guest_files_create(guest->config, &guest->files);
	}
	return error ? refuse(guest, error, part) : 0;
}

static void destroy_parts(struct guest *guest)
{
	guest_cpu_destroy(guest->cpu);
	guest_files_destroy(guest->files);
	guest_signals_destroy(guest->signals);
	guest_maps_destroy(guest->maps);
}

static int run(struct guest *guest)
{
	struct guest_program program;
	uint64_t sp;
	int error = create_parts(guest);

	if (!error)
		error = guest_elf_load(guest, &program);
	if (!error)
		error = guest_stack_create(guest, &program, &sp);
	if (error)
		return error;
	guest->text_start = program.text_start;
	guest->text_end = program.text_end;
	guest->brk_start = program.end;
	guest->brk = program.end;
	error = guest_cpu_create(guest, &guest->cpu);
	if (error)
		return refuse(guest, error, "processor");
	guest_cpu_run(guest->cpu, program.entry, sp);
	return 0;
}

int guest_run(const struct guest_config *config, struct guest_result *result)
{
	struct guest guest = {
		.config = config,
		.memory = config->memory,
		.result = result,
		.start_ns = clock_ns(),
	};
	int error;

	memset(result, 0, sizeof(*result));
	set_limits(&guest);
	error = run(&guest);
	destroy_parts(&guest);
	result->ns = clock_ns() - guest.start_ns;
	/* It was told to stop, or its time was over, while it was being loaded. */
	return error == -EINTR ? 0 : error;
}
