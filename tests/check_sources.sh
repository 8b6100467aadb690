#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_sources.sh TOP
#
# Meson lists the source files by name. One that was forgotten there would not
# be missed: a test that is not built does not fail.
set -u
cd "$1" || exit 1

status=0
for file in src/*/*.c tools/*.c bench/peers/*.c examples/*.c tests/*.c tests/*/*.c; do
	[ -e "$file" ] || continue
	directory=${file%%/*}
	name=${file#*/}
	if ! grep -q -E "'($directory/)?${name%.c}(\.c)?'" "$directory/meson.build" meson.build; then
		echo "$file is not in $directory/meson.build"
		status=1
	fi
done
exit $status
