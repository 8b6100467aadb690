/* SPDX-License-Identifier: MIT */
/*
 * From strace's text to a struct trace, in three steps.
 *
 * 1. The text is read once, line by line. Parts of a call are joined, and each call that may
 *    matter becomes a `step`. At this point a step knows its thread but not its address space.
 * 2. The steps are walked again to place threads in address spaces and KVM fds in VMs. This
 *    cannot be done while reading: a child's first lines often come before the line on which the
 *    parent's clone returns and says who the child is.
 * 3. What remains is laid out as calls and events, and related calls are marked.
 *
 * A clone takes its place in the walk at its first line (the child cannot run before it), every
 * other call at its last line (it has no effect that counts unless it returns success).
 */
#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strace_line.h"
#include "trace_related.h"
#include "trace_text.h"

#define PAGE 4096u
#define NONE UINT32_MAX

/* Far above any recording; keeps what a hostile one can make us allocate at a few gigabytes. */
#define MAX_STEPS ((size_t)1 << 25)

/* The recorded threads by id, in leaves, because ids are few but may be anywhere. */
#define TID_LEAF 2048u
#define TID_LEAVES (STRACE_TID_MAX / TID_LEAF + 1)

enum step_type {
	STEP_CALL,	/* an invalidation */
	STEP_BRK,	/* a = asked for (0: a question), b = the break it returned */
	STEP_CREATE_VM, /* a = the new fd */
	STEP_REGION,	/* a = the fd, call.region */
	STEP_CLONE,	/* a = the child's tid, b = true if it shares the address space */
	STEP_EXEC,
	STEP_EXIT,
};

struct step {
	enum step_type type;
	uint64_t line; /* its place in the walk */
	uint64_t a;
	uint64_t b;
	struct trace_call call;
};

struct thread {
	uint32_t tid;
	uint32_t process;
	uint64_t clone_line; /* where the clone that made it returned */

	/* The call it is in, as far as it was printed. The buffer is kept for the next one. */
	bool in_call;
	uint64_t line;
	uint64_t ns;
	size_t name_len;
	size_t len;
	size_t cap;
	char *text;
};

struct space {
	struct trace_process process;
	uint32_t threads; /* those seen in it and not gone */
	bool has_break;
	uint64_t brk;
};

struct reader {
	const char *name;
	struct trace_error *err;
	struct trace *trace;

	uint64_t line;
	bool last; /* this line is the last one and has no newline */
	bool has_time;
	bool has_duration; /* some call so far had one */
	uint64_t first_ns;

	struct thread *thread;
	size_t nr_threads, cap_threads;
	uint32_t *tid_leaf[TID_LEAVES]; /* index in thread, plus one */

	struct step *step;
	size_t nr_steps, cap_steps;

	struct space *space;
	size_t nr_spaces, cap_spaces;
	uint32_t root; /* where threads go that nobody was seen to clone */

	struct trace_vm *vm;
	size_t nr_vms, cap_vms;

	size_t cap_events;
};

static const char *const kind_name[TRACE_KINDS] = {
	[TRACE_MUNMAP] = "munmap",     [TRACE_MREMAP] = "mremap", [TRACE_MADVISE] = "madvise",
	[TRACE_MPROTECT] = "mprotect", [TRACE_MMAP] = "mmap",	  [TRACE_BRK] = "brk",
	[TRACE_MEMSLOT] = "memslot",
};

const char *trace_kind_name(enum trace_kind kind)
{
	return kind_name[kind];
}

/* File names and text from the file end up in messages; they must not break the line. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

__attribute__((format(printf, 4, 5))) static int fail(struct reader *r, uint64_t line, int error,
						      const char *format, ...)
{
	struct trace_error *err = r->err;
	size_t used;
	va_list ap;

	err->line = line;
	if (line)
		snprintf(err->message, sizeof(err->message), "%.200s:%llu: ", r->name,
			 (unsigned long long)line);
	else
		snprintf(err->message, sizeof(err->message), "%.200s: ", r->name);
	used = strlen(err->message);
	va_start(ap, format);
	vsnprintf(err->message + used, sizeof(err->message) - used, format, ap);
	va_end(ap);
	make_printable(err->message);
	return error;
}

static int no_memory(struct reader *r)
{
	return fail(r, 0, -ENOMEM, "out of memory; record a shorter run");
}

/* A line that cannot be read. The last one, without its newline, was most likely cut off. */
static int bad_line(struct reader *r, const char *what)
{
	if (r->last)
		return fail(r, r->line, -EINVAL,
			    "the last line is cut off; let strace finish, or delete that line");
	return fail(r, r->line, -EINVAL, "%s", what);
}

static int bad_call(struct reader *r, struct strace_span name, const char *what)
{
	return fail(r, r->line, -EINVAL, "%.*s: %s", name.len < 40 ? (int)name.len : 40, name.p,
		    what);
}

/* Makes room for one more element. */
static int grow(struct reader *r, void **array, size_t *cap, size_t nr, size_t size)
{
	size_t want = *cap ? *cap * 2 : 16;
	void *p;

	if (nr < *cap)
		return 0;
	p = realloc(*array, want * size);
	if (!p)
		return no_memory(r);
	*array = p;
	*cap = want;
	return 0;
}

/* Step 1: reading. */

static int find_thread(struct reader *r, uint32_t tid, struct thread **out)
{
	uint32_t **leaf = &r->tid_leaf[tid / TID_LEAF], *index;
	int ret;

	if (!*leaf)
		*leaf = calloc(TID_LEAF, sizeof(**leaf));
	if (!*leaf)
		return no_memory(r);
	index = &(*leaf)[tid % TID_LEAF];
	if (!*index) {
		ret = grow(r, (void **)&r->thread, &r->cap_threads, r->nr_threads,
			   sizeof(*r->thread));
		if (ret)
			return ret;
		r->thread[r->nr_threads] = (struct thread){ .tid = tid, .process = NONE };
		*index = (uint32_t)++r->nr_threads;
	}
	*out = &r->thread[*index - 1];
	return 0;
}

static int add_step(struct reader *r, const struct step *step)
{
	int ret;

	if (r->nr_steps >= MAX_STEPS)
		return fail(r, r->line, -EFBIG,
			    "more calls than can be replayed; record a shorter run");
	ret = grow(r, (void **)&r->step, &r->cap_steps, r->nr_steps, sizeof(*r->step));
	if (!ret)
		r->step[r->nr_steps++] = *step;
	return ret;
}

static int page_range(uint64_t start, uint64_t len, struct trace_range *out)
{
	uint64_t end;

	if (__builtin_add_overflow(start, len, &end) || __builtin_add_overflow(end, PAGE - 1, &end))
		return -EINVAL;
	out->start = start & ~(uint64_t)(PAGE - 1);
	out->end = end & ~(uint64_t)(PAGE - 1);
	return 0;
}

/* Zero-length ranges hold nothing to invalidate. */
static int add_range(struct trace_call *call, uint64_t start, uint64_t len)
{
	if (!len)
		return 0;
	return page_range(start, len, &call->range[call->nr_ranges++]);
}

#define BAD_RANGE "the address or the length is not a range of memory; record it again"

static int read_plain_range(struct reader *r, struct strace_call *c, struct strace_span *arg,
			    struct step *s)
{
	uint64_t start, len;

	if (!strace_number(arg[0], &start) || !strace_number(arg[1], &len) ||
	    add_range(&s->call, start, len))
		return bad_call(r, c->name, BAD_RANGE);
	return s->call.nr_ranges ? add_step(r, s) : 0;
}

static int read_madvise(struct reader *r, struct strace_call *c, struct strace_span *arg,
			struct step *s)
{
	if (!strace_is(arg[2], "MADV_DONTNEED", 4) && !strace_is(arg[2], "MADV_FREE", 8) &&
	    !strace_is(arg[2], "MADV_REMOVE", 9))
		return 0;
	return read_plain_range(r, c, arg, s);
}

static int read_mmap(struct reader *r, struct strace_call *c, struct strace_span *arg,
		     struct step *s)
{
	if (!strace_has_flag(arg[3], "MAP_FIXED", 0x10) ||
	    strace_has_flag(arg[3], "MAP_FIXED_NOREPLACE", 0x100000))
		return 0;
	return read_plain_range(r, c, arg, s);
}

/*
 * When the mapping moves, all of the old range goes, so a tail that is cut at the same time is part
 * of it. MREMAP_DONTUNMAP leaves the old range mapped but takes its pages away, which is the same.
 */
static int read_mremap(struct reader *r, struct strace_call *c, struct strace_span *arg,
		       struct step *s)
{
	uint64_t old, old_len, new_len;
	int bad = 0;

	if (!strace_number(arg[0], &old) || !strace_number(arg[1], &old_len) ||
	    !strace_number(arg[2], &new_len))
		return bad_call(r, c->name, BAD_RANGE);
	if (c->value != old)
		bad |= add_range(&s->call, old, old_len);
	else if (new_len < old_len)
		bad |= __builtin_add_overflow(old, new_len, &old) ||
		       add_range(&s->call, old, old_len - new_len);
	if (strace_has_flag(arg[3], "MREMAP_FIXED", 2))
		bad |= add_range(&s->call, c->value, new_len);
	if (bad)
		return bad_call(r, c->name, BAD_RANGE);
	return s->call.nr_ranges ? add_step(r, s) : 0;
}

static int read_brk(struct reader *r, struct strace_call *c, struct strace_span *arg,
		    struct step *s)
{
	struct trace_range unused;

	s->type = STEP_BRK;
	s->b = c->value;
	if (!strace_number(arg[0], &s->a) || page_range(s->b, 0, &unused))
		return bad_call(r, c->name, BAD_RANGE);
	return add_step(r, s);
}

static int read_clone(struct reader *r, struct strace_call *c, struct step *s)
{
	struct strace_span flags = { "", 0 };

	/* fork and vfork have no flags; in the child, clone returns 0. */
	strace_field(c->args, "flags", &flags);
	if (!c->value || c->value > STRACE_TID_MAX)
		return 0;
	s->type = STEP_CLONE;
	s->line = s->call.start_line;
	s->a = c->value;
	s->b = strace_has_flag(flags, "CLONE_THREAD", 0x10000) ||
	       (strace_has_flag(flags, "CLONE_VM", 0x100) &&
		!strace_has_flag(flags, "CLONE_VFORK", 0x4000));
	return add_step(r, s);
}

static bool region_flags(struct strace_span text, uint32_t *flags)
{
	struct strace_span word;
	uint64_t v;

	*flags = 0;
	while (strace_next_flag(&text, &word)) {
		if (strace_span_is(word, "KVM_MEM_LOG_DIRTY_PAGES"))
			v = KVM_MEM_LOG_DIRTY_PAGES;
		else if (strace_span_is(word, "KVM_MEM_READONLY"))
			v = KVM_MEM_READONLY;
		else if (strace_span_is(word, "KVM_MEM_GUEST_MEMFD"))
			v = 1 << 2;
		else if (!strace_number(word, &v) || v > UINT32_MAX)
			return false;
		*flags |= (uint32_t)v;
	}
	return true;
}

static bool region_field(struct strace_span text, const char *name, uint64_t *value)
{
	struct strace_span v;

	return strace_field(text, name, &v) && strace_number(v, value);
}

static bool read_fd(struct strace_span text, uint64_t *fd)
{
	return strace_number(text, fd) && *fd <= INT32_MAX;
}

static bool read_region_fields(struct strace_span text, struct kvm_userspace_memory_region *out)
{
	struct strace_span flags;
	uint64_t slot, gpa, size, hva;
	uint32_t bits;

	if (!strace_field(text, "flags", &flags) || !region_flags(flags, &bits) ||
	    !region_field(text, "slot", &slot) || slot > UINT32_MAX ||
	    !region_field(text, "guest_phys_addr", &gpa) ||
	    !region_field(text, "memory_size", &size) ||
	    !region_field(text, "userspace_addr", &hva))
		return false;
	*out = (struct kvm_userspace_memory_region){ (uint32_t)slot, bits, gpa, size, hva };
	return !__builtin_add_overflow(gpa, size, &gpa) && !__builtin_add_overflow(hva, size, &hva);
}

static int read_region(struct reader *r, struct strace_call *c, struct strace_span *arg,
		       struct step *s)
{
	s->type = STEP_REGION;
	s->call.kind = TRACE_MEMSLOT;
	if (arg[2].len && arg[2].p[0] != '{')
		return bad_call(
			r, c->name,
			"strace did not print the memory region; record with a newer strace");
	if (!read_fd(arg[0], &s->a) || !read_region_fields(arg[2], &s->call.region))
		return bad_call(r, c->name, "the memory region cannot be read; record it again");
	return add_step(r, s);
}

static int read_ioctl(struct reader *r, struct strace_call *c, struct strace_span *arg,
		      struct step *s)
{
	if (strace_is(arg[1], "KVM_CREATE_VM", 0xae01)) {
		s->type = STEP_CREATE_VM;
		s->a = c->value;
		if (!read_fd(c->result, &s->a))
			return bad_call(r, c->name, "the new VM's fd is not one; record it again");
		return add_step(r, s);
	}
	/* strace 6.1 knows the request ...REGION2 only by its number. */
	if (!c->value && (strace_is(arg[1], "KVM_SET_USER_MEMORY_REGION", 0x4020ae46) ||
			  strace_is(arg[1], "KVM_SET_USER_MEMORY_REGION2", 0x40a0ae49) ||
			  strace_span_is(arg[1], "_IOC(_IOC_WRITE, 0xae, 0x49, 0xa0)")))
		return read_region(r, c, arg, s);
	return 0;
}

static const struct call_type {
	const char *name;
	unsigned int args;
	enum trace_kind kind;
	int (*read)(struct reader *r, struct strace_call *c, struct strace_span *arg,
		    struct step *s);
} call_types[] = {
	{ "munmap", 2, TRACE_MUNMAP, read_plain_range },
	{ "mprotect", 3, TRACE_MPROTECT, read_plain_range },
	{ "madvise", 3, TRACE_MADVISE, read_madvise },
	{ "mmap", 6, TRACE_MMAP, read_mmap },
	{ "mremap", 4, TRACE_MREMAP, read_mremap },
	{ "brk", 1, TRACE_BRK, read_brk },
	{ "ioctl", 2, TRACE_MEMSLOT, read_ioctl },
};

static bool is_clone(struct strace_span name)
{
	return strace_span_is(name, "clone") || strace_span_is(name, "clone3") ||
	       strace_span_is(name, "fork") || strace_span_is(name, "vfork");
}

static int read_by_name(struct reader *r, struct strace_call *c, struct step *s)
{
	struct strace_span arg[6] = { { "", 0 } };
	size_t i;

	if (is_clone(c->name))
		return read_clone(r, c, s);
	if (strace_span_is(c->name, "execve") || strace_span_is(c->name, "execveat")) {
		s->type = STEP_EXEC;
		return add_step(r, s);
	}
	for (i = 0; i < sizeof(call_types) / sizeof(call_types[0]); i++) {
		const struct call_type *type = &call_types[i];

		if (!strace_span_is(c->name, type->name))
			continue;
		if (strace_args(c->args, arg, 6) < type->args)
			return bad_call(r, c->name, "arguments are missing; record it again");
		s->call.kind = type->kind;
		return type->read(r, c, arg, s);
	}
	return 0;
}

/* @text is a whole call, joined if need be. */
static int read_call(struct reader *r, const struct strace_line *l, struct strace_span text,
		     uint32_t thread, uint64_t start_line, uint64_t start_ns)
{
	struct step s = { .type = STEP_CALL, .line = r->line };
	struct strace_call c;
	const char *wrong = strace_call_read(text, &c);

	/* The cut may be in the middle of the result: it still looks like one then. */
	if (!wrong && r->last && r->has_duration && !c.has_duration && c.result.p[0] != '?')
		wrong = "";
	if (wrong)
		return bad_line(r, wrong);
	r->has_duration |= c.has_duration;
	if (c.failed)
		return 0;
	s.call.thread = thread;
	s.call.start_line = start_line;
	s.call.end_line = r->line;
	s.call.start_ns = start_ns;
	s.call.end_ns = l->time_ns;
	if (start_line == r->line &&
	    __builtin_add_overflow(start_ns, c.duration_ns, &s.call.end_ns))
		return bad_call(r, c.name, "the duration is out of range; record it again");
	return read_by_name(r, &c, &s);
}

static int keep_text(struct reader *r, struct thread *t, struct strace_span text)
{
	size_t want = t->cap ? t->cap : 128;
	char *p;

	while (want - t->len < text.len)
		want *= 2;
	if (want != t->cap) {
		p = realloc(t->text, want);
		if (!p)
			return no_memory(r);
		t->text = p;
		t->cap = want;
	}
	memcpy(t->text + t->len, text.p, text.len);
	t->len += text.len;
	return 0;
}

static int resume_call(struct reader *r, const struct strace_line *l, struct thread *t)
{
	int ret;

	if (!t->in_call)
		return bad_call(r, l->name,
				"resumed, but this thread has no unfinished call; lines "
				"are missing, record it again");
	if (l->name.len != t->name_len || memcmp(l->name.p, t->text, t->name_len))
		return fail(r, r->line, -EINVAL,
			    "%.*s resumed, but the thread is in the call of line %llu; lines are "
			    "missing, record it again",
			    l->name.len < 40 ? (int)l->name.len : 40, l->name.p,
			    (unsigned long long)t->line);
	if (l->detached) {
		t->in_call = false;
		return 0;
	}
	ret = keep_text(r, t, l->text);
	if (ret || l->unfinished)
		return ret;
	t->in_call = false;
	return read_call(r, l, (struct strace_span){ t->text, t->len }, (uint32_t)(t - r->thread),
			 t->line, t->ns);
}

static int begin_call(struct reader *r, const struct strace_line *l, struct thread *t)
{
	if (t->in_call)
		return fail(r, r->line, -EINVAL,
			    "%.*s begins, but the thread is still in the call of line %llu; lines "
			    "are missing, record it again",
			    l->name.len < 40 ? (int)l->name.len : 40, l->name.p,
			    (unsigned long long)t->line);
	if (l->detached)
		return 0;
	if (!l->unfinished)
		return read_call(r, l, l->text, (uint32_t)(t - r->thread), r->line, l->time_ns);
	t->in_call = true;
	t->line = r->line;
	t->ns = l->time_ns;
	t->name_len = l->name.len;
	t->len = 0;
	return keep_text(r, t, l->text);
}

static int end_thread(struct reader *r, struct thread *t)
{
	struct step s = { .type = STEP_EXIT, .line = r->line };

	t->in_call = false;
	s.call.thread = (uint32_t)(t - r->thread);
	return add_step(r, &s);
}

/* An execve in another thread than the first: the kernel gives it the first one's id. */
static int supersede(struct reader *r, const struct strace_line *l)
{
	struct thread *t, *by;
	int ret = find_thread(r, l->by_tid, &by);

	if (!ret)
		ret = find_thread(r, l->tid, &t);
	/* Finding the second may have moved the first. */
	if (!ret)
		ret = find_thread(r, l->by_tid, &by);
	if (ret || by == t)
		return ret;
	t->in_call = by->in_call;
	t->line = by->line;
	t->ns = by->ns;
	t->name_len = by->name_len;
	t->len = 0;
	if (by->in_call)
		ret = keep_text(r, t, (struct strace_span){ by->text, by->len });
	return ret ? ret : end_thread(r, by);
}

static int read_line(struct reader *r, struct strace_span text)
{
	struct strace_line l;
	struct thread *t;
	const char *wrong = strace_line_read(text, &l);
	int ret;

	if (wrong)
		return bad_line(r, wrong);
	if (l.has_time && !r->has_time) {
		r->has_time = true;
		r->first_ns = l.time_ns;
	}
	if (l.kind == STRACE_NOTE)
		return 0;
	if (l.kind == STRACE_SUPERSEDED)
		return supersede(r, &l);
	ret = find_thread(r, l.tid, &t);
	if (ret)
		return ret;
	if (l.kind == STRACE_EXIT)
		return end_thread(r, t);
	return l.resumed ? resume_call(r, &l, t) : begin_call(r, &l, t);
}

static int read_text(struct reader *r, const char *text, size_t len)
{
	const char *p = text, *end = text + len;
	int ret = 0;

	while (!ret && p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *stop = newline ? newline : end;

		r->line++;
		r->last = !newline;
		ret = read_line(r, (struct strace_span){ p, (size_t)(stop - p) });
		p = stop + 1;
	}
	r->trace->lines = r->line;
	return ret;
}

/* Step 2: address spaces and VMs. */

static int compare_steps(const void *x, const void *y)
{
	const struct step *a = x, *b = y;

	return a->line < b->line ? -1 : a->line > b->line;
}

static int new_space(struct reader *r, uint32_t thread, uint32_t *out)
{
	int ret = grow(r, (void **)&r->space, &r->cap_spaces, r->nr_spaces, sizeof(*r->space));

	if (ret)
		return ret;
	*out = (uint32_t)r->nr_spaces++;
	r->space[*out] = (struct space){ .process = { .tid = r->thread[thread].tid } };
	return 0;
}

static void leave_space(struct reader *r, struct thread *t)
{
	if (t->process != NONE)
		r->space[t->process].threads--;
	t->process = NONE;
}

static void join_space(struct reader *r, struct thread *t, uint32_t process)
{
	leave_space(r, t);
	t->process = process;
	r->space[process].threads++;
}

/* The address space of a thread; without any proof to the contrary, it is the first one's. */
static struct space *space_of(struct reader *r, uint32_t thread)
{
	struct thread *t = &r->thread[thread];

	if (t->process == NONE)
		join_space(r, t, r->root);
	return &r->space[t->process];
}

static int exec(struct reader *r, uint32_t thread)
{
	struct space *s = space_of(r, thread);
	uint32_t old = r->thread[thread].process, process;
	bool only = s->threads == 1;
	int ret;

	/* A child that did nothing before its execve need not be told from what it became. */
	if (only && !s->process.invalidations && !s->process.memslot_updates) {
		s->has_break = false;
		return 0;
	}
	ret = new_space(r, thread, &process);
	if (ret)
		return ret;
	join_space(r, &r->thread[thread], process);
	if (only && old == r->root)
		r->root = process;
	return 0;
}

static int clone_thread(struct reader *r, struct step *s)
{
	const uint32_t *leaf = r->tid_leaf[s->a / TID_LEAF];
	uint32_t index = leaf ? leaf[s->a % TID_LEAF] : 0, process;
	struct space *parent = space_of(r, s->call.thread);
	struct thread *child;
	int ret;

	if (!index || index - 1 == s->call.thread)
		return 0;
	child = &r->thread[index - 1];
	child->clone_line = s->call.end_line;
	process = r->thread[s->call.thread].process;
	if (!s->b) {
		bool has_break = parent->has_break;
		uint64_t brk = parent->brk;

		ret = new_space(r, index - 1, &process);
		if (ret)
			return ret;
		r->space[process].has_break = has_break;
		r->space[process].brk = brk;
	}
	join_space(r, child, process);
	return 0;
}

/*
 * Turns the step into an invalidation if the break went down. brk(NULL) only asks; an answer that
 * differs from what is known can only come from another address space, which is how children are
 * found whose fork and execve are not in the recording.
 */
static int resolve_brk(struct reader *r, struct step *s)
{
	struct space *space = space_of(r, s->call.thread);
	int ret;

	if (!s->a && space->has_break && space->brk != s->b) {
		ret = exec(r, s->call.thread);
		if (ret)
			return ret;
		space = space_of(r, s->call.thread);
	} else if (space->has_break && s->b < space->brk) {
		s->type = STEP_CALL;
		page_range(s->b, space->brk - s->b, &s->call.range[s->call.nr_ranges++]);
	}
	space->has_break = true;
	space->brk = s->b;
	return 0;
}

static int resolve_process(struct reader *r, struct step *s)
{
	struct space *space;
	int ret = 0;

	if (s->type == STEP_EXIT) {
		/* A reused id: the parent's clone of the next bearer may already be under way. */
		if (s->line >= r->thread[s->call.thread].clone_line)
			leave_space(r, &r->thread[s->call.thread]);
		return 0;
	}
	if (s->type == STEP_CLONE)
		return clone_thread(r, s);
	if (s->type == STEP_EXEC)
		return exec(r, s->call.thread);
	if (s->type == STEP_BRK)
		ret = resolve_brk(r, s);
	if (ret)
		return ret;
	space = space_of(r, s->call.thread);
	s->call.process = r->thread[s->call.thread].process;
	space->process.invalidations += s->type == STEP_CALL;
	space->process.memslot_updates += s->type == STEP_REGION;
	return 0;
}

static int resolve_processes(struct reader *r)
{
	size_t i;
	int ret = 0;

	if (!r->nr_threads)
		return 0;
	if (r->nr_steps)
		qsort(r->step, r->nr_steps, sizeof(*r->step), compare_steps);
	ret = new_space(r, 0, &r->root);
	if (!ret)
		join_space(r, &r->thread[0], r->root);
	for (i = 0; !ret && i < r->nr_steps; i++)
		ret = resolve_process(r, &r->step[i]);
	return ret;
}

static bool names_vm(const struct step *s)
{
	return s->type == STEP_CREATE_VM || s->type == STEP_REGION;
}

static int new_vm(struct reader *r, struct step *s, uint32_t *out)
{
	int ret = grow(r, (void **)&r->vm, &r->cap_vms, r->nr_vms, sizeof(*r->vm));

	if (ret)
		return ret;
	r->vm[r->nr_vms] = (struct trace_vm){
		.process = s->call.process,
		.fd = (uint32_t)s->a,
		.created_line = s->type == STEP_CREATE_VM ? s->line : 0,
	};
	*out = (uint32_t)r->nr_vms++;
	return 0;
}

/* @current: the VM that the step's fd stands for at this point, or NONE. */
static int resolve_vm(struct reader *r, struct step *s, uint32_t *current)
{
	int ret = 0;

	if (s->type == STEP_CREATE_VM) {
		s->call.vm = *current;
		if (*current != NONE)
			r->vm[*current].gone_line = s->line;
		return new_vm(r, s, current);
	}
	if (*current == NONE)
		ret = new_vm(r, s, current);
	s->call.vm = *current;
	return ret;
}

static int number_vms(struct reader *r)
{
	uint32_t *next = calloc(r->nr_spaces + 1, sizeof(*next));
	size_t i;

	if (!next)
		return no_memory(r);
	for (i = 0; i < r->nr_vms; i++)
		r->vm[i].number = next[r->vm[i].process]++;
	free(next);
	return 0;
}

static int resolve_vms(struct reader *r)
{
	struct trace_key *fd = calloc(r->nr_steps + 1, sizeof(*fd));
	uint32_t *current = calloc(r->nr_steps + 1, sizeof(*current));
	size_t i, nr = 0;
	int ret = fd && current ? 0 : no_memory(r);

	for (i = 0; !ret && i < r->nr_steps; i++)
		if (names_vm(&r->step[i]))
			fd[nr++] = (struct trace_key){ r->step[i].call.process, r->step[i].a };
	if (!ret) {
		nr = trace_keys_sort(fd, nr);
		memset(current, 0xff, nr * sizeof(*current));
	}
	for (i = 0; !ret && i < r->nr_steps; i++) {
		struct step *s = &r->step[i];
		struct trace_key k = { s->call.process, s->a };

		if (names_vm(s))
			ret = resolve_vm(r, s, &current[trace_keys_find(fd, nr, k)]);
	}
	free(fd);
	free(current);
	return ret ? ret : number_vms(r);
}

/* Step 3: calls and events. */

static int add_event(struct reader *r, enum trace_event_type type, size_t index, uint64_t line,
		     uint64_t ns)
{
	struct trace *trace = r->trace;
	int ret = grow(r, (void **)&trace->events, &r->cap_events, trace->nr_events,
		       sizeof(*trace->events));

	if (!ret)
		trace->events[trace->nr_events++] = (struct trace_event){
			.type = type,
			.index = (uint32_t)index,
			.line = line,
			.ns = ns,
		};
	return ret;
}

static int add_call(struct reader *r, const struct step *s)
{
	struct trace *trace = r->trace;
	const struct trace_call *call = &s->call;
	size_t index = trace->nr_calls;
	int ret;

	trace->calls[trace->nr_calls++] = *call;
	trace->count[call->kind]++;
	if (s->type == STEP_REGION)
		return add_event(r, TRACE_UPDATE, index, call->end_line, call->end_ns);
	trace->invalidations++;
	ret = add_event(r, TRACE_START, index, call->start_line, call->start_ns);
	return ret ? ret : add_event(r, TRACE_END, index, call->end_line, call->end_ns);
}

static int compare_events(const void *x, const void *y)
{
	const struct trace_event *a = x, *b = y;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return (int)a->type - (int)b->type;
}

static uint64_t since(uint64_t ns, uint64_t first)
{
	return ns > first ? ns - first : 0;
}

/* A clock that was set back, or -T's rounding, must not make the order of the lines look wrong. */
static void settle_times(struct reader *r)
{
	struct trace *trace = r->trace;
	uint64_t now = 0;
	size_t i;

	for (i = 0; i < trace->nr_events; i++) {
		struct trace_event *event = &trace->events[i];
		uint64_t ns = since(event->ns, r->first_ns);

		now = ns > now ? ns : now;
		event->ns = now;
		if (event->type == TRACE_START)
			trace->calls[event->index].start_ns = now;
		else if (event->type != TRACE_VM_GONE)
			trace->calls[event->index].end_ns = now;
	}
	for (i = 0; i < trace->nr_calls; i++) {
		struct trace_call *call = &trace->calls[i];

		if (call->kind != TRACE_MEMSLOT)
			continue;
		call->start_ns = since(call->start_ns, r->first_ns);
		if (call->start_ns > call->end_ns)
			call->start_ns = call->end_ns;
	}
}

static int lay_out_calls(struct reader *r)
{
	struct trace *trace = r->trace;
	size_t i;
	int ret = 0;

	trace->calls = calloc(r->nr_steps + 1, sizeof(*trace->calls));
	if (!trace->calls)
		return no_memory(r);
	for (i = 0; !ret && i < r->nr_steps; i++) {
		const struct step *s = &r->step[i];

		if (s->type == STEP_CALL || s->type == STEP_REGION)
			ret = add_call(r, s);
		else if (s->type == STEP_CREATE_VM && s->call.vm != NONE)
			ret = add_event(r, TRACE_VM_GONE, s->call.vm, s->line, s->call.end_ns);
	}
	if (ret)
		return ret;
	if (trace->nr_events)
		qsort(trace->events, trace->nr_events, sizeof(*trace->events), compare_events);
	settle_times(r);
	return trace_mark_related(trace) ? no_memory(r) : 0;
}

static int lay_out_names(struct reader *r)
{
	struct trace *trace = r->trace;
	size_t i;

	trace->threads = calloc(r->nr_threads + 1, sizeof(*trace->threads));
	trace->processes = calloc(r->nr_spaces + 1, sizeof(*trace->processes));
	if (!trace->threads || !trace->processes)
		return no_memory(r);
	for (i = 0; i < r->nr_threads; i++)
		trace->threads[i].tid = r->thread[i].tid;
	for (i = 0; i < r->nr_spaces; i++)
		trace->processes[i] = r->space[i].process;
	trace->nr_threads = r->nr_threads;
	trace->nr_processes = r->nr_spaces;
	trace->vms = r->vm;
	trace->nr_vms = r->nr_vms;
	r->vm = NULL;
	return 0;
}

static void reader_destroy(struct reader *r)
{
	size_t i;

	for (i = 0; i < r->nr_threads; i++)
		free(r->thread[i].text);
	for (i = 0; i < TID_LEAVES; i++)
		free(r->tid_leaf[i]);
	free(r->thread);
	free(r->step);
	free(r->space);
	free(r->vm);
	free(r);
}

static int read_trace(struct reader *r, const char *text, size_t len)
{
	int ret = read_text(r, text, len);

	if (!ret)
		ret = resolve_processes(r);
	if (!ret)
		ret = resolve_vms(r);
	if (!ret)
		ret = lay_out_names(r);
	return ret ? ret : lay_out_calls(r);
}

int trace_parse(const char *text, size_t len, const char *name, struct trace **out,
		struct trace_error *err)
{
	struct reader on_stack = { .name = name, .err = err }, *r;
	int ret;

	*out = NULL;
	memset(err, 0, sizeof(*err));
	if (len > TRACE_MAX_BYTES)
		return fail(&on_stack, 0, -EFBIG, "more than 4 GiB of text; record a shorter run");
	r = calloc(1, sizeof(*r));
	if (!r)
		return no_memory(&on_stack);
	r->name = name;
	r->err = err;
	r->trace = calloc(1, sizeof(*r->trace));
	ret = r->trace ? read_trace(r, text, len) : no_memory(r);
	if (ret)
		trace_free(r->trace);
	else
		*out = r->trace;
	reader_destroy(r);
	return ret;
}

int trace_read_max(const char *path, size_t max_bytes, struct trace **out, struct trace_error *err)
{
	char *text;
	char why[200];
	size_t len;
	int ret;

	*out = NULL;
	memset(err, 0, sizeof(*err));
	ret = trace_text_read(path, max_bytes, &text, &len, why, sizeof(why));
	if (ret) {
		snprintf(err->message, sizeof(err->message), "%.200s: %s", path, why);
		make_printable(err->message);
		return ret;
	}
	ret = trace_parse(text ? text : "", len, path, out, err);
	free(text);
	return ret;
}

int trace_read(const char *path, struct trace **out, struct trace_error *err)
{
	return trace_read_max(path, TRACE_MAX_BYTES, out, err);
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	free(trace->calls);
	free(trace->events);
	free(trace->threads);
	free(trace->processes);
	free(trace->vms);
	free(trace);
}
