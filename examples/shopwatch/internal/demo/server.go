package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/svcblocks/svcblocks/internal/safehttp"
)

const (
	maxConns     = 128
	closeTimeout = 2 * time.Second
)

// server is an HTTP server on a loopback port with one goroutine that it owns.
type server struct {
	addr  string
	http  *http.Server
	done  chan struct{} // closed when Serve has returned
	serve error         // why, where it was not Close; read after done
	once  sync.Once
	err   error
}

// startServer listens on addr, or on a port of 127.0.0.1 that the kernel picks
// where addr is empty, and serves h until close.
func startServer(ctx context.Context, name, addr string, h http.Handler, log *slog.Logger) (*server, error) {
	l, err := listen(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("demo: start %s: %w", name, err)
	}

	s := &server{
		addr: l.Addr().String(),
		done: make(chan struct{}),
		http: &http.Server{
			Handler:           safehttp.ThisMachine().Handler(h),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}

	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.serve = err
		}
	}()

	log.Info("demo part started", "component", name, "addr", s.addr)
	return s, nil
}

// listen opens a loopback listener with a bound on its connections.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}

	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %q: not a loopback address; use 127.0.0.1:0", addr)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(l, maxConns), nil
}

// close lets requests in flight finish for a moment, then ends the server and
// waits for its goroutine.
func (s *server) close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			s.err = s.http.Close()
		}
		<-s.done
		s.err = errors.Join(s.err, s.serve)
	})
	return s.err
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// ring keeps the last n values.
type ring[T any] struct {
	values []T
	next   int
	n      int
}

func newRing[T any](n int) *ring[T] { return &ring[T]{n: n} }

// add puts v in, and returns the value that had to leave.
func (r *ring[T]) add(v T) (old T, left bool) {
	if len(r.values) < r.n {
		r.values = append(r.values, v)
		return old, false
	}
	old = r.values[r.next]
	r.values[r.next] = v
	r.next = (r.next + 1) % r.n
	return old, true
}

// newest returns the values, the last one added first.
func (r *ring[T]) newest() []T {
	out := make([]T, 0, len(r.values))
	for i := range r.values {
		out = append(out, r.values[(r.next+len(r.values)-1-i)%len(r.values)])
	}
	return out
}
