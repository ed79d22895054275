package scrape_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/scrape"
)

// wandering is an egress whose exits are four in turn, and some of whose
// connections leave by another one than it told: every third, unless moves
// says which.
type wandering struct {
	moves func(dialed int) bool

	mu     sync.Mutex
	exits  map[string]string
	drawn  int
	dialed int
	wrong  map[string]bool // local addresses of connections gone elsewhere
}

func (w *wandering) Check(context.Context) error { return nil }

func (w *wandering) Exits(context.Context) (int, error) { return 4, nil }

func (w *wandering) Exit(_ context.Context, isolation string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exits[isolation] == "" {
		w.drawn++
		w.exits[isolation] = fmt.Sprintf("exit%d", w.drawn*7/3%4)
	}
	return w.exits[isolation], nil
}

func (w *wandering) DialContext(ctx context.Context, _, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func (w *wandering) DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error) {
	conn, err := w.DialContext(ctx, isolation, network, addr)
	if err != nil {
		return nil, "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	exit := w.exits[isolation]
	w.dialed++
	if w.moves == nil && w.dialed%3 == 0 || w.moves != nil && w.moves(w.dialed) {
		w.wrong[conn.LocalAddr().String()] = true
		exit = "elsewhere"
	}
	return conn, exit, nil
}

func TestDistinctIsConfirmed(t *testing.T) {
	t.Parallel()
	served := 0
	egress := &wandering{exits: map[string]string{}, wrong: map[string]bool{}}
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		served++
		egress.mu.Lock()
		defer egress.mu.Unlock()
		if egress.wrong[r.RemoteAddr] {
			t.Errorf("a request by a connection that left by another exit")
		}
	})
	opts := options(egress)
	opts.Rotation = scrape.Rotation{Every: 2, Distinct: true}
	var exits []string
	opts.Hooks.OnPage = func(p scrape.Page) {
		if len(exits) == 0 || exits[len(exits)-1] != p.Identity.Exit {
			exits = append(exits, p.Identity.Exit)
		}
	}
	c := newClient(t, opts)
	for range 40 {
		if _, _, err := get(t, c, site.URL); err != nil {
			t.Fatal(err)
		}
	}
	if served != 40 || len(egress.wrong) == 0 {
		t.Errorf("%d requests served, %d connections gone elsewhere; want 40 and some", served, len(egress.wrong))
	}
	if len(exits) != 20 {
		t.Errorf("%d changes of exit for 20 identities", len(exits))
	}
	for i := range exits {
		for j := max(0, i-1); j < i; j++ { // with four exits, as few as eight draws allow
			if exits[i] == exits[j] {
				t.Errorf("identities %d and %d both left by %s", j, i, exits[i])
			}
		}
		if exits[i] == "elsewhere" {
			t.Errorf("identity %d left by another exit than told", i)
		}
	}
}

// TestRobotsByAMovedConnection moves the connection that fetches robots.txt.
func TestRobotsByAMovedConnection(t *testing.T) {
	t.Parallel()
	egress := &wandering{exits: map[string]string{}, wrong: map[string]bool{}, moves: func(dialed int) bool { return dialed == 1 }}
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			http.NotFound(w, r)
		}
	})
	opts := options(egress)
	opts.Robots = scrape.Robots{}
	opts.Rotation = scrape.Rotation{Distinct: true}
	c := newClient(t, opts)
	if status, _, err := get(t, c, site.URL); err != nil || status != http.StatusOK {
		t.Errorf("Get = %d, %v", status, err)
	}
	if s := c.Stats(); s.Redraws != 1 || len(egress.wrong) != 1 {
		t.Errorf("%d redraws for %d moved connections, want 1", s.Redraws, len(egress.wrong))
	}
}

// uneven is an egress with two exits, of which most draws lead to the first.
type uneven struct {
	wandering
	every int // which draw leads to the other; 0: none
}

func (u *uneven) Exit(_ context.Context, isolation string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.exits[isolation] == "" {
		u.drawn++
		u.exits[isolation] = "usual"
		if u.every > 0 && u.drawn%u.every == 0 {
			u.exits[isolation] = "other"
		}
	}
	return u.exits[isolation], nil
}

// TestDistinctAmongUnevenExits: Tor draws by bandwidth, so that an exit may come
// ten times in a row. Where there is but one, the search costs no more than said.
func TestDistinctAmongUnevenExits(t *testing.T) {
	t.Parallel()
	for _, every := range []int{11, 0} {
		t.Run(fmt.Sprintf("every %d", every), func(t *testing.T) {
			t.Parallel()
			site := newSite(t, func(http.ResponseWriter, *http.Request) {})
			egress := &uneven{every: every}
			egress.exits, egress.wrong = map[string]string{}, map[string]bool{}
			egress.moves = func(int) bool { return false }
			opts := options(egress)
			opts.Rotation = scrape.Rotation{Every: 1, Distinct: true, Warm: -1}
			same, last := 0, ""
			opts.Hooks.OnRotate = func(_, id scrape.Identity) {
				if id.Exit == last {
					same++
				}
				last = id.Exit
			}
			c := newClient(t, opts)
			for range 4 {
				if _, _, err := get(t, c, site.URL); err != nil {
					t.Fatal(err)
				}
			}
			if every > 0 && same > 0 {
				t.Errorf("%d of 3 changes kept the exit", same)
			}
			if most := 5 * 8; egress.drawn > most {
				t.Errorf("%d circuits for 4 identities, want at most %d", egress.drawn, most)
			}
		})
	}
}
