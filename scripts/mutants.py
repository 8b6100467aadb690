#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows that the checks fail when the protocol is broken.

src/base/mutant.h lists steps of the protocol that a build with -Dmutants=true can
break at run time. For each of them this runs the checks named below, best first,
until one fails, and prints what it was and how long it took. A check that hangs
has failed too: it is killed after a time that is many times what it takes when it
passes. First the same checks are run without a mutant, and have to pass.

What searches at random, the fuzzer and the differential test, is held to more: the
inputs it has kept must make it notice each of the mutants listed for it.

Some mutants are equivalent: nothing that the library promises depends on the
step here, for the reason given. Those must pass the checks.

    scripts/mutants.py                 every mutant, in build-mutants/
    scripts/mutants.py NAME...         these
    scripts/mutants.py --matrix NAME.. every check against them, not the first that fails
    scripts/mutants.py --tap           for `meson test`

Exit status: 0 if every mutant was caught, or passed where it is equivalent.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HUNG = 'hangs'
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def unit(name):
    return [f'tests/{name.replace("/", "_")}']


def sequences():
    return sorted(glob.glob(os.path.join(TOP, 'tests/data/differential/*.seq')))


def torture(*options):
    return ['stage2', 'torture', '--first', '--schedule', '2', *options]


# name: (command, seconds after which it hangs). With --first a torture that finds something
# ends at once, so that its time is the time to the first violation.
CHECKS = {
    'pairs': (unit('notifier/test_pairs'), 15),
    'nonblock': (unit('notifier/test_nonblock'), 15),
    'page_events': (unit('notifier/test_page_events'), 10),
    'updates': (unit('notifier/test_updates'), 15),
    'guest_mode': (unit('base/test_guest_mode'), 15),
    'fault': (unit('mmu/test_fault'), 15),
    'dirty_before_spte': (unit('mmu/test_dirty_before_spte'), 15),
    'flush': (unit('vcpu/test_flush'), 30),
    'sequences': ([*unit('differential/test_differential'), *sequences()], 30),
    'fuzz corpus': (['tests/replay_api', os.path.join(TOP, 'tests/fuzz/corpus/api')], 15),
    'brlock': (unit('base/test_brlock'), 30),
    'inflight': (unit('mm/test_inflight'), 15),
    'shootdown': (unit('vcpu/test_shootdown'), 30),
    'pool': (unit('pool/test_pool'), 20),
    'pool stress': (unit('pool/test_pool_stress'), 60),
    'pool clone': (unit('pool/test_clone'), 60),
    'pool clone_vm': (unit('pool/test_clone_vm'), 15),
    'pool frames': (unit('pool/test_frames'), 30),
    'pool merge': (unit('pool/test_merge'), 30),
    'pool huge': (unit('pool/test_huge'), 60),
    'pool compact': (unit('pool/test_compact'), 60),
    'pool region': (unit('pool/test_region'), 60),
    'pool oom': (unit('pool/test_oom'), 30),
    'pool room': (unit('pool/test_room'), 60),
    'window': (unit('mmu/test_window'), 30),
    'window handlers': (unit('mmu/test_window_handlers'), 30),
    'window limit': (unit('mmu/test_window_limit'), 60),
    'window stress': (unit('mmu/test_window_stress'), 60),
    'torture': (torture(), 25),
    'torture --nest': (torture('--nest'), 25),
    'torture --entries 1': (torture('--entries', '1', '--nest'), 25),
    'torture of adds': (torture('--schedule', '10', '--vms', '1', '--updaters', '1', '--related',
                                '4', '--unrelated', '0'), 25),
    'torture --gate rwsem': (torture('--gate', 'rwsem', '--nonblock', '50'), 25),
    'torture --gate count': (torture('--gate', 'count'), 25),
    'torture --window': (torture('--provider', 'pool', '--window', '100', '--tier-faults', '0'), 40),
}

# For each mutant the checks that catch it, best first. A torture that is named again is run again
# with another seed: what is left to chance is given more than one.
PLAN = {
    'END_LOOKS_AGAIN': ['torture', 'updates'],
    'LOOK_BEFORE_PUBLISH': ['torture of adds'] * 8,
    'ADD_DOES_NOT_WAIT': ['torture', 'updates'],
    'OVERFLOW_NOT_WAITED_FOR': ['torture --entries 1', 'updates'],
    'CLAIM_NOT_AWAITED': ['inflight'],
    'GFN_BEFORE_HVA': ['torture', 'updates'],
    'ZAP_BEFORE_HIDE': ['torture'] * 6,
    'HVA_REMOVED_FIRST': ['flush', 'torture'],
    'DELETE_KEEPS_SEQUENCE': ['fault'],
    'GRACE_IGNORES_STARTS': ['torture', 'updates'],
    'RETRY_IGNORES_SEQUENCE': ['pairs', 'fault'],
    'RETRY_IGNORES_COUNT': ['torture', 'pairs'],
    'ERROR_NOT_RETRIED': ['pairs', 'fault'],
    'END_KEEPS_SEQUENCE': ['pairs', 'updates'],
    'SEQUENCE_AFTER_UNLOCK': ['fault'],
    'SPAN_FORGETS_OTHERS': ['torture --nest', 'pairs'],
    'ENTRY_LEFT_EARLY': ['flush', 'flush', 'torture'],
    'UNDO_KEEPS_COUNT': ['nonblock'],
    'FAILED_START_KEEPS_GATE': ['nonblock'],
    'START_DOES_NOT_FLUSH': ['torture', 'pairs'],
    'FLUSH_DOES_NOT_WAIT': ['torture', 'pairs'],
    'FLUSH_UNLOCKED': ['flush'],
    'TLBS_DIRTY_FORGOTTEN': ['nonblock'],
    'UNFLUSHED_IGNORED': ['nonblock', 'flush'],
    'ENTER_IGNORES_REQUESTS': ['torture', 'guest_mode'],
    'ACK_WITHOUT_FLUSH': ['torture', 'guest_mode'],
    'FLUSHER_NOT_WOKEN': ['torture'],
    'START_STAYS_IN_GUEST_MODE': ['torture'],
    'TABLES_FREED_UNFLUSHED': ['flush'],
    'USED_BITS_STORED': ['torture', 'torture', 'torture --nest'],
    'HUGE_OVER_INVALIDATED': ['fault'],
    'CHANGE_PTE_ELIDED': ['page_events'],
    'DIRTY_AFTER_SPTE': ['dirty_before_spte'],
    'DIRTY_BITS_LOST': ['torture'] * 6,
    'LOG_NOT_PROTECTED': ['torture', 'fault'],
    'LOG_BEGINS_UNPROTECTED': ['torture', 'nonblock'],
    'SEQUENCES_NOT_RESTARTED': ['shootdown'],
    'LIVE_TLB_STAYS': ['shootdown', 'torture'],
    'READER_IGNORES_WRITER': ['brlock'],
    'WRITER_IGNORES_READERS': ['brlock'],
    'ALWAYS_ELIDES': ['pairs'],
    'NONBLOCK_ELIDES': ['nonblock'],
    'RWSEM_NOT_HELD': ['torture --gate rwsem', 'updates'],
    'COUNT_NOT_WAITED_FOR': ['torture --gate count', 'updates'],
    'ZERO_FRAME_STAYS': ['pool'],
    'COW_STAYS_MAPPED': ['pool clone_vm'],
    'CLONE_STAYS_WRITABLE': ['pool clone_vm', 'pool clone'],
    'SHARED_STAYS_MAPPED': ['pool clone', 'pool compact'],
    'SWAP_STAYS_MAPPED': ['pool', 'pool stress'],
    'SWAP_NOT_COMPARED': ['pool', 'pool stress'],
    'CHECKSUM_IGNORED': ['pool'],
    'DISCARD_STAYS_MAPPED': ['pool', 'pool clone'],
    'REAP_STAYS_MAPPED': ['pool oom'],
    'MERGE_COMPARES_EARLY': ['pool merge'],
    'MIGRATE_COPIES_EARLY': ['pool compact'] * 12,
    'SPLIT_FORGOTTEN': ['pool huge'],
    'REGION_NOT_AWAITED': ['pool region'],
    'FULL_AS_OF_NOW': ['pool room'],
    'FREE_FRAME_OVERLOOKED': ['pool frames'] * 2,
    'WINDOW_ZAP_KEEPS_MAPPING': ['window', 'torture --window'],
    'WINDOW_AGE_KEEPS_MAPPING': ['window handlers'],
    'WINDOW_STAYS_WRITABLE': ['window handlers', 'window stress'],
    'WINDOW_MAPPED_UNLOCKED': ['torture --window'] * 3,
    'WINDOW_SECOND_FORGOTTEN': ['window'],
    'WINDOW_REFUSAL_IGNORED': ['window limit'],
    'WINDOW_LIMIT_IGNORED': ['window limit'],
    'WINDOW_AFTER_UNCHECKED': ['window handlers'],
    'WINDOW_JOINS_MAPPED': ['window handlers'],
}

# Beside that, for each check that is the memory of a search, the mutants it must catch as well.
# What is not here shows as a hang, or needs threads that meet inside a call: the fuzzer has one
# thread, and the sequences make one call at a time. And of windows, what they have in common with
# vCPUs.
ALSO = {
    'window': [
        'CLONE_STAYS_WRITABLE', 'SWAP_STAYS_MAPPED', 'DISCARD_STAYS_MAPPED', 'REAP_STAYS_MAPPED'],
    'window handlers': ['LOG_NOT_PROTECTED', 'LOG_BEGINS_UNPROTECTED'],
    'window stress': [
        'RETRY_IGNORES_SEQUENCE', 'END_KEEPS_SEQUENCE', 'SWAP_STAYS_MAPPED',
        'MERGE_COMPARES_EARLY'],
    'torture --window': [
        'RETRY_IGNORES_SEQUENCE', 'COW_STAYS_MAPPED', 'SHARED_STAYS_MAPPED', 'SWAP_NOT_COMPARED',
        'SPLIT_FORGOTTEN'],
    'fuzz corpus': [
        'END_LOOKS_AGAIN', 'DELETE_KEEPS_SEQUENCE', 'GRACE_IGNORES_STARTS',
        'RETRY_IGNORES_SEQUENCE', 'RETRY_IGNORES_COUNT', 'ERROR_NOT_RETRIED', 'END_KEEPS_SEQUENCE',
        'SPAN_FORGETS_OTHERS', 'START_DOES_NOT_FLUSH', 'ENTER_IGNORES_REQUESTS',
        'ACK_WITHOUT_FLUSH', 'HUGE_OVER_INVALIDATED', 'LOG_NOT_PROTECTED',
        'LOG_BEGINS_UNPROTECTED', 'ALWAYS_ELIDES', 'NONBLOCK_ELIDES'],
    'sequences': [
        'END_LOOKS_AGAIN', 'GRACE_IGNORES_STARTS', 'SPAN_FORGETS_OTHERS', 'UNDO_KEEPS_COUNT',
        'FAILED_START_KEEPS_GATE', 'START_DOES_NOT_FLUSH', 'FLUSH_DOES_NOT_WAIT',
        'TLBS_DIRTY_FORGOTTEN', 'UNFLUSHED_IGNORED', 'ENTER_IGNORES_REQUESTS', 'ACK_WITHOUT_FLUSH',
        'HUGE_OVER_INVALIDATED', 'LOG_NOT_PROTECTED', 'LOG_BEGINS_UNPROTECTED', 'ALWAYS_ELIDES',
        'NONBLOCK_ELIDES'],
}

# Of these checks, those in which threads have to meet; on a busy machine they may not at once.
CHANCE = {'window stress', 'torture --window'}
TRIES = 5

# Whose failure is a thread that waits for ever, and nothing else. Any other that hangs a check has
# not been shown to be caught.
HANGS = {'FLUSHER_NOT_WOKEN', 'START_STAYS_IN_GUEST_MODE', 'CHANGE_PTE_ELIDED',
         'ZERO_FRAME_STAYS'}

# The checks they have to pass, and why.
EQUIVALENT = {
    'SEQUENCE_AFTER_COUNT': (
        ['torture', 'pairs', 'fault'],
        'both change under mmu_lock, and a fault compares under it; SEQUENCE_AFTER_UNLOCK, where '
        'they do not, is caught'),
    'WAKE_BEFORE_CHANGE': (
        ['torture', 'pairs', 'fault'],
        'a fault sleeps for 1 ms at most and looks again, so that a lost wake-up costs time and '
        'nothing else'),
}


class Mutant:
    def __init__(self, name, what):
        self.name = name
        self.what = what


def read_mutants():
    with open(os.path.join(TOP, 'src/base/mutant.h'), encoding='utf-8') as header:
        found = re.findall(r'^\tX\((\w+), "([^"]+)"\)', header.read(), re.M)
    return [Mutant(name, what) for name, what in found]


def build(directory):
    if not os.path.exists(os.path.join(directory, 'build.ninja')):
        subprocess.run(['meson', 'setup', '-Dmutants=true', directory, TOP], check=True,
                       stdout=subprocess.DEVNULL)
    targets = sorted({command[0] for command, _ in CHECKS.values()})
    subprocess.run(['ninja', '-C', directory, *targets], check=True, stdout=subprocess.DEVNULL)


class Outcome:
    """How a check ended: @failed is what it said, None if it passed."""

    def __init__(self, check, failed, seconds):
        self.check = check
        self.failed = failed
        self.seconds = seconds


def said(output, status):
    """The first thing that failed, in the words of cmocka's TAP or of torture's report."""
    case = re.search(r'^not ok \d+ - (.*)', output, re.M)
    violation = re.search(r'^\w+: \d+ times (\w+)', output, re.M)
    claim = re.search(r': not so: (.*)', output)
    if claim:
        return f'not so: {claim[1]}'
    if case:
        return case[1].split(' Could not run test')[0]
    if violation:
        return violation[1]
    if 'deadlock; the threads' in output:
        return 'deadlock'
    return f'killed by signal {-status}' if status < 0 else f'exit status {status}'


def run_check(directory, check, mutant, seed=1):
    command, limit = CHECKS[check]
    if 'torture' in command:
        # Without a mutant it has only to run: that it finds nothing is torture's own test.
        command = [*command, '--seed', str(seed), '--seconds', '5' if mutant else '1']
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT='TAP',
                       S2_TEST_DATA=os.path.join(TOP, 'tests/data'),
                       S2_PROGRAM=os.path.join(directory, 'stage2'))
    environment.pop('S2_MUTANT', None)
    if mutant:
        environment['S2_MUTANT'] = mutant
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            ['stdbuf', '-oL', os.path.join(directory, command[0]), *command[1:]],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True)
        failed = wait_for(process, output, begin + limit)
        seconds = time.monotonic() - begin
    return Outcome(check, failed, seconds)


def wait_for(process, output, end):
    """A case that fails may leave threads behind that hang the next: the first is enough."""
    while True:
        status = process.poll()
        output.seek(0)
        text = output.read().decode(errors='replace')
        if status is not None:
            return said(text, status) if status else None
        hung = time.monotonic() > end
        if hung or re.search(r'^not ok (?!\d+ # SKIP)', text, re.M):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return HUNG if hung else said(text, 1)
        time.sleep(0.01)


def try_mutant(directory, mutant, checks, all_checks):
    """The outcomes of the checks: up to the first that failed, or all of them."""
    outcomes = []
    for check in checks:
        seed = 1 + sum(o.check == check for o in outcomes)
        outcome = run_check(directory, check, mutant.name, seed)
        if outcome.failed == HUNG and mutant.name not in HANGS:
            outcome.failed = None
        outcomes.append(outcome)
        if outcomes[-1].failed and not all_checks:
            break
    return outcomes


class Report:
    def __init__(self, tap, total):
        self.tap = tap
        self.nr = 0
        self.bad = 0
        if tap:
            print(f'1..{total}', flush=True)

    def line(self, good, name, text):
        self.nr += 1
        self.bad += not good
        if self.tap:
            print(f'{"ok" if good else "not ok"} {self.nr} - {name}: {text}', flush=True)
        else:
            print(f'{name:26} {text}', flush=True)

    def mutant(self, mutant, outcomes):
        caught = [o for o in outcomes if o.failed]
        seconds = sum(o.seconds for o in outcomes)
        if mutant.name in EQUIVALENT:
            reason = EQUIVALENT[mutant.name][1]
            text = (f'{caught[0].check} fails, though it was thought equivalent ({reason})'
                    if caught else f'equivalent: {reason}')
            self.line(not caught, mutant.name, text)
        elif caught:
            self.line(True, mutant.name,
                      f'{seconds:5.1f} s  {caught[0].check}: {caught[0].failed}')
        else:
            self.line(False, mutant.name, f'{seconds:5.1f} s  NOT CAUGHT: {mutant.what}')


def arguments():
    parser = argparse.ArgumentParser(description='Shows that each mutant is caught.')
    parser.add_argument('--build', default=os.path.join(TOP, 'build-mutants'))
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--tap', action='store_true')
    parser.add_argument('--matrix', action='store_true')
    parser.add_argument('names', nargs='*', metavar='NAME')
    return parser.parse_args()


def choose(names):
    mutants = read_mutants()
    known = {m.name for m in mutants}
    wrong = [n for n in names if n not in known]
    named = set(PLAN) | set(EQUIVALENT)
    if wrong:
        sys.exit(f'mutants.py: not in src/base/mutant.h: {" ".join(wrong)}')
    if known != named:
        sys.exit(f'mutants.py: src/base/mutant.h and the plan here differ: '
                 f'{" ".join(sorted(known ^ named))}')
    return [m for m in mutants if not names or m.name in names]


def print_matrix(mutant, outcomes):
    print(mutant.name)
    for o in outcomes:
        print(f'    {o.check:24} {o.seconds:5.1f} s  {o.failed or "-"}', flush=True)


def planned(mutant):
    return PLAN.get(mutant.name) or EQUIVALENT[mutant.name][0]


def trials(mutants, matrix):
    """What is to be tried, as pairs of a mutant and its checks."""
    if matrix:
        return [(m, list(CHECKS)) for m in mutants]
    also = [(m, [check] * (TRIES if check in CHANCE else 1))
            for check in ALSO for m in mutants if m.name in ALSO[check]]
    return [(m, planned(m)) for m in mutants] + also


def main():
    args = arguments()
    todo = trials(choose(args.names), args.matrix)
    directory = os.path.abspath(args.build)
    build(directory)
    used = sorted({check for _, checks in todo for check in checks})
    report = Report(args.tap, len(used) + len(todo))
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for o in pool.map(lambda check: run_check(directory, check, None), used):
            report.line(not o.failed, f'no mutant, {o.check}',
                        f'{o.seconds:5.1f} s  {o.failed or "passes"}')
        tried = pool.map(lambda t: try_mutant(directory, *t, args.matrix), todo)
        for (mutant, _), outcomes in zip(todo, tried):
            if args.matrix:
                print_matrix(mutant, outcomes)
            else:
                report.mutant(mutant, outcomes)
    return 1 if report.bad else 0


if __name__ == '__main__':
    sys.exit(main())
