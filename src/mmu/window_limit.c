/* SPDX-License-Identifier: MIT */
/*
 * How many mappings of the kernel's all windows of an s2_mm may have together, and who gives up his
 * when there are as many.
 */
#include "mmu/window.h"

#include "base/mutant.h"
#include "mm/mm.h"

#include <stdio.h>

/* Linux' own default, for where it does not tell. */
#define MAX_MAP_COUNT 65530

uint64_t s2_windows_mappings(struct s2_mm *mm)
{
	return atomic_load_explicit(&mm->window_mappings, memory_order_relaxed);
}

/* One more in the middle of another makes two more. */
bool s2_windows_are_too_many(struct s2_mm *mm)
{
	return s2_windows_mappings(mm) + 2 > mm->window_limit && !S2_MUTANT(WINDOW_LIMIT_IGNORED);
}

static struct s2_window *most_mappings(struct s2_mm *mm)
{
	struct s2_window *most = NULL;
	uint64_t most_mappings = 1;

	S2_ASSERT_HELD(&mm->windows_lock);
	for (struct s2_window *window = mm->windows; window; window = window->next_of_mm) {
		uint64_t mappings = atomic_load_explicit(&window->mappings, memory_order_relaxed);

		if (mappings > most_mappings) {
			most = window;
			most_mappings = mappings;
		}
	}
	return most;
}

static bool give_up_pages(struct s2_window *window)
{
	bool given;

	s2_write_lock(&window->vm->mmu_lock);
	s2_window_zap(window);
	given = !window->in_tatters;
	window->limit_zaps++;
	s2_write_unlock(&window->vm->mmu_lock);
	return given;
}

struct s2_windows_room s2_windows_room(struct s2_mm *mm)
{
	return (struct s2_windows_room){
		.mappings = s2_windows_mappings(mm),
		.give_ups = atomic_load_explicit(&mm->window_give_ups, memory_order_relaxed),
	};
}

/*
 * Others may have made room since @before, and taken it, and made it again: that no window has
 * anything to give up any more is no want of room then.
 */
bool s2_windows_make_room(struct s2_mm *mm, const struct s2_windows_room *before)
{
	struct s2_windows_room now;
	struct s2_window *window;
	bool made;

	s2_mutex_lock(&mm->windows_lock);
	now = s2_windows_room(mm);
	made = now.mappings < before->mappings || now.give_ups != before->give_ups;
	if (!made) {
		window = most_mappings(mm);
		made = window && give_up_pages(window);
		atomic_store_explicit(&mm->window_give_ups, now.give_ups + made,
				      memory_order_relaxed);
	}
	s2_mutex_unlock(&mm->windows_lock);
	return made;
}

/* What all windows may use: half of what the kernel allows, the rest is for the program. */
static uint64_t read_limit(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned long limit;

	if (!file)
		return MAX_MAP_COUNT / 2;
	if (fscanf(file, "%lu", &limit) != 1)
		limit = MAX_MAP_COUNT;
	fclose(file);
	return limit / 2;
}

void s2_window_link(struct s2_window *window)
{
	struct s2_vm *vm = window->vm;
	struct s2_mm *mm = vm->mm;
	uint64_t limit = read_limit();

	s2_mutex_lock(&mm->windows_lock);
	if (!mm->window_limit)
		mm->window_limit = limit;
	window->next_of_mm = mm->windows;
	if (mm->windows)
		mm->windows->prev_of_mm = window;
	mm->windows = window;
	s2_write_lock(&vm->mmu_lock);
	s2_window_add_mappings(window, 1);
	window->next = vm->windows;
	vm->windows = window;
	for (unsigned i = 0; i < S2_WINDOW_READERS; i++)
		s2_mmu_lock_add_reader(&vm->mmu_lock, &window->readers[i].reader);
	s2_write_unlock(&vm->mmu_lock);
	s2_mutex_unlock(&mm->windows_lock);
}

static void unlink_from_vm(struct s2_window *window)
{
	struct s2_window **link = &window->vm->windows;

	while (*link != window)
		link = &(*link)->next;
	*link = window->next;
}

static void unlink_from_mm(struct s2_window *window)
{
	if (window->prev_of_mm)
		window->prev_of_mm->next_of_mm = window->next_of_mm;
	else
		window->vm->mm->windows = window->next_of_mm;
	if (window->next_of_mm)
		window->next_of_mm->prev_of_mm = window->prev_of_mm;
}

void s2_window_unlink(struct s2_window *window)
{
	struct s2_vm *vm = window->vm;

	s2_mutex_lock(&vm->mm->windows_lock);
	unlink_from_mm(window);
	s2_write_lock(&vm->mmu_lock);
	s2_window_zap(window);
	s2_window_add_mappings(window, -atomic_load_explicit(&window->mappings, memory_order_relaxed));
	unlink_from_vm(window);
	for (unsigned i = 0; i < S2_WINDOW_READERS; i++)
		s2_mmu_lock_remove_reader(&vm->mmu_lock, &window->readers[i].reader);
	s2_fault_counts_add(&vm->past, &window->counts);
	s2_write_unlock(&vm->mmu_lock);
	s2_mutex_unlock(&vm->mm->windows_lock);
}
