/* SPDX-License-Identifier: MIT */
/* The only place that may know which processor this is. */
#ifndef S2_BASE_ARCH_H
#define S2_BASE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

/*
 * The end of what user space may map, less the guard page, as the kernel's
 * access_ok() has it.
 */
#if defined(__aarch64__)
#define S2_TASK_SIZE ((UINT64_C(1) << 48) - 4096)
#else
#define S2_TASK_SIZE ((UINT64_C(1) << 47) - 4096)
#endif

/* Tells the core that this is a spin loop. */
static inline void s2_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/*
 * A value that no two live threads share, without a system call, a lock or an
 * allocation: start() asks for it inside malloc and in signal handlers.
 */
static inline uintptr_t s2_thread_self(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

/* To spread threads by: they differ by a stack at least, and not in their lower bits. */
static inline uint32_t s2_thread_hash(void)
{
	return (uint32_t)(s2_thread_self() * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/*
 * Of the context of a SIGSEGV: was it to read, to write, or to execute? Processors that do
 * not tell us are S2_FAULT_UNKNOWN.
 */
enum s2_fault_kind { S2_FAULT_UNKNOWN, S2_FAULT_READ, S2_FAULT_WRITE, S2_FAULT_EXECUTE };

static inline enum s2_fault_kind s2_fault_kind(const void *context)
{
#if defined(__x86_64__)
	/* 19 is REG_ERR of <sys/ucontext.h>: bits of the page fault's error code. */
	greg_t error = ((const ucontext_t *)context)->uc_mcontext.gregs[19];

	return error & 16 ? S2_FAULT_EXECUTE : error & 2 ? S2_FAULT_WRITE : S2_FAULT_READ;
#else
	(void)context;
	return S2_FAULT_UNKNOWN;
#endif
}

/*
 * Guest accesses that hit, as restartable sequences (base/rseq.h): between the load of
 * the live TLB and the last instruction, which is the access itself, the kernel may
 * send the thread back to the beginning. What is given to the kernel for each is
 * where it begins, how long it is and where to go instead; that place follows
 * the signature that glibc registered.
 *
 * Not inlined into programs: a descriptor and a landing place for each access would
 * cost more of the cache than the call.
 */
#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<sys/rseq.h>)
#define S2_ARCH_HAS_RSEQ 1
#endif
#endif

#ifdef S2_ARCH_HAS_RSEQ

#include <stage2/vcpu-inline.h>
#include <sys/rseq.h>

#if S2_DEBUG_CHECKS || S2_MUTANTS
/* How long a sequence waits before it uses the TLB it has loaded, for the tests. */
extern uint64_t s2_rseq_window;
#define S2_RSEQ_WINDOW                                                                             \
	"	movq s2_rseq_window(%%rip), %[tag]\n"                                               \
	"5:	subq $1, %[tag]\n"                                                                  \
	"	jnc 5b\n"
#else
#define S2_RSEQ_WINDOW
#endif

#define S2_RSEQ_BEGIN                                                                              \
	"0:	leaq 9f(%%rip), %[entry]\n"                                                         \
	"	movq %[entry], %%fs:%c[rseq_cs](%[area])\n"                                         \
	"1:	movq %[live_tlb], %[entry]\n" S2_RSEQ_WINDOW                                        \
	"	addq %[index], %[entry]\n"                                                          \
	"	movq %c[ptag](%[entry]), %[tag]\n"

/* The flags still hold the comparison's result. */
#define S2_RSEQ_END                                                                                \
	"2:\n"                                                                                     \
	"	.pushsection __rseq_failure, \"ax\"\n"                                              \
	"	.byte 0x0f, 0xb9, 0x3d\n"                                                           \
	"	.long %c[signature]\n"                                                              \
	"4:	jmp 0b\n"                                                                           \
	"	.popsection\n"                                                                      \
	"	.pushsection __rseq_cs, \"aw\"\n"                                                   \
	"	.balign 32\n"                                                                       \
	"9:	.long 0, 0\n"                                                                       \
	"	.quad 1b, 2b - 1b, 4b\n"                                                            \
	"	.popsection\n"

#define S2_RSEQ_OPERANDS(gpa)                                                                      \
	[live_tlb] "m"(*live_tlb), [area] "r"(__rseq_offset),                                      \
	[index] "r"(((gpa) >> 12 & (S2_TLB_ENTRIES - 1)) * sizeof(struct s2_tlb_entry)),           \
	[gpa] "r"(gpa), [rseq_cs] "i"(offsetof(struct rseq, rseq_cs)),                             \
	[ptag] "i"(offsetof(struct s2_tlb_entry, ptag)),                                           \
	[addend] "i"(offsetof(struct s2_tlb_entry, addend)), [signature] "i"(RSEQ_SIG)

/*
 * Of @bits at @gpa, by the entry of *@live_tlb; false if that has none for it. The
 * thread is registered. Misaligned ones have none.
 */
#define S2_DEFINE_RSEQ_ACCESS(bits, mov, part)                                                     \
	static inline bool s2_rseq_load##bits(const struct s2_tlb_entry *const *live_tlb,          \
					      uint64_t gpa, uint##bits##_t *value)                 \
	{                                                                                          \
		uint64_t entry, tag;                                                               \
		uint##bits##_t got;                                                                \
		bool hit;                                                                          \
                                                                                                   \
		__asm__ volatile(S2_RSEQ_BEGIN                                                     \
				 "	andq %[page_bits], %[tag]\n"                               \
				 "	cmpq %[wanted], %[tag]\n"                                  \
				 "	jne 2f\n"                                                  \
				 "	movq %c[addend](%[entry]), %[entry]\n"                     \
				 "	" mov " (%[entry], %[gpa]), %" part "[got]\n" S2_RSEQ_END  \
				 : "=@cce"(hit), [entry] "=&r"(entry), [tag] "=&r"(tag),           \
				   [got] "=&q"(got)                                                \
				 : S2_RSEQ_OPERANDS(gpa), [page_bits] "i"(~2048),                  \
				   [wanted] "r"(S2_TLB_TAG(gpa, bits / 8))                         \
				 : "memory");                                                \
		if (hit)                                                                           \
			*value = got;                                                              \
		return hit;                                                                        \
	}                                                                                          \
                                                                                                   \
	static inline bool s2_rseq_store##bits(const struct s2_tlb_entry *const *live_tlb,         \
					       uint64_t gpa, uint##bits##_t value)                 \
	{                                                                                          \
		uint64_t entry, tag;                                                               \
		bool hit;                                                                          \
                                                                                                   \
		__asm__ volatile(S2_RSEQ_BEGIN                                                     \
				 "	cmpq %[wanted], %[tag]\n"                                  \
				 "	jne 2f\n"                                                  \
				 "	movq %c[addend](%[entry]), %[entry]\n"                     \
				 "	" mov " %" part "[value], (%[entry], %[gpa])\n" S2_RSEQ_END \
				 : "=@cce"(hit), [entry] "=&r"(entry), [tag] "=&r"(tag)            \
				 : S2_RSEQ_OPERANDS(gpa), [value] "q"(value),                      \
				   [wanted] "r"(S2_TLB_TAG(gpa, bits / 8) | S2_TLB_PTAG_WRITABLE)  \
				 : "memory");                                                \
		return hit;                                                                        \
	}

_Static_assert(S2_TLB_PTAG_WRITABLE == 2048, "as S2_DEFINE_RSEQ_ACCESS masks it");

S2_DEFINE_RSEQ_ACCESS(8, "movb", "b")
S2_DEFINE_RSEQ_ACCESS(16, "movw", "w")
S2_DEFINE_RSEQ_ACCESS(32, "movl", "k")
S2_DEFINE_RSEQ_ACCESS(64, "movq", "q")

#endif /* S2_ARCH_HAS_RSEQ */

#endif /* S2_BASE_ARCH_H */
