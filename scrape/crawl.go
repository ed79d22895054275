package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
)

// ErrSkip is what the function of [Client.Crawl] returns for a page that did
// not work out and is not to be tried again, and that does not end the crawl.
var ErrSkip = errors.New("scrape: skip")

// Request is one page to fetch in a crawl.
type Request struct {
	// URL is absolute, or relative to the page that it was found on.
	URL string `json:"url"`
	// Method defaults to GET.
	Method string `json:"method,omitempty"`
	// Header is sent with it, see [Options.Header].
	Header http.Header `json:"header,omitempty"`
	// Body is sent with it.
	Body []byte `json:"body,omitempty"`
	// Meta is the caller's own; it stays with the request, in the journal too.
	Meta map[string]string `json:"meta,omitempty"`
	// Depth is how many links led here from a seed. Crawl sets it.
	Depth int `json:"depth,omitempty"`
}

// CrawlOptions are the settings of one [Client.Crawl]. The zero value of each
// field is its default.
type CrawlOptions struct {
	// Workers is how many pages are fetched at a time. Defaults to 8.
	Workers int `doc:"pages that are fetched at a time" default:"8" min:"1" zero:"default"`
	// Hosts are the hosts whose pages are in scope; ".example.com" stands for the
	// host and all below it. Defaults to the hosts of the seeds.
	Hosts []string `doc:"hosts in scope, .example.com with all below it; those of the seeds if empty"`
	// Include and Exclude are patterns of paths as in robots.txt: * stands for
	// anything, a $ at the end for the end. A page is in scope if it matches any
	// of Include, or Include is empty, and none of Exclude.
	Include []string `doc:"patterns of paths in scope; all if empty"`
	Exclude []string `doc:"patterns of paths out of scope"`
	// Rewrite may change an address that was found before it is compared with
	// those that are known: drop the id of a session, or the words of a campaign.
	// It is called concurrently, with an address of its own. Defaults to none.
	Rewrite func(u *url.URL) `koanf:"-"`
	// Canonical takes pages that name the same canonical address for one: the
	// function sees the first of them, and the address itself is not fetched any
	// more. Off, which loses nothing on sites that name a wrong one, only the
	// address decides; [Visit.Canonical] has what the page says.
	Canonical bool `doc:"take pages with the same canonical address for one"`
	// IgnoreNoFollow follows the links of pages whose site asks not to.
	IgnoreNoFollow bool `doc:"follow the links of pages that say nofollow"`
	// Sitemaps adds the pages of the sitemaps of each seed's site: those that
	// robots.txt names, else /sitemap.xml. They may be indexes, compressed, or a
	// line for each page; they count as linked to by a seed. At most 10,000
	// sitemaps of 50,000 pages and 50 MiB are read, each within
	// Limits.MaxBodyBytes. One that cannot be read is logged. Off, a crawl knows
	// its seeds and what fn adds.
	Sitemaps bool `doc:"add the pages of the sites' sitemaps"`
	// MaxDepth is how many links away from a seed a page may be. Defaults to no
	// limit; negative: the seeds alone.
	MaxDepth int `doc:"links from a seed to a page at most; no limit if 0, negative is the seeds alone"`
	// MaxPages is how many pages are fetched at most, those of a crawl that is
	// resumed included. Defaults to 100,000; negative: no limit.
	MaxPages int `doc:"pages at most; negative is no limit" default:"100000" zero:"default"`
	// MaxBytes bounds the bodies that are read, all together. Defaults to no
	// limit.
	MaxBytes int64 `doc:"bound of all bodies together; none if 0" min:"0"`
	// MaxElapsed is the time after which no more pages begin. Those that wait for
	// their host are left. Defaults to no limit.
	MaxElapsed time.Duration `doc:"time after which no more pages begin; no limit if 0" min:"0"`
	// MaxPause is the longest pause of a host that is waited for, while other
	// hosts go on. A page of a host that asks for more gets ErrRetryLater.
	// Defaults to 10m.
	MaxPause time.Duration `doc:"longest pause of a host that is waited for" default:"10m" min:"1ns" zero:"default"`
	// Dir is a folder for the journal, by which a crawl that was cut short goes
	// on: at most the pages that were under way are fetched again. One crawl at a
	// time uses it. It also holds the pages that wait, beyond 10,000, which are in
	// memory without it. Defaults to none.
	Dir string `doc:"folder of the journal of a crawl that can be resumed; none if empty"`
	// Shared allows that others may write Dir, or that a stranger owns it.
	Shared bool `doc:"allow a folder that others may write"`
	// OnProgress is called after each page, by one goroutine at a time.
	OnProgress func(Progress) `koanf:"-"`
}

// Validate returns every mistake, each by its field.
func (o CrawlOptions) Validate() error {
	options.Fill(&o)
	wrong := options.Check(o)
	return wrong.Err("scrape: crawl")
}

// Progress is how far a crawl has come.
type Progress struct {
	// Done counts the pages that are over, Skipped those of them that failed or
	// for which the function returned ErrSkip, Duplicates those that turned out to
	// be a page that was known; Waiting those that are known and not yet begun.
	Done, Skipped, Duplicates, Waiting int
	// Hosts counts the hosts that have pages waiting.
	Hosts int
	// Host is the host of the page that is over now; HostDone and HostWaiting
	// count for it alone.
	Host                  string
	HostDone, HostWaiting int
	// Bytes counts bodies, decoded.
	Bytes int64
	// Limit is the limit by which no more pages begin, "" while there is none.
	Limit string
}

// crawlFrom crawls, see [Client.Crawl].
func crawlFrom(ctx context.Context, c *Client, seeds []Request, opts *CrawlOptions, fn func(*Visit) error) error {
	var o CrawlOptions
	if opts != nil {
		o = *opts
	}
	if err := o.Validate(); err != nil {
		return err
	}
	options.Fill(&o)

	k := newCrawl(c, o, fn)
	if o.Dir != "" {
		journal, err := openJournal(o.Dir, o.Shared)
		if err != nil {
			return &Error{Op: "crawl", Err: err}
		}
		defer journal.close()
		k.journal, k.front.journal = journal, journal
		if err := journal.replay(k); err != nil {
			return &Error{Op: "crawl", Err: err}
		}
	}

	if err := k.seed(seeds); err != nil {
		return &Error{Op: "crawl", Err: err}
	}
	k.front.noMore()
	return k.run(ctx, o.Workers)
}

// crawl is one Crawl or Each at work.
type crawl struct {
	client  *Client
	opts    CrawlOptions
	fn      func(*Visit) error
	front   *frontier
	journal *journal
	each    bool // no discovery: each request counts, however often it comes

	mu       sync.Mutex
	scope    scope
	seen     seen
	sitemaps int // that are known
	begun    int
	progress Progress
	hostDone map[string]int // for Progress

	bytes   atomic.Int64
	ended   sync.Once
	failed  atomic.Bool
	stop    context.CancelCauseFunc
	failure error // set before failed
	panic   any
}

func newCrawl(c *Client, o CrawlOptions, fn func(*Visit) error) *crawl {
	hosts := slices.Clone(o.Hosts)
	for i := range hosts {
		hosts[i] = strings.ToLower(hosts[i])
	}
	return &crawl{
		client: c, opts: o, fn: fn, front: newFrontier(c, o.MaxPause), hostDone: map[string]int{},
		scope: scope{hosts: hosts, include: o.Include, exclude: o.Exclude, maxDepth: o.MaxDepth},
	}
}

// seed takes in the seeds, and the sitemaps of their sites.
func (k *crawl) seed(seeds []Request) error {
	for i, r := range seeds {
		u, err := parseAddress(r.URL)
		if err != nil {
			return fmt.Errorf("seed %d: %w", i, err)
		}

		if len(k.opts.Hosts) == 0 {
			k.scope.hosts = append(k.scope.hosts, hostKey(u))
		}

		r.Depth = 0
		if it := k.admit(u, r, true); it != nil {
			if err := k.take([]*item{it}); err != nil {
				return err
			}
		}

		if k.opts.Sitemaps {
			if err := k.addSitemaps(u); err != nil {
				return err
			}
		}
	}
	return nil
}

// admit returns a new item for a request, nil if it is known or out of scope.
func (k *crawl) admit(u *url.URL, r Request, seed bool) *item {
	if !seed && k.opts.Rewrite != nil {
		u = new(*u)
		k.opts.Rewrite(u)
	}
	normal := normalURL(u)
	it := &item{request: r, id: idOf(r.Method, normal, r.Body)}
	it.request.URL = normal.String()

	k.mu.Lock()
	defer k.mu.Unlock()
	if !seed && !k.scope.has(normal, r.Depth) || !k.seen.add(it.id) {
		return nil
	}
	return it
}

// take records what was found, and then has it wait for its turn.
func (k *crawl) take(found []*item) error {
	if len(found) == 0 {
		return nil
	}
	if err := k.note(found); err != nil {
		return err
	}
	for _, it := range found {
		k.push(it)
	}
	return nil
}

// push has an item wait for its turn.
func (k *crawl) push(it *item) {
	u, err := parseAddress(it.request.URL)
	if err != nil {
		it.bad, u = err, nil
	}
	it.url = u
	k.front.push(it, u)
}

// resume takes up what a journal holds: known pages, and those of them that are
// not done.
func (k *crawl) resume(it *item, done bool) {
	k.seen.add(it.id)
	switch {
	case it.sitemap > 0:
		k.sitemaps++
	case done:
		k.begun++
		k.progress.Done++
	}
	if !done {
		k.push(it)
	}
}

// note records what was found, then that pages are done, before either counts.
func (k *crawl) note(found []*item, done ...uint64) error {
	if k.journal == nil {
		return nil
	}
	if err := k.journal.note(found, done...); err != nil {
		k.client.health.Broken("crawl journal", err)
		return fmt.Errorf("%w: journal: %w", ErrLost, err)
	}
	k.client.health.OK("crawl journal")
	return nil
}

// run works until no page is left.
func (k *crawl) run(ctx context.Context, workers int) error {
	ctx, k.stop = context.WithCancelCause(ctx)
	defer k.stop(nil)
	if limit := k.opts.MaxElapsed; limit > 0 {
		timer := time.AfterFunc(limit, func() { k.limit(fmt.Sprintf("MaxElapsed %v", limit), true) })
		defer timer.Stop()
	}

	var wg sync.WaitGroup
	for range max(1, workers) {
		wg.Go(func() {
			for {
				it := k.front.next(ctx)
				if it == nil {
					return
				}
				switch {
				case it.lost != nil:
					k.end(&Error{Op: "crawl", Err: fmt.Errorf("%w: journal: %w", ErrLost, it.lost)}, nil)
					k.front.done(it)
				case !k.begin(it):
					k.front.done(it)
				case it.sitemap > 0:
					k.visitSitemap(ctx, it)
				default:
					k.visit(ctx, it)
				}
			}
		})
	}
	wg.Wait()
	k.front.close()

	if k.panic != nil {
		panic(k.panic)
	}
	if k.failure != nil {
		return k.failure
	}
	if ctx.Err() != nil {
		op := "crawl"
		if k.each {
			op = "each"
		}
		return &Error{Op: op, Err: context.Cause(ctx)}
	}
	return nil
}

// begin reports whether a page may begin within the limits.
func (k *crawl) begin(it *item) bool {
	k.mu.Lock()
	over := k.progress.Limit
	switch {
	case it.begun:
		over = ""
	case over != "":
	case k.opts.MaxPages > 0 && k.begun >= k.opts.MaxPages && it.sitemap == 0:
		over = fmt.Sprintf("MaxPages %d", k.opts.MaxPages)
	case k.opts.MaxBytes > 0 && k.bytes.Load() >= k.opts.MaxBytes:
		over = fmt.Sprintf("MaxBytes %d", k.opts.MaxBytes)
	case it.sitemap == 0:
		k.begun++
	}
	k.mu.Unlock()

	it.begun = over == ""
	if !it.begun {
		k.front.leave()
		k.limit(over, false)
	}
	return it.begun
}

// limit lets no more pages begin, and says so once. Those that have begun and
// wait are left too if all are.
func (k *crawl) limit(name string, all bool) {
	k.mu.Lock()
	first := k.progress.Limit == ""
	if first {
		k.progress.Limit = name
	}
	k.mu.Unlock()

	waiting := k.front.stop(all)
	if first {
		k.client.log.Warn("crawl ends at its limit", "limit", name, "waiting", waiting)
	}
}

// end stops the crawl. The first reason counts.
func (k *crawl) end(err error, value any) {
	k.ended.Do(func() {
		k.failure, k.panic = err, value
		k.failed.Store(true)
	})
	k.stop(err)
}

// patience is how long a worker waits for a host's turn before it looks for
// another host.
const patience = 20 * time.Millisecond

// visit fetches a page and hands it to the caller's function. A page that has to
// wait goes back to where it came from.
func (k *crawl) visit(ctx context.Context, it *item) {
	v := &Visit{Request: it.request, crawl: k}
	if it.bad != nil {
		k.client.stats.failures.Add(1)
		v.Err = &Error{Op: "get", Err: it.bad}
		k.hand(ctx, it, v)
		return
	}

	res, parked, err := k.fetch(ctx, it)
	if parked {
		return
	}
	v.Response = res
	if v.Err = err; err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			v.Err = &Error{Op: "crawl", Err: err}
		}
	}
	k.hand(ctx, it, v)
}

// fetch makes the requests of an item: the first, and one for each redirect. One
// that has to wait is parked, with its item.
func (k *crawl) fetch(ctx context.Context, it *item) (res *http.Response, parked bool, err error) {
	c := k.client
	req, err := it.next(ctx)
	if err != nil {
		return nil, false, err
	}

	for {
		res, err := c.roundTrip(req, &call{client: c, patience: patience, tries: it.tries})
		if until, parks := k.parks(it, res, err); parks {
			if res != nil {
				drop(res)
				it.tries++
			}
			it.hop = req
			k.front.park(it, req.URL, until)
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}

		next, err := c.hop(req, res, it.hops)
		if err != nil {
			drop(res)
			return nil, false, err
		}
		if next == nil || !k.follows(it, next.URL) {
			return res, false, nil
		}
		drop(res)
		req = next
		it.hops++
		it.tries = 0
	}
}

// parks reports whether a request has to wait that other hosts' need not wait
// for, and until when.
func (k *crawl) parks(it *item, res *http.Response, err error) (until time.Time, parks bool) {
	if parked, ok := errors.AsType[*parkedError](err); ok {
		it.tries = max(it.tries, parked.tries)
		return parked.until, true
	}
	if paused, ok := errors.AsType[*pausedError](err); ok {
		return paused.until, time.Until(paused.until) <= k.opts.MaxPause
	}
	if err == nil && res != nil && k.waits(it, res) {
		u := res.Request.URL
		h := k.client.hosts.get(u)
		defer k.client.hosts.put(h)
		return h.ready(), true
	}
	return time.Time{}, false
}

// follows reports whether a redirect is followed: into the scope. One of a seed
// to another host of its site brings that host into scope, if the caller named
// none.
func (k *crawl) follows(it *item, u *url.URL) bool {
	if k.each || it.sitemap > 0 {
		return true
	}
	seed, err := parseAddress(it.request.URL)
	if err != nil {
		return false
	}

	k.mu.Lock()
	isSeed, in := it.request.Depth == 0, k.scope.has(u, it.request.Depth)
	if isSeed {
		in = k.scope.hasHost(u)
	}
	widen := !in && isSeed && len(k.opts.Hosts) == 0 && sameSite(seed, u)
	if widen {
		k.scope.hosts = append(k.scope.hosts, hostKey(u))
	}
	k.mu.Unlock()

	if !widen {
		return in
	}

	if k.journal != nil {
		if _, err := k.journal.write(journalLine{Host: hostKey(u)}); err != nil {
			k.end(&Error{Op: "crawl", Err: fmt.Errorf("%w: journal: %w", ErrLost, err)}, nil)
			return false
		}
	}
	return true
}

// waits reports whether an answer only asks for a pause that is waited for.
func (k *crawl) waits(it *item, res *http.Response) bool {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable || k.each {
		return false
	}
	h := k.client.hosts.get(res.Request.URL)
	defer k.client.hosts.put(h)
	left := time.Until(h.ready())
	return left > patience && left <= k.opts.MaxPause && it.tries+1 < k.client.opts.Retry.Attempts
}

// aliases returns the other names of the page that was fetched: where redirects
// led to, and its canonical address if that counts. It reports false if one of
// them was known before.
func (k *crawl) aliases(it *item, v *Visit) (ids []uint64, isNew bool) {
	if k.each || v.Response == nil || v.Response.Request == nil {
		return nil, true
	}
	names := []*url.URL{v.Response.Request.URL}
	if u := v.canonical(); k.opts.Canonical && u != nil {
		names = append(names, u)
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	for i, u := range names {
		if i > 0 && !k.scope.has(u, 0) {
			continue
		}
		id := idOf(v.Response.Request.Method, normalURL(u), it.request.Body)
		if id == it.id || slices.Contains(ids, id) {
			continue
		}
		if !k.seen.add(id) {
			return ids, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// hand calls the caller's function, but for a page that it has seen under
// another name.
func (k *crawl) hand(ctx context.Context, it *item, v *Visit) {
	defer k.front.done(it)
	if v.Response != nil {
		v.Response.Body = &countedBody{ReadCloser: v.Response.Body, n: &k.bytes}
		if !k.each {
			v.head = readHead(v.Response, k.client.opts.Robots.Agent)
		}
		body := v.Response.Body
		defer func() { _ = body.Close() }() // what the function wanted of it, it has read
	}

	if k.stopped(ctx) {
		return
	}

	aliases, isNew := k.aliases(it, v)
	skip := false
	if isNew {
		var ok bool
		if skip, ok = k.call(v); !ok {
			return
		}
	}

	// What was found is known before the page is done: neither is lost.
	if err := k.note(v.found, append(aliases, it.id)...); err != nil {
		k.end(err, nil)
		return
	}
	for _, found := range v.found {
		k.push(found)
	}
	k.report(it, skip || v.Err != nil, !isNew)
}

// call calls the caller's function, and reports whether the page is to be
// skipped and whether the crawl goes on.
func (k *crawl) call(v *Visit) (skip, ok bool) {
	returned := false
	defer func() {
		if !returned {
			k.end(errEachEnded, recover())
		}
	}()
	err := k.fn(v)
	returned = true
	if err != nil && !errors.Is(err, ErrSkip) {
		k.end(err, nil)
		return false, false
	}
	return err != nil, true
}

// stopped reports whether fn has ended the crawl, so that it is not called for
// what was under way.
func (k *crawl) stopped(ctx context.Context) bool {
	return k.failed.Load() || ctx.Err() != nil && !k.each
}

// report counts a page that is done, under its item's turn.
func (k *crawl) report(it *item, skipped, duplicate bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.progress.Done++
	if skipped {
		k.progress.Skipped++
	}
	if duplicate {
		k.progress.Duplicates++
	}

	if k.opts.OnProgress != nil {
		p := k.progress
		p.Host = it.queue.host.key
		k.hostDone[p.Host]++
		p.HostDone = k.hostDone[p.Host]
		p.Waiting, p.Hosts, p.HostWaiting = k.front.counts(it)
		p.Bytes = k.bytes.Load()
		k.opts.OnProgress(p)
	}
}

// inHosts reports whether pages of a host are in scope.
func (k *crawl) inHosts(u *url.URL) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.scope.hasHost(u)
}

// errEachEnded stands for a panic, and for runtime.Goexit.
var errEachEnded = errors.New("scrape: the function ended its goroutine")

// countedBody counts what is read of a body.
type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read reads and counts.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
