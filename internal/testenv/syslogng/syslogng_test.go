package syslogng_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/syslogng"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink counts the lines that it is sent.
type sink struct {
	mu    sync.Mutex
	lines map[string]int
	kinds map[string]bool
	grown chan struct{}
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[r.Header.Get("Content-Type")] = true
	for scanner := bufio.NewScanner(r.Body); scanner.Scan(); {
		s.lines[scanner.Text()]++
	}
	select {
	case s.grown <- struct{}{}:
	default:
	}
}

// wait waits for count different lines.
func (s *sink) wait(t *testing.T, count int, shipper *syslogng.Shipper) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		got := len(s.lines)
		s.mu.Unlock()
		if got >= count {
			return
		}
		select {
		case <-s.grown:
		case <-deadline:
			t.Fatalf("%d lines arrived, want %d\n%s", got, count, shipper.Output())
		}
	}
}

func TestShips(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*syslogng.Options{
		"plain":       {BatchLines: 100},
		"disk buffer": {BatchLines: 100, DiskBuffer: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sink{lines: map[string]int{}, kinds: map[string]bool{}, grown: make(chan struct{}, 1)}
			server := httptest.NewServer(s)
			t.Cleanup(server.Close)
			file := filepath.Join(t.TempDir(), "app.log")
			log, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
			write := func(from, to int) {
				for i := from; i < to; i++ {
					if _, err := fmt.Fprintf(log, `{"seq":%d,"msg":"a line"}`+"\n", i); err != nil {
						t.Fatal(err)
					}
				}
			}
			write(0, 500)
			shipper := syslogng.New(t, file, server.URL, opts)
			shipper.Start(t)
			s.wait(t, 500, shipper)
			shipper.Stop()
			write(500, 800)
			shipper.Start(t)
			s.wait(t, 800, shipper)
			shipper.Kill()

			s.mu.Lock()
			defer s.mu.Unlock()
			for line, count := range s.lines {
				if count != 1 || !strings.HasPrefix(line, `{"seq":`) {
					t.Errorf("line %q arrived %d times", line, count)
				}
			}
			if !s.kinds["application/x-ndjson"] || len(s.kinds) != 1 {
				t.Errorf("content types %v, want application/x-ndjson", s.kinds)
			}
		})
	}
}
