package diskcache

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/svcblocks/svcblocks/internal/safefile"
)

// maxVariants is how many variants (Vary) of one address are kept.
const maxVariants = 4

// Options are the settings of a [Cache]. The zero value of each field is its
// default.
type Options struct {
	// MaxBytes bounds what the folder holds; what was not used for longest goes
	// first. An answer of more than a quarter of it is not stored. Defaults to
	// 256 MiB; negative: no limit. What is being written comes on top.
	MaxBytes int64 `koanf:"max_bytes" default:"268435456" zero:"default" doc:"size of the folder; negative: no limit"`
	// MaxStale is for how long an answer whose time is over is still used without
	// asking the site, where the site does not forbid it (must-revalidate and the
	// like); a Cache-Control: max-stale of the request wins. Defaults to 0: not at
	// all.
	MaxStale time.Duration `koanf:"max_stale" min:"0s" doc:"how long an answer is used after its time"`
	// KeepFor is for development: each answer to a plain GET that is understood
	// here is used for so long, by every user agent, whatever the site says of
	// caches, and then asked for again. What an answer with Set-Cookie holds is
	// stored too, without the cookie, so give it a folder of its own. Requests
	// with cookies still pass the cache by: where the site sets some, let
	// scrape.Options.Cookies return nil. Defaults to 0: by the rules of RFC 9111.
	KeepFor time.Duration `koanf:"keep_for" min:"0s" doc:"for development: every answer is kept for so long"`
	// DisableETag asks whether an answer still holds by Last-Modified alone: a
	// site can give each visitor another ETag, and know him again under another
	// identity.
	DisableETag bool `koanf:"disable_etag" doc:"ask by Last-Modified alone"`
	// Shared takes a folder that others may write, or that is another user's,
	// as mounts of Docker Desktop and WSL show all. Who may write it answers in
	// place of any site. False refuses it.
	Shared bool `koanf:"shared" doc:"take a folder that others may write"`
	// Logger gets a line when the folder cannot be used. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// policy says which folder and files are taken.
func (o Options) policy() safefile.Policy {
	return safefile.Policy{Shared: o.Shared, OptOut: "diskcache.Options.Shared"}
}

// Cache is a scrape.Cache in a folder. Make one with [Open]. Safe for
// concurrent use.
type Cache struct {
	opts   Options
	log    *slog.Logger
	folder *folder
}

// Open returns the cache in a folder, which is made if there is none. What
// lies in it from before is used; files of other names are left alone.
func Open(ctx context.Context, dir string, opts *Options) (*Cache, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.MaxStale < 0 || o.KeepFor < 0 {
		return nil, fmt.Errorf("diskcache: open: MaxStale %v, KeepFor %v: give 0 or more", o.MaxStale, o.KeepFor)
	}

	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if dir == "" {
		return nil, fmt.Errorf("diskcache: open: no folder given")
	}
	if err := safefile.MakeDir(dir, o.policy()); err != nil {
		return nil, fmt.Errorf("diskcache: open: %w", err)
	}

	log := o.Logger.With("component", "diskcache")
	c := &Cache{opts: o, log: log, folder: &folder{dir: dir, opts: o, log: log}}
	if err := c.folder.sweep(ctx); err != nil {
		return nil, fmt.Errorf("diskcache: open %s: %w", dir, err)
	}
	return c, nil
}

// RoundTrip answers req from the folder, or by send; see scrape.Cache.
func (c *Cache) RoundTrip(req *http.Request, send func(*http.Request) (*http.Response, error)) (res *http.Response, stored bool, err error) {
	key := keyOf(req.URL)
	want, ok := wishesOf(req)
	if !ok {
		res, err = send(req)
		if err == nil && !isSafe(req.Method) && res.StatusCode < 400 { // RFC 9111 §4.4
			c.folder.remove(key)
		}
		return res, false, err
	}

	e := c.folder.find(key, req.Header)
	if e != nil && e.mayAnswer(want, &c.opts, time.Now()) {
		e.touch()
		return e.response(req, true), true, nil
	}

	if want.OnlyIfCached { // RFC 9111 §5.2.1.7
		return nothingStored(req), false, nil
	}
	ask := req
	if e != nil {
		ask = e.conditional(req, c.opts.DisableETag)
	}

	began := time.Now()
	if res, err = send(ask); err != nil {
		return nil, false, err
	}

	if ask != req && res.StatusCode == http.StatusNotModified {
		if confirmed := c.confirm(e, res, began); confirmed != nil {
			return confirmed, true, nil
		}
		// It speaks of another version than the one that is here.
		_ = res.Body.Close() // of a 304, which has none
		began = time.Now()
		if res, err = send(req); err != nil {
			return nil, false, err
		}
	}

	c.record(key, e, req, res, began)
	return res, false, nil
}

// confirm returns the stored answer after a 304, and keeps what that says.
// Nil: the 304 is about another one.
func (c *Cache) confirm(e *entry, notModified *http.Response, began time.Time) *http.Response {
	if !e.isMeantBy(notModified.Header) {
		return nil
	}
	_ = notModified.Body.Close() // it has none
	sent := notModified.Request
	shared := sent == nil || !isPersonal(sent.Header, notModified.Header)
	old := e.Header

	e.Header = updated(old, notModified.Header)
	res := e.response(sent, false)
	res.TLS = notModified.TLS
	for _, cookie := range notModified.Header["Set-Cookie"] { // for the caller, not for the folder
		res.Header.Add("Set-Cookie", cookie)
	}
	e.Requested, e.Received = began, time.Now()

	verdict := judge(sent, e.Status, e.Header, e.Received)
	switch {
	case !shared && c.opts.KeepFor == 0:
	case !verdict.storable && c.opts.KeepFor == 0:
		e.discard()
	case verdict.lifetime > 0, c.opts.MaxStale > 0, c.opts.KeepFor > 0: // else it will be asked for again, whatever is noted
		c.folder.note(c.folder.write(e))
	default:
		e.touch()
	}

	return res
}

// record has the body of an answer stored as it is read, if it may be.
func (c *Cache) record(key string, old *entry, req *http.Request, res *http.Response, began time.Time) {
	sent := res.Request
	if sent == nil {
		sent = req
	}
	now := time.Now()

	names, ok := varies(res.Header)
	worth := worthStoring(&c.opts, sent, res, now)
	if c.opts.KeepFor > 0 {
		names, ok = nil, true
	}
	if !ok || !worth || c.folder.tooLarge(res.ContentLength) {
		if old != nil && res.StatusCode < 500 {
			old.discard() // it is not what the site gives now
		}
		return
	}

	e := &entry{meta: meta{
		Status: res.StatusCode, Header: storedHeader(res.Header), Decoded: res.Uncompressed, Requested: began, Received: now,
		Vary: names, Selecting: selecting(names, sent.Header),
	}}
	e.path = c.folder.slot(key, e)

	r, err := newRecorder(c.folder, e, res)
	if err != nil {
		c.folder.note(err)
		return
	}

	res.Body = r
}

// Check returns why the last answer could not be stored, nil if it was. While
// one could not, it tries the folder itself; else it touches no disk.
func (c *Cache) Check(context.Context) error { return c.folder.check() }
