// Package loopback tells the names and addresses of this machine from those of
// others. It stands alone so that nobody links net/http for it.
package loopback

import (
	"net/netip"
	"strings"
)

// Is reports whether host, without a port, is this machine: localhost, or a
// loopback address, in brackets or not. Names below localhost are not, as a name
// server may know them. The name localhost is believed (RFC 6761 §6.3); who
// listens under it looks at the address afterwards.
func Is(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, ok := Address(host)
	return ok && addr.IsLoopback()
}

// Address returns the address that host is a literal of, in brackets or not. An
// IPv4 address written as IPv6 is returned as IPv4.
func Address(host string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap(), err == nil
}
