package logging

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
)

// SampleOptions bounds storms of equal records: of those with the same
// component, level and message, the First in each interval Per are written,
// and the rest is counted. At the end of the interval one record of the same
// level tells how many were left out. The zero SampleOptions writes all.
type SampleOptions struct {
	// First is how many equal records are written per interval. 0: all.
	First int `koanf:"first" doc:"equal records written per interval; 0: all"`
	// Per is the interval. Defaults to 1s.
	Per time.Duration `koanf:"per" doc:"interval of sampling"`
}

const (
	sampleShards = 16
	// maxSampled bounds the memory of a shard. Records beyond it are written.
	maxSampled = 4096
)

// sampler counts equal records.
type sampler struct {
	first int
	per   time.Duration
	// root gets the summaries.
	root func(component string) slog.Handler

	suppressed atomic.Int64
	shards     [sampleShards]sampleShard
	mu         sync.Mutex
	timer      *time.Timer // runs while something was suppressed
	closed     bool
	working    sync.WaitGroup
}

type sampleShard struct {
	mu   sync.Mutex
	seen map[sampleKey]*sampled
	ends time.Time // of the interval
	over bool      // closed: nothing is left out, as nothing would tell it
}

type sampleKey struct {
	component string
	level     slog.Level
	message   string
}

type sampled struct{ written, left int }

// pass reports whether r is to be written.
func (s *sampler) pass(component string, r slog.Record) bool {
	shard := &s.shards[hashString(r.Message)%sampleShards]
	key := sampleKey{component, r.Level, r.Message}
	now := time.Now()
	shard.mu.Lock()
	if shard.over {
		shard.mu.Unlock()
		return true
	}

	var ended map[sampleKey]*sampled
	if !now.Before(shard.ends) {
		if shard.ends.IsZero() || !shard.quiet() {
			ended = shard.seen
			shard.seen = make(map[sampleKey]*sampled)
		} else {
			clear(shard.seen)
		}
		shard.ends = now.Add(s.per)
	}

	if ended != nil {
		s.working.Add(1) // close waits for the summaries
	}

	c := shard.seen[key]
	if c == nil && len(shard.seen) < maxSampled {
		c = &sampled{}
		shard.seen[key] = c
	}

	ok := c == nil || c.written < s.first
	first := false

	if c != nil {
		if ok {
			c.written++
		} else {
			c.left++
			first = c.left == 1
		}
	}

	shard.mu.Unlock()
	if !ok {
		s.suppressed.Add(1)
	}
	if first {
		s.arm()
	}

	if ended != nil {
		s.summarize(ended)
		s.working.Done()
	}
	return ok
}

func (s *sampleShard) quiet() bool {
	for _, c := range s.seen {
		if c.left > 0 {
			return false
		}
	}
	return true
}

// arm makes sure that the summaries are written also if no record follows.
func (s *sampler) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil || s.closed {
		return
	}
	s.working.Add(1)
	s.timer = time.AfterFunc(s.per, func() {
		defer s.working.Done()
		s.mu.Lock()
		s.timer = nil
		s.mu.Unlock()
		s.sweep(false)
	})
}

// sweep writes the summaries of the intervals that ended, or of all.
func (s *sampler) sweep(all bool) {
	now := time.Now()
	again := false
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		shard.over = shard.over || all

		var ended map[sampleKey]*sampled
		switch {
		case all || !now.Before(shard.ends):
			ended = shard.seen
			shard.seen = make(map[sampleKey]*sampled)
			shard.ends = now.Add(s.per)
		case !shard.quiet():
			again = true
		}

		shard.mu.Unlock()
		s.summarize(ended)
	}

	if again {
		s.arm()
	}
}

func (s *sampler) summarize(ended map[sampleKey]*sampled) {
	for key, c := range ended {
		if c.left == 0 {
			continue
		}
		r := slog.NewRecord(time.Now(), key.level, "equal log records left out", 0)
		r.AddAttrs(slog.String("message", key.message), slog.Int("left_out", c.left), slog.Int("written", c.written), slog.Duration("per", s.per))
		_ = s.root(key.component).Handle(context.Background(), r) // the file counts and tells its own errors
	}
}

func (s *sampler) close() {
	s.mu.Lock()
	s.closed = true
	if s.timer != nil && s.timer.Stop() {
		s.working.Done()
	}
	s.mu.Unlock()
	s.sweep(true)
	s.working.Wait()
}

func (c SampleOptions) check(wrong *options.Mistakes) {
	if c.First < 0 {
		wrong.Add("Sample.First", "%d is negative: use 0 to write all", c.First)
	}
	if c.Per < 0 || c.Per > 0 && c.Per < time.Millisecond {
		wrong.Add("Sample.Per", "%v is less than 1ms", c.Per)
	}
}
