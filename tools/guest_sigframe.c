/* SPDX-License-Identifier: MIT */
/*
 * See guest_sigframe.h. As on a processor without XSAVE: the floating-point state is that of
 * fxsave, and nothing follows it. Segments are told and not taken back: a guest has but one kind.
 */
#include "guest_sigframe.h"

#include "guest_copy.h"
#include "guest_privilege.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct context {
	uint64_t general[GUEST_REGISTERS];
	uint16_t cs;
	uint16_t gs;
	uint16_t fs;
	uint16_t ss;
	uint64_t error;
	uint64_t trap;
	uint64_t old_mask;
	uint64_t cr2;
	uint64_t fpu;
	uint64_t reserved[8];
};

struct frame {
	uint64_t restorer;
	uint64_t flags;
	uint64_t link;
	struct guest_sigstack stack;
	struct context context;
	uint64_t mask;
	struct guest_siginfo info;
};

_Static_assert(sizeof(struct frame) == 440 && offsetof(struct frame, context) == 48,
	       "Linux's struct rt_sigframe");

/* UC_SIGCONTEXT_SS and UC_STRICT_RESTORE_SS: ss is told. */
#define CONTEXT_HAS_SS 6

/* What a function may have below its stack pointer. */
#define RED_ZONE 128

#define FPU_ALIGNMENT 64
#define STACK_ALIGNMENT 16

#define FLAG_TRAP UINT64_C(0x100)
#define FLAG_DIRECTION UINT64_C(0x400)
#define FLAG_RESUME UINT64_C(0x10000)

/* CF, PF, AF, ZF, SF, TF, DF, OF, RF and AC. */
#define PROGRAMS_FLAGS UINT64_C(0x50dd5)

struct place {
	uint64_t frame;
	uint64_t fpu;
};

/* A handler that is on the stack for them already stays there. Any of it may wrap around. */
static int find_place(const struct guest_sigstack *stack, uint64_t flags, uint64_t sp,
		      struct place *place)
{
	bool on_it = !(stack->flags & GUEST_SS_AUTODISARM) && guest_sigstack_holds(stack, sp);

	sp -= RED_ZONE;
	if (!on_it && flags & GUEST_SA_ONSTACK && stack->size) {
		sp = stack->sp + stack->size;
		on_it = true;
	}
	place->fpu = (sp - sizeof(struct guest_fpu)) & -(uint64_t)FPU_ALIGNMENT;
	/* As if the handler had been called by an instruction that pushed the restorer. */
	place->frame = ((place->fpu - sizeof(struct frame)) & -(uint64_t)STACK_ALIGNMENT) -
		       sizeof(uint64_t);
	return on_it && !guest_sigstack_holds(stack, place->frame) ? -EFAULT : 0;
}

static void begin_handler(struct guest_registers *registers, const struct guest_sigaction *action,
			  int signal, uint64_t frame)
{
	uint64_t *general = registers->general;

	general[GUEST_RDI] = (uint64_t)signal;
	general[GUEST_RSI] = frame + offsetof(struct frame, info);
	general[GUEST_RDX] = frame + offsetof(struct frame, flags);
	general[GUEST_RAX] = 0;
	general[GUEST_RSP] = frame;
	general[GUEST_RIP] = action->handler;
	general[GUEST_RFLAGS] &= ~(FLAG_TRAP | FLAG_DIRECTION | FLAG_RESUME);
	guest_fpu_reset(&registers->fpu);
}

int guest_sigframe_push(struct guest *guest, const struct guest_sigaction *action,
			const struct guest_siginfo *info, uint64_t mask,
			struct guest_registers *registers)
{
	struct guest_sigstack *stack = &guest->signals->stack;
	struct frame frame = {
		.restorer = action->restorer,
		.flags = CONTEXT_HAS_SS,
		.stack = *stack,
		.context = { .cs = GUEST_CODE_SELECTOR,
			     .ss = GUEST_DATA_SELECTOR,
			     .old_mask = mask },
		.mask = mask,
		.info = *info,
	};
	struct place place;
	int error = action->flags & GUEST_SA_RESTORER ? 0 : -EFAULT;

	if (!error)
		error = find_place(stack, action->flags, registers->general[GUEST_RSP], &place);
	if (error)
		return error;
	frame.context.fpu = place.fpu;
	memcpy(frame.context.general, registers->general, sizeof(registers->general));
	if (guest_copy_out(guest, place.fpu, &registers->fpu, sizeof(registers->fpu)) ||
	    guest_copy_out(guest, place.frame, &frame, sizeof(frame)))
		return -EFAULT;
	if (stack->flags & GUEST_SS_AUTODISARM)
		guest_sigstack_disable(stack);
	begin_handler(registers, action, info->signal, place.frame);
	return 0;
}

/* The upper bits of an address repeat that of its 48 which is the highest. */
static bool is_address(uint64_t gva)
{
	return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}

static int read_fpu(struct guest *guest, uint64_t gpa, struct guest_fpu *fpu)
{
	if (!gpa) {
		guest_fpu_reset(fpu);
		return 0;
	}
	if (guest_copy_in(guest, gpa, fpu, sizeof(*fpu)) || fpu->mxcsr & ~GUEST_MXCSR_MASK)
		return -EFAULT;
	return 0;
}

int guest_sigframe_pop(struct guest *guest, struct guest_registers *registers)
{
	uint64_t flags = registers->general[GUEST_RFLAGS];
	struct guest_registers before;
	struct frame frame;

	/* The restorer has been taken from the stack. */
	if (guest_copy_in(guest, registers->general[GUEST_RSP] - sizeof(frame.restorer), &frame,
			  sizeof(frame)) ||
	    !is_address(frame.context.general[GUEST_RIP]) ||
	    read_fpu(guest, frame.context.fpu, &before.fpu))
		return -EFAULT;
	memcpy(before.general, frame.context.general, sizeof(before.general));
	before.general[GUEST_RFLAGS] = (flags & ~PROGRAMS_FLAGS) |
				       (before.general[GUEST_RFLAGS] & PROGRAMS_FLAGS);
	*registers = before;
	guest_signal_set_mask(guest, frame.mask);
	/* As in the kernel, a stack that cannot be is left out. */
	guest_sigstack_set(&guest->signals->stack, &frame.stack, before.general[GUEST_RSP]);
	return 0;
}
