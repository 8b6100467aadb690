# SPDX-License-Identifier: MIT
"""What bench.py measured on and with: the machine, the versions, the commit."""

import datetime
import os
import platform
import re
import shutil
import subprocess

# In the order of the report; what is not there is left out.
MODULES = {'liburcu': 'liburcu-bp', 'jansson': 'jansson', 'UCX': 'ucx-ucs'}
PACKAGES = {'jemalloc': 'libjemalloc2', 'mimalloc': 'libmimalloc2.0',
            'vm-memory': 'librust-vm-memory-dev'}
PROGRAMS = {'rustc': '/usr/bin/rustc', 'gnuplot': 'gnuplot'}


def output_of(*command, cwd=None):
    """The first line of what the command prints; None if it cannot be run, or fails."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          text=True, errors='replace', cwd=cwd)
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines and not done.returncode else None


def first_match(path, pattern):
    try:
        with open(path, encoding='utf-8', errors='replace') as stream:
            found = re.search(pattern, stream.read(), re.M)
    except OSError:
        return None
    return found[1].strip() if found else None


def without_unknown(values):
    return {name: value for name, value in values.items() if value is not None}


def machine():
    memory = first_match('/proc/meminfo', r'^MemTotal:\s*(\d+) kB')
    return without_unknown({
        'cpu': first_match('/proc/cpuinfo', r'^model name\s*:(.*)') or platform.machine(),
        'architecture': platform.machine(),
        'cpus': len(os.sched_getaffinity(0)),
        'memory_gib': round(int(memory) / 2**20, 1) if memory else None,
        'virtual': bool(first_match('/proc/cpuinfo', r'^flags\s*:.* (hypervisor)\b')),
        'governor': first_match('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor', '(.*)'),
        'transparent_hugepages': first_match('/sys/kernel/mm/transparent_hugepage/enabled',
                                             r'\[(\w+)\]'),
        'kernel': f'{platform.system()} {platform.release()}',
    })


def compiler(program):
    """What left its name in the program; with clang, gcc has left one in the startup code."""
    if not shutil.which('readelf'):
        return None
    done = subprocess.run(['readelf', '-p', '.comment', program], capture_output=True, check=False,
                          text=True, errors='replace')
    names = re.findall(r'\]\s+(.*)', done.stdout)
    return max(names, key=lambda name: 'clang' in name, default=None)


def number_in(text):
    found = re.search(r'\d+(\.\d+)+', text or '')
    return found[0] if found else None


def versions(build):
    values = {'compiler': compiler(os.path.join(build, 'stage2')),
              'C library': ' '.join(platform.libc_ver()).strip()}
    for name, module in MODULES.items():
        values[name] = output_of('pkg-config', '--modversion', module)
    for name, package in PACKAGES.items():
        values[name] = number_in(output_of('dpkg-query', '-W', '-f', '${Version}', package))
    for name, program in PROGRAMS.items():
        values[name] = number_in(output_of(program, '--version'))
    return without_unknown(values)


def has_changes(top):
    """Are the sources other than what was committed? Results are no sources."""
    return bool(output_of('git', 'status', '--porcelain', '--', '.', ':!bench/results', cwd=top))


def describe(top, build):
    return without_unknown({
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        'commit': output_of('git', 'rev-parse', '--short=12', 'HEAD', cwd=top),
        'changed': has_changes(top),
        'machine': machine(),
        'versions': versions(build),
    })
