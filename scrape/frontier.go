package scrape

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// item is a request in a frontier.
type item struct {
	request Request
	url     *url.URL // of request, if it was read
	id      uint64
	at      int64 // where it stands in the journal; 0: nowhere
	sitemap int   // what it is if it is no page: see sitemap.go
	tries   int   // attempts at its latest hop
	hops    int   // redirects that were followed
	hop     *http.Request
	begun   bool
	bad     error // the URL cannot be read
	lost    error // the journal cannot be read
	queue   *hostQueue
}

// next returns the request that comes next: the first, or the redirect that had
// to wait.
func (it *item) next(ctx context.Context) (*http.Request, error) {
	if req := it.hop; req != nil {
		if req.GetBody != nil { // an attempt may have read it
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req.Body = body
		}
		return req, nil
	}

	var u *url.URL
	if it.url != nil {
		u = new(*it.url) // a hook may change it
	} else if read, err := parseAddress(it.request.URL); err == nil {
		u = read
	} else {
		return nil, err
	}

	var body io.Reader
	if it.request.Body != nil {
		body = bytes.NewReader(it.request.Body)
	}

	req, err := http.NewRequestWithContext(ctx, it.request.Method, "", body)
	if err != nil {
		return nil, err
	}

	req.URL, req.Host = u, u.Host
	if it.request.Header != nil {
		req.Header = it.request.Header.Clone()
	}
	return req, nil
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
	parked []*item // begun, and first in line
	items  []*item
	rest   []int64 // places in the journal, for which memory has no room
	active int
	filled bool      // some wait
	loose  bool      // no host of the table
	at     time.Time // not before
	place  int       // in the heap, -1: not in it
}

// len returns how many requests wait.
func (q *hostQueue) len() int { return len(q.parked) + len(q.items) + len(q.rest) }

// first takes the first request out of the queue.
func (q *hostQueue) first(j *journal) *item {
	for _, list := range []*[]*item{&q.parked, &q.items} {
		if len(*list) > 0 {
			it := (*list)[0]
			(*list)[0] = nil
			*list = (*list)[1:]
			return it
		}
	}

	it, err := j.load(q.rest[0])
	if err != nil {
		it = &item{lost: err}
	}
	q.rest = q.rest[1:]
	it.queue = q
	return it
}

// frontier hands out requests, those of hosts that have to wait later.
type frontier struct {
	client  *Client
	journal *journal      // nil: none
	limit   int           // requests under way to one host; 0: none
	most    time.Duration // a longer pause is not waited for: the request fails at once

	mu      sync.Mutex
	queues  map[string]*hostQueue
	heap    queueHeap
	held    int  // requests that wait
	loaded  int  // of them in memory
	left    int  // requests that will not begin
	filled  int  // queues in which some wait
	stopped bool // none begins any more
	ended   bool // none goes on either
	active  int  // requests under way
	over    bool
	idle    []*sleeper    // workers with nothing to do, the latest last
	hungry  chan struct{} // whoever feeds may look again
}

// sleeper is a worker that waits to be woken. One of them at least knows when
// the first queue may go on: whoever takes a request while others wait wakes the
// next, which looks again.
type sleeper struct{ wake chan struct{} }

func newFrontier(c *Client, most time.Duration) *frontier {
	return &frontier{client: c, most: most, limit: max(0, c.opts.HostLimit.InFlight), queues: map[string]*hostQueue{}, hungry: make(chan struct{}, 1)}
}

// wake has one worker look again, if one has nothing to do. f.mu is held.
func (f *frontier) wake() {
	if n := len(f.idle); n > 0 {
		w := f.idle[n-1]
		f.idle = f.idle[:n-1]
		w.wake <- struct{}{} // has room: a worker stands here once
	}
}

// wakeAll has all workers look again, and whoever feeds. f.mu is held.
func (f *frontier) wakeAll() {
	for len(f.idle) > 0 {
		f.wake()
	}
	f.feed()
}

// feed has whoever feeds look again.
func (f *frontier) feed() {
	select {
	case f.hungry <- struct{}{}:
	default: // told already
	}
}

// push adds a request for a host; nil is for one that fails at once. Memory has
// room for maxWaiting where there is a journal to read the others from.
func (f *frontier) push(it *item, u *url.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		f.left++
		return
	}
	q := f.queue(u)
	it.queue = q
	f.held++

	if it.at > 0 && (f.loaded >= maxWaiting || len(q.rest) > 0) {
		q.rest = append(q.rest, it.at)
	} else {
		q.items = append(q.items, it)
		f.loaded++
	}
	f.place(q)
	f.wake()
}

// queue returns the queue of a host. f.mu is held.
func (f *frontier) queue(u *url.URL) *hostQueue {
	key := ""
	if u != nil {
		key = hostKey(u)
	}
	if q := f.queues[key]; q != nil {
		return q
	}

	q := &hostQueue{place: -1, loose: key == ""}
	if q.loose { // no address: the request fails at once
		q.host = &host{table: f.client.hosts}
	} else {
		q.host = f.client.hosts.get(u)
	}
	f.queues[key] = q
	return q
}

// place puts q where it belongs. f.mu is held.
func (f *frontier) place(q *hostQueue) {
	wanted := q.len() > 0 && (f.limit == 0 || q.active < f.limit)
	switch {
	case wanted && q.place < 0:
		heap.Push(&f.heap, q)
	case wanted:
		heap.Fix(&f.heap, q.place)
	case q.place >= 0:
		heap.Remove(&f.heap, q.place)
	}

	if filled := q.len() > 0; filled != q.filled {
		q.filled = filled
		if filled {
			f.filled++
		} else {
			f.filled--
		}
	}

	if q.len() == 0 && q.active == 0 { // no page of the host is left
		delete(f.queues, q.host.key)
		f.release(q)
	}
}

// next returns a request whose host is ready, and waits for one. It returns nil
// when none is left, or ctx or the client has ended.
func (f *frontier) next(ctx context.Context) *item {
	f.mu.Lock()
	defer f.mu.Unlock()
	var self *sleeper
	for {
		if ctx.Err() != nil {
			return nil
		}
		if f.over && f.held == 0 && f.active == 0 {
			f.wakeAll()
			return nil
		}

		it, wait := f.ready()
		if it == nil && len(f.heap) > 0 && f.client.ctx.Err() != nil {
			it = f.take(f.heap[0]) // closed: nothing is parked any more, and fails at once
		}
		if it != nil {
			if len(f.heap) > 0 {
				f.wake() // the next one may be ready too
			}
			return it
		}

		if self == nil {
			self = &sleeper{wake: make(chan struct{}, 1)}
		}
		f.sleep(ctx, self, wait)
	}
}

// ready takes a request whose host is ready. If there is none it returns how
// long it is until then, negative if no queue waits. f.mu is held.
func (f *frontier) ready() (*item, time.Duration) {
	for len(f.heap) > 0 {
		q := f.heap[0]
		if ready := q.host.ready(); ready.After(q.at) && time.Until(ready) <= f.most {
			q.at = ready
			heap.Fix(&f.heap, 0)
			if f.heap[0] != q {
				continue
			}
		}
		if wait := time.Until(q.at); wait > 0 { // later than the host's own look at the clock
			return nil, wait
		}
		return f.take(q), 0
	}
	return nil, -1
}

// sleep waits until self is woken, the first queue may go on, or all is to end.
// f.mu is held on entry and on return, not in between.
func (f *frontier) sleep(ctx context.Context, self *sleeper, wait time.Duration) {
	var (
		due    <-chan time.Time
		closed <-chan struct{}
	)
	if wait >= 0 {
		timer := time.NewTimer(max(wait, time.Millisecond))
		defer timer.Stop()
		due, closed = timer.C, f.client.ctx.Done() // what is parked has to fail then
	}

	f.idle = append(f.idle, self)
	f.feed()
	f.mu.Unlock()

	woken := false
	select {
	case <-self.wake:
		woken = true
	case <-due:
	case <-ctx.Done():
	case <-closed:
	}

	f.mu.Lock()
	if woken {
		return
	}
	if i := slices.Index(f.idle, self); i >= 0 {
		f.idle = slices.Delete(f.idle, i, i+1)
	} else {
		<-self.wake // it was woken meanwhile
	}
}

// take takes the first request of q. f.mu is held.
func (f *frontier) take(q *hostQueue) *item {
	if len(q.parked)+len(q.items) > 0 {
		f.loaded--
	}
	it := q.first(f.journal)
	q.active++
	f.held--
	f.active++
	f.place(q)
	if f.held == maxWaiting-1 {
		f.feed() // there is room again
	}
	return it
}

// done ends a request. Its worker looks for the next one itself.
func (f *frontier) done(it *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it.queue.active--
	f.active--
	f.place(it.queue)
}

// park puts a request back, before those that have not begun, until then. u is
// where it goes next, which may be another host by now.
func (f *frontier) park(it *item, u *url.URL, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := it.queue
	before.active--
	f.active--
	if f.ended {
		f.left++
		f.place(before)
		return
	}

	q := f.queue(u)
	it.queue = q
	q.parked = append(q.parked, it)
	if until.After(q.at) {
		q.at = until
	}
	f.held++
	f.loaded++
	f.place(q)
	if before != q {
		f.place(before)
	}
}

// stop lets nothing begin any more. What has begun and waits goes on, unless
// all of it is to be left. It returns how many are left.
func (f *frontier) stop(all bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.ended = f.ended || all
	for _, q := range f.queues {
		if all {
			f.drop(len(q.parked), len(q.parked))
			q.parked = nil
		}
		f.drop(len(q.items)+len(q.rest), len(q.items))
		q.items, q.rest = nil, nil
		f.place(q)
	}
	f.wakeAll()
	return f.left
}

// leave counts a request that was taken and does not begin.
func (f *frontier) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left++
}

// drop counts requests as left. f.mu is held.
func (f *frontier) drop(n, loaded int) {
	f.held -= n
	f.loaded -= loaded
	f.left += n
}

// noMore says that nothing comes but what is found on pages.
func (f *frontier) noMore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.wakeAll()
}

// room waits until a worker has nothing to do and there is room for a request.
// It reports false if ctx has ended.
func (f *frontier) room(ctx context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.idle) == 0 || f.held >= maxWaiting {
		f.mu.Unlock()
		select {
		case <-f.hungry:
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

// counts returns how many requests wait or are left, for how many hosts, and how
// many wait for the one of it.
func (f *frontier) counts(it *item) (waiting, hosts, beside int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held + f.left, f.filled, it.queue.len()
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
