#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_symbols.sh SHARED STATIC
#
# The library shares a name space with whatever embeds it: all that the shared
# library exports, and all that is global in the static one, begins with s2_.
set -u

# Sanitizers and coverage add names of their own.
foreign()
{
	awk '{ print $NF }' | grep -v -E '^(s2_|__(asan|odr_asan|tsan|ubsan|llvm|gcov))' | sort -u
}

shared=$(nm -D --defined-only "$1") || exit 1
static=$(nm -g --defined-only "$2" | grep -E '^[0-9a-f]+ [A-Z] ') || exit 1

status=0
for names in "$1:$(echo "$shared" | foreign)" "$2:$(echo "$static" | foreign)"; do
	if [ -n "${names#*:}" ]; then
		echo "${names%%:*}: names that do not begin with s2_:" ${names#*:}
		status=1
	fi
done

if ! echo "$shared" | grep -q ' s2_'; then
	echo "$1: exports no s2_ function: is S2_API missing?"
	status=1
fi
exit $status
