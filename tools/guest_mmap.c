/* SPDX-License-Identifier: MIT */
/*
 * What a guest maps reads as zeroes because what it unmaps is discarded; that also gives the memory
 * back to the host. Sharing has no effect, as there is nobody to share with. Code is what the
 * program came with: no more of it can be made, and what there is stays as it is.
 */
#include "guest_mmap.h"

#include "guest_copy.h"
#include "guest_cpu.h"
#include "guest_files.h"
#include "guest_maps.h"
#include "guest_memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE 65536

/* Linux on x86-64, wherever this is compiled. */
#define GUEST_MAP_TYPE 0x03
#define GUEST_MAP_PRIVATE 0x02
#define GUEST_MAP_FIXED 0x10
#define GUEST_MAP_ANONYMOUS 0x20
#define GUEST_MAP_FIXED_NOREPLACE 0x100000

static bool is_page(uint64_t gpa)
{
	return gpa % GUEST_PAGE_SIZE == 0;
}

/* 0 for what wraps, as for 0. */
static uint64_t whole_pages(uint64_t size)
{
	return (size + GUEST_PAGE_SIZE - 1) & -GUEST_PAGE_SIZE;
}

static bool meets_text(const struct guest *guest, uint64_t gpa, uint64_t size)
{
	return gpa < guest->text_end && size && gpa + size > guest->text_start;
}

static bool is_text(const struct guest *guest, uint64_t gpa, uint64_t size)
{
	return gpa >= guest->text_start && gpa + size <= guest->text_end;
}

static unsigned int protection_of(uint64_t prot)
{
	if (prot & PROT_WRITE)
		return GUEST_READ_WRITE;
	return prot & PROT_READ ? GUEST_READ : 0;
}

/*
 * Makes what is mapped of a range read as zeroes. Where the host fails at that, the guest would get
 * old bytes as new memory: it ends instead.
 */
static int discard(struct guest *guest, uint64_t gpa, uint64_t size)
{
	uint64_t end = gpa + size;
	uint64_t len;

	while ((len = guest_maps_next(guest->maps, &gpa, end))) {
		int error = guest->memory->ops->discard(guest->memory, gpa, len);

		if (error) {
			guest_end(guest, 128 + SIGBUS, "the host could not take memory back: %s",
				  strerror(-error));
			return error;
		}
		gpa += len;
	}
	return 0;
}

/* Of a range of which some may not be mapped. */
static int unmap(struct guest *guest, uint64_t gpa, uint64_t size)
{
	int error;

	if (!guest_maps_inside(guest->maps, gpa, size))
		return -EINVAL;
	if (meets_text(guest, gpa, size))
		return -EACCES;
	if (!guest_maps_removable(guest->maps, gpa, size))
		return -ENOMEM;
	error = discard(guest, gpa, size);
	if (!error)
		error = guest_maps_remove(guest->maps, gpa, size);
	guest_cpu_forget(guest->cpu, gpa, size);
	return error;
}

/* As it happens on Linux: what cannot be done leaves the break where it is, and answers that. */
int64_t guest_sys_brk(struct guest *guest, const uint64_t args[6])
{
	uint64_t old = whole_pages(guest->brk);
	uint64_t new = whole_pages(args[0]);
	int error = 0;

	if (args[0] < guest->brk_start || args[0] > guest->memory->size)
		return (int64_t)guest->brk;
	if (new > old && !guest_maps_free(guest->maps, old, new - old))
		error = -ENOMEM;
	else if (new > old)
		error = guest_maps_add(guest->maps, old, new - old, GUEST_READ_WRITE);
	else if (new < old)
		error = unmap(guest, new, old - new);
	if (!error)
		guest->brk = args[0];
	return (int64_t)guest->brk;
}

/*
 * Where a mapping goes, what was there being gone. The hint is followed where it is free.
 */
static int64_t place(struct guest *guest, uint64_t hint, uint64_t size, uint64_t flags)
{
	uint64_t gpa;

	if (flags & (GUEST_MAP_FIXED | GUEST_MAP_FIXED_NOREPLACE)) {
		if (!is_page(hint))
			return -EINVAL;
		if (!guest_maps_inside(guest->maps, hint, size))
			return -ENOMEM;
		if (guest_maps_free(guest->maps, hint, size))
			return (int64_t)hint;
		if (flags & GUEST_MAP_FIXED_NOREPLACE)
			return -EEXIST;
		return unmap(guest, hint, size) ?: (int64_t)hint;
	}
	hint &= -GUEST_PAGE_SIZE;
	if (hint && guest_maps_free(guest->maps, hint, size))
		return (int64_t)hint;
	gpa = guest_maps_find(guest->maps, size);
	return gpa ? (int64_t)gpa : -ENOMEM;
}

/* What is beyond the end of the file reads as zeroes. The guest may not be allowed to write. */
static int read_file(struct guest *guest, int fd, uint64_t offset, uint64_t gpa, uint64_t size)
{
	char piece[PIECE];
	uint64_t done = 0;

	while (done < size && !guest_must_stop(guest)) {
		size_t len = size - done < PIECE ? (size_t)(size - done) : PIECE;
		ssize_t n = pread(fd, piece, len, (off_t)(offset + done));
		int error;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		error = guest->memory->ops->write(guest->memory, gpa + done, piece, (size_t)n);
		if (error)
			return error;
		done += (size_t)n;
	}
	return 0;
}

static int64_t map_file(struct guest *guest, uint64_t gpa, uint64_t size, const uint64_t args[6])
{
	int fd = guest_files_host_fd(guest->files, (uint32_t)args[4]);
	int error = read_file(guest, fd, args[5], gpa, size);

	if (error)
		unmap(guest, gpa, size);
	return error ? error : (int64_t)gpa;
}

/* What is wrong with a mapping of a file before anything is done. */
static int check_file(struct guest *guest, const uint64_t args[6])
{
	int fd = guest_files_host_fd(guest->files, (uint32_t)args[4]);

	if (fd < 0)
		return fd;
	if (!is_page(args[5]) || args[5] > INT64_MAX - guest->memory->size)
		return -EINVAL;
	/* Writes to it would have to reach the file. */
	if ((args[3] & GUEST_MAP_TYPE) != GUEST_MAP_PRIVATE && args[2] & PROT_WRITE)
		return -ENODEV;
	return 0;
}

int64_t guest_sys_mmap(struct guest *guest, const uint64_t args[6])
{
	uint64_t size = whole_pages(args[1]);
	bool anonymous = args[3] & GUEST_MAP_ANONYMOUS;
	int64_t gpa;
	int error = 0;

	if (!args[1] || !(args[3] & GUEST_MAP_TYPE))
		return -EINVAL;
	if (args[2] & PROT_EXEC)
		return -EACCES;
	if (size < args[1] || size > guest->memory->size)
		return -ENOMEM;
	if (!anonymous)
		error = check_file(guest, args);
	if (error)
		return error;
	gpa = place(guest, args[0], size, args[3]);
	if (gpa < 0)
		return gpa;
	error = guest_maps_add(guest->maps, (uint64_t)gpa, size, protection_of(args[2]));
	if (error)
		return error;
	return anonymous ? gpa : map_file(guest, (uint64_t)gpa, size, args);
}

int64_t guest_sys_munmap(struct guest *guest, const uint64_t args[6])
{
	uint64_t size = whole_pages(args[1]);

	if (!size || !is_page(args[0]))
		return -EINVAL;
	return unmap(guest, args[0], size);
}

/* Whatever the guest itself may do with either range. */
static int copy_within(struct guest *guest, uint64_t to, uint64_t from, uint64_t size)
{
	struct guest_memory *memory = guest->memory;
	char piece[PIECE];
	uint64_t done = 0;
	int error = 0;

	while (!error && done < size) {
		size_t len = size - done < PIECE ? (size_t)(size - done) : PIECE;

		error = memory->ops->read(memory, from + done, piece, len);
		if (!error)
			error = memory->ops->write(memory, to + done, piece, len);
		done += len;
	}
	return error;
}

/*
 * Moves what is at @from to a place of @size bytes. There is no moment in which neither range is
 * mapped, and an error leaves the old one.
 */
static int64_t move(struct guest *guest, uint64_t from, uint64_t old_size, uint64_t to,
		    uint64_t size)
{
	unsigned int protection = (unsigned int)guest_maps_protection(guest->maps, from);
	int error = guest_maps_add(guest->maps, to, size, protection);

	if (error)
		return error;
	error = copy_within(guest, to, from, old_size < size ? old_size : size);
	if (!error)
		error = unmap(guest, from, old_size);
	if (error)
		unmap(guest, to, size);
	return error ? error : (int64_t)to;
}

static int64_t remap_fixed(struct guest *guest, uint64_t from, uint64_t old_size, uint64_t to,
			   uint64_t size)
{
	int64_t gpa;

	if (to > guest->memory->size)
		return -ENOMEM;
	if (to < from + old_size && from < to + size)
		return -EINVAL;
	gpa = place(guest, to, size, GUEST_MAP_FIXED);
	return gpa < 0 ? gpa : move(guest, from, old_size, to, size);
}

/* Larger than before: where it is if what follows is free, elsewhere if it may move. */
static int64_t remap_larger(struct guest *guest, uint64_t from, uint64_t old_size, uint64_t size,
			    uint64_t flags)
{
	unsigned int protection = (unsigned int)guest_maps_protection(guest->maps, from);
	uint64_t end = from + old_size, more = size - old_size;
	uint64_t to;

	if (guest_maps_free(guest->maps, end, more))
		return guest_maps_add(guest->maps, end, more, protection) ?: (int64_t)from;
	to = flags & MREMAP_MAYMOVE ? guest_maps_find(guest->maps, size) : 0;
	return to ? move(guest, from, old_size, to, size) : -ENOMEM;
}

/* Is all of it mapped, with one protection? */
static bool is_uniform(struct guest *guest, uint64_t gpa, uint64_t size)
{
	uint64_t start = gpa;

	return guest_maps_cover(guest->maps, gpa, size) &&
	       guest_maps_next(guest->maps, &start, gpa + size) == size;
}

int64_t guest_sys_mremap(struct guest *guest, const uint64_t args[6])
{
	uint64_t from = args[0];
	uint64_t old_size = whole_pages(args[1]);
	uint64_t size = whole_pages(args[2]);
	uint64_t flags = args[3];

	if (!is_page(from) || !old_size || !size ||
	    flags & ~(uint64_t)(MREMAP_MAYMOVE | MREMAP_FIXED))
		return -EINVAL;
	if (flags & MREMAP_FIXED && (!(flags & MREMAP_MAYMOVE) || !is_page(args[4])))
		return -EINVAL;
	if (!is_uniform(guest, from, old_size))
		return -EFAULT;
	if (size > guest->memory->size)
		return -ENOMEM;
	if (flags & MREMAP_FIXED)
		return remap_fixed(guest, from, old_size, args[4], size);
	if (size > old_size)
		return remap_larger(guest, from, old_size, size, flags);
	return (size < old_size ? unmap(guest, from + size, old_size - size) : 0) ?: (int64_t)from;
}

int64_t guest_sys_mprotect(struct guest *guest, const uint64_t args[6])
{
	uint64_t gpa = args[0], size = whole_pages(args[1]);
	int error;

	if (!is_page(gpa))
		return -EINVAL;
	if (size < args[1] || !guest_maps_cover(guest->maps, gpa, size))
		return -ENOMEM;
	if (is_text(guest, gpa, size) && args[2] & PROT_EXEC && !(args[2] & PROT_WRITE))
		return 0;
	if (meets_text(guest, gpa, size) || args[2] & PROT_EXEC)
		return -EACCES;
	error = size ? guest_maps_add(guest->maps, gpa, size, protection_of(args[2])) : 0;
	guest_cpu_forget(guest->cpu, gpa, size);
	return error;
}

int64_t guest_sys_madvise(struct guest *guest, const uint64_t args[6])
{
	uint64_t size = whole_pages(args[1]);

	if (!is_page(args[0]) || size < args[1])
		return -EINVAL;
	if (!guest_maps_cover(guest->maps, args[0], size))
		return -ENOMEM;
	if (args[2] != MADV_DONTNEED && args[2] != MADV_FREE)
		return 0;
	if (meets_text(guest, args[0], size))
		return -EINVAL;
	return discard(guest, args[0], size);
}
