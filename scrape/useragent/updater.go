package useragent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

// What a caller may branch on, by errors.Is.
var (
	// ErrRunning: Run was called while Run runs.
	ErrRunning = errors.New("useragent: already running")
	// ErrRejected: what was fetched is no better than what the pool has.
	ErrRejected = errors.New("useragent: list rejected")
)

// What a fetched list must have to replace a pool.
const (
	minAgents      = 10 // that pass Filter
	maxStale       = 2  // releases that its newest may be behind the pool's
	minAgentBytes  = 40
	defaultEvery   = 24 * time.Hour
	defaultTimeout = 2 * time.Minute
)

// UpdaterOptions are the settings of an [Updater].
type UpdaterOptions struct {
	// Transport fetches the list: the *scrape.Client that the pool is for, so
	// that the update leaves by the same egress. Required; http.DefaultTransport
	// leaves from this machine's own address.
	Transport http.RoundTripper
	// Every is the time between updates. Defaults to 24h; negative: one alone.
	Every time.Duration
	// Timeout bounds one update. Defaults to 2m; negative: no limit.
	Timeout time.Duration
	// File is written with each new list, as a whole or not at all. Defaults to
	// the file that the pool was loaded from; none if there is none.
	File string
	// Logger gets one line per update. Defaults to none.
	Logger *slog.Logger
}

// Updater keeps a pool fresh from an address. A list replaces the pool only if
// it can be read as a whole and, after [Filter], has at least 10 agents and is
// not more than 2 releases older than what the pool has; else the pool and its
// file stay as they are, and [Pool.Err] says why.
type Updater struct {
	pool    *Pool
	url     string
	opts    UpdaterOptions
	log     *slog.Logger
	running atomic.Bool
}

// NewUpdater returns an updater of pool from url, which gives a list in any
// form that [Decode] knows. What is wrong with url or opts is reported by Run
// and Update.
func NewUpdater(pool *Pool, url string, opts *UpdaterOptions) *Updater {
	u := &Updater{pool: pool, url: url}
	if opts != nil {
		u.opts = *opts
	}
	if u.opts.Every == 0 {
		u.opts.Every = defaultEvery
	}

	if u.opts.Timeout == 0 {
		u.opts.Timeout = defaultTimeout
	}
	if u.opts.File == "" {
		u.opts.File = pool.path
	}
	if u.opts.Logger == nil {
		u.opts.Logger = slog.New(slog.DiscardHandler)
	}

	u.log = u.opts.Logger.With("component", "useragent")
	return u
}

// validate reports what is wrong with the settings.
func (u *Updater) validate() error {
	var errs []error
	if u.opts.Transport == nil {
		errs = append(errs, errors.New("UpdaterOptions.Transport is missing: give the scrape.Client"))
	}
	if address, err := url.Parse(u.url); err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		errs = append(errs, errors.New("the address is no http or https URL"))
	}
	return errors.Join(errs...)
}

// Run updates the pool at once and then every opts.Every, until ctx ends; it
// then returns nil. After a failure it tries again after a minute or more. A
// second Run at the same time returns [ErrRunning].
func (u *Updater) Run(ctx context.Context) error {
	if err := u.validate(); err != nil {
		return named.Wrap("useragent", "updater", err)
	}
	if !u.running.CompareAndSwap(false, true) {
		return named.Wrap("useragent", "updater", ErrRunning)
	}
	defer u.running.Store(false)

	failures := 0
	for {
		wait := u.opts.Every
		switch err := u.Update(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			u.log.WarnContext(ctx, "update failed, the pool stays as it is", "error", err)
			if wait > 0 {
				bound := backoff.Policy{Base: time.Minute, Max: wait}
				wait = min(wait, time.Minute+bound.Delay(failures))
			}
		default:
			failures = 0
		}

		if wait < 0 {
			return nil
		}

		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// Update fetches the list once and puts it into the pool. Errors: [ErrRejected]
// and those of the transport; the pool then stays as it was.
func (u *Updater) Update(ctx context.Context) error {
	err := u.validate()
	if err == nil {
		err = u.update(ctx)
	}
	if err != nil {
		err = named.Wrap("useragent", "update", err)
		u.pool.lastErr.Store(&err)
		return err
	}
	u.pool.lastErr.Store(nil)
	return nil
}

func (u *Updater) update(ctx context.Context) error {
	if u.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, u.opts.Timeout, fmt.Errorf("not finished within %v: %w", u.opts.Timeout, context.DeadlineExceeded))
		defer cancel()
	}

	data, err := u.fetch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}

	entries, err := Decode(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	endless := !bytes.ContainsAny(data[len(data)-1:], "\n]>") // it is not empty
	if entries, err = u.accept(entries, endless); err != nil {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}

	if u.opts.File != "" {
		if err := atomicfile.Write(u.opts.File, encodeList(entries), 0o644); err != nil {
			return err
		}
	}

	address, _ := url.Parse(u.url) // validated
	u.pool.reload.Lock()
	u.pool.store(entries)
	u.pool.source, u.pool.date = address.Scheme+"://"+address.Host+address.Path, time.Now()
	u.pool.reload.Unlock()
	u.log.InfoContext(ctx, "user agents updated", "agents", len(entries))
	return nil
}

// fetch returns the list as it is, redirects followed.
func (u *Updater) fetch(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return nil, errors.New("the address is no http or https URL")
	}

	res, err := (&http.Client{Transport: u.opts.Transport}).Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, whose query may be secret
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // what counts was read

	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxListBytes+1))
	if err != nil {
		return nil, err
	}

	if len(data) > maxListBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrRejected, maxListBytes)
	}
	return data, nil
}

// accept returns those of the fetched entries that the pool is to have. endless
// says that the list is a text whose last line has no end.
func (u *Updater) accept(entries []Entry, endless bool) ([]Entry, error) {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if len(e.Agent) >= minAgentBytes {
			names = append(names, e.Agent)
		}
	}

	keep := map[string]bool{}
	for _, s := range Filter(names) {
		keep[s] = true
	}
	if len(keep) < minAgents {
		return nil, fmt.Errorf("%d of %d entries are browsers in use, fewer than %d", len(keep), len(entries), minAgents)
	}

	var kept []Entry
	for _, e := range entries {
		if keep[e.Agent] {
			kept = append(kept, e)
		}
	}

	if last := entries[len(entries)-1].Agent; endless && !keep[last] {
		return nil, fmt.Errorf("it ends with %q: was it cut?", last)
	}

	now, then := newestVersions(believable(names)), newestVersions(u.pool.Agents())
	for _, family := range []Family{Chrome, Firefox, Safari} {
		if now[family] == 0 || then[family] == 0 {
			continue
		}
		if now[family] < then[family]-maxStale {
			return nil, fmt.Errorf("its newest %s (%d) is older than the pool's (%d)", family, now[family], then[family])
		}
		break
	}

	return kept, nil
}

// encodeList writes entries in a form that Decode reads.
func encodeList(entries []Entry) []byte {
	var out bytes.Buffer
	weighted := false
	for _, e := range entries {
		weighted = weighted || e.Weight > 0
	}

	if !weighted {
		for _, e := range entries {
			out.WriteString(e.Agent + "\n")
		}
		return out.Bytes()
	}

	type object struct {
		UserAgent string  `json:"userAgent"`
		Weight    float64 `json:"weight"`
	}
	list := make([]object, 0, len(entries))
	for _, e := range entries {
		list = append(list, object{e.Agent, e.Weight})
	}

	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	_ = enc.Encode(list) // strings and finite numbers: cannot fail
	return out.Bytes()
}
