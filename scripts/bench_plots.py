# SPDX-License-Identifier: MIT
"""The comparisons of bench.py as SVG, by gnuplot and the scripts in bench/plots/."""

import html
import json
import os
import re
import subprocess

from bench_compare import measured_lines
from bench_numbers import median

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'bench/plots')


class PlotError(Exception):
    """What gnuplot said, in one line."""


def points_to_draw(measured, axis):
    """[(x, numbers of the passes)]: what is not above 0 has no place on a logarithmic axis."""
    if measured.is_constant():
        return [(x, measured.points[0]) for x in axis]
    return [(x, numbers) for x, numbers in measured.points.items() if x and
            (median(numbers) or 0) > 0]


def block(points):
    """A line for each x: the median, the least and the largest."""
    known = [(x, [n for n in numbers if n is not None]) for x, numbers in points]
    return '\n'.join(f'{x} {median(numbers):g} {min(numbers):g} {max(numbers):g}'
                     for x, numbers in known)


def plot_data(lines):
    """The lines as gnuplot takes them; the legend is in the order in which the lines end."""
    axis = sorted({x for m in lines for x in m.points if x})
    drawn = [(m.line, points_to_draw(m, axis)) for m in lines]
    drawn = sorted((d for d in drawn if d[1]), key=lambda d: -median(d[1][-1][1]))
    names = ', '.join(json.dumps(line.name, ensure_ascii=False) for line, _ in drawn)
    styles = ', '.join(str(line.style) for line, _ in drawn)
    return drawn and '\n'.join([
        '$data << EOD', '\n\n\n'.join(block(points) for _, points in drawn), 'EOD',
        f'lines = {len(drawn)}', f'array name[lines] = [{names}]',
        f'array style[lines] = [{styles}]', ''])


def slim(svg, title):
    """Without the empty groups that make half of what gnuplot writes, and named for readers."""
    svg = re.sub(r'<title>.*?</title>\n<desc>.*?</desc>', f'<title>{html.escape(title)}</title>',
                 svg, flags=re.S)
    return re.sub(r'<g [^>]*>\s*</g>\n', '', svg)


def draw(comparison, results):
    """The SVG; None if there is nothing to draw, or no bench/plots/NAME.gp."""
    script = f'{comparison.name}.gp'
    data = plot_data(measured_lines(comparison, results))
    if not data or not os.path.exists(os.path.join(SCRIPTS, script)):
        return None
    done = subprocess.run(['gnuplot', '-'], cwd=SCRIPTS, capture_output=True,
                          encoding='utf-8', check=False, input=f'{data}load "style.gp"\nload "{script}"\n')
    if done.returncode:
        raise PlotError(f'{script}: {" ".join(done.stderr.split())}')
    return slim(done.stdout, comparison.title)
