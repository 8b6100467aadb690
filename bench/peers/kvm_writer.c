/* SPDX-License-Identifier: MIT */
/*
 * See kvm_writer.h. On x86 the vCPU is put into protected mode without paging, so that it reaches
 * all of the memory with no page tables of its own.
 */
#include "kvm_vm.h"
#include "kvm_writer.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void kvm_writer_destroy(struct kvm_writer *writer)
{
	if (writer->run)
		munmap(writer->run, writer->run_size);
	if (writer->vcpu >= 0)
		close(writer->vcpu);
}

#ifdef __x86_64__

/* Three pages in the hole below 4 GiB, which Intel's KVM may need in real mode. */
#define TSS_ADDRESS 0xfffbd000ul

/* From 0 on, as kvm_writer_pass() sets it, in steps of %esi bytes. */
static const unsigned char code[] = {
	0xfe, 0x07,			    /* next: incb (%edi) */
	0x01, 0xf7,			    /*       add %esi, %edi */
	0x81, 0xff, 0x00, 0x00, 0x00, 0x40, /*       cmp $KVM_WRITER_CODE, %edi */
	0x72, 0xf4,			    /*       jb next */
	0xf4,				    /*       hlt */
};

int kvm_writer_pass(struct kvm_writer *writer, unsigned int step)
{
	const struct kvm_regs regs = {
		.rip = KVM_WRITER_CODE,
		.rsi = step * S2_PAGE_SIZE,
		.rflags = 2,
	};
	int error = kvm_call(writer->vcpu, KVM_SET_REGS, &regs);

	if (error)
		return error;
	do
		error = kvm_call(writer->vcpu, KVM_RUN, NULL);
	while (error == -EINTR);
	if (!error && writer->run->exit_reason != KVM_EXIT_HLT)
		error = -EPROTO;
	return error;
}

static int map_run(struct kvm_writer *writer, int kvm)
{
	int size = kvm_call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	void *run;

	if (size < 0)
		return size;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, writer->vcpu, 0);
	if (run == MAP_FAILED)
		return -errno;
	writer->run = run;
	writer->run_size = (size_t)size;
	return 0;
}

static struct kvm_segment flat_segment(unsigned short selector, unsigned char type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

static int enter_protected_mode(int vcpu)
{
	struct kvm_sregs sregs = { 0 };
	int error = kvm_call(vcpu, KVM_GET_SREGS, &sregs);

	if (error)
		return error;
	sregs.cr0 |= 1; /* PE */
	sregs.cs = flat_segment(8, 11);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(16, 3);
	return kvm_call(vcpu, KVM_SET_SREGS, &sregs);
}

int kvm_writer_create(struct kvm_writer *writer, int kvm, int vm, void *code_page)
{
	int error = kvm_call(vm, KVM_SET_TSS_ADDR, (void *)TSS_ADDRESS);

	*writer = (struct kvm_writer){ .vcpu = -1 };
	if (error)
		return error;
	memcpy(code_page, code, sizeof(code));
	writer->vcpu = kvm_call(vm, KVM_CREATE_VCPU, NULL);
	if (writer->vcpu < 0)
		return writer->vcpu;
	error = map_run(writer, kvm);
	return error ? error : enter_protected_mode(writer->vcpu);
}

#else

int kvm_writer_create(struct kvm_writer *writer, int kvm, int vm, void *code_page)
{
	(void)kvm;
	(void)vm;
	(void)code_page;
	*writer = (struct kvm_writer){ .vcpu = -1 };
	return -ENOTSUP;
}

int kvm_writer_pass(struct kvm_writer *writer, unsigned int step)
{
	(void)writer;
	(void)step;
	return -ENOTSUP;
}

#endif
