package config

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Resolver gives the value that a reference stands for.
//
//  1. Resolve returns the value at path and key, both without percent
//     escapes; key is empty where the reference has no #.
//  2. The lease says how long the value holds; the store resolves again
//     before it ends. 0 means until [Store.Refresh].
//  3. It returns before or soon after ctx ends, and may be called concurrently.
//  4. Its error names the path and never a value or a credential.
type Resolver interface {
	Resolve(ctx context.Context, path, key string) (value string, lease time.Duration, err error)
}

// Expirer is what a [Resolver] may be as well, where its access ends unless it is
// used, as that of a token does which is renewed on use.
//
//  1. Expires returns when the access ends; zero if it does not. The store
//     resolves before that, also what has no lease.
//  2. It returns at once, and may be called concurrently.
type Expirer interface {
	Expires() time.Time
}

const referencePrefix = "ref+"

// maxResolving bounds the calls to resolvers at one time.
const maxResolving = 8

// isReference reports whether text has the form of a reference; it may still
// be a broken one.
func isReference(text string) bool {
	rest, ok := strings.CutPrefix(text, referencePrefix)
	if !ok {
		return false
	}
	scheme, _, ok := strings.Cut(rest, "://")
	return ok && validScheme(scheme)
}

func validScheme(scheme string) bool {
	return scheme != "" && strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-") == "" &&
		scheme[0] >= 'a' && scheme[0] <= 'z'
}

// reference is the parsed form of ref+scheme://path#key.
type reference struct{ scheme, path, key string }

func parseReference(text string) (reference, error) {
	scheme, rest, ok := strings.Cut(strings.TrimPrefix(text, referencePrefix), "://")
	if !ok || !strings.HasPrefix(text, referencePrefix) || !validScheme(scheme) {
		return reference{}, errors.New("want ref+<scheme>://<path>#<key>")
	}
	path, key, hasKey := strings.Cut(rest, "#")
	r := reference{scheme: scheme}
	var err error
	if r.path, err = url.PathUnescape(path); err != nil {
		return reference{}, errors.New("the path has an invalid percent escape; a percent sign is written %25")
	}

	if r.key, err = url.PathUnescape(key); err != nil {
		return reference{}, errors.New("the key has an invalid percent escape; a percent sign is written %25")
	}
	if r.path == "" {
		return reference{}, errors.New("the path is empty")
	}
	if hasKey && r.key == "" {
		return reference{}, errors.New("the key after # is empty")
	}
	return r, nil
}

// secretOf is a reference without its key: what names one secret.
func secretOf(text string) string {
	secret, _, _ := strings.Cut(text, "#")
	return secret
}

// resolved is a value that a resolver gave.
type resolved struct {
	value   string
	at      time.Time
	lease   time.Duration
	err     error // of the last attempt
	failed  int   // attempts in a row that failed
	local   bool  // of a file or variable
	retryAt time.Time
	access  time.Time // when the resolver's own access ends, see Expirer
}

// mayRefer reports whether a reference is in n.
func mayRefer(n *doc.Node) bool {
	switch {
	case n == nil:
		return false
	case n.Kind == doc.Text:
		return isReference(n.Text)
	}
	return slices.ContainsFunc(n.Items, mayRefer)
}

// skip turns a node whose value is unknown into one that sets nothing, so that
// the failure is reported once.
func skip(n *doc.Node) {
	n.Kind, n.Text = doc.Null, ""
	remark(n, func(o *origin) { o.failed = true })
}

// isLocal reports a resolver whose answers are as near as a file: they are
// taken anew for each snapshot, never from memory.
func isLocal(r Resolver) bool {
	switch r.(type) {
	case fileResolver, envResolver:
		return true
	}
	return false
}

// references keeps what resolvers gave, across reloads.
type references struct {
	every  time.Duration // see RefreshEvery
	health *health.Monitor
	mu     sync.Mutex
	known  map[string]*resolved
}

// get returns a result for each reference text. It asks the resolvers for those
// that are not known, are local, or are past their lease; where that fails, a
// value that is known stays.
func (c *references) get(ctx context.Context, resolvers map[string]Resolver, texts []string) []resolved {
	out := make([]resolved, len(texts))
	var asked []int
	now := time.Now()

	c.mu.Lock()
	anew := map[string]bool{} // secrets of which all keys are asked for
	for _, text := range texts {
		ref, err := parseReference(text)
		r := c.known[text]
		if r == nil || err != nil || isLocal(resolvers[ref.scheme]) || r.lease > 0 && now.After(r.at.Add(r.lease)) {
			anew[secretOf(text)] = true
		}
	}

	for i, text := range texts {
		if anew[secretOf(text)] {
			asked = append(asked, i)
			continue
		}
		r := c.known[text]
		out[i] = resolved{value: r.value, at: r.at, lease: r.lease}
	}
	c.mu.Unlock()

	missing := make([]string, len(asked))
	for j, i := range asked {
		missing[j] = texts[i]
	}

	for j, r := range resolveMany(ctx, resolvers, missing) {
		i := asked[j]
		ref, _ := parseReference(texts[i])
		err := c.renewed(ctx, texts[i], r)
		c.mu.Lock()
		if known := c.known[texts[i]]; err != nil && known != nil && !isLocal(resolvers[ref.scheme]) {
			r = resolved{value: known.value, at: known.at, lease: known.lease}
		} else {
			r.err = err
		}
		c.mu.Unlock()
		out[i] = r
	}

	return out
}

// prune forgets what is no longer used, so that a reference which comes back
// later does not get an old value.
func (c *references) prune(used map[string][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for text := range c.known {
		if used[text] == nil {
			delete(c.known, text)
			c.health.Forget(referenceKey(text))
		}
	}
}

// resolveMany asks for several references, at most maxResolving at a time.
func resolveMany(ctx context.Context, resolvers map[string]Resolver, texts []string) []resolved {
	out := make([]resolved, len(texts))
	slots := make(chan struct{}, maxResolving)
	var wg sync.WaitGroup
	for i, text := range texts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = resolveOne(ctx, resolvers, text)
		})
	}
	wg.Wait()
	return out
}

func resolveOne(ctx context.Context, resolvers map[string]Resolver, text string) (out resolved) {
	out.at = time.Now()
	r, err := parseReference(text)
	if err != nil {
		out.err = err
		return out
	}

	resolver := resolvers[r.scheme]
	if resolver == nil {
		out.err = fmt.Errorf("no resolver for %q; there are %s", r.scheme, strings.Join(typed.SortedKeys(resolvers), ", "))
		return out
	}

	out.local = isLocal(resolver)
	out.value, out.lease, out.err = resolver.Resolve(ctx, r.path, r.key)
	if out.err == nil && isReference(out.value) {
		out.value, out.err = "", errors.New("the value there is a reference itself; store the value, or refer to where that one leads")
	}
	if x, ok := resolver.(Expirer); ok {
		out.access = x.Expires()
	}
	return out
}

// envResolver resolves ref+env://NAME.
type envResolver struct{ environ func() []string }

func (r envResolver) Resolve(_ context.Context, path, key string) (string, time.Duration, error) {
	if key != "" {
		return "", 0, errors.New("a variable has no keys: write ref+env://NAME")
	}
	value, ok := lookupEnv(r.environ(), path)
	if !ok {
		return "", 0, fmt.Errorf("variable %s is not set", path)
	}
	return value, 0, nil
}

// fileResolver resolves ref+file://path, relative to the working directory or
// absolute with a third slash, and with #key a value in a settings file.
type fileResolver struct{}

func (fileResolver) Resolve(_ context.Context, path, key string) (string, time.Duration, error) {
	data, err := readFile(nil, path)
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	if key == "" {
		return trimNewline(string(data)), 0, nil
	}

	l := &layer{kind: layerFile, name: path, format: formatOf(path), data: data}
	if problems := l.parse(); len(problems) > 0 {
		return "", 0, fmt.Errorf("read %s: %w", position(path, problems[0].Line, problems[0].Column), errors.New(problems[0].Message))
	}

	n := l.root
	for part := range strings.SplitSeq(key, ".") {
		if n != nil {
			n = n.Child(part)
		}
	}

	if n == nil || n.Kind != doc.Text {
		return "", 0, fmt.Errorf("read %s: there is no single value at key %s", path, key)
	}
	return n.Text, 0, nil
}

func (c *references) status(text string, keys []string) ReferenceStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := ReferenceStatus{Reference: showReference(text), Keys: slices.Clone(keys)}
	if r := c.known[text]; r != nil {
		out.ResolvedAt, out.Err = r.at, r.err
		if r.lease > 0 {
			out.ExpiresAt = r.at.Add(r.lease)
		}
	}
	return out
}

// renewed notes a new attempt at a reference. A failure keeps the value.
func (c *references) renewed(ctx context.Context, text string, r resolved) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.known[text]

	if r.err != nil {
		var s scrubber
		for _, k := range c.known {
			s.add(k.value)
		}
		r.err = redact.New(s.secrets...).Error(r.err)
	}

	if r.err != nil && old != nil {
		old.err = r.err
		old.failed++
		now, bound := time.Now(), retryPolicy.Bound(old.failed)
		old.retryAt = now.Add(bound/2 + retryPolicy.Delay(old.failed)/2)

		// The end of the lease is the moment at which more than time is lost.
		end := old.at.Add(old.lease)
		if old.lease > 0 && end.After(now) && end.Before(old.retryAt) {
			old.retryAt = end
		}

		switch {
		case r.local, gaveUp(ctx): // without a file or variable the reload fails, and tells
		case old.lease > 0 && !end.After(now):
			c.health.Broken(referenceKey(text), fmt.Errorf("its lease has ended: %w", r.err))
		default:
			c.health.Fail(referenceKey(text), r.err)
		}
		return r.err
	}

	if r.err == nil {
		c.known[text] = &r
		c.health.OK(referenceKey(text))
	}
	return r.err
}

// renewAt is when a value is asked for again: after two thirds of its lease, or
// after the given time where it has none, and before the resolver's access ends;
// after a growing wait when that failed. Zero is never.
func (r *resolved) renewAt(every time.Duration) (at time.Time) {
	if r.local {
		return time.Time{} // files are followed, variables do not change
	}

	soonest := func(wait time.Duration) {
		if t := r.at.Add(max(wait, minRenew)); at.IsZero() || t.Before(at) {
			at = t
		}
	}

	switch {
	case r.lease > 0:
		soonest(r.lease * 2 / 3)
	case every > 0:
		soonest(every)
	}
	if !r.access.IsZero() {
		soonest(r.access.Sub(r.at) * 2 / 3)
	}

	if !at.IsZero() && !r.retryAt.IsZero() {
		return r.retryAt
	}
	return at
}

// due is when the next of the references in use has to be renewed.
func (c *references) due(used map[string][]string) (at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for text := range used {
		if r := c.known[text]; r != nil {
			if t := r.renewAt(c.every); !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// dueBy lists the references to renew now: those that are due, and the other
// keys of the same secrets, as a name and its password change together.
func (c *references) dueBy(now time.Time, used map[string][]string) (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	due := map[string]bool{}
	for text := range used {
		if r := c.known[text]; r != nil {
			if t := r.renewAt(c.every); !t.IsZero() && !t.After(now) {
				due[secretOf(text)] = true
			}
		}
	}

	for _, text := range typed.SortedKeys(used) {
		if due[secretOf(text)] {
			texts = append(texts, text)
		}
	}

	return texts
}
