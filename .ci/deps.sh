#!/usr/bin/env bash
# Gets the real parts that the tests run against: tor, postfix, nginx and
# chromium from the machine's package manager, syslog-ng (and postfix, where
# the machine has a mail server of its own) unpacked into a cache folder, and
# the script of the npm package axe-core, which checks pages, two npm packages
# with lists of user agents, and Python's readers of settings files, beside
# them.
#
# As root in a container, or with CI=true, it does so without a question; on a
# terminal it asks first; otherwise it says what is missing. The tests that
# need a missing part are then skipped. No daemon is started, and no package
# of the machine is removed or replaced.
#
# Usage: .ci/deps.sh
#   CI=true                  get everything without a question (sudo -n unless root)
#   SVCBLOCKS_REQUIRE=all    exit 1 when a part is still missing at the end
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/svcblocks/testenv
policy=/usr/sbin/policy-rc.d
policy_mark='svcblocks .ci/deps.sh'
axe='axe-core-4.14.1'
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
agents='top-user-agents-2.1.138 user-agents-2.1.198'
agents_sha512='caf37e2c4ed91e87ac6757d673421f6986105c611b16d6f18c2e83d7d49c96cc1894aa05e862b1252bc96e9e1fb1bc9ae4196544e62697aa2c3655428f54c09f  top-user-agents-2.1.138.tgz
72916a11fa56d435bb31961f25a9272b998d2590605307eba18d32d63495cbc63ddd3e2998fd30a791e15d33aa6546d46c5a69a747f00b27edb46f6bb25defab  user-agents-2.1.198.tgz'
updated=no
work=

say() { printf 'deps: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

# unpacked reports whether the part $1, whose program is $2, runs from the
# cache folder.
unpacked() {
	[ -x "$cache/$1/$2" ] &&
		LD_LIBRARY_PATH=$(library_path "$1") \
			ldd "$cache/$1/$2" 2>/dev/null >"$cache/$1/.ldd" &&
		! grep -q 'not found' "$cache/$1/.ldd"
}

# library_path prints the folders of the part $1 that hold shared libraries.
library_path() {
	find "$cache/$1/usr/lib" "$cache/$1/lib" -name '*.so*' -printf '%h\n' 2>/dev/null |
		sort -u | tr '\n' ':'
}

# there reports whether the part $1 is found.
there() {
	case $1 in
	tor) has tor && has tor-gencert ;;
	postfix) [ -x /usr/lib/postfix/sbin/master ] || unpacked postfix usr/lib/postfix/sbin/master ;;
	syslog-ng) unpacked syslog-ng usr/sbin/syslog-ng ;;
	chromium) has chromium || has chromium-browser || has google-chrome || has google-chrome-stable ;;
	gcc) has gcc || has cc || has clang ;;
	# Postfix runs under users of its own, which only root has without it.
	uidmap) [ "$(id -u)" = 0 ] || [ "$(uname -s)" != Linux ] || has newuidmap ;;
	axe-core) [ -f "$cache/$axe/axe.min.js" ] ;;
	user-agents) [ -f "$cache/user-agents/user-agents.json" ] ;;
	readers) /usr/bin/python3 -c 'import yaml, ruamel.yaml, json5, tomllib' 2>/dev/null ;;
	*) has "$1" ;;
	esac
}

# package prints the Debian packages that bring the part $1.
package() {
	case $1 in
	nginx) echo nginx-light ;;
	syslog-ng) echo syslog-ng-core syslog-ng-mod-http ;;
	gcc) echo gcc libc6-dev ;;
	axe-core | user-agents) echo npm ;; # what fetches them
	readers) echo python3-yaml python3-ruamel.yaml python3-json5 ;;
	*) echo "$1" ;;
	esac
}

# missing prints those of the parts that are not found.
missing() {
	local part
	for part in tor postfix nginx strace chromium syslog-ng gcc uidmap axe-core user-agents readers; do
		there "$part" || printf '%s ' "$part"
	done
}

in_container() {
	[ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${container:-}" ] ||
		{ has systemd-detect-virt && systemd-detect-virt --quiet --container; }
}

# as_root runs a command as root: directly, or through sudo.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ "${CI:-}" = true ]; then
		sudo -n "$@"
	else
		sudo "$@"
	fi
}

# can_root reports whether as_root has a way.
can_root() {
	[ "$(id -u)" = 0 ] && return 0
	has sudo || return 1
	[ "${CI:-}" != true ] || sudo -n true 2>/dev/null
}

# allowed reports whether the parts $* may be got, asking where someone is
# there to answer.
allowed() {
	local answer
	if [ "${CI:-}" = true ]; then return 0; fi
	if [ "$(id -u)" = 0 ] && in_container; then return 0; fi
	if ! [ -t 0 ] || ! [ -t 1 ]; then return 1; fi
	printf 'deps: the tests can use these parts, which are not here: %s\n' "$*"
	printf 'deps: get them with apt-get now (no daemon is started)? [y/N] '
	read -r answer
	case $answer in y | Y | yes) return 0 ;; esac
	return 1
}

# update refreshes the package lists, once.
update() {
	[ "$updated" = no ] && can_root || return 1
	updated=yes
	say 'apt-get update'
	as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >"$work/update.log" 2>&1 || {
		tail -n 5 "$work/update.log"
		return 1
	}
}

# plan writes what installing the packages would do, as apt-get says it.
plan() {
	apt-get -s --no-install-recommends install "$@" >"$work/plan" 2>"$work/plan.err"
}

# replaces reports whether installing the packages would take something of
# the machine's own away.
replaces() { plan "$@" && grep -q '^Remv ' "$work/plan"; }

# quiet_daemons keeps the package manager from starting daemons, or fails
# where the machine's own policy would let it.
quiet_daemons() {
	if [ -e "$policy" ]; then
		# The protocol of policy-rc.d: 101 is "action forbidden".
		local code=0
		"$policy" tor start >/dev/null 2>&1 || code=$?
		[ "$code" = 101 ] && return 0
		say "$policy here lets packages start their daemons: install by hand: $*"
		return 1
	fi
	printf '#!/bin/sh\n# %s\nexit 101\n' "$policy_mark" >"$work/policy-rc.d"
	as_root install -m 0755 "$work/policy-rc.d" "$policy"
}

# add installs packages, none of which takes another one away.
add() {
	quiet_daemons "$@" || return 1
	case " $* " in
	*' postfix '*)
		echo 'postfix postfix/main_mailer_type select No configuration' >"$work/debconf"
		as_root debconf-set-selections "$work/debconf"
		;;
	esac
	say "installing $*"
	local try
	for try in 1 2; do
		if as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
			-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
			--no-remove --no-install-recommends install "$@" \
			>"$work/install.log" 2>&1; then
			return 0
		fi
		if [ "$try" = 1 ]; then update || break; fi
	done
	say "installing $* failed:"
	tail -n 15 "$work/install.log"
	return 1
}

# unpack puts the packages $2… , and those that they need and the machine
# does not have, into the cache folder of the part $1, and installs nothing.
unpack() {
	local part=$1 debs=$work/debs-$1 new deb
	shift
	plan "$@" || { update && plan "$@"; } || {
		tail -n 5 "$work/plan.err"
		return 1
	}
	mkdir -p "$debs" "$cache"
	sed -n 's/^Inst \([^ ]*\) .*/\1/p' "$work/plan" >"$work/unpack"
	# An installed package is not in the plan, and is wanted all the same.
	for deb in "$@"; do echo "$deb" >>"$work/unpack"; done
	say "unpacking $* into $cache/$part"
	fetch_debs "$debs" || { update && fetch_debs "$debs"; } || {
		say "downloading the packages of $part failed:"
		tail -n 5 "$work/download.log"
		return 1
	}
	new=$cache/.$part.$$
	mkdir "$new"
	for deb in "$debs"/*.deb; do dpkg -x "$deb" "$new"; done
	rm -rf "${cache:?}/$part"
	mv "$new" "$cache/$part"
}

# fetch_debs downloads the packages listed in $work/unpack into $1.
fetch_debs() {
	sort -u "$work/unpack" >"$work/names"
	(cd "$1" && xargs apt-get -qq download <"$work/names") >"$work/download.log" 2>&1
}

# fetch_axe puts axe-core, as published and checked against its known sum, into
# the cache folder. Nothing of it is run but by a browser, on the tests' pages.
fetch_axe() {
	say "fetching $axe"
	mkdir -p "$work/axe"
	(
		cd "$work/axe" &&
			npm pack --silent --ignore-scripts "axe-core@${axe#axe-core-}" &&
			echo "$axe_sha512  $axe.tgz" | sha512sum --check --quiet &&
			tar -xzf "$axe.tgz" &&
			mkdir -p "$cache/$axe" &&
			mv package/LICENSE package/axe.min.js "$cache/$axe"
	) >"$work/axe.log" 2>&1 || {
		say "fetching $axe failed: $(tail -n 1 "$work/axe.log")"
		return 1
	}
}

# fetch_agents puts the lists of two npm packages, as published and checked
# against their known sums, into the cache folder.
fetch_agents() {
	say "fetching $agents"
	mkdir -p "$work/agents"
	(
		cd "$work/agents" &&
			npm pack --silent --ignore-scripts top-user-agents@2.1.138 user-agents@2.1.198 &&
			echo "$agents_sha512" | sha512sum --check --quiet &&
			mkdir -p top all "$cache/user-agents" &&
			tar -xzf top-user-agents-2.1.138.tgz -C top &&
			tar -xzf user-agents-2.1.198.tgz -C all &&
			mv top/package/src/index.json "$cache/user-agents/top-user-agents.json" &&
			mv all/package/dist/user-agents.json "$cache/user-agents/user-agents.json"
	) >"$work/agents.log" 2>&1 || {
		say "fetching $agents failed: $(tail -n 1 "$work/agents.log")"
		return 1
	}
}

# userns lets the user of a CI runner create user namespaces, in which the
# private Tor network and postfix run: it lifts the kernel's restriction, and
# gives the user ids to map.
userns() {
	local key=kernel/apparmor_restrict_unprivileged_userns user
	[ "$(id -u)" != 0 ] && [ "${CI:-}" = true ] && can_root || return 0
	if [ "$(cat "/proc/sys/$key" 2>/dev/null)" = 1 ]; then
		say 'allowing unprivileged user namespaces on this runner'
		as_root sh -c "echo 0 >/proc/sys/$key" || true
	fi
	user=$(id -un)
	if ! grep -q "^$user:" /etc/subuid 2>/dev/null; then
		say "giving $user subordinate ids on this runner"
		as_root usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$user" || true
	fi
}

# cleanup removes what the script put into place.
# shellcheck disable=SC2317 # The trap in main calls it.
cleanup() {
	if [ -e "$policy" ] && grep -q "$policy_mark" "$policy" 2>/dev/null; then
		as_root rm -f "$policy"
	fi
	if [ -n "$work" ]; then rm -rf "$work"; fi
}

# report names what is still missing, and ends the script.
report() {
	local parts
	parts=$(missing)
	parts=${parts% }
	if [ -z "$parts" ]; then exit 0; fi
	say "not here: $parts"
	say "tests that need one of them are skipped ($1)"
	if [ "${SVCBLOCKS_REQUIRE:-}" = all ]; then
		say 'SVCBLOCKS_REQUIRE=all is set: stopping'
		exit 1
	fi
	exit 0
}

main() {
	local wanted part packages=''
	wanted=$(missing)
	if [ "$(uname -s)" != Linux ]; then report 'they run on Linux'; fi
	userns
	if [ -z "$wanted" ]; then exit 0; fi
	if ! has apt-get || ! has dpkg; then
		report 'install them with your package manager to run these tests too'
	fi
	# shellcheck disable=SC2086 # The list is split on purpose.
	if ! allowed $wanted; then
		report 'to get them run .ci/deps.sh on a terminal, or with CI=true'
	fi

	work=$(mktemp -d)
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mkdir -p "$cache"
	if has flock; then
		# Two clones may come here at once.
		exec 9>"$cache/.lock"
		flock 9
		wanted=$(missing)
	fi

	for part in $wanted; do
		case $part in axe-core | user-agents) if has npm; then continue; fi ;; esac
		# shellcheck disable=SC2046 # package prints a list.
		set -- $(package "$part")
		if [ "$part" = syslog-ng ]; then
			unpack "$part" "$@" || true
			continue
		fi
		if ! plan "$@"; then
			update || true
			if ! plan "$@"; then
				say "no package for $part: $(tail -n 1 "$work/plan.err")"
				continue
			fi
		fi
		if [ "$part" = postfix ] && { replaces "$@" || [ -e /usr/sbin/sendmail ]; }; then
			unpack "$part" "$@" || true
			continue
		fi
		if ! can_root; then
			say "installing $* takes root: apt-get install $*"
			continue
		fi
		if replaces "$@"; then
			say "$* would replace a package of this machine: left out"
			continue
		fi
		packages="$packages $*"
	done
	# shellcheck disable=SC2086 # The list is split on purpose.
	if [ -n "$packages" ]; then add $packages || true; fi
	if ! there axe-core && has npm; then fetch_axe || true; fi
	if ! there user-agents && has npm; then fetch_agents || true; fi
	report 'see above for why they could not be had'
}

main "$@"
