package scrape_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

const (
	childVariable = "BENCH_SCRAPE_SITE" // this binary becomes the site
	pageBytes     = 10 << 10
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := childSite(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		syscall.Exit(0) // os.Exit sleeps for a second or more under the race detector
	}
	goleak.VerifyTestMain(m)
}

// seen is what was asked for below /noted/ since the site was last asked. Below
// /page/ it serves the same and notes nothing.
type seen struct {
	// Pages counts the pages by number.
	Pages map[string]int
	// Headers counts the requests by header, as JSON.
	Headers map[string]int
}

// childSite serves pages of 10 KB until its standard input ends. It is a
// process of its own, so that its processor time is not the client's.
func childSite() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	page := bytes.Repeat([]byte("<p>ten bytes</p>\n"), pageBytes/17+1)[:pageBytes]
	var mu sync.Mutex
	now := seen{Pages: map[string]int{}, Headers: map[string]int{}}
	send := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{n}", send)
	mux.HandleFunc("GET /noted/{n}", func(w http.ResponseWriter, r *http.Request) {
		header, err := json.Marshal(r.Header)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		mu.Lock()
		now.Pages[r.PathValue("n")]++
		now.Headers[string(header)]++
		mu.Unlock()
		send(w, r)
	})
	mux.HandleFunc("POST /seen", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(now)
		now = seen{Pages: map[string]int{}, Headers: map[string]int{}}
	})
	fmt.Println("http://" + l.Addr().String())
	done := make(chan error, 1)
	go func() { done <- (&http.Server{Handler: mux}).Serve(l) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		done <- err
	}()
	return <-done
}

// site is a running childSite.
type site struct{ url string }

func startSite(t testing.TB) *site {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"=yes")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the site: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &site{url: strings.TrimSpace(line)}
}

// seen returns what the site saw since the last call.
func (s *site) seen(t testing.TB) seen {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Post(s.url+"/seen", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got seen
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got
}

// header returns the one header that all requests had.
func (s seen) header(t testing.TB) http.Header {
	t.Helper()
	if len(s.Headers) != 1 {
		t.Fatalf("requests had %d different headers: %v", len(s.Headers), s.Headers)
	}
	var h http.Header
	for text := range maps.Keys(s.Headers) {
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatal(err)
		}
	}
	return h
}
