package tornet

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
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

// ServeSite serves handler on [Network.SiteAddr] at a port that the kernel
// picks, until the end of the test.
func (n *Network) ServeSite(t testing.TB, handler http.Handler) *Site {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", netip.AddrPortFrom(n.SiteAddr, 0).String())
	if err != nil {
		t.Fatalf("tornet: %v", err)
	}
	s := &Site{
		Port:    listener.Addr().(*net.TCPAddr).Port,
		exits:   n.ExitAddrs(),
		sources: map[netip.Addr]int{},
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(siteListener{listener, s}) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("tornet: site: %v", err)
		}
	})
	return s
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
