/* SPDX-License-Identifier: MIT */
/* The shrinking of shrink.h: first operations, by halves, then arguments, until neither helps. */
#include "differential/shrink.h"

#include <string.h>

struct shrinker {
	struct sequence *sequence; /* the shortest that fails */
	struct sequence candidate;
	still_fails_fn *still_fails;
	void *arg;
	unsigned tries;
};

static bool keep_if_it_fails(struct shrinker *s)
{
	if (!s->tries || (s->tries--, !s->still_fails(&s->candidate, s->arg)))
		return false;
	*s->sequence = s->candidate;
	return true;
}

static bool without(struct shrinker *s, unsigned from, unsigned nr)
{
	s->candidate = *s->sequence;
	memmove(&s->candidate.ops[from], &s->candidate.ops[from + nr],
		(s->candidate.nr - from - nr) * sizeof(struct op));
	s->candidate.nr -= nr;
	return keep_if_it_fails(s);
}

/* From the end, since what fails is there and what made it fail is often near. */
static bool drop_chunks(struct shrinker *s, unsigned size)
{
	bool any = false;
	unsigned end = s->sequence->nr;

	while (end > size) {
		any |= without(s, end - size, size);
		end -= size;
	}
	return any;
}

static bool drop_operations(struct shrinker *s)
{
	bool any = false;

	for (unsigned size = s->sequence->nr / 2; size; size /= 2)
		any |= drop_chunks(s, size);
	return any;
}

static bool with_value(struct shrinker *s, unsigned op, unsigned field, uint64_t value)
{
	if (*op_field(&s->sequence->ops[op], field) <= value)
		return false;
	s->candidate = *s->sequence;
	*op_field(&s->candidate.ops[op], field) = value;
	return keep_if_it_fails(s);
}

static bool simplify_field(struct shrinker *s, unsigned op, unsigned field)
{
	bool any = with_value(s, op, field, 0) || with_value(s, op, field, 1);
	uint64_t value = *op_field(&s->sequence->ops[op], field);

	while (value > 1 &&
	       (with_value(s, op, field, value / 2) || with_value(s, op, field, value - 1))) {
		any = true;
		value = *op_field(&s->sequence->ops[op], field);
	}
	return any;
}

static bool simplify_arguments(struct shrinker *s)
{
	bool any = false;

	for (unsigned op = 0; op < s->sequence->nr; op++)
		for (unsigned field = 0; field < op_nr_fields(s->sequence->ops[op].kind); field++)
			any |= simplify_field(s, op, field);
	return any;
}

/* Lower gfns, host pages and ids alone often fail differently; all that are equal, together. */
static bool rename_everywhere(struct shrinker *s, size_t offset, uint64_t from, uint64_t to)
{
	s->candidate = *s->sequence;
	for (unsigned i = 0; i < s->candidate.nr; i++) {
		uint64_t *value = (uint64_t *)(void *)((char *)&s->candidate.ops[i] + offset);

		if (*value >= from)
			*value -= from - to;
	}
	return keep_if_it_fails(s);
}

static bool lower_field(struct shrinker *s, size_t offset)
{
	bool any = false;

	for (unsigned i = 0; i < s->sequence->nr; i++) {
		uint64_t value = *(uint64_t *)(void *)((char *)&s->sequence->ops[i] + offset);

		any |= value && (rename_everywhere(s, offset, value, 0) ||
				 (value > 1 && rename_everywhere(s, offset, value, value / 2)));
	}
	return any;
}

/* A VM and its vCPUs go together. */
static bool only_first_vm(struct shrinker *s)
{
	bool changed = false;

	s->candidate = *s->sequence;
	for (unsigned i = 0; i < s->candidate.nr; i++) {
		struct op *op = &s->candidate.ops[i];

		changed |= op->vm || op->vcpu >= OP_VCPUS / OP_VMS;
		op->vm = 0;
		op->vcpu %= OP_VCPUS / OP_VMS;
	}
	return changed && keep_if_it_fails(s);
}

static bool lower_together(struct shrinker *s)
{
	bool any = only_first_vm(s);

	any |= lower_field(s, offsetof(struct op, gfn));
	any |= lower_field(s, offsetof(struct op, page));
	any |= lower_field(s, offsetof(struct op, pages));
	any |= lower_field(s, offsetof(struct op, id));
	any |= lower_field(s, offsetof(struct op, vm));
	return lower_field(s, offsetof(struct op, token)) || any;
}

void shrink(struct sequence *sequence, still_fails_fn *still_fails, void *arg, unsigned tries)
{
	/* Too large for the stack of a sanitizer's thread twice over, but there is only this one.
	 */
	static struct shrinker s;
	bool any;

	s = (struct shrinker){
		.sequence = sequence, .still_fails = still_fails, .arg = arg, .tries = tries
	};
	do {
		any = drop_operations(&s);
		any |= lower_together(&s);
		any |= simplify_arguments(&s);
	} while (any && s.tries);
}
