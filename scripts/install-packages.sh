#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install-packages.sh [LIST]
#
# Sees to it that what LIST (packages.txt if it is not given) names is there. As
# root on a Debian or Ubuntu system, what is missing is installed; elsewhere it is
# named. Fails only if something that is required is still missing at the end.
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
list=${1:-$top/packages.txt}

present()
{
	case $1 in
	command:*) command -v "${1#command:}" ;;
	module:*)  pkg-config --exists "${1#module:}" ;;
	header:*)  echo "#include <${1#header:}>" | cc -E - ;;
	library:*) PATH=$PATH:/sbin ldconfig -p | grep -F "${1#library:} " ;;
	crate:*)   ls -d "/usr/share/cargo/registry/${1#crate:}"-[0-9]* ;;
	esac >/dev/null 2>&1
}

# Prints the lines of the list whose package is not there.
missing()
{
	grep -v '^#' "$list" | while read -r package test need without; do
		present "$test" </dev/null || echo "$package $test $need $without"
	done
}

apt_install()
{
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q "$@" </dev/null
}

lacking=$(missing)
[ -n "$lacking" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
	packages=$(echo "$lacking" | cut -d' ' -f1)
	echo "Installing" $packages

	# A machine whose package lists are there and fresh needs no update.
	# shellcheck disable=SC2086 # one word for each package
	if ! { apt_install -s install $packages >/dev/null 2>&1 &&
	       apt_install -y --no-install-recommends install $packages; }; then
		apt_install update
		# One that this release does not have must not keep the others out.
		apt_install -y --no-install-recommends install $packages ||
			for package in $packages; do
				apt_install -y --no-install-recommends install "$package"
			done
	fi

	# Ninja configures a build directory again when meson.build is newer;
	# otherwise it would go on without the libraries that are here now.
	touch "$top/meson.build"
	lacking=$(missing)
	[ -n "$lacking" ] || exit 0
fi

{
	echo "Missing on this system:"
	echo "$lacking" | while read -r package test need without; do
		printf '  %-24s %s; %s: %s\n' "${test#*:} (${test%%:*})" \
			"Debian package $package" "$need" "$without"
	done
} >&2

if echo "$lacking" | grep -q '^[^ ]* [^ ]* required'; then
	echo "Install what is required (on Debian or Ubuntu: run this as root) and try again." >&2
	exit 1
fi
