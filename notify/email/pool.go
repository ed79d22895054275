package email

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// pool keeps connections for the next mail. It has no goroutine: a timer closes
// what is idle for too long.
type pool struct {
	s     *settings
	slots chan struct{} // one per connection in use
	// unchunked says that the server does not keep its offer of CHUNKING.
	unchunked atomic.Bool

	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	reaper *time.Timer
	closed bool
}

func newPool(s *settings) *pool {
	return &pool{s: s, slots: make(chan struct{}, s.MaxConns)}
}

// deliver sends e over a connection of the pool or a new one. A kept connection
// that turns out to be dead is replaced once, as long as the mail was not
// handed over, and so is one to a server that offers CHUNKING and has no BDAT.
func (p *pool) deliver(ctx context.Context, e *envelope) ([]*notify.Error, error) {
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.slots }()
	for stale, unchunked := false, false; ; {
		c, err := p.take(ctx, stale)
		if err != nil {
			return nil, err
		}
		out := c.transact(ctx, e)
		c.mails++
		if out.broken {
			_ = c.raw.Close()
			switch {
			case out.again && !c.used.IsZero() && !stale:
				stale = true
				p.s.Logger.DebugContext(ctx, "server closed an idle connection", "error", out.err)
				continue
			case out.unchunked && !unchunked:
				unchunked = true
				p.unchunked.Store(true)
				p.s.Logger.WarnContext(ctx, "server offers CHUNKING and refuses BDAT; DATA is used from now on", "error", out.err)
				continue
			}
		} else {
			p.put(c)
		}
		if out.err != nil {
			return nil, out.err
		}
		return out.refused, nil
	}
}

// check proves that a connection can be made and used.
func (p *pool) check(ctx context.Context) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	c, err := dial(ctx, p.s)
	if err != nil {
		return err
	}
	p.mu.Lock()
	spare := len(p.idle) > 0
	p.mu.Unlock()
	if spare {
		c.quit()
		return nil
	}
	p.put(c)
	return nil
}

func (p *pool) acquire(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		e := notify.NewError("wait for a connection", context.Cause(ctx))
		e.Reason = fmt.Sprintf("all %d connections are in use: %s", p.s.MaxConns, e.Reason)
		return e
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		<-p.slots
		return notify.NewError("send", notify.ErrClosed)
	}
	return nil
}

// take returns a kept connection, or a new one.
func (p *pool) take(ctx context.Context, fresh bool) (*conn, error) {
	c := p.kept(fresh)
	if c == nil {
		var err error
		if c, err = dial(ctx, p.s); err != nil {
			return nil, err
		}
	}
	c.ext.chunking = c.ext.chunking && !p.unchunked.Load()
	return c, nil
}

// kept returns a connection that is kept, or nil. fresh does without all.
func (p *pool) kept(fresh bool) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if fresh { // one was dead: the others most likely are, too
		p.retire(func(*conn) bool { return true })
	}
	p.retire(func(c *conn) bool { return p.worn(c, now) })
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c
}

// worn reports whether c is too old, too idle or too much used.
func (p *pool) worn(c *conn, now time.Time) bool {
	return now.Sub(c.used) >= p.s.MaxIdle || now.Sub(c.born) >= p.s.MaxConnAge || c.mails >= p.s.MaxPerConn
}

// retire closes the idle connections that old picks. The caller holds mu.
func (p *pool) retire(old func(*conn) bool) {
	keep := p.idle[:0]
	for _, c := range p.idle {
		if old(c) {
			c.quit()
			continue
		}
		keep = append(keep, c)
	}
	clear(p.idle[len(keep):])
	p.idle = keep
}

// put keeps c for the next mail if it is good for one.
func (p *pool) put(c *conn) {
	now := time.Now()
	c.used = now
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.worn(c, now) {
		c.quit()
		return
	}
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(p.s.MaxIdle, p.reap)
	}
}

// reap closes what is idle for too long, and comes again while some is left.
func (p *pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.retire(func(c *conn) bool { return p.worn(c, now) })
	if p.closed || len(p.idle) == 0 {
		p.reaper = nil
		return
	}
	p.reaper = time.AfterFunc(max(time.Millisecond, p.idle[0].used.Add(p.s.MaxIdle).Sub(now)), p.reap)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.retire(func(*conn) bool { return true })
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
}
