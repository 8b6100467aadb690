# SPDX-License-Identifier: MIT
set title "What an unrelated munmap pays for the VMs in its process"
set xlabel "VMs (or UCX's caches) in the process"
set ylabel "added to each, one thread"
set logscale x 2
set logscale y 10
set xtics (1, 4, 16, 64, 256, "1,024" 1024)
set ytics @times
set xrange [0.8:1300]
set yrange [2:]
load "lines.gp"
