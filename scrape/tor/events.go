package tor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cretz/bine/control"
)

// events is a connection that only listens.
type events struct {
	session *session
	lines   chan string   // one event each, without the 650
	done    chan struct{} // closed when the reader has ended
	stop    chan struct{} // closed by close
	err     error         // why the reader ended; read after done
}

// listen opens a connection and subscribes to events. The caller must close it.
func listen(ctx context.Context, l *login, codes ...control.EventCode) (*events, error) {
	s, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	words := []string{"SETEVENTS"}
	for _, code := range codes {
		words = append(words, string(code))
	}

	if _, err := s.send(ctx, l.timeout, strings.Join(words, " ")); err != nil {
		s.close()
		return nil, fmt.Errorf("control port %s: SETEVENTS: %w", l.addr, err)
	}
	if err := s.net.SetDeadline(time.Time{}); err != nil { // events come when they come
		s.close()
		return nil, err
	}

	e := &events{session: s, lines: make(chan string, 64), done: make(chan struct{}), stop: make(chan struct{})}
	go e.read()
	return e, nil
}

// read passes events on until the connection ends. bine's own loop spins on an
// answer that is no event, and blocks its connection on a full channel.
func (e *events) read() {
	defer close(e.done)
	for {
		res, err := e.session.bine.ReadResponse()
		if err != nil {
			e.err = err
			return
		}

		if !res.IsAsync() {
			continue
		}
		line := res.Reply
		if len(res.Data) > 0 {
			line = res.Data[0]
		}

		select {
		case e.lines <- line:
		case <-e.stop:
			return
		}
	}
}

// wait returns the first event that want accepts.
func (e *events) wait(ctx context.Context, want func(line string) bool) (string, error) {
	for {
		select {
		case line := <-e.lines:
			if want(line) {
				return line, nil
			}
		case <-e.done:
			return e.left(want)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// left returns the first event that want accepts of those that arrived before the
// connection ended.
func (e *events) left(want func(line string) bool) (string, error) {
	for {
		select {
		case line := <-e.lines:
			if want(line) {
				return line, nil
			}
		default:
			return "", fmt.Errorf("control port: connection for events lost: %w", e.err)
		}
	}
}

// close ends the connection and waits for the reader.
func (e *events) close() {
	close(e.stop)
	e.session.close()
	<-e.done
}
