/* SPDX-License-Identifier: MIT */
/*
 * The sequences of generate.h. What was asked for last of each memslot and each
 * invalidation is remembered, whether or not it was granted: the next call is
 * about it more often than chance would have it.
 */
#include "differential/generate.h"

#include "differential/host.h"
#include "small_vm.h"

#include <string.h>

#define NR_IDS 7

struct generator {
	uint64_t random;
	bool huge;
	uint64_t span; /* pages, of guest and host */
	struct op slots[OP_VMS][NR_IDS];
	struct op starts[OP_TOKENS];
	bool open[OP_TOKENS];
};

static const uint16_t ids[NR_IDS] = { 0, 1, 2, 3, 511, 512, S2_USER_MEM_SLOTS - 1 };

static uint64_t below(struct generator *gen, uint64_t bound)
{
	return (test_random(&gen->random) >> 16) % bound;
}

static bool percent(struct generator *gen, unsigned chance)
{
	return below(gen, 100) < chance;
}

/* With huge pages mostly where 2 MiB leaves fit; and the pages about a block's beginning. */
static uint64_t place(struct generator *gen)
{
	uint64_t block = below(gen, gen->span / HOST_BLOCK_PAGES + 1) * HOST_BLOCK_PAGES;

	if (!gen->huge)
		return below(gen, gen->span);
	if (percent(gen, 70))
		return block;
	return block + below(gen, 8);
}

static uint64_t extent(struct generator *gen)
{
	if (!gen->huge)
		return 1 + below(gen, percent(gen, 10) ? 100 : 12);
	return percent(gen, 80) ? HOST_BLOCK_PAGES * (1 + below(gen, 2)) : 1 + below(gen, 700);
}

static uint64_t touched(struct generator *gen, uint64_t base)
{
	return base + below(gen, gen->huge ? 6 : 3);
}

static void new_slot(struct generator *gen, struct op *op)
{
	op->gfn = place(gen);
	op->page = place(gen);
	op->pages = extent(gen);
	op->log = percent(gen, 40);
	op->readonly = percent(gen, 8);
}

static void slot(struct generator *gen, struct op *op)
{
	unsigned id = (unsigned)below(gen, NR_IDS);
	struct op *last = &gen->slots[op->vm = percent(gen, 65) ? 0 : 1][id];
	uint64_t vm = op->vm;

	if (!last->pages || percent(gen, 10)) {
		op->kind = OP_SLOT;
		new_slot(gen, op);
	} else {
		*op = *last;
		switch (below(gen, 8)) {
		case 0:
		case 1:
			op->pages = 0;
			break;
		case 2:
		case 3:
			op->gfn = place(gen);
			break;
		case 4:
			op->gfn = place(gen);
			op->log ^= 1;
			break;
		default:
			op->log ^= 1;
		}
	}
	op->vm = vm;
	op->id = ids[id];
	*last = *op;
	if (percent(gen, 4))
		op->odd = 1 + below(gen, NR_ODD - 1);
	if (percent(gen, 1))
		op->readonly ^= 1;
	if (percent(gen, 4)) {
		op->odd = ODD_GFN_AT_TOP;
		if (!gen->huge && op->pages)
			last->pages = op->pages = 1 + below(gen, 6);
	}
}

/* One of the VM's that is there, as far as is known, and with @log one that is logged. */
static const struct op *some_slot(struct generator *gen, uint64_t vm, bool log)
{
	const struct op *last = NULL;

	for (unsigned tries = 0; tries < 12; tries++) {
		last = &gen->slots[vm][below(gen, NR_IDS)];
		if (last->pages && (last->log || !log))
			break;
	}
	return last;
}

/* A page that some memslot has, or had, or was refused. */
static uint64_t slot_page(struct generator *gen)
{
	const struct op *last = some_slot(gen, below(gen, OP_VMS), false);

	if (!last->pages || percent(gen, 10))
		return place(gen);
	return gen->huge ? touched(gen, last->page) : last->page + below(gen, last->pages);
}

static const struct op *some_start(struct generator *gen)
{
	return &gen->starts[below(gen, OP_TOKENS)];
}

static void end(struct generator *gen, struct op *op)
{
	op->token = below(gen, OP_TOKENS);
	for (unsigned tries = 0; tries < 20 && !gen->open[op->token]; tries++)
		op->token = below(gen, OP_TOKENS);
	gen->open[op->token] = false;
}

/* Mostly few at once: while one is open, most updates are refused. */
static void start(struct generator *gen, struct op *op)
{
	op->token = below(gen, OP_TOKENS);
	if (gen->open[op->token] || percent(gen, 10)) {
		op->kind = OP_END;
		end(gen, op);
		return;
	}
	gen->open[op->token] = true;
	op->page = slot_page(gen);
	op->pages = percent(gen, 60) ? 1 + below(gen, 3) : extent(gen);
	if (percent(gen, 1))
		op->pages = 0;
	op->nonblock = percent(gen, 25);
	gen->starts[op->token] = *op;
}

static void inside(struct generator *gen, struct op *op)
{
	const struct op *last = some_start(gen);

	for (unsigned tries = 0; tries < 6 && !gen->open[last->token]; tries++)
		last = some_start(gen);
	op->token = last->token;
	op->page = last->page + below(gen, last->pages + 1);
	if (gen->huge)
		op->page = last->page + below(gen, last->pages < 6 ? last->pages + 1 : 6);
	op->frame = percent(gen, 70) ? HOST_PAGES + below(gen, HOST_SPARES) : below(gen, gen->span);
	op->hole = percent(gen, 8);
	op->writable = percent(gen, 50);
}

static void access_memory(struct generator *gen, struct op *op)
{
	const struct op *last;

	op->vcpu = percent(gen, 65) ? below(gen, 2) : below(gen, OP_VCPUS);
	last = some_slot(gen, op->vcpu / 2, false);
	op->gfn = gen->huge ? touched(gen, last->gfn) : last->gfn + below(gen, last->pages + 1);
	op->bytes = below(gen, 4);
	op->offset = below(gen, HOST_EDGE / 8) << op->bytes;
	if (percent(gen, 20))
		op->offset = below(gen, HOST_EDGE - 8);
	if (percent(gen, 20))
		op->offset = S2_PAGE_SIZE - 1 - below(gen, 8);
	op->kind = percent(gen, 50) ? OP_LOAD : OP_STORE;
	if (op->kind == OP_STORE)
		op->value = test_random(&gen->random) >> (64 - (8 << op->bytes));
}

static void dirty_log(struct generator *gen, struct op *op)
{
	const struct op *last;

	op->vm = below(gen, OP_VMS);
	last = some_slot(gen, op->vm, percent(gen, 95));
	op->id = percent(gen, 3) ? S2_USER_MEM_SLOTS : last->id;
	if (percent(gen, 50))
		return;
	op->kind = OP_CLEAR_LOG;
	op->first = last->pages > 64 && percent(gen, 50) ? 64 : 0;
	op->num = percent(gen, 90) && last->pages > op->first ? last->pages - op->first
							      : below(gen, 3) * 64;
	op->bits = percent(gen, 50) ? UINT64_MAX : test_random(&gen->random);
	if (percent(gen, 4))
		op->first += 1 + below(gen, 70);
}

static void young(struct generator *gen, struct op *op)
{
	op->page = slot_page(gen);
	if (op->kind != OP_TEST_YOUNG)
		op->pages = percent(gen, 3) ? 0 : 1 + below(gen, 4);
}

static const struct {
	enum op_kind kind;
	unsigned weight;
	void (*fill)(struct generator *gen, struct op *op);
} menu[] = {
	{ OP_LOAD, 400, access_memory }, { OP_SLOT, 130, slot },
	{ OP_START, 90, start },	 { OP_END, 130, end },
	{ OP_EXCHANGE, 110, inside },	 { OP_CHANGE_PTE, 30, inside },
	{ OP_GET_LOG, 90, dirty_log },	 { OP_CLEAR_FLUSH_YOUNG, 25, young },
	{ OP_CLEAR_YOUNG, 15, young },	 { OP_TEST_YOUNG, 30, young },
	{ OP_COLLAPSE, 15, NULL },	 { OP_EXIT, 20, NULL },
	{ OP_RELEASE, 1, NULL },
};

static void next(struct generator *gen, struct op *op)
{
	unsigned total = 0, i = 0;
	uint64_t pick;

	for (unsigned j = 0; j < sizeof(menu) / sizeof(menu[0]); j++)
		total += menu[j].weight;
	pick = below(gen, total);
	while (pick >= menu[i].weight)
		pick -= menu[i++].weight;
	memset(op, 0, sizeof(*op));
	op->kind = menu[i].kind;
	if (op->kind == OP_COLLAPSE)
		op->block = below(gen, HOST_BLOCKS);
	else if (op->kind == OP_EXIT)
		op->vcpu = below(gen, OP_VCPUS);
	if (menu[i].fill)
		menu[i].fill(gen, op);
}

/* A block is whole again only within an invalidation of all of it. */
static unsigned collapse_block(struct generator *gen, struct op *ops)
{
	uint64_t block = below(gen, HOST_BLOCKS), token = below(gen, OP_TOKENS);

	ops[0] = (struct op){ .kind = OP_START,
			      .token = token,
			      .page = block * HOST_BLOCK_PAGES,
			      .pages = HOST_BLOCK_PAGES };
	ops[1] = (struct op){ .kind = OP_COLLAPSE, .block = block };
	ops[2] = (struct op){ .kind = OP_END, .token = token };
	return 3;
}

/*
 * A start() that gives up, since a vCPU keeps its translation and does not poll; and
 * another, which must not take the page for gone. If it does, the vCPU's next load shows it.
 */
static unsigned failing_start(struct generator *gen, struct op *ops)
{
	uint64_t vcpu = below(gen, OP_VCPUS), token = below(gen, OP_TOKENS);
	const struct op *slot = some_slot(gen, vcpu / 2, false);
	struct op load = { .kind = OP_LOAD, .vcpu = vcpu, .gfn = slot->gfn, .bytes = 3 };
	struct op start = {
		.kind = OP_START,
		.token = token,
		.page = slot->page,
		.pages = 1 + below(gen, 3),
		.nonblock = 1,
	};

	ops[0] = load;
	ops[1] = (struct op){ .kind = OP_HOLD, .vcpu = vcpu };
	ops[2] = start;
	ops[3] = start;
	ops[4] = (struct op){ .kind = OP_EXCHANGE,
			      .page = slot->page,
			      .frame = HOST_PAGES + below(gen, HOST_SPARES) };
	ops[5] = (struct op){ .kind = OP_END, .token = token };
	ops[6] = load;
	return 7;
}

void generate(struct sequence *sequence, const struct op *config, unsigned nr, uint64_t seed)
{
	struct generator gen = {
		.random = seed,
		.huge = config->huge,
		.span = config->huge ? HOST_PAGES : 40,
	};

	for (unsigned token = 0; token < OP_TOKENS; token++)
		gen.starts[token].token = token;
	sequence->nr = 1;
	sequence->ops[0] = *config;
	while (sequence->nr < nr && sequence->nr < SEQUENCE_MAX - 7) {
		struct op *op = &sequence->ops[sequence->nr];

		if (config->huge && percent(&gen, 2)) {
			sequence->nr += collapse_block(&gen, op);
		} else if (config->threads && percent(&gen, 4)) {
			sequence->nr += failing_start(&gen, op);
		} else {
			next(&gen, op);
			sequence->nr++;
		}
	}
}
