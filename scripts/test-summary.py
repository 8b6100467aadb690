#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up the test cases of one or more Meson build directories.

Meson counts test programs, and its TAP reader takes the line cmocka writes for
a skipped case ("not ok 3 # SKIP name") for a failure. So the programs run under
Meson's "exitcode" protocol, and their TAP output is counted here, from Meson's
log. A case without a result, because its program crashed or hung, has failed.

Exit status: 0 if something passed and nothing failed.
"""

import json
import os
import re
import sys

PLAN = re.compile(r'1\.\.(\d+)$')
SKIPPED = re.compile(r'(?:not )?ok \d+ # SKIP (.*)')
RESULT = re.compile(r'(ok|not ok) \d+ - (.*)')


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def __str__(self):
        line = f'{self.passed} passed, {len(self.failed)} failed'
        return line + (f', {len(self.skipped)} skipped' if self.skipped else '')


def last_line(lines):
    said = [line.strip().removeprefix('# ') for line in lines if line.strip()]
    return said[-1] if said else 'no reason given'


def how_it_ended(record):
    status = record['returncode']
    if record['result'] == 'TIMEOUT':
        return 'timeout'
    return f'killed by signal {-status}' if status < 0 else f'exit status {status}'


def count_cases(record, name, counts):
    """Counts the cases of a cmocka program; False if it did not print TAP."""
    lines = record['stdout'].splitlines()
    planned = sum(int(m[1]) for m in map(PLAN.match, lines) if m)
    if not planned:
        return False

    seen = failures = since = 0
    for at, line in enumerate(lines):
        skipped, result = SKIPPED.match(line), RESULT.match(line)
        if not skipped and not result:
            continue
        seen += 1
        if skipped:
            counts.skipped.append(f'{name}: {skipped[1]}: {last_line(lines[since:at])}')
        elif result[1] == 'ok':
            counts.passed += 1
        else:
            failures += 1
            counts.failed.append(f'{name}: {result[2]}')
        since = at + 1

    for _ in range(planned - seen):
        counts.failed.append(f'{name}: a case without a result ({how_it_ended(record)})')
    if record['result'] not in ('OK', 'SKIP') and not failures and planned <= seen:
        counts.failed.append(f'{name}: {how_it_ended(record)} after the last case')
    return True


def count_program(record, build, counts):
    name = f'{build}: {record["name"].rpartition(" / ")[2]}'
    record['stdout'] = record['stdout'] or ''
    if count_cases(record, name, counts):
        return
    if record['result'] == 'OK':
        counts.passed += 1
    elif record['result'] == 'SKIP':
        counts.skipped.append(f'{name}: {last_line(record["stdout"].splitlines())}')
    else:
        counts.failed.append(f'{name}: {how_it_ended(record)}')


def main(builds):
    counts = Counts()
    for build in builds:
        log = os.path.join(build, 'meson-logs', 'testlog.json')
        try:
            with open(log, encoding='utf-8') as records:
                for record in records:
                    count_program(json.loads(record), build, counts)
        except OSError as error:
            counts.failed.append(f'{build}: no tests ran ({log}: {error.strerror})')

    print()
    for line in counts.skipped:
        print('skipped', line)
    for line in counts.failed:
        print('FAILED ', line)
    print(counts)
    return 0 if counts.passed and not counts.failed else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
