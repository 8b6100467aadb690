# SPDX-License-Identifier: MIT
"""Whether what a program printed is a report of benchmarks."""

import math

from bench_numbers import split_row


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require(condition, what):
    if not condition:
        raise ValueError(what)


def check_row(row, name):
    require(isinstance(row, dict) and row and
            all(isinstance(value, (str, bool)) or is_number(value) for value in row.values()),
            f'a row of {name} that is not labels and numbers')
    labels, _ = split_row(row)
    require(labels, f'a row of {name} without labels')


def check_goal(goal, name):
    require(isinstance(goal, dict) and isinstance(goal.get('goal'), str) and
            is_number(goal.get('value')) and is_number(goal.get('limit')),
            f'a goal of {name} without a text, a value or a limit')


def check_bench(bench):
    require(isinstance(bench, dict) and isinstance(bench.get('bench'), str),
            'a benchmark without a name')
    name = bench['bench']
    rows, goals = bench.get('results'), bench.get('goals', [])
    require(isinstance(rows, list) and isinstance(goals, list), f'{name} without results')
    require(is_number(bench.get('busy_percent', 0)), f'{name} without busy_percent')
    for row in rows:
        check_row(row, name)
    for goal in goals:
        check_goal(goal, name)


def benches_of(report):
    """The benchmarks of a report, or ValueError."""
    require(isinstance(report, dict), 'not an object')
    benches = report.get('benches', [report])
    require(isinstance(benches, list) and benches, 'no benchmarks')
    for bench in benches:
        check_bench(bench)
    return benches
