package email

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// pool keeps connections for the next mail. It has no goroutine: a timer closes
// what is idle for too long.
type pool struct {
	s     *settings
	slots chan struct{} // one per connection in use

	mu     sync.Mutex
	idle   []*conn // the one used last at the end
	reaper *time.Timer
	closed bool
	// simple is until when connections do without extensions, after the server
	// did not keep one that it offered.
	simple time.Time
}

// simpleFor is how long a server is taken at its deeds rather than its words.
const simpleFor = time.Hour

func newPool(s *settings) *pool {
	return &pool{s: s, slots: make(chan struct{}, s.MaxConns)}
}

// delivery is what became of a mail up to its final dot.
type delivery struct {
	// conn, if not nil, has taken the whole mail and will say what became of
	// it. Give it to release then.
	conn *conn
	to   []*address // those that it may get through to
	// refused has one error per recipient that will not get the mail.
	refused []*notify.Error
	err     *notify.Error
	// doubt says that the connection broke with the final dot.
	doubt bool
}

// deliver hands e over, on a connection of the pool or a new one. A kept
// connection that turns out to be dead is replaced once. One that ends after
// some recipients were refused, as servers do that count errors, is replaced as
// well: the others are still to have the mail.
func (p *pool) deliver(ctx context.Context, e *envelope) delivery {
	if err := p.acquire(ctx); err != nil {
		return delivery{err: err}
	}

	left := *e
	var d delivery
	for stale := false; ; {
		c, err := p.take(ctx, stale)
		if err != nil {
			<-p.slots
			d.err = notify.NewError("dial", err)
			break
		}

		out := transaction{c, &left}.offer(ctx)
		d.refused, d.err = append(d.refused, out.refused...), out.err
		left.to = without(left.to, out.refused)
		if out.handed && out.err == nil {
			d.conn, d.to = c, left.to
			return d // the slot is held until the answer comes
		}

		if !out.broken {
			p.release(c)
			break
		}

		_ = c.raw.Close()
		if out.mute {
			p.distrust(ctx, out.err)
		}
		dead := out.again && !c.used.IsZero() && !stale
		if dead || out.again && len(out.refused) > 0 && len(left.to) > 0 {
			stale = true
			p.s.Logger.DebugContext(ctx, "server closed the connection", "error", out.err)
			continue
		}

		<-p.slots
		d.doubt = out.handed
		break
	}
	d.to = left.to
	return d
}

// without returns list without those who were refused.
func without(list []*address, refused []*notify.Error) []*address {
	if len(refused) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(a *address) bool {
		return slices.ContainsFunc(refused, func(e *notify.Error) bool { return e.Recipient == a.given })
	})
}

// distrust makes later connections do without extensions for a while.
func (p *pool) distrust(ctx context.Context, err *notify.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.After(p.simple) {
		p.simple = now.Add(simpleFor)
		p.s.Logger.WarnContext(ctx, "server offers PIPELINING and does not answer; commands go one by one from now on, as the option Simple makes them", "error", err)
	}
}

// check proves that a connection can be made and used.
func (p *pool) check(ctx context.Context) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}

	c, err := p.dial(ctx)
	if err != nil {
		<-p.slots
		return err
	}

	p.mu.Lock()
	spare := len(p.idle) > 0
	p.mu.Unlock()

	if spare {
		c.quit()
		<-p.slots
		return nil
	}

	p.release(c)
	return nil
}

func (p *pool) acquire(ctx context.Context) *notify.Error {
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
	if c := p.kept(fresh); c != nil {
		return c, nil
	}
	return p.dial(ctx)
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	simple := p.s.Simple || time.Now().Before(p.simple)
	p.mu.Unlock()
	return dial(ctx, p.s, simple)
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

// release ends the use of c, and keeps it for the next mail if it is good for one.
func (p *pool) release(c *conn) {
	p.put(c)
	<-p.slots
}

// drop ends the use of c, which broke.
func (p *pool) drop(c *conn) {
	_ = c.raw.Close()
	<-p.slots
}

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
