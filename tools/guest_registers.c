/* SPDX-License-Identifier: MIT */
/*
 * See guest_registers.h. Unicorn gives the registers of the floating-point stack in their own
 * order, and two bits about each in a word of tags, where fxsave has one.
 */
#include "guest_registers.h"

#include <string.h>

#define EMPTY 3u

static const int ids[GUEST_REGISTERS] = {
	UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10,	   UC_X86_REG_R11, UC_X86_REG_R12,
	UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15,	   UC_X86_REG_RDI, UC_X86_REG_RSI,
	UC_X86_REG_RBP, UC_X86_REG_RBX, UC_X86_REG_RDX,	   UC_X86_REG_RAX, UC_X86_REG_RCX,
	UC_X86_REG_RSP, UC_X86_REG_RIP, UC_X86_REG_EFLAGS,
};

void guest_fpu_reset(struct guest_fpu *fpu)
{
	memset(fpu, 0, sizeof(*fpu));
	fpu->control = 0x37f;
	fpu->mxcsr = 0x1f80;
	fpu->mxcsr_mask = GUEST_MXCSR_MASK;
}

/* Where in the stack the register @number of the eight is. */
static unsigned int place_of(const struct guest_fpu *fpu, unsigned int number)
{
	unsigned int top = fpu->status >> 11 & 7;

	return (number - top) & 7;
}

static void read_fpu(uc_engine *engine, struct guest_fpu *fpu)
{
	uint16_t tags = 0;

	uc_reg_read(engine, UC_X86_REG_FPCW, &fpu->control);
	uc_reg_read(engine, UC_X86_REG_FPSW, &fpu->status);
	uc_reg_read(engine, UC_X86_REG_FPTAG, &tags);
	uc_reg_read(engine, UC_X86_REG_MXCSR, &fpu->mxcsr);
	fpu->mxcsr_mask = GUEST_MXCSR_MASK;
	for (unsigned int i = 0; i < 8; i++) {
		if ((tags >> 2 * i & 3) != EMPTY)
			fpu->used |= (uint8_t)(1u << i);
		uc_reg_read(engine, UC_X86_REG_FP0 + (int)i, fpu->st[place_of(fpu, i)]);
	}
	for (unsigned int i = 0; i < 16; i++)
		uc_reg_read(engine, UC_X86_REG_XMM0 + (int)i, fpu->xmm[i]);
}

/* Unicorn looks only at which registers are empty, and finds the rest itself. */
static void write_fpu(uc_engine *engine, const struct guest_fpu *fpu)
{
	uint16_t tags = 0;

	for (unsigned int i = 0; i < 8; i++)
		if (!(fpu->used >> i & 1))
			tags |= (uint16_t)(EMPTY << 2 * i);
	uc_reg_write(engine, UC_X86_REG_FPCW, &fpu->control);
	uc_reg_write(engine, UC_X86_REG_FPSW, &fpu->status);
	uc_reg_write(engine, UC_X86_REG_FPTAG, &tags);
	uc_reg_write(engine, UC_X86_REG_MXCSR, &fpu->mxcsr);
	for (unsigned int i = 0; i < 8; i++)
		uc_reg_write(engine, UC_X86_REG_FP0 + (int)i, fpu->st[place_of(fpu, i)]);
	for (unsigned int i = 0; i < 16; i++)
		uc_reg_write(engine, UC_X86_REG_XMM0 + (int)i, fpu->xmm[i]);
}

void guest_registers_read(uc_engine *engine, struct guest_registers *registers)
{
	memset(registers, 0, sizeof(*registers));
	for (unsigned int i = 0; i < GUEST_REGISTERS; i++)
		uc_reg_read(engine, ids[i], &registers->general[i]);
	read_fpu(engine, &registers->fpu);
}

void guest_registers_write(uc_engine *engine, const struct guest_registers *registers)
{
	for (unsigned int i = 0; i < GUEST_REGISTERS; i++)
		uc_reg_write(engine, ids[i], &registers->general[i]);
	write_fpu(engine, &registers->fpu);
}
