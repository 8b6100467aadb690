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

/* The entries from @from on are new or have moved: their prefixes' reach follows from their ends. */
static void set_reach(struct s2_itree_node *node, unsigned from)
{
	node->reach[0] = 0;
	for (unsigned i = from; i < node->count; i++)
		node->reach[i + 1] = node->end[i] > node->reach[i] ? node->end[i] : node->reach[i];
}

static void clear_slots(struct s2_itree_node *node, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		node->start[i] = UINT64_MAX;
		node->end[i] = 0;
		node->ptr[i] = NULL;
		node->reach[i + 1] = UINT64_MAX;
	}
}

/* The entry that a node's parent needs. */
static struct s2_itree_iv entry_of(struct s2_itree_node *node)
{
	return (struct s2_itree_iv){
		.start = node->start[0],
		.end = node->reach[node->count],
		.value = node,
	};
}

static void set_entry(struct s2_itree_node *node, unsigned slot, const struct s2_itree_iv *iv)
{
	node->start[slot] = iv->start;
	node->end[slot] = iv->end;
	node->ptr[slot] = iv->value;
}

static void run_append_spliced(struct run *run, const struct s2_itree_node *node,
			       const struct splice *s)
{
	run_append(run, node, 0, s->at);
	for (unsigned i = 0; i < s->n_add; i++)
		run->e[run->n++] = s->add[i];
	run_append(run, node, s->at + s->del, node->count);
}

static void list_push(struct s2_itree_node **list, struct s2_itree_node *node)
{
	node->next = *list;
	*list = node;
}

static void reserve_push(struct s2_itree_reserve *r, struct s2_itree_node *node)
{
	if (!r->head)
		r->tail = node;
	list_push(&r->head, node);
	r->count++;
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

/* Writes entries to a new node and returns the entry its parent needs. */
static struct s2_itree_iv write_node(struct s2_itree_reserve *r, unsigned level,
				     const struct s2_itree_iv *e, unsigned n)
{
	struct s2_itree_node *node = reserve_take(r);

	node->count = n;
	node->level = level;
	for (unsigned i = 0; i < n; i++)
		set_entry(node, i, &e[i]);
	set_reach(node, 0);
	clear_slots(node, n, S2_ITREE_SLOTS);
	return entry_of(node);
}

/*
 * The same for @old with a splice that leaves it room, and entries. Copied as a
 * whole: the entries that stay are not touched one by one, and nearly every level
 * of nearly every update comes here.
 */
static struct s2_itree_iv write_spliced(struct s2_itree_reserve *r,
					const struct s2_itree_node *old, const struct splice *s)
{
	struct s2_itree_node *node = reserve_take(r);
	unsigned to = s->at + s->n_add, from = s->at + s->del;
	unsigned moving = old->count - from;

	*node = *old;
	node->count = to + moving;
	if (to != from) {
		memcpy(&node->start[to], &old->start[from], moving * sizeof(node->start[0]));
		memcpy(&node->end[to], &old->end[from], moving * sizeof(node->end[0]));
		memcpy(&node->ptr[to], &old->ptr[from], moving * sizeof(node->ptr[0]));
	}
	for (unsigned i = 0; i < s->n_add; i++)
		set_entry(node, s->at + i, &s->add[i]);
	set_reach(node, s->at);
	clear_slots(node, node->count, old->count);
	return entry_of(node);
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
 * Writes @old, where the splice leaves too many entries for one node, to two.
 * Memslots mostly come in ascending order. Splitting a node in half when its last
 * entry is new would leave a trail of half-full nodes behind.
 */
static void split(struct s2_itree_reserve *r, const struct s2_itree_node *old,
		  const struct splice *s, struct s2_itree_iv out[2])
{
	struct run run = { .n = 0 };
	bool last_is_new = s->at + s->del == old->count;

	run_append_spliced(&run, old, s);
	write_run(r, old->level, &run, last_is_new ? run.n - S2_ITREE_MIN_FILL : run.n - run.n / 2,
		  out);
}

/* Too little is left of a node: writes it and a neighbour of it to one node or two. */
static void join_level(const struct path *path, unsigned level, struct splice *s,
		       struct s2_itree_reserve *r, struct s2_itree_node **replaced)
{
	const struct s2_itree_node *node = path->node[level];
	const struct s2_itree_node *parent = path->node[level + 1];
	unsigned slot = path->slot[level + 1];
	struct s2_itree_node *neighbour;
	struct run run = { .n = 0 };

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

/* Writes the outcome of a level below the root. @s becomes the splice for the parent. */
static void rewrite_level(const struct path *path, unsigned level, struct splice *s,
			  struct s2_itree_reserve *r, struct s2_itree_node **replaced)
{
	const struct s2_itree_node *node = path->node[level];
	unsigned n = node->count - s->del + s->n_add;

	if (n < S2_ITREE_MIN_FILL) {
		join_level(path, level, s, r, replaced);
		return;
	}
	if (n <= S2_ITREE_SLOTS) {
		s->add[0] = write_spliced(r, node, s);
		s->n_add = 1;
	} else {
		split(r, node, s, s->add);
		s->n_add = 2;
	}
	s->at = path->slot[level + 1];
	s->del = 1;
}

/* Writes the outcome at the root, which may vanish, lose a level or gain one. */
static struct s2_itree_node *rewrite_root(const struct s2_itree_node *root, const struct splice *s,
					  struct s2_itree_reserve *r)
{
	unsigned n = root->count - s->del + s->n_add;
	struct s2_itree_iv out[2];

	if (n == 0)
		return NULL;
	/* All that is left is what two children became. */
	if (n == 1 && root->level > 0)
		return s->add[0].value;
	if (n <= S2_ITREE_SLOTS)
		return write_spliced(r, root, s).value;

	assert(root->level + 1 < S2_ITREE_MAX_HEIGHT);
	split(r, root, s, out);
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
		reserve_push(&got, node);
	}
	*r = got;
	return 0;

undo:
	while (got.head != r->head)
		a->free(a->ctx, reserve_take(&got));
	return -ENOMEM;
}

void s2_itree_reserve_move(struct s2_itree_reserve *to, struct s2_itree_reserve *from, unsigned n)
{
	struct s2_itree_reserve moved = *from;

	if (!n || !from->head)
		return;
	if (n < from->count) {
		moved.count = n;
		moved.tail = from->head;
		while (--n)
			moved.tail = moved.tail->next;
	}
	from->head = moved.tail->next;
	from->count -= moved.count;
	moved.tail->next = to->head;
	if (!to->head)
		to->tail = moved.tail;
	to->head = moved.head;
	to->count += moved.count;
}

void s2_itree_reserve_add_list(struct s2_itree_reserve *r, struct s2_itree_node *list)
{
	while (list) {
		struct s2_itree_node *next = list->next;

		reserve_push(r, list);
		list = next;
	}
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
