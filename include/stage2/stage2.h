/* SPDX-License-Identifier: MIT */
/*
 * stage2: KVM's memory core as a user-space library.
 *
 * One s2_mm is a primary MMU: an address space whose mappings change. Each
 * s2_vm on it is a secondary MMU: memslots, a stage-2 table and vCPUs that must
 * never use a page the primary MMU has taken away. Include this header; it
 * brings in the rest, each of which can be read on its own:
 *
 *   mm.h        the primary MMU, its gate and its provider
 *   notifier.h  invalidate_range_start/end, change_pte, the young calls, release
 *   vm.h        VMs, memslots, dirty log
 *   vcpu.h      vCPUs: guest mode, loads and stores through the software TLB
 *   window.h    guest memory through plain pointers of this process
 *   process.h   munmap, madvise, ... of this process, each in its bracket
 *   pool.h      a primary MMU of its own frames: guest memory larger than RAM
 *
 * Conventions, which the single comments do not repeat:
 *  - A function that can fail returns 0 or a negative errno and, if it fails,
 *    leaves everything as it was, unless its comment says otherwise. errno itself
 *    is not touched.
 *  - Addresses and sizes are in bytes, gfns in pages of 4 KiB.
 *  - "May sleep" means it may wait on a futex or make a system call.
 *  - Every function may be called from any thread unless its comment says
 *    otherwise; only those marked async-signal-safe may be called from a signal
 *    handler or from inside an allocator.
 */
#ifndef STAGE2_STAGE2_H
#define STAGE2_STAGE2_H

#include <stage2/mm.h>
#include <stage2/notifier.h>
#include <stage2/pool.h>
#include <stage2/process.h>
#include <stage2/vcpu.h>
#include <stage2/vm.h>
#include <stage2/window.h>

#endif /* STAGE2_STAGE2_H */
