// Package site is a site to try the fleet on: as many pages as asked for, each
// of which takes a while, as pages do.
package site

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// Site serves pages at /page/N on a loopback address. Make it with [Start].
type Site struct {
	server   *http.Server
	listener net.Listener
	delay    time.Duration
	served   sync.WaitGroup

	mu    sync.Mutex
	hits  map[string]int
	times []time.Time
}

// Start starts a site whose pages take delay each. Pages whose number ends in
// 99 are missing.
func Start(ctx context.Context, delay time.Duration) (*Site, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	s := &Site{listener: listener, delay: delay, hits: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{number}", s.page)
	s.server = &http.Server{Handler: safehttp.ThisMachine().Handler(mux), ReadHeaderTimeout: 10 * time.Second}
	s.served.Go(func() { _ = s.server.Serve(listener) }) // it ends with Close
	return s, nil
}

// URL is the address of page n.
func (s *Site) URL(n int) string { return fmt.Sprintf("http://%s/page/%d", s.listener.Addr(), n) }

// Hits returns how often each page was asked for, by its number.
func (s *Site) Hits() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.hits))
	maps.Copy(out, s.hits)
	return out
}

// Times returns when pages were asked for, in order.
func (s *Site) Times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.times...)
}

// Close ends the site.
func (s *Site) Close() error {
	err := s.server.Close()
	s.served.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Site) page(w http.ResponseWriter, r *http.Request) {
	number := r.PathValue("number")
	n, err := strconv.Atoi(number)
	s.mu.Lock()
	s.hits[number]++
	s.times = append(s.times, time.Now())
	s.mu.Unlock()

	select {
	case <-time.After(s.delay):
	case <-r.Context().Done():
		return
	}

	if err != nil || strings.HasSuffix(number, "99") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<!doctype html><title>Page %d</title><p>Page %d of a site to try things on.\n", n, n)
}
