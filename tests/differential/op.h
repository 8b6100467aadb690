/* SPDX-License-Identifier: MIT */
/*
 * A sequence of operations as data: made by generate.c, carried out by run.c, cut
 * down by shrink.c, and written as text, one operation a line, so that a sequence
 * that once failed can be read, kept in tests/data/differential/ and run again.
 */
#ifndef TESTS_DIFFERENTIAL_OP_H
#define TESTS_DIFFERENTIAL_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum op_kind {
	OP_CONFIG, /* the first of every sequence, and nowhere else */
	OP_SLOT,
	OP_START,
	OP_END,
	OP_EXCHANGE,
	OP_COLLAPSE,
	OP_CHANGE_PTE,
	OP_LOAD,
	OP_STORE,
	OP_EXIT,
	OP_HOLD,
	OP_GET_LOG,
	OP_CLEAR_LOG,
	OP_CLEAR_FLUSH_YOUNG,
	OP_CLEAR_YOUNG,
	OP_TEST_YOUNG,
	OP_RELEASE,
	NR_OPS
};

/* What else may be wrong with a memslot call. */
enum op_odd {
	ODD_NOTHING,
	ODD_GPA_MISALIGNED,
	ODD_HVA_MISALIGNED,
	ODD_SIZE_MISALIGNED,
	ODD_UNKNOWN_FLAG,
	ODD_ADDRESS_SPACE,
	ODD_GPA_WRAPS,
	ODD_GFN_TOO_HIGH,
	ODD_HVA_TOO_HIGH,
	ODD_TOO_MANY_PAGES,
	ODD_GFN_AT_TOP, /* the last 4 gfns that there are; not odd with up to 4 pages */
	NR_ODD
};

#define OP_VMS 2
#define OP_VCPUS 4 /* vCPU i is one of VM i / 2 */
#define OP_TOKENS 6
#define OP_MAX_PAGES 1024

/* One field each for whatever any operation takes; 0 unless given. */
struct op {
	enum op_kind kind;
	uint64_t gate, lock, dirty, huge, threads;
	uint64_t vm, vcpu, id, token;
	uint64_t gfn, page, pages, block, frame, hole;
	uint64_t log, readonly, odd, nonblock, writable;
	uint64_t offset, bytes, value; /* bytes: 0 to 3 for 1, 2, 4 and 8 */
	uint64_t first, num, bits;
};

#define SEQUENCE_MAX 1024

struct sequence {
	unsigned nr;
	struct op ops[SEQUENCE_MAX];
};

const char *op_name(enum op_kind kind);

/* The fields an operation has, for those who treat all alike. */
unsigned op_nr_fields(enum op_kind kind);
uint64_t *op_field(struct op *op, unsigned field);

void op_print(FILE *out, const struct op *op);
void sequence_print(FILE *out, const struct sequence *sequence);

/* False, with one line in @error, if the text is no sequence. */
bool sequence_parse(FILE *in, struct sequence *sequence, char *error, size_t size);

#endif /* TESTS_DIFFERENTIAL_OP_H */
