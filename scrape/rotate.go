package scrape

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds on making an identity.
const (
	maxRedraws  = 64
	warmTimeout = 60 * time.Second
)

// slot is where identities follow each other: one for the egress, one for the
// fallback. Guarded by Client.mu.
type slot struct {
	direct   bool
	cur      *identity
	spares   []*identity
	warming  bool
	changing chan struct{} // closed when the change under way is over
}

// Rotate retires the identity and returns the one that takes its place. By
// [NewNym] it waits until the egress says that the change took effect.
func (c *Client) Rotate(ctx context.Context) (Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.main.cur
	for {
		if err := c.changeLocked(ctx, &c.main, c.lastHost); err != nil {
			return Identity{}, fmt.Errorf("scrape: rotate: %w", err)
		}
		if c.main.cur != before {
			return c.main.cur.snapshot(), nil
		}
	}
}

// acquire returns the identity for one more request to host and holds it.
func (c *Client) acquire(ctx context.Context, s *slot, host string, ch *chain) (*identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastHost = host
	for {
		if c.closed {
			return nil, ErrClosed
		}
		if id := s.cur; id != nil && !c.spent(id) {
			if !ch.robots {
				id.used++
			}
			id.hold()
			c.warmLocked(s, host)
			c.openLocked(s, id)
			return id, nil
		}
		if err := c.changeLocked(ctx, s, host); err != nil {
			return nil, err
		}
	}
}

// spent reports whether id gets no more requests.
func (c *Client) spent(id *identity) bool {
	r := c.opts.Rotation
	return id.left || r.Every > 0 && id.used >= r.Every || r.MaxAge > 0 && time.Since(id.info.Since) > r.MaxAge
}

// countRetry counts a request that stays on an identity it already holds.
func (c *Client) countRetry(id *identity) {
	c.mu.Lock()
	id.used++
	c.mu.Unlock()
}

// leave makes id get no more requests.
func (c *Client) leave(id *identity) {
	c.mu.Lock()
	id.left = true
	c.mu.Unlock()
}

// drop makes id get no more requests, and forgets its exit if it has served
// none: the next one need not differ from it.
func (c *Client) drop(id *identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id.left = true
	if exit := id.exit.Load(); exit != nil && !id.connected.Load() {
		for i, recent := range slices.Backward(c.recent) {
			if recent == *exit {
				c.recent = slices.Delete(c.recent, i, i+1)
				return
			}
		}
	}
}

// changeLocked replaces the identity of s, or waits until a change under way
// is over. Client.mu is held on entry and on return, not in between.
func (c *Client) changeLocked(ctx context.Context, s *slot, host string) error {
	if c.closed {
		return ErrClosed
	}
	if wait := s.changing; wait != nil {
		c.mu.Unlock()
		defer c.mu.Lock()
		select {
		case <-wait:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
	over := make(chan struct{})
	s.changing = over
	old := s.cur
	c.mu.Unlock()
	next, err := c.next(ctx, s, host, old == nil)
	c.mu.Lock()
	s.changing = nil
	close(over)
	if err != nil {
		return err
	}
	if c.closed {
		c.mu.Unlock()
		next.retire()
		c.mu.Lock()
		return ErrClosed
	}
	next.info.Since = time.Now()
	s.cur = next
	if exit := next.exit.Load(); exit != nil {
		c.recent = append(c.recent, *exit)
		c.recent = c.recent[max(0, len(c.recent)-8):]
	}
	c.mu.Unlock()
	c.announce(old, next)
	c.mu.Lock()
	return nil
}

// announce tells of a change and lets the old identity finish.
func (c *Client) announce(old, next *identity) {
	var was Identity
	if old != nil {
		was = old.snapshot()
		c.stats.rotations.Add(1)
		old.retire()
	}
	info := next.snapshot()
	c.log.Info("identity", "number", info.Number, "exit", info.Exit, "direct", info.Direct)
	if c.opts.Hooks.OnRotate != nil {
		c.opts.Hooks.OnRotate(was, info)
	}
}

// next returns the identity to follow: a spare one, or a new one.
func (c *Client) next(ctx context.Context, s *slot, host string, first bool) (*identity, error) {
	if s.direct || c.guard.direct {
		return c.register(c.newIdentity(newIsolation(), s.direct)), nil
	}
	if c.opts.Rotation.By == NewNym {
		if !first {
			if err := c.opts.Egress.(identityEgress).NewIdentity(ctx); err != nil { // New has checked the type
				c.note(err)
				return nil, err
			}
		}
		return c.register(c.newIdentity("", false)), nil
	}
	for {
		c.mu.Lock()
		var spare *identity
		if len(s.spares) > 0 {
			spare, s.spares = s.spares[0], s.spares[1:]
		}
		c.mu.Unlock()
		if spare == nil {
			return c.draw(ctx, s, host)
		}
		if age := c.opts.Rotation.MaxAge; (age < 0 || time.Since(spare.info.Since) < age) && c.isDistinct(ctx, nil, spare) {
			return spare, nil
		}
		spare.retire()
	}
}

// register makes the client know of an identity, for Close.
func (c *Client) register(id *identity) *identity {
	c.mu.Lock()
	c.all[id] = struct{}{}
	c.mu.Unlock()
	return id
}

// forget is register's opposite.
func (c *Client) forget(id *identity) {
	c.mu.Lock()
	delete(c.all, id)
	c.mu.Unlock()
}

// draw makes a new identity; with Distinct, one whose exit differs from the
// latest ones'.
func (c *Client) draw(ctx context.Context, s *slot, host string) (*identity, error) {
	if !c.opts.Rotation.Distinct {
		return c.register(c.newIdentity(newIsolation(), false)), nil
	}
	for range maxRedraws {
		id := c.register(c.newIdentity(newIsolation(), false))
		exit, err := c.findExit(ctx, id, host)
		if err != nil {
			id.retire()
			return nil, fmt.Errorf("exit of a new identity: %w", err)
		}
		id.exit.Store(&exit)
		if c.isDistinct(ctx, s, id) {
			return id, nil
		}
		c.stats.redraws.Add(1)
		id.retire()
	}
	return nil, fmt.Errorf("no exit but the latest ones in %d draws: are there enough exits for Rotation.Distinct?", maxRedraws)
}

// findExit gets the egress ready for host and asks for the exit.
func (c *Client) findExit(ctx context.Context, id *identity, host string) (string, error) {
	if w, ok := c.opts.Egress.(warmEgress); ok {
		if err := w.Warm(ctx, id.info.Isolation, host); err != nil {
			c.note(err)
			return "", err
		}
	}
	return c.opts.Egress.(exitEgress).Exit(ctx, id.info.Isolation) // New has checked the type
}

// lookUp asks the egress for id's exit, for Stats, and then counts the pages
// that were delivered meanwhile.
func (c *Client) lookUp(ctx context.Context, id *identity) {
	e, ok := c.opts.Egress.(exitEgress)
	if !ok || !hasControl(c.opts.Egress) || id.info.Direct || id.exit.Load() != nil {
		return
	}
	exit, err := e.Exit(ctx, id.info.Isolation)
	if err != nil {
		c.log.DebugContext(ctx, "exit not known", "error", err)
		return
	}
	c.stats.mu.Lock()
	id.exit.Store(&exit)
	for range id.unknown {
		count(&c.stats.exits, exit)
	}
	if left := c.stats.exits[unknownExit] - id.unknown; id.unknown > 0 && left > 0 {
		c.stats.exits[unknownExit] = left
	} else if id.unknown > 0 {
		delete(c.stats.exits, unknownExit)
	}
	id.unknown = 0
	c.stats.mu.Unlock()
}

// lookUpOnce looks up the exit of an identity that has just connected.
func (c *Client) lookUpOnce(id *identity) {
	if id.connected.Load() || !id.connected.CompareAndSwap(false, true) || id.info.Direct || id.exit.Load() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		c.lookUp(ctx, id)
	})
}

// isDistinct reports whether id's exit differs from those of the latest
// identities, and of the spare ones of s, which come before it.
func (c *Client) isDistinct(ctx context.Context, s *slot, id *identity) bool {
	if !c.opts.Rotation.Distinct {
		return true
	}
	apart := 1
	if e, ok := c.opts.Egress.(exitsEgress); ok {
		if n, err := e.Exits(ctx); err == nil {
			apart = min(3, n-1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := slices.Clone(c.recent)
	if s != nil {
		for _, spare := range s.spares {
			before = append(before, *spare.exit.Load())
		}
	}
	before = before[max(0, len(before)-apart):]
	return !slices.Contains(before, *id.exit.Load())
}

// warmLocked makes the next identities ready in the background, if they are
// not and it can be done. Client.mu is held.
func (c *Client) warmLocked(s *slot, host string) {
	egress, ok := c.opts.Egress.(warmEgress)
	if !ok || s.direct || s.warming || c.opts.Rotation.By != Isolation || len(s.spares) >= c.opts.Rotation.Warm ||
		c.opts.Rotation.Every < 0 && c.opts.Rotation.MaxAge < 0 {
		return
	}
	s.warming = true
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		id, err := c.draw(ctx, s, host)
		if err == nil && !c.opts.Rotation.Distinct {
			err = egress.Warm(ctx, id.info.Isolation, host)
			c.lookUp(ctx, id)
		}
		c.mu.Lock()
		s.warming = false
		keep := err == nil && !c.closed
		if keep {
			s.spares = append(s.spares, id)
			if s.cur != nil {
				c.openLocked(s, s.cur)
			}
		}
		c.mu.Unlock()
		if keep {
			return
		}
		if id != nil {
			id.retire()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			// No spare is no failure: the next identity starts cold.
			c.log.Debug("warm-up failed", "error", err)
		}
	})
}
