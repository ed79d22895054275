package hostlimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
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
	// slack is how far clocks may be off before a turn counts as that of a wrong
	// one.
	slack = 5 * time.Second
	// maxRest is how long a host may ask to be left alone, and a job is left to
	// rest.
	maxRest = time.Hour
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
	// Asker tells when the bucket cannot be reached. Nil tells nobody.
	Asker *patient.Asker
}

// Limiter hands out turns. Make it with [New]. Safe for concurrent use.
type Limiter struct {
	open   func(context.Context) (jetstream.KeyValue, error)
	bucket jetstream.KeyValue
	clock  clock
	every  time.Duration
	burst  int64
	asker  *patient.Asker

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what this process knows of a host.
type host struct {
	gate    chan struct{} // held by the one that takes turns
	waiting atomic.Int64
	turns   []time.Time // taken, and not used yet
	users   int         // of mu
	line    time.Time   // of mu: when the last of this process's resting jobs is back
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
	asker := patient.Or(opts.Asker)

	open := func(ctx context.Context) (jetstream.KeyValue, error) {
		return asker.Bucket(ctx, js, jetstream.KeyValueConfig{
			Bucket: bucketName, Description: "when each host has its next turn", History: 1, TTL: bucketTTL,
			Storage: jetstream.MemoryStorage, Replicas: opts.Replicas,
		})
	}

	bucket, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("hostlimit: bucket %s: %w", bucketName, err)
	}

	var stream jetstream.Stream
	if err := asker.Ask(ctx, "find the bucket", func(ctx context.Context) (err error) {
		stream, err = js.Stream(ctx, "KV_"+bucketName)
		return err
	}); err != nil {
		return nil, fmt.Errorf("hostlimit: bucket %s: %w", bucketName, err)
	}

	return &Limiter{
		open: open, bucket: bucket, clock: clock{ask: askStream(stream)}, asker: asker,
		every: time.Duration(math.Round(float64(time.Second) / opts.PerSecond)), burst: int64(opts.Burst),
		hosts: map[string]*host{},
	}, nil
}

// Wait waits for a turn at the host, such as shop.example:443. While the
// bucket cannot be reached nobody gets a turn: Wait goes on until ctx ends.
func (l *Limiter) Wait(ctx context.Context, name string) error {
	_, err := l.Take(ctx, name, math.MaxInt64)
	return err
}

// Take is Wait for one who has other work: where the turn is further than
// patience, and than a quarter of a second, it takes none, and returns how long
// to rest before asking again. Those who rest come back one after the other, as
// often as the host has a turn, so that few of them ask in vain.
func (l *Limiter) Take(ctx context.Context, name string, patience time.Duration) (rest time.Duration, err error) {
	h := l.use(name)
	defer l.leave(name, h)

	patience = max(patience, ahead)
	before := h.waiting.Add(1) - 1
	defer h.waiting.Add(-1)
	if before > int64(patience/l.every)+l.burst {
		return l.lineUp(h, time.Duration(before)*l.every), nil
	}

	select {
	case h.gate <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("hostlimit: %s: %w", name, context.Cause(ctx))
	}

	turn, wait, err := l.take(ctx, name, h, patience)
	<-h.gate
	switch {
	case err == nil && wait > 0:
		return l.lineUp(h, wait), nil
	case err == nil:
		err = l.sleepUntil(ctx, turn)
	}
	if err != nil {
		return 0, fmt.Errorf("hostlimit: %s: %w", name, err)
	}
	return 0, nil
}

// lineUp returns how long to rest, behind those of this process that rest
// already.
func (l *Limiter) lineUp(h *host, wait time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if first := now.Add(wait); h.line.Before(first) {
		h.line = first
	} else {
		h.line = h.line.Add(l.every)
	}
	return min(h.line.Sub(now), maxRest+time.Duration(rand.Int64N(int64(time.Minute))))
}

// Pause leaves a host alone for a while, up to an hour, as it has asked for.
func (l *Limiter) Pause(ctx context.Context, name string, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()

	for ctx.Err() == nil {
		e, key, revision, now, err := l.read(ctx, name)
		if err != nil {
			return // each job that is tried meanwhile hears it anew
		}
		until := now.Add(min(d, maxRest))
		if !e.Until.Before(until) && e.Until.Sub(now) <= maxRest+slack {
			return
		}
		e.Host, e.Until = name, until
		if done, err := l.write(ctx, key, e, revision); done || err != nil {
			return
		}
	}
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
	if h.users--; h.users == 0 && time.Now().After(h.line) {
		delete(l.hosts, name)
	}
}

// take returns the next turn; the caller holds the gate. One that is
// further than patience it leaves, and returns how long it is until then.
func (l *Limiter) take(ctx context.Context, name string, h *host, patience time.Duration) (time.Time, time.Duration, error) {
	policy := backoff.Policy{Base: 20 * time.Millisecond, Max: 2 * time.Second}
	for failures := 0; len(h.turns) == 0; {
		// For those who wait here too, but no further ahead than that.
		n := min(h.waiting.Load(), max(1, int64(ahead/l.every)))

		turns, wait, err := l.reserve(ctx, name, n)
		switch {
		case err == nil && wait == 0:
			h.turns, failures = turns, 0
			l.asker.Worked(ctx, "take turns")
			continue
		case err == nil && wait > max(0, patience-ahead) && wait > raceWait:
			return time.Time{}, wait, nil
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return time.Time{}, 0, context.Cause(ctx)
		default:
			failures++
			wait = policy.Delay(failures)
			l.asker.Failed(ctx, "take turns", err)
			// A server that was started again has forgotten the bucket.
			if l.recreate(ctx) {
				continue
			}
		}

		if err := sleep(ctx, wait); err != nil {
			return time.Time{}, 0, err
		}
	}

	turn := h.turns[0]
	h.turns = h.turns[1:]
	return turn, 0, nil
}

// recreate makes the bucket if it is not there, and reports whether it is.
func (l *Limiter) recreate(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err := l.open(ctx)
	return err == nil
}

// entry is the value of a host in the bucket.
type entry struct {
	Host string    `json:"host"`
	Next time.Time `json:"next"` // of the next turn, by the server's clock
	// Until is how long the host has asked to be left alone.
	Until time.Time `json:"until,omitzero"`
}

// raceWait is the wait of one who lost a turn to another worker.
const raceWait = time.Millisecond

// reserve takes n turns, or says how long to wait before it is time to. Losing
// to another worker is a wait of raceWait.
func (l *Limiter) reserve(ctx context.Context, name string, n int64) ([]time.Time, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()

	e, key, revision, now, err := l.read(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	if alone := e.Until.Sub(now); alone > 0 && alone <= maxRest+slack {
		return nil, max(alone, 2*raceWait), nil
	}

	turns, next, wait := schedule(now, e.Next, l.every, l.burst, n)
	if wait > 0 {
		return nil, max(wait, 2*raceWait), nil
	}

	done, err := l.write(ctx, key, entry{Host: name, Next: next}, revision)
	if err != nil {
		return nil, 0, err
	}
	if !done {
		return nil, raceWait, nil // another worker was first: read again
	}
	return turns, 0, nil
}

// read returns a host's entry, where it is kept, and the server's time.
func (l *Limiter) read(ctx context.Context, name string) (e entry, key string, revision uint64, now time.Time, err error) {
	sum := sha256.Sum256([]byte(name)) // a key may not hold a colon
	key = hex.EncodeToString(sum[:16])
	got, err := l.bucket.Get(ctx, key)
	switch {
	case err == nil:
		revision = got.Revision()
		if err := json.Unmarshal(got.Value(), &e); err != nil {
			e = entry{} // of another program: overwritten
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return e, key, 0, now, err
	}
	now, err = l.clock.now(ctx)
	return e, key, revision, now, err
}

// write reports false where another worker was first.
func (l *Limiter) write(ctx context.Context, key string, e entry, revision uint64) (bool, error) {
	value, err := json.Marshal(e)
	if err != nil {
		return false, err
	}
	_, err = l.bucket.Update(ctx, key, value, revision)
	if errors.Is(err, jetstream.ErrKeyExists) || conflicts(err) {
		return false, nil
	}
	return err == nil, err
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
	// Turns are taken when the next is near, up to ahead of them at a time. One
	// that is further away is from a server whose clock was wrong.
	if next.Sub(now) > 2*ahead+every+slack {
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

// Now returns the server's time.
func (l *Limiter) Now(ctx context.Context) (time.Time, error) { return l.clock.now(ctx) }

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

// Taken returns a context for a request to a host whose turn is taken already.
// A second request, such as after a redirect, waits for its own.
func Taken(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, takenKey{}, &taken{host: name})
}

type takenKey struct{}

type taken struct {
	host string
	used atomic.Bool
}

type transport struct {
	limiter *Limiter
	next    http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	name := Host(req.URL)
	if mine, ok := req.Context().Value(takenKey{}).(*taken); ok && mine.host == name && mine.used.CompareAndSwap(false, true) {
		return t.next.RoundTrip(req)
	}
	if err := t.limiter.Wait(req.Context(), name); err != nil {
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
