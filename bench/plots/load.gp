# SPDX-License-Identifier: MIT
set title "An 8-byte load of guest memory"
set xlabel "memslots (or regions of vm-memory)"
set ylabel "each load"
set logscale x 2
set logscale y 10
set xtics (1, 8, 64, 512, "4,096" 4096, "32,000" 32000)
set ytics @times
set xrange [0.8:41000]
set yrange [0.3:]
load "lines.gp"
