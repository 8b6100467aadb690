/* SPDX-License-Identifier: MIT */
/*
 * See guest_memory.h.
 */
#include "guest_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int plain_read(struct guest_memory *memory, uint64_t gpa, void *data, size_t len)
{
	memcpy(data, (const char *)memory->base + gpa, len);
	return 0;
}

static int plain_write(struct guest_memory *memory, uint64_t gpa, const void *data, size_t len)
{
	memcpy((char *)memory->base + gpa, data, len);
	return 0;
}

static int plain_discard(struct guest_memory *memory, uint64_t gpa, uint64_t size)
{
	return madvise((char *)memory->base + gpa, size, MADV_DONTNEED) ? -errno : 0;
}

static void plain_destroy(struct guest_memory *memory)
{
	munmap(memory->base, memory->size);
	free(memory);
}

static const struct guest_memory_ops plain_ops = {
	.read = plain_read,
	.write = plain_write,
	.discard = plain_discard,
	.destroy = plain_destroy,
};

int guest_memory_plain(uint64_t size, struct guest_memory **memory)
{
	struct guest_memory *plain;
	void *base;

	if (!size || size % 4096 || size > SIZE_MAX)
		return -EINVAL;
	plain = malloc(sizeof(*plain));
	if (!plain)
		return -ENOMEM;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (base == MAP_FAILED) {
		free(plain);
		return -ENOMEM;
	}
	*plain = (struct guest_memory){ .ops = &plain_ops, .base = base, .size = size };
	*memory = plain;
	return 0;
}
