package scrape

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// guard decides which addresses may be asked for. It is immutable.
type guard struct {
	allow  []netip.Prefix
	direct bool // names are resolved here, so that dialled addresses are seen
}

// specialPrefixes are IANA's special-purpose registries for IPv4 and, within
// 2000::/3, for IPv6 (RFC 6890 and its updates), and multicast. All of IPv6
// outside 2000::/3 is refused too: none of it is global unicast.
var specialPrefixes = func() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
		"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

var globalUnicast6 = netip.MustParsePrefix("2000::/3")

// localNames never name a public host. A name ends in a dot and one of these,
// or is one.
var localNames = []string{"localhost", "local", "internal", "home.arpa", "localdomain", "lan", "intranet", "private", "corp", "home"}

// checkURL refuses a URL before anything is done for it.
func (g *guard) checkURL(u *url.URL) error {
	if u.Scheme == "" {
		return fmt.Errorf("%w: no scheme: write https:// in front", ErrForbiddenAddress)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: scheme %q: only http and https are fetched", ErrForbiddenAddress, u.Scheme)
	}
	if u.Opaque != "" || u.Host == "" {
		return fmt.Errorf("%w: the URL names no host", ErrForbiddenAddress)
	}
	_, err := g.checkHost(u.Hostname())
	return err
}

// checkHost refuses a host, name or address, as it stands in a URL or is about
// to be dialled. strict says that the name is of a kind that is local, so that
// the address it resolves to must lie in Options.Allow.
func (g *guard) checkHost(host string) (strict bool, err error) {
	name := strings.ToLower(strings.TrimRight(host, "."))
	if name == "" {
		return false, fmt.Errorf("%w: the host is empty", ErrForbiddenAddress)
	}
	last := name[strings.LastIndexByte(name, '.')+1:]

	number := isNumber(last)
	if number || strings.Contains(name, ":") { // the error for another costs memory
		if ip, err := netip.ParseAddr(name); err == nil {
			return false, g.checkAddr(ip, false)
		}
	}

	if strings.ContainsAny(name, ":%") {
		return false, fmt.Errorf("%w: host %q is no name and no address", ErrForbiddenAddress, host)
	}
	if number {
		return false, fmt.Errorf("%w: host %q is a number, which some take for an address; write it as four decimal numbers", ErrForbiddenAddress, host)
	}

	if last == "onion" {
		if g.direct {
			return false, fmt.Errorf("%w: host %q is reached through Tor alone (RFC 7686)", ErrForbiddenAddress, host)
		}
		return false, nil
	}

	local := !strings.Contains(name, ".") && isASCII(name) || slices.ContainsFunc(localNames, func(suffix string) bool {
		return name == suffix || strings.HasSuffix(name, "."+suffix)
	})
	if !local {
		return false, nil
	}

	if g.direct && len(g.allow) > 0 {
		return true, nil
	}
	var hint string
	if g.direct {
		hint = "; Options.Allow makes exceptions, as 127.0.0.0/8"
	}
	return false, fmt.Errorf("%w: host %q is a local name%s", ErrForbiddenAddress, host, hint)
}

// checkAddr refuses an address that is not public and not allowed.
func (g *guard) checkAddr(ip netip.Addr, strict bool) error {
	if ip.Zone() != "" {
		return fmt.Errorf("%w: address %v has a zone: it is local to this machine", ErrForbiddenAddress, ip)
	}
	if slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(ip) || p.Contains(ip.Unmap()) }) {
		return nil
	}
	if strict {
		return fmt.Errorf("%w: a local name resolves to %v, which is not in Options.Allow", ErrForbiddenAddress, ip)
	}
	if ip.Is6() && !globalUnicast6.Contains(ip) ||
		slices.ContainsFunc(specialPrefixes, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return fmt.Errorf("%w: %v is not a public address; Options.Allow makes exceptions", ErrForbiddenAddress, ip)
	}
	return nil
}

// isNumber reports whether the URL standard would read s as a number, and so
// the host that ends in it as an IPv4 address.
func isNumber(s string) bool {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isOnion reports whether host is an onion service.
func isOnion(host string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimRight(host, ".")), ".onion")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e })
}

// guardKey carries the dial-time check to an egress that resolves names here.
type guardKey struct{}

type dialCheck struct {
	guard  *guard
	strict bool
}

// controlDial is net.Dialer.ControlContext: it sees each address just before
// the connection, after any resolving, so that no second look-up can differ.
func controlDial(ctx context.Context, _, address string, _ syscall.RawConn) error {
	check := direct{}.check(ctx)
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q", ErrForbiddenAddress, address)
	}
	return check.guard.checkAddr(ap.Addr(), check.strict)
}
