#!/bin/bash
# usage: tornet.sh authority | exit N | health N…
# A node of a private Tor network: the directory authority, or an exit. The
# addresses are those of compose.test.yaml. What every node has to know lies in
# /shared: network.conf, and client.conf beside it for clients.
set -euo pipefail
authority=198.51.100.10
exits=4

common() {
  cat <<END
TestingTorNetwork 1
AssumeReachable 1
TestingServerDownloadInitialDelay 0
PathsNeededToBuildCircuits 0.25
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
V3AuthNIntervalsValid 2
TestingMinExitFlagThreshold 0
GeoIPFile /dev/null
GeoIPv6File /dev/null
END
}

node() {
  cat <<END
Nickname $1
DataDirectory /data/tor
ControlPort 127.0.0.1:9051
CookieAuthentication 0
ShutdownWaitLength 0
SocksPort 0
Log notice stdout
END
}

# ask sends lines to the node's control port and prints the answers.
ask() {
  exec 3<>/dev/tcp/127.0.0.1/9051
  printf '%s\r\n' 'AUTHENTICATE ""' "$@" QUIT >&3
  cat <&3
}

# knows counts the exits in the node's consensus.
knows() {
  local questions=() n
  for n in $(seq $exits); do questions+=("GETINFO ns/name/exit$n"); done
  ask "${questions[@]}" | grep -c '^r exit' || true
}

start_authority() {
  local offset identity fingerprint
  if [ ! -e /data/torrc ]; then
    mkdir -p -m 700 /data/tor/keys
    (cd /data/tor/keys && echo | tor-gencert --create-identity-key --passphrase-fd 0 -m 12 -a $authority:7000)
    identity=$(awk '/^fingerprint /{print $2}' /data/tor/keys/authority_certificate)
    # The first vote is due 9 s from now, when the exits have registered.
    offset=$((($(date +%s) + 9) % 10))
    { common; node auth; cat <<END; } >/data/new
ContactInfo tornet@example.invalid
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
TestingV3AuthVotingStartOffset $offset
ExitRelay 0
ExitPolicy reject *:*
Address $authority
ORPort $authority:5000 IPv4Only
DirPort $authority:7000
END
    line="DirAuthority auth orport=5000 no-v2 v3ident=$identity $authority:7000"
    tor --defaults-torrc /dev/null -f /data/new --list-fingerprint \
      --DirAuthority "unknown orport=5000 no-v2 v3ident=$identity $authority:7000 $(printf '0%.0s' {1..40})" >/dev/null
    fingerprint=$(awk '{print $2}' /data/tor/fingerprint)
    echo "$line $fingerprint" >>/data/new
    # Relays and clients are told last, when all is known.
    cat >/shared/client.conf <<END
UseEntryGuards 0
ClientRejectInternalAddresses 0
ClientDNSRejectInternalAddresses 0
EnforceDistinctSubnets 0
END
    { common; echo "$line $fingerprint"; } >/shared/network.new
    mv /shared/network.new /shared/network.conf
    mv /data/new /data/torrc
  fi
  exec tor --defaults-torrc /dev/null -f /data/torrc
}

# listed counts the exits in the authority's consensus.
listed() {
  { exec 3<>/dev/tcp/$authority/7000 &&
    printf 'GET /tor/status-vote/current/consensus HTTP/1.0\r\n\r\n' >&3 && grep -ac '^r exit' <&3; } 2>/dev/null || true
}

start_exit() {
  local address=198.51.100.1$1 yesterday direction pid
  until [ -e /shared/network.conf ]; do sleep 0.2; done
  { cat /shared/network.conf; node "exit$1"; cat <<END; } >/data/torrc
ExitRelay 1
ExitPolicy accept *:*
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
ServerDNSAllowBrokenConfig 1
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
Address $address
ORPort $address:5000 IPv4Only
OutboundBindAddress $address
END
  if [ ! -e /data/tor/state ]; then
    # A relay that has seen no traffic gets no share of the streams.
    mkdir -p -m 700 /data/tor
    yesterday=$(date -u -d '1 hour ago' '+%F %T')
    for direction in Read Write; do
      printf "BWHistory${direction}%s\n" "Ends $yesterday" 'Interval 86400' \
        'Values 1000000,1000000,1000000' 'Maxima 10000000,10000000,10000000'
    done >/data/tor/state
  fi
  # An exit that asked in vain for a consensus waits ever longer before it asks
  # again; started afresh, once there is a whole one, it asks at once.
  if [ "$(listed)" != $exits ]; then
    tor --defaults-torrc /dev/null -f /data/torrc &
    pid=$!
    until [ "$(listed)" = $exits ]; do
      kill -0 $pid || exit 1
      sleep 0.5
    done
    kill -INT $pid
    wait $pid || true
    rm -f /data/tor/cached-consensus /data/tor/cached-microdesc-consensus
  fi
  exec tor --defaults-torrc /dev/null -f /data/torrc
}

case $1 in
authority) start_authority ;;
exit) start_exit "$2" ;;
health) [ "$(knows)" = $exits ] ;;
esac
