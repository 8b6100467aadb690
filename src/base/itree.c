/* SPDX-License-Identifier: MIT */
/*
 * Updates of the copy-on-write interval index, and iteration over it.
 *
 * Insert, remove and replace are one operation: splice some entries into a
 * leaf, write the outcome as one or two new nodes, splice those into the
 * parent's copy, and so on up to the root. Splitting and joining are only how
 * many nodes the outcome of a level is written to.
 */
#include "itree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* The way from the root to a key, by level. */
struct path {
	struct s2_itree_node *node[S2_ITREE_MAX_HEIGHT];
	unsigned slot[S2_ITREE_MAX_HEIGHT];
};

/* Replaces @del entries from @at by the first @n_add of add[]. */
struct splice {
	unsigned at;
	unsigned del;
	unsigned n_add;
	struct s2_itree_iv add[2];
};

/* The entries of a level while they are being changed: those of up to two nodes. */
struct run {
	unsigned n;
	struct s2_itree_iv e[2 * S2_ITREE_SLOTS];
};

static const struct s2_itree_node *child(const struct s2_itree_node *node, unsigned slot)
{
	return node->ptr[slot];
}

static uintptr_t least_value(const struct s2_itree_node *node, unsigned slot)
{
	while (node->level) {
		node = child(node, slot);
		slot = 0;
	}
	return (uintptr_t)node->ptr[slot];
}

/*
 * How many entries sort at or before (start, value). Values are not stored
 * above the leaves, as only equal starts need them and those are rare enough
 * to go and look.
 */
static unsigned rank_key(const struct s2_itree_node *node, uint64_t start, const void *value)
{
	unsigned lo = s2_itree_rank(node->start, start);
	unsigned hi = s2_itree_rank(node->start, start + 1);

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (least_value(node, mid) <= (uintptr_t)value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* In the leaf, slot[0] is the number of entries at or before the key. */
static void find_path(struct path *path, struct s2_itree_node *root, uint64_t start,
		      const void *value)
{
	struct s2_itree_node *node = root;

	for (;;) {
		unsigned n = rank_key(node, start, value);
		unsigned level = node->level;

		path->node[level] = node;
		path->slot[level] = n;
		if (level == 0)
			return;
		if (n > 0)
			path->slot[level]--;
		node = node->ptr[path->slot[level]];
	}
}

/* Like find_path(), but false unless that very interval is there; slot[0] is then its slot. */
static bool find_interval(struct path *path, struct s2_itree_node *root, uint64_t start,
			  uint64_t end, const void *value)
{
	const struct s2_itree_node *leaf;
	unsigned slot;

	if (!root)
		return false;

	find_path(path, root, start, value);
	if (path->slot[0] == 0)
		return false;

	leaf = path->node[0];
	slot = --path->slot[0];
	return leaf->start[slot] == start && leaf->end[slot] == end && leaf->ptr[slot] == value;
}

static void run_append(struct run *run, const struct s2_itree_node *node, unsigned from,
		       unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		run->e[run->n++] = (struct s2_itree_iv){
			.start = node->start[i],
			.end = node->end[i],
			.value = node->ptr[i],
		};
	}
}

static void run_append_spliced(struct run *run, const struct s2_itree_node *node,
			       const struct splice *s)
{
	run_append(run, node, 0, s->at);
	for (unsigned i = 0; i < s->n_add; i++)
		run->e[run->n++] = s->add[i];
	run_append(run, node, s->at + s->del, node->count);
}

static struct s2_itree_node *reserve_take(struct s2_itree_reserve *r)
{
	struct s2_itree_node *node = r->head;

	assert(node);
	r->head = node->next;
	r->count--;
	node->next = NULL;
	return node;
}

static void list_push(struct s2_itree_node **list, struct s2_itree_node *node)
{
	node->next = *list;
	*list = node;
}

/* Writes entries to a new node and returns the entry its parent needs. */
static struct s2_itree_iv write_node(struct s2_itree_reserve *r, unsigned level,
				     const struct s2_itree_iv *e, unsigned n)
{
	struct s2_itree_node *node = reserve_take(r);

	node->count = n;
	node->level = level;
	node->reach[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		node->start[i] = e[i].start;
		node->end[i] = e[i].end;
		node->ptr[i] = e[i].value;
		node->reach[i + 1] = e[i].end > node->reach[i] ? e[i].end : node->reach[i];
	}
	for (unsigned i = n; i < S2_ITREE_SLOTS; i++) {
		node->start[i] = UINT64_MAX;
		node->end[i] = 0;
		node->ptr[i] = NULL;
		node->reach[i + 1] = UINT64_MAX;
	}

	return (struct s2_itree_iv){
		.start = node->start[0],
		.end = node->reach[n],
		.value = node,
	};
}

/* Writes @run to one node, or to two with @cut entries in the first. */
static unsigned write_run(struct s2_itree_reserve *r, unsigned level, const struct run *run,
			  unsigned cut, struct s2_itree_iv out[2])
{
	if (run->n <= S2_ITREE_SLOTS) {
		out[0] = write_node(r, level, run->e, run->n);
		return 1;
	}
	out[0] = write_node(r, level, run->e, cut);
	out[1] = write_node(r, level, run->e + cut, run->n - cut);
	return 2;
}

/*
 * Memslots mostly come in ascending order. Splitting a node in half when its
 * last entry is new would leave a trail of half-full nodes behind.
 */
static unsigned split_at(const struct run *run, const struct splice *s)
{
	if (s->at + s->n_add == run->n)
		return run->n - S2_ITREE_MIN_FILL;
	return run->n - run->n / 2;
}

/*
 * Writes the outcome of a level below the root: spliced, and joined with a
 * neighbour if too little is left. @s becomes the splice for the parent.
 */
static void rewrite_level(const struct path *path, unsigned level, struct splice *s,
			  struct s2_itree_reserve *r, struct s2_itree_node **replaced)
{
	const struct s2_itree_node *node = path->node[level];
	const struct s2_itree_node *parent = path->node[level + 1];
	unsigned slot = path->slot[level + 1];
	unsigned n = node->count - s->del + s->n_add;
	struct s2_itree_node *neighbour;
	struct run run = { .n = 0 };

	if (n >= S2_ITREE_MIN_FILL) {
		run_append_spliced(&run, node, s);
		s->n_add = write_run(r, level, &run, split_at(&run, s), s->add);
		s->at = slot;
		s->del = 1;
		return;
	}

	if (slot > 0) {
		neighbour = parent->ptr[--slot];
		run_append(&run, neighbour, 0, neighbour->count);
		run_append_spliced(&run, node, s);
	} else {
		neighbour = parent->ptr[slot + 1];
		run_append_spliced(&run, node, s);
		run_append(&run, neighbour, 0, neighbour->count);
	}
	list_push(replaced, neighbour);
	s->n_add = write_run(r, level, &run, run.n - run.n / 2, s->add);
	s->at = slot;
	s->del = 2;
}

/* Writes the outcome at the root, which may vanish, lose a level or gain one. */
static struct s2_itree_node *rewrite_root(const struct s2_itree_node *root, const struct splice *s,
					  struct s2_itree_reserve *r)
{
	struct run run = { .n = 0 };
	struct s2_itree_iv out[2];

	run_append_spliced(&run, root, s);
	if (run.n == 0)
		return NULL;
	if (run.n == 1 && root->level > 0)
		return run.e[0].value;
	if (write_run(r, root->level, &run, split_at(&run, s), out) == 1)
		return out[0].value;

	assert(root->level + 1 < S2_ITREE_MAX_HEIGHT);
	return write_node(r, root->level + 1, out, 2).value;
}

static struct s2_itree_node *apply(const struct path *path, struct s2_itree_node *root,
				   struct splice *s, struct s2_itree_reserve *r,
				   struct s2_itree_node **replaced)
{
	for (unsigned level = 0; level < root->level; level++) {
		rewrite_level(path, level, s, r, replaced);
		list_push(replaced, path->node[level]);
	}
	list_push(replaced, root);
	return rewrite_root(root, s, r);
}

struct s2_itree_node *s2_itree_insert(struct s2_itree_node *root, const struct s2_itree_iv *iv,
				      struct s2_itree_reserve *r, struct s2_itree_node **replaced)
{
	struct splice s = { .n_add = 1, .add = { *iv } };
	struct path path;

	assert(iv->start < iv->end && iv->value);
	if (!root)
		return write_node(r, 0, iv, 1).value;

	find_path(&path, root, iv->start, iv->value);
	s.at = path.slot[0];
	return apply(&path, root, &s, r, replaced);
}

struct s2_itree_node *s2_itree_remove(struct s2_itree_node *root, uint64_t start, uint64_t end,
				      void *value, struct s2_itree_reserve *r,
				      struct s2_itree_node **replaced)
{
	struct splice s = { .del = 1 };
	struct path path;

	if (!find_interval(&path, root, start, end, value))
		return root;

	s.at = path.slot[0];
	return apply(&path, root, &s, r, replaced);
}

/* Would (start, new_value) sort where the interval at the end of @path is? */
static bool same_place(const struct path *path, struct s2_itree_node *root, uint64_t start,
		       const void *new_value)
{
	struct path other;

	find_path(&other, root, start, new_value);
	return other.node[0] == path->node[0] &&
	       (other.slot[0] == path->slot[0] || other.slot[0] == path->slot[0] + 1);
}

struct s2_itree_node *s2_itree_replace(struct s2_itree_node *root, uint64_t start, uint64_t end,
				       void *value, void *new_value, struct s2_itree_reserve *r,
				       struct s2_itree_node **replaced)
{
	const struct s2_itree_iv iv = { .start = start, .end = end, .value = new_value };
	struct splice s = { .del = 1, .n_add = 1, .add = { iv } };
	struct path path;

	assert(new_value);
	if (!find_interval(&path, root, start, end, value))
		return root;

	if (!same_place(&path, root, start, new_value)) {
		root = s2_itree_remove(root, start, end, value, r, replaced);
		return s2_itree_insert(root, &iv, r, replaced);
	}

	s.at = path.slot[0];
	return apply(&path, root, &s, r, replaced);
}

int s2_itree_reserve_fill(struct s2_itree_reserve *r, const struct s2_allocator *a, unsigned n)
{
	struct s2_itree_reserve got = *r;

	while (got.count < n) {
		struct s2_itree_node *node = a->alloc(a->ctx, sizeof(*node),
						      _Alignof(struct s2_itree_node));

		if (!node)
			goto undo;
		list_push(&got.head, node);
		got.count++;
	}
	*r = got;
	return 0;

undo:
	while (got.head != r->head)
		a->free(a->ctx, reserve_take(&got));
	return -ENOMEM;
}

void s2_itree_reserve_drain(struct s2_itree_reserve *r, const struct s2_allocator *a)
{
	s2_itree_free_list(r->head, a);
	*r = (struct s2_itree_reserve){ .head = NULL };
}

/*
 * Nodes that still have children to be listed wait in the second list, which
 * takes the same link: no recursion, and no memory of its own.
 */
void s2_itree_retire_all(struct s2_itree_node *root, struct s2_itree_node **replaced)
{
	struct s2_itree_node *todo = NULL;

	if (root)
		list_push(&todo, root);
	while (todo) {
		struct s2_itree_node *node = todo;

		todo = node->next;
		for (unsigned i = 0; node->level > 0 && i < node->count; i++)
			list_push(&todo, node->ptr[i]);
		list_push(replaced, node);
	}
}

void s2_itree_free_list(struct s2_itree_node *list, const struct s2_allocator *a)
{
	while (list) {
		struct s2_itree_node *next = list->next;

		a->free(a->ctx, list);
		list = next;
	}
}

void s2_itree_free_all(struct s2_itree_node *root, const struct s2_allocator *a)
{
	struct s2_itree_node *list = NULL;

	s2_itree_retire_all(root, &list);
	s2_itree_free_list(list, a);
}

static void iter_push(struct s2_itree_iter *it, const struct s2_itree_node *node)
{
	it->stack[it->depth].node = node;
	/* what lies before the first prefix that reaches into the range ends too early */
	it->stack[it->depth].slot = s2_itree_rank(&node->reach[1], it->start + 1);
	it->depth++;
}

void s2_itree_iter_init(struct s2_itree_iter *it, const struct s2_itree_node *root, uint64_t start,
			uint64_t end)
{
	it->start = start;
	it->end = end;
	it->depth = 0;
	if (root && start < end)
		iter_push(it, root);
}

const struct s2_itree_iv *s2_itree_iter_next(struct s2_itree_iter *it)
{
	while (it->depth > 0) {
		const struct s2_itree_node *node = it->stack[it->depth - 1].node;
		unsigned slot = it->stack[it->depth - 1].slot++;

		if (slot >= node->count) {
			it->depth--;
		} else if (node->start[slot] >= it->end) {
			/* everything that follows starts even later */
			it->depth = 0;
		} else if (node->end[slot] > it->start) {
			if (node->level > 0) {
				iter_push(it, child(node, slot));
				continue;
			}
			it->iv.start = node->start[slot];
			it->iv.end = node->end[slot];
			it->iv.value = node->ptr[slot];
			return &it->iv;
		}
	}
	return NULL;
}
