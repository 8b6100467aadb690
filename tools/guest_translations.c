/* SPDX-License-Identifier: MIT */
/*
 * Unicorn reserves 1 GiB of addresses for the translations of each engine, uses as much of that as
 * the guest has code, and runs it, and drops them all when it is full. How much it is to reserve is
 * an argument, which it always passes as 0: the function comes through here (guest_unicorn.h) to
 * get another one.
 *
 * So does the function that finds room for the next translation: when there is none left, Unicorn
 * does not drop the old ones the first time, but writes over them. To say that there is none before
 * it finds that itself makes it drop them in order.
 */
#include "guest_translations.h"

#include "guest_unicorn.h"

#if GUEST_UNICORN_KNOWN

#include <pthread.h>
#include <stddef.h>

/* More than any translation takes: Unicorn counts its bytes in 16 bits, and what describes it. */
#define ROOM_FOR_ONE (UINT64_C(256) << 10)

typedef void exec_init(void *engine, unsigned long size);
typedef void *tb_alloc(void *context);
typedef void tb_flush(void *cpu);

exec_init tcg_exec_init_x86_64;
tb_alloc tcg_tb_alloc_x86_64;
tb_flush tb_flush_x86_64;

static struct {
	exec_init *init;
	tb_alloc *alloc;
	tb_flush *flush;
	bool known;
} unicorn;

static pthread_once_t prepared = PTHREAD_ONCE_INIT;

/* Of the thread's engine; @first: where its first translation is, 0 if it has none. */
static _Thread_local uint64_t limit;
static _Thread_local uint64_t dropped;
static _Thread_local uintptr_t first;

static void prepare(void)
{
	unicorn.init = (exec_init *)guest_unicorn_function("tcg_exec_init_x86_64");
	unicorn.alloc = (tb_alloc *)guest_unicorn_function("tcg_tb_alloc_x86_64");
	unicorn.flush = (tb_flush *)guest_unicorn_function("tb_flush_x86_64");
	unicorn.known = guest_unicorn_is_known();
}

void tcg_exec_init_x86_64(void *engine, unsigned long size)
{
	unicorn.init(engine, unicorn.known ? limit : size);
}

void *tcg_tb_alloc_x86_64(void *context)
{
	void *translation = unicorn.alloc(context);

	if (!unicorn.known)
		return translation;
	if (!first)
		first = (uintptr_t)translation;
	return (uintptr_t)translation - first > limit - ROOM_FOR_ONE ? NULL : translation;
}

void tb_flush_x86_64(void *cpu)
{
	dropped++;
	first = 0;
	unicorn.flush(cpu);
}

void guest_translations_limit(uint64_t bytes)
{
	pthread_once(&prepared, prepare);
	limit = bytes;
	dropped = 0;
	first = 0;
}

uint64_t guest_translations_dropped(void)
{
	return dropped;
}

#else

void guest_translations_limit(uint64_t bytes)
{
	(void)bytes;
}

uint64_t guest_translations_dropped(void)
{
	return 0;
}

#endif
