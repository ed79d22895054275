package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/caller"
	"github.com/svcblocks/svcblocks/internal/backoff"
)

// Resolver reads secrets. Make one with [New]; hand it to config.Resolve. Safe
// for concurrent use.
type Resolver struct {
	opt    Options
	server *server

	// turn is held by the one call that talks to the server at a time: the
	// token and the leases are shared, and their renewals are counted.
	turn    chan struct{}
	session session
	leases  map[string]*lease

	mu      sync.Mutex
	flights map[string]*flight
	expires time.Time // of the token; zero if it does not end
}

// lease is a secret that the server gave for a time.
type lease struct {
	values    map[string]json.RawMessage
	id        string
	duration  time.Duration
	at        time.Time
	renewable bool
	renewals  int
}

// flight is one reading that several callers wait for.
type flight struct {
	done   chan struct{}
	values map[string]json.RawMessage
	lease  time.Duration
	err    error
}

// New makes a Resolver. It checks the options and makes no request.
func New(opts *Options) (*Resolver, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Resolver{opt: o, turn: make(chan struct{}, 1), leases: map[string]*lease{}, flights: map[string]*flight{}}
	r.server = &server{
		Caller:  &caller.Caller{Client: o.Client, Timeout: o.Timeout, Retry: backoff.Retry(o.Retry), MaxBytes: maxAnswerBytes},
		address: o.Address, namespace: o.Namespace,
	}
	r.session = session{opt: &r.opt, server: r.server}
	return r, nil
}

// Resolve returns the value of a key of the secret at path, the path of the
// API with an optional ?version=N. An empty key stands for the only one. A lease
// lasts for the shorter of its own and the token's remaining life, as it ends with
// its token. What has none, such as a secret of the KV engines, gives 0; a ttl that a
// version 1 secret names of itself counts as a lease. Values that are no text are
// returned as JSON.
func (r *Resolver) Resolve(ctx context.Context, path, key string) (value string, left time.Duration, err error) {
	values, left, err := r.shared(ctx, path)
	if err != nil {
		return "", 0, err
	}
	value, err = pick(values, path, key)
	return value, left, err
}

// shared lets calls for one path at one time share a reading, so that keys of
// one secret come from one version.
func (r *Resolver) shared(ctx context.Context, path string) (map[string]json.RawMessage, time.Duration, error) {
	for {
		r.mu.Lock()
		f := r.flights[path]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			r.flights[path] = f
			r.mu.Unlock()
			f.values, f.lease, f.err = r.exclusive(ctx, path)
			r.mu.Lock()
			delete(r.flights, path)
			r.mu.Unlock()
			close(f.done)
			return f.values, f.lease, f.err
		}

		r.mu.Unlock()
		select {
		case <-f.done:
			if f.err != nil && ctx.Err() == nil && (errors.Is(f.err, context.Canceled) || errors.Is(f.err, context.DeadlineExceeded)) {
				continue // the other caller's context ended, not ours
			}
			return f.values, f.lease, f.err
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("vault: read %s: %w", path, context.Cause(ctx))
		}
	}
}

func (r *Resolver) exclusive(ctx context.Context, path string) (map[string]json.RawMessage, time.Duration, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("vault: read %s: %w", path, context.Cause(ctx))
	}

	values, left, err := r.read(ctx, path)
	now := time.Now()
	token := r.session.left(now)

	r.mu.Lock()
	r.expires = time.Time{}
	if token > 0 {
		r.expires = now.Add(token)
	}
	r.mu.Unlock()

	if err != nil {
		return nil, 0, err
	}
	if token > 0 && token < left {
		left = token
	}
	return values, left, nil
}

// Expires returns when the token ends unless Resolve is called before, which
// renews it or logs in anew; zero if it does not end, or before it is known.
func (r *Resolver) Expires() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expires
}

// read returns a secret: one whose lease lasts, is renewed, or is new.
func (r *Resolver) read(ctx context.Context, path string) (map[string]json.RawMessage, time.Duration, error) {
	token, err := r.session.valid(ctx)
	if err != nil {
		return nil, 0, err
	}
	if l := r.leases[path]; l != nil && r.keep(ctx, token, l) {
		return l.values, l.left(), nil
	}

	delete(r.leases, path)
	values, l, err := r.fetch(ctx, token, path)
	if errors.Is(err, ErrForbidden) && r.session.canLogin() { // the token was revoked
		if err := r.session.login(ctx); err != nil {
			return nil, 0, err
		}
		values, l, err = r.fetch(ctx, r.session.token, path)
	}

	if err != nil {
		return nil, 0, err
	}
	if l.id != "" {
		r.leases[path] = l
	}
	return values, l.duration, nil
}

func (l *lease) left() time.Duration { return max(time.Second, time.Until(l.at.Add(l.duration))) }

// keep reports whether the lease is good for longer, and renews it when two
// thirds are over.
func (r *Resolver) keep(ctx context.Context, token string, l *lease) bool {
	age := time.Since(l.at)
	if age < l.duration*3/5 {
		return true
	}
	if !l.renewable || l.renewals >= maxRenewals || age >= l.duration {
		return false
	}

	l.renewals++
	out, err := r.server.call(ctx, "renew lease", http.MethodPut, "sys/leases/renew", "", token,
		map[string]any{"lease_id": l.id, "increment": int64(l.duration / time.Second)})
	if err != nil {
		r.opt.Logger.Warn("lease not renewed, reading a new secret", "error", err)
		return false
	}

	granted := seconds(out.LeaseDuration)
	if granted < l.duration/2 { // its longest life is near
		return false
	}
	l.at, l.duration, l.renewals, l.renewable = time.Now(), granted, 0, out.Renewable
	return true
}

// fetch reads the secret at path.
func (r *Resolver) fetch(ctx context.Context, token, path string) (map[string]json.RawMessage, *lease, error) {
	api, query, err := splitVersion(path)
	if err != nil {
		return nil, nil, err
	}
	out, err := r.server.call(ctx, "read", http.MethodGet, api, query, token, nil)
	if err != nil {
		return nil, nil, explainMissing(err, out, api)
	}

	values, err := unpack(out.Data)
	if err != nil {
		return nil, nil, &Error{Op: "read", Path: api, StatusCode: http.StatusOK, Err: err}
	}
	l := &lease{values: values, id: out.LeaseID, duration: seconds(out.LeaseDuration), at: time.Now(), renewable: out.Renewable}
	if l.id == "" && values["ttl"] == nil && values["lease"] == nil {
		l.duration = 0 // KV version 1 names the server's default of 32 days for any secret
	}
	return values, l, nil
}

// splitVersion separates the version of a KV version 2 secret.
func splitVersion(path string) (api, query string, err error) {
	api, version, has := strings.Cut(path, "?")
	if !has {
		return api, "", nil
	}
	number, ok := strings.CutPrefix(version, "version=")
	if _, err := strconv.ParseUint(number, 10, 31); err != nil || !ok {
		return "", "", fmt.Errorf("vault: read %s: after ? stands version= and a number", api)
	}
	return api, url.Values{"version": {number}}.Encode(), nil
}

// explainMissing says why a secret is not found, as far as the answer tells.
func explainMissing(err error, out *answer, api string) error {
	var failed *Error
	if !errors.As(err, &failed) || failed.StatusCode != http.StatusNotFound || out == nil {
		return err
	}

	var body struct {
		Metadata *struct {
			DeletionTime string `json:"deletion_time"`
			Destroyed    bool   `json:"destroyed"`
			Version      int    `json:"version"`
		} `json:"metadata"`
	}

	if json.Unmarshal(out.Data, &body) == nil && body.Metadata != nil {
		state := "deleted at " + body.Metadata.DeletionTime
		if body.Metadata.Destroyed {
			state = "destroyed"
		}
		failed.Messages = []string{fmt.Sprintf("version %d is %s", body.Metadata.Version, state)}
		return failed
	}

	if slices.ContainsFunc(out.Warnings, func(w string) bool { return strings.Contains(w, "versioned K/V") }) {
		mount, rest, _ := strings.Cut(api, "/")
		failed.Messages = []string{"a KV version 2 engine: write " + mount + "/data/" + rest}
	}
	return failed
}

// unpack returns the keys of a secret; those of KV version 2 lie one deeper,
// beside the metadata of their version.
func unpack(data json.RawMessage) (map[string]json.RawMessage, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(data, &values); err != nil || values == nil {
		return nil, errors.New("the answer holds no secret")
	}
	inner, hasData := values["data"]
	meta, hasMeta := values["metadata"]
	if !hasData || !hasMeta || len(values) != 2 {
		return values, nil
	}

	var version struct {
		CreatedTime string `json:"created_time"`
	}
	if json.Unmarshal(meta, &version) != nil || version.CreatedTime == "" {
		return values, nil
	}

	var deeper map[string]json.RawMessage
	if err := json.Unmarshal(inner, &deeper); err != nil || deeper == nil {
		return nil, errors.New("the version holds no data")
	}
	return deeper, nil
}

// pick returns one key's value as text. The error names keys and no values.
func pick(values map[string]json.RawMessage, path, key string) (string, error) {
	names := make([]string, 0, len(values))
	for k := range values {
		names = append(names, k)
	}
	slices.Sort(names)
	if key == "" && len(names) == 1 {
		key = names[0]
	}

	raw, ok := values[key]
	switch {
	case key == "":
		return "", fmt.Errorf("vault: read %s: the secret has %d keys; add # and one of them: %s", path, len(names), strings.Join(names, ", "))
	case !ok:
		return "", &Error{
			Op: "read", Path: path, StatusCode: http.StatusOK, Err: ErrNotFound,
			Messages: []string{fmt.Sprintf("no key %q; there are: %s", key, strings.Join(names, ", "))},
		}
	}

	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return text, nil
	}
	if string(raw) == "null" {
		return "", fmt.Errorf("vault: read %s: key %q is null", path, key)
	}
	return string(raw), nil
}
