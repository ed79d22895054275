package diskcache_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape/diskcache"
)

func TestNothingPersonalOnDisk(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, n int) (int, http.Header, string) {
		header := fields("Cache-Control: max-age=0, public", `Etag: "1"`, "Connection: X-Hop", "X-Hop: canary-hop", "Authentication-Info: canary-info", "Www-Authenticate: canary-www")
		if req.Header.Get("If-None-Match") != "" {
			header.Set("Set-Cookie", "id=canary-cookie")
			header.Set("Cache-Control", "max-age=60")
			return 304, header, ""
		}
		return 200, header, "page"
	}}
	dir := t.TempDir()
	c := open(t, dir, nil)
	ask(t, c, s, "http://a.example/?key=canary-query", "X-Token: canary-token")
	res, _, _ := ask(t, c, s, "http://a.example/?key=canary-query", "X-Token: canary-token")
	if res.Header.Get("Set-Cookie") == "" {
		t.Error("the caller does not see the cookie of a 304")
	}
	ask(t, c, s, "http://a.example/b", "Cookie: canary-cookie")
	ask(t, c, s, "http://a.example/c", "Authorization: canary-password")
	files := 0
	for _, path := range paths(t, dir) {
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(text, []byte("canary")); i >= 0 || strings.Contains(path, "canary") {
			t.Errorf("%s holds %q", path, text[i:min(len(text), i+20)])
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	if files != 1 {
		t.Errorf("%d files, want 1", files)
	}
}

// paths returns what lies in the folder.
func paths(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(list, hidden...)
}

func TestWholeBodiesOnly(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection lost")
	for name, read := range map[string]func(t *testing.T, res *http.Response){
		"half": func(t *testing.T, res *http.Response) {
			if _, err := io.ReadFull(res.Body, make([]byte, 2)); err != nil {
				t.Error(err)
			}
		},
		"nothing": func(*testing.T, *http.Response) {},
		"broken": func(t *testing.T, res *http.Response) {
			if _, err := io.ReadAll(res.Body); !errors.Is(err, broken) {
				t.Errorf("ReadAll = %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
				return 200, fields("Cache-Control: max-age=60"), "page"
			}}
			if name == "broken" {
				s.err = broken
			}
			dir := t.TempDir()
			c := open(t, dir, nil)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, _, err := c.RoundTrip(req, s.send)
			if err != nil {
				t.Fatal(err)
			}
			read(t, res)
			for range 2 {
				if err := res.Body.Close(); err != nil {
					t.Error(err)
				}
			}
			if left := paths(t, dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=3600", "X-A: b"), "the page"
	}}
	dir := t.TempDir()
	c := open(t, dir, nil)
	ask(t, c, s, address)
	path := paths(t, dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for _, damaged := range [][]byte{whole[:i], append(append(bytes.Clone(whole[:i]), whole[i]^0x15), whole[i+1:]...)} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			before := s.requests()
			if _, body, stored := ask(t, c, s, address); body != "the page" || stored || s.requests() != before+1 {
				t.Fatalf("byte %d of %d, %d left: %q, stored %v", i, len(whole), len(damaged), body, stored)
			}
			if _, _, stored := ask(t, c, s, address); !stored {
				t.Fatalf("byte %d: not stored again", i)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
		n := 1000
		if req.URL.Path == "/large" {
			n = limit/4 + 1
		}
		return 200, fields("Cache-Control: max-age=3600"), strings.Repeat("x", n)
	}}
	dir := t.TempDir()
	foreign := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(foreign, make([]byte, 2*limit), 0o600); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, ".tmp-old")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(stale, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, &diskcache.Options{MaxBytes: limit})
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left is still there: %v", err)
	}
	ask(t, c, s, "http://a.example/large")
	if _, _, stored := ask(t, c, s, "http://a.example/large"); stored {
		t.Error("an answer of more than a quarter was stored")
	}
	held := func() (n int64) {
		for _, path := range paths(t, dir) {
			if info, err := os.Stat(path); err == nil && path != foreign {
				n += info.Size()
			}
		}
		return n
	}
	for i := range 300 {
		ask(t, c, s, fmt.Sprintf("http://a.example/%d", i))
		if _, _, stored := ask(t, c, s, "http://a.example/0"); i > 0 && !stored {
			t.Fatalf("after %d answers one that is used all the time was gone", i+1)
		}
		if n := held(); n > limit {
			t.Fatalf("%d bytes after %d answers, more than %d", n, i+1, limit)
		}
	}
	if n := held(); n < limit/2 {
		t.Errorf("only %d bytes are held", n)
	}
	before := s.requests()
	ask(t, c, s, "http://a.example/0")
	ask(t, c, s, "http://a.example/299")
	if s.requests() != before {
		t.Error("what was used last is gone")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a file of somebody else's: %v", err)
	}
	// Another process takes the folder over, with less room.
	open(t, dir, &diskcache.Options{MaxBytes: limit / 2})
	if n := held(); n > limit/2 {
		t.Errorf("%d bytes after Open with a bound of %d", n, limit/2)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
		if req.Header.Get("If-None-Match") != "" {
			return 304, fields(`Etag: "1"`, "Cache-Control: max-age=60"), ""
		}
		return 200, fields("Cache-Control: max-age=0", `Etag: "1"`), strings.Repeat(req.URL.Path, 1000)
	}}
	dir := t.TempDir()
	caches := []*diskcache.Cache{open(t, dir, &diskcache.Options{MaxBytes: 50_000}), open(t, dir, &diskcache.Options{MaxBytes: 50_000})}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				path := fmt.Sprintf("/%d", (w+i)%12)
				if _, body, _ := ask(t, caches[w%2], s, "http://a.example"+path); body != strings.Repeat(path, 1000) {
					t.Errorf("%s: another body of %d bytes", path, len(body))
				}
			}
		})
	}
	wg.Wait()
}

func TestFolderLost(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=60"), "page"
	}}
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, dir, &diskcache.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, body, stored := ask(t, c, s, address); body != "page" || stored {
			t.Errorf("%q, stored %v", body, stored)
		}
	}
	if err := c.Check(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check = %v, want that the folder is missing", err)
	}

	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("Check = %v after the folder came back", err)
	}
	if left := paths(t, dir); len(left) != 0 {
		t.Errorf("Check left %v", left)
	}
	if begun, over := strings.Count(log.String(), "answers not kept"), strings.Count(log.String(), "answers kept again"); begun != 1 || over != 1 {
		t.Errorf("the beginning was logged %d times, the end %d times, want once each:\n%s", begun, over, log.String())
	}
}

// FuzzStored reads files of any content: what is given is what the site sends.
func FuzzStored(f *testing.F) {
	f.Add([]byte("page"))
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=3600"), "page"
	}}
	dir := f.TempDir()
	c := open(f, dir, nil)
	ask(f, c, s, address)
	path := paths(f, dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append([]byte("page"), whole...))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, body, stored := ask(t, c, s, address); body != "page" && !stored {
			t.Errorf("%q", body)
		}
	})
}
