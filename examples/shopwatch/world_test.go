package main_test

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// world is a site and the receivers, in the test's process, so that they
// outlive the service.
type world struct {
	more    string // further settings
	webhook string // in place of Slack's
	site    *site
	logs    *logReceiver
	mail    *demo.MailCatcher
	slack   *demo.SlackReceiver
	dir     string // the service's working directory
}

func newWorld(t *testing.T) *world {
	t.Helper()
	mail, err := demo.StartMailCatcher(t.Context(), &demo.MailOptions{Keep: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	slack, err := demo.StartSlackReceiver(t.Context(), &demo.SlackOptions{Keep: 10_000, PerSecond: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{site: newSite(t), logs: newLogReceiver(t), mail: mail, slack: slack, dir: t.TempDir()}
	t.Cleanup(func() {
		if err := mail.Close(); err != nil {
			t.Error(err)
		}
		if err := slack.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// start starts the service on this world.
func (w *world) start(t *testing.T, args ...string) *process {
	t.Helper()
	w.configure(t)
	return start(t, w.dir, args...)
}

// configure writes the settings; more lines go over them.
func (w *world) configure(t *testing.T) {
	t.Helper()
	host, port, ok := strings.Cut(w.mail.Addr(), ":")
	if !ok {
		t.Fatal(w.mail.Addr())
	}
	if err := os.MkdirAll(filepath.Join(w.dir, "config"), 0o750); err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf(`
site: {url: "%s", name: test shop, every: 300ms, workers: 4}
tor: {disabled: true}
scrape: {allow: [127.0.0.1/32], host_limit: {per_second: -1, in_flight: -1}, retry: {base: 50ms}}
ship: {url: "%s"}
mail: {host: "%s", port: %s, tls: none, from: watch@service.example, to: [operator@service.example]}
slack: {webhook: "%s", rate: -1s}
shutdown_timeout: 10s
`, w.site.URL, w.logs.URL, host, port, cmp.Or(w.webhook, w.slack.URL()))
	for name, text := range map[string]string{"config.yaml": settings + w.more, "config.dev.yaml": "{}\n"} {
		if err := os.WriteFile(filepath.Join(w.dir, "config", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// messages are the texts that arrived by mail.
func (w *world) messages() (out []string) {
	for _, m := range w.mail.Last() {
		out = append(out, m.Subject+"\n"+m.Text)
	}
	return out
}

// awaitMail waits for a mail that holds every one of parts.
func (w *world) awaitMail(t *testing.T, parts ...string) {
	t.Helper()
	testenv.Eventually(t, func() error {
		for _, m := range w.messages() {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(m, p)
			}
			if all {
				return nil
			}
		}
		return fmt.Errorf("no mail with %q: %q", parts, w.messages())
	})
}

// site is a shop of pages with items whose prices the test sets.
type site struct {
	*httptest.Server

	mu      sync.Mutex
	pages   int
	perPage int
	price   map[int]int64 // of an item, in cents; absent: 1000
	gone    map[int]bool
	special map[int]http.HandlerFunc // of a page
	delay   time.Duration
	gate    chan struct{} // pages after the free ones wait for its end; nil: none
	free    int
	served  map[int]int // whole answers, by page
	cut     int         // answers that the client did not wait for
	began   chan int    // pages that are being answered; nobody has to read
}

func newSite(t testing.TB) *site {
	s := &site{
		pages: 5, perPage: 4, price: map[int]int64{}, gone: map[int]bool{}, special: map[int]http.HandlerFunc{},
		served: map[int]int{}, began: make(chan int, 100_000),
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/robots.txt" {
		http.NotFound(w, r)
		return
	}
	n := 1
	if r.URL.Path != "/" {
		if _, err := fmt.Sscanf(r.URL.Path, "/page/%d", &n); err != nil {
			http.NotFound(w, r)
			return
		}
	}
	s.mu.Lock()
	special, delay, gate := s.special[n], s.delay, s.gate
	if n <= s.free {
		gate = nil
	}
	var b strings.Builder
	b.WriteString("<!doctype html><title>Test shop</title>")
	for i := (n - 1) * s.perPage; i < n*s.perPage; i++ {
		if s.gone[i] {
			continue
		}
		price, ok := s.price[i]
		if !ok {
			price = 1000
		}
		fmt.Fprintf(&b, `<div itemscope itemtype="https://schema.org/Product"><a itemprop="url" href="/item/%d"><span itemprop="name">item %d</span></a>`+
			`<meta itemprop="priceCurrency" content="EUR"><b itemprop="price">%d.%02d</b></div>`, i, i, price/100, price%100)
	}
	b.WriteString(`<nav class="pages">`)
	for i := range s.pages {
		fmt.Fprintf(&b, `<a href="/page/%d">%d</a>`, i+1, i+1)
	}
	b.WriteString(`</nav>`)
	s.mu.Unlock()
	select {
	case s.began <- n:
	default:
	}
	if special != nil {
		special(w, r)
		return
	}
	wait := time.After(delay)
	if gate != nil {
		wait = nil
	}
	select {
	case <-gate:
	case <-wait:
	case <-r.Context().Done():
		s.change(func() { s.cut++ })
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err := io.WriteString(w, b.String())
	s.change(func() {
		if err != nil {
			s.cut++
			return
		}
		s.served[n]++
	})
}

// logReceiver keeps every log line that it confirmed.
type logReceiver struct {
	*httptest.Server

	mu    sync.Mutex
	lines map[string]string // by event id
	count int               // of lines, repeats included
	down  bool
}

func newLogReceiver(t *testing.T) *logReceiver {
	l := &logReceiver{lines: map[string]string{}}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *logReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := decoded(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	for line := range strings.Lines(string(body)) {
		var event struct {
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.ID == "" {
			http.Error(w, "line without an event_id", http.StatusBadRequest)
			return
		}
		l.lines[event.ID] = line
		l.count++
	}
	w.WriteHeader(http.StatusOK)
}

// holds reports how many of the lines hold all of parts.
func (l *logReceiver) holds(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

// decoded returns a request's body without its content encoding.
func decoded(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
