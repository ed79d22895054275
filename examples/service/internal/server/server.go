// Package server is the service's HTTP side: the status page, probes, metrics,
// and a small JSON API.
//
//	GET  /           status page
//	POST /scrape     asks for a run
//	GET  /api/runs   the last runs (?n=20)
//	GET  /api/items  items with their prices (?points=100)
//	GET  /healthz    200 while the process serves
//	GET  /readyz     200 while every required part works, else 503; the answer
//	                 names every part
//	GET  /metrics    Prometheus text format
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/examples/service/internal/health"
	"github.com/svcblocks/svcblocks/examples/service/internal/history"
)

// ErrInUse says that another program listens on the address.
var ErrInUse = errors.New("the address is in use")

// Options are what the server shows. All but Logger are required.
type Options struct {
	Page    http.Handler            // for / and /assets/
	Trigger func(cause string) bool // asks for a run; false if one is asked for
	Health  *health.Monitor         // for /readyz
	History *history.Store          // for /api
	Metrics func(w io.Writer)       // for /metrics
	Logger  *slog.Logger            // nil discards
}

// Server serves until it is shut down.
type Server struct {
	opts     Options
	http     *http.Server
	listener net.Listener
	silent   silent
	stopping atomic.Bool
}

// Listen takes the address, so that a failure is known before anything runs.
// Port 0 picks a free one. The error says what to do.
func Listen(ctx context.Context, addr string, opts Options) (*Server, error) {
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
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, listener: l}
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
	return s, nil
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
	s.silent.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("server: shutdown: %w", err), s.http.Close())
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.opts.Page)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("POST /scrape", s.scrape)
	mux.HandleFunc("GET /api/runs", s.runs)
	mux.HandleFunc("GET /api/items", s.items)
	// A page elsewhere must not make a reader's browser start runs.
	return s.access(http.NewCrossOriginProtection().Handler(mux))
}

// access logs each request at debug level: the page asks for itself every few
// seconds.
func (s *Server) access(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		s.opts.Logger.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", rec.status,
			"bytes", rec.bytes, "duration", time.Since(start), "remote", r.RemoteAddr)
	})
}

type statusWriter struct {
	http.ResponseWriter

	status int
	bytes  int64
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
	for _, r := range s.opts.Health.Results() {
		p := part{Name: r.Name, OK: r.Err == nil && !r.At.IsZero(), Required: r.Required, Advice: r.Advice}
		if r.Err != nil {
			p.Error = r.Err.Error()
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
}

// scrape asks for a run. A form on the page is sent back to it.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		s.json(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	}
	status := "asked"
	if !s.opts.Trigger("request") {
		status = "asked already"
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s.json(w, http.StatusAccepted, map[string]string{"status": status})
}

func (s *Server) runs(w http.ResponseWriter, r *http.Request) {
	n, ok := s.number(w, r, "n", 20, 1000)
	if !ok {
		return
	}
	runs, err := s.opts.History.Runs(n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if runs == nil {
		runs = []history.Run{}
	}
	s.json(w, http.StatusOK, runs)
}

func (s *Server) items(w http.ResponseWriter, r *http.Request) {
	n, ok := s.number(w, r, "points", 100, 10_000)
	if !ok {
		return
	}
	items, err := s.opts.History.Items(n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if items == nil {
		items = []history.Item{}
	}
	s.json(w, http.StatusOK, items)
}

// number reads a query parameter between 0 and limit.
func (s *Server) number(w http.ResponseWriter, r *http.Request, name string, fallback, limit int) (int, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > limit {
		s.json(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%s must be a number from 0 to %d", name, limit)})
		return 0, false
	}
	return n, true
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.opts.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	s.json(w, http.StatusInternalServerError, map[string]string{"error": "the history cannot be read; the log says why"})
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a reader who left is no error of ours
}
