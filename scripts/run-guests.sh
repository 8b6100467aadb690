#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run-guests.sh STAGE2 DIRECTORY [OPTIONS...]
#
# What `make run` shows: eight busybox guests of 32 MiB in a pool of 24, once under each gate; what
# they print is compared with what the host's busybox prints. Then what an invalidation costs beside
# 1, 8 and 64 guests. The files they work on are made in DIRECTORY, the same each time.
set -eu

stage2=$1
directory=$2
shift 2

if ! busybox=$(command -v busybox); then
	echo 'make run: busybox is not installed, which is what the guests run (Debian: busybox-static)' >&2
	exit 1
fi
mkdir -p "$directory"
# A program below --root is what the guests get; and --check runs the same one.
cp "$busybox" "$directory/busybox"

# Lines without an order, of which some are equal: sorting and compressing have something to do.
make_lines()
{
	awk -v n="$1" 'BEGIN {
		x = 12345
		for (i = 0; i < n; i++) {
			x = (x * 69069 + 5) % 4294967296
			printf "%010d line %d of %d, %s\n", x, i % 5000, n, x % 7 ? "seven" : "other"
		}
	}'
}

if [ ! -e "$directory/bytes.bz2" ]; then
	make_lines 60000 > "$directory/lines"
	make_lines 80000 | tr 'a-z0-4' 'n-za-m5-9' > "$directory/bytes"
	bzip2 -c < "$directory/bytes" > "$directory/new.bz2" 2>/dev/null ||
		"$busybox" bzip2 -c < "$directory/bytes" > "$directory/new.bz2"
	mv "$directory/new.bz2" "$directory/bytes.bz2"
fi

cat > "$directory/commands" <<'END'
./busybox sha256sum bytes
./busybox gzip -c bytes
./busybox sort lines
./busybox bzip2 -dc bytes.bz2
END

# A run that was killed leaves it behind, and --swap overwrites nothing.
rm -f "$directory/swap"
exec "$stage2" run --commands "$directory/commands" --root "$directory" --vms 2 --quiet \
	--mem 32M --pool 24M --swap "file:$directory/swap:256M" --merge --churn 2 --check \
	--gate all --compare 1,8,64 "$@"
