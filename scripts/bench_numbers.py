# SPDX-License-Identifier: MIT
"""The numbers of bench.py: how those of several passes become one, and how one is written.

A benchmark reports rows: labels, which are text, integers or on and off, and after them one number
with a fraction; where none has a fraction, the last member is the number. What has a fraction and
comes after that is worth knowing, too. After merging, a row has the median of the passes in the
place of the number, the passes' own under "passes", null for a pass that did not have this row, and
the medians of what else there is under "also".
"""

import statistics


def rounded(number):
    """Four digits say all that a measurement knows."""
    number = float(f'{number:.4g}')
    return int(number) if number.is_integer() else number


def median(numbers):
    known = [n for n in numbers if n is not None]
    return statistics.median(known) if known else None


def number_text(number):
    if number is None:
        return '–'
    if number == 0:
        return '0'
    if abs(number) < 0.1:
        return f'{number:.2g}'
    if abs(number) < 10:
        return f'{number:.2f}'
    return f'{number:.1f}' if abs(number) < 1000 else f'{number:,.0f}'


def label_text(label):
    if isinstance(label, bool):
        return 'on' if label else 'off'
    return f'{label:,}' if isinstance(label, int) else str(label)


def split_row(row):
    """The labels and the numbers of a row as it was reported."""
    numbers = {key: value for key, value in row.items() if isinstance(value, float)}
    if not numbers:
        key, value = next(reversed(row.items()))
        if isinstance(value, (bool, str)):
            raise ValueError(f'a row without a number: {row}')
        numbers[key] = value
    return {key: value for key, value in row.items() if key not in numbers}, numbers


def merge_rows(passes):
    """For each row that there is its labels, and for each of its numbers those of the passes."""
    merged = {}
    for nr, rows in enumerate(passes):
        for row in rows:
            labels, numbers = split_row(row)
            _, all_numbers = merged.setdefault(tuple(labels.items()), (labels, {}))
            for key, number in numbers.items():
                all_numbers.setdefault(key, [None] * len(passes))[nr] = rounded(number)
    return list(merged.values())


def merged_row(labels, numbers):
    (key, passes), *others = numbers.items()
    row = {**labels, key: rounded(median(passes)), 'passes': passes}
    if others:
        row['also'] = {name: rounded(median(values)) for name, values in others}
    return row


def labels_of(bench, row):
    """Of a merged row."""
    return {key: value for key, value in row.items()
            if key not in (bench['number'], 'passes', 'also')}


def merge_goals(passes):
    """A goal is met if the median is within its limit."""
    merged = {}
    for nr, goals in enumerate(passes):
        for goal in goals:
            entry = merged.setdefault(goal['goal'], (goal['limit'], [None] * len(passes)))
            entry[1][nr] = rounded(goal['value'])
    result = []
    for text, (limit, numbers) in merged.items():
        value = rounded(median(numbers))
        met = value >= limit if text.startswith('at least') else value <= limit
        result.append({'goal': text, 'limit': limit, 'value': value, 'met': met,
                       'passes': numbers})
    return result


def merge_bench(reports):
    rows = merge_rows([report['results'] for report in reports])
    merged = {
        'bench': reports[0]['bench'],
        'number': next(iter(rows[0][1])) if rows else '',
        'busy_percent': rounded(median([report.get('busy_percent', 0) for report in reports])),
    }
    if 'version' in reports[0]:
        merged['version'] = reports[0]['version']
    merged['goals'] = merge_goals([report.get('goals', []) for report in reports])
    merged['rows'] = [merged_row(labels, numbers) for labels, numbers in rows]
    return merged


def merge_passes(passes):
    """@passes: of each pass the list of reports of one program."""
    names = list(dict.fromkeys(report['bench'] for reports in passes for report in reports))
    return [merge_bench([report for reports in passes for report in reports
                         if report['bench'] == name])
            for name in names]
