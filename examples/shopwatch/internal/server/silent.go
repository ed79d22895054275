package server

import (
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
		_ = c.SetReadDeadline(time.Now().Add(grace)) // a connection that is closed already needs none
		return
	}
	if s.conns == nil {
		s.conns = map[net.Conn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

// end gives the silent connections, and those to come, a moment: one on which
// half a request has arrived looks silent too.
func (s *silent) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Now().Add(grace)) // as above
	}
}
