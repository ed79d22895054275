package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// grace is how long the rest of a request may take to arrive at the end.
const grace = time.Second

// silent knows the connections that have sent nothing yet. Browsers open such
// ones ahead of need, and http.Server.Shutdown waits for them for 5 s.
type silent struct {
	mu     sync.Mutex
	ending bool
	conns  map[net.Conn]struct{}
}

// connState is a hook for http.Server.
func (s *silent) connState(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.ending {
		_ = c.Close() // nobody has asked for anything on it
		return
	}
	if s.conns == nil {
		s.conns = map[net.Conn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

// end waits a moment for what may be half a request, which looks silent too, and
// then closes the silent connections, and those to come.
func (s *silent) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for s.some() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(grace / 100):
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for c := range s.conns {
		_ = c.Close() // as above
	}
}

// some reports whether a connection is silent.
func (s *silent) some() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
}
