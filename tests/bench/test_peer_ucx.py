#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_peer_ucx.py PEER_UCX: that each row it promises is there.

On one thread: of several, the one that has a cache's lock does the others' work as well, for as
long as they bring more.
"""

import sys

import peer_report

CACHES = (0, 1, 4, 16)
OPS = ('event', 's2_event', 'munmap', 's2_munmap')


def main():
    program = sys.argv[1]
    peer_report.expect_refusals(program)
    rows = peer_report.quick_rows(program, 'ucx', '--threads', '1')
    wanted = [(op, caches, 1) for op in OPS for caches in CACHES] + [('plain_munmap', 0, 1)]
    peer_report.expect_rows(rows, ('op', 'caches', 'threads'), ('ns',), wanted)


main()
