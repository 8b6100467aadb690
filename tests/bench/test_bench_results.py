#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/bench.py, with shell scripts in the place of the programs: what it makes of them.

TAP on stdout. No number is measured here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def gate_row(gate, vms, ns):
    return {'gate': gate, 'threads': 1, 'vms': vms, 'ns': ns}


GATE = {
    'bench': 'gate',
    'results': [gate_row('range', 1, 10.0), gate_row('range', 256, 11.5),
                gate_row('rwsem', 1, 60.0), gate_row('rwsem', 256, 9000.25)],
    'goals': [{'goal': 'at most 20 ns for a pair', 'value': 10.0, 'limit': 20.0, 'met': True},
              {'goal': 'at least 5 times that', 'value': 4.0, 'limit': 5.0, 'met': False}],
    'busy_percent': 12.5,
}
MEMORY = {'bench': 'memory', 'results': [{'what': 'a VM', 'bytes': 4096}], 'busy_percent': 0.0}
KVM = {
    'bench': 'gate',
    'results': [gate_row('kvm', 0, 500.0), {**gate_row('kvm', 1, 720.0), 'ns_per_vm': 220.0},
                {**gate_row('kvm', 256, 57000.0), 'ns_per_vm': 220.7}],
    'goals': [],
    'busy_percent': 0.0,
}


class Run:
    """A build directory of fake programs, and what bench.py makes of it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='stage2-bench-')
        self.build = os.path.join(self.directory, 'build')
        self.output = os.path.join(self.directory, 'results')
        os.makedirs(os.path.join(self.build, 'bench'))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory)

    def add(self, path, script):
        path = os.path.join(self.build, path)
        with open(path, 'w', encoding='utf-8') as program:
            program.write(f'#!/bin/sh\n{script}\n')
        os.chmod(path, 0o755)

    def add_report(self, path, *reports):
        report = reports[0] if len(reports) == 1 else {'benches': reports}
        self.add(path, f"echo '{json.dumps(report)}'")

    def bench(self, *options, path=None):
        return subprocess.run(
            [sys.executable, os.path.join(TOP, 'scripts/bench.py'), '--build', self.build,
             '--output', self.output, *options], capture_output=True, text=True, check=False,
            env={**os.environ, **({'PATH': path} if path else {})})

    def without_gnuplot(self, *options):
        return self.bench(*options, path=self.directory)

    def read(self, name):
        with open(os.path.join(self.output, name), encoding='utf-8') as stream:
            return stream.read()


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def expect_one_line(done, text, status=1):
    expect(done.returncode == status, f'exit status {done.returncode}: {done.stderr}')
    expect(done.stderr.startswith('bench.py: ') and done.stderr.count('\n') == 1, done.stderr)
    expect(text in done.stderr, done.stderr)


def test_the_tables_have_every_row():
    with Run() as run:
        run.add_report('stage2', GATE, MEMORY)
        done = run.without_gnuplot()
        expect(done.returncode == 0, done.stderr)
        text = run.read('results.md')
        expect('| rwsem | 1 | 60.0 | 9,000 |' in text, text)
        expect('| a VM | 4,096 |' in text, text)
        expect('Again: `build/stage2 bench gate --rounds 5`' in text, text)
        expect('stage2 gate: other work held the CPUs for 12 %' in text, text)


def test_a_goal_is_told_as_met_or_not():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.without_gnuplot()
        text = run.read('results.md')
        expect('| gate: at most 20 ns for a pair | 10.0 | 10.0 to 10.0 | met |' in text, text)
        expect('| gate: at least 5 times that | 4.00 | 4.00 to 4.00 | **not met** |' in text, text)


def test_a_peer_stands_beside_stage2():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add_report('bench/peer_kvm', KVM)
        run.without_gnuplot()
        text = run.read('results.md')
        # 720 and 57,000 less the 500 without a VM; 56,500 is 4,913 times 11.5.
        expect("| Linux's KVM | 220.0 | 56,500 | 4,913 (4,913 to 4,913) at 256 |" in text, text)
        expect('| kvm | 1 | 256 | 57,000 | 220.7 |' in text, text)


def test_the_median_of_the_passes_is_told_with_the_passes():
    with Run() as run:
        marker = os.path.join(run.directory, 'runs')
        reports = [json.dumps({'bench': 'one', 'results': [{'op': 'x', 'ns': ns}]})
                   for ns in (30.0, 10.0, 20.0)]
        run.add('stage2', f"echo >>'{marker}'\n" + f"n=0; while read -r l; do n=$((n+1)); done "
                f"<'{marker}'\ncase $n in 1) echo '{reports[0]}';; 2) echo '{reports[1]}';; "
                f"*) echo '{reports[2]}';; esac")
        done = run.without_gnuplot('--passes', '3')
        expect(done.returncode == 0, done.stderr)
        row = json.loads(run.read('results.json'))['programs'][0]['benches'][0]['rows'][0]
        expect(row == {'op': 'x', 'ns': 20, 'passes': [30, 10, 20]}, row)


def test_a_skipped_peer_is_named_with_its_reason():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add('bench/peer_kvm', 'echo "peer_kvm: skipped: no /dev/kvm" >&2; exit 77')
        done = run.without_gnuplot()
        expect(done.returncode == 0, done.stderr)
        text = run.read('results.md')
        expect('- Not measured: kvm: peer_kvm: skipped: no /dev/kvm\n' in text, text)
        expect('- Not measured: ucx: bench/peer_ucx is not built: install libucx-dev' in text, text)


def test_a_line_that_lost_its_rows_is_told():
    with Run() as run:
        run.add_report('stage2', GATE)
        done = run.without_gnuplot()
        expect('unrelated-by-vms: no line "stage2: count": stage2 gate has no rows' in done.stdout,
               done.stdout)
        expect('"stage2: range"' not in done.stdout, done.stdout)


def test_what_a_program_says_about_a_part_it_left_out_is_told():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add('bench/peer_kvm', f"echo 'no guest runs' >&2; echo '{json.dumps(KVM)}'")
        run.without_gnuplot()
        text = run.read('results.md')
        expect(text.count('- kvm: no guest runs\n') == 1, text)


def test_without_gnuplot_there_are_no_plots():
    with Run() as run:
        run.add_report('stage2', GATE)
        done = run.without_gnuplot()
        expect(done.stdout.startswith('no plots: gnuplot is not installed'), done.stdout)
        expect(sorted(os.listdir(run.output)) == ['results.json', 'results.md'],
               os.listdir(run.output))
        expect('.svg' not in run.read('results.md'), 'a plot is shown that is not there')


def test_a_plot_has_its_lines_and_no_paths():
    if not shutil.which('gnuplot'):
        return 'gnuplot is not installed'
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add_report('bench/peer_kvm', KVM)
        done = run.bench()
        expect(done.returncode == 0, done.stderr)
        svg = run.read('unrelated-by-vms.svg')
        expect(">Linux's KVM<" in svg or '>Linux&#39;s KVM<' in svg, svg)
        expect('>stage2: range<' in svg and run.directory not in svg and TOP not in svg, svg)
        expect('(unrelated-by-vms.svg)' in run.read('results.md'), 'the plot is not shown')
    return None


def test_results_are_the_same_when_replayed():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add_report('bench/peer_kvm', KVM)
        run.bench()
        before = {name: run.read(name) for name in os.listdir(run.output)}
        done = run.bench('--replay', os.path.join(run.output, 'results.json'))
        expect(done.returncode == 0, done.stderr)
        for name, text in before.items():
            expect(run.read(name) == text, f'{name} has changed')


def test_only_what_is_asked_for_is_run():
    with Run() as run:
        run.add('stage2', f'test "$1 $2" = "bench gate" && echo \'{json.dumps(GATE)}\'')
        run.add('bench/peer_kvm', 'exit 1')
        done = run.without_gnuplot('--only', 'stage2:gate')
        expect(done.returncode == 0, done.stderr)
        expect_one_line(run.without_gnuplot('--only', 'kwm'), 'kwm is none of stage2, kvm')


def test_a_program_that_fails_is_one_line():
    with Run() as run:
        run.add_report('stage2', GATE)
        run.add('bench/peer_ucx', 'echo one >&2; echo "peer_ucx: no memory" >&2; exit 1')
        expect_one_line(run.without_gnuplot(), 'ucx: exit status 1: peer_ucx: no memory')
        run.add('bench/peer_ucx', 'kill -9 $$')
        expect_one_line(run.without_gnuplot(), 'ucx: killed by signal 9')
        expect(not os.path.exists(run.output), 'results of half a run')


def test_garbage_is_one_line():
    garbage = ['', '{', '[]', '7', 'null', '{"benches":[]}', '{"benches":[7]}', '{"bench":"x"}',
               '{"bench":"x","results":7}', '{"bench":"x","results":[7]}',
               '{"bench":"x","results":[{}]}', '{"bench":"x","results":[{"op":"y"}]}',
               '{"bench":"x","results":[{"op":{},"ns":1.5}]}',
               '{"bench":"x","results":[{"ns":1e999}]}', '{"bench":"x","results":[{"ns":NaN}]}',
               '{"bench":"x","results":[],"goals":7}', '{"bench":"x","results":[],"goals":[{}]}',
               '{"bench":"x","results":[],"goals":[{"goal":"a","value":"b","limit":1}]}',
               '{"bench":"x","results":[],"busy_percent":"much"}', '[' * 100000]
    with Run() as run:
        for text in garbage:
            run.add('stage2', f"echo '{text}'")
            expect_one_line(run.without_gnuplot('--passes', '1'), 'stage2: what it printed is not')


def test_wrong_options_are_one_line():
    with Run() as run:
        expect_one_line(run.bench('--passes', '0'), '--passes', 2)
        expect_one_line(run.bench('--rounds', 'many'), '--rounds', 2)
        expect_one_line(run.bench('--nonsense'), '--nonsense', 2)
        expect_one_line(run.bench(), 'there is no program stage2')
        expect_one_line(run.bench('--replay', os.path.join(run.directory, 'none')), 'No such file')


def test_a_replay_of_garbage_is_one_line():
    with Run() as run:
        for text in '', '7', '{}', '{"programs":7}', '{"programs":[{}]}', '{"programs":[{"x":1}]}':
            path = os.path.join(run.directory, 'garbage')
            with open(path, 'w', encoding='utf-8') as stream:
                stream.write(text)
            expect_one_line(run.bench('--replay', path), 'not a results.json')


def run_test(nr, name, test):
    try:
        skipped = test()
    except AssertionError as error:
        print(f'not ok {nr} - {name}')
        print(re.sub('^', '# ', str(error), flags=re.M), flush=True)
        return False
    if skipped:
        print(f'# {skipped}\nok {nr} # SKIP {name}', flush=True)
    else:
        print(f'ok {nr} - {name}', flush=True)
    return True


def main():
    tests = {name: test for name, test in globals().items() if name.startswith('test_')}
    print(f'1..{len(tests)}')
    passed = [run_test(nr, name, test) for nr, (name, test) in enumerate(tests.items(), 1)]
    return 0 if all(passed) else 1


if __name__ == '__main__':
    sys.exit(main())
