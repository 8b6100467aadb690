#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_peer_malloc.py PEER_MALLOC: its rows, and that programs live with its preload.

The preload has to work before constructors run, inside malloc(), in children of fork(), and give
the same errors as the calls it stands before.
"""

import os
import subprocess
import sys

import peer_report
from peer_report import expect

GATES = ('range', 'always', 'rwsem', 'count')
VMS = (1, 64)
LABELS = ('allocator', 'gate', 'vms', 'threads')
NUMBERS = ('ns', 'cpu_ns', 'calls', 'overhead_percent', 'cpu_overhead_percent')

# Maps, unmaps and forks on several threads; then asks for errors.
VICTIM = """
import ctypes, errno, mmap, os, threading
libc = ctypes.CDLL(None, use_errno=True)
def churn(rounds):
    for i in range(rounds):
        area = mmap.mmap(-1, 65536)
        area.madvise(mmap.MADV_DONTNEED)
        area.resize(131072)
        area.close()
def fork_and_churn():
    for i in range(20):
        child = os.fork()
        if not child:
            churn(20)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
threads = [threading.Thread(target=churn, args=(500,)) for i in range(3)]
threads += [threading.Thread(target=fork_and_churn)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for call in ('munmap', 'madvise', 'mprotect'):
    assert libc[call](ctypes.c_void_p(1), ctypes.c_size_t(4096), 0) == -1
    assert ctypes.get_errno() == errno.EINVAL
libc.mremap.restype = libc.mmap.restype = ctypes.c_void_p
fixed = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10
assert libc.mremap(ctypes.c_void_p(1), ctypes.c_size_t(1), ctypes.c_size_t(1), 0) == 2**64 - 1
assert libc.mmap(ctypes.c_void_p(1), ctypes.c_size_t(1), 0, fixed, -1, 0) == 2**64 - 1
seen = libc.s2_preload_calls
seen.restype = ctypes.c_uint64
assert seen() > 4500, seen()
"""


def run_preloaded(preload, environment, *command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120,
                          env=dict(os.environ, LD_PRELOAD=preload, **environment))


def check_programs(preload):
    settings = [{}] + [{'S2_PRELOAD_GATE': gate, 'S2_PRELOAD_VMS': str(vms)}
                       for gate in GATES for vms in VMS]
    for setting in settings:
        done = run_preloaded(preload, setting, sys.executable, '-c', VICTIM)
        expect(done.returncode == 0, f'{setting}: status {done.returncode}, {done.stderr}')


def check_refusals(preload):
    for setting in ({'S2_PRELOAD_GATE': 'nonsense'}, {'S2_PRELOAD_GATE': ''},
                    *({'S2_PRELOAD_GATE': 'range', 'S2_PRELOAD_VMS': vms}
                      for vms in ('', '0', '-1', '1025', '1x', '99999999999999999999'))):
        done = run_preloaded(preload, setting, sys.executable, '-c', '')
        expect(done.returncode == 2 and done.stderr.count('\n') == 1,
               f'{setting}: status {done.returncode}, {done.stderr!r}')


def check_rows(program):
    rows = peer_report.quick_rows(program, 'malloc', '--rounds', '1')
    preloads = [('none', 0), ('forward', 0)] + [(gate, vms) for gate in GATES for vms in VMS]
    # Which allocators there are depends on the machine; the C library's is one.
    allocators = {row['allocator'] for row in rows}
    expect('glibc' in allocators, f'the allocators are {allocators}')
    nr_cpus = len(os.sched_getaffinity(0))
    wanted = [(allocator, gate, vms, threads) for allocator in allocators
              for gate, vms in preloads for threads in sorted({1, nr_cpus})]
    peer_report.expect_rows(rows, LABELS, NUMBERS, wanted)
    for row in rows:
        expect(not row['calls'] or (row['gate'] != 'none' and row['allocator'] != 'glibc'),
               f'calls from where there are none to intercept: {row}')
        expect(row['gate'] != 'none' or row['overhead_percent'] == 0, f'compared with what: {row}')


def main():
    program = sys.argv[1]
    preload = os.path.join(os.path.dirname(program), 'preload_notifier.so')
    peer_report.expect_refusals(program)
    check_refusals(preload)
    check_programs(preload)
    check_rows(program)


main()
