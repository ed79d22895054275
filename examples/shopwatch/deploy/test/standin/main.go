// Command standin takes the part of what a deployment talks to, for tests.
//
//	standin shop      a shop on :80 whose prices rise, and on :9000 who came
//	standin receiver  log lines in bulk and Slack messages on :8080
//
// The receiver answers only once a line or a message is in a file of /data,
// and gives those files back at /logs and /slack.
package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	part := ""
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	failed := make(chan error, 2)

	serve := func(addr string, h http.Handler) {
		server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.ListenAndServe() }()
	}

	switch part {
	case "shop":
		s := &shop{Sources: map[string]int{}}
		serve(":80", s)
		serve(":9000", http.HandlerFunc(s.state))
	case "receiver":
		mux := http.NewServeMux()
		mux.HandleFunc("POST /bulk", bulk)
		mux.HandleFunc("POST /services/", slack)
		mux.HandleFunc("GET /logs", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, logs) })
		mux.HandleFunc("GET /slack", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, messages) })
		serve(":8080", mux)
	default:
		failed <- errors.New("usage: standin shop|receiver")
	}

	log.Fatal("standin: ", <-failed)
}

// What the shop has: some prices rise every step, the others stay.
const (
	pages, perPage = 6, 4
	moving         = 6
	step           = 15 // seconds
)

// shop is a listing with schema.org microdata.
type shop struct {
	mu      sync.Mutex
	Sources map[string]int // requests by address
	Served  int
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	s.mu.Lock()
	s.Sources[from]++
	s.mu.Unlock()
	page := 1

	if r.URL.Path != "/" {
		if _, err := fmt.Sscanf(r.URL.Path, "/page/%d", &page); err != nil || page < 1 || page > pages {
			http.NotFound(w, r)
			return
		}
	}

	var b strings.Builder
	b.WriteString("<!doctype html><title>Test shop</title>")

	for i := (page - 1) * perPage; i < page*perPage; i++ {
		// The same after a restart, and never the same twice.
		price := int64(1000)
		if i < moving {
			price += (time.Now().Unix() + int64(i)*2) / step % 100_000
		}
		fmt.Fprintf(&b, `<div itemscope itemtype="https://schema.org/Product"><a itemprop="url" href="/item/%d"><span itemprop="name">item %d</span></a>`+
			`<meta itemprop="priceCurrency" content="EUR"><b itemprop="price">%d.%02d</b></div>`, i, i, price/100, price%100)
	}

	b.WriteString(`<nav class="pages">`)
	for i := range pages {
		fmt.Fprintf(&b, `<a href="/page/%d">%d</a>`, i+1, i+1)
	}
	b.WriteString("</nav>")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")

	if _, err := io.WriteString(w, b.String()); err == nil {
		s.mu.Lock()
		s.Served++
		s.mu.Unlock()
	}
}

func (s *shop) state(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(s)
}

const (
	logs     = "/data/logs"
	messages = "/data/slack"
)

var files sync.Mutex

// keep adds lines to a file in one write.
func keep(path, lines string) error {
	files.Lock()
	defer files.Unlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, lines)
	return errors.Join(err, f.Close())
}

func bulk(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}

	var all strings.Builder
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 2<<20)

	for lines.Scan() {
		if !json.Valid(lines.Bytes()) {
			http.Error(w, "a line is no JSON", http.StatusBadRequest)
			return
		}
		all.Write(lines.Bytes())
		all.WriteByte('\n')
	}

	if err := lines.Err(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := keep(logs, all.String()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// slack takes a message as an incoming webhook does.
func slack(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || !json.Valid(body) {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	line := fmt.Sprintf(`{"webhook":%q,"message":%s}`, r.URL.Path, strings.ReplaceAll(string(body), "\n", " "))
	if err := keep(messages, line+"\n"); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "ok")
}
