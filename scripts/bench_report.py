# SPDX-License-Identifier: MIT
"""What bench.py writes: results.json, and as functions of it results.md and the plots."""

import json
import os
import pathlib
import re
import shutil

import bench_plots
from bench_compare import COMPARISONS, lines_without_rows, measured_lines
from bench_numbers import label_text, labels_of, median, number_text

# Above this share of the time the report says so; waking up after a lock takes a little, too.
MUCH_BUSY_PERCENT = 10
# More columns than this are hard to read.
MOST_COLUMNS = 10

UNITS = {'ns': 'ns', 'faults_per_s': 'faults per second', 'bytes': 'bytes',
         'pages_per_s': 'pages per second', 'accesses_per_s': 'accesses per second'}


def json_lines(value, indent=''):
    """A line for each row, so that a new run changes lines, and no more than it has to."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(text) < 300:
        return text
    inner = indent + ' '
    if isinstance(value, dict):
        members = [f'{json.dumps(key)}: {json_lines(member, inner)}'
                   for key, member in value.items()]
        opening, closing = '{', '}'
    else:
        members = [json_lines(member, inner) for member in value]
        opening, closing = '[', ']'
    return f'{opening}\n{inner}' + f',\n{inner}'.join(members) + f'\n{indent}{closing}'


def table_lines(header, rows):
    """A column of numbers is aligned to the right."""
    numbers = [all(re.fullmatch(r'[-–\d.,e]+', row[i]) for row in rows)
               for i in range(len(header))]
    yield '| ' + ' | '.join(label_text(name) for name in header) + ' |'
    yield '| ' + ' | '.join('---:' if number else '---' for number in numbers) + ' |'
    for row in rows:
        yield '| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |'
    yield ''


def command_line(entry, bench):
    name = bench if len(entry['benches']) > 1 else None
    return ' '.join(part for part in (entry['command'], name, entry['options']) if part)


def commands_lines(commands):
    yield 'Again: ' + ', '.join(f'`{command}`' for command in dict.fromkeys(commands))
    yield ''


def about_lines(results):
    machine, versions = results.get('machine', {}), results.get('versions', {})
    options = results.get('options', {})
    facts = [f'{machine.get("cpus")} CPUs of {machine.get("cpu")}'
             + (' (a virtual machine)' if machine.get('virtual') else ''),
             f'{machine.get("memory_gib")} GiB', machine.get('kernel')]
    facts += [f'{name} {machine[key]}' for name, key in
              (('governor', 'governor'), ('transparent huge pages', 'transparent_hugepages'))
              if key in machine]
    yield '# What was measured'
    yield ''
    yield (f'{results.get("date")}, commit {results.get("commit")}'
           f'{" with changes" if results.get("changed") else ""}: '
           f'{", ".join(str(fact) for fact in facts)}; '
           f'{", ".join(f"{name} {version}" for name, version in versions.items())}.')
    yield ''
    yield (f'Medians of {options.get("passes")} passes over all programs; ratios are of numbers '
           'of one pass, and then their median. The bars in the plots go from the least to the '
           'largest of the passes. Written by `make bench`; results.json has all numbers of all '
           'passes.')
    yield ''
    if options.get('quick'):
        yield 'Measured with --quick: these numbers say nothing about speed.'
        yield ''


def skipped_lines(results):
    for entry in results['programs']:
        if 'skipped' in entry:
            yield f'- Not measured: {entry["program"]}: {entry["skipped"]}'
        for note in entry.get('notes', []):
            yield f'- {entry["program"]}: {note}'
        for bench in entry.get('benches', []):
            if bench['busy_percent'] >= MUCH_BUSY_PERCENT:
                yield (f'- {title_of(entry, bench)}: other work held the CPUs for '
                       f'{bench["busy_percent"]:.0f} % of the time; a quieter machine will show '
                       'better numbers.')


def range_text(numbers):
    known = [n for n in numbers if n is not None]
    return f'{number_text(min(known))} to {number_text(max(known))}'


def goal_lines(results):
    rows = [[f'{bench["bench"]}: {goal["goal"]}', number_text(goal['value']),
             range_text(goal['passes']), 'met' if goal['met'] else '**not met**']
            for entry in results['programs'] for bench in entry.get('benches', [])
            for goal in bench['goals']]
    if rows:
        yield '## The goals'
        yield ''
        yield from table_lines(['goal', 'measured', 'in the passes', ''], rows)


def ratio_text(measured, base):
    ratio = measured.ratio_to(base)
    if measured is base or not ratio:
        return '–'
    x, middle, least, most = ratio
    return (f'{number_text(middle)} ({number_text(least)} to {number_text(most)}) '
            f'at {label_text(x)}')


def comparison_lines(comparison, results, plotted):
    lines = measured_lines(comparison, results)
    if not lines:
        return
    entries = {entry['program']: entry for entry in results['programs']}
    axis = sorted({x for m in lines for x in m.points})
    yield f'## {comparison.title}'
    yield ''
    if comparison.name in plotted:
        yield f'![{comparison.title}]({comparison.name}.svg)'
        yield ''
    yield from table_lines(
        [f'{comparison.unit}, by {comparison.axis}', *axis, f'ratio to {lines[0].line.name}'],
        [[m.line.name, *(number_text(median(m.points.get(x, []))) for x in axis),
          ratio_text(m, lines[0])] for m in lines])
    yield from commands_lines(command_line(entries[m.line.program], m.line.bench) for m in lines)


def choose_column(bench):
    """The label that makes the columns, memslots or the last one; None for a line for each row."""
    rows = bench['rows']
    labels = labels_of(bench, rows[0])
    column = 'slots' if 'slots' in labels else list(labels)[-1]
    columns = {row.get(column) for row in rows}
    lines = {tuple(v for k, v in labels_of(bench, row).items() if k != column) for row in rows}
    if len(labels) == 1 or not 1 < len(columns) <= MOST_COLUMNS or any('also' in r for r in rows):
        return None
    mostly_empty = 4 * len(rows) < len(lines) * len(columns)
    return None if mostly_empty else column


def pivot(bench, column):
    """The header and the lines of a table of all rows, one label of which makes the columns."""
    rows = bench['rows']
    keys = [key for key in labels_of(bench, rows[0]) if key != column]
    values = list(dict.fromkeys(row.get(column, '') for row in rows))
    if not any(isinstance(value, str) for value in values):
        values.sort()
    lines = {}
    for row in rows:
        cells = lines.setdefault(tuple(label_text(row.get(key, '')) for key in keys), {})
        cells[row.get(column, '')] = number_text(row[bench['number']])
    return ([*keys, *(f'{column} {label_text(value)}' for value in values)],
            [[*line, *(cells.get(value, '–') for value in values)]
             for line, cells in lines.items()])


def flat(bench):
    """The same with a line for each row."""
    rows, number = bench['rows'], bench['number']
    keys = list(labels_of(bench, rows[0]))
    also = list(dict.fromkeys(key for row in rows for key in row.get('also', {})))
    return ([*keys, number, *also],
            [[*(label_text(row.get(key, '')) for key in keys), number_text(row[number]),
              *(number_text(row.get('also', {}).get(key)) for key in also)] for row in rows])


def title_of(entry, bench):
    name = entry['program']
    if bench['bench'] != name:
        name += f' {bench["bench"]}'
    return name + (f' {bench["version"]}' if 'version' in bench else '')


def bench_lines(results):
    yield '## Every number'
    yield ''
    for entry in results['programs']:
        for bench in entry.get('benches', []):
            if not bench['rows']:
                continue
            column = choose_column(bench)
            yield f'### {title_of(entry, bench)}'
            yield ''
            yield f'In {UNITS.get(bench["number"], bench["number"])}.'
            yield ''
            yield from table_lines(*(pivot(bench, column) if column else flat(bench)))
            yield from commands_lines([command_line(entry, bench['bench'])])


def markdown(results, plotted):
    yield from about_lines(results)
    skipped = list(skipped_lines(results))
    yield from skipped + ([''] if skipped else [])
    yield from goal_lines(results)
    for comparison in COMPARISONS:
        yield from comparison_lines(comparison, results, plotted)
    yield from bench_lines(results)


def write_text(path, text):
    with open(path, 'w', encoding='utf-8') as stream:
        stream.write(text)


def write_plots(results, output):
    """The names of the comparisons that have one now. A plot of another run does not stay."""
    plotted = []
    for comparison in COMPARISONS:
        path = os.path.join(output, f'{comparison.name}.svg')
        svg = bench_plots.draw(comparison, results) if shutil.which('gnuplot') else None
        if svg:
            write_text(path, svg)
            plotted.append(comparison.name)
        else:
            pathlib.Path(path).unlink(missing_ok=True)
    return plotted


def write(results, output):
    """Yields a line for each file that was written, or why it was not."""
    plotted = write_plots(results, output)
    if not shutil.which('gnuplot'):
        yield 'no plots: gnuplot is not installed (Debian package gnuplot-nox)'
    for comparison, line in lines_without_rows(results):
        yield (f'{comparison.name}: no line "{line.name}": {line.program} {line.bench} has no rows '
               'for it')
    texts = {'results.json': json_lines(results) + '\n',
             'results.md': '\n'.join(markdown(results, plotted))}
    for name, text in texts.items():
        write_text(os.path.join(output, name), text)
    for name in [*texts, *(f'{name}.svg' for name in plotted)]:
        yield os.path.join(output, name)
