# SPDX-License-Identifier: MIT
#
# The lines that scripts/bench.py hands over: x, and the median of the passes; the thin bars go
# from the least to the largest of the passes, and mostly hide behind the points.

if (!exists("scale")) scale = 1
plot for [i=1:lines] $data index (i - 1) using 1:($2*scale):($3*scale):($4*scale) with yerrorbars \
		linecolor rgb "#bbbbbb" linewidth 1 pointtype 0 notitle, \
	for [i=1:lines] $data index (i - 1) using 1:($2*scale) with linespoints \
		linetype style[i] title name[i]
