# SPDX-License-Identifier: MIT
"""What bench.py puts side by side: the lines of the comparisons, out of the programs' rows.

A line whose rows were not measured is left out.
"""

from bench_numbers import labels_of, median

# Stands for the largest value of a label that was measured: all cores, all VMs.
MOST = object()


class Line:
    """
    @style: its linetype in bench/plots/style.gp, which goes with what it is in every plot.
    @where: labels that its rows must have. @x: the label that goes along the axis; a line that has
            nothing but 0 there does not depend on it.
    @optional: not every machine or build has it, though it has the benchmark.
    @less:  labels of the rows to subtract, with all other labels the same: what something adds.
    """

    def __init__(self, name, style, program, bench, x, where=None, less=None, optional=False):
        self.name = name
        self.style = style
        self.program = program
        self.bench = bench
        self.x = x
        self.where = where or {}
        self.less = less
        self.optional = optional


class Comparison:
    """
    Drawn if there is bench/plots/NAME.gp. The ratios of the table are to the first line.

    @axis: what the lines' x counts.
    """

    def __init__(self, name, what, unit, axis, lines):
        self.name = name
        self.title = f'{what}, by {axis}'
        self.unit = unit
        self.axis = axis
        self.lines = list(lines)


GATES = ('range', 'always', 'rwsem', 'count')


def gates(x, **where):
    return [Line(f'stage2: {gate}', style, 'stage2', 'gate', x, {'gate': gate, **where})
            for style, gate in enumerate(GATES, 1)]


def faults():
    yield Line('range, no storm', 8, 'stage2', 'fault', 'vcpus', {'gate': 'range', 'storm': False})
    for style, gate in enumerate(GATES, 1):
        yield Line(gate, style, 'stage2', 'fault', 'vcpus', {'gate': gate, 'storm': True})


def invalidate(name, style, gate, busy, shootdown='safepoint'):
    return Line(name, style, 'stage2', 'invalidate', 'vcpus',
                {'gate': gate, 'busy': busy, 'shootdown': shootdown})


def preloads():
    def line(name, style, **where):
        return Line(name, style, 'malloc', 'malloc', 'threads',
                    {'allocator': 'jemalloc-eager', **where})

    yield line('by itself', 8, gate='none')
    yield line('calls passed on', 9, gate='forward')
    for style, gate in enumerate(GATES, 1):
        yield line(gate, style, gate=gate, vms=64)


def access(name, style, program, op, **where):
    return Line(name, style, program, 'access' if program == 'stage2' else program, 'slots',
                {'op': op, **where})


def swaps(op):
    def tier(name, style, what):
        return Line(name, style, 'stage2', 'pool-swap', 'threads', {'tier': what, 'op': op},
                    optional=True)

    yield tier('stage2: LZ4', 1, 'LZ4')
    yield tier('stage2: zstd', 2, 'zstd')
    yield tier('stage2: file', 3, 'file')
    yield tier('stage2: Redis', 4, 'Redis')
    yield tier('stage2: a tier that copies', 7, 'copy')
    yield Line("Linux's file", 5, 'pageout', 'pageout', 'threads', {'memory': 'file', 'op': op},
               optional=True)
    yield Line("Linux's swap", 6, 'pageout', 'pageout', 'threads',
               {'memory': 'anonymous', 'op': op}, optional=True)
    yield tier('memcpy', 8, 'memcpy')
    yield tier('LZ4 by itself', 9, 'LZ4 by itself')
    yield tier('zstd by itself', 9, 'zstd by itself')


COMPARISONS = [
    Comparison('unrelated-by-vms', 'An unrelated invalidation on one thread', 'ns', 'VMs', [
        *gates('vms', threads=1),
        Line('a bare lookup', 8, 'stage2', 'gate', 'vms', {'gate': 'floor', 'threads': 1}),
        Line("Linux's KVM", 5, 'kvm', 'gate', 'vms', {'gate': 'kvm', 'threads': 1},
             less={'vms': 0}),
        Line('UCX caches', 6, 'ucx', 'ucx', 'caches', {'op': 'event', 'threads': 1}),
    ]),
    Comparison('unrelated-by-threads', 'An unrelated invalidation with one VM', 'ns', 'threads', [
        *gates('threads', vms=1),
        Line('a bare lookup', 8, 'stage2', 'gate', 'threads', {'gate': 'floor', 'vms': 1}),
        Line('pthread rwlock', 9, 'stage2', 'gate', 'threads', {'gate': 'rwlock', 'vms': 1}),
        # Single calls on several threads mostly wait for each other's TLB flushes.
        Line("Linux's KVM", 5, 'kvm', 'gate', 'threads', {'gate': 'kvm_batch', 'vms': 1},
             less={'vms': 0}),
        Line('UCX cache', 6, 'ucx', 'ucx', 'threads', {'op': 'event', 'caches': 1}),
    ]),
    Comparison('memslot-update', 'To add a memslot and delete it again', 'ns', 'memslots', [
        Line('stage2', 1, 'stage2', 'slots', 'slots', {'op': 'add+delete'}),
        Line("Linux's KVM", 5, 'kvm', 'slots', 'slots', {'op': 'add+delete'}),
        Line('vm-memory', 7, 'vm-memory', 'vm-memory', 'slots', {'op': 'add+delete'}),
    ]),
    Comparison('fault', 'Faults of all vCPUs in a storm of unrelated invalidations',
               'faults per second', 'vCPUs', faults()),
    Comparison('related', 'To take one mapped page from a guest', 'ns', 'vCPUs', [
        invalidate('range', 1, 'range', 0),
        invalidate('always', 2, 'always', 0),
        invalidate('rwsem', 3, 'rwsem', 0),
        invalidate('count', 4, 'count', 0),
        invalidate('range, one vCPU busy', 6, 'range', 1),
        invalidate('range, every CPU busy', 5, 'range', MOST),
        invalidate('range, rseq, one vCPU busy', 7, 'range', 1, 'rseq'),
    ]),
    Comparison('load', 'An 8-byte load from the guest', 'ns', 'memslots', [
        access('stage2', 1, 'stage2', 'load64'),
        access('plain pointer', 8, 'stage2', 'plain_load64'),
        access('vm-memory', 7, 'vm-memory', 'load64_memory', threads=1),
        access('vm-memory, fixed map', 9, 'vm-memory', 'load64', threads=1),
    ]),
    Comparison('copy', '4 KiB read from the guest', 'ns', 'memslots', [
        access('stage2', 1, 'stage2', 'read4k'),
        access('memcpy', 8, 'stage2', 'memcpy4k'),
        access('vm-memory', 7, 'vm-memory', 'read4k', threads=1),
        access("memcpy, vm-memory's program", 9, 'vm-memory', 'memcpy4k', threads=1),
    ]),
    Comparison('dirty', 'To get the dirty log of 1 GiB', 'ns', 'dirty pages', [
        Line('stage2', 1, 'stage2', 'dirty', 'dirty', {'op': 'get', 'dirty': 0}),
        Line('two scans of the bitmap', 8, 'stage2', 'dirty', 'dirty',
             {'op': 'scan twice', 'dirty': 0}),
        Line("Linux's KVM", 5, 'kvm', 'dirty', 'dirty', {'op': 'get', 'dirty': 0}),
    ]),
    Comparison('swap-out', 'Guest pages swapped out', 'pages per second', 'threads',
               swaps('out')),
    Comparison('swap-in', 'Guest pages swapped in, at random', 'pages per second', 'threads',
               swaps('in, at random')),
    Comparison('malloc', 'A free and a malloc by jemalloc that keeps no pages, with 64 VMs told',
               'ns', 'threads', preloads()),
]


def matches(labels, where):
    return all(key in labels and labels[key] == value for key, value in where.items())


class Table:
    """The rows of one benchmark."""

    def __init__(self, bench):
        self.rows = [(labels_of(bench, row), row['passes']) for row in bench['rows']]

    def most(self, key, where):
        values = [labels[key] for labels, _ in self.rows if key in labels and
                  matches(labels, {k: v for k, v in where.items() if v is not MOST})]
        return max(values, default=None)

    def find(self, where):
        return [(labels, passes) for labels, passes in self.rows if matches(labels, where)]


def find_bench(results, program, name):
    for entry in results['programs']:
        if entry['program'] == program:
            for bench in entry.get('benches', []):
                if bench['bench'] == name:
                    return Table(bench)
    return None


def combine(numbers, others, how):
    return [None if a is None or b is None else how(a, b) for a, b in zip(numbers, others)]


def points_of(line, results):
    """{x: numbers of the passes}, in the order of x."""
    table = find_bench(results, line.program, line.bench)
    if not table:
        return {}
    where = {key: table.most(key, line.where) if value is MOST else value
             for key, value in line.where.items()}
    points = {}
    for labels, passes in table.find(where):
        if line.x not in labels or (line.less and matches(labels, line.less)):
            continue
        if line.less:
            base = table.find({**labels, **line.less})
            if not base:
                continue
            passes = combine(passes, base[0][1], lambda a, b: a - b)
        points[labels[line.x]] = passes
    return dict(sorted(points.items()))


class Measured:
    """A line with its points."""

    def __init__(self, line, points):
        self.line = line
        self.points = points

    def is_constant(self):
        return list(self.points) == [0]

    def ratio_to(self, base):
        """At the largest x that both have: x, the median of the ratios, the least, the largest."""
        common = [x for x in base.points if x in self.points or self.is_constant()]
        if not common:
            return None
        numbers = self.points[0 if self.is_constant() else common[-1]]
        ratios = [r for r in combine(numbers, base.points[common[-1]],
                                     lambda a, b: a / b if b else None) if r is not None]
        return (common[-1], median(ratios), min(ratios), max(ratios)) if ratios else None


def measured_lines(comparison, results):
    lines = [Measured(line, points_of(line, results)) for line in comparison.lines]
    return [m for m in lines if m.points]


def lines_without_rows(results):
    """Those that are missing although their benchmark was measured: its labels have changed."""
    return [(comparison, line) for comparison in COMPARISONS for line in comparison.lines
            if not line.optional and find_bench(results, line.program, line.bench) and
            not points_of(line, results)]
