#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the instructions that each of stage2's operations takes, with valgrind's callgrind.

Unlike times, these are the same again on a busy machine. Each operation is done COUNT times and
2 * COUNT times; the difference, by COUNT, is what one takes without its set-up. Beside the
instructions of user space: how often it reads and writes memory, and how often that misses a
simulated first-level cache of 32 KiB, with one thread.

What valgrind does not see: the time that an atomic instruction takes, the kernel's part of a
system call, and what cores do to each other's caches.

Exit status: 0 if all was counted, 1 if not, 2 for a wrong option, 77 if valgrind is missing.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
# Many times what the longest of them takes.
HUNG_SECONDS = 1800
COUNT_MAX = 8192

# Not the machine's own, so that the numbers are the same on all of them.
CACHES = ['--I1=32768,8,64', '--D1=32768,8,64', '--LL=8388608,16,64']

# It counts each byte of a "rep movsb" as an instruction: the C library is to copy by others.
NO_REP = ':'.join(f'glibc.cpu.x86_rep_{what}_threshold={1 << 40}' for what in ('movsb', 'stosb'))

# What callgrind calls them, and we.
EVENTS = {
    'instructions': ['Ir'],
    'reads': ['Dr'],
    'writes': ['Dw'],
    'l1_misses': ['I1mr', 'D1mr', 'D1mw'],
}


class CountError(Exception):
    """Told in one line."""


class Skipped(Exception):
    """The reason why an operation cannot be done here."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'no reason given'


def run(command):
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              text=True, errors='replace', timeout=HUNG_SECONDS,
                              env={**os.environ, 'GLIBC_TUNABLES': NO_REP})
    except subprocess.TimeoutExpired:
        raise CountError(f'{command[0]}: did not end in {HUNG_SECONDS} s') from None
    except OSError as error:
        raise CountError(f'cannot run {command[0]}: {error.strerror}') from None


def list_operations(program):
    done = run([program, '--list'])
    if done.returncode:
        raise CountError(f'{program} --list: {last_line(done.stderr)}')
    return dict(line.split('\t') for line in done.stdout.splitlines())


def read_totals(path):
    """The events that callgrind names in its file, and their sums."""
    fields = {}
    with open(path, encoding='utf-8', errors='replace') as stream:
        for line in stream:
            name, colon, rest = line.partition(': ')
            if colon and name in ('events', 'summary'):
                fields[name] = rest.split()
    try:
        return {name: int(n) for name, n in zip(fields['events'], fields['summary'])}
    except (KeyError, ValueError):
        raise CountError('callgrind did not write what it counted') from None


def count_once(program, operation, count):
    with tempfile.TemporaryDirectory(prefix='stage2-instructions-') as directory:
        path = os.path.join(directory, 'callgrind.out')
        done = run(['valgrind', '-q', '--tool=callgrind', '--cache-sim=yes', *CACHES,
                    f'--callgrind-out-file={path}', program, operation, str(count)])
        if done.returncode == SKIPPED:
            raise Skipped(last_line(done.stderr))
        if done.returncode:
            raise CountError(f'{operation}: {last_line(done.stderr)}')
        return read_totals(path)


def per_operation(once, twice, count):
    return {name: sum(twice.get(event, 0) - once.get(event, 0) for event in events) / count
            for name, events in EVENTS.items()}


def count_all(program, operations, count, jobs):
    """A row for each operation: its labels, and its counts or why there are none."""
    def both(operation):
        try:
            return per_operation(count_once(program, operation, count),
                                 count_once(program, operation, 2 * count), count)
        except Skipped as reason:
            return {'skipped': str(reason)}

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        counts = list(pool.map(both, operations))
    return [{'operation': name, 'what': what, **result}
            for (name, what), result in zip(operations.items(), counts)]


def number(value):
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.1f}'


def print_table(rows):
    head = ['operation', 'what', 'instructions', 'reads', 'writes', 'L1 misses']
    cells = [head]
    for row in rows:
        counts = ['skipped'] if 'skipped' in row else [number(row[name]) for name in EVENTS]
        cells.append([row['operation'], row['what'], *counts, *[''] * (len(EVENTS) - len(counts))])
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    for line in cells:
        print('  '.join(cell.ljust(width) if i < 2 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))).rstrip())
    for row in rows:
        if 'skipped' in row:
            print(f'{row["operation"]} was skipped: {row["skipped"]}')


class OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f'{self.prog}: {message}\n')


def whole_number(most):
    def parse(text):
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {most}")
        return int(text)
    return parse


def parse_options():
    parser = OneLineParser(prog='instructions.py', description=__doc__,
                           formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default='build', help='the build directory (build)')
    parser.add_argument('--count', type=whole_number(COUNT_MAX), default=2000,
                        help='how often each operation is done, and twice that (2000)')
    parser.add_argument('--only', action='append', metavar='OPERATION', default=[],
                        help='count this one; may be given several times')
    parser.add_argument('--jobs', type=whole_number(256), default=2,
                        help='how many valgrinds run at a time (2)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    return parser.parse_args()


def choose(operations, names):
    for name in names:
        if name not in operations:
            raise CountError(f'--only: {name} is none of {", ".join(operations)}')
    return {name: what for name, what in operations.items() if not names or name in names}


def main():
    args = parse_options()
    program = os.path.join(args.build, 'bench', 'instructions')
    if not shutil.which('valgrind'):
        print('instructions.py: valgrind is missing: install it to count instructions',
              file=sys.stderr)
        return SKIPPED
    try:
        operations = choose(list_operations(program), args.only)
        rows = count_all(program, operations, args.count, args.jobs)
    except CountError as error:
        print(f'instructions.py: {error}', file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({'count': args.count, 'results': rows}))
    else:
        print_table(rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
