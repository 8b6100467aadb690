# SPDX-License-Identifier: MIT
set title "Guest page faults while another thread unmaps what no VM has mapped"
set xlabel "vCPUs"
set ylabel "million faults per second, all vCPUs"
scale = 1e-6
set xtics 1
set xrange [0.9:]
set yrange [0:]
load "lines.gp"
