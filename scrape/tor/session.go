package tor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cretz/bine/control"
)

// session is one authenticated connection.
type session struct {
	net  net.Conn
	bine *control.Conn
}

// close closes the connection without a word: QUIT would wait for Tor.
func (s *session) close() { _ = s.net.Close() }

// within runs f, and ends it after limit or when ctx ends.
func (s *session) within(ctx context.Context, limit time.Duration, f func() error) error {
	if err := s.net.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = s.net.SetDeadline(time.Unix(1, 0)) // fails only if closed, which ends f too
	})

	err := f()
	if !stop() {
		<-done
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}

	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", limit, context.DeadlineExceeded)
	}
	return err
}

// send sends one line and reads the answer.
func (s *session) send(ctx context.Context, limit time.Duration, line string) (res *control.Response, err error) {
	err = s.within(ctx, limit, func() error {
		var err error
		res, err = s.bine.SendRequest("%s", line)
		return err
	})
	return res, err
}
