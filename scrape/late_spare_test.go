package scrape_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/svcblocks/svcblocks/scrape"
)

// lateSpare is an egress of two exits, whose second circuit, that of the first
// spare identity, is ready only once a third is drawn.
type lateSpare struct {
	third chan struct{}

	mu    sync.Mutex
	drawn map[string]int // the ordinal of the draw by isolation key
}

func (l *lateSpare) Check(context.Context) error { return nil }

func (l *lateSpare) Exits(context.Context) (int, error) { return 2, nil }

// ordinal counts the draws: each has a key of its own.
func (l *lateSpare) ordinal(isolation string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn[isolation] == 0 {
		l.drawn[isolation] = len(l.drawn) + 1
	}
	return l.drawn[isolation]
}

func (l *lateSpare) Warm(_ context.Context, isolation, _ string) error {
	switch l.ordinal(isolation) {
	case 2:
		<-l.third
	case 3:
		close(l.third)
		synctest.Wait() // the spare is kept by now
	}
	return nil
}

func (l *lateSpare) Exit(_ context.Context, isolation string) (string, error) {
	return []string{"even", "odd"}[l.ordinal(isolation)%2], nil
}

func (l *lateSpare) DialContext(context.Context, string, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer func() { _ = there.Close() }()
		for in := bufio.NewReader(there); ; {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if _, err := io.WriteString(there, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	}()
	return here, nil
}

// TestSpareThatComesLate has an identity change while the spare one is still
// being made: the identity that is drawn in its stead comes before the spare, and
// need differ from the last alone.
func TestSpareThatComesLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts := options(&lateSpare{third: make(chan struct{}), drawn: map[string]int{}})
		opts.Rotation = scrape.Rotation{Every: 1, Distinct: true}
		var exits []string
		opts.Hooks.OnRotate = func(_, id scrape.Identity) { exits = append(exits, id.Exit) }
		c, err := scrape.New(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()

		for range 4 {
			if status, _, err := get(t, c, "http://site.example/"); err != nil || status != http.StatusOK {
				t.Fatalf("Get = %d, %v", status, err)
			}
		}
		if want := []string{"odd", "even", "odd", "even"}; !slices.Equal(exits, want) {
			t.Errorf("identities left by %v, want %v", exits, want)
		}
	})
}
