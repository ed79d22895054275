package sinktest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/svcblocks/svcblocks/logging"
)

// server is the receiver.
type server struct {
	*httptest.Server
	h *Harness
	// before answers the request and returns true, or leaves that to the
	// receiver. Nil: always the latter.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	messages map[string]int
	broken   error
}

func start(h *Harness, before func(w http.ResponseWriter, r *http.Request) bool) (*server, logging.Sink, error) {
	s := &server{h: h, before: before, messages: map[string]int{}}
	s.Server = httptest.NewServer(s)
	sink, err := h.New(s.URL)
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("the sink cannot be made: %w", err)
	}
	return s, sink, nil
}

func (s *server) stop() {
	s.CloseClientConnections()
	s.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := plain(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		s.breach(fmt.Errorf("the body cannot be read: %w", err))
		return
	}

	if s.before != nil && s.before(w, r) {
		return
	}

	messages, err := s.h.Receive(r, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		s.breach(fmt.Errorf("the receiver cannot read the request: %w", err))
		return
	}

	s.mu.Lock()
	for _, m := range messages {
		s.messages[m]++
	}
	s.mu.Unlock()
	if s.h.Accept != nil {
		s.h.Accept(w, r, len(messages))
	}
}

func plain(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") == "" {
		return raw, err
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "gzip" {
		return nil, fmt.Errorf("content encoding %q", enc)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func (s *server) breach(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
}

// got returns an error unless each message arrived, times times.
func (s *server) got(messages []string, times int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	for _, m := range messages {
		if n := s.messages[m]; n != times {
			return fmt.Errorf("event %q arrived %d times, want %d", m, n, times)
		}
	}
	if len(s.messages) != len(messages) && times > 0 {
		return fmt.Errorf("%d different events arrived, %d were sent", len(s.messages), len(messages))
	}
	return nil
}

// batch returns n events as the handler writes them, and their messages.
func batch(name string, n int) (*logging.Batch, []string) {
	b := &logging.Batch{}
	var messages []string
	at := 0
	for i := range n {
		m := fmt.Sprintf("%s %d of %d: ü \"quoted\" <tag>", name, i, n)
		line := fmt.Appendf(nil, `{"time":"2026-01-02T15:04:05.%09dZ","level":"INFO","msg":"%s %d of %d: ü \"quoted\" <tag>","component":"orders.http","n":%d,"ok":true,"group":{"k":1.5}}`, i, name, i, n, i)
		b.Events = append(b.Events, logging.Event{ID: fmt.Sprintf("20260102150405000000-%06d-%d", len(name), at), Line: line})
		messages = append(messages, m)
		at += len(line) + 1
	}
	b.ID = b.Events[0].ID
	return b, messages
}
