package scrape_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// failFirst answers the first n requests with fail and counts all.
func failFirst(t testing.TB, n int64, fail http.HandlerFunc) (site *httptest.Server, count *atomic.Int64) {
	t.Helper()
	count = new(atomic.Int64)
	site = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // as a server does
		if count.Add(1) <= n {
			fail(w, r)
			return
		}
		fmt.Fprint(w, "ok")
	})
	return site, count
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	withoutGetBody := func(r *http.Request) *http.Request { r.GetBody = nil; return r }
	request := func(method, body string) *http.Request {
		var r io.Reader
		if body != "" {
			r = strings.NewReader(body)
		}
		return httptest.NewRequestWithContext(t.Context(), method, "/", r)
	}
	post := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tc := range []struct {
		name  string
		req   *http.Request
		fail  http.HandlerFunc
		want  int64 // requests at the site, of which the first two fail
		final int   // status, 0 for an error
	}{
		{"GET 503", request("GET", ""), status(503), 3, 200},
		{"GET 429", request("GET", ""), status(429), 3, 200},
		{"GET 502", request("GET", ""), status(502), 3, 200},
		{"GET 500", request("GET", ""), status(500), 3, 200},
		{"GET 524", request("GET", ""), status(524), 3, 200},
		{"GET 501 is an answer", request("GET", ""), status(501), 1, 501},
		{"GET 404 is an answer", request("GET", ""), status(404), 1, 404},
		{"GET reset", request("GET", ""), reset, 3, 200},
		{"POST 503 may have had an effect", post(), status(503), 1, 503},
		{"POST 503 with Retry-After", post(), status(503, "Retry-After", "1"), 3, 200},
		{"POST 421", post(), status(421), 3, 200},
		{"POST 425", post(), status(425), 3, 200},
		{"POST 429", post(), status(429, "Retry-After", "1"), 3, 200},
		{"POST 502 with a key", withKey(post()), status(502), 3, 200},
		{"POST reset with a key", withKey(post()), reset, 3, 200},
		{"POST 503 without GetBody", withoutGetBody(post()), status(503), 1, 503},
		{"POST 502 with GetBody", post(), status(502), 1, 502},
		{"POST reset without GetBody", withoutGetBody(post()), reset, 1, 0},
		{"POST reset with GetBody", post(), reset, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			site, count := failFirst(t, 2, tc.fail)
			opts := options(scrape.Direct())
			opts.Retry = scrape.Retry{Attempts: 3, Base: time.Millisecond}
			c := newClient(t, opts)
			req := tc.req
			var err error
			req.URL, err = req.URL.Parse(site.URL)
			if err != nil {
				t.Fatal(err)
			}
			req.RequestURI, req.Host = "", ""
			got := 0
			res, err := c.Transport().RoundTrip(req)
			if err == nil {
				got = res.StatusCode
				_ = res.Body.Close()
			}
			if got != tc.final || count.Load() != tc.want {
				t.Errorf("status %d (%v) after %d requests, want %d after %d", got, err, count.Load(), tc.final, tc.want)
			}
		})
	}
}

func TestRetriesCountAndSpendTheIdentity(t *testing.T) {
	t.Parallel()
	site, _ := failFirst(t, 4, status(503))
	opts := options(scrape.SOCKS(sockstest.Start(t).Addr))
	opts.Retry = scrape.Retry{Attempts: 5, Base: time.Millisecond}
	opts.Rotation.Every = 2
	var numbers []int
	opts.Hooks.OnRetry = func(a scrape.Attempt) { numbers = append(numbers, a.Identity.Number) }
	c := newClient(t, opts)
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 1, 2, 2}, numbers); diff != "" {
		t.Errorf("identities of the attempts (-want +got):\n%s", diff)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	forms := map[string]func() string{
		"seconds": func() string { return "2" },
		// A date has whole seconds: 2 to 3 s ahead means at least 2.
		"date": func() string {
			return time.Now().UTC().Truncate(time.Second).Add(3 * time.Second).Format(http.TimeFormat)
		},
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var due time.Time
			site, _ := failFirst(t, 1, func(w http.ResponseWriter, _ *http.Request) {
				value := form()
				mu.Lock()
				due = time.Now().Add(2 * time.Second)
				if at, err := http.ParseTime(value); err == nil {
					due = at
				}
				mu.Unlock()
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			opts := options(scrape.Direct())
			opts.Retry = scrape.Retry{Attempts: 2}
			c := newClient(t, opts)
			_, body, err := get(t, c, site.URL)
			if err != nil || body != "ok" {
				t.Fatalf("Get = %q, %v", body, err)
			}
			late := time.Since(due)
			if late < 0 || late > testenv.Within(600*time.Millisecond, 2*time.Second) {
				t.Errorf("the next try came %v after it was due, want 0 to 600ms", late)
			}
			if s := c.Stats(); s.Waited < time.Second {
				t.Errorf("Stats.Waited = %v", s.Waited)
			}
		})
	}
	t.Run("after the last attempt", func(t *testing.T) {
		t.Parallel()
		site, count := failFirst(t, 1, status(429, "Retry-After", "1"))
		opts := options(scrape.Direct())
		opts.Retry = scrape.Retry{Attempts: 1}
		c := newClient(t, opts)
		began := time.Now()
		if code, _, err := get(t, c, site.URL); code != 429 || err != nil || count.Load() != 1 {
			t.Errorf("Get = %d, %v after %d requests, want the answer itself after 1", code, err, count.Load())
		}
		if code, _, err := get(t, c, site.URL); code != 200 || err != nil || time.Since(began) < time.Second {
			t.Errorf("the next page = %d, %v after %v: the site had asked for 1s", code, err, time.Since(began))
		}
	})
	t.Run("in ten years", func(t *testing.T) {
		t.Parallel()
		site, count := failFirst(t, 9, status(503, "Retry-After", "1000000000"))
		opts := options(scrape.Direct())
		opts.Retry = scrape.Retry{Attempts: 3}
		c := newClient(t, opts)
		if code, _, err := get(t, c, site.URL); code != 503 || err != nil {
			t.Errorf("Get = %d, %v, want the answer", code, err)
		}
		for range 50 { // nothing of them is sent
			_, _, err := get(t, c, site.URL)
			se, ok := errors.AsType[*scrape.Error](err)
			if !ok || !errors.Is(err, scrape.ErrRetryLater) || se.RetryAfter() < 23*time.Hour || se.RetryAfter() > 24*time.Hour || !se.Temporary() {
				t.Fatalf("%v, want ErrRetryLater within a day", err)
			}
		}
		if count.Load() != 1 {
			t.Errorf("%d requests after the site asked for ten years of peace", count.Load()-1)
		}
	})
}

func TestRetryAfterHoldsTheWholeHost(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var paused time.Time
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if paused.IsZero() {
			paused = time.Now().Add(time.Second)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if time.Now().Before(paused.Add(-100 * time.Millisecond)) {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	opts := options(scrape.Direct())
	opts.Retry = scrape.Retry{Attempts: 2}
	retrying := make(chan struct{})
	opts.Hooks.OnRetry = func(scrape.Attempt) { close(retrying) }
	c := newClient(t, opts)
	var wg sync.WaitGroup
	wg.Go(func() {
		if code, _, err := get(t, c, site.URL); code != 200 || err != nil {
			t.Errorf("the request itself: %d, %v", code, err)
		}
	})
	<-retrying
	for range 5 {
		wg.Go(func() {
			if code, _, err := get(t, c, site.URL); code != 200 || err != nil {
				t.Errorf("another request during the pause: %d, %v", code, err)
			}
		})
	}
	wg.Wait()
}

func TestHostLimit(t *testing.T) {
	t.Parallel()
	n := testenv.Reps(100) * 2
	if testenv.Soak() {
		n = 100
	}
	var most, now atomic.Int64
	site := newSite(t, func(http.ResponseWriter, *http.Request) {
		for v := now.Add(1); ; {
			m := most.Load()
			if v <= m || most.CompareAndSwap(m, v) {
				break
			}
		}
		now.Add(-1)
	})
	free := newSite(t, func(http.ResponseWriter, *http.Request) {})
	opts := options(scrape.Direct())
	opts.HostLimit = scrape.HostLimit{PerSecond: 20, InFlight: 4}
	c := newClient(t, opts)
	began := time.Now()
	var wg sync.WaitGroup
	jobs := make(chan struct{}, n)
	for range n {
		jobs <- struct{}{}
	}
	close(jobs)
	for range 16 {
		wg.Go(func() {
			for range jobs {
				if _, _, err := get(t, c, site.URL); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if _, _, err := get(t, c, free.URL); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("another host waited %v", took)
	}
	wg.Wait()
	took, want := time.Since(began), time.Duration(n-1)*50*time.Millisecond
	if took < want-want/20 || took > want+testenv.Within(550*time.Millisecond, 3*time.Second) {
		t.Errorf("%d requests at 20 a second took %v, want about %v", n, took, want)
	}
	if most.Load() > 4 {
		t.Errorf("%d requests at a time, want at most 4", most.Load())
	}
}

func TestHostLimitInFlight(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	entered, leave := make(chan struct{}, 20), make(chan struct{})
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		entered <- struct{}{}
		<-leave
		now.Add(-1)
		fmt.Fprint(w, "ok")
	})
	opts := options(scrape.Direct())
	opts.HostLimit = scrape.HostLimit{PerSecond: -1, InFlight: 3}
	c := newClient(t, opts)
	var wg sync.WaitGroup
	for range 9 {
		wg.Go(func() {
			if _, _, err := get(t, c, site.URL); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-entered
	}
	select {
	case <-entered:
		t.Error("a fourth request was sent while three were under way")
	case <-time.After(100 * time.Millisecond):
	}
	close(leave)
	wg.Wait()
	if most.Load() != 3 {
		t.Errorf("%d requests at a time, want 3", most.Load())
	}
}

func withKey(r *http.Request) *http.Request {
	r.Header.Set("Idempotency-Key", "7c1b")
	return r
}
