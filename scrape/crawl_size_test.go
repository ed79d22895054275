package scrape_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
)

// The size of the crawl, in soak mode: pages on hosts, and how often the process
// that crawls is killed.
const (
	sizePages   = 20_000
	sizeHosts   = 40
	sizeKills   = 20
	sizeWorkers = 8
)

// world is sites whose pages link across all of them, with traps: a calendar
// without an end, an id of a session in each link, hosts that answer 429 at first
// and one that asks for a long pause.
type world struct {
	pages int
	long  time.Duration // what the last host asks for at first; 0: nothing
	short time.Duration // what each fifth host asks for at first; 0: nothing
	urls  []string      // of the hosts
	next  chan struct{} // gets one each time that step more pages were served
	step  int

	mu     sync.Mutex
	asked  map[string]bool // hosts that have asked for a pause
	served map[int]int
	total  int
	ids    int
	others time.Time // when the last page was served that is not the last host's
}

// newWorld starts the sites of w. Processes that ask them share no memory with the
// test, so that mu alone orders what the two do.
func newWorld(t testing.TB, w *world) *world {
	w.asked, w.served, w.next = map[string]bool{}, map[int]int{}, make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for range sizeHosts {
		w.urls = append(w.urls, newSite(t, w.ServeHTTP).URL)
	}
	return w
}

// again returns how many pages were served, and how often one was again.
func (w *world) again() (pages, again int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.served), w.total - len(w.served)
}

// hosts returns the hosts, as CrawlOptions has them.
func (w *world) hosts() []string {
	var list []string
	for _, u := range w.urls {
		list = append(list, strings.TrimPrefix(u, "http://"))
	}
	return list
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/p/"))
	if err != nil {
		http.NotFound(out, r)
		return
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	host := n % sizeHosts
	pause := time.Duration(0)
	if host == sizeHosts-1 {
		pause = w.long
	} else if host%5 == 0 {
		pause = w.short
	}
	if pause > 0 && !w.asked[r.Host] {
		w.asked[r.Host] = true
		out.Header().Set("Retry-After", strconv.Itoa(int(pause/time.Second)))
		out.WriteHeader(http.StatusTooManyRequests)
		return
	}

	w.served[n]++
	w.total++
	if host != sizeHosts-1 {
		w.others = time.Now()
	}
	if w.step > 0 && w.total%w.step == 0 {
		select {
		case w.next <- struct{}{}:
		default:
		}
	}
	for _, to := range w.below(n) {
		w.ids++
		fmt.Fprintf(out, "%s/p/%d?sid=%d\n", w.urls[to%sizeHosts], to, w.ids)
	}
	above := max(1, n/2)
	fmt.Fprintf(out, "/calendar/%d\n%s/p/%d?sid=x#top\nhttp://elsewhere.example.com/\n", n+1, w.urls[above%sizeHosts], above)
}

// below returns the pages that a page links to: two, and what those of the last
// host link to, so that no other page is found on that host alone.
func (w *world) below(n int) (list []int) {
	for _, to := range []int{2 * n, 2*n + 1} {
		if to >= w.pages {
			continue
		}
		list = append(list, to)
		if to%sizeHosts == sizeHosts-1 {
			list = append(list, w.below(to)...)
		}
	}
	return list
}

// crawl crawls all of it.
func (w *world) crawl(t testing.TB, hosts []string, seed, dir string, progress func(scrape.Progress)) error {
	t.Helper()
	opts := options(scrape.Direct())
	opts.HostLimit.InFlight = 2
	opts.Retry = scrape.Retry{Attempts: 3}
	c := newClient(t, opts)
	return c.Crawl(t.Context(), []scrape.Request{{URL: seed}}, &scrape.CrawlOptions{
		Workers: sizeWorkers, Hosts: hosts, Exclude: []string{"/calendar/"}, Dir: dir, MaxPages: -1, OnProgress: progress,
		Rewrite: func(u *url.URL) { u.RawQuery = "" },
	}, links)
}

// TestCrawlAtSize crawls a world in a process that is killed again and again: no
// page is lost, none but those under way is fetched again, and memory stays
// bounded.
func TestCrawlAtSize(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("CRAWL_DIR"); dir != "" {
		crawlInChild(t, dir)
		return
	}
	testenv.Slow(t)
	kills := max(5, testenv.Reps(sizeKills))
	w := newWorld(t, &world{pages: testenv.Reps(sizePages), long: 2 * time.Second, short: time.Second, step: testenv.Reps(sizePages) / (kills + 2)})
	dir := t.TempDir()

	begin := func() (end func(kill bool) error) {
		cmd := testenv.Self("-test.run=^TestCrawlAtSize$", "-test.count=1")
		cmd.Env = append(os.Environ(), "CRAWL_DIR="+dir, "CRAWL_SEED="+w.urls[1]+"/p/1", "CRAWL_HOSTS="+strings.Join(w.hosts(), ","))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func(kill bool) error {
			if kill {
				_ = cmd.Process.Kill() // it may have ended
			}
			if err := cmd.Wait(); err != nil && !kill {
				return fmt.Errorf("%w: %s", err, out.String())
			}
			return nil
		}
	}
	for range kills {
		end := begin()
		select {
		case <-w.next:
		case <-time.After(testenv.Within(time.Minute, 3*time.Minute)):
			t.Error("no progress")
		}
		_ = end(true) // it was killed
	}
	if err := begin()(false); err != nil {
		t.Fatalf("the last run: %v", err)
	}

	pages, again := w.again()
	if pages != w.pages-1 || again > kills*sizeWorkers {
		t.Errorf("%d of %d pages, %d fetched again, want at most %d", pages, w.pages-1, again, kills*sizeWorkers)
	}
	peak, err := os.ReadFile(filepath.Join(dir, "peak"))
	if err != nil {
		t.Fatal(err)
	}
	bytes, _ := strconv.Atoi(string(peak)) // 0 is told as wrong
	t.Logf("%d pages on %d hosts, %d kills: %d lost, %d fetched again (at most %d are under way), %.1f MB at most",
		pages, sizeHosts, kills, w.pages-1-pages, again, kills*sizeWorkers, float64(bytes)/1e6)
	if bytes == 0 || bytes > 64<<20 {
		t.Errorf("%d bytes of memory at most, want at most 64 MiB", bytes)
	}
}

// crawlInChild is the process that is killed. It writes down how much memory the
// runtime has from the system, whenever that is more than before.
func crawlInChild(t *testing.T, dir string) {
	before, _ := os.ReadFile(filepath.Join(dir, "peak")) // none the first time
	peak, _ := strconv.Atoi(cmp.Or(string(before), "0")) // written here
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	n := 0
	err := (&world{}).crawl(t, strings.Split(os.Getenv("CRAWL_HOSTS"), ","), os.Getenv("CRAWL_SEED"), filepath.Join(dir, "journal"), func(scrape.Progress) {
		if n++; n%20 != 1 {
			return
		}
		metrics.Read(samples)
		now := int(samples[0].Value.Uint64() - samples[1].Value.Uint64())
		if now > peak {
			peak = now
			_ = os.WriteFile(filepath.Join(dir, "peak"), []byte(strconv.Itoa(now)), 0o600) // missing, it is told
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAPauseCostsTheOthersNothing: one host of forty asks for 30 s; the other
// pages take as long as they do without. The two crawls run at a time, so that
// what else the machine does slows both; times are compared in soak mode alone.
func TestAPauseCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	pages, pause, rounds := 500, 2*time.Second, 1
	if testenv.Soak() {
		pages, pause, rounds = 5000, 30*time.Second, 5
	}

	best := 100.0
	for range rounds {
		began := time.Now()
		worlds := [2]*world{newWorld(t, &world{pages: pages}), newWorld(t, &world{pages: pages, long: pause})}
		var wg sync.WaitGroup
		for _, w := range worlds {
			wg.Go(func() {
				if err := w.crawl(t, w.hosts(), w.urls[1]+"/p/1", "", nil); err != nil {
					t.Error(err)
				}
				if n, _ := w.again(); n != w.pages-1 {
					t.Errorf("%d of %d pages", n, w.pages-1)
				}
			})
		}
		wg.Wait()
		best = min(best, float64(worlds[1].others.Sub(began))/float64(worlds[0].others.Sub(began)))
	}

	t.Logf("the other hosts' pages take %.2f times as long beside a host that asks for %v", best, pause)
	if testenv.Soak() && best > 1.05 {
		t.Errorf("a host that asks for %v costs the others %.0f %%, want at most 5 %%", pause, 100*(best-1))
	}
}
