package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fill leaves lines in the folder of a log.
func fill(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := fmt.Fprintf(f, "{\"msg\":\"event %d\"}\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func logship(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, stderr bytes.Buffer
	err = run(context.Background(), args, func(string) string { return "canary-token" }, &out, &stderr)
	if strings.Contains(out.String()+stderr.String()+fmt.Sprint(err), "canary") {
		t.Errorf("the token shows: %s%s%v", out.String(), stderr.String(), err)
	}
	return out.String(), err
}

func TestInspectAndDrain(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	refuse := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, "gzip alone is taken", http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(z)
		if err != nil || r.Header.Get("Authorization") != "Bearer canary-token" {
			t.Error(err, r.Header)
		}
		if refuse && bytes.Contains(body, []byte("event 77\"")) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		got.Write(body)
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	dir := fill(t, 1000)
	out, err := logship(t, "-dir", dir)
	if err != nil || !regexp.MustCompile(`(?m)^app-\d+-\d+\.log +waiting +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +8\.0 KiB +\d+$`).MatchString(out) {
		t.Fatalf("inspect: %v\n%s", err, out)
	}
	out, err = logship(t, "-dir", dir, "-to", "httpjson", "-url", srv.URL)
	if !errors.Is(err, logging.ErrRefused) || !strings.Contains(out, "999 events") || !strings.Contains(out, "1 quarantined, 0 remaining") {
		t.Fatalf("drain: %v\n%s", err, out)
	}
	if out, err = logship(t, "-dir", dir); err != nil || !strings.Contains(out, "quarantined") {
		t.Fatalf("inspect: %v\n%s", err, out)
	}
	refuse = false
	out, err = logship(t, "-dir", dir, "-requeue", "-to", "httpjson", "-url", srv.URL)
	if err != nil || !strings.Contains(out, "1 events of app.log.quarantine") || !strings.Contains(out, "1 events (") {
		t.Fatalf("requeue: %v\n%s", err, out)
	}
	if n := strings.Count(got.String(), "\n"); n != 1000 {
		t.Errorf("%d lines arrived", n)
	}
	if out, err = logship(t, "-dir", dir); err != nil || !strings.Contains(out, "nothing waits") {
		t.Fatalf("inspect: %v\n%s", err, out)
	}
}

// What is odd in a folder is told, and does not end the listing.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100)
	for name, make := range map[string]func(path string) error{
		"aaa-20260101000000000000-000001.log": func(p string) error { return os.Mkdir(p, 0o700) },
		"aab-20260101000000000000-000002.log": func(p string) error { return os.Symlink(filepath.Join(dir, "nowhere"), p) },
		"aac-2026.log":                        func(p string) error { return os.Mkdir(p, 0o700) },
		"aad.quarantine":                      func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := logship(t, "-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^aaa-\d+-\d+\.log +unreadable: no regular file`, `(?m)^aab-\d+-\d+\.log +unreadable: no such file`,
		`(?m)^aad\.quarantine +unreadable: no regular file`, `(?m)^app\.log +active`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("listing lacks %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, "aac") {
		t.Errorf("a stranger is listed:\n%s", out)
	}
}

// TestRunningProcesses looks at a log while two processes write to it.
func TestRunningProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write([]byte("{}\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other~1.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-dir", dir}, {"-dir", dir, "-name", "app.log"}} {
		out, err := logship(t, args...)
		if err != nil || !regexp.MustCompile(`(?m)^app\.log +active +3 B +1$`).MatchString(out) ||
			!regexp.MustCompile(`(?m)^app~1\.log +active +3 B +1$`).MatchString(out) || strings.Contains(out, "other") {
			t.Errorf("inspect: %v\n%s", err, out)
		}
	}
}

// TestPlain ships to a receiver that takes no gzip.
func TestPlain(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Encoding") != "" {
			w.WriteHeader(http.StatusUnsupportedMediaType)
		}
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	dir := fill(t, 10)
	if out, err := logship(t, "-dir", dir, "-to", "httpjson", "-url", srv.URL, "-plain"); err != nil || !strings.Contains(out, "10 events") {
		t.Fatalf("plain: %v\n%s", err, out)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"-dir is required":   {},
		"no such file":       {"-dir", filepath.Join(dir, "none")},
		"is no folder":       {"-dir", file},
		"is none of":         {"-dir", dir, "-to", "nowhere"},
		"URL: is missing":    {"-dir", dir, "-to", "httpjson"},
		"not defined":        {"-what"},
		"Index":              {"-dir", dir, "-to", "elastic", "-url", "http://h"},
		"Labels: is missing": {"-dir", dir, "-to", "loki", "-url", "http://h"},
	} {
		if _, err := logship(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("logship %q: %v, want %q", args, err, want)
		}
	}
	for _, to := range []string{"loggly", "splunk", "datadog", "otlp"} {
		if out, err := logship(t, "-dir", dir, "-to", to, "-url", "http://127.0.0.1:1", "-service", "s"); err != nil || !strings.Contains(out, "0 events") {
			t.Errorf("%s: %v\n%s", to, err, out)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		st   logging.ShipStats
		want string
	}{
		{logging.ShipStats{}, "[##############################] 100 %, 0 of 0 events"},
		{logging.ShipStats{Events: 400, Quarantined: 100, WaitingEvents: 500, Failures: 2}, "[###############---------------]  50 %, 500 of 1000 events, 2 failures in a row"},
	} {
		if got := strings.TrimSuffix(progress(tt.st), "\x1b[K"); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB", 5 << 50: "5120.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}
