/* SPDX-License-Identifier: MIT */
/*
 * See guest_elf.h. All headers are checked before anything is mapped, each number before it is used
 * in a sum; segments that do not ascend, as the ELF specification has them, are refused, so that
 * none overlaps another.
 */
#include "guest_elf.h"

#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_memory.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A static program has some ten. */
#define MOST_PHDRS 64

/* Where ld(1) puts programs that have addresses, and as aligned as any of their segments is. */
#define PIE_BASE UINT64_C(0x400000)

#define PIECE 65536

/* @data_end: of the last segment so far that is written. */
struct file {
	struct guest *guest;
	int fd;
	uint64_t size;
	uint64_t bias;
	uint64_t data_end;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[MOST_PHDRS];
};

static int refuse(const struct file *file, const char *what)
{
	guest_end(file->guest, GUEST_NOT_RUN, "%s %s", file->guest->config->program, what);
	return -ENOEXEC;
}

static int refuse_errno(struct guest *guest, const char *doing, int error)
{
	guest_end(guest, GUEST_NOT_RUN, "cannot %s %s: %s", doing, guest->config->program,
		  strerror(-error));
	return error;
}

/* The host had no page for it. */
static int refuse_copy(const struct file *file, int error)
{
	guest_end(file->guest, GUEST_NOT_RUN,
		  "the host could not provide memory: %s; --pool or --swap may be too small to "
		  "load %s",
		  strerror(-error), file->guest->config->program);
	return error;
}

static int refuse_size(const struct file *file)
{
	return refuse(file, "does not fit into the guest's memory; give it a larger --mem");
}

static uint64_t page_down(uint64_t gpa)
{
	return gpa & -GUEST_PAGE_SIZE;
}

static uint64_t page_up(uint64_t gpa)
{
	return page_down(gpa + GUEST_PAGE_SIZE - 1);
}

/* All @len bytes, or an error: that the file became shorter meanwhile is one. */
static int read_exactly(const struct file *file, uint64_t offset, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n =
			pread(file->fd, (char *)data + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno != EINTR)
			return refuse_errno(file->guest, "read", -errno);
		if (n == 0)
			return refuse(file, "is truncated");
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int check_header(const struct file *file)
{
	const Elf64_Ehdr *ehdr = &file->ehdr;

	if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
		return refuse(file, "is not an ELF file");
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64)
		return refuse(file, "is not a program for x86-64");
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return refuse(file, "is an ELF file, but not a program");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || !ehdr->e_phnum || ehdr->e_phnum > MOST_PHDRS)
		return refuse(file, "has program headers of a size or number that makes no sense");
	if (ehdr->e_phoff > file->size ||
	    ehdr->e_phnum * sizeof(Elf64_Phdr) > file->size - ehdr->e_phoff)
		return refuse(file, "is truncated: its program headers are beyond its end");
	return 0;
}

/* @end: of the segments before it, without the bias. */
static int check_segment(const struct file *file, const Elf64_Phdr *phdr, uint64_t end)
{
	uint64_t size = file->guest->memory->size;

	if (phdr->p_filesz > phdr->p_memsz)
		return refuse(file, "has a segment that is larger in the file than in memory");
	if (phdr->p_offset > file->size || phdr->p_filesz > file->size - phdr->p_offset)
		return refuse(file, "is truncated: a segment is beyond its end");
	if (phdr->p_vaddr < end)
		return refuse(file, "has segments that overlap or are not in their order");
	if (phdr->p_vaddr >= size || phdr->p_memsz >= size - phdr->p_vaddr ||
	    phdr->p_vaddr + phdr->p_memsz > size - file->bias)
		return refuse_size(file);
	if (page_down(phdr->p_vaddr + file->bias) < GUEST_FIRST_GPA)
		return refuse(file, "has a segment below 64K, where nothing is mapped");
	return 0;
}

/*
 * The processor has one range of code, which cannot be written: a second segment of code, or one
 * that is written in the pages of the first, would have no place.
 */
static int check_text(struct file *file, const Elf64_Phdr *phdr, struct guest_program *program)
{
	uint64_t start = page_down(file->bias + phdr->p_vaddr);
	uint64_t end = page_up(file->bias + phdr->p_vaddr + phdr->p_memsz);

	if (phdr->p_flags & PF_X) {
		if (program->text_end)
			return refuse(file, "has code in more than one segment");
		if (phdr->p_flags & PF_W || start < file->data_end)
			return refuse(file,
				      "has code that can be written, which a guest may not have");
		program->text_start = start;
		program->text_end = end;
	}
	if (phdr->p_flags & PF_W) {
		if (start < program->text_end)
			return refuse(file,
				      "has code that can be written, which a guest may not have");
		file->data_end = end;
	}
	return 0;
}

static int check_segments(struct file *file, struct guest_program *program)
{
	uint64_t end = 0;

	file->bias = file->ehdr.e_type == ET_DYN ? PIE_BASE : 0;
	if (file->bias >= file->guest->memory->size)
		return refuse_size(file);
	for (unsigned int i = 0; i < file->ehdr.e_phnum; i++) {
		const Elf64_Phdr *phdr = &file->phdrs[i];
		int error;

		if (phdr->p_type == PT_INTERP)
			return refuse(file, "is linked dynamically; a guest runs static programs");
		if (phdr->p_type != PT_LOAD || !phdr->p_memsz)
			continue;
		error = check_segment(file, phdr, end);
		if (error)
			return error;
		error = check_text(file, phdr, program);
		if (error)
			return error;
		end = phdr->p_vaddr + phdr->p_memsz;
	}
	if (!program->text_end || file->ehdr.e_entry < program->text_start - file->bias ||
	    file->ehdr.e_entry >= program->text_end - file->bias)
		return refuse(file, "does not begin in code of its own");
	return 0;
}

/* Its first page may also be the last one of the segment before. */
static int map_segment(const struct file *file, const Elf64_Phdr *phdr)
{
	struct guest_maps *maps = file->guest->maps;
	uint64_t start = page_down(file->bias + phdr->p_vaddr);
	uint64_t end = page_up(file->bias + phdr->p_vaddr + phdr->p_memsz);
	unsigned int protection = phdr->p_flags & PF_W		? GUEST_READ_WRITE :
				  phdr->p_flags & (PF_R | PF_X) ? GUEST_READ :
								  0;
	int before = guest_maps_protection(maps, start);
	int error = guest_maps_add(maps, start, end - start, protection);

	if (!error && before > 0)
		error = guest_maps_add(maps, start, GUEST_PAGE_SIZE,
				       protection | (unsigned int)before);
	return error;
}

/* The guest itself may not be allowed to write there. */
static int copy_segment(const struct file *file, const Elf64_Phdr *phdr)
{
	struct guest_memory *memory = file->guest->memory;
	char piece[PIECE];
	uint64_t done = 0;

	while (done < phdr->p_filesz) {
		uint64_t left = phdr->p_filesz - done;
		size_t len = left < PIECE ? (size_t)left : PIECE;
		int error = read_exactly(file, phdr->p_offset + done, piece, len);

		/* Each page may have to wait for one that another guest gives up. */
		if (!error && guest_must_stop(file->guest))
			error = -EINTR;
		if (error)
			return error;
		error = memory->ops->write(memory, file->bias + phdr->p_vaddr + done, piece, len);
		if (error)
			return refuse_copy(file, error);
		done += len;
	}
	return 0;
}

/* Segments may share a page: their bytes are copied, and the rest of a page reads as zeroes. */
static int load_segments(const struct file *file, struct guest_program *program)
{
	for (unsigned int i = 0; i < file->ehdr.e_phnum; i++) {
		const Elf64_Phdr *phdr = &file->phdrs[i];
		int error;

		if (phdr->p_type != PT_LOAD || !phdr->p_memsz)
			continue;
		error = map_segment(file, phdr);
		if (error)
			return refuse_errno(file->guest, "load", error);
		error = copy_segment(file, phdr);
		if (error)
			return error;
		program->end = page_up(file->bias + phdr->p_vaddr + phdr->p_memsz);
		if (file->ehdr.e_phoff >= phdr->p_offset &&
		    file->ehdr.e_phoff - phdr->p_offset < phdr->p_filesz)
			program->phdr =
				file->bias + phdr->p_vaddr + (file->ehdr.e_phoff - phdr->p_offset);
	}
	return 0;
}

static int load(struct file *file, struct guest_program *program)
{
	int error;

	if (file->size < sizeof(file->ehdr))
		return refuse(file, "is not an ELF file");
	error = read_exactly(file, 0, &file->ehdr, sizeof(file->ehdr));
	if (!error)
		error = check_header(file);
	if (!error)
		error = read_exactly(file, file->ehdr.e_phoff, file->phdrs,
				     file->ehdr.e_phnum * sizeof(file->phdrs[0]));
	if (!error)
		error = check_segments(file, program);
	if (!error)
		error = load_segments(file, program);
	if (error)
		return error;
	program->entry = file->bias + file->ehdr.e_entry;
	program->nr_phdrs = file->ehdr.e_phnum;
	return 0;
}

int guest_elf_load(struct guest *guest, struct guest_program *program)
{
	const struct guest_config *config = guest->config;
	struct file file = { .guest = guest };
	struct stat st;
	int error;

	*program = (struct guest_program){ 0 };
	/* Not blocking: it might be a FIFO that nobody writes to. */
	file.fd = open(config->file ? config->file : config->program,
		       O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file.fd < 0)
		return refuse_errno(guest, "open", -errno);
	if (fstat(file.fd, &st)) {
		error = refuse_errno(guest, "stat", -errno);
	} else if (!S_ISREG(st.st_mode)) {
		error = refuse(&file, "is not a regular file");
	} else {
		file.size = (uint64_t)st.st_size;
		error = load(&file, program);
	}
	close(file.fd);
	return error;
}
