#!/bin/sh
# SPDX-License-Identifier: MIT
#
# soak.sh STAGE2 HOURS
#
# The torture test under each gate in turn, with more VMs and more threads that
# update memslots from round to round, on memory of the process and on that of a
# pool, where the build has one, for HOURS in all (a fraction will do). What
# a process uses when a quarter of its time is over it must still use at the end:
# as many file descriptors (a pool makes rings for its file as it goes, 16 at
# most), and no more memory than a tenth and 16 MiB above, since
# what updates replace is freed some time after. Exit status: 0 if all that held
# and torture found nothing.
set -u

stage2=${1:-} hours=${2:-}
rounds='2:1 4:2 8:4 16:8' # VMs:updaters
gates='range always rwsem count'
providers='process'
runs=16
rings=16

if [ ! -x "$stage2" ] || ! echo "$hours" | grep -Eqx '[0-9]+(\.[0-9]+)?|\.[0-9]+'; then
	echo "usage: soak.sh STAGE2 HOURS; HOURS is a number, such as 8 or 0.01" >&2
	exit 2
fi
# A wrong option, in a build that has none.
"$stage2" torture --provider pool --seconds 0.01 >/dev/null 2>&1
if [ $? -ne 2 ]; then
	providers='process pool'
	runs=32
fi
seconds=$(awk "BEGIN { s = $hours * 3600 / $runs; print s < 2 ? 2 : s }")
log=$(mktemp) || exit 1
torture=
trap '[ -z "$torture" ] || kill "$torture" 2>/dev/null; rm -f "$log"' EXIT
trap 'exit 1' INT TERM

resident()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status" 2>/dev/null
}

descriptors()
{
	ls "/proc/$1/fd" 2>/dev/null | wc -l
}

# Prints why the run that has the numbers $1..$6 is not as it should be: exit
# status; descriptors, then KiB, early and late; how many more descriptors there may be.
complaint()
{
	if [ "$1" -ne 0 ]; then
		echo "torture failed with exit status $1"
	elif [ -z "$4" ] || [ -z "$5" ]; then
		echo "it ended before it was looked at"
	elif [ "$2" -gt "$3" ] || [ "$3" -gt $(($2 + $6)) ]; then
		echo "$2 file descriptors have become $3"
	elif [ "$5" -gt $(($4 + $4 / 10 + 16384)) ]; then
		echo "$4 KiB have become $5 KiB"
	fi
}

# One run: gate, VMs, updaters, provider.
run()
{
	"$stage2" torture --provider "$4" --gate "$1" --vms "$2" --updaters "$3" --seconds "$seconds" \
		>"$log" 2>&1 &
	torture=$!
	sleep "$(awk "BEGIN { print $seconds * 0.25 }")"
	fds=$(descriptors $torture) kib=$(resident $torture)
	sleep "$(awk "BEGIN { print $seconds * 0.65 }")"
	fds_late=$(descriptors $torture) kib_late=$(resident $torture)
	wait $torture
	status=$?
	torture=
	more=0
	[ "$4" = pool ] && more=$rings
	why=$(complaint $status "$fds" "$fds_late" "$kib" "$kib_late" $more)
	printf '%-8s %-7s %4s %9s %11s %11s  %s\n' "$4" "$1" "$2" "$3" \
		"$fds>$fds_late" "${kib:-?}>${kib_late:-?}" "${why:-ok}"
	[ -z "$why" ] && return
	failed=$((failed + 1))
	cat "$log"
}

failed=0
echo "$runs runs of $seconds s"
printf '%-8s %-7s %4s %9s %11s %11s\n' provider gate VMs updaters descriptors 'KiB'
for round in $rounds; do
	for gate in $gates; do
		for provider in $providers; do
			run "$gate" "${round%:*}" "${round#*:}" "$provider"
		done
	done
done
echo "$((runs - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
