package hostlimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

const (
	// ahead is how long before its turn a request may take it: long enough
	// that the bucket's round trips cost no turns, short enough that a dead
	// worker's turns do not matter.
	ahead = 250 * time.Millisecond
	// bucketName is where the turns are kept.
	bucketName = "fleet_hosts"
	// bucketTTL is how long a host is remembered that nobody asks for.
	bucketTTL = 24 * time.Hour
	// answerWithin bounds a request to the server. One that a dying server
	// took along would be waited for as long as the job may take.
	answerWithin = 2 * time.Second
)

// Options are the settings of a [Limiter]; all workers of a fleet must have
// the same. The zero Options are the defaults.
type Options struct {
	// PerSecond is how many requests a second one host gets, from all workers
	// together. Defaults to 5; at least 0.001.
	PerSecond float64
	// Burst is how many requests may come at once after a pause. Defaults to 1.
	Burst int
	// Replicas is how many servers of a cluster keep the bucket. Defaults to 1.
	Replicas int
	// Logger is told when the bucket cannot be reached. Nil discards.
	Logger *slog.Logger
}

// Limiter hands out turns. Make it with [New]. Safe for concurrent use.
type Limiter struct {
	create func(context.Context) (jetstream.KeyValue, error)
	bucket jetstream.KeyValue
	clock  clock
	every  time.Duration
	burst  int64
	log    *slog.Logger

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what this process knows of a host.
type host struct {
	gate    chan struct{} // held by the one that takes turns
	waiting atomic.Int64
	turns   []time.Time // taken, and not used yet
	users   int         // of mu
}

// New opens the bucket, and makes it if it is not there. It is kept in the
// server's memory: after a restart every host has its turn at once, and no
// more than Burst of them.
func New(ctx context.Context, js jetstream.JetStream, opts Options) (*Limiter, error) {
	if opts.PerSecond == 0 {
		opts.PerSecond = 5
	}
	if opts.Burst == 0 {
		opts.Burst = 1
	}
	if opts.Replicas == 0 {
		opts.Replicas = 1
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if !(opts.PerSecond >= 0.001 && opts.PerSecond <= 1e6) {
		errs = append(errs, fmt.Errorf("requests a second (PerSecond) %g: from 0.001 to 1,000,000", opts.PerSecond))
	}
	if opts.Burst < 1 || opts.Burst > 1_000_000 {
		errs = append(errs, fmt.Errorf("requests at once (Burst) %d: from 1 to 1,000,000", opts.Burst))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("hostlimit: options: %w", errors.Join(errs...))
	}
	create := func(ctx context.Context) (jetstream.KeyValue, error) {
		return js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: bucketName, Description: "when each host has its next turn", History: 1, TTL: bucketTTL,
			Storage: jetstream.MemoryStorage, Replicas: opts.Replicas,
		})
	}
	bucket, err := create(ctx)
	if err != nil {
		return nil, fmt.Errorf("hostlimit: bucket %s: %w", bucketName, err)
	}
	stream, err := js.Stream(ctx, "KV_"+bucketName)
	if err != nil {
		return nil, fmt.Errorf("hostlimit: bucket %s: %w", bucketName, err)
	}
	return &Limiter{
		create: create, bucket: bucket, clock: clock{ask: askStream(stream)}, log: opts.Logger.With("component", "hostlimit"),
		every: time.Duration(math.Round(float64(time.Second) / opts.PerSecond)), burst: int64(opts.Burst),
		hosts: map[string]*host{},
	}, nil
}

// Wait waits for a turn at the host, such as shop.example:443. While the
// bucket cannot be reached nobody gets a turn: Wait goes on until ctx ends.
func (l *Limiter) Wait(ctx context.Context, name string) error {
	h := l.use(name)
	defer l.leave(name, h)
	h.waiting.Add(1)
	defer h.waiting.Add(-1)
	select {
	case h.gate <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("hostlimit: %s: %w", name, context.Cause(ctx))
	}
	turn, err := l.take(ctx, name, h)
	<-h.gate
	if err == nil {
		err = l.sleepUntil(ctx, turn)
	}
	if err != nil {
		return fmt.Errorf("hostlimit: %s: %w", name, err)
	}
	return nil
}

// use and leave keep a host as long as somebody waits for it.
func (l *Limiter) use(name string) *host {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[name]
	if h == nil {
		h = &host{gate: make(chan struct{}, 1)}
		l.hosts[name] = h
	}
	h.users++
	return h
}

func (l *Limiter) leave(name string, h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(l.hosts, name)
	}
}

// take returns the next turn; the caller holds the gate.
func (l *Limiter) take(ctx context.Context, name string, h *host) (time.Time, error) {
	policy := backoff.Policy{Base: 20 * time.Millisecond, Max: 2 * time.Second}
	for failures := 0; len(h.turns) == 0; {
		// For those who wait here too, but no further ahead than that.
		n := min(h.waiting.Load(), max(1, int64(ahead/l.every)))
		turns, wait, err := l.reserve(ctx, name, n)
		switch {
		case err == nil && wait == 0:
			h.turns, failures = turns, 0
			continue
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return time.Time{}, context.Cause(ctx)
		default:
			failures++
			wait = policy.Delay(failures)
			if failures == 1 {
				l.log.WarnContext(ctx, "no turns can be taken", "host", name, "error", err)
			}
			// A server that was started again has forgotten the bucket.
			if l.recreate(ctx) {
				continue
			}
		}
		if err := sleep(ctx, wait); err != nil {
			return time.Time{}, err
		}
	}
	turn := h.turns[0]
	h.turns = h.turns[1:]
	return turn, nil
}

// recreate makes the bucket if it is not there, and reports whether it is.
func (l *Limiter) recreate(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err := l.create(ctx)
	return err == nil
}

// entry is the value of a host in the bucket.
type entry struct {
	Host string    `json:"host"`
	Next time.Time `json:"next"` // of the next turn, by the server's clock
}

// reserve takes n turns, or says how long to wait before it is time to. Losing
// to another worker is a wait of 0 turns and no time.
func (l *Limiter) reserve(ctx context.Context, name string, n int64) ([]time.Time, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	sum := sha256.Sum256([]byte(name)) // a key may not hold a colon
	key := hex.EncodeToString(sum[:16])
	var e entry
	revision := uint64(0)
	got, err := l.bucket.Get(ctx, key)
	switch {
	case err == nil:
		revision = got.Revision()
		if err := json.Unmarshal(got.Value(), &e); err != nil {
			e = entry{} // of another program: overwritten
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, err
	}
	now, err := l.clock.now(ctx)
	if err != nil {
		return nil, 0, err
	}
	turns, next, wait := schedule(now, e.Next, l.every, l.burst, n)
	if wait > 0 {
		return nil, wait, nil
	}
	value, err := json.Marshal(entry{Host: name, Next: next})
	if err != nil {
		return nil, 0, err
	}
	_, err = l.bucket.Update(ctx, key, value, revision)
	if errors.Is(err, jetstream.ErrKeyExists) || conflicts(err) {
		return nil, time.Millisecond, nil // another worker was first: read again
	}
	if err != nil {
		return nil, 0, err
	}
	return turns, 0, nil
}

// conflicts reports whether the revision was not the last one any more.
func conflicts(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// schedule takes n turns from next on, one each every; after a pause, burst of
// them are due at once. It returns them and what next is then, or how long to
// wait before turns may be taken.
func schedule(now, next time.Time, every time.Duration, burst, n int64) (turns []time.Time, after time.Time, wait time.Duration) {
	// Further away than any number of workers can have moved it: the server's
	// clock was wrong and has been set back.
	if next.Sub(now) > time.Hour+1000*every {
		next = time.Time{}
	}
	if earliest := now.Add(-time.Duration(burst-1) * every); next.Before(earliest) {
		next = earliest
		if burst == 1 {
			next = now
		}
	}
	if wait := next.Sub(now) - ahead; wait > 0 {
		return nil, next, wait
	}
	for i := range n {
		turns = append(turns, next.Add(time.Duration(i)*every))
	}
	return turns, next.Add(time.Duration(n) * every), 0
}

// sleepUntil waits for a time of the server's clock.
func (l *Limiter) sleepUntil(ctx context.Context, turn time.Time) error {
	now, err := l.clock.now(ctx)
	if err != nil {
		return err
	}
	return sleep(ctx, turn.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Transport returns a RoundTripper that waits for the host's turn before every
// request of next, redirects included.
func (l *Limiter) Transport(next http.RoundTripper) http.RoundTripper { return transport{l, next} }

type transport struct {
	limiter *Limiter
	next    http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.limiter.Wait(req.Context(), Host(req.URL)); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as http.RoundTripper asks for
		}
		return nil, err
	}
	return t.next.RoundTrip(req)
}

// Host returns the name under which an address takes its turns: host:port, in
// lower case.
func Host(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + ":" + port
}
