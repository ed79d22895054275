package tor

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// follower owns the streams that are followed: they are when that is first
// needed, and again when their connection was lost.
type follower struct {
	turn    chan struct{} // holds a token while nobody uses streams
	streams *streams
	closed  atomic.Bool
}

func newFollower() *follower {
	f := &follower{turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	return f
}

// get returns the streams of the Tor that l leads to.
func (f *follower) get(ctx context.Context, l *login) (*streams, error) {
	select {
	case <-f.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { f.turn <- struct{}{} }()
	if f.closed.Load() {
		return nil, net.ErrClosed
	}

	if f.streams != nil {
		select {
		case <-f.streams.done:
			f.streams.close()
			f.streams = nil
		default:
			return f.streams, nil
		}
	}

	var err error
	f.streams, err = followStreams(ctx, l)
	return f.streams, err
}

// close ends the streams. Whoever is starting them for longer than limit will
// see that it is closed.
func (f *follower) close(limit time.Duration) {
	f.closed.Store(true)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.turn:
	case <-timer.C:
		return
	}
	if f.streams != nil {
		f.streams.close()
		f.streams = nil
	}
	f.turn <- struct{}{}
}
