/* SPDX-License-Identifier: MIT */
/* The text form of op.h. */
#include "differential/op.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 8

struct field {
	const char *name;
	size_t offset;
	uint64_t max;
	const char *const *words; /* what is written for 0, 1, ... @max; NULL: numbers */
};

static const char *const gates[] = { "range", "always", "rwsem", "count" };
static const char *const locks[] = { "rwlock", "mutex" };
static const char *const dirty[] = { "auto", "manual", "initially_set" };
static const char *const bytes[] = { "1", "2", "4", "8" };
static const char *const odd[NR_ODD] = {
	"nothing",	"gpa_misaligned", "hva_misaligned", "size_misaligned",
	"unknown_flag", "address_space",  "gpa_wraps",	    "gfn_too_high",
	"hva_too_high", "too_many_pages", "gfn_at_top",
};

/* clang-format off */
#define FIELD(field, most, words) { #field, offsetof(struct op, field), most, words }
/* clang-format on */
#define F_VM FIELD(vm, OP_VMS - 1, NULL)
#define F_VCPU FIELD(vcpu, OP_VCPUS - 1, NULL)
#define F_ID FIELD(id, 0xffff, NULL)
#define F_TOKEN FIELD(token, OP_TOKENS - 1, NULL)
#define F_GFN FIELD(gfn, UINT64_C(1) << 20, NULL)
#define F_PAGE FIELD(page, UINT64_C(1) << 20, NULL)
#define F_PAGES FIELD(pages, OP_MAX_PAGES, NULL)
#define F_FRAME FIELD(frame, UINT32_MAX, NULL)
#define F_HOLE FIELD(hole, 1, NULL)
#define F_OFFSET FIELD(offset, 4095, NULL)
#define F_BYTES FIELD(bytes, 3, bytes)

static const struct form {
	const char *name;
	struct field fields[MAX_FIELDS];
} forms[NR_OPS] = {
	[OP_CONFIG] = { "config",
			{ FIELD(gate, 3, gates), FIELD(lock, 1, locks), FIELD(dirty, 2, dirty),
			  FIELD(huge, 1, NULL), FIELD(threads, 1, NULL) } },
	[OP_SLOT] = { "slot",
		      { F_VM, F_ID, F_GFN, F_PAGES, F_PAGE, FIELD(log, 1, NULL),
			FIELD(readonly, 1, NULL), FIELD(odd, NR_ODD - 1, odd) } },
	[OP_START] = { "start", { F_TOKEN, F_PAGE, F_PAGES, FIELD(nonblock, 1, NULL) } },
	[OP_END] = { "end", { F_TOKEN } },
	[OP_EXCHANGE] = { "exchange", { F_PAGE, F_FRAME, F_HOLE } },
	[OP_COLLAPSE] = { "collapse", { FIELD(block, 1, NULL) } },
	[OP_CHANGE_PTE] = { "change_pte",
			    { F_TOKEN, F_PAGE, F_FRAME, F_HOLE, FIELD(writable, 1, NULL) } },
	[OP_LOAD] = { "load", { F_VCPU, F_GFN, F_OFFSET, F_BYTES } },
	[OP_STORE] = { "store",
		       { F_VCPU, F_GFN, F_OFFSET, F_BYTES, FIELD(value, UINT64_MAX, NULL) } },
	[OP_EXIT] = { "exit", { F_VCPU } },
	[OP_HOLD] = { "hold", { F_VCPU } },
	[OP_GET_LOG] = { "get_log", { F_VM, F_ID } },
	[OP_CLEAR_LOG] = { "clear_log",
			   { F_VM, F_ID, FIELD(first, UINT64_MAX, NULL),
			     FIELD(num, OP_MAX_PAGES, NULL), FIELD(bits, UINT64_MAX, NULL) } },
	[OP_CLEAR_FLUSH_YOUNG] = { "clear_flush_young", { F_PAGE, F_PAGES } },
	[OP_CLEAR_YOUNG] = { "clear_young", { F_PAGE, F_PAGES } },
	[OP_TEST_YOUNG] = { "test_young", { F_PAGE } },
	[OP_RELEASE] = { "release", { { 0 } } },
};

const char *op_name(enum op_kind kind)
{
	return forms[kind].name;
}

unsigned op_nr_fields(enum op_kind kind)
{
	unsigned nr = 0;

	while (nr < MAX_FIELDS && forms[kind].fields[nr].name)
		nr++;
	return nr;
}

static uint64_t *at(struct op *op, const struct field *field)
{
	return (uint64_t *)(void *)((char *)op + field->offset);
}

uint64_t *op_field(struct op *op, unsigned field)
{
	return at(op, &forms[op->kind].fields[field]);
}

void op_print(FILE *out, const struct op *op)
{
	const struct form *form = &forms[op->kind];
	struct op copy = *op;

	fputs(form->name, out);
	for (unsigned i = 0; i < op_nr_fields(op->kind); i++) {
		const struct field *field = &form->fields[i];
		uint64_t value = *at(&copy, field);

		if (!value && op->kind != OP_CONFIG)
			continue;
		if (field->words)
			fprintf(out, " %s=%s", field->name, field->words[value]);
		else
			fprintf(out, value > 9999 ? " %s=%#" PRIx64 : " %s=%" PRIu64, field->name,
				value);
	}
	fputc('\n', out);
}

void sequence_print(FILE *out, const struct sequence *sequence)
{
	for (unsigned i = 0; i < sequence->nr; i++)
		op_print(out, &sequence->ops[i]);
}

static bool parse_value(const struct field *field, const char *text, uint64_t *value)
{
	char *end;

	for (uint64_t word = 0; field->words && word <= field->max; word++) {
		if (!strcmp(field->words[word], text)) {
			*value = word;
			return true;
		}
	}
	if (field->words || *text < '0' || *text > '9')
		return false;
	*value = strtoull(text, &end, 0);
	return !*end && *value <= field->max;
}

static bool parse_field(struct op *op, char *text)
{
	char *value = strchr(text, '=');

	if (!value)
		return false;
	*value++ = 0;
	for (unsigned i = 0; i < op_nr_fields(op->kind); i++) {
		const struct field *field = &forms[op->kind].fields[i];

		if (!strcmp(field->name, text))
			return parse_value(field, value, at(op, field));
	}
	return false;
}

static bool parse_op(char *line, struct op *op)
{
	char *rest, *word = strtok_r(line, " \t\n", &rest);

	memset(op, 0, sizeof(*op));
	while (op->kind < NR_OPS && strcmp(forms[op->kind].name, word))
		op->kind++;
	if (op->kind == NR_OPS)
		return false;
	while ((word = strtok_r(NULL, " \t\n", &rest)))
		if (!parse_field(op, word))
			return false;
	return true;
}

static bool is_blank(const char *line)
{
	line += strspn(line, " \t\n");
	return !*line || *line == '#';
}

bool sequence_parse(FILE *in, struct sequence *sequence, char *error, size_t size)
{
	char line[512];

	sequence->nr = 0;
	for (unsigned nr = 1; fgets(line, sizeof(line), in); nr++) {
		struct op op;

		if (is_blank(line))
			continue;
		if (sequence->nr == SEQUENCE_MAX || !parse_op(line, &op) ||
		    (op.kind == OP_CONFIG) != (sequence->nr == 0)) {
			snprintf(error, size, "line %u is no operation that can be here", nr);
			return false;
		}
		sequence->ops[sequence->nr++] = op;
	}
	snprintf(error, size, "there is nothing in it");
	return sequence->nr > 0;
}
