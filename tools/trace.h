/* SPDX-License-Identifier: MIT */
/*
 * A recording of a VMM, as `stage2 replay` wants it: which calls invalidated which ranges, which
 * changed memslots, and in what order all of that began and ended. Made from the output of
 *
 *   strace -f -ttt -T -e trace=mmap,munmap,mremap,madvise,mprotect,brk,ioctl -o FILE PROGRAM
 *
 * Everything else in the recording serves only to tell address spaces apart and is not kept.
 */
#ifndef STAGE2_TOOLS_TRACE_H
#define STAGE2_TOOLS_TRACE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_kind {
	TRACE_MUNMAP,
	TRACE_MREMAP,
	TRACE_MADVISE,
	TRACE_MPROTECT,
	TRACE_MMAP,
	TRACE_BRK,
	TRACE_MEMSLOT, /* a memslot update; all before it are invalidations */
	TRACE_KINDS
};

/* Page aligned, end not included, never empty. */
struct trace_range {
	uint64_t start;
	uint64_t end;
};

/* Times are nanoseconds since the recording's first time stamp; lines count from 1. */
struct trace_call {
	enum trace_kind kind;
	uint32_t thread;  /* in trace.threads */
	uint32_t process; /* in trace.processes */
	uint64_t start_line;
	uint64_t end_line; /* the same if nothing happened in between */
	uint64_t start_ns;
	uint64_t end_ns;

	/* Invalidations. Two ranges only for mremap: what it leaves and its fixed target. */
	unsigned int nr_ranges;
	struct trace_range range[2];
	bool related; /* overlaps a memslot of its own process that was there when it started */

	/* Memslot updates: they take effect at end_line. */
	uint32_t vm; /* in trace.vms */
	struct kvm_userspace_memory_region region;
};

enum trace_event_type {
	TRACE_START,   /* an invalidation starts; index is in trace.calls */
	TRACE_END,     /* it ends */
	TRACE_UPDATE,  /* a memslot update takes effect (its ioctl returns); index in trace.calls */
	TRACE_VM_GONE, /* the VM was closed: its fd was given to a new one; index in trace.vms */
};

struct trace_event {
	enum trace_event_type type;
	uint32_t index;
	uint64_t line;
	uint64_t ns; /* never less than that of the event before */
};

struct trace_thread {
	uint32_t tid; /* 0: recorded without -f */
};

/* An address space. The first one is that of the recording's first line. */
struct trace_process {
	uint32_t tid; /* the thread it was first seen in */
	uint64_t invalidations;
	uint64_t memslot_updates;
};

struct trace_vm {
	uint32_t process;
	uint32_t fd;
	uint32_t number;       /* 0, 1, 2, ... in order of creation within its process */
	uint64_t created_line; /* 0: KVM_CREATE_VM was not recorded, strace attached later */
	uint64_t gone_line;    /* 0: lived to the end */
};

struct trace {
	struct trace_call *calls; /* in the order they returned */
	size_t nr_calls;
	struct trace_event *events; /* in recorded order */
	size_t nr_events;
	struct trace_thread *threads;
	size_t nr_threads;
	struct trace_process *processes;
	size_t nr_processes;
	struct trace_vm *vms;
	size_t nr_vms;

	uint64_t lines;
	uint64_t count[TRACE_KINDS];   /* count[TRACE_MEMSLOT]: the memslot updates */
	uint64_t related[TRACE_KINDS]; /* those of them that are related */
	uint64_t invalidations;
	uint64_t nr_related;
};

struct trace_error {
	uint64_t line;	   /* 0: the file as a whole */
	char message[512]; /* one line: FILE:LINE: what is wrong; what to do */
};

/* More text than this is refused, also when a small .xz unpacks to it. */
#define TRACE_MAX_BYTES ((size_t)4 << 30)

/*
 * Both return 0, or a negative errno with *err filled in and *out set to NULL: -EINVAL for text
 * that is not a whole recording, -EFBIG for too much of it, -ENOMEM, or why it cannot be read.
 */
int trace_read(const char *path, struct trace **out, struct trace_error *err);
int trace_parse(const char *text, size_t len, const char *name, struct trace **out,
		struct trace_error *err);

/* trace_read() with a limit of the caller's own. */
int trace_read_max(const char *path, size_t max_bytes, struct trace **out, struct trace_error *err);

void trace_free(struct trace *trace);

/* "munmap", "mremap", ...; "memslot" */
const char *trace_kind_name(enum trace_kind kind);

#endif
