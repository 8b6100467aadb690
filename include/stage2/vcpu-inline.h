/* SPDX-License-Identifier: MIT */
/*
 * The inline half of vcpu.h: the TLB's layout and its hit path. Not an interface
 * of its own; what is not documented in vcpu.h may change with any release.
 */
#ifndef STAGE2_VCPU_INLINE_H
#define STAGE2_VCPU_INLINE_H

#include <errno.h>
#include <stage2/api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define S2_TLB_ENTRIES 512
#define S2_TLB_PAGE_MASK (~UINT64_C(4095))

/*
 * @rtag, @wtag: the guest address of the page this entry lets the guest read or
 *               write; ~0, which no address compares equal to, if it does not.
 * @addend:      what turns a guest address in that page into a host pointer.
 * @ptag:        in place of the two in the TLB of an S2_SHOOTDOWN_RSEQ vCPU, whose
 *               hits are out of line: the page, and S2_TLB_PTAG_WRITABLE.
 */
struct s2_tlb_entry {
	uint64_t rtag;
	uint64_t wtag;
	uintptr_t addend;
	uint64_t ptag;
};

#define S2_TLB_PTAG_WRITABLE UINT64_C(2048)

/*
 * The part of a vCPU that the inline paths touch. @tlb points at the vCPU's TLB in
 * guest mode and at a table without a valid entry out of it, so that an access
 * out of guest mode fails without a check on the hit path.
 * @flush_requested is written by who flushes, @flush_done by the vCPU only: they
 * are on lines of their own so that polling stays in this core's cache.
 */
struct s2_vcpu {
	const struct s2_tlb_entry *tlb;
	uint64_t flush_done;
	uint64_t flush_requested __attribute__((aligned(64)));
};

S2_API int s2_vcpu_load_slow(struct s2_vcpu *vcpu, uint64_t gpa, void *value, unsigned size);
S2_API int s2_vcpu_store_slow(struct s2_vcpu *vcpu, uint64_t gpa, const void *value, unsigned size);
S2_API void s2_vcpu_poll_slow(struct s2_vcpu *vcpu);

static inline void s2_vcpu_poll(struct s2_vcpu *vcpu)
{
	if (__builtin_expect(!vcpu, 0))
		return;
	/*
	 * Relaxed: a request seen late is a request acted on at the next poll.
	 * The slow path reads again, with acquire, before it acknowledges.
	 */
	if (__builtin_expect(__atomic_load_n(&vcpu->flush_requested, __ATOMIC_RELAXED) !=
				     vcpu->flush_done,
			     0))
		s2_vcpu_poll_slow(vcpu);
}

/*
 * The tag comparison keeps the low bits that make an access of this size
 * misaligned, so that a misaligned one never hits.
 */
#define S2_TLB_TAG(gpa, size) ((gpa) & (S2_TLB_PAGE_MASK | ((size) - 1)))

#define S2_DEFINE_ACCESS(bits, size)                                                               \
	static inline int s2_vcpu_load##bits(struct s2_vcpu *vcpu, uint64_t gpa,                   \
					     uint##bits##_t *value)                                \
	{                                                                                          \
		const struct s2_tlb_entry *e;                                                      \
                                                                                                   \
		if (__builtin_expect(!vcpu || !value, 0))                                          \
			return -EINVAL;                                                            \
		e = &vcpu->tlb[(gpa >> 12) & (S2_TLB_ENTRIES - 1)];                                \
		if (__builtin_expect(e->rtag == S2_TLB_TAG(gpa, size), 1)) {                       \
			*value = __atomic_load_n((const uint##bits##_t *)(e->addend + gpa),        \
						 __ATOMIC_RELAXED);                                \
			return 0;                                                                  \
		}                                                                                  \
		return s2_vcpu_load_slow(vcpu, gpa, value, size);                                  \
	}                                                                                          \
                                                                                                   \
	static inline int s2_vcpu_store##bits(struct s2_vcpu *vcpu, uint64_t gpa,                  \
					      uint##bits##_t value)                                \
	{                                                                                          \
		const struct s2_tlb_entry *e;                                                      \
                                                                                                   \
		if (__builtin_expect(!vcpu, 0))                                                    \
			return -EINVAL;                                                            \
		e = &vcpu->tlb[(gpa >> 12) & (S2_TLB_ENTRIES - 1)];                                \
		if (__builtin_expect(e->wtag == S2_TLB_TAG(gpa, size), 1)) {                       \
			__atomic_store_n((uint##bits##_t *)(e->addend + gpa), value,               \
					 __ATOMIC_RELAXED);                                        \
			return 0;                                                                  \
		}                                                                                  \
		return s2_vcpu_store_slow(vcpu, gpa, &value, size);                                \
	}

/*
 * Where a copy of @len bytes has its host memory, if it is of one page that is in the
 * TLB, in guest mode (else the TLB has no entries); NULL for all others.
 */
S2_ALWAYS_INLINE char *s2_tlb_find(const struct s2_vcpu *vcpu, uint64_t gpa, const void *data,
				   size_t len, bool store)
{
	const struct s2_tlb_entry *e;

	if (__builtin_expect(!vcpu || !data || len > 4096 - (gpa & ~S2_TLB_PAGE_MASK), 0))
		return NULL;
	e = &vcpu->tlb[(gpa >> 12) & (S2_TLB_ENTRIES - 1)];
	if (__builtin_expect((store ? e->wtag : e->rtag) != (gpa & S2_TLB_PAGE_MASK), 0))
		return NULL;
	return (char *)(e->addend + gpa);
}

/*
 * For the compiler to inline; where it does not, or for who calls from another language,
 * they are functions of the library. Beside the memcpy() of a page a call counts.
 */
S2_API int s2_vcpu_read(struct s2_vcpu *vcpu, uint64_t gpa, void *data, size_t len);
S2_API int s2_vcpu_write(struct s2_vcpu *vcpu, uint64_t gpa, const void *data, size_t len);
S2_API int s2_vcpu_read_slow(struct s2_vcpu *vcpu, uint64_t gpa, void *data, size_t len);
S2_API int s2_vcpu_write_slow(struct s2_vcpu *vcpu, uint64_t gpa, const void *data, size_t len);

/* The library defines it as nothing where it makes them functions. */
#ifndef S2_INLINE_COPY
#define S2_INLINE_COPY extern inline __attribute__((gnu_inline))
#endif

S2_INLINE_COPY int s2_vcpu_read(struct s2_vcpu *vcpu, uint64_t gpa, void *data, size_t len)
{
	const char *host = s2_tlb_find(vcpu, gpa, data, len, false);

	if (!host)
		return s2_vcpu_read_slow(vcpu, gpa, data, len);
	memcpy(data, host, len);
	return 0;
}

S2_INLINE_COPY int s2_vcpu_write(struct s2_vcpu *vcpu, uint64_t gpa, const void *data, size_t len)
{
	char *host = s2_tlb_find(vcpu, gpa, data, len, true);

	if (!host)
		return s2_vcpu_write_slow(vcpu, gpa, data, len);
	/*
	 * A compiler that knows that @len is a page, say, copies with a string instruction: a quarter
	 * slower than the C library's function where the guest's page is not in the first-level
	 * cache, as one that is only written to as a rule is not.
	 */
	if (!__builtin_constant_p(len) || len > 64)
		__asm__("" : "+r"(len));
	memcpy(host, data, len);
	return 0;
}

S2_DEFINE_ACCESS(8, 1)
S2_DEFINE_ACCESS(16, 2)
S2_DEFINE_ACCESS(32, 4)
S2_DEFINE_ACCESS(64, 8)

#undef S2_DEFINE_ACCESS

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_VCPU_INLINE_H */
