package hostlimit_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/hostlimit"
)

func start(t *testing.T) (jetstream.JetStream, *broker.Server) {
	t.Helper()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), DisableSync: true})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect(t.Context(), t.Name(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); _ = s.Close() })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func limiter(t *testing.T, js jetstream.JetStream, opts hostlimit.Options) *hostlimit.Limiter {
	t.Helper()
	l, err := hostlimit.New(t.Context(), js, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Workers that take turns at any moments, as many as they like, and die with
// turns in hand never make more than Burst + t·PerSecond requests in a time t.
func TestScheduleBound(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		every := time.Duration(1+r.IntN(100)) * time.Millisecond
		burst := int64(1 + r.IntN(5))
		now, next := time.Unix(1e9, 0), time.Time{}
		var made []time.Time
		for range 300 {
			turns, after, wait := hostlimit.Schedule(now, next, every, burst, int64(1+r.IntN(4)))
			if wait > 0 {
				if got := next.Sub(now); got <= hostlimit.Ahead {
					t.Fatalf("seed %d: has to wait %v although the turn is %v ahead", seed, wait, got)
				}
				now = now.Add(wait)
				continue
			}
			next = after
			if r.IntN(10) > 0 { // else the worker dies
				for _, turn := range turns {
					if turn.Before(now) {
						turn = now // it is due at once
					}
					made = append(made, turn)
				}
			}
			if r.IntN(3) == 0 {
				now = now.Add(time.Duration(r.IntN(int(5 * every))))
			}
		}
		slices.SortFunc(made, time.Time.Compare)
		for i := range made {
			for j := i; j < len(made); j++ {
				most := burst + int64(made[j].Sub(made[i])/every)
				if n := int64(j - i + 1); n > most {
					t.Fatalf("seed %d: %d requests within %v, want at most %d (one every %v, burst %d)", seed, n, made[j].Sub(made[i]), most, every, burst)
				}
			}
		}
	}
}

// A host that a wrong clock has put far into the future is not blocked.
func TestScheduleAfterWrongClock(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	if _, _, wait := hostlimit.Schedule(now, now.Add(30*time.Minute), time.Second, 1, 1); wait != 0 {
		t.Errorf("waits %v", wait)
	}
	if _, _, wait := hostlimit.Schedule(now, now.Add(time.Minute), time.Minute, 1, 1); wait == 0 {
		t.Error("a turn that workers have moved on was taken")
	}
}

// Workers whose own clocks are off by hours, and which judge the server's by
// some milliseconds wrongly, keep the limit together.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	const perSecond, requests, workers = 50, 90, 3
	var mu sync.Mutex
	var at []time.Time
	var wg sync.WaitGroup
	for i := range workers {
		l := limiter(t, js, hostlimit.Options{PerSecond: perSecond})
		hostlimit.SkewClock(l, time.Duration(i-1)*20*time.Millisecond)
		for range 6 {
			wg.Go(func() {
				for range requests / workers / 6 {
					if err := l.Wait(t.Context(), "site.example:80"); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					at = append(at, time.Now())
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	slices.SortFunc(at, time.Time.Compare)
	took := at[len(at)-1].Sub(at[0])
	if most := 1.1*perSecond*took.Seconds() + 1; float64(len(at)) > most {
		t.Errorf("%d requests in %v, want at most %.0f", len(at), took, most)
	}
}

// Of workers that take turns at the same moment, no two get the same one.
func TestTurnsAreTakenOnce(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	const workers, each = 8, 25
	var mu sync.Mutex
	taken := map[int64]bool{}
	var wg sync.WaitGroup
	for range workers {
		// As many are due as are taken, so that nobody has to wait.
		l := limiter(t, js, hostlimit.Options{PerSecond: 10, Burst: 2 * workers * each})
		wg.Go(func() {
			for got := 0; got < each; {
				turns, err := hostlimit.Reserve(t.Context(), l, "a:80")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, turn := range turns {
					if taken[turn.UnixNano()] {
						t.Errorf("the turn at %v was taken twice", turn)
					}
					taken[turn.UnixNano()] = true
				}
				mu.Unlock()
				got += len(turns)
			}
		})
	}
	wg.Wait()
	if len(taken) != workers*each {
		t.Errorf("%d turns were taken, want %d", len(taken), workers*each)
	}
}

// Hosts do not wait for each other.
func TestHostsAreApart(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	l := limiter(t, js, hostlimit.Options{PerSecond: 0.001})
	for _, name := range []string{"a:80", "b:80", "a:443"} {
		if err := l.Wait(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, "a:80"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a:80") {
		t.Errorf("error %v, want the end of ctx", err)
	}
}

// After a pause, Burst requests may come at once, and no more.
func TestBurst(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	l := limiter(t, js, hostlimit.Options{PerSecond: 0.001, Burst: 3})
	for range 3 {
		if err := l.Wait(t.Context(), "a:80"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, "a:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fourth request: %v", err)
	}
}

// Without the bucket nobody gets a turn.
func TestServerAway(t *testing.T) {
	t.Parallel()
	js, s := start(t)
	l := limiter(t, js, hostlimit.Options{PerSecond: 1000})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, "a:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the end of ctx", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	_, err := hostlimit.New(t.Context(), js, hostlimit.Options{PerSecond: -1, Burst: -1})
	if err == nil || !strings.Contains(err.Error(), "(PerSecond) -1") || !strings.Contains(err.Error(), "(Burst) -1") {
		t.Errorf("error %v", err)
	}
}

// roundTripper answers everything.
type roundTripper struct{ asked []string }

func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, req.URL.String())
	res := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}, Request: req}
	if req.URL.Path == "/from" {
		res.StatusCode = 302
		res.Header.Set("Location", "http://a/to")
	}
	return res, nil
}

// Each request of a chain of redirects takes a turn.
func TestTransport(t *testing.T) {
	t.Parallel()
	js, _ := start(t)
	l := limiter(t, js, hostlimit.Options{PerSecond: 0.001, Burst: 2})
	next := &roundTripper{}
	client := &http.Client{Transport: l.Transport(next)}
	res, err := client.Get("http://a/from")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if len(next.asked) != 2 {
		t.Fatalf("asked %q", next.asked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := client.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("a third request was made")
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://Shop.Example/x": "shop.example:80", "https://shop.example./": "shop.example:443", "http://a:8080/": "a:8080", "http://[::1]/": "::1:80",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostlimit.Host(u); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

// The clock is the server's, whatever the machine's own says; it is asked
// again after a minute, and takes the fastest answer.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		off, asked := 5*time.Hour, 0
		c := hostlimit.NewClock(func(context.Context) (time.Time, error) {
			asked++
			trip := time.Second
			if asked%5 == 3 {
				trip = 10 * time.Millisecond
			}
			time.Sleep(trip / 4) // the way there is shorter than the way back
			at := time.Now().Add(off)
			time.Sleep(trip - trip/4)
			return at, nil
		})
		check := func(times int) {
			t.Helper()
			now, err := c.Now(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if wrong := now.Sub(time.Now().Add(off)); wrong.Abs() > 5*time.Millisecond {
				t.Errorf("the clock is wrong by %v, want half a round trip at most", wrong)
			}
			if asked != times {
				t.Errorf("asked %d times, want %d", asked, times)
			}
		}
		check(5)
		time.Sleep(50 * time.Second)
		check(5)
		off = -time.Hour
		time.Sleep(11 * time.Second)
		check(10)
	})
}
