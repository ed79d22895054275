package scrape

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/url"
	"strings"
	"sync"
	"time"
)

// item is a request in a frontier.
type item struct {
	request Request
	url     *url.URL
	id      uint64
	tries   int
	begun   bool
	bad     error // the URL cannot be read
	queue   *hostQueue
}

// idOf is what two requests for the same page have in common.
func idOf(method string, u *url.URL, body []byte) uint64 {
	h := sha256.New()
	if method == "" {
		method = "GET"
	}
	h.Write([]byte(method + " " + u.String() + "\n"))
	h.Write(body)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// normalURL is u without what makes no other page of it: fragment, user,
// default port, letter case of scheme and host, a dot at the host's end, an
// empty path, and spellings of characters that need no encoding.
func normalURL(u *url.URL) *url.URL {
	n := &url.URL{Scheme: strings.ToLower(u.Scheme), Path: u.Path, RawPath: u.RawPath, RawQuery: percent(u.RawQuery, encodedInQuery)}
	n.Host = hostKey(u)
	if n.Path == "" {
		n.Path = "/"
	}
	n.RawPath = oneSpelling(n.EscapedPath())
	n.RawQuery = oneSpelling(n.RawQuery)
	return n
}

// oneSpelling writes the hexadecimal digits of escapes in upper case, and
// characters that need no escape as themselves (RFC 3986 §6.2.2).
func oneSpelling(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}

	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) {
			out.WriteByte(s[i])
			continue
		}
		escape := strings.ToUpper(s[i : i+3])
		if c, err := url.PathUnescape(escape); err == nil && len(c) == 1 && isUnreserved(c[0]) {
			escape = c
		}
		out.WriteString(escape)
		i += 2
	}

	return out.String()
}

// isUnreserved reports whether a character never needs an escape (RFC 3986
// §2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// hostQueue is the requests that wait for one host, first come first served.
type hostQueue struct {
	host   *host
	items  []*item
	active int
	loose  bool      // no host of the table
	at     time.Time // not before
	place  int       // in the heap, -1: not in it
}

// frontier hands out requests, those of hosts that have to wait later.
type frontier struct {
	client *Client
	limit  int           // requests under way to one host; 0: none
	most   time.Duration // a longer pause is not waited for: the request fails at once

	mu      sync.Mutex
	queues  map[string]*hostQueue
	heap    queueHeap
	held    int   // requests that wait
	active  int   // requests under way
	idle    int   // workers that wait
	fresh   *item // pushed last, and no worker has looked at it yet
	over    bool
	changed chan struct{} // closed and replaced with every change
}

func newFrontier(c *Client, most time.Duration) *frontier {
	return &frontier{client: c, most: most, limit: max(0, c.opts.HostLimit.InFlight), queues: map[string]*hostQueue{}, changed: make(chan struct{})}
}

// signal wakes all who wait. f.mu is held.
func (f *frontier) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// push adds a request.
func (f *frontier) push(it *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := ""
	if it.url != nil {
		key = hostKey(it.url)
	}

	q := f.queues[key]
	if q == nil {
		q = &hostQueue{place: -1, loose: key == ""}
		if q.loose { // no address: the request fails at once
			q.host = &host{table: f.client.hosts}
		} else {
			q.host = f.client.hosts.get(it.url)
		}
		f.queues[key] = q
	}

	it.queue = q
	q.items = append(q.items, it)
	f.held++
	f.fresh = it
	f.place(q)
	f.signal()
}

// place puts q where it belongs. f.mu is held.
func (f *frontier) place(q *hostQueue) {
	wanted := len(q.items) > 0 && (f.limit == 0 || q.active < f.limit)
	switch {
	case wanted && q.place < 0:
		heap.Push(&f.heap, q)
	case wanted:
		heap.Fix(&f.heap, q.place)
	case q.place >= 0:
		heap.Remove(&f.heap, q.place)
	}
	if len(q.items) == 0 && q.active == 0 { // no page of the host is left
		delete(f.queues, q.host.key)
		f.release(q)
	}
}

// next returns a request whose host is ready, and waits for one. It returns nil
// when none is left, or ctx or the client has ended.
func (f *frontier) next(ctx context.Context) *item {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return nil
		}
		if f.over && f.held == 0 && f.active == 0 {
			f.signal()
			return nil
		}
		wait := time.Hour
		now := time.Now()
		for len(f.heap) > 0 {
			q := f.heap[0]
			if ready := q.host.ready(); ready.After(q.at) && ready.Sub(now) <= f.most {
				q.at = ready
				heap.Fix(&f.heap, 0)
				if f.heap[0] != q {
					continue
				}
			}
			if wait = q.at.Sub(now); wait > 0 {
				break
			}
			return f.take(q)
		}

		changed := f.changed
		f.idle++
		if f.idle == 1 || f.fresh != nil {
			f.fresh = nil // its host has to wait
			f.signal()    // whoever feeds may go on
			changed = f.changed
		}
		f.mu.Unlock()
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-f.client.ctx.Done():
		}
		timer.Stop()
		f.mu.Lock()
		f.idle--
		if f.client.ctx.Err() != nil && f.held > 0 {
			// Closed: requests are not parked any more, and fail at once.
			for len(f.heap) > 0 {
				return f.take(f.heap[0])
			}
		}
	}
}

// take takes the first request of q. f.mu is held.
func (f *frontier) take(q *hostQueue) *item {
	it := q.items[0]
	if it == f.fresh {
		f.fresh = nil
		f.signal() // whoever feeds may go on, for the next worker
	}
	q.items[0] = nil
	q.items = q.items[1:]
	q.active++
	f.held--
	f.active++
	f.place(q)
	return it
}

// done ends a request.
func (f *frontier) done(it *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it.queue.active--
	f.active--
	f.place(it.queue)
	f.signal()
}

// park puts a request back, first in its host's line, until then.
func (f *frontier) park(it *item, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := it.queue
	q.items = append([]*item{it}, q.items...)
	q.active--
	if until.After(q.at) {
		q.at = until
	}
	f.held++
	f.active--
	f.place(q)
	f.signal()
}

// noMore says that nothing comes but what is found on pages.
func (f *frontier) noMore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.signal()
}

// room waits until a worker has nothing to do and fewer than limit requests
// wait. A worker that was woken for the request pushed last still counts as
// idle, so that one must be looked at first. It reports false if ctx has ended.
func (f *frontier) room(ctx context.Context, limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	for f.idle == 0 || f.fresh != nil || f.held >= limit {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return false
		}
	}

	return true
}

// release lets the host of q be forgotten.
func (f *frontier) release(q *hostQueue) {
	if !q.loose {
		f.client.hosts.put(q.host)
	}
}

// close drops what waits.
func (f *frontier) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.queues {
		f.release(q)
	}
	clear(f.queues)
}

func (f *frontier) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// counts returns how many requests wait, and for how many hosts.
func (f *frontier) counts() (waiting, hosts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held, len(f.queues)
}

// queueHeap orders the queues by when they may go on.
type queueHeap []*hostQueue

func (h queueHeap) Len() int           { return len(h) }
func (h queueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h queueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push adds a queue.
func (h *queueHeap) Push(x any) {
	q := x.(*hostQueue)
	q.place = len(*h)
	*h = append(*h, q)
}

// Pop removes the last queue.
func (h *queueHeap) Pop() any {
	old := *h
	q := old[len(old)-1]
	*h, q.place = old[:len(old)-1], -1
	return q
}
