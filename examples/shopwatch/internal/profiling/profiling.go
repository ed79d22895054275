// Package profiling serves the profiles of runtime/pprof to this machine alone,
// under the addresses of net/http/pprof, which go tool pprof knows. That package
// itself costs 0.2 MB more, for profiles of a difference and for symbols that
// the tool finds in the binary.
package profiling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/svcblocks/svcblocks/internal/loopback"
)

// CheckAddress reports an address that others could reach: profiles tell of the
// program's memory, and taking one costs time.
func CheckAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: write host:port, as 127.0.0.1:6060", address)
	}
	if !loopback.Is(host) {
		return fmt.Errorf("%q is reached from other machines: use 127.0.0.1, ::1 or localhost", address)
	}
	return nil
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
	mux.HandleFunc("GET /debug/pprof/{$}", index)
	mux.HandleFunc("GET /debug/pprof/profile", cpu)

	mux.HandleFunc("GET /debug/pprof/{name}", lookup)
	return &Server{listener: l, http: &http.Server{Handler: sameMachine(mux), ReadHeaderTimeout: 10 * time.Second}}, nil
}

// index names the profiles.
func index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "profile (?seconds=30)") // a reader who left is no error of ours
	for _, p := range pprof.Profiles() {
		_, _ = fmt.Fprintln(w, p.Name(), p.Count()) // as above
	}
}

// lookup answers with one profile as it is now; ?debug=1 is for people, ?gc=1
// collects garbage before.
func lookup(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.Error(w, "no such profile; /debug/pprof/ names them", http.StatusNotFound)
		return
	}

	if r.FormValue("gc") == "1" {
		runtime.GC()
	}
	debug, _ := strconv.Atoi(r.FormValue("debug")) // none is 0
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/octet-stream")
	if debug > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}

	_ = p.WriteTo(w, debug) // as above
}

// cpu answers with what the processor did in the seconds to come.
func cpu(w http.ResponseWriter, r *http.Request) {
	const longest = 5 * 60
	seconds, err := strconv.Atoi(cmp.Or(r.FormValue("seconds"), "30"))
	if err != nil || seconds < 1 || seconds > longest {
		http.Error(w, fmt.Sprintf("seconds must be a number from 1 to %d", longest), http.StatusBadRequest)
		return
	}

	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/octet-stream")

	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, "a profile is being taken: "+err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()

	select {
	case <-time.After(time.Duration(seconds) * time.Second):
	case <-r.Context().Done():
	}
}

// sameMachine refuses what a browser on this machine was talked into asking:
// a name that somebody else points here.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !loopback.Is(host) || r.Header.Get("Origin") != "" {
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
