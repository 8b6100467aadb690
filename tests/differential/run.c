/* SPDX-License-Identifier: MIT */
/* The comparison of run.h: one function for each kind of operation. */
#include "differential/run.h"

#include "counting_allocator.h"
#include "differential/flat.h"
#include "differential/kvm.h"
#include "differential/vcpu_threads.h"
#include "memslot/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOG_WORDS (OP_MAX_PAGES / 64)
#define LOG_UNTOUCHED UINT64_C(0xa5a5a5a5a5a5a5a5)

struct runner {
	const struct op *config;
	struct counting_allocator memory;
	struct host host; /* the library's; the model has its own */
	struct flat flat;
	struct s2_mm *mm;
	struct s2_vm *vms[OP_VMS];
	struct vcpu_thread vcpus[OP_VCPUS];
	struct s2_invalidation tokens[OP_TOKENS];
	bool with_kvm;
	struct kvm_twin kvm;
	struct met *met;
	enum op_kind kind; /* of the operation that is on */
	struct disagreement *found;
};

__attribute__((format(printf, 2, 3))) static void disagree(struct runner *run, const char *format,
							   ...)
{
	va_list args;

	if (run->found->found)
		return;
	run->found->found = true;
	va_start(args, format);
	vsnprintf(run->found->text, sizeof(run->found->text), format, args);
	va_end(args);
}

static void expect(struct runner *run, const char *what, long long library, long long model)
{
	if (library != model)
		disagree(run, "%s: the library says %lld, the model %lld", what, library, model);
}

static enum answer answer_of(int ret)
{
	static const int errors[NR_ANSWERS] = {
		[ANSWER_EINVAL] = -EINVAL, [ANSWER_EEXIST] = -EEXIST,	[ANSWER_ENOENT] = -ENOENT,
		[ANSWER_ENXIO] = -ENXIO,   [ANSWER_EROFS] = -EROFS,	[ANSWER_EFAULT] = -EFAULT,
		[ANSWER_EAGAIN] = -EAGAIN, [ANSWER_EDEADLK] = -EDEADLK,
	};
	unsigned answer = 0;

	while (answer < NR_ANSWERS && errors[answer] != ret)
		answer++;
	return answer;
}

static void expect_answer(struct runner *run, int library, int model)
{
	enum answer answer = answer_of(model);

	expect(run, "answer", library, model);
	if (answer < NR_ANSWERS)
		run->met->counts[run->kind][answer]++;
}

static void expect_kvm(struct runner *run, const char *what, int library, int kvm)
{
	if (library != kvm)
		disagree(run, "%s: the library says %d, KVM %d", what, library, kvm);
}

/* Who calls what may sleep must not be in guest mode; a vCPU's own thread may stay there. */
static void leave_guest_mode(struct runner *run)
{
	struct vcpu_work work = { .op = { .kind = OP_EXIT } };

	for (unsigned i = 0; i < OP_VCPUS; i++)
		if (!run->vcpus[i].running)
			vcpu_thread_do(&run->vcpus[i], &work);
}

static bool waits_for_no_flush(const struct op *op)
{
	switch (op->kind) {
	case OP_START:
		return op->nonblock;
	case OP_END:
	case OP_EXCHANGE:
	case OP_COLLAPSE:
	case OP_HOLD:
		return true;
	default:
		return false;
	}
}

/* Whoever waits for a flush would wait for ever for a vCPU that is held, itself excepted. */
static void let_go(struct runner *run, const struct op *op)
{
	bool access = op->kind == OP_LOAD || op->kind == OP_STORE;

	for (unsigned i = 0; i < OP_VCPUS; i++)
		if (!waits_for_no_flush(op) && !(access && i == op->vcpu))
			vcpu_thread_let_go(&run->vcpus[i]);
}

/* ---- memslots ---- */

static struct kvm_userspace_memory_region region_of(const struct op *op)
{
	struct kvm_userspace_memory_region mem = {
		.slot = (uint32_t)op->id,
		.flags = (op->log ? KVM_MEM_LOG_DIRTY_PAGES : 0) |
			 (op->readonly ? KVM_MEM_READONLY : 0),
		.guest_phys_addr = op->gfn * S2_PAGE_SIZE,
		.memory_size = op->pages * S2_PAGE_SIZE,
		.userspace_addr = HOST_HVA_OF(op->page),
	};

	switch ((enum op_odd)op->odd) {
	case ODD_GPA_MISALIGNED:
		mem.guest_phys_addr += 8;
		break;
	case ODD_HVA_MISALIGNED:
		mem.userspace_addr += 2048;
		break;
	case ODD_SIZE_MISALIGNED:
		mem.memory_size += 512;
		break;
	case ODD_UNKNOWN_FLAG:
		mem.flags |= 1u << 5;
		break;
	case ODD_ADDRESS_SPACE:
		mem.slot |= 1u << 16;
		break;
	case ODD_GPA_WRAPS:
		mem.guest_phys_addr = -mem.memory_size;
		break;
	case ODD_GFN_TOO_HIGH:
		mem.guest_phys_addr |= UINT64_C(1) << 52;
		break;
	case ODD_HVA_TOO_HIGH:
		mem.userspace_addr |= UINT64_C(1) << 47;
		break;
	case ODD_TOO_MANY_PAGES:
		mem.memory_size = UINT64_C(1) << 43;
		break;
	case ODD_GFN_AT_TOP:
		mem.guest_phys_addr = ((UINT64_C(1) << 40) - 4) * S2_PAGE_SIZE;
		break;
	default:
		break;
	}
	return mem;
}

/* A KVM may have more address spaces, and its limits depend on its CPU. */
static bool kvm_has_the_same_rule(const struct op *op)
{
	return op->odd != ODD_ADDRESS_SPACE && op->odd != ODD_GFN_TOO_HIGH &&
	       op->odd != ODD_HVA_TOO_HIGH && op->odd != ODD_GFN_AT_TOP;
}

static void run_slot(struct runner *run, const struct op *op)
{
	const struct kvm_userspace_memory_region mem = region_of(op);
	int library, model;

	if (run->with_kvm && !kvm_has_the_same_rule(op))
		return;
	leave_guest_mode(run);
	library = s2_vm_set_memory_region(run->vms[op->vm], &mem);
	model = flat_set_memory_region(&run->flat, (unsigned)op->vm, &mem);
	expect_answer(run, library, model);
	/* KVM has no invalidations here, and nobody in it would wait. */
	if (run->with_kvm && library != -EDEADLK)
		expect_kvm(run, "answer", library,
			   kvm_twin_set_memory_region(&run->kvm, (unsigned)op->vm, &mem));
}

/* ---- invalidations ---- */

static uint64_t range_end(const struct op *op)
{
	return HOST_HVA_OF(op->page + op->pages);
}

/* A vCPU that is held, or whose thread gets no CPU, does not poll in time. */
static bool may_give_up(const struct runner *run, const struct op *op, int library)
{
	return library == -EAGAIN && op->nonblock && run->config->threads;
}

static void run_start(struct runner *run, const struct op *op)
{
	uint64_t start = HOST_HVA_OF(op->page), end = range_end(op);
	unsigned flags = op->nonblock ? S2_NONBLOCK : 0;
	int library;

	if (run->flat.ranges[op->token].open)
		return;
	library = s2_invalidate_range_start(run->mm, &run->tokens[op->token], start, end, flags);
	if (may_give_up(run, op, library)) {
		run->met->counts[OP_START][ANSWER_EAGAIN]++;
		flat_failed_start(&run->flat, start, end);
	} else {
		expect_answer(run, library,
			      flat_start(&run->flat, (unsigned)op->token, start, end, flags));
	}
}

static void run_end(struct runner *run, const struct op *op)
{
	if (!run->flat.ranges[op->token].open)
		return;
	s2_invalidate_range_end(run->mm, &run->tokens[op->token]);
	flat_end(&run->flat, (unsigned)op->token);
}

/* The host changes nothing but what it has announced. */
static void run_exchange(struct runner *run, const struct op *op)
{
	uint32_t frame = op->hole ? HOST_HOLE : (uint32_t)(op->frame % HOST_FRAMES);

	if (op->page >= HOST_PAGES || !flat_covered(&run->flat, HOST_HVA_OF(op->page)))
		return;
	host_exchange(&run->host, op->page, frame);
	host_exchange(&run->flat.host, op->page, frame);
}

static void run_collapse(struct runner *run, const struct op *op)
{
	for (unsigned i = 0; i < HOST_BLOCK_PAGES; i++)
		if (!flat_covered(&run->flat, HOST_HVA_OF(op->block * HOST_BLOCK_PAGES + i)))
			return;
	host_collapse(&run->host, (unsigned)op->block);
	host_collapse(&run->flat.host, (unsigned)op->block);
}

static void run_change_pte(struct runner *run, const struct op *op)
{
	struct s2_page page = { .shift = S2_PAGE_SHIFT, .writable = op->writable };
	uint64_t hva = HOST_HVA_OF(op->page);

	if (!op->hole)
		page.addr = run->host.frames + (op->frame % HOST_FRAMES) * S2_PAGE_SIZE;
	expect_answer(run, s2_change_pte(run->mm, &run->tokens[op->token], hva, &page),
		      flat_change_pte(&run->flat, (unsigned)op->token, hva, &page));
}

static void run_release(struct runner *run, const struct op *op)
{
	leave_guest_mode(run);
	s2_release(run->mm);
	flat_release(&run->flat);
}

/* A 2 MiB leaf is young as a whole, which the model does not know. */
static void expect_young(struct runner *run, bool library, enum flat_young model)
{
	if (model != FLAT_MAY_BE_YOUNG && !run->config->huge)
		expect(run, "young", library, model == FLAT_YOUNG);
}

/* What is about to be cleared, page by page. */
static void expect_young_pages(struct runner *run, const struct op *op)
{
	uint64_t start = HOST_HVA_OF(op->page), bits[(HOST_PAGES + 63) / 64];

	if (op->pages > HOST_PAGES || s2_test_young_pages(run->mm, start, range_end(op), bits) < 0)
		return;
	for (unsigned i = 0; i < op->pages; i++)
		expect_young(run, bits[i / 64] >> (i % 64) & 1,
			     flat_test_young(&run->flat, start + i * S2_PAGE_SIZE));
}

static void run_clear_flush_young(struct runner *run, const struct op *op)
{
	uint64_t start = HOST_HVA_OF(op->page), end = range_end(op);

	expect_young_pages(run, op);
	expect_young(run, s2_clear_flush_young(run->mm, start, end),
		     flat_clear_young(&run->flat, start, end, true));
}

static void run_clear_young(struct runner *run, const struct op *op)
{
	uint64_t start = HOST_HVA_OF(op->page), end = range_end(op);

	expect_young_pages(run, op);
	expect_young(run, s2_clear_young(run->mm, start, end),
		     flat_clear_young(&run->flat, start, end, false));
}

static void run_test_young(struct runner *run, const struct op *op)
{
	uint64_t hva = HOST_HVA_OF(op->page);

	expect_young(run, s2_test_young(run->mm, hva), flat_test_young(&run->flat, hva));
}

/* ---- guest accesses ---- */

static void run_access(struct runner *run, const struct op *op)
{
	unsigned vm = (unsigned)op->vcpu / (OP_VCPUS / OP_VMS), size = 1u << op->bytes;
	uint64_t gpa = op->gfn * S2_PAGE_SIZE + op->offset, value = op->value;
	struct vcpu_work work = { .op = *op };
	int model;

	if (run->config->threads && flat_would_wait(&run->flat, vm, gpa, size))
		return;
	model = flat_access(&run->flat, vm, gpa, size, op->kind == OP_STORE, &value);
	vcpu_thread_do(&run->vcpus[op->vcpu], &work);
	expect_answer(run, work.ret, model);
	if (!model && op->kind == OP_LOAD && work.op.value != value)
		disagree(run, "value: the library says %#" PRIx64 ", the model %#" PRIx64,
			 work.op.value, value);
}

static void run_hold(struct runner *run, const struct op *op)
{
	struct vcpu_work work = { .op = *op };

	if (run->vcpus[op->vcpu].running)
		vcpu_thread_do(&run->vcpus[op->vcpu], &work);
}

static void run_exit(struct runner *run, const struct op *op)
{
	struct vcpu_work work = { .op = *op };

	vcpu_thread_do(&run->vcpus[op->vcpu], &work);
	expect_answer(run, work.ret, 0);
}

/* ---- the dirty log ---- */

struct log_answer {
	uint64_t words[LOG_WORDS + 1]; /* and one that nobody may touch */
	int ret;
};

static void ask_log(struct log_answer *answer, struct kvm_dirty_log *log, uint64_t id)
{
	memset(answer->words, 0xa5, sizeof(answer->words));
	*log = (struct kvm_dirty_log){ .slot = (uint32_t)id };
	log->dirty_bitmap = answer->words;
}

static unsigned words_touched(const struct log_answer *answer)
{
	unsigned nr = LOG_WORDS + 1;

	while (nr && answer->words[nr - 1] == LOG_UNTOUCHED)
		nr--;
	return nr;
}

static void get_log_of_kvm(struct runner *run, const struct op *op,
			   const struct log_answer *library)
{
	struct log_answer kvm;
	struct kvm_dirty_log log;

	ask_log(&kvm, &log, op->id);
	kvm.ret = kvm_twin_get_dirty_log(&run->kvm, (unsigned)op->vm, &log);
	expect_kvm(run, "answer", library->ret, kvm.ret);
	/* An untouched word of 0xa5a5... would be a dirty log of those bits: one in 2^64. */
	expect_kvm(run, "words", (int)words_touched(library), (int)words_touched(&kvm));
}

static void run_get_log(struct runner *run, const struct op *op)
{
	struct log_answer library, model;
	struct kvm_dirty_log log;

	leave_guest_mode(run);
	ask_log(&library, &log, op->id);
	library.ret = s2_vm_get_dirty_log(run->vms[op->vm], &log);
	ask_log(&model, &log, op->id);
	model.ret = flat_get_dirty_log(&run->flat, (unsigned)op->vm, &log);
	expect_answer(run, library.ret, model.ret);
	for (unsigned i = 0; i <= LOG_WORDS; i++)
		if (library.words[i] != model.words[i])
			disagree(run, "word %u: the library says %#" PRIx64 ", the model %#" PRIx64,
				 i, library.words[i], model.words[i]);
	if (run->with_kvm)
		get_log_of_kvm(run, op, &library);
}

static void run_clear_log(struct runner *run, const struct op *op)
{
	uint64_t words[LOG_WORDS + 1];
	struct kvm_clear_dirty_log log = {
		.slot = (uint32_t)op->id,
		.first_page = op->first,
		.num_pages = (uint32_t)op->num,
	};
	int library;

	for (unsigned i = 0; i <= LOG_WORDS; i++)
		words[i] = op->bits;
	log.dirty_bitmap = words;
	leave_guest_mode(run);
	library = s2_vm_clear_dirty_log(run->vms[op->vm], &log);
	expect_answer(run, library, flat_clear_dirty_log(&run->flat, (unsigned)op->vm, &log));
	if (run->with_kvm)
		expect_kvm(run, "answer", library,
			   kvm_twin_clear_dirty_log(&run->kvm, (unsigned)op->vm, &log));
}

static void (*const steps[NR_OPS])(struct runner *run, const struct op *op) = {
	[OP_SLOT] = run_slot,
	[OP_START] = run_start,
	[OP_END] = run_end,
	[OP_EXCHANGE] = run_exchange,
	[OP_COLLAPSE] = run_collapse,
	[OP_CHANGE_PTE] = run_change_pte,
	[OP_LOAD] = run_access,
	[OP_STORE] = run_access,
	[OP_EXIT] = run_exit,
	[OP_HOLD] = run_hold,
	[OP_GET_LOG] = run_get_log,
	[OP_CLEAR_LOG] = run_clear_log,
	[OP_CLEAR_FLUSH_YOUNG] = run_clear_flush_young,
	[OP_CLEAR_YOUNG] = run_clear_young,
	[OP_TEST_YOUNG] = run_test_young,
	[OP_RELEASE] = run_release,
};

/* ---- a whole sequence ---- */

/* What is costs time, or hangs the next update: no answer would show it. */
static void expect_nothing_left_over(struct runner *run, struct s2_vm *vm)
{
	expect(run, "invalidations in progress", (long long)vm->mmu_invalidate_in_progress, 0);
	expect(run, "invalidations at gate count", (long long)vm->mn_active_invalidate_count, 0);
}

static void compare_counters(struct runner *run)
{
	struct s2_mm_stats stats;

	if (s2_mm_get_stats(run->mm, &stats))
		abort();
	for (unsigned vm = 0; vm < OP_VMS; vm++) {
		expect(run, "generation", (long long)s2_vm_memslots_generation(run->vms[vm]),
		       (long long)run->flat.vms[vm].generation);
		if (!flat_any_open(&run->flat))
			expect_nothing_left_over(run, run->vms[vm]);
	}
	expect(run, "invalidations", (long long)stats.invalidations,
	       (long long)run->flat.invalidations);
	expect(run, "elided", (long long)stats.elided, (long long)run->flat.elided);
	expect(run, "memslot updates", (long long)stats.memslot_updates,
	       (long long)run->flat.updates);
}

/* Every page once more by a vCPU that may have it in its TLB from long ago, then the log. */
static void look_at_slot(struct runner *run, unsigned vm, const struct flat_slot *slot)
{
	struct op op = { .kind = OP_LOAD, .bytes = 3 };

	for (uint64_t page = 0; page < slot->npages; page += page < 64 ? 1 : 61) {
		op.gfn = slot->gfn + page;
		op.vcpu = vm * (OP_VCPUS / OP_VMS) + page % (OP_VCPUS / OP_VMS);
		run_access(run, &op);
	}
	run_get_log(run, &(struct op){ .kind = OP_GET_LOG, .vm = vm, .id = slot->id });
}

static void look_at_everything(struct runner *run)
{
	/* As before an exit: of all. */
	let_go(run, &(struct op){ .kind = OP_EXIT });
	for (unsigned token = 0; token < OP_TOKENS; token++)
		run_end(run, &(struct op){ .kind = OP_END, .token = token });
	for (unsigned i = 0; i < OP_VMS * FLAT_SLOTS; i++) {
		const struct flat_slot *slot = &run->flat.vms[i / FLAT_SLOTS].slots[i % FLAT_SLOTS];

		if (slot->used)
			look_at_slot(run, i / FLAT_SLOTS, slot);
	}
	compare_counters(run);
	if (!host_equal(&run->host, &run->flat.host))
		disagree(run, "host memory: not what the model has");
}

static void begin(struct runner *run)
{
	const struct op *config = run->config;
	const struct s2_vm_config vm_config = {
		.mmu_lock = config->lock ? S2_MMU_LOCK_MUTEX : S2_MMU_LOCK_RWLOCK,
		.manual_dirty_protect = config->dirty > 0,
		.dirty_initially_set = config->dirty == 2,
	};
	struct s2_mm_config mm_config = {
		.gate = (enum s2_gate)config->gate,
		.provider = &run->host.ops,
		.provider_ctx = &run->host,
		.allocator = &run->memory.ops,
	};
	int ret;

	counting_allocator_init(&run->memory);
	ret = s2_mm_create(&mm_config, &run->mm);
	for (unsigned i = 0; i < OP_VMS && !ret; i++)
		ret = s2_vm_create(run->mm, &vm_config, &run->vms[i]);
	for (unsigned i = 0; i < OP_VCPUS && !ret; i++)
		ret = s2_vcpu_create(run->vms[i / (OP_VCPUS / OP_VMS)], NULL, &run->vcpus[i].vcpu);
	if (ret)
		abort();
	for (unsigned i = 0; i < OP_VCPUS && config->threads; i++)
		vcpu_thread_start(&run->vcpus[i]);
}

static void begin_model(struct runner *run)
{
	char *frames = run->flat.host.frames;

	memset(&run->flat, 0, sizeof(run->flat));
	run->flat.host.frames = frames;
	run->flat.gate = (enum s2_gate)run->config->gate;
	run->flat.manual = run->config->dirty > 0;
	run->flat.initially_set = run->config->dirty == 2;
	host_reset(&run->flat.host, run->config->huge);
	host_reset(&run->host, run->config->huge);
	memset(run->vcpus, 0, sizeof(run->vcpus));
	memset(run->tokens, 0, sizeof(run->tokens));
}

static void finish(struct runner *run)
{
	leave_guest_mode(run);
	for (unsigned i = 0; i < OP_VCPUS; i++) {
		vcpu_thread_stop(&run->vcpus[i]);
		s2_vcpu_destroy(run->vcpus[i].vcpu);
	}
	for (unsigned i = 0; i < OP_VMS; i++)
		s2_vm_put(run->vms[i]);
	s2_mm_put(run->mm);
	expect(run, "blocks not given back", (long long)run->memory.blocks, 0);
}

struct runner *runner_create(struct met *met)
{
	struct runner *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	run->met = met;
	return run;
}

void runner_destroy(struct runner *run)
{
	host_free(&run->host);
	host_free(&run->flat.host);
	free(run);
}

bool runner_run(struct runner *run, const struct sequence *sequence, bool with_kvm,
		struct disagreement *found, const char **why)
{
	memset(found, 0, sizeof(*found));
	run->config = &sequence->ops[0];
	run->found = found;
	run->with_kvm = with_kvm;
	if (with_kvm && !kvm_twin_open(&run->kvm, run->config, why))
		return false;
	begin_model(run);
	begin(run);
	for (found->at = 1; found->at < sequence->nr; found->at++) {
		const struct op *op = &sequence->ops[found->at];

		run->kind = op->kind;
		let_go(run, op);
		steps[op->kind](run, op);
		compare_counters(run);
		if (found->found)
			break;
	}
	run->kind = OP_CONFIG;
	if (!found->found)
		look_at_everything(run);
	if (!found->found)
		finish(run);
	if (with_kvm)
		kvm_twin_close(&run->kvm);
	return true;
}
