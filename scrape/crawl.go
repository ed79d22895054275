package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/scrape/internal/robots"
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
	// MaxDepth is how many links away from a seed a page may be. Defaults to no
	// limit; negative: the seeds alone.
	MaxDepth int `doc:"links from a seed to a page at most; no limit if 0, negative is the seeds alone"`
	// MaxPages is how many pages are fetched at most, those of a crawl that is
	// resumed included. Defaults to 100,000; negative: no limit.
	MaxPages int `doc:"pages at most; negative is no limit" default:"100000" zero:"default"`
	// MaxBytes bounds the bodies that are read, all together. Defaults to no
	// limit.
	MaxBytes int64 `doc:"bound of all bodies together; none if 0" min:"0"`
	// MaxPause is the longest pause of a host that is waited for, while other
	// hosts go on. A page of a host that asks for more gets ErrRetryLater.
	// Defaults to 10m.
	MaxPause time.Duration `doc:"longest pause of a host that is waited for" default:"10m" min:"1ns" zero:"default"`
	// Dir is a folder for the journal, by which a crawl that was cut short goes
	// on: at most the pages that were under way are fetched again. One crawl at a
	// time uses it. Defaults to none.
	Dir string `doc:"folder of the journal of a crawl that can be resumed; none if empty"`
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
	// for which the function returned ErrSkip; Waiting those that are known and
	// not yet begun.
	Done, Skipped, Waiting int
	// Hosts counts the hosts that have pages waiting.
	Hosts int
	// Bytes counts bodies, decoded.
	Bytes int64
}

// Visit is one page of a crawl in the hands of the caller's function.
type Visit struct {
	// Request is what was asked for.
	Request Request
	// Response is the answer, nil with Err. Its body is closed when the function
	// returns.
	Response *http.Response
	// Err is why there is no answer, an *Error.
	Err error

	crawl *crawl
	found []*item
}

// Add adds the pages at these addresses, which may be relative to this one.
// What is out of scope, known already or no address is passed over, and
// everything if the site says nofollow (X-Robots-Tag). It returns how many were
// added.
func (v *Visit) Add(addresses ...string) int {
	n := 0
	for _, address := range addresses {
		if v.AddRequest(Request{URL: address}) {
			n++
		}
	}
	return n
}

// AddRequest adds a request, and reports whether it is new and in scope. A
// request of another method than GET is known by its body as well.
func (v *Visit) AddRequest(r Request) bool {
	base, err := url.Parse(v.Request.URL)
	if err != nil || v.noFollow() {
		return false
	}
	if v.Response != nil && v.Response.Request != nil {
		base = v.Response.Request.URL
	}

	u, err := resolve(base, r.URL)
	if err != nil {
		return false
	}
	r.Depth = v.Request.Depth + 1
	it := v.crawl.admit(u, r, false)
	if it != nil {
		v.found = append(v.found, it)
	}
	return it != nil
}

// noFollow reports whether the site asks not to follow the links of the page.
func (v *Visit) noFollow() bool {
	if v.Response == nil {
		return false
	}
	for _, value := range v.Response.Header.Values("X-Robots-Tag") {
		for word := range strings.SplitSeq(value, ",") {
			if _, rule, ok := strings.Cut(word, ":"); ok { // for one agent
				word = rule
			}
			if word = strings.ToLower(strings.TrimSpace(word)); word == "nofollow" || word == "none" {
				return true
			}
		}
	}
	return false
}

// Crawl fetches the seeds and what fn adds, each page once, and calls fn with
// each, in the workers and so concurrently. It ends when no page is left, and
// returns nil; or when ctx ends, with its cause; or with the first error of fn
// but [ErrSkip]. A host that waits, by HostLimit, Crawl-delay or Retry-After,
// keeps no worker from the others.
//
// A page is done when fn has returned nil or ErrSkip and the journal has it, if
// there is one. Pages are the same if their normalised URLs are: the fragment
// does not count. A panic of fn is passed on to the caller. When MaxPages or
// MaxBytes is reached, no more pages begin, the log says so, and Crawl returns
// nil.
func (c *Client) Crawl(ctx context.Context, seeds []Request, opts *CrawlOptions, fn func(*Visit) error) error {
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
		journal, err := openJournal(filepath.Clean(o.Dir))
		if err != nil {
			return &Error{Op: "crawl", Err: err}
		}
		defer journal.close()
		k.journal = journal
		if err := journal.replay(k.resume); err != nil {
			return &Error{Op: "crawl", Err: err}
		}
	}

	for i, r := range seeds {
		u, err := parseAddress(r.URL)
		if err != nil {
			return &Error{Op: "crawl", Err: fmt.Errorf("seed %d: %w", i, err)}
		}
		if len(o.Hosts) == 0 {
			k.scope = append(k.scope, hostKey(u))
		}
		if it := k.admit(u, r, true); it != nil {
			if err := k.note(nil, []*item{it}); err != nil {
				return &Error{Op: "crawl", Err: err}
			}
			k.front.push(it)
		}
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
	scope    []string
	seen     map[uint64]struct{} // the first bytes of a hash of each known page
	begun    int
	progress Progress
	full     bool

	bytes   atomic.Int64
	ended   sync.Once
	failed  atomic.Bool
	stop    context.CancelCauseFunc
	failure error // set before failed
	panic   any
}

func newCrawl(c *Client, o CrawlOptions, fn func(*Visit) error) *crawl {
	scope := slices.Clone(o.Hosts)
	for i := range scope {
		scope[i] = strings.ToLower(scope[i])
	}
	return &crawl{client: c, opts: o, fn: fn, front: newFrontier(c, o.MaxPause), scope: scope, seen: map[uint64]struct{}{}}
}

// admit returns a new item for a request, nil if it is known or out of scope.
func (k *crawl) admit(u *url.URL, r Request, seed bool) *item {
	normal := normalURL(u)
	it := &item{request: r, url: normal, id: idOf(r.Method, normal, r.Body)}
	it.request.URL = normal.String()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !seed && !k.inScope(normal, r.Depth) {
		return nil
	}
	if _, known := k.seen[it.id]; known {
		return nil
	}
	k.seen[it.id] = struct{}{}
	return it
}

// inScope reports whether a page that was found may be fetched. k.mu is held.
func (k *crawl) inScope(u *url.URL, depth int) bool {
	if u.Scheme != "http" && u.Scheme != "https" || k.opts.MaxDepth < 0 || k.opts.MaxDepth > 0 && depth > k.opts.MaxDepth {
		return false
	}

	host := hostKey(u)
	if !slices.ContainsFunc(k.scope, func(s string) bool {
		return host == s || strings.HasPrefix(s, ".") && (strings.HasSuffix(host, s) || host == s[1:])
	}) {
		return false
	}

	path := u.RequestURI()
	matches := func(pattern string) bool { return robots.Match(path, pattern) }
	if len(k.opts.Include) > 0 && !slices.ContainsFunc(k.opts.Include, matches) {
		return false
	}
	return !slices.ContainsFunc(k.opts.Exclude, matches)
}

// resume takes up what a journal holds: known pages, and those of them that are
// not done.
func (k *crawl) resume(it *item, done bool) {
	k.seen[it.id] = struct{}{}
	if done {
		k.begun++
		k.progress.Done++
		return
	}
	u, err := url.Parse(it.request.URL)
	if err != nil {
		return // it was written by admit
	}
	it.url = u
	k.front.push(it)
}

// note records a page that is done and what was found on it, before either
// counts.
func (k *crawl) note(done *item, found []*item) error {
	if k.journal == nil {
		return nil
	}
	if err := k.journal.write(done, found); err != nil {
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
	var wg sync.WaitGroup
	for range max(1, workers) {
		wg.Go(func() {
			for {
				it := k.front.next(ctx)
				if it == nil {
					return
				}
				if !k.begin(it) {
					k.front.done(it)
					continue
				}
				k.visit(ctx, it)
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

// begin reports whether a page may begin within the limits, and says once when
// it may not.
func (k *crawl) begin(it *item) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if it.tries > 0 || it.begun {
		return true
	}
	over := ""

	if k.opts.MaxPages > 0 && k.begun >= k.opts.MaxPages {
		over = fmt.Sprintf("MaxPages %d", k.opts.MaxPages)
	} else if k.opts.MaxBytes > 0 && k.bytes.Load() >= k.opts.MaxBytes {
		over = fmt.Sprintf("MaxBytes %d", k.opts.MaxBytes)
	}

	if over == "" {
		k.begun++
		it.begun = true
		return true
	}

	if !k.full {
		k.full = true
		k.client.log.Warn("crawl ends at its limit", "limit", over, "waiting", k.front.waiting())
	}
	return false
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
	c := k.client
	v := &Visit{Request: it.request, crawl: k}

	if it.bad != nil {
		c.stats.failures.Add(1)
		v.Err = &Error{Op: "get", Err: it.bad}
		k.hand(ctx, it, v)
		return
	}

	var body io.Reader
	if it.request.Body != nil {
		body = bytes.NewReader(it.request.Body)
	}

	req, err := http.NewRequestWithContext(ctx, it.request.Method, "", body)
	if err == nil {
		req.URL, req.Host = it.url, it.url.Host
		if it.request.Header != nil {
			req.Header = it.request.Header.Clone()
		}
		v.Response, err = c.follow(req, &call{client: c, patience: patience, tries: it.tries})
	}

	if parked, ok := errors.AsType[*parkedError](err); ok {
		it.tries = max(it.tries, parked.tries)
		k.front.park(it, parked.until)
		return
	}

	if paused, ok := errors.AsType[*pausedError](err); ok && time.Until(paused.until) <= k.opts.MaxPause {
		k.front.park(it, paused.until)
		return
	}

	if err == nil && k.waits(it, v.Response) {
		drop(v.Response)
		it.tries++
		k.front.park(it, it.queue.host.ready())
		return
	}

	if v.Err = err; err != nil {
		if _, ok := errors.AsType[*Error](err); !ok {
			v.Err = &Error{Op: "crawl", URL: shownURL(it.url), Err: err}
		}
	}

	k.hand(ctx, it, v)
}

// waits reports whether an answer only asks for a pause that is waited for.
func (k *crawl) waits(it *item, res *http.Response) bool {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable || k.each {
		return false
	}
	left := time.Until(it.queue.host.ready())
	return left > patience && left <= k.opts.MaxPause && it.tries+1 < k.client.opts.Retry.Attempts
}

// hand calls the caller's function.
func (k *crawl) hand(ctx context.Context, it *item, v *Visit) {
	if v.Response != nil {
		counted := &countedBody{ReadCloser: v.Response.Body, n: &k.bytes}
		v.Response.Body = counted
		defer func() { _ = counted.Close() }() // what the function wanted of it, it has read
	}
	if k.stopped(ctx) {
		return
	}
	returned := false
	defer func() {
		if !returned {
			k.end(errEachEnded, recover())
			k.front.done(it)
		}
	}()
	err := k.fn(v)
	returned = true
	if err != nil && !errors.Is(err, ErrSkip) {
		k.end(err, nil)
		k.front.done(it)
		return
	}

	// What was found is known before the page is done: neither is lost.
	if err := k.note(it, v.found); err != nil {
		k.end(err, nil)
		k.front.done(it)
		return
	}
	for _, found := range v.found {
		k.front.push(found)
	}
	k.front.done(it)
	k.report(err != nil || v.Err != nil)
}

// stopped reports whether fn has ended the crawl, so that it is not called for
// what was under way.
func (k *crawl) stopped(ctx context.Context) bool {
	return k.failed.Load() || ctx.Err() != nil && !k.each
}

// report counts a page that is done.
func (k *crawl) report(skipped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.progress.Done++
	if skipped {
		k.progress.Skipped++
	}
	if k.opts.OnProgress != nil {
		p := k.progress
		p.Waiting, p.Hosts = k.front.counts()
		p.Bytes = k.bytes.Load()
		k.opts.OnProgress(p)
	}
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
