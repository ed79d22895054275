package tor

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/scrape/internal/named"
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
func (c *controller) followStreams(ctx context.Context) (*streams, error) {
	e, err := c.listen(ctx, control.EventCodeStream)
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

// followed returns the follower of Tor's streams, which is started when it is
// first needed and again when its connection was lost.
func (t *Tor) followed(ctx context.Context) (*streams, *controller, error) {
	c, err := t.controlAt(ctx)
	if err != nil {
		return nil, nil, err
	}

	select {
	case <-t.following:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	defer func() { t.following <- struct{}{} }()

	if t.closed.Load() {
		return nil, nil, net.ErrClosed
	}

	if t.streams != nil {
		select {
		case <-t.streams.done:
			t.streams.close()
			t.streams = nil
		default:
			return t.streams, c, nil
		}
	}

	t.streams, err = c.followStreams(ctx)
	return t.streams, c, err
}

// DialExit does as DialContext does, and returns the fingerprint of the exit
// that the connection leaves by: Tor may move a connection to another circuit
// than [Tor.Exit] has told. Errors of the control port are as those of Exit.
func (t *Tor) DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error) {
	s, c, err := t.followed(ctx)
	if err != nil {
		return nil, "", named.Wrap("tor", "exit", err)
	}
	conn, err := t.DialContext(ctx, isolation, network, addr)
	if err != nil {
		return nil, "", err
	}
	exit, err := c.exitOf(ctx, s, conn)
	if err != nil {
		_ = conn.Close() // it is of no use
		return nil, "", named.Wrap("tor", "exit", err)
	}
	return conn, exit, nil
}

// exitOf returns the exit of an open connection.
func (c *controller) exitOf(ctx context.Context, s *streams, conn net.Conn) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no STREAM event within %v: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	id, err := s.of(ctx, conn.LocalAddr().String())
	if err != nil {
		return "", err
	}
	circuits, err := c.circuits(ctx)
	if err != nil {
		return "", err
	}

	for _, circuit := range circuits {
		if circuit.id == id && len(circuit.path) > 0 {
			return circuit.path[len(circuit.path)-1], nil
		}
	}

	return "", fmt.Errorf("%w %d any more", ErrNoCircuit, id)
}

// circuits returns Tor's circuits.
func (c *controller) circuits(ctx context.Context) ([]circuit, error) {
	info, err := c.info(ctx, "circuit-status")
	if err != nil {
		return nil, err
	}
	var list []circuit
	for line := range strings.Lines(info["circuit-status"]) {
		if one, ok := parseCircuit(strings.TrimRight(line, "\r\n")); ok {
			list = append(list, one)
		}
	}
	return list, nil
}

// closeStreams ends the follower.
func (t *Tor) closeStreams() {
	t.closed.Store(true)
	select {
	case <-t.following:
	case <-time.After(t.opts.Timeout): // who starts it will see that it is closed
		return
	}
	if t.streams != nil {
		t.streams.close()
		t.streams = nil
	}
	t.following <- struct{}{}
}
