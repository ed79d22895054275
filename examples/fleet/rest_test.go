package main_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// town is forty hosts, most of which answer at once.
type town struct {
	mu     sync.Mutex
	tries  map[string]int // by address
	served map[string]int // pages by kind
	last   time.Time      // of a good page
	tenth  time.Time
	hosts  map[string]*httptest.Server
}

func newTown(t *testing.T) *town {
	w := &town{tries: map[string]int{}, served: map[string]int{}, hosts: map[string]*httptest.Server{}}
	kinds := []string{"hour", "tenth", "slow"}
	for n := range good {
		kinds = append(kinds, fmt.Sprintf("good-%d", n))
	}
	for _, kind := range kinds {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(kind, rw, r) }))
		t.Cleanup(s.Close)
		w.hosts[kind] = s
	}
	return w
}

func (w *town) serve(kind string, rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.tries[w.hosts[kind].URL+r.URL.Path]++
	w.served[kind]++
	early := time.Since(w.tenth) < 10*time.Second
	switch {
	case kind == "tenth" && !early:
		w.tenth = time.Now()
	case len(kind) > 5 && kind[:5] == "good-":
		w.last = time.Now()
	}
	w.mu.Unlock()

	switch kind {
	case "hour":
		rw.Header().Set("Retry-After", "3600")
		rw.WriteHeader(http.StatusServiceUnavailable)
	case "tenth":
		if early {
			rw.Header().Set("Retry-After", "10")
			rw.WriteHeader(http.StatusTooManyRequests)
		}
	case "slow":
		<-r.Context().Done()
	}
}

func (w *town) pages(host string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s/page/%d", host, i))
	}
	return all
}

// good is how many of the hosts answer.
const good = 36

// Of forty hosts one asks for an hour, one takes a request per ten seconds, one is
// dead and one slow. The others do not notice; nothing is given up that was not
// asked for, and the tries that are told are those that were made.
func TestHostsAreApart(t *testing.T) {
	t.Parallel()
	perHost := testenv.Reps(100)
	measure := func(odd bool) (took time.Duration, town *town, w *world) {
		town = newTown(t)
		w = newWorld(t, 0, queue.Options{PerSecond: 5, MaxAckPending: 40, JobTimeout: time.Second, MaxDeliver: 3})
		var addresses []string
		if odd {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			dead := "http://" + l.Addr().String()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			// The odd ones come first, more than may be out at a time.
			addresses = append(addresses, town.pages(town.hosts["hour"].URL, 60)...)
			addresses = append(addresses, town.pages(town.hosts["tenth"].URL, 30)...)
			addresses = append(addresses, town.pages(dead, 5)...)
			addresses = append(addresses, town.pages(town.hosts["slow"].URL, 5)...)
		}
		for i := range perHost {
			for n := range good {
				addresses = append(addresses, fmt.Sprintf("%s/page/%d", town.hosts[fmt.Sprintf("good-%d", n)].URL, i))
			}
		}
		w.workers(t, 2, "-worker.concurrency=16", "-worker.retry-base=100ms")
		began := time.Now()
		if _, err := w.queue.Publish(t.Context(), func(yield func(queue.Job, error) bool) {
			for _, a := range addresses {
				if !yield(queue.Job{URL: a}, nil) {
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		w.await(t, 5*time.Minute, func(s queue.Stats) bool { return s.Results >= int64(good*perHost) })
		testenv.EventuallyWithin(t, time.Minute, func() error {
			town.mu.Lock()
			defer town.mu.Unlock()
			for n := range good {
				if got := town.served[fmt.Sprintf("good-%d", n)]; got < perHost {
					return fmt.Errorf("host %d served %d pages, want %d", n, got, perHost)
				}
			}
			return nil
		})
		town.mu.Lock()
		defer town.mu.Unlock()
		return town.last.Sub(began), town, w
	}

	alone, _, _ := measure(false)
	took, town, w := measure(true)
	t.Logf("36 hosts alone: %v; with the four: %v, %.2f times", alone, took, took.Seconds()/alone.Seconds())
	if most := testenv.Within(alone*11/10, 3*alone+5*time.Second); took > most {
		t.Errorf("the others took %v, want at most %v", took, most)
	}

	// The dead one and the slow one, three tries each; the others rest.
	w.await(t, time.Minute, func(s queue.Stats) bool { return s.Dead == 10 })
	town.mu.Lock()
	defer town.mu.Unlock()
	for d, err := range w.queue.DeadLetters(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if asked, known := town.tries[d.URL]; d.Tries != 3 || known && asked != d.Tries {
			t.Errorf("%s: %d tries told, %d made: %s", d.URL, d.Tries, asked, d.Reason)
		}
	}
	if n := town.served["hour"]; n < 1 || n > 4 {
		t.Errorf("the host that asks for an hour was asked %d times", n)
	}
	st, err := w.queue.Stats(t.Context())
	if err == nil && st.Resting < 60 {
		err = errors.New("the jobs of the host that asks for an hour do not rest")
	}
	if err != nil {
		t.Errorf("%+v, %v", st, err)
	}
}
