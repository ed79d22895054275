package scrape

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/scrape/internal/robots"
)

// How long rules are kept, and how many redirects lead to them (RFC 9309
// §2.4, §2.3.1.2).
const (
	robotsAge        = 24 * time.Hour
	robotsErrorAge   = 10 * time.Second // asked again within seconds
	robotsRedirects  = 5
	maxRobotsTimeout = 30 * time.Second
	robotsPark       = 500 * time.Millisecond // between looks at one that is being fetched
)

// robotsCache keeps the rules of the hosts that were used last.
type robotsCache struct {
	client *Client
	limit  int

	mu      sync.Mutex
	entries map[origin]*robotsEntry
	order   *list.List // of *robotsEntry, most recently used first
}

// robotsEntry is one host's rules, or their being fetched.
type robotsEntry struct {
	key   origin
	place *list.Element
	ready chan struct{} // closed when the rest is set
	rules *robots.Rules
	err   error // why the rules could not be had
	until time.Time

	dropped bool // the caller that fetched it gave up
}

// known reports whether the entry is complete.
func (e *robotsEntry) known() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}

func newRobotsCache(c *Client, limit int) *robotsCache {
	return &robotsCache{client: c, limit: limit, entries: map[origin]*robotsEntry{}, order: list.New()}
}

// get returns the entry of key; fresh says that the caller has to fill it in.
func (r *robotsCache) get(key origin) (entry *robotsEntry, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if e := r.entries[key]; e != nil {
		if !e.known() || time.Now().Before(e.until) {
			r.order.MoveToFront(e.place)
			return e, false
		}
		r.remove(e)
	}

	e := &robotsEntry{key: key, ready: make(chan struct{})}
	e.place = r.order.PushFront(e)
	r.entries[key] = e
	for len(r.entries) > r.limit {
		r.remove(r.order.Back().Value.(*robotsEntry))
	}
	return e, true
}

// remove drops an entry. r.mu is held. Those who wait for it keep waiting for
// the entry itself.
func (r *robotsCache) remove(e *robotsEntry) {
	r.order.Remove(e.place)
	if r.entries[e.key] == e {
		delete(r.entries, e.key)
	}
}

// drop removes an entry that is of no use to others.
func (r *robotsCache) drop(e *robotsEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entries[e.key] == e {
		r.remove(e)
	}
}

// ask returns an error if k's request may not be sent: one that matches
// ErrRobots if the site forbids it, the cause if the site cannot be reached.
func (r *robotsCache) ask(k *call) error {
	c := r.client
	if c.opts.Robots.Ignore || k.chain.robots {
		return nil
	}
	rules, err := r.rulesOf(k)
	if err != nil {
		return err
	}
	k.host.crawlDelay(rules.Delay())
	if !rules.Allowed(k.req.URL.RequestURI()) {
		c.stats.robots.Add(1)
		return fmt.Errorf("%w of %s (Options.Robots.Ignore passes over it)", ErrRobots, originOf(k.req.URL))
	}
	return nil
}

// rulesOf returns the rules of the site that k's request is for.
func (r *robotsCache) rulesOf(k *call) (*robots.Rules, error) {
	c := r.client
	ctx, key := k.req.Context(), originOf(k.req.URL)
	for {
		entry, fresh := r.get(key)
		if fresh {
			r.fill(ctx, entry, k)
		}

		// In a crawl only one worker waits for a robots.txt that does not come.
		var enough <-chan time.Time
		if k.patience > 0 && !entry.known() {
			timer := time.NewTimer(k.patience)
			defer timer.Stop()
			enough = timer.C
		}

		select {
		case <-entry.ready:
		case <-enough:
			return nil, &parkedError{until: time.Now().Add(robotsPark)}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
			return nil, ErrClosed
		}

		if entry.err != nil && !fresh && entry.dropped {
			continue // the one who fetched it gave up; take its place
		}
		return entry.rules, entry.err
	}
}

// fill fetches robots.txt and completes entry.
func (r *robotsCache) fill(ctx context.Context, entry *robotsEntry, k *call) {
	c := r.client
	defer close(entry.ready)
	entry.until = time.Now().Add(robotsAge)
	entry.rules, entry.err = r.fetch(ctx, &url.URL{Scheme: k.req.URL.Scheme, Host: k.req.URL.Host, Path: "/robots.txt"}, k.patience)
	switch {
	case entry.err == nil:
	case ctx.Err() != nil, c.ctx.Err() != nil, errors.Is(entry.err, ErrEgressUnavailable), errors.Is(entry.err, ErrRetryLater), isParked(entry.err):
		entry.dropped = ctx.Err() != nil || isParked(entry.err)
		r.drop(entry) // the egress's fault, or the caller's: not the host's
	default:
		// Denied while it is unreachable, and asked again soon.
		entry.until = time.Now().Add(robotsErrorAge)
	}
}

func isParked(err error) bool {
	_, ok := errors.AsType[*parkedError](err)
	return ok
}

// fetch returns the rules at address. What the file's absence means
// follows from why it is absent (RFC 9309 §2.3.1).
func (r *robotsCache) fetch(ctx context.Context, address *url.URL, patience time.Duration) (*robots.Rules, error) {
	c := r.client
	limit := maxRobotsTimeout
	if t := c.opts.Limits.Timeout; t > 0 {
		limit = min(limit, t)
	}
	policy := backoff.Policy{Base: c.opts.Retry.Base, Max: min(c.opts.Retry.Max, robotsErrorAge)}
	agent := c.opts.UserAgents.GetRandom()

	for number := 1; ; number++ {
		bounded, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
		ch := &chain{agent: agent, robots: true}
		rules, err := r.follow(bounded, address, ch, patience)
		cancel()

		if err == nil || ctx.Err() != nil || c.ctx.Err() != nil {
			return rules, err
		}
		if ae, ok := errors.AsType[*attemptError](err); ok && ae.final || errors.Is(err, ErrEgressUnavailable) ||
			errors.Is(err, ErrForbiddenAddress) || errors.Is(err, ErrRetryLater) || isParked(err) || number >= c.opts.Retry.Attempts {
			return nil, err
		}

		// Another exit may be served. On Direct the same address asks again.
		if ch.id != nil && !ch.id.info.Direct {
			c.ids.leave(ch.id)
		}
		if err := sleep(ctx, c.ctx.Done(), policy.Delay(number)); err != nil {
			return nil, err
		}
	}
}

func (r *robotsCache) follow(ctx context.Context, address *url.URL, ch *chain, patience time.Duration) (*robots.Rules, error) {
	c := r.client
	for range robotsRedirects + 1 {
		res, err := r.exchange(ctx, address, ch, patience)
		if err != nil {
			return nil, fmt.Errorf("robots.txt: %w", err)
		}

		status, location := res.StatusCode, res.Header.Get("Location")
		switch {
		case status >= 300 && status < 400 && location != "":
			drop(res)
			next, err := resolve(address, location)
			if err != nil {
				return robots.AllowAll(), nil
			}
			if err := c.guard.checkURL(next); err != nil {
				return nil, err
			}
			address = next
			continue
		case status == http.StatusTooManyRequests || status >= 500:
			drop(res)
			return nil, fmt.Errorf("%w: %w: status %d", ErrRobots, errRobotsUnread, status)
		case status < 200 || status >= 300:
			drop(res)
			return robots.AllowAll(), nil // there is none
		}

		data, err := io.ReadAll(io.LimitReader(res.Body, robots.MaxBytes+1))
		_ = res.Body.Close() // what counts was read

		switch {
		case errors.Is(err, ErrBodyTooLarge):
			data = robots.Lines(data)
		case err != nil:
			return nil, fmt.Errorf("%w: %w: %w", ErrRobots, errRobotsUnread, err)
		}

		return robots.Parse(data, c.opts.Robots.Agent), nil
	}

	return robots.AllowAll(), nil // five redirects led nowhere: there is none
}

// exchange makes one request by the current identity, which does not
// count.
func (r *robotsCache) exchange(ctx context.Context, address *url.URL, ch *chain, patience time.Duration) (*http.Response, error) {
	c := r.client
	req := (&http.Request{Method: http.MethodGet, URL: address, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}).WithContext(ctx)
	k := &call{client: c, req: req, chain: *ch, body: requestBody{req: req}, patience: patience}
	k.host = c.hosts.get(address)
	defer c.hosts.put(k.host)
	res, _, err := k.try(req)
	ch.id = k.chain.id
	if err == nil {
		k.spare(res)
	}
	return res, err
}
