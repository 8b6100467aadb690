/* SPDX-License-Identifier: MIT */
/*
 * A guest that does nothing but write to pages of its first 1 GiB, and then stop until it is run
 * again.
 */
#ifndef STAGE2_BENCH_PEERS_KVM_WRITER_H
#define STAGE2_BENCH_PEERS_KVM_WRITER_H

#include <linux/kvm.h>
#include <stddef.h>

/* Where a page of its memory has to be for its code, in bytes. */
#define KVM_WRITER_CODE (UINT64_C(1) << 30)

struct kvm_writer {
	int vcpu;
	struct kvm_run *run;
	size_t run_size;
};

/*
 * The guest of @vm, whose memslots are there, with @code being the host's address of
 * KVM_WRITER_CODE. -ENOTSUP: not written for this architecture. To be destroyed in any case.
 */
int kvm_writer_create(struct kvm_writer *writer, int kvm, int vm, void *code);
void kvm_writer_destroy(struct kvm_writer *writer);

/* Lets it write to one page in each @step pages, the first among them; 0 or a negative errno. */
int kvm_writer_pass(struct kvm_writer *writer, unsigned int step);

#endif
