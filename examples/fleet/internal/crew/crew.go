// Package crew tells who works: each worker reports to a key-value bucket of
// JetStream, and whoever wants to show it reads it there.
package crew

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
)

const (
	bucketName = "fleet_workers"
	// every is how often a worker reports.
	every = time.Second
	// silent is how long after its last report a worker counts as away, and
	// forget how long it is shown.
	silent = 5 * time.Second
	forget = 10 * time.Minute
	// window is what rates are averaged over.
	window = 10
)

// Report is what a worker tells of itself.
type Report struct {
	Name    string       `json:"name"`
	Host    string       `json:"host"`
	Started time.Time    `json:"started"`
	Counts  queue.Counts `json:"counts"`
	// PerSecond is how many jobs it settled a second, lately.
	PerSecond float64 `json:"per_second"`
	// Stopped says that it has ended in order.
	Stopped bool `json:"stopped"`
}

// Member is a worker as the crew's readers see it.
type Member struct {
	Report

	// Seen is when it last reported, by the server's clock.
	Seen time.Time
	// State is working, stopped or silent.
	State string
}

// Crew is the bucket. Make it with [Open]. Safe for concurrent use.
type Crew struct {
	open   func(context.Context) (jetstream.KeyValue, error)
	bucket jetstream.KeyValue
	log    *slog.Logger
}

// Open opens the bucket, and makes it if it is not there. A nil asker tells
// nobody.
func Open(ctx context.Context, js jetstream.JetStream, replicas int, asker *patient.Asker) (*Crew, error) {
	asker = patient.Or(asker)
	open := func(ctx context.Context) (jetstream.KeyValue, error) {
		return asker.Bucket(ctx, js, jetstream.KeyValueConfig{
			Bucket: bucketName, Description: "what each worker does", History: 1, TTL: forget,
			Storage: jetstream.MemoryStorage, Replicas: max(1, replicas),
		})
	}

	bucket, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("crew: bucket %s: %w", bucketName, err)
	}
	return &Crew{open: open, bucket: bucket, log: asker.Logger()}, nil
}

// Run reports once a second until ctx ends, and then once more.
func (c *Crew) Run(ctx context.Context, first Report, counts func() queue.Counts) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	first.Started = time.Now()

	var settled []int64 // of the last seconds
	for {
		r := first
		r.Counts = counts()
		settled = append(settled, r.Counts.Done+r.Counts.Repeats+r.Counts.Dead)
		settled = settled[max(0, len(settled)-window-1):]
		if n := len(settled) - 1; n > 0 {
			r.PerSecond = float64(settled[n]-settled[0]) / (float64(n) * every.Seconds())
		}

		if ctx.Err() != nil {
			r.Stopped, r.PerSecond = true, 0
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), every)
			defer cancel()
			c.put(last, r)
			return nil
		}

		c.put(ctx, r)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// put reports. A report that is missed is made up for by the next.
func (c *Crew) put(ctx context.Context, r Report) {
	value, err := json.Marshal(r)
	if err == nil {
		_, err = c.bucket.Put(ctx, hex.EncodeToString([]byte(r.Name)), value)
	}
	if err != nil {
		c.log.DebugContext(ctx, "not reported", "worker", r.Name, "error", err)
		// A server that was started again has forgotten the bucket.
		again, cancel := context.WithTimeout(ctx, every)
		defer cancel()
		_, _ = c.open(again) // if not now, then with the next report
	}
}

// Members returns who has reported lately, by name.
func (c *Crew) Members(ctx context.Context, now time.Time) ([]Member, error) {
	keys, err := c.bucket.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("crew: %w", err)
	}

	var out []Member
	for _, key := range keys {
		entry, err := c.bucket.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // forgotten meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("crew: %w", err)
		}

		m := Member{Seen: entry.Created(), State: "working"}
		if err := json.Unmarshal(entry.Value(), &m.Report); err != nil {
			continue // of another version
		}

		switch {
		case m.Stopped:
			m.State = "stopped"
		case now.Sub(m.Seen) > silent:
			m.State, m.PerSecond = "silent", 0
		}

		out = append(out, m)
	}

	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
