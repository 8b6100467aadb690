/* SPDX-License-Identifier: MIT */
/*
 * What a guest's processor holds between two instructions, but for its segments and what only a
 * kernel changes.
 */
#ifndef STAGE2_TOOLS_GUEST_REGISTERS_H
#define STAGE2_TOOLS_GUEST_REGISTERS_H

#include <stdint.h>
#include <unicorn/unicorn.h>

/* As fxsave64 stores it. Unicorn has no AVX, so that there is nothing else. */
struct guest_fpu {
	uint16_t control;
	uint16_t status;
	uint8_t used; /* a bit for each register that is not empty, in their own order */
	uint8_t reserved;
	uint16_t opcode;
	uint64_t ip;
	uint64_t dp;
	uint32_t mxcsr;
	uint32_t mxcsr_mask;
	unsigned char st[8][16]; /* in the order of the stack */
	unsigned char xmm[16][16];
	unsigned char rest[96];
};

_Static_assert(sizeof(struct guest_fpu) == 512, "of the processor's size");

/* In the order of Linux's struct sigcontext. */
enum guest_register {
	GUEST_R8,
	GUEST_R9,
	GUEST_R10,
	GUEST_R11,
	GUEST_R12,
	GUEST_R13,
	GUEST_R14,
	GUEST_R15,
	GUEST_RDI,
	GUEST_RSI,
	GUEST_RBP,
	GUEST_RBX,
	GUEST_RDX,
	GUEST_RAX,
	GUEST_RCX,
	GUEST_RSP,
	GUEST_RIP,
	GUEST_RFLAGS,
	GUEST_REGISTERS
};

struct guest_registers {
	uint64_t general[GUEST_REGISTERS];
	struct guest_fpu fpu;
};

/* The bits of MXCSR that exist. */
#define GUEST_MXCSR_MASK UINT32_C(0xffff)

/* As the processor begins, and as a handler of a signal finds it. */
void guest_fpu_reset(struct guest_fpu *fpu);

/* While the engine is stopped. */
void guest_registers_read(uc_engine *engine, struct guest_registers *registers);
void guest_registers_write(uc_engine *engine, const struct guest_registers *registers);

#endif
