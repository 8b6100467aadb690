# SPDX-License-Identifier: MIT
"""Runs a peer of the benchmarks and looks at the form of what it reports; no number is judged."""

import json
import subprocess
import sys

SKIPPED = 77


def refuse(why):
    sys.exit(f'{sys.argv[0]}: {why}')


def expect(condition, why):
    if not condition:
        refuse(why)


def run(program, *options):
    return subprocess.run([program, *options], capture_output=True, text=True, check=False)


def expect_refusals(program):
    """A wrong option is one line on stderr and status 2, whatever else is there."""
    for options in (['--nonsense'], ['--threads', '0'], ['--rounds', 'x'], ['nonsense']):
        done = run(program, *options)
        expect(done.returncode == 2 and not done.stdout and done.stderr.count('\n') == 1,
               f'{options}: status {done.returncode}, {done.stderr!r}')


def quick_rows(program, name, *options):
    """The rows of a quick run. Skips the test if the peer says that it cannot be had."""
    done = run(program, '--quick', '--json', *options)
    if done.returncode == SKIPPED:
        print(done.stderr.strip())
        sys.exit(SKIPPED)
    expect(done.returncode == 0, f'status {done.returncode}: {done.stderr}')
    report = json.loads(done.stdout)
    expect(set(report) == {'bench', 'results', 'goals', 'busy_percent'}, f'members: {set(report)}')
    expect(report['bench'] == name, f'the name is {report["bench"]}')
    return report['results']


def expect_rows(rows, labels, numbers, wanted):
    """Exactly the rows in @wanted, tuples of @labels; each of @numbers is one, the first above 0."""
    expect(sorted(tuple(row[key] for key in labels) for row in rows) == sorted(wanted),
           f'not the rows that were to be there: {rows}')
    for row in rows:
        for key in numbers:
            expect(isinstance(row[key], (int, float)), f'{key} is no number: {row}')
        expect(row[numbers[0]] > 0, f'nothing at all: {row}')
