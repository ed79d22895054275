package config

import (
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Status says how current the settings are.
type Status struct {
	// Generation counts the snapshots since Load, which made the first.
	Generation uint64
	// LoadedAt is when the current snapshot was read.
	LoadedAt time.Time
	// Err is why the last reload failed; nil when the current snapshot is what
	// the layers say. FailedAt is when.
	Err      error
	FailedAt time.Time
	// Warnings are what Load found and let pass.
	Warnings []Problem
	// Watching says how Run follows files: "events", "polling", or "" while
	// Run is not on.
	Watching string
	// References lists the references in use, in order.
	References []ReferenceStatus
}

// ReferenceStatus says how current a resolved reference is.
type ReferenceStatus struct {
	// Reference is its text, such as "ref+vault://secret/data/mail#password".
	Reference string
	// Keys are the keys whose values it gives.
	Keys []string
	// ResolvedAt is when the value in use was resolved.
	ResolvedAt time.Time
	// ExpiresAt is when its lease ends; zero where it has none.
	ExpiresAt time.Time
	// Err is why it could not be resolved again; nil when the last attempt
	// worked.
	Err error
}

// Status returns how current the settings are. It holds no secret.
func (s *Store[T]) Status() Status {
	e := s.engine
	e.mu.Lock()
	out, snap := e.status, e.snap
	e.mu.Unlock()
	out.Warnings = slices.Clone(snap.warnings)
	for _, text := range typed.SortedKeys(snap.references) {
		out.References = append(out.References, e.refs.status(text, snap.references[text]))
	}
	return out
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
func (c *references) renewed(text string, r resolved) error {
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
		bound := retryPolicy.Bound(old.failed)
		old.retryAt = time.Now().Add(bound/2 + retryPolicy.Delay(old.failed)/2)
		return r.err
	}
	if r.err == nil {
		c.known[text] = &r
	}
	return r.err
}
