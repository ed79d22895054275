package server

import (
	"net"
	"net/http"
	"sync"
)

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

// end closes the silent connections, and those to come.
func (s *silent) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for c := range s.conns {
		_ = c.Close() // as above
	}
}
