// Package server is the service's HTTP side: the status page, probes, metrics,
// and a small JSON API.
//
//	GET  /               status page
//	POST /scrape         asks for a run
//	GET  /api/status     parts, the run under way, log and receivers
//	GET  /api/runs       the last runs (?n=20)
//	POST /api/runs       asks for a run; the answer has its trace_id
//	GET  /api/runs/{id}  one run and what it found to differ
//	GET  /api/items      items with their last prices (?points=100)
//	GET  /api/history    one item with all its prices (?url=…)
//	GET  /healthz        200 while the process serves
//	GET  /readyz         200 while every required part works, else 503; the
//	                     answer names every part
//	GET  /metrics        Prometheus text format
//
// With Options.Auth, the page needs a login and /api/ an access token; there
// are /login and /logout. Probes and metrics are for one's own network and
// open: a proxy in front keeps them to itself. A request by a name that is not
// among Options.Hosts is answered 421.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/relative"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// ErrInUse says that another program listens on the address.
var ErrInUse = errors.New("the address is in use")

// Options are what the server shows. All but Auth and the loggers are required.
type Options struct {
	Page    http.Handler                                 // for / and /assets/
	Hosts   *safehttp.Hosts                              // names to answer to; nil: addresses and this machine's own
	Auth    *auth.Auth                                   // nil: page and API are open
	Trigger func(ctx context.Context, cause string) bool // asks for a run; false if one is asked for
	Status  func(ctx context.Context) any                // for /api/status
	Health  *health.Monitor                              // for /readyz
	History *history.Store                               // for /api
	Metrics func(w io.Writer)                            // for /metrics
	Logger  *slog.Logger                                 // nil discards
	Access  *slog.Logger                                 // gets a line per request; nil discards
}

// Server serves until it is shut down.
type Server struct {
	opts     Options
	http     *http.Server
	listener net.Listener
	silent   silent
	counts   counts
	stopping atomic.Bool
}

// Listen takes the address, so that a failure is known before anything runs.
// Port 0 picks a free one. The error says what to do.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, errAddrInUse):
		return nil, fmt.Errorf("server: listen on %s: %w (end the other program, or choose another port: -listen 127.0.0.1:0 takes a free one)", addr, ErrInUse)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("server: listen on %s: %w (ports below 1024 need a privilege: choose a higher one with -listen)", addr, err)
	case err != nil:
		return nil, fmt.Errorf("server: listen on %s: %w (set -listen to host:port, as in 127.0.0.1:8080)", addr, err)
	}
	return l, nil
}

// New returns a server on l, which it closes in the end.
func New(l net.Listener, opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Access == nil {
		opts.Access = slog.New(slog.DiscardHandler)
	}
	if opts.Hosts == nil {
		opts.Hosts = safehttp.ThisMachine()
	}

	s := &Server{opts: opts, listener: l, counts: newCounts()}
	s.http = &http.Server{
		Handler:           s.handler(),
		ConnState:         s.silent.connState,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}

	return s
}

// URL is the address to show to people: a wildcard becomes the loopback
// address.
func (s *Server) URL() string { return BaseURL(s.listener.Addr().String()) }

// BaseURL returns the address under which this machine reaches a server that
// listens on addr.
func BaseURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr + "/"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// Serve serves until [Server.Shutdown]; it then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// Stopping makes /readyz answer 503, so that no new work is sent here.
func (s *Server) Stopping() { s.stopping.Store(true) }

// Shutdown lets requests finish until ctx ends, then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.silent.end(ctx)
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("server: shutdown: %w", err), s.http.Close())
	}
	return nil
}

func (s *Server) handler() http.Handler {
	page, run, api := s.opts.Page, http.Handler(http.HandlerFunc(s.scrape)), s.api()
	mux := http.NewServeMux()
	on(mux, "/assets/", page)

	if a := s.opts.Auth; a != nil {
		page, run, api = a.Page(named(page)), a.Page(named(run)), a.API(api)
		for _, at := range []string{"/login", "/login/", "/logout"} {
			on(mux, at, a.Login())
		}
	}

	on(mux, "/", page)
	on(mux, "POST /scrape", run)
	on(mux, "/api/", api)
	on(mux, "GET /healthz", http.HandlerFunc(s.healthz))
	on(mux, "GET /readyz", http.HandlerFunc(s.readyz))
	on(mux, "GET /metrics", http.HandlerFunc(s.metrics))

	// A page elsewhere must not make a reader's browser start runs, and one
	// whose name was turned to this machine must not read either.
	return s.access(s.opts.Hosts.Handler(http.NewCrossOriginProtection().Handler(mux)))
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.json(w, http.StatusOK, map[string]string{"status": "ok"})
}

// part is one check in the answer of /readyz.
type part struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Error    string `json:"error,omitempty"`
	Advice   string `json:"advice,omitempty"`
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Status string `json:"status"` // ok, degraded, unavailable, stopping
		Parts  []part `json:"parts"`
	}{Status: "ok"}

	// Errors name hosts and files. Where readers have to log in, they are on the
	// page; a probe needs the status.
	open := s.opts.Auth == nil
	for _, r := range s.opts.Health.Results() {
		p := part{Name: r.Name, OK: r.Err == nil && !r.At.IsZero(), Required: r.Required}
		switch {
		case r.At.IsZero():
			p.Error = "not asked yet"
		case r.Err != nil && open:
			p.Error, p.Advice = r.Err.Error(), r.Advice
		}
		if !p.OK {
			answer.Status = "degraded"
		}
		answer.Parts = append(answer.Parts, p)
	}

	status := http.StatusOK
	if s.opts.Health.Ready() != nil {
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	if s.stopping.Load() {
		answer.Status, status = "stopping", http.StatusServiceUnavailable
	}

	s.json(w, status, answer)
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.opts.Metrics(w)
	s.counts.write(w)
}

// scrape asks for a run. A form on the page is sent back to it.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		s.json(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	}
	status := "asked"
	if !s.opts.Trigger(r.Context(), "request") {
		status = "asked already"
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		relative.Redirect(w, r, "")
		return
	}
	s.json(w, http.StatusAccepted, map[string]string{"status": status})
}
