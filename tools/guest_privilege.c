/* SPDX-License-Identifier: MIT */
/*
 * See guest_privilege.h. No register that may be set from outside is the privilege itself, so the
 * engine runs two instructions of ours: a kernel's return to a program, to segments as Linux has
 * them, and one that stops it there.
 */
#include "guest_privilege.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest_maps.h"
#include "guest_tlb.h"

/* Where no guest ever has memory. */
#define STUB UINT64_C(0)

/* iretq; int3 */
static const unsigned char code[] = { 0x48, 0xcf, 0xcc };
#define PROGRAM_RIP (STUB + 2)

#define BREAKPOINT 3

/* What the selectors select. */
#define FLAT_CODE UINT64_C(0x00affb000000ffff)
#define FLAT_DATA UINT64_C(0x00cff3000000ffff)

struct stub {
	unsigned char code[64];
	uint64_t segments[7];
	uint64_t frame[5];
};

static void fill(struct stub *stub)
{
	const uint64_t frame[] = { PROGRAM_RIP, GUEST_CODE_SELECTOR, 2, 0, GUEST_DATA_SELECTOR };

	memset(stub, 0, GUEST_PAGE_SIZE);
	memcpy(stub->code, code, sizeof(code));
	stub->segments[GUEST_CODE_SELECTOR >> 3] = FLAT_CODE;
	stub->segments[GUEST_DATA_SELECTOR >> 3] = FLAT_DATA;
	memcpy(stub->frame, frame, sizeof(frame));
}

static void on_interrupt(uc_engine *engine, uint32_t number, void *ctx)
{
	*(uint32_t *)ctx = number;
	uc_emu_stop(engine);
}

static uc_err set_segments(uc_engine *engine, uint64_t base, uint32_t limit)
{
	const uc_x86_mmr table = { .base = base, .limit = limit };

	return uc_reg_write(engine, UC_X86_REG_GDTR, &table);
}

static uc_err run_stub(uc_engine *engine)
{
	const uint64_t sp = STUB + offsetof(struct stub, frame);
	uc_err error = set_segments(engine, STUB + offsetof(struct stub, segments),
				    sizeof(((struct stub *)0)->segments) - 1);

	if (!error)
		error = uc_reg_write(engine, UC_X86_REG_RSP, &sp);
	guest_tlb_use(NULL);
	if (!error)
		error = uc_emu_start(engine, STUB, 0, 0, 0);
	return error ? error : set_segments(engine, 0, 0);
}

static int run_stopped(uc_engine *engine)
{
	uint32_t exception = 0;
	uint16_t selector = 0;
	uc_hook hook;
	uc_err error;

	if (uc_hook_add(engine, &hook, UC_HOOK_INTR, (void *)on_interrupt, &exception, 1, 0))
		return -ENOMEM;
	error = run_stub(engine);
	uc_hook_del(engine, hook);
	uc_reg_read(engine, UC_X86_REG_CS, &selector);
	return error || exception != BREAKPOINT || selector != GUEST_CODE_SELECTOR ? -EINVAL : 0;
}

int guest_privilege_drop(uc_engine *engine)
{
	struct stub *stub = aligned_alloc(GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
	int error = -EINVAL;

	if (!stub)
		return -ENOMEM;
	fill(stub);
	if (!uc_mem_map_ptr(engine, STUB, GUEST_PAGE_SIZE, UC_PROT_READ | UC_PROT_EXEC, stub)) {
		error = run_stopped(engine);
		if (uc_mem_unmap(engine, STUB, GUEST_PAGE_SIZE))
			error = -EINVAL;
	}
	free(stub);
	return error;
}
