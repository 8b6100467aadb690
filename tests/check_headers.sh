#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_headers.sh INCLUDE CC...
#
# Each public header can be included alone, in C and in C++, with the warnings that
# embedders may have made errors; and what they inline is there without optimization too.
set -u
include=$1
shift
status=0

compile()
{
	printf '#include <stage2/%s>\n#include <stage2/stage2.h>\nint unused;\n' "$header" |
		"$@" -Wall -Wextra -Wshadow -Werror -I"$include" -c -o /dev/null - || {
		echo "$header: not with $*"
		status=1
	}
}

for header in "$include"/stage2/*.h; do
	header=${header##*/}
	compile "$@" -x c -std=c11 -O0
	compile "$@" -x c -std=gnu11 -O2 -fPIC
	[ -z "$(command -v c++)" ] || compile c++ -x c++ -std=c++11 -O2
done
[ -n "$(command -v c++)" ] || echo "no C++ compiler: checked in C alone"
exit $status
