#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build.sh BUILD_DIR
#
# Builds BUILD_DIR/peer_vm_memory with Debian's own Rust and crates. Exits with 77, and says what to
# install, where they are not there.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: build.sh BUILD_DIR" >&2
	exit 2
fi

# By their full names: a Rust from elsewhere that comes first in PATH is not the one that Debian's
# crates are for.
cargo=/usr/bin/cargo
rustc=/usr/bin/rustc
registry=/usr/share/cargo/registry

skip()
{
	echo "peer_vm_memory: not built, $1 is missing:" \
		"apt-get install --no-install-recommends cargo rustc librust-vm-memory-dev"
	exit 77
}

[ -x $cargo ] || skip $cargo
[ -x $rustc ] || skip $rustc
set -- "$1" $registry/vm-memory-0.10.*
[ -d "$2" ] || skip "the crate vm-memory 0.10"
version=${2##*/vm-memory-}

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
build=$(cd "$1" && pwd)

# Cargo writes its lock file beside Cargo.toml, so it is given a copy. The old one would name the
# crates of the last build even where Debian has others by now. The times are kept: what has not
# changed need not be compiled again.
work=$build/peer_vm_memory.d
rm -rf "$work/source"
mkdir -p "$work/source"
cp -Rp "$here/Cargo.toml" "$here/src" "$work/source"

# Flags and wrappers that the caller has set for other programs would make this another benchmark.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
export CARGO_HOME="$work/home" RUSTC=$rustc VM_MEMORY_VERSION="$version"
cd "$work/source"
$cargo build --quiet --release --offline --target-dir "$work/target" \
	--config 'source.crates-io.replace-with="debian"' \
	--config "source.debian.directory=\"$registry\""
cp "$work/target/release/peer_vm_memory" "$build/peer_vm_memory"
