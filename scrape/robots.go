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

	"github.com/svcblocks/svcblocks/scrape/internal/robots"
)

// How long rules are kept, and how many redirects lead to them (RFC 9309
// §2.4, §2.3.1.2).
const (
	robotsAge        = 24 * time.Hour
	robotsErrorAge   = 5 * time.Minute
	robotsRedirects  = 5
	robotsAttempts   = 2
	maxRobotsTimeout = 30 * time.Second
)

// robotsCache keeps the rules of the hosts that were used last.
type robotsCache struct {
	limit int

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
}

func newRobotsCache(limit int) *robotsCache {
	return &robotsCache{limit: limit, entries: map[origin]*robotsEntry{}, order: list.New()}
}

// get returns the entry of key; fresh says that the caller has to fill it in.
func (r *robotsCache) get(key origin) (entry *robotsEntry, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[key]; e != nil {
		select {
		case <-e.ready:
			if time.Now().Before(e.until) {
				r.order.MoveToFront(e.place)
				return e, false
			}
			r.remove(e)
		default:
			r.order.MoveToFront(e.place)
			return e, false
		}
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

// askRobots returns an error that matches ErrRobots if req may not be sent.
func (c *Client) askRobots(req *http.Request, ch *chain) error {
	if c.opts.Robots.Ignore || ch.robots {
		return nil
	}
	key := originOf(req.URL)
	for {
		entry, fresh := c.robots.get(key)
		if fresh {
			c.fillRobots(req.Context(), entry, req.URL)
		}
		select {
		case <-entry.ready:
		case <-req.Context().Done():
			return context.Cause(req.Context())
		}
		if entry.err != nil {
			if !fresh && isContextError(entry.err) {
				continue // the one who fetched it gave up; take its place
			}
			return entry.err
		}
		if h := c.hosts.get(key); h != nil {
			h.slow(min(entry.rules.Delay(), c.opts.Retry.Max))
			c.hosts.put(h)
		}
		if !entry.rules.Allowed(req.URL.RequestURI()) {
			c.stats.robots.Add(1)
			return fmt.Errorf("%w of %s (Options.Robots.Ignore passes over it)", ErrRobots, key)
		}
		return nil
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fillRobots fetches robots.txt and completes entry.
func (c *Client) fillRobots(ctx context.Context, entry *robotsEntry, page *url.URL) {
	defer close(entry.ready)
	entry.until = time.Now().Add(robotsAge)
	entry.rules, entry.err = c.fetchRobots(ctx, &url.URL{Scheme: page.Scheme, Host: page.Host, Path: "/robots.txt"})
	switch {
	case entry.err == nil:
	case errors.Is(entry.err, errRobotsUnreachable) && !isContextError(entry.err):
		entry.until = time.Now().Add(robotsErrorAge)
	default:
		c.robots.drop(entry) // the egress's fault, or the caller's: not the host's
	}
}

// fetchRobots returns the rules at address. What the file's absence means
// follows from why it is absent (RFC 9309 §2.3.1).
func (c *Client) fetchRobots(ctx context.Context, address *url.URL) (*robots.Rules, error) {
	limit := maxRobotsTimeout
	if t := c.opts.Limits.Timeout; t > 0 {
		limit = min(limit, t)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
	defer cancel()
	agent := c.opts.UserAgents.GetRandom()
	var last error
	for range robotsAttempts {
		rules, err := c.followRobots(ctx, address, agent)
		switch {
		case err == nil:
			return rules, nil
		case errors.Is(err, ErrTorUnavailable), errors.Is(err, ErrForbiddenAddress), errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
			return nil, err
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%w: %w: %w", ErrRobots, errRobotsUnreachable, last)
}

func (c *Client) followRobots(ctx context.Context, address *url.URL, agent string) (*robots.Rules, error) {
	for range robotsRedirects + 1 {
		res, err := c.robotsExchange(ctx, address, agent)
		if err != nil {
			return nil, err
		}
		status, location := res.StatusCode, res.Header.Get("Location")
		switch {
		case status >= 300 && status < 400 && location != "":
			drop(res)
			next, err := address.Parse(location)
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
			return nil, fmt.Errorf("status %d", status)
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
			return nil, err
		}
		return robots.Parse(data, c.opts.Robots.Agent), nil
	}
	return robots.AllowAll(), nil // five redirects led nowhere: there is none
}

// robotsExchange makes one request by the current identity, which does not
// count.
func (c *Client) robotsExchange(ctx context.Context, address *url.URL, agent string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	h := c.hosts.get(originOf(address))
	defer c.hosts.put(h)
	ch := &chain{agent: agent, robots: true}
	res, _, err := c.try(req, ch, &requestBody{req: req}, h)
	return res, err
}
