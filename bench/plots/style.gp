# SPDX-License-Identifier: MIT
#
# What the plots share. The background is a card of its own, so that they can be read on a dark
# page as well as on a light one. A line of a plot has the look of what it stands for.

set terminal svg size 820,460 font "sans-serif,15" background "#ffffff" linewidth 1.5
set encoding utf8
set pointintervalbox 0
set errorbars 0.6
set border 3 linecolor "#666666"
set tics nomirror textcolor "#333333"
set grid linecolor "#dddddd" linetype 1 linewidth 0.6
set key outside right center vertical Left reverse samplen 1.5 spacing 1.4 textcolor "#222222"
set title offset 0,0.3 textcolor "#111111"
set xlabel textcolor "#222222"
set ylabel textcolor "#222222"

set linetype 1 linecolor "#0550ae" linewidth 2.6 pointtype 7 pointsize 0.7
set linetype 2 linecolor "#4f8fd6" linewidth 1.3 pointtype 5 pointsize 0.6
set linetype 3 linecolor "#7a6fc9" linewidth 1.3 pointtype 9 pointsize 0.7
set linetype 4 linecolor "#3aa0a8" linewidth 1.3 pointtype 11 pointsize 0.7
set linetype 5 linecolor "#cf222e" linewidth 2 pointtype 5 pointsize 0.8
set linetype 6 linecolor "#c76a00" linewidth 2 pointtype 15 pointsize 0.7
set linetype 7 linecolor "#2c7a3f" linewidth 2 pointtype 13 pointsize 0.8
set linetype 8 linecolor "#777777" linewidth 1.3 pointtype 2 pointsize 0.6 dashtype 2
set linetype 9 linecolor "#9a4f96" linewidth 1.3 pointtype 9 pointsize 0.7

# Tics for an axis in ns.
times = '("0.1 ns" 0.1, "1 ns" 1, "10 ns" 10, "100 ns" 100, "1 µs" 1e3, "10 µs" 1e4, ' . \
	'"100 µs" 1e5, "1 ms" 1e6, "10 ms" 1e7)'
