/* SPDX-License-Identifier: MIT */
/*
 * The processor of a guest: an engine of Unicorn's.
 */
#ifndef STAGE2_TOOLS_GUEST_CPU_H
#define STAGE2_TOOLS_GUEST_CPU_H

#include <stdint.h>

struct guest;
struct guest_cpu;
struct guest_registers;

/*
 * Makes the process's handlers of SIGSEGV and SIGABRT ones that end a guest whose memory the host
 * could not provide, or whose engine failed, and pass on what is about no guest. Once for the
 * process; again, nothing happens. To be called before s2_window_handle_signals(), which is to get
 * the signal first. -errno of sigaction(2).
 */
int guest_cpu_handle_signals(void);

/* After the program has been loaded. -ENOMEM, or -EINVAL for a memory that Unicorn does not map. */
int guest_cpu_create(struct guest *guest, struct guest_cpu **cpu);
void guest_cpu_destroy(struct guest_cpu *cpu);

/* Runs until guest->ended is set; by the thread that created it. */
void guest_cpu_run(struct guest_cpu *cpu, uint64_t entry, uint64_t sp);

/*
 * After something was forbidden to the guest in a range of its memory. NULL is allowed, for a guest
 * that has no processor yet.
 */
void guest_cpu_forget(struct guest_cpu *cpu, uint64_t gpa, uint64_t size);

void guest_cpu_set_fs(struct guest_cpu *cpu, uint64_t base);
void guest_cpu_set_gs(struct guest_cpu *cpu, uint64_t base);
uint64_t guest_cpu_fs(struct guest_cpu *cpu);
uint64_t guest_cpu_gs(struct guest_cpu *cpu);

/* Between two instructions, while the engine is stopped. */
void guest_cpu_registers(struct guest_cpu *cpu, struct guest_registers *registers);
void guest_cpu_set_registers(struct guest_cpu *cpu, const struct guest_registers *registers);

#endif
