#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_peer_pageout.py PEER_PAGEOUT: its rows, and what it says of memory that stays where it is."""

import os
import sys

import peer_report
from peer_report import expect

OPS = ('out', 'out, if not written to', 'in, in order', 'in, at random')


def check_rows(program):
    """Each memory is there as a whole, or said to be left out."""
    threads = sorted({1, len(os.sched_getaffinity(0))})
    done = peer_report.run(program, '--quick', '--json', '--rounds', '1')
    expect(done.returncode in (0, peer_report.SKIPPED), f'{done.returncode}, {done.stderr!r}')
    there = [memory for memory, word in (('file', 'file is left out'),
                                         ('anonymous', 'anonymous memory is left out'))
             if word not in done.stderr]
    expect(done.stderr.count('\n') == 2 - len(there), f'said: {done.stderr!r}')
    if not there:
        expect(not done.stdout, f'without either: {done.stdout!r}')
        return
    rows = peer_report.quick_rows(program, 'pageout', '--rounds', '1', 'pageout')
    wanted = [(memory, n, op) for memory in there for n in threads for op in OPS]
    peer_report.expect_rows(rows, ('memory', 'threads', 'op'), ('pages_per_s',), wanted)


def check_no_directory(program):
    done = peer_report.run(program, '--quick', '--dir', '/nowhere/at/all')
    expect(done.returncode == 2 and done.stderr.count('\n') == 1 and
           '/nowhere/at/all' in done.stderr, f'no directory: {done.returncode}, {done.stderr!r}')


def main():
    program = sys.argv[1]
    peer_report.expect_refusals(program)
    check_rows(program)
    check_no_directory(program)


main()
