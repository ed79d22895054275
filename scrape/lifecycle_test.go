package scrape_test

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

func TestLifeCycle(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	lifetest.Stress(t, lifetest.Subject{New: func() (any, error) {
		return scrape.New(t.Context(), options(scrape.SOCKS(proxy.Addr)))
	}})
}

// TestCloseEndsWhatIsUnderWay closes a client while it waits for an answer, for
// a body, and between attempts.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 3)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/body":
			fmt.Fprint(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
		case "/later":
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		begun <- struct{}{}
		<-r.Context().Done()
	})
	opts := options(scrape.Direct())
	opts.Retry = scrape.Retry{Attempts: 2}
	opts.Hooks.OnRetry = func(a scrape.Attempt) {
		if a.Status == http.StatusServiceUnavailable {
			begun <- struct{}{}
		}
	}
	c := newClient(t, opts)
	errs := make(chan error)
	for _, path := range []string{"/answer", "/body", "/later"} {
		go func() {
			_, _, err := get(t, c, site.URL+path)
			errs <- err
		}()
		<-begun
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-errs; !errors.Is(err, scrape.ErrClosed) {
			t.Errorf("%v, want ErrClosed", err)
		}
	}
}

// TestRetiredIdentitiesLeaveNothingOpen counts the connections at the site.
func TestRetiredIdentitiesLeaveNothingOpen(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			open, changed := 0, make(chan struct{}, 1000)
			site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
			site.EnableHTTP2 = secure
			site.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				mu.Lock()
				switch state {
				case http.StateNew:
					open++
				case http.StateClosed:
					open--
				}
				mu.Unlock()
				changed <- struct{}{}
			}
			opts := options(scrape.Direct())
			if secure {
				site.StartTLS()
				opts.TLS = site.Client().Transport.(*http.Transport).TLSClientConfig
			} else {
				site.Start()
			}
			t.Cleanup(site.Close)
			opts.Rotation.Every = 2
			c := newClient(t, opts)
			for range 20 {
				if _, _, err := get(t, c, site.URL); err != nil {
					t.Fatal(err)
				}
			}
			deadline := time.After(10 * time.Second)
			for {
				mu.Lock()
				n := open
				mu.Unlock()
				if n <= 1 { // the current identity's
					return
				}
				select {
				case <-changed:
				case <-deadline:
					t.Fatalf("%d connections are open after 10 identities, want that of the last", n)
				}
			}
		})
	}
}

// TestEachEndsWithItsFunction has the function, and the sequence, end otherwise
// than by returning.
func TestEachEndsWithItsFunction(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	opts := options(scrape.Direct())
	opts.HostLimit.InFlight = 2 // a body that is left open takes a place
	c := newClient(t, opts)
	urls := func(yield func(string) bool) {
		for i := range 100 {
			if !yield(fmt.Sprintf("%s/%d", site.URL, i)) {
				return
			}
		}
	}
	each := func(urls iter.Seq[string], end func()) (value any, err error) {
		defer func() { value = recover() }()
		err = c.Each(t.Context(), urls, 2, func(string, *http.Response, error) error {
			open.Add(1)
			end()
			return nil
		})
		return nil, err
	}
	if value, err := each(urls, func() { panic("canary") }); err != nil || value != "canary" {
		t.Errorf("panic: Each = %v, panic %v", err, value)
	}
	if value, err := each(urls, runtime.Goexit); err == nil || value != nil {
		t.Errorf("Goexit: Each = %v, panic %v", err, value)
	}
	broken := func(yield func(string) bool) {
		yield(site.URL)
		panic("sequence")
	}
	if value, err := each(broken, func() {}); err != nil || value != "sequence" {
		t.Errorf("sequence: Each = %v, panic %v", err, value)
	}
	if value, err := each(urls, func() {}); err != nil || value != nil {
		t.Errorf("afterwards: Each = %v, panic %v", err, value)
	}
}
