/* SPDX-License-Identifier: MIT */
/*
 * Puts a program into a guest's memory: ELF for x86-64 without a dynamic linker, at its own
 * addresses or, if it has none (static-pie), where a kernel would be free to put it. The file is
 * not trusted.
 */
#ifndef STAGE2_TOOLS_GUEST_ELF_H
#define STAGE2_TOOLS_GUEST_ELF_H

#include <stdint.h>

struct guest;

/*
 * @text_start, @text_end: whole pages that hold all code and nothing that is written.
 * @phdr: where its program headers are in the guest's memory; 0: they are in no segment.
 * @end:  of its last segment, a multiple of the page size.
 */
struct guest_program {
	uint64_t entry;
	uint64_t text_start;
	uint64_t text_end;
	uint64_t phdr;
	uint64_t nr_phdrs;
	uint64_t end;
};

/*
 * Loads config->program and maps its segments. Otherwise guest_end() has been called with what is
 * wrong with it, and -errno is returned: -ENOEXEC for what is wrong in the file.
 */
int guest_elf_load(struct guest *guest, struct guest_program *program);

#endif
