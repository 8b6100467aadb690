#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a copy of <stage2/notifier-inline.h> in which one thing is broken.

    break_inline.py WHAT HEADER COPY

test_inline_pairs.c shows that it notices. It is an error if the header has no such
place any more: then a broken copy would be no broken copy.
"""

import sys

CLAIM = """\
	return __atomic_compare_exchange_n(&entry->word, &unclaimed, word, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
"""
CLAIM_BY_STORE = """\
	if (__atomic_load_n(&entry->word, __ATOMIC_RELAXED) != unclaimed)
		return false;
	__atomic_store_n(&entry->word, word, __ATOMIC_RELEASE);
	return true;
"""
FITS = "	entry = &pairs->entries[s2_inflight_home & pairs->mask];\n"
LOOK = "s2_hva_filter_may_overlap(pairs->filter, start, end)"

# What is replaced by what, once each.
BROKEN = {
    # No barrier C: what is looked up may be seen before the range is.
    'no_barrier': [(CLAIM, CLAIM_BY_STORE)],
    # Long enough before for a whole add to come between, as if the thread were preempted.
    'look_first': [
        (LOOK, 'memslots'),
        (FITS, f'	bool memslots = {LOOK};\n\n'
               f'	for (volatile int i = 0; i < 1000; i++)\n		;\n{FITS}'),
    ],
    # Another range than the one that was asked for.
    'not_published': [(', s2_inflight_word(start, end))', ', s2_inflight_word(0, 4096))')],
}


def main():
    what, header, copy = sys.argv[1:]
    with open(header, encoding='utf-8') as file:
        text = file.read()
    for old, new in BROKEN[what]:
        if text.count(old) != 1:
            sys.exit(f'break_inline.py: {header}: {text.count(old)} times, and not once: {old!r}')
        text = text.replace(old, new)
    with open(copy, 'w', encoding='utf-8') as file:
        file.write(text)


main()
