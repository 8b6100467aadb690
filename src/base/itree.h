/* SPDX-License-Identifier: MIT */
/*
 * A copy-on-write interval index: a B+tree whose nodes never change once a
 * reader can see them. An update copies the path it changes and hands back the
 * new root and the nodes it replaced, so a reader that holds one root holds a
 * whole snapshot and needs neither lock nor retry.
 *
 * It serves the gfn index, where intervals never overlap, and the hva index,
 * where those of many VMs may overlap and even be equal. Intervals are kept in
 * the order (start, value), so that one of many with an equal start is found by
 * descent and not by trying them all.
 *
 * Readers: any thread, any context, signal handlers included; no function here
 * recurses. The caller loads the root with acquire order and keeps the snapshot
 * from being freed meanwhile.
 * Updaters: one at a time. The caller publishes the new root with release
 * order, waits for the readers of the old one, then frees what was replaced.
 */
#ifndef S2_BASE_ITREE_H
#define S2_BASE_ITREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stage2/allocator.h>

/*
 * 15 and not 16: two rounds of three compares search exactly 4 * 4 - 1 slots,
 * and the sixteenth word of each row holds what would otherwise cost a lookup
 * one more cache line per level.
 */
#define S2_ITREE_SLOTS		15
/* A quarter, not half: after a split or a merge the next one is some way off. */
#define S2_ITREE_MIN_FILL	4
/* One level more would take at least 2 * 4^16 = 2^33 intervals. */
#define S2_ITREE_MAX_HEIGHT	16

/* [start, end), start < end; @value is not NULL. */
struct s2_itree_iv {
	uint64_t start;
	uint64_t end;
	void *value;
};

/*
 * Unused slots hold UINT64_MAX in start[] and reach[], which no search key
 * passes, so that searching has a fixed trip count.
 */
struct s2_itree_node {
	/* in a leaf the interval's start, above the least start below the child */
	_Alignas(64) uint64_t start[S2_ITREE_SLOTS];
	uint32_t count;
	uint32_t level;			/* 0: leaf */

	/* reach[j]: the greatest end among the first j entries; reach[0] is 0 */
	_Alignas(64) uint64_t reach[S2_ITREE_SLOTS + 1];

	/* the value, or the child */
	_Alignas(64) void *ptr[S2_ITREE_SLOTS];

	/* the interval's own end, or the greatest end below the child */
	_Alignas(64) uint64_t end[S2_ITREE_SLOTS];

	/*
	 * Links a node in a reserve or in a list of replaced nodes. Readers never
	 * look at it: a replaced node stays readable while it waits in a list.
	 */
	struct s2_itree_node *next;
};

_Static_assert(sizeof(struct s2_itree_node) == 512, "a row of the node is two cache lines");

/*
 * How many of the sorted @key[] are less than @limit. Compares are summed and
 * not branched upon: which slot it will be cannot be predicted, and one
 * mispredicted branch costs more than the whole search.
 */
static inline unsigned s2_itree_rank(const uint64_t key[S2_ITREE_SLOTS], uint64_t limit)
{
	/* size_t: narrower sums cost a sign extension on the way to each address */
	size_t a = key[3] < limit, b = key[7] < limit, c = key[11] < limit;
	const uint64_t *group = key + 4 * (a + b + c);

	a = group[0] < limit;
	b = group[1] < limit;
	c = group[2] < limit;
	return (unsigned)((size_t)(group - key) + a + (b + c));
}

/*
 * Does any interval overlap [@start, @end)? @start < @end. @root may be NULL.
 *
 * One descent, whatever overlaps what: of the entries that start before @end,
 * all but the last hold nothing that starts at @end or later, so their reach
 * alone answers for them, and only the last one has to be entered.
 */
static inline bool s2_itree_overlaps(const struct s2_itree_node *root, uint64_t start, uint64_t end)
{
	const struct s2_itree_node *node = root;

	if (!node)
		return false;

	for (;;) {
		unsigned n = s2_itree_rank(node->start, end);

		/* holds for n == 0 too: reach[0] is 0 */
		if (node->reach[n] <= start)
			return false;
		if (node->level == 0 || node->reach[n - 1] > start)
			return true;
		node = node->ptr[n - 1];
	}
}

/*
 * Finds the interval that holds @point, for trees whose intervals do not
 * overlap. False if there is none, and then *@iv is as it was.
 */
static inline bool s2_itree_find(const struct s2_itree_node *root, uint64_t point,
				 struct s2_itree_iv *iv)
{
	const struct s2_itree_node *node = root;

	/* no half-open interval holds it, and it has no successor to search for */
	if (!node || point == UINT64_MAX)
		return false;

	for (;;) {
		unsigned n = s2_itree_rank(node->start, point + 1);

		if (node->reach[n] <= point)
			return false;
		if (node->level == 0) {
			iv->start = node->start[n - 1];
			/* without overlap the last end is the greatest; this line is hot */
			iv->end = node->reach[n];
			iv->value = node->ptr[n - 1];
			return true;
		}
		node = node->ptr[n - 1];
	}
}

/* The value of the interval that holds @point, or NULL; as s2_itree_find(). */
static inline void *s2_itree_lookup(const struct s2_itree_node *root, uint64_t point)
{
	struct s2_itree_iv iv;

	return s2_itree_find(root, point, &iv) ? iv.value : NULL;
}

/*
 * Iterates over the intervals that overlap [start, end), in the order (start,
 * value). Allocates nothing and may live on a signal handler's stack.
 *
 * Every subtree entered holds a match, except along the one path where start
 * passes the range's end; so a whole iteration takes O((matches + 1) * height)
 * node visits of at most S2_ITREE_SLOTS steps each, even where one long
 * interval far to the left makes every prefix reach into the range.
 */
struct s2_itree_iter {
	uint64_t start;
	uint64_t end;
	struct s2_itree_iv iv;
	unsigned depth;			/* levels of the stack in use; 0: finished */
	struct {
		const struct s2_itree_node *node;
		unsigned slot;		/* the next to look at */
	} stack[S2_ITREE_MAX_HEIGHT];
};

/* @start < @end; @root may be NULL. The iterator is valid as long as the snapshot is. */
void s2_itree_iter_init(struct s2_itree_iter *it, const struct s2_itree_node *root, uint64_t start,
			uint64_t end);

/* The next interval, valid until the next call; NULL at the end, and from then on. */
const struct s2_itree_iv *s2_itree_iter_next(struct s2_itree_iter *it);

/*
 * Nodes allocated before an update, so that the update itself cannot fail.
 * All zero is an empty reserve. @tail means something only while there is a @head.
 */
struct s2_itree_reserve {
	struct s2_itree_node *head;
	struct s2_itree_node *tail;
	unsigned count;
};

/* Enough for one update of any tree. */
#define S2_ITREE_UPDATE_NODES	(2 * S2_ITREE_MAX_HEIGHT + 1)

/*
 * The most nodes that @updates updates in a row may take, beginning with this
 * tree. Each copies or splits, or copies and joins, at most two nodes per
 * level, and may add a level.
 */
static inline unsigned s2_itree_nodes_for_height(unsigned height, unsigned updates)
{
	return updates * (2 * (height + updates - 1) + 1);
}

static inline unsigned s2_itree_nodes_for(const struct s2_itree_node *root, unsigned updates)
{
	return s2_itree_nodes_for_height(root ? root->level + 1 : 0, updates);
}

/* Tops @r up to at least @n nodes. -ENOMEM: @r is as it was. */
int s2_itree_reserve_fill(struct s2_itree_reserve *r, const struct s2_allocator *a, unsigned n);

/*
 * Moves @n nodes, or all if there are fewer, from the front of one reserve to the
 * front of another. Looks at the nodes only if some stay behind.
 */
void s2_itree_reserve_move(struct s2_itree_reserve *to, struct s2_itree_reserve *from, unsigned n);

/* Puts a list of nodes, replaced ones for instance, at the front of @r. */
void s2_itree_reserve_add_list(struct s2_itree_reserve *r, struct s2_itree_node *list);

/* Gives every node in @r back to @a. */
void s2_itree_reserve_drain(struct s2_itree_reserve *r, const struct s2_allocator *a);

/*
 * The updates return the new root, and leave the tree below @root as readable
 * as before. They take nodes from @r, which must hold s2_itree_nodes_for(root, 1),
 * and prepend to *@replaced the nodes that are below @root and not below the
 * new one. Of several updates made before the first is published, each may
 * replace nodes of the one before: all of them belong to the caller's list.
 */

/* NULL @root is the empty tree. No interval of the same start and value may be there. */
struct s2_itree_node *s2_itree_insert(struct s2_itree_node *root, const struct s2_itree_iv *iv,
				      struct s2_itree_reserve *r, struct s2_itree_node **replaced);

/*
 * Returns NULL when that was the last interval. Returns @root itself, with
 * nothing taken and nothing replaced, if there is no such interval.
 */
struct s2_itree_node *s2_itree_remove(struct s2_itree_node *root, uint64_t start, uint64_t end,
				      void *value, struct s2_itree_reserve *r,
				      struct s2_itree_node **replaced);

/*
 * Gives the interval (@start, @end, @value) the value @new_value instead.
 * Returns @root itself if there is no such interval. Where equal starts make
 * the new value sort elsewhere this is a remove and an insert, so @r must hold
 * s2_itree_nodes_for(root, 2).
 */
struct s2_itree_node *s2_itree_replace(struct s2_itree_node *root, uint64_t start, uint64_t end,
				       void *value, void *new_value, struct s2_itree_reserve *r,
				       struct s2_itree_node **replaced);

/* Prepends every node of a whole tree to *@replaced, to be freed with what else is there. */
void s2_itree_retire_all(struct s2_itree_node *root, struct s2_itree_node **replaced);

/* Frees a list of replaced nodes; no reader may hold a root they are below. */
void s2_itree_free_list(struct s2_itree_node *list, const struct s2_allocator *a);

/* Frees a whole tree that nobody reads any more. */
void s2_itree_free_all(struct s2_itree_node *root, const struct s2_allocator *a);

#endif /* S2_BASE_ITREE_H */
