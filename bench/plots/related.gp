# SPDX-License-Identifier: MIT
set title "To take one mapped page from a guest"
set xlabel "vCPUs of the VM"
set ylabel "each invalidation"
set logscale x 2
set logscale y 10
set xtics (1, 2, 4, 8, 16, 32, 64)
set ytics @times
set xrange [0.9:72]
load "lines.gp"
