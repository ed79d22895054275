// Package profiling serves net/http/pprof to this machine alone.
package profiling

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// CheckAddress reports an address that others could reach: profiles tell of the
// program's memory, and taking one costs time.
func CheckAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: write host:port, as 127.0.0.1:6060", address)
	}
	if !local(host) {
		return fmt.Errorf("%q is reached from other machines: use 127.0.0.1, ::1 or localhost", address)
	}
	return nil
}

func local(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Server serves profiles until its Run ends.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address, which must be this machine's own.
func Listen(ctx context.Context, address string) (*Server, error) {
	if err := CheckAddress(address); err != nil {
		return nil, fmt.Errorf("profiling: listen: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("profiling: listen: %w", err)
	}
	// A name may mean anything in /etc/hosts.
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("profiling: listen: %s is %s, which is reached from other machines", address, l.Addr()), l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	return &Server{listener: l, http: &http.Server{Handler: sameMachine(mux), ReadHeaderTimeout: 10 * time.Second}}, nil
}

// sameMachine refuses what a browser on this machine was talked into asking:
// a name that somebody else points here.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !local(host) || r.Header.Get("Origin") != "" {
			http.Error(w, "ask for this machine by its own name: 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Addr is the address that was taken.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, and then cuts off what is being taken.
func (s *Server) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.http.Close() })()
	if err := s.http.Serve(s.listener); ctx.Err() == nil {
		return fmt.Errorf("profiling: %w", err)
	}
	return nil
}

// Close lets go of the address.
func (s *Server) Close() error { return s.http.Close() }
