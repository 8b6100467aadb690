# SPDX-License-Identifier: MIT
set title "Guest pages swapped out"
set xlabel "threads, each with a VM of its own"
set ylabel "thousand pages per second, all threads"
scale = 1e-3
set logscale x 2
set logscale y 10
set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256)
set ytics ("10" 10, "100" 100, "1,000" 1000, "10,000" 10000)
set xrange [0.9:]
load "lines.gp"
