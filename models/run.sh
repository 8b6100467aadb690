#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--quick]
#
# Checks each model, and each mutant of it, and compares what Spin finds with what
# is to be found. Prints a table; the exit status is 1 if anything differs, and 77
# if Spin or a C compiler is missing. --quick is what `make check` runs: every gate
# and every mutant, with one invalidation instead of two where two are many states.
#
# The verdicts:
#   pass      no error in any state that can be reached
#   use       the guest uses a page that is freed, or one that is being invalidated
#   count     counts do not balance
#   vm        a VM is touched that is freed
#   memslot   a memslot is touched that is freed
#   both      mmu_lock is had for read and for write (brlock-tso)
#   elided    the memslot can be found by vCPUs within an elided bracket (range-tso)
#   deadlock  a state that nobody leaves, and that is not the end
#   starves   a cycle, fair to all threads, in which the claim does not come true
#
# The options are those of protocol.h, live.pml and *-tso.pml; mutants.h says what a
# mutant breaks. To see how an error comes about:
#   spin -a OPTIONS MODEL && cc -DSAFETY -o pan pan.c && ./pan && spin -t -p OPTIONS MODEL
set -u
export LC_ALL=C

memory_mb=3000
jobs=2

models()
{
	# q: in both modes, f: in the full one only; the model, what is expected, the options
	while read -r when model expected options; do
		case $when in
		q) ;;
		f) [ "$mode" = full ] || continue ;;
		*) continue ;;
		esac
		echo "$model $expected $options"
	done <<-'END'
	q range pass -DNINV=1
	q range pass -DNINV=1 -DVCPU_ROUNDS=1 -DNONBLOCK=1
	f range pass -DNINV=1 -DNONBLOCK=1
	q range pass -DNINV=1 -DOVERFLOW=1
	q range pass -DNINV=1 -DRECLAIM=1
	q range pass -DDESTROY=1
	q range pass -DDESTROY=1 -DNONBLOCK=1
	q range pass -DDESTROY=1 -DOVERFLOW=1
	q range pass -DDESTROY=1 -DCALLER_LOCK=1
	q range pass -DDESTROY=1 -DNESTED=1
	f range pass -DVCPU_ROUNDS=1
	f range pass -DVCPU_ROUNDS=1 -DNONBLOCK=1
	f range pass -DVCPU_ROUNDS=1 -DCALLER_LOCK=1
	f range pass -DRECLAIM=1
	q range count -DNINV=1 -DMUT=END_LOOKS_AGAIN
	q range use -DNINV=1 -DMUT=ADD_DOES_NOT_WAIT
	q range use -DNINV=1 -DMUT=GFN_BEFORE_HVA
	q range use -DNINV=1 -DMUT=DELETE_KEEPS_SEQ
	q range use -DNINV=1 -DMUT=FAULT_DOES_NOT_RETRY
	q range use -DNINV=1 -DMUT=START_DOES_NOT_FLUSH
	q range use -DNINV=1 -DMUT=FLUSH_DOES_NOT_WAIT
	q range pass -DNINV=1 -DVCPU_ROUNDS=1 -DMUT=COUNT_BEFORE_SEQ
	q range pass -DNINV=1 -DVCPU_ROUNDS=1 -DMUT=ACK_BEFORE_DROP
	q range use -DNINV=1 -DMUT=LEAVES_TABLE_FIRST
	q range use -DNINV=1 -DMUT=FAULT_BRINGS_PAGE
	q range use -DNINV=1 -DMUT=SEQ_AFTER_LOOKUP
	q range use -DVCPU_ROUNDS=1 -DMUT=FLUSH_AFTER_UNLOCK
	q range use -DVCPU_ROUNDS=1 -DOVERFLOW=1 -DMUT=OVERFLOW_ONE_TURN
	q range use -DVCPU_ROUNDS=1 -DNONBLOCK=1 -DMUT=GIVES_UP_CLEAN
	q range count -DNINV=1 -DNONBLOCK=1 -DMUT=UNDO_FORGOTTEN
	q range memslot -DNINV=1 -DRECLAIM=1 -DMUT=MEMSLOT_WITHOUT_GRACE
	q range vm -DDESTROY=1 -DMUT=VM_WITHOUT_GRACE
	q always pass -DNINV=1
	q always pass -DNINV=1 -DVCPU_ROUNDS=1 -DNONBLOCK=1
	f always pass -DNINV=1 -DNONBLOCK=1
	q always pass -DDESTROY=1
	q always pass -DDESTROY=1 -DNONBLOCK=1
	q always pass -DDESTROY=1 -DCALLER_LOCK=1
	q always pass -DDESTROY=1 -DNESTED=1
	f always pass -DVCPU_ROUNDS=1
	q always use -DNINV=1 -DMUT=INDEX_BEFORE_LOCK
	q always vm -DDESTROY=1 -DMUT=VM_WITHOUT_GRACE
	q rwsem pass -DNINV=1
	q rwsem pass -DNINV=1 -DVCPU_ROUNDS=1 -DNONBLOCK=1
	f rwsem pass -DNINV=1 -DNONBLOCK=1
	q rwsem pass -DDESTROY=1
	q rwsem pass -DDESTROY=1 -DNONBLOCK=1
	q rwsem deadlock -DDESTROY=1 -DCALLER_LOCK=1
	q rwsem deadlock -DDESTROY=1 -DNESTED=1
	f rwsem pass -DVCPU_ROUNDS=1
	q rwsem use -DNINV=1 -DNONBLOCK=1 -DMUT=INDEX_BEFORE_LOCK
	q rwsem count -DNINV=1 -DNONBLOCK=1 -DMUT=NONBLOCK_ELIDES
	q rwsem count -DNINV=1 -DMUT=GATE_IS_OPEN
	q rwsem vm -DDESTROY=1 -DMUT=VM_WITHOUT_GRACE
	q count pass -DNINV=1
	q count pass -DNINV=1 -DVCPU_ROUNDS=1 -DNONBLOCK=1
	f count pass -DNINV=1 -DNONBLOCK=1
	q count pass -DDESTROY=1
	q count pass -DDESTROY=1 -DNONBLOCK=1
	q count pass -DDESTROY=1 -DCALLER_LOCK=1
	q count pass -DDESTROY=1 -DNESTED=1
	f count pass -DVCPU_ROUNDS=1
	q count count -DNINV=1 -DMUT=GATE_IS_OPEN
	q count deadlock -DNINV=1 -DMUT=WAKE_LOST
	q count vm -DDESTROY=1 -DMUT=VM_WITHOUT_GRACE
	q live pass -DGATE=ALWAYS -DCLAIM=UPDATES
	q live pass -DGATE=ALWAYS -DCLAIM=PAIRS
	q live pass -DGATE=RWSEM -DCLAIM=UPDATES
	q live pass -DGATE=RWSEM -DCLAIM=PAIRS
	q live starves -DGATE=COUNT -DCLAIM=UPDATES
	q live pass -DGATE=COUNT -DCLAIM=PAIRS
	q live pass -DGATE=RANGE -DCLAIM=UPDATES
	q live pass -DGATE=RANGE -DCLAIM=PAIRS
	q live starves -DGATE=RANGE -DCLAIM=UPDATES -DWAIT_FOR_ALL=1
	q live pass -DGATE=OVERFLOW -DCLAIM=UPDATES
	q live pass -DGATE=OVERFLOW -DCLAIM=PAIRS
	q range-tso pass
	q range-tso elided -DNO_C
	q range-tso elided -DNO_D
	q range-tso elided -DPASSED_BY
	q range-tso elided -DFREED_FIRST
	q flush-tso pass
	q flush-tso use -DNO_A
	q flush-tso use -DNO_B
	q shootdown pass
	q shootdown use -DNOT_RESTARTED
	q shootdown use -DLIVE_TLB_STAYS
	q shootdown use -DREVIVED_UNSEEN
	q brlock-tso pass
	q brlock-tso both -DNO_E
	q brlock-tso both -DNO_F
	END
}

verdict()
{
	if grep -q 'assertion violated' "$1"; then
		case $(grep 'assertion violated' "$1") in
		*in_bracket*) echo elided ;;
		*writing*) echo both ;;
		*tlb*) echo use ;;
		*vm_freed*) echo vm ;;
		*kept*) echo memslot ;;
		*in_progress*|*overflow*|*mn_active*) echo count ;;
		*) echo assertion ;;
		esac
	elif grep -q 'invalid end state (at' "$1"; then
		echo deadlock
	elif grep -q 'acceptance cycle (at' "$1"; then
		echo starves
	elif grep -q 'Search not completed\|max search depth too small\|out of memory' "$1"; then
		echo too-large
	elif grep -q 'errors: 0' "$1"; then
		echo pass
	else
		echo no-verdict
	fi
}

# One line of the table, in a directory of its own.
check_one()
{
	model=$1 expected=$2
	shift 2
	directory=$(mktemp -d "$work/XXXXXX") && cd "$directory" || exit 1
	cp "$models"/*.pml "$models"/*.h .
	case $model in
	live) defines='-DNFAIR=3' search='-a -f -m2000000' ;;
	*) defines='-DSAFETY -DNOFAIR' search='-m100000' ;;
	esac
	# To compile takes longer than to search, where the states are few.
	case "$expected $*" in
	'pass -DNINV'*|*VCPU_ROUNDS*|*GATE=*) optimize=-O1 ;;
	*) optimize=-O0 ;;
	esac
	[ "$mode" = quick ] || { optimize=-O2; defines="$defines -DCOLLAPSE"; }
	began=$(date +%s%N)
	# shellcheck disable=SC2086 # lists of options
	if spin -a "$@" "$model.pml" >log 2>&1 &&
	   "$compiler" $optimize -w $defines -DVECTORSZ=512 -DMEMLIM=$memory_mb -o pan pan.c >>log 2>&1; then
		timeout "$seconds" ./pan $search >log 2>&1
	fi
	got=$(verdict log)
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' log)
	took=$(( ($(date +%s%N) - began) / 100000000 ))
	same='' && [ "$got" = "$expected" ] || same='  DIFFERENT'
	printf '%-10s %-50s %-9s %-10s %10s %5d.%d%s\n' "$model" "$*" "$expected" "$got" \
		"${states:--}" $((took / 10)) $((took % 10)) "$same"
	[ -z "$same" ] || tail -n 20 log >&2
	cd / && rm -rf "$directory"
}

if [ "${1-}" = --one ]; then
	shift
	# shellcheck disable=SC2086 # one word for each option
	check_one $1
	exit 0
fi

mode=full seconds=1800
case ${1-} in
--quick) mode=quick seconds=120 ;;
'') ;;
*) echo "run.sh: '$1' is no option; there is --quick" >&2; exit 2 ;;
esac

compiler=${CC:-cc}
command -v spin >/dev/null || { echo "spin is missing, so that the models were not checked"; exit 77; }
command -v "$compiler" >/dev/null || { echo "a C compiler is missing, which spin needs"; exit 77; }

models=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
export models work compiler mode seconds memory_mb

printf '%-10s %-50s %-9s %-10s %10s %7s\n' model options expected got states seconds
models | tr '\n' '\0' | xargs -0 -n 1 -P "$jobs" "$models/run.sh" --one | tee "$work/table"
all=$(models | wc -l)
wrong=$(grep -c DIFFERENT "$work/table")
ran=$(wc -l <"$work/table")
echo "$ran of $all checked, $wrong different"
[ "$wrong" -eq 0 ] && [ "$ran" -eq "$all" ]
