# SPDX-License-Identifier: MIT
set title "To add a memslot and delete it again"
set xlabel "memslots of the VM"
set ylabel "both together"
set logscale x 2
set logscale y 10
set xtics (32, 512, "4,096" 4096, "32,000" 32000)
set ytics @times
set yrange [900:]
set xrange [25:41000]
load "lines.gp"
