#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_peer_kvm.py PEER_KVM: its rows, and what it says where it cannot have all it needs."""

import json
import os
import resource
import subprocess
import sys

import peer_report
from peer_report import expect

VMS = (0, 1, 16, 64, 256)
OPS = ('add+delete', 'add', 'delete', 'move', 'flags')
SLOTS = (32, 512, 4096, 32000)
LOGS = ('get', 'get (manual)', 'clear (manual)')


def gates_of(rows):
    """Kernels before 6.13 cannot have kvm_batch; it must not be there in part."""
    return ('kvm', 'kvm_batch') if any(row['gate'] == 'kvm_batch' for row in rows) else ('kvm',)


def check_gate(program):
    threads = sorted({1, len(os.sched_getaffinity(0))})
    rows = peer_report.quick_rows(program, 'gate', '--rounds', '1', '--threads',
                                  ','.join(map(str, threads)), 'gate')
    wanted = [(gate, n, vms) for gate in gates_of(rows) for n in threads for vms in VMS]
    peer_report.expect_rows(rows, ('gate', 'threads', 'vms'), ('ns',), wanted)
    for row in rows:
        expect(('ns_per_vm' in row) == (row['vms'] > 0), f'ns_per_vm: {row}')


def check_slots(program):
    """A KVM may have fewer memslots than the most that are measured."""
    rows = peer_report.quick_rows(program, 'slots', '--rounds', '1', 'slots')
    most = max(row['slots'] for row in rows)
    expect(most in SLOTS, f'memslots: {most}')
    wanted = [(op, slots) for op in OPS for slots in SLOTS if slots <= most]
    peer_report.expect_rows(rows, ('op', 'slots'), ('ns',), wanted)


def check_dirty(program):
    """A KVM may have no guest that this program can run."""
    rows = peer_report.quick_rows(program, 'dirty', '--rounds', '1', 'dirty')
    percents = sorted({row['dirty'] for row in rows})
    expect(percents in ([0], [0, 1]), f'dirty: {percents}')
    wanted = [(op, 262144, dirty) for op in LOGS for dirty in percents]
    peer_report.expect_rows(rows, ('op', 'pages', 'dirty'), ('ns',), wanted)


def run_with_files(program, soft, hard):
    done = subprocess.run([program, '--quick', '--json', '--rounds', '1', '--threads', '1', 'gate'],
                          capture_output=True, text=True, check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                                (soft, hard)))
    expect(done.returncode == 0, f'{soft} to {hard} files: {done.returncode}, {done.stderr!r}')
    return {row['vms'] for row in json.loads(done.stdout)['results']}, done.stderr


def check_file_limit(program):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= 512:
        vms, said = run_with_files(program, 24, hard)
        expect(vms == set(VMS) and 'ulimit' not in said, f'a soft limit: {vms}, {said!r}')
    vms, said = run_with_files(program, 24, 110)
    expect(vms == {0, 1, 16, 64}, f'a hard limit: {vms}')
    expect('without 256 VMs' in said and 'ulimit -Hn' in said, f'a hard limit: {said!r}')


def check_without_kvm(program):
    """One line and status 77, also where all three benchmarks are asked for."""
    hide = ['unshare', '--map-root-user', '--mount', 'sh', '-c']
    if peer_report.run(*hide, 'mount --bind /dev/null /dev/kvm').returncode:
        print('no mount namespaces here: cannot hide /dev/kvm')
        return
    done = peer_report.run(*hide, f'mount --bind /dev/null /dev/kvm && exec "{program}" --quick')
    expect(done.returncode == peer_report.SKIPPED and not done.stdout,
           f'without KVM: status {done.returncode}')
    expect(done.stderr.count('\n') == 1 and '/dev/kvm' in done.stderr,
           f'without KVM: {done.stderr!r}')


def main():
    program = sys.argv[1]
    peer_report.expect_refusals(program)
    check_gate(program)
    check_slots(program)
    check_dirty(program)
    check_file_limit(program)
    check_without_kvm(program)


main()
