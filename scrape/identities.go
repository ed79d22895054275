package scrape

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on making an identity.
const (
	maxDraws    = 8 // circuits for one change of identity, on average
	maxCredit   = 4 * maxDraws
	drawTimeout = 10 * time.Second
	maxRedraws  = 16 // identities for one attempt
	warmTimeout = 60 * time.Second
	maxOpened   = 16 // connections that are opened in advance
)

// identities makes identities and hands them out, one after another.
type identities struct {
	client  *Client
	numbers atomic.Int64

	mu       sync.Mutex
	closed   bool
	main     slot
	fallback slot
	recent   []string // exits of the latest identities, newest last
	lastHost string
	all      map[*identity]struct{}
	apart    int // how many exits in a row can differ, as was learned; 0: all that are wanted
	calm     int // changes since then
	credit   int // circuits that may be drawn
	degraded bool
}

// slot is where identities follow each other: one for the egress, one for the
// fallback. Guarded by identities.mu.
type slot struct {
	direct   bool
	cur      *identity
	spares   []*identity
	warming  bool
	changing chan struct{} // closed when the change under way is over
}

// stays reports whether the identities of s leave by one route: where the
// address cannot change, or is not to, a change of identity brings another
// browser with other cookies and keeps the connections.
func (s *slot) stays(c *Client) bool {
	return s.direct || c.guard.direct || c.opts.Rotation.Every < 0 && c.opts.Rotation.By == Isolation
}

// make returns a new identity that leaves by r.
func (p *identities) make(r *route) *identity {
	c := p.client
	id := &identity{owner: p, route: r, info: Identity{
		Number: int(p.numbers.Add(1)), Isolation: r.isolation, Since: time.Now(), Way: r.way.name, Direct: r.guard.direct,
	}}
	if c.opts.AgentPer == PerIdentity {
		id.info.Agent = c.opts.UserAgents.GetRandom()
	}
	if c.opts.Cookies != nil {
		id.jar = c.opts.Cookies(id.info)
	} else {
		id.jar, id.ownJar = newJar(), true
	}
	p.register(id)
	return id
}

// register makes an identity known, for Close. It reports whether the client is
// still open.
func (p *identities) register(id *identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if _, ok := p.all[id]; !ok {
		p.all[id] = struct{}{}
		if id.users++; id.users == 1 {
			id.gate.reopen()
		}
	}
	return true
}

// forget is register's opposite; the last identity of a route closes its
// connections.
func (p *identities) forget(id *identity) {
	p.mu.Lock()
	_, ok := p.all[id]
	delete(p.all, id)
	over := false
	if ok {
		id.users--
		over = id.users == 0
	}
	p.mu.Unlock()
	if over {
		id.gate.close()
	}
}

// close ends all identities with what is in flight.
func (p *identities) close() {
	p.mu.Lock()
	p.closed = true
	open := make([]*identity, 0, len(p.all))
	for id := range p.all {
		open = append(open, id)
	}
	p.mu.Unlock()
	for _, id := range open {
		id.gate.close()
	}
}

// acquire returns the identity for one more request to host and holds it.
func (p *identities) acquire(ctx context.Context, s *slot, host string, robots bool) (*identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastHost = host

	for {
		if p.closed {
			return nil, ErrClosed
		}

		if id := s.cur; id != nil && !p.spent(s, id) && id.hold() {
			if !robots {
				id.used++
			}
			p.warmLocked(s, host)
			p.openLocked(s, id)
			return id, nil
		}

		if err := p.changeLocked(ctx, s, host); err != nil {
			return nil, err
		}
	}
}

// current returns the identity that k would use now, nil if there is none.
func (p *identities) current(k *call) *identity {
	if s := k.chain.session; s != nil {
		return s.id
	}
	if k.chain.id != nil {
		return k.chain.id
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.main.cur
}

// spent reports whether id gets no more requests. p.mu is held.
func (p *identities) spent(s *slot, id *identity) bool {
	r := p.client.opts.Rotation
	if id.left || r.MaxAge > 0 && time.Since(id.info.Since) > r.MaxAge {
		return true
	}
	return !s.stays(p.client) && r.Every > 0 && id.used >= r.Every
}

// countRetry counts a request that stays on an identity it already holds.
func (p *identities) countRetry(id *identity) {
	p.mu.Lock()
	id.used++
	p.mu.Unlock()
}

// leave makes id get no more requests.
func (p *identities) leave(id *identity) {
	p.mu.Lock()
	id.left = true
	p.mu.Unlock()
}

// drop makes id get no more requests, and forgets its exit if it has served
// none: the next one need not differ from it.
func (p *identities) drop(id *identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id.left = true
	if exit := id.exit.Load(); exit != nil && !id.connected.Load() {
		for i, recent := range slices.Backward(p.recent) {
			if recent == *exit {
				p.recent = slices.Delete(p.recent, i, i+1)
				return
			}
		}
	}
}

// rotate replaces the identity of the egress, whatever it has left.
func (p *identities) rotate(ctx context.Context) (Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.main.cur
	for {
		if err := p.changeLocked(ctx, &p.main, p.lastHost); err != nil {
			return Identity{}, err
		}
		if p.main.cur != before {
			return p.main.cur.snapshot(), nil
		}
	}
}

// changeLocked replaces the identity of s, or waits until a change under way
// is over. p.mu is held on entry and on return, not in between.
func (p *identities) changeLocked(ctx context.Context, s *slot, host string) error {
	if p.closed {
		return ErrClosed
	}
	if wait := s.changing; wait != nil {
		p.mu.Unlock()
		defer p.mu.Lock()
		select {
		case <-wait:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.client.ctx.Done():
			return ErrClosed
		}
	}

	over := make(chan struct{})
	s.changing = over
	old := s.cur
	p.mu.Unlock()
	next, err := p.next(ctx, s, host, old)
	p.mu.Lock()
	s.changing = nil
	close(over)

	if err != nil {
		return err
	}
	if p.closed {
		p.mu.Unlock()
		next.retire()
		p.mu.Lock()
		return ErrClosed
	}

	next.info.Since = time.Now()
	s.cur = next
	if exit := next.exit.Load(); exit != nil {
		p.recent = append(p.recent, *exit)
		p.recent = p.recent[max(0, len(p.recent)-8):]
	}
	p.mu.Unlock()
	p.announce(old, next)
	p.mu.Lock()
	return nil
}

// announce tells of a change and lets the old identity finish.
func (p *identities) announce(old, next *identity) {
	c := p.client
	var was Identity
	if old != nil {
		was = old.snapshot()
		c.stats.rotations.Add(1)
		old.retire()
	}
	info := next.snapshot()
	c.log.Info("identity", "number", info.Number, "way", info.Way, "exit", info.Exit, "direct", info.Direct)
	if c.opts.Hooks.OnRotate != nil {
		c.opts.Hooks.OnRotate(was, info)
	}
}

// next returns the identity to follow old: on the same route where the slot
// stays on it, else a spare one, or a new one.
func (p *identities) next(ctx context.Context, s *slot, host string, old *identity) (*identity, error) {
	c := p.client
	if s.direct || c.guard.direct {
		if old != nil {
			return p.make(old.route), nil
		}
		w, g := c.ways.direct, c.directGuard
		if c.guard.direct {
			w, g = c.ways.list[0], c.guard
		}
		return p.make(c.newRoute(w, g, newIsolation())), nil
	}

	if c.opts.Rotation.By == NewNym {
		w := c.ways.list[0]
		if old != nil {
			if err := w.egress.(IdentityEgress).NewIdentity(ctx); err != nil { // New has checked the type
				w.note(err)
				return nil, err
			}
		}
		return p.make(c.newRoute(w, c.guard, "")), nil
	}

	if old != nil && s.stays(c) && p.mayStay(old) {
		return p.make(old.route), nil
	}

	for fresh := true; ; fresh = false {
		p.mu.Lock()
		var spare *identity
		if len(s.spares) > 0 {
			spare, s.spares = s.spares[0], s.spares[1:]
		}
		p.mu.Unlock()

		if spare == nil {
			if fresh { // the circuits of a spare that was in vain are spent
				p.grant()
			}
			return p.draw(ctx, nil, host)
		}

		age := c.opts.Rotation.MaxAge
		if (age < 0 || time.Since(spare.info.Since) < age) && spare.way.works() && !c.ways.prefers(spare.way) && p.still(ctx, spare) {
			return spare, nil
		}
		spare.retire()
	}
}

// pinned returns an identity of its own, which no slot hands out.
func (p *identities) pinned(ctx context.Context) (*identity, error) {
	c := p.client
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if c.guard.direct {
		return p.make(c.newRoute(c.ways.list[0], c.guard, newIsolation())), nil
	}

	if c.opts.Rotation.By == NewNym {
		return p.make(c.newRoute(c.ways.list[0], c.guard, "")), nil
	}
	p.mu.Lock()
	host := p.lastHost
	p.mu.Unlock()
	if host == "" { // no host to warm a circuit for: the exit is found out later
		return p.make(c.newRoute(c.ways.pick(), c.guard, newIsolation())), nil
	}

	p.grant()
	return p.draw(ctx, nil, host)
}

// still reports whether the exit of a spare identity is still another one than
// the last.
func (p *identities) still(ctx context.Context, spare *identity) bool {
	exit := spare.exit.Load()
	if exit == nil || !p.client.opts.Rotation.Distinct {
		return true
	}
	least := min(1, p.wanted(ctx, spare))
	return p.distance(nil, *exit, least) >= least
}

// mayStay reports whether nothing speaks against the route of id.
func (p *identities) mayStay(id *identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !id.left
}

// draw makes a new identity; with Distinct, one whose exit differs from the
// latest ones'. One that is to follow the spare ones of behind differs from those
// too; behind is nil for one that is used at once, before a spare that has become
// ready meanwhile. Each draw may cost a circuit, so there are few. Half of them
// look for all that is wanted, the rest for another exit than the last: where
// exits have run out, a client with one that was used lately is better than none.
// Tor draws by bandwidth, so that one of few exits may come eight times in a row:
// what earlier changes have left of their circuits is spent then.
func (p *identities) draw(ctx context.Context, behind *slot, host string) (*identity, error) {
	c := p.client
	if !c.opts.Rotation.Distinct || isOnion(host) {
		return p.make(c.newRoute(c.ways.pick(), c.guard, newIsolation())), nil
	}

	var (
		best   *identity
		far    = -1
		wanted int
		last   error
	)
	failed := 0
	for n := 0; failed < maxDraws && (n < maxDraws/2 || far < 1) && p.spend(n == 0); n++ {
		id := p.make(c.newRoute(c.ways.pick(), c.guard, newIsolation()))
		exit, err := p.findExit(ctx, id, host)
		if err != nil {
			id.retire()
			failed++
			last = err
			if ctx.Err() != nil || c.ctx.Err() != nil || errors.Is(err, ErrEgressUnavailable) && !c.ways.another(id.way) {
				last = fmt.Errorf("exit of a new identity: %w", err)
				break
			}
			continue
		}

		id.exit.Store(&exit)
		wanted = p.wanted(ctx, id)
		distance := p.distance(behind, exit, wanted)
		if distance <= far {
			c.stats.redraws.Add(1)
			id.retire()
			continue
		}

		if best != nil {
			c.stats.redraws.Add(1)
			best.retire()
		}
		if best, far = id, distance; far >= wanted {
			break
		}
	}

	if best == nil {
		if c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, last
	}
	p.learned(far, wanted)
	return best, nil
}

// grant adds the circuits of one change.
func (p *identities) grant() {
	p.mu.Lock()
	p.credit = min(p.credit+maxDraws, maxCredit)
	p.mu.Unlock()
}

// spend reports whether a circuit may be drawn, and counts it. The first for a
// change always may.
func (p *identities) spend(first bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.credit <= 0 && !first {
		return false
	}
	p.credit = max(p.credit-1, 0)
	return true
}

// findExit gets the egress ready for host and asks for the exit, within a bound
// of its own: one circuit that does not come up must not stop the client.
func (p *identities) findExit(ctx context.Context, id *identity, host string) (string, error) {
	limit := drawTimeout
	if t := p.client.opts.Limits.Timeout; t > 0 {
		limit = min(limit, t)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
	defer cancel()

	if w, ok := id.way.egress.(WarmEgress); ok {
		if err := w.Warm(ctx, id.isolation, host); err != nil {
			id.way.note(err)
			return "", err
		}
	}

	exit, err := id.way.egress.(ExitEgress).Exit(ctx, id.isolation) // New has checked the type
	id.way.note(err)
	return exit, err
}

// wanted returns how many of the latest exits the next is to differ from.
func (p *identities) wanted(ctx context.Context, id *identity) int {
	apart := 1
	if p.client.ways.many() {
		apart = min(3, p.client.ways.count()-1)
	} else if e, ok := id.way.egress.(ExitsEgress); ok {
		if n, err := e.Exits(ctx); err == nil {
			apart = min(3, n-1)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.apart > 0 {
		apart = min(apart, p.apart)
	}
	return max(apart, 0)
}

// distance returns how many of the latest identities, and of the spare ones of
// s, which come after them, left by another exit; limit at most.
func (p *identities) distance(s *slot, exit string, limit int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := slices.Clone(p.recent)

	if s != nil {
		for _, spare := range s.spares {
			if e := spare.exit.Load(); e != nil {
				before = append(before, *e)
			}
		}
	}

	for i, recent := range slices.Backward(before) {
		if recent == exit {
			return min(limit, len(before)-1-i)
		}
	}

	return limit
}

// calmAfter is how many changes go by before more exits are asked for again.
const calmAfter = 20

// learned remembers how many exits could differ, and says so once if they were
// too few.
func (p *identities) learned(got, wanted int) {
	p.mu.Lock()
	few := got < wanted
	switch {
	case few:
		p.apart, p.calm = max(1, got), 0
	case p.apart > 0:
		if p.calm++; p.calm >= calmAfter {
			p.apart, p.calm = p.apart+1, 0
		}
	}

	first := few && !p.degraded
	p.degraded = p.degraded || few
	p.mu.Unlock()
	if first {
		p.client.log.Warn("few exits to choose from: Rotation.Distinct asks for less", "wanted", wanted, "got", got)
	}
}

// warmLocked makes the next identities ready in the background, if they are
// not and it can be done. p.mu is held.
func (p *identities) warmLocked(s *slot, host string) {
	c := p.client
	if s.stays(c) || s.warming || c.opts.Rotation.By != Isolation || len(s.spares) >= c.opts.Rotation.Warm ||
		c.opts.Rotation.Every < 0 && c.opts.Rotation.MaxAge < 0 {
		return
	}
	if _, ok := c.ways.list[0].egress.(WarmEgress); !ok {
		return
	}

	s.warming = true
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		p.grant()
		id, err := p.draw(ctx, s, host)
		if e, ok := warmable(id); err == nil && ok && !c.opts.Rotation.Distinct {
			err = e.Warm(ctx, id.isolation, host)
			c.lookUp(ctx, id)
		}

		p.mu.Lock()
		s.warming = false
		keep := err == nil && !p.closed
		if keep {
			s.spares = append(s.spares, id)
			if s.cur != nil {
				p.openLocked(s, s.cur)
			}
		}
		p.mu.Unlock()

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

// warmable returns the egress of id if it can be warmed.
func warmable(id *identity) (WarmEgress, bool) {
	if id == nil {
		return nil, false
	}
	e, ok := id.way.egress.(WarmEgress)
	return e, ok
}

// openLocked has the next identity connect, shortly before it takes over from
// id, to where id has most connections, as many times. A change of identity
// would else stop all workers for as long as connecting takes, which at 8
// workers and 25 requests costs a quarter of the pages. It is done for a host
// without a limit only: at a few requests a second nobody waits for a connection,
// and none is made that the host has not room for. p.mu is held. What goes wrong
// is left to the requests, which find no connection then.
func (p *identities) openLocked(s *slot, id *identity) {
	c := p.client
	left := c.opts.Rotation.Every - id.used
	if len(s.spares) == 0 || c.opts.Rotation.Every < 0 || left > 2*maxOpened || s.spares[0].opened || c.hosts.limit.PerSecond > 0 {
		return
	}

	key, n := id.gate.busiest()
	if n < 2 || left > 2*n { // one after another, hardly anything is won
		return
	}

	next := s.spares[0]
	next.opened = true

	c.wg.Go(func() {
		h := c.hosts.get(key.url())
		defer c.hosts.put(h)
		if !h.unlimited() {
			return
		}

		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		var wg sync.WaitGroup
		for range min(n, maxOpened) {
			wg.Go(func() {
				if err := next.gate.prepare(ctx, key, h); err != nil {
					c.log.Debug("connection not opened in advance", "error", err)
				}
			})
		}
		wg.Wait()
	})
}
