/* SPDX-License-Identifier: MIT */
/*
 * The loader of guests' programs against files that are made here: what a good one becomes in
 * memory, and each way in which a bad one is refused, with nothing read or written where it must
 * not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest_copy.h"
#include "guest_elf.h"
#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_memory.h"

#include <elf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (UINT64_C(16) << 20)
#define CODE 0x400000
#define DATA 0x402100
#define PIE_CODE 0x1000

/* A segment of code that begins with the headers, and one of data with bss; in the file 3 pages. */
struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[4];
	char code[0x2100 - sizeof(Elf64_Ehdr) - 4 * sizeof(Elf64_Phdr)];
	char data[0xf00];
};

/* @fd: the file, which the guest's program is by its name in /proc. */
struct loader {
	struct guest guest;
	struct guest_config config;
	struct guest_result result;
	struct guest_program program;
	struct image image;
	char path[64];
	int fd;
};

static void make_image(struct image *image)
{
	image->ehdr = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = CODE + 0x200,
		.e_phoff = offsetof(struct image, phdrs),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 4,
	};
	image->phdrs[0] = (Elf64_Phdr){ .p_type = PT_NOTE };
	image->phdrs[1] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = CODE,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000,
		.p_align = 0x1000,
	};
	image->phdrs[2] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W,
		.p_vaddr = DATA,
		.p_offset = 0x2100,
		.p_filesz = 0xf00,
		.p_memsz = 0x3000,
		.p_align = 0x1000,
	};
	image->phdrs[3] = (Elf64_Phdr){ .p_type = PT_GNU_STACK };
	memset(image->code, 'c', sizeof(image->code));
	memset(image->data, 'd', sizeof(image->data));
}

static int create(void **state)
{
	struct loader *loader = calloc(1, sizeof(*loader));

	assert_non_null(loader);
	make_image(&loader->image);
	loader->fd = memfd_create("program", MFD_CLOEXEC);
	assert_return_code(loader->fd, errno);
	snprintf(loader->path, sizeof(loader->path), "/proc/self/fd/%d", loader->fd);
	loader->config.program = loader->path;
	loader->guest.config = &loader->config;
	loader->guest.result = &loader->result;
	loader->guest.deadline_ns = UINT64_MAX;
	assert_int_equal(guest_memory_plain(MEMORY, &loader->guest.memory), 0);
	assert_int_equal(guest_maps_create(loader->guest.memory, 8, &loader->guest.maps), 0);
	*state = loader;
	return 0;
}

static int destroy(void **state)
{
	struct loader *loader = *state;

	guest_maps_destroy(loader->guest.maps);
	loader->guest.memory->ops->destroy(loader->guest.memory);
	close(loader->fd);
	free(loader);
	return 0;
}

/* The first @size bytes of the image. */
static int load(struct loader *loader, size_t size)
{
	assert_int_equal(ftruncate(loader->fd, 0), 0);
	assert_int_equal(pwrite(loader->fd, &loader->image, size, 0), size);
	loader->guest.ended = false;
	loader->result.reason[0] = '\0';
	return guest_elf_load(&loader->guest, &loader->program);
}

static void assert_loads(struct loader *loader)
{
	assert_int_equal(load(loader, sizeof(loader->image)), 0);
	assert_string_equal(loader->result.reason, "");
}

/* Nothing is mapped by a program that is refused for what its headers say. */
static void assert_refused(struct loader *loader, const char *reason)
{
	assert_int_equal(load(loader, sizeof(loader->image)), -ENOEXEC);
	assert_non_null(strstr(loader->result.reason, reason));
	assert_null(strchr(loader->result.reason, '\n'));
	assert_int_equal(loader->result.status, GUEST_NOT_RUN);
	assert_int_equal(guest_maps_mapped(loader->guest.maps), 0);
}

static char byte_at(struct loader *loader, uint64_t gpa)
{
	char byte = 0;

	assert_int_equal(guest_copy_in(&loader->guest, gpa, &byte, 1), 0);
	return byte;
}

static void test_segments_are_where_the_program_says(void **state)
{
	struct loader *loader = *state;

	assert_loads(loader);
	assert_int_equal(byte_at(loader, CODE), ELFMAG0);
	assert_int_equal(byte_at(loader, CODE + 0xfff), 'c');
	assert_int_equal(byte_at(loader, DATA - 1), 0);
	assert_int_equal(byte_at(loader, DATA), 'd');
	assert_int_equal(byte_at(loader, DATA + 0xeff), 'd');
	assert_int_equal(byte_at(loader, DATA + 0xf00), 0);
	assert_int_equal(byte_at(loader, DATA + 0x2fff), 0);
	assert_int_equal(guest_maps_mapped(loader->guest.maps), 0x1000 + 0x4000);
}

static void test_a_program_tells_what_its_start_needs(void **state)
{
	struct loader *loader = *state;
	struct guest_program *program = &loader->program;

	assert_loads(loader);
	assert_int_equal(program->entry, CODE + 0x200);
	assert_int_equal(program->text_start, CODE);
	assert_int_equal(program->text_end, CODE + 0x1000);
	assert_int_equal(program->phdr, CODE + offsetof(struct image, phdrs));
	assert_int_equal(program->nr_phdrs, 4);
	assert_int_equal(program->end, 0x406000);
}

static void test_a_program_without_addresses_is_moved(void **state)
{
	struct loader *loader = *state;

	loader->image.ehdr.e_type = ET_DYN;
	loader->image.ehdr.e_entry = PIE_CODE + 0x200;
	loader->image.phdrs[1].p_vaddr = PIE_CODE;
	loader->image.phdrs[2].p_vaddr = PIE_CODE + 0x1100;
	assert_loads(loader);
	assert_int_equal(loader->program.entry, 0x400000 + PIE_CODE + 0x200);
	assert_int_equal(byte_at(loader, 0x400000 + PIE_CODE + 0x1100), 'd');
}

static void test_segments_allow_what_the_program_says(void **state)
{
	struct loader *loader = *state;

	assert_loads(loader);
	assert_int_equal(guest_maps_protection(loader->guest.maps, CODE), GUEST_READ);
	assert_int_equal(guest_maps_protection(loader->guest.maps, DATA), GUEST_READ_WRITE);
}

static void test_a_shared_page_allows_what_either_segment_may(void **state)
{
	struct loader *loader = *state;
	Elf64_Phdr *data = &loader->image.phdrs[2];

	loader->image.phdrs[3] = *data;
	loader->image.phdrs[3].p_flags = PF_R;
	loader->image.phdrs[3].p_vaddr = data->p_vaddr + data->p_memsz;
	loader->image.phdrs[3].p_memsz = data->p_filesz + GUEST_PAGE_SIZE;
	assert_loads(loader);
	assert_int_equal(guest_maps_protection(loader->guest.maps, data->p_vaddr + data->p_memsz),
			 GUEST_READ_WRITE);
	assert_int_equal(guest_maps_protection(loader->guest.maps,
					       data->p_vaddr + data->p_memsz + GUEST_PAGE_SIZE),
			 GUEST_READ);
}

static void test_a_segment_of_nothing_is_nothing(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[3] = (Elf64_Phdr){ .p_type = PT_LOAD };
	assert_loads(loader);
}

/* Also where the rest is so short that headers or segments lie beyond the end. */
static void test_a_file_cut_anywhere_is_refused(void **state)
{
	struct loader *loader = *state;

	for (size_t size = 0; size < sizeof(loader->image); size += size < 512 ? 1 : 61) {
		assert_int_equal(load(loader, size), -ENOEXEC);
		assert_true(strstr(loader->result.reason, "is truncated") ||
			    strstr(loader->result.reason, "is not an ELF file"));
		assert_int_equal(guest_maps_mapped(loader->guest.maps), 0);
	}
}

static void test_what_is_no_program_is_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.ehdr.e_type = ET_CORE;
	assert_refused(loader, "not a program");
	loader->image.ehdr.e_machine = EM_AARCH64;
	assert_refused(loader, "not a program for x86-64");
	loader->image.ehdr.e_machine = EM_X86_64;
	loader->image.ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	assert_refused(loader, "not a program for x86-64");
	loader->image.ehdr.e_ident[1] = 'F';
	assert_refused(loader, "not an ELF file");
}

static void test_a_dynamic_program_is_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[0].p_type = PT_INTERP;
	assert_refused(loader, "linked dynamically");
}

static void test_headers_of_a_wrong_size_or_number_are_refused(void **state)
{
	struct loader *loader = *state;
	Elf64_Ehdr *ehdr = &loader->image.ehdr;

	ehdr->e_phnum = 0;
	assert_refused(loader, "makes no sense");
	ehdr->e_phnum = 65535;
	assert_refused(loader, "makes no sense");
	ehdr->e_phnum = 4;
	ehdr->e_phentsize = 32;
	assert_refused(loader, "makes no sense");
	ehdr->e_phentsize = sizeof(Elf64_Phdr);
	ehdr->e_phoff = UINT64_MAX - 8;
	assert_refused(loader, "beyond its end");
}

static void test_segments_beyond_the_file_are_refused(void **state)
{
	struct loader *loader = *state;
	Elf64_Phdr *data = &loader->image.phdrs[2];

	data->p_offset = UINT64_MAX - 0x100;
	assert_refused(loader, "a segment is beyond its end");
	data->p_offset = 0x2101;
	assert_refused(loader, "a segment is beyond its end");
	data->p_offset = 0x2100;
	data->p_filesz = UINT64_MAX;
	data->p_memsz = UINT64_MAX;
	assert_refused(loader, "a segment is beyond its end");
	data->p_filesz = 0xf00;
	data->p_memsz = 0xeff;
	assert_refused(loader, "larger in the file");
}

static void test_segments_beyond_the_memory_are_refused(void **state)
{
	struct loader *loader = *state;
	Elf64_Phdr *data = &loader->image.phdrs[2];
	const uint64_t sizes[] = { MEMORY - DATA + 1, MEMORY, INT64_MAX, UINT64_MAX - DATA,
				   UINT64_MAX };

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		data->p_memsz = sizes[i];
		assert_refused(loader, "does not fit");
	}
	data->p_memsz = 0x3000;
	data->p_vaddr = UINT64_MAX - 0x1000;
	assert_refused(loader, "does not fit");
	/* Without its addresses it is 4 MiB further up. */
	loader->image.ehdr.e_type = ET_DYN;
	data->p_vaddr = MEMORY - 0x400000;
	assert_refused(loader, "does not fit");
}

static void test_segments_where_null_pointers_point_are_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[1].p_vaddr = 0xf000;
	assert_refused(loader, "below 64K");
}

static void test_segments_that_overlap_are_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[2].p_vaddr = CODE + 0xfff;
	assert_refused(loader, "overlap");
	loader->image.phdrs[2].p_vaddr = CODE - 0x10000;
	assert_refused(loader, "overlap");
}

static void test_code_that_can_be_written_is_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[1].p_flags |= PF_W;
	assert_refused(loader, "code that can be written");
	loader->image.phdrs[1].p_flags &= ~(Elf64_Word)PF_W;
	loader->image.phdrs[2].p_vaddr = CODE + 0x1000 - 0x100;
	loader->image.phdrs[1].p_filesz = 0x800;
	loader->image.phdrs[1].p_memsz = 0x800;
	assert_refused(loader, "code that can be written");
}

static void test_a_second_segment_of_code_is_refused(void **state)
{
	struct loader *loader = *state;

	loader->image.phdrs[2].p_flags = PF_R | PF_X;
	assert_refused(loader, "more than one segment");
}

static void test_an_entry_outside_of_code_is_refused(void **state)
{
	struct loader *loader = *state;
	const uint64_t entries[] = { 0, CODE - 1, CODE + 0x1000, DATA, UINT64_MAX };

	for (unsigned int i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		loader->image.ehdr.e_entry = entries[i];
		assert_refused(loader, "begin in code");
	}
	loader->image.phdrs[1].p_flags = PF_R;
	assert_refused(loader, "begin in code");
	loader->image.ehdr.e_type = ET_DYN;
	assert_refused(loader, "begin in code");
}

/* Whatever becomes of it: a reason, or a program inside the memory. */
static void load_damaged(struct loader *loader, unsigned int *seed)
{
	unsigned char *headers = (unsigned char *)&loader->image;
	size_t size = offsetof(struct image, code);

	make_image(&loader->image);
	for (int n = rand_r(seed) % 4; n >= 0; n--)
		headers[(size_t)rand_r(seed) % size] = (unsigned char)rand_r(seed);
	if (load(loader, sizeof(loader->image))) {
		assert_true(loader->result.reason[0]);
	} else {
		assert_true(loader->program.end <= MEMORY);
		assert_true(guest_maps_cover(loader->guest.maps, loader->program.entry, 1));
	}
	guest_maps_remove(loader->guest.maps, GUEST_FIRST_GPA, MEMORY - GUEST_FIRST_GPA);
}

static void test_no_damage_does_harm(void **state)
{
	const char *given = getenv("S2_SEED");
	unsigned int seed = given ? (unsigned int)atol(given) : (unsigned int)time(NULL);

	print_message("# S2_SEED=%u\n", seed);
	for (unsigned int i = 0; i < 5000; i++)
		load_damaged(*state, &seed);
}

static void test_loading_ends_with_the_time_that_a_guest_has(void **state)
{
	struct loader *loader = *state;

	loader->guest.deadline_ns = 1;
	assert_int_equal(load(loader, sizeof(loader->image)), -EINTR);
	assert_true(loader->guest.ended);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_loading_ends_with_the_time_that_a_guest_has),
		TEST(test_segments_are_where_the_program_says),
		TEST(test_a_program_tells_what_its_start_needs),
		TEST(test_a_program_without_addresses_is_moved),
		TEST(test_segments_allow_what_the_program_says),
		TEST(test_a_shared_page_allows_what_either_segment_may),
		TEST(test_a_segment_of_nothing_is_nothing),
		TEST(test_a_file_cut_anywhere_is_refused),
		TEST(test_what_is_no_program_is_refused),
		TEST(test_a_dynamic_program_is_refused),
		TEST(test_headers_of_a_wrong_size_or_number_are_refused),
		TEST(test_segments_beyond_the_file_are_refused),
		TEST(test_segments_beyond_the_memory_are_refused),
		TEST(test_segments_where_null_pointers_point_are_refused),
		TEST(test_segments_that_overlap_are_refused),
		TEST(test_code_that_can_be_written_is_refused),
		TEST(test_a_second_segment_of_code_is_refused),
		TEST(test_an_entry_outside_of_code_is_refused),
		TEST(test_no_damage_does_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
