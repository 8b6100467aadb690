# SPDX-License-Identifier: MIT
set title "What an unrelated munmap pays for one VM, on several threads at once"
set xlabel "threads, each on a CPU of its own"
set ylabel "added to each"
set logscale x 2
set logscale y 10
set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256)
set ytics @times
set xrange [0.9:]
set yrange [2:]
load "lines.gp"
