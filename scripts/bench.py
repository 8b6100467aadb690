#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs stage2's benchmarks and those of its peers, and writes what came out.

A machine's speed drifts. So all programs are run one after the other, several times over, with
few rounds each; a number is the median of these passes. What is compared is compared within each
pass, and the median of the ratios is told, with the smallest and the largest.

What is written, into bench/results/ if --output does not say otherwise:

    results.json    the machine, the versions, every number of every pass
    results.md      the same as tables, with the goals, the peers side by side
    *.svg           the plots, if gnuplot is installed

A peer that is not installed, or that this machine has not got, is left out, and the report says
why. Whether the goals are met has no effect on the exit status.

Exit status: 0 if everything that is there was measured, 1 if not, 2 for a wrong option.
"""

import argparse
import json
import os
import subprocess
import sys

import bench_machine
import bench_plots
import bench_report
from bench_numbers import merge_passes
from bench_shape import benches_of

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = 77
# Many times what the longest of them takes.
HUNG_SECONDS = 3600


class BenchError(Exception):
    """Told in one line."""


class Program:
    """@path: below the build directory. @install: what it takes to have it built."""

    def __init__(self, name, path, *arguments, install='what packages.txt names'):
        self.name = name
        self.path = path
        self.arguments = arguments
        self.install = install


PROGRAMS = [
    Program('stage2', 'stage2', 'bench'),
    Program('kvm', 'bench/peer_kvm'),
    Program('ucx', 'bench/peer_ucx', install='libucx-dev'),
    Program('malloc', 'bench/peer_malloc'),
    Program('pageout', 'bench/peer_pageout'),
    Program('vm-memory', 'bench/peer_vm_memory',
            install='cargo, rustc and librust-vm-memory-dev'),
]


def find_programs(build):
    """The ones above, and whatever other peer has been built."""
    directory = os.path.join(build, 'bench')
    known = {p.path for p in PROGRAMS}
    found = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return PROGRAMS + [
        Program(name.removeprefix('peer_').replace('_', '-'), f'bench/{name}')
        for name in found
        if name.startswith('peer_') and f'bench/{name}' not in known and
        os.path.isfile(os.path.join(directory, name)) and
        os.access(os.path.join(directory, name), os.X_OK)]


def choose(programs, names):
    """Pairs of a program and the benchmarks to run of it, which are all if there are none."""
    chosen = {}
    for name in names:
        program, _, bench = name.partition(':')
        if program not in {p.name for p in programs}:
            raise BenchError(f'--only: {program} is none of '
                             f'{", ".join(p.name for p in programs)}')
        chosen.setdefault(program, []).extend([bench] if bench else [])
    return [(p, chosen.get(p.name, [])) for p in programs if not names or p.name in chosen]


def command_options(args):
    options = ['--quick'] if args.quick else []
    rounds = args.rounds or (None if args.quick else 5)
    return options + (['--rounds', str(rounds)] if rounds else [])


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'no reason given'


class Outcome:
    """Of one program in one pass: @skipped is the reason, or None if there are @benches."""

    def __init__(self, benches=(), skipped=None, notes=()):
        self.benches = benches
        self.skipped = skipped
        self.notes = notes


def run_program(program, benches, args):
    path = os.path.join(args.build, program.path)
    if not os.path.exists(path):
        return Outcome(skipped=f'{program.path} is not built: install {program.install}, and '
                               'build again')
    command = [path, *program.arguments, *benches, '--json', *command_options(args)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              text=True, errors='replace', timeout=HUNG_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f'{program.name}: did not end in {HUNG_SECONDS} s') from None
    except OSError as error:
        raise BenchError(f'{program.name}: cannot run {program.path}: {error.strerror}') from None
    if done.returncode == SKIPPED:
        return Outcome(skipped=last_line(done.stderr))
    if done.returncode:
        how = (f'killed by signal {-done.returncode}' if done.returncode < 0
               else f'exit status {done.returncode}')
        raise BenchError(f'{program.name}: {how}: {last_line(done.stderr)}')
    try:
        reports = benches_of(json.loads(done.stdout))
    except (ValueError, RecursionError) as error:
        raise BenchError(f'{program.name}: what it printed is not a report of benchmarks: '
                         f'{error}') from None
    return Outcome(reports, notes=done.stderr.splitlines())


def show_progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def run_passes(chosen, args):
    """For each program the outcomes of the passes. What is skipped is skipped once and for all."""
    outcomes = {program.name: [] for program, _ in chosen}
    for nr in range(args.passes):
        for program, benches in chosen:
            before = outcomes[program.name]
            if before and before[0].skipped:
                continue
            show_progress(f'pass {nr + 1} of {args.passes}: {program.name}')
            outcome = run_program(program, benches, args)
            if before and outcome.skipped:
                raise BenchError(f'{program.name}: skipped after {nr} passes: {outcome.skipped}')
            before.append(outcome)
    show_progress('')
    return outcomes


def program_results(program, benches, outcomes, args):
    """As if it had been built in build/: a report does not tell of this machine's directories."""
    def public(text):
        return text.strip().replace(args.build, 'build')

    entry = {'program': program.name,
             'command': ' '.join([f'build/{program.path}', *program.arguments]),
             'options': ' '.join(command_options(args))}
    if benches:
        entry['only'] = benches
    if outcomes[0].skipped:
        return {**entry, 'skipped': public(outcomes[0].skipped)}
    notes = dict.fromkeys(public(line) for o in outcomes for line in o.notes if line.strip())
    return {**entry, 'notes': list(notes), 'benches': merge_passes([o.benches for o in outcomes])}


def measure(args):
    programs = find_programs(args.build)
    if not os.path.exists(os.path.join(args.build, 'stage2')):
        raise BenchError(f'there is no program stage2 in {args.build}: `make` builds it')
    chosen = choose(programs, args.only)
    # Before the measurements, so that what is edited meanwhile is not told as measured.
    about = bench_machine.describe(TOP, args.build)
    outcomes = run_passes(chosen, args)
    return {**about,
            'options': {'passes': args.passes, 'quick': args.quick},
            'programs': [program_results(program, benches, outcomes[program.name], args)
                         for program, benches in chosen]}


def read_results(path):
    try:
        with open(path, encoding='utf-8') as stream:
            results = json.load(stream)
    except OSError as error:
        raise BenchError(f'{path}: {error.strerror}') from None
    except (ValueError, RecursionError):
        raise BenchError(f'{path}: not a results.json of this program') from None
    return results


def write_report(results, args):
    try:
        for line in bench_report.write(results, args.output):
            print(line)
    except (LookupError, TypeError, ValueError, AttributeError):
        if not args.replay:
            raise
        raise BenchError(f'{args.replay}: not a results.json of this program') from None


def positive(text):
    number = int(text)
    if not 1 <= number <= 1000:
        raise ValueError
    return number


positive.__name__ = 'number from 1 to 1000'


class OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f'bench.py: {message}\n')


def arguments():
    parser = OneLineParser(
        description='Runs stage2\'s benchmarks and those of its peers, and writes JSON, tables '
                    'and plots.')
    parser.add_argument('--build', default=os.path.join(TOP, 'build'), metavar='DIR',
                        help='where the programs have been built (build)')
    parser.add_argument('--output', default=os.path.join(TOP, 'bench/results'), metavar='DIR',
                        help='where to write (bench/results)')
    parser.add_argument('--passes', type=positive, default=3, metavar='N',
                        help='run everything N times, and report the medians (3)')
    parser.add_argument('--rounds', type=positive, metavar='N',
                        help='rounds of each program in each pass (5)')
    parser.add_argument('--quick', action='store_true',
                        help='short rounds: shows what there is, says nothing about speed')
    parser.add_argument('--only', action='append', default=[], metavar='NAME',
                        help='only this program (stage2, kvm, ucx, ...), or with NAME:BENCHMARK '
                             'one benchmark of it; may be given again')
    parser.add_argument('--replay', metavar='FILE',
                        help='measure nothing: write the tables and plots of this results.json')
    return parser.parse_args()


def main():
    args = arguments()
    try:
        results = read_results(args.replay) if args.replay else measure(args)
        os.makedirs(args.output, exist_ok=True)
        write_report(results, args)
    except (BenchError, bench_plots.PlotError) as error:
        show_progress('')
        print(f'bench.py: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'bench.py: {error.filename}: {error.strerror}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        show_progress('')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
