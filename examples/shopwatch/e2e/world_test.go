package e2e_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// shop is a site of many pages, each with an item and links to the next ones.
type shop struct {
	pages   int
	alarm   int           // pages read until reached is closed; 0: never
	reached chan struct{} // a run has got that far

	mu    sync.Mutex
	cents map[int]int // price of an item; absent: 1000
	reads map[string]int
}

// price sets the price of items.
func (s *shop) price(cents int, items ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range items {
		s.cents[item] = cents
	}
}

// ServeHTTP implements http.Handler.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page := 1
	if r.URL.Path != "/" {
		if _, err := fmt.Sscanf(r.URL.Path, "/page/%d", &page); err != nil || page > s.pages {
			http.NotFound(w, r)
			return
		}
	}
	s.mu.Lock()
	s.reads[r.URL.Path]++
	if len(s.reads) == s.alarm && s.reads[r.URL.Path] == 1 {
		close(s.reached)
	}
	cents, ok := s.cents[page]
	s.mu.Unlock()
	if !ok {
		cents = 1000
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>Page %[1]d</title>
<div itemscope itemtype="https://schema.org/Product"><a itemprop="url" href="/item/%[1]d"><span itemprop="name">item %[1]d</span></a>
<div itemprop="offers" itemscope itemtype="https://schema.org/Offer"><meta itemprop="priceCurrency" content="EUR"><b itemprop="price">%[2]d.%02[3]d</b></div></div>
<nav class="pages">`, page, cents/100, cents%100)
	for next := page + 1; next <= min(page+10, s.pages); next++ {
		fmt.Fprintf(w, `<a href="/page/%[1]d">%[1]d</a>`, next)
	}
	fmt.Fprint(w, `</nav>`)
}

// receiver takes log lines in bulk. It takes the first large batch without
// saying so, and refuses the one after it for now.
type receiver struct {
	url string

	mu    sync.Mutex
	lines map[string]string // without their id, by id
	count int               // repeats included
	large int               // batches
	bad   []string
}

// largeLines is how many lines make a batch large.
const largeLines = 10

// startReceiver starts a receiver, until the end of t.
func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{lines: map[string]string{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL + "/bulk"
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	text, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Count(string(text), "\n") >= largeLines {
		r.large++
		switch r.large {
		case 1:
			// The server cuts the connection, and the client cannot know.
			defer panic(http.ErrAbortHandler)
		case 2:
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
	}
	for line := range strings.Lines(string(text)) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			r.bad = append(r.bad, line)
			continue
		}
		id, _ := event["event_id"].(string)
		delete(event, "event_id")
		known, repeat := r.lines[id]
		if id == "" || repeat && known != canonical(event) {
			r.bad = append(r.bad, line)
			continue
		}
		r.lines[id] = canonical(event)
		r.count++
	}
}

// canonical returns an event as JSON with its keys in order.
func canonical(event map[string]any) string {
	text, err := json.Marshal(event)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
