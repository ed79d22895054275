package diskcache_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ scrape.Cache = (*diskcache.Cache)(nil)

// site answers requests in memory, and notes them.
type site struct {
	mu     sync.Mutex
	seen   []*http.Request
	answer func(req *http.Request, n int) (status int, header http.Header, body string)
	err    error // at the end of each body
}

func (s *site) send(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, req)
	status, header, body := s.answer(req, len(s.seen))
	if status == 0 {
		return nil, errors.New("no answer")
	}
	if header == nil {
		header = http.Header{}
	}
	var r io.Reader = strings.NewReader(body)
	if s.err != nil {
		r = io.MultiReader(r, failing{s.err})
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(r), Request: req, ContentLength: -1}, nil
}

func (s *site) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func open(t testing.TB, dir string, opts *diskcache.Options) *diskcache.Cache {
	t.Helper()
	c, err := diskcache.Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fields makes a header of name: value lines.
func fields(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// ask makes a GET with these header lines and reads the answer.
func ask(t testing.TB, c *diskcache.Cache, s *site, address string, lines ...string) (*http.Response, string, bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = fields(lines...)
	res, stored, err := c.RoundTrip(req, s.send)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, s.err) {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return res, string(body), stored
}

const (
	address = "http://shop.example.com/a?b=c"
	longAgo = "Mon, 02 Jan 2006 15:04:05 GMT"
)

// ago is a date in a header.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(http.TimeFormat) }

func TestAddressesAreKeptApart(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=60"), req.URL.String()
	}}
	c := open(t, t.TempDir(), nil)
	all := []string{"http://a.example/", "https://a.example/", "http://a.example:8080/", "http://b.example/", "http://a.example/x", "http://a.example/X", "http://a.example/?x", "http://a.example/%2f"}
	for range 2 {
		for _, u := range all {
			if _, body, _ := ask(t, c, s, u); body != u {
				t.Errorf("%s gave %s", u, body)
			}
		}
	}
	if s.requests() != len(all) {
		t.Errorf("%d requests, want %d", s.requests(), len(all))
	}
	if _, _, stored := ask(t, c, s, "HTTP://A.example/#part"); !stored {
		t.Error("the same address in another spelling was fetched")
	}
	if _, _, stored := ask(t, c, s, "http://user:secret@a.example/"); stored {
		t.Error("an address with a password was answered from the cache")
	}
}

func TestDisableETag(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields(`Etag: "visitor 7"`, "Last-Modified: "+longAgo), "page"
	}}
	c := open(t, t.TempDir(), &diskcache.Options{DisableETag: true})
	ask(t, c, s, address)
	ask(t, c, s, address)
	if got := s.seen[1].Header; got.Get("If-None-Match") != "" || got.Get("If-Modified-Since") != longAgo {
		t.Errorf("second request: %v", got)
	}
}

// TestNothingPersonalOnDisk looks for what must not lie in the folder.

// TestDamage changes each byte of a stored file in turn, and cuts it at each

// length: what comes back is the page, from the site if need be.

// TestFolderLost removes the folder: requests go on.

func TestOpenFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if _, err := diskcache.Open(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "diskcache: open") {
			t.Errorf("Open(%q) = %v", dir, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Dir(file)
	if _, err := diskcache.Open(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a cancelled context = %v", err)
	}
}

func TestSendFails(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) { return 0, nil, "" }}
	c := open(t, t.TempDir(), nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, stored, err := c.RoundTrip(req, s.send); err == nil || res != nil || stored {
		t.Errorf("RoundTrip = %v, %v, %v", res, stored, err)
	}
}

// TestLenience asks twice, with another user agent, and says whether the second
// answer is the stored one.
func TestLenience(t *testing.T) {
	t.Parallel()
	hour := diskcache.Options{MaxStale: time.Hour}
	keep := diskcache.Options{KeepFor: time.Hour}
	for _, tc := range []struct {
		name   string
		opts   diskcache.Options
		status int
		answer http.Header
		asked  string
		stored bool
	}{
		{"stale", hour, 200, fields("Cache-Control: max-age=60", "Date: "+ago(10*time.Minute)), "", true},
		{"stale for longer", diskcache.Options{MaxStale: time.Minute}, 200, fields("Cache-Control: max-age=60", "Date: "+ago(10*time.Minute)), "", false},
		{"stale without MaxStale", diskcache.Options{}, 200, fields("Cache-Control: max-age=60", "Date: "+ago(10*time.Minute)), "", false},
		{"stale from the start", hour, 200, nil, "", true},
		{"stale and forbidden", hour, 200, fields("Cache-Control: max-age=60, must-revalidate", "Date: "+ago(10*time.Minute)), "", false},
		{"stale beyond the request's own", hour, 200, fields("Cache-Control: max-age=60", "Date: "+ago(10*time.Minute)), "Cache-Control: max-stale=5", false},
		{"not to be stored", hour, 200, fields("Cache-Control: no-store"), "", false},
		{"kept", keep, 200, nil, "", true},
		{"kept whatever the site says", keep, 200, fields("Cache-Control: no-store, private", "Set-Cookie: a=b", "Vary: *"), "", true},
		{"kept for every agent", keep, 200, fields("Vary: User-Agent"), "", true},
		{"kept, a redirect", keep, 302, fields("Location: /b"), "", true},
		{"kept, but asked for anew", keep, 200, nil, "Cache-Control: no-cache", false},
		{"kept, but too old for the request", keep, 200, nil, "Cache-Control: max-age=0", false},
		{"kept for too short", diskcache.Options{KeepFor: time.Nanosecond}, 200, fields("Cache-Control: max-age=60"), "", false},
		{"no failure is kept", keep, 500, nil, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &site{answer: func(*http.Request, int) (int, http.Header, string) { return tc.status, tc.answer.Clone(), "page" }}
			c := open(t, t.TempDir(), &tc.opts)
			ask(t, c, s, address, "User-Agent: first")
			lines := []string{"User-Agent: second"}
			if tc.asked != "" {
				lines = append(lines, tc.asked)
			}
			res, body, stored := ask(t, c, s, address, lines...)
			if stored != tc.stored || body != "page" || stored && len(res.Header["Set-Cookie"]) > 0 {
				t.Errorf("stored %v, want %v; %q, %v", stored, tc.stored, body, res.Header)
			}
		})
	}
}

// TestKeptIsConfirmed: what KeepFor has kept is kept again after a 304, though
// the site forbids to store it.
func TestKeptIsConfirmed(t *testing.T) {
	t.Parallel()
	header := fields("Cache-Control: no-store", `ETag: "1"`)
	s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
		if req.Header.Get("If-None-Match") != "" {
			return 304, header.Clone(), ""
		}
		return 200, header.Clone(), "page"
	}}
	dir := t.TempDir()
	ask(t, open(t, dir, &diskcache.Options{KeepFor: time.Nanosecond}), s, address)
	if _, body, stored := ask(t, open(t, dir, &diskcache.Options{KeepFor: time.Nanosecond}), s, address); !stored || body != "page" {
		t.Errorf("after a 304: %q, stored %v", body, stored)
	}
	if _, body, stored := ask(t, open(t, dir, &diskcache.Options{KeepFor: time.Hour}), s, address); !stored || body != "page" || s.requests() != 2 {
		t.Errorf("%q, stored %v, %d requests", body, stored, s.requests())
	}
}
