package tor

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/cretz/bine/control"
)

// maxStreams bounds what is remembered of streams whose end was not seen.
const maxStreams = 4096

// streams follows Tor's streams over a connection for events, so that a
// connection can be told its circuit. Package bine's StreamEvent lacks the
// address that a stream comes from, so the lines are read here.
type streams struct {
	events *events
	done   chan struct{} // closed when the follower has ended

	mu      sync.Mutex
	changed chan struct{}          // closed at each change, and made anew
	source  map[string]string      // stream → the address that it comes from
	circuit map[string]circuitSeen // that address → circuit
}

// circuitSeen is a circuit by which a connection has succeeded.
type circuitSeen struct {
	stream string
	id     uint64
}

// followStreams subscribes to Tor's streams. The caller must close it.
func followStreams(ctx context.Context, l *login) (*streams, error) {
	e, err := listen(ctx, l, control.EventCodeStream)
	if err != nil {
		return nil, err
	}
	s := &streams{
		events: e, done: make(chan struct{}), changed: make(chan struct{}),
		source: map[string]string{}, circuit: map[string]circuitSeen{},
	}
	go s.follow()
	return s, nil
}

// follow takes in events until the connection ends.
func (s *streams) follow() {
	defer close(s.done)
	for {
		select {
		case line := <-s.events.lines:
			s.see(line)
		case <-s.events.done:
			return
		}
	}
}

// see takes in one event, such as
//
//	STREAM 15 SUCCEEDED 7 203.0.113.80:80 SOURCE_ADDR=127.0.0.1:41234
func (s *streams) see(line string) {
	words := splitQuoted(line)
	if len(words) < 4 || words[0] != "STREAM" {
		return
	}
	stream, status := words[1], words[2]
	source := field(line, "SOURCE_ADDR")

	s.mu.Lock()
	defer s.mu.Unlock()
	if source != "" && len(s.source) < maxStreams {
		s.source[stream] = source
	}

	switch status {
	case "SUCCEEDED":
		id, err := strconv.ParseUint(words[3], 10, 64)
		if source = s.source[stream]; err == nil && source != "" && len(s.circuit) < maxStreams {
			s.circuit[source] = circuitSeen{stream, id}
		}
	case "FAILED", "CLOSED":
		source = s.source[stream]
		delete(s.source, stream)
		if s.circuit[source].stream == stream {
			delete(s.circuit, source)
		}
	default:
		return
	}

	close(s.changed)
	s.changed = make(chan struct{})
}

// of returns the circuit of the connection that comes from source, and waits
// for the event that tells it.
func (s *streams) of(ctx context.Context, source string) (uint64, error) {
	for {
		s.mu.Lock()
		seen, ok := s.circuit[source]
		changed := s.changed
		s.mu.Unlock()
		if ok {
			return seen.id, nil
		}

		select {
		case <-changed:
		case <-s.done:
			return 0, fmt.Errorf("control port: connection for events lost: %w", s.events.err)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (s *streams) close() {
	s.events.close()
	<-s.done
}
