/* SPDX-License-Identifier: MIT */
/*
 * The VMs of /dev/kvm that the benchmarks of peer_kvm measure. Calls return 0, or what they are
 * asked for, or a negative errno.
 */
#ifndef STAGE2_BENCH_PEERS_KVM_VM_H
#define STAGE2_BENCH_PEERS_KVM_VM_H

#include "bench.h"

#include <linux/kvm.h>

extern const struct bench kvm_bench_gate;
extern const struct bench kvm_bench_slots;
extern const struct bench kvm_bench_dirty;

/* The descriptor of /dev/kvm, of an API version that this program knows. */
int kvm_open(void);

/* ioctl(), with the errno as the result. */
int kvm_call(int fd, unsigned long request, const void *argument);

/* @vm: pointer to the VM's descriptor. */
int kvm_set_region(void *vm, const struct kvm_userspace_memory_region *region);

#endif
