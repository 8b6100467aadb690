/* SPDX-License-Identifier: MIT */
/*
 * The process provider: pages of this process. MADV_POPULATE_READ and _WRITE are
 * the user-space twins of get_user_pages(): they make a page present, break
 * copy-on-write, sleep for I/O, and tell an address that cannot be had by an error
 * rather than a signal. The host address of a page is its hva.
 */
#include "mm/mm.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static int populate(uint64_t hva, unsigned shift, unsigned access)
{
	int saved = errno, ret = 0;

	if (madvise((void *)(uintptr_t)hva, (size_t)1 << shift,
		    access == S2_ACCESS_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		/* Nothing mapped there, or not with this access: what GUP calls -EFAULT. */
		ret = errno == ENOMEM || errno == EINVAL || errno == EPERM ? -EFAULT : -errno;
	errno = saved;
	return ret;
}

static uint64_t align_down(uint64_t hva, unsigned shift)
{
	return hva >> shift << shift;
}

static int process_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	const struct s2_mm *mm = ctx;
	unsigned shift = mm->huge_pages ? S2_HUGE_SHIFT : S2_PAGE_SHIFT;
	int ret = populate(align_down(hva, shift), shift, access);

	/* The 2 MiB around it may have a hole; the page itself may still be there. */
	if (ret && shift == S2_HUGE_SHIFT) {
		shift = S2_PAGE_SHIFT;
		ret = populate(align_down(hva, shift), shift, access);
	}
	if (ret)
		return ret;
	*page = (struct s2_page){
		.addr = (void *)(uintptr_t)align_down(hva, shift),
		.shift = shift,
		.writable = access == S2_ACCESS_WRITE,
	};
	return 0;
}

const struct s2_provider_ops s2_process_provider = {
	.name = "process",
	.fault = process_fault,
};
