package tornet

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// A Site is an HTTP server that only the network's exits reach. It turns away
// whoever else connects, and remembers them.
type Site struct {
	// Port is where it listens at [Network.SiteAddr].
	Port int

	exits []netip.Addr

	mu        sync.Mutex
	sources   map[netip.Addr]int
	strangers []netip.AddrPort
}

// URL returns the URL of a path, which begins with "/", under a name of the
// caller's choice: at the exits every name is the site.
func (s *Site) URL(name, path string) string {
	return "http://" + net.JoinHostPort(name, strconv.Itoa(s.Port)) + path
}

// Sources returns the exits that connected, with the number of connections.
func (s *Site) Sources() map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sources := make(map[netip.Addr]int, len(s.sources))
	maps.Copy(sources, s.sources)
	return sources
}

// Strangers returns who connected without being an exit: whoever bypassed
// Tor.
func (s *Site) Strangers() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.strangers)
}

// admit notes a connection and reports whether it came from an exit.
func (s *Site) admit(from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.exits, from.Addr()) {
		s.strangers = append(s.strangers, from)
		return false
	}
	s.sources[from.Addr()]++
	return true
}

// siteListener accepts what its site admits.
type siteListener struct {
	net.Listener
	site *Site
}

// Accept implements net.Listener.
func (l siteListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		if l.site.admit(netip.AddrPortFrom(from.Addr().Unmap(), from.Port())) {
			return conn, nil
		}
		_ = conn.Close()
	}
}
