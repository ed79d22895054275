package scrape_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
)

// encode returns data in a content coding.
func encode(t testing.TB, coding string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "deflate":
		w = zlib.NewWriter(&buf)
	case "raw deflate":
		w, err = flate.NewWriter(&buf, 6)
	case "br":
		w = brotli.NewWriterOptions(&buf, brotli.WriterOptions{Quality: 5, LGWin: 24})
	case "zstd":
		w, err = zstd.NewWriter(&buf, zstd.WithWindowSize(8<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// serveEncoded serves body under the given codings.
func serveEncoded(t testing.TB, coding string, body []byte) string {
	t.Helper()
	return newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", coding)
		_, _ = w.Write(body) // the client may have enough
	}).URL
}

func TestDecode(t *testing.T) {
	t.Parallel()
	page := []byte(strings.Repeat("<p>a page of some length</p>\n", 1000))
	c := newClient(t, options(scrape.Direct()))
	for _, tc := range []struct {
		name, coding string
		body         []byte
		want         []byte
	}{
		{"gzip", "gzip", encode(t, "gzip", page), page},
		{"x-gzip", "X-GZIP", encode(t, "gzip", page), page},
		{"deflate", "deflate", encode(t, "deflate", page), page},
		{"raw deflate", "deflate", encode(t, "raw deflate", page), page},
		{"br", "br", encode(t, "br", page), page},
		{"zstd", "zstd", encode(t, "zstd", page), page},
		{"identity", "identity", page, page},
		{"a charset in the wrong place", "utf-8", page, page},
		{"nested", "gzip, br", encode(t, "br", encode(t, "gzip", page)), page},
		{"members", "gzip", append(encode(t, "gzip", page), encode(t, "gzip", page)...), append(page[:len(page):len(page)], page...)},
		{"nothing", "gzip", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			address := serveEncoded(t, tc.coding, tc.body)
			for _, explicit := range []bool{false, true} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
				if err != nil {
					t.Fatal(err)
				}
				if explicit {
					req.Header.Set("Accept-Encoding", "gzip")
				}
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || !bytes.Equal(got, tc.want) {
					t.Errorf("explicit %v: %d bytes, %v; want %d", explicit, len(got), err, len(tc.want))
				}
				known := tc.coding != "utf-8" && tc.coding != "identity"
				if known && (res.Header.Get("Content-Encoding") != "" || !res.Uncompressed || res.ContentLength != -1) {
					t.Errorf("the answer still says that it is encoded: %v", res.Header)
				}
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	page := []byte(strings.Repeat("<p>a page of some length</p>\n", 1000))
	var wide bytes.Buffer
	w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // more than a window, in pieces: the size is not known in advance
		if _, err := w.Write(page); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, options(scrape.Direct()))
	for _, tc := range []struct {
		name, coding string
		body         []byte
	}{
		{"not gzip", "gzip", page},
		{"not zstd", "zstd", page},
		{"not brotli", "br", []byte(strings.Repeat("\xff", 100))},
		{"cut gzip", "gzip", encode(t, "gzip", page)[:60]},
		{"cut br", "br", encode(t, "br", page)[:20]},
		{"cut zstd", "zstd", encode(t, "zstd", page)[:20]},
		{"zstd window of 64 MiB", "zstd", wide.Bytes()},
		{"compress", "compress", page},
		{"three layers", "gzip, gzip, gzip", page},
		{"two wide layers", "br, zstd", page},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := get(t, c, serveEncoded(t, tc.coding, tc.body)); !errors.Is(err, scrape.ErrEncoding) {
				t.Errorf("%v, want ErrEncoding", err)
			}
		})
	}
}

// bomb returns 64 MiB of zeros in a content coding. A compressor that is
// flushed after each MiB repeats itself, which saves compressing most of them;
// the checksums at the end, which no limit lets anybody reach, are missing.
func bomb(t testing.TB, coding string) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w interface {
		io.Writer
		Flush() error
	}
	var head string
	var err error
	switch coding {
	case "gzip":
		head = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
		w, err = flate.NewWriter(&buf, 6)
	case "deflate":
		head = "\x78\x9c"
		w, err = flate.NewWriter(&buf, 6)
	case "br":
		w = brotli.NewWriterOptions(&buf, brotli.WriterOptions{Quality: 5, LGWin: 24})
	default:
		return encode(t, coding, make([]byte, 64<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	all := []byte(head)
	var last []byte
	for range 4 {
		buf.Reset()
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		last = bytes.Clone(buf.Bytes())
		all = append(all, last...)
	}
	return append(all, bytes.Repeat(last, 60)...)
}

// heapWatch returns how far the live heap grows while f runs.
func heapWatch(f func()) uint64 {
	// What the last collection found alive: HeapAlloc has the garbage since as
	// well, which is some MiB where the machine is slow.
	live := func() uint64 {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := live()
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			most = max(most, live())
			select {
			case <-stop:
				done <- most
				return
			default:
			}
		}
	}()
	f()
	close(stop)
	most := <-done
	return most - min(most, before)
}

// TestBombs is not parallel: it measures the heap.
func TestBombs(t *testing.T) {
	opts := options(scrape.Direct())
	opts.Limits.MaxBodyBytes = 32 << 20
	large := newClient(t, opts)
	opts.Limits.MaxBodyBytes = 1 << 20
	small := newClient(t, opts)
	bombs := map[string][]byte{}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		bombs[coding] = bomb(t, coding)
	}
	bombs["gzip, br"] = encode(t, "br", bombs["gzip"])
	bombs["br, gzip"] = encode(t, "gzip", bombs["br"])
	bombs["gzip, gzip"] = encode(t, "gzip", bombs["gzip"])
	bombs["zstd, gzip"] = encode(t, "gzip", bombs["zstd"])
	for coding, body := range bombs {
		t.Run(coding, func(t *testing.T) {
			address := serveEncoded(t, coding, body)
			for _, c := range []*scrape.Client{small, large} {
				for _, explicit := range []bool{false, true} {
					if !testenv.Soak() && explicit == (c == large) {
						continue // each client and each header once
					}
					var n int64
					var err error
					grown := heapWatch(func() {
						req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil) // the URL is good
						if explicit {
							req.Header.Set("Accept-Encoding", "gzip, br, zstd")
						}
						var res *http.Response
						if res, err = c.Do(req); err == nil {
							n, err = io.Copy(io.Discard, res.Body)
							_ = res.Body.Close()
						}
					})
					if !errors.Is(err, scrape.ErrBodyTooLarge) || n > 32<<20 {
						t.Errorf("%d bytes, %v; want ErrBodyTooLarge", n, err)
					}
					if grown > 26<<20 {
						t.Errorf("the live heap grew by %d MiB, want at most 26", grown>>20)
					}
					t.Logf("%d bytes on the wire: %d bytes read, live heap +%d KiB", len(body), n, grown>>10)
				}
			}
		})
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	opts := options(scrape.Direct())
	opts.Limits.MaxBodyBytes = 1000
	opts.Limits.MaxHeaderBytes = 4 << 10
	opts.Limits.Timeout = time.Minute
	patient := newClient(t, opts) // a busy machine is slow to reach the other limits
	opts.Limits.Timeout = time.Second
	hasty := newClient(t, opts)
	stop := make(chan struct{})
	defer close(stop)
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
	}{
		{"announced", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1073741824") }, scrape.ErrBodyTooLarge},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, scrape.ErrBodyTooLarge},
		{"endless empty gzip members", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			empty := encode(t, "gzip", nil)
			for r.Context().Err() == nil {
				if _, err := w.Write(empty); err != nil {
					return
				}
			}
		}, scrape.ErrBodyTooLarge},
		{"slow drip", func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = w.Write([]byte{'.'})
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					return
				}
			}
		}, context.DeadlineExceeded},
		{"no header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
		{"100,000 header lines", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100_000 {
				w.Header().Add("X-Line", fmt.Sprint(i))
			}
		}, scrape.ErrHeaderTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := patient
			if errors.Is(tc.want, context.DeadlineExceeded) {
				c = hasty
			}
			began := time.Now()
			_, body, err := get(t, c, newSite(t, tc.handler).URL)
			if !errors.Is(err, tc.want) || len(body) > 1000 {
				t.Errorf("%d bytes, %v; want %v", len(body), err, tc.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			var se *scrape.Error
			if !errors.As(err, &se) || !strings.Contains(err.Error(), "scrape: get http://127.0.0.1:") {
				t.Errorf("error %q is no *scrape.Error that names the page", err)
			}
		})
	}
	exact := newSite(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) })
	if _, body, err := get(t, patient, exact.URL); err != nil || len(body) != 1000 {
		t.Errorf("a body of exactly the limit: %d bytes, %v", len(body), err)
	}
}

func TestHeaderTooLargeHTTP2(t *testing.T) {
	t.Parallel()
	site := newTLSSite(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100_000 {
			w.Header().Add("X-Line", fmt.Sprint(i))
		}
	})
	opts := options(scrape.Direct())
	opts.TLS = site.config
	c := newClient(t, opts)
	if _, _, err := get(t, c, site.url); !errors.Is(err, scrape.ErrHeaderTooLarge) {
		t.Errorf("%v, want ErrHeaderTooLarge", err)
	}
}

func TestBanned(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	cookies := map[string]bool{}
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := r.Cookie("id"); err == nil {
			t.Error("an identity met another's cookie")
		}
		if len(cookies) < 2 {
			cookies[r.UserAgent()] = true
			http.SetCookie(w, &http.Cookie{Name: "id", Value: "x"})
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprint(w, "page")
	})
	opts := options(scrape.Direct())
	opts.UserAgents = &sequence{}
	opts.AgentPer = scrape.PerIdentity
	opts.Banned = func(res *http.Response, body []byte) bool {
		return res.StatusCode == http.StatusForbidden && string(body) == "page"
	}
	c := newClient(t, opts)
	_, _, err := get(t, c, site.URL)
	var se *scrape.Error
	if !errors.Is(err, scrape.ErrBanned) || !errors.As(err, &se) || !se.Temporary() {
		t.Errorf("Get = %v, want a temporary ErrBanned", err)
	}
	opts.Retry = scrape.Retry{Attempts: 3, Bans: true}
	c = newClient(t, opts)
	if _, body, err := get(t, c, site.URL); err != nil || body != "page" {
		t.Errorf("Get with Retry.Bans = %q, %v", body, err)
	}
	if s := c.Stats(); s.Bans != 1 || s.Rotations != 1 {
		t.Errorf("%d bans and %d rotations, want 1 and 1", s.Bans, s.Rotations)
	}
}

// TestABodyThatNobodyWantsIsNotWaitedFor: an answer that is not handed out may
// have a body that does not end.
func TestABodyThatNobodyWantsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	gone := make(chan struct{})
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/page":
			fmt.Fprint(w, "page")
			return
		case r.URL.Path == "/redirect":
			w.Header().Set("Location", "/page")
			w.WriteHeader(http.StatusFound)
		case tries.Add(1) == 1:
			w.WriteHeader(http.StatusBadGateway)
		default:
			fmt.Fprint(w, "page")
			return
		}
		fmt.Fprint(w, "wait")
		_ = http.NewResponseController(w).Flush() // the client sees it or is gone
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	defer close(gone)
	opts := options(scrape.Direct())
	opts.Limits.Timeout = -1
	opts.Retry = scrape.Retry{Attempts: 2, Base: time.Millisecond}
	c := newClient(t, opts)
	for _, path := range []string{"/redirect", "/busy"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := c.Get(ctx, site.URL+path)
		if err != nil {
			t.Errorf("Get of %s: %v", path, err)
			continue
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "page" {
			t.Errorf("Get of %s = %q, %v", path, body, err)
		}
		_ = res.Body.Close()
	}
}
