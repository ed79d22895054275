package scrape_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// withCache adds a cache in a folder of its own.
func withCache(t testing.TB, opts *scrape.Options) *scrape.Options {
	t.Helper()
	cache, err := diskcache.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	opts.Cache, opts.CachePlainHTTP = cache, true
	return opts
}

func TestCache(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	proxy := sockstest.Start(t)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path+" "+r.Header.Get("If-None-Match"))
		mu.Unlock()
		switch r.URL.Path {
		case "/fresh":
			w.Header().Set("Cache-Control", "max-age=60")
		case "/asked":
			w.Header().Set("ETag", `"7"`)
			if r.Header.Get("If-None-Match") == `"7"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		case "/moved":
			w.Header().Set("Cache-Control", "max-age=60")
			http.Redirect(w, r, "/fresh", http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(encode(t, "gzip", []byte("page of "+r.URL.Path)))
	})
	opts := withCache(t, options(scrape.SOCKS(proxy.Addr)))
	opts.Rotation = scrape.Rotation{Every: 1, Warm: -1}
	var pages []scrape.Page
	opts.Hooks.OnPage = func(p scrape.Page) { pages = append(pages, p) }
	c := newClient(t, opts)
	for _, path := range []string{"/fresh", "/fresh", "/asked", "/asked", "/moved", "/moved", "/other", "/other"} {
		pages = nil
		status, body, err := get(t, c, site.URL+path)
		want := strings.Replace("page of "+path, "/moved", "/fresh", 1)
		if err != nil || status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q %v", path, status, body, err)
		}
		if last := pages[len(pages)-1]; last.Status != http.StatusOK || last.Bytes != int64(len(want)) {
			t.Errorf("%s: OnPage had %+v", path, pages)
		}
	}
	if diff := cmp.Diff([]string{"/fresh ", "/asked ", `/asked "7"`, "/moved ", "/moved ", "/other ", "/other "}, asked); diff != "" {
		t.Errorf("requests at the site (-want +got):\n%s", diff)
	}
	s := c.Stats()
	got := []int64{s.Requests, s.Pages, s.CacheHits, s.Revalidated, s.Rotations}
	// A hit is no request, so that it takes no identity. A redirect over http that
	// came by another's exit is no hit, where it leads to is one.
	if diff := cmp.Diff([]int64{7, 9, 3, 1, 6}, got); diff != "" {
		t.Errorf("Requests, Pages, CacheHits, Revalidated, Rotations (-want +got):\n%s", diff)
	}
	if users := proxy.Users(); len(users) != 7 {
		t.Errorf("%d identities for 7 requests, want 7", len(users))
	}
}

// TestCacheKeepsIdentitiesApart has a site that greets each visitor by cookie.
func TestCacheKeepsIdentitiesApart(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	var visitors atomic.Int64
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("ETag", `"same for all"`)
		cookie, err := r.Cookie("visitor")
		if err != nil {
			cookie = &http.Cookie{Name: "visitor", Value: fmt.Sprint(visitors.Add(1)), Path: "/"}
			http.SetCookie(w, cookie)
		}
		fmt.Fprint(w, "hello ", cookie.Value)
	})
	opts := withCache(t, options(scrape.SOCKS(proxy.Addr)))
	opts.Rotation = scrape.Rotation{Every: 2, Warm: -1}
	c := newClient(t, opts)
	var got []string
	for range 6 {
		_, body, err := get(t, c, site.URL)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, body)
	}
	if diff := cmp.Diff([]string{"hello 1", "hello 1", "hello 2", "hello 2", "hello 3", "hello 3"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	// An identity with cookies does not get what one without has stored.
	opts = withCache(t, options(scrape.SOCKS(proxy.Addr)))
	c = newClient(t, opts)
	shared := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		_, err := r.Cookie("session")
		fmt.Fprint(w, "logged in: ", err == nil)
	})
	for _, step := range []struct{ path, want string }{{"/", "logged in: false"}, {"/login", ""}, {"/", "logged in: true"}, {"/", "logged in: true"}} {
		if _, body, err := get(t, c, shared.URL+step.path); err != nil || body != step.want {
			t.Errorf("%s: %q, %v; want %q", step.path, body, err, step.want)
		}
	}
	if s := c.Stats(); s.CacheHits+s.Revalidated != 0 {
		t.Errorf("%d hits, %d revalidated", s.CacheHits, s.Revalidated)
	}
}

func TestCacheAndAgents(t *testing.T) {
	t.Parallel()
	for name, per := range map[string]scrape.AgentPer{"request": scrape.PerRequest, "identity": scrape.PerIdentity} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int64
			site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Vary", "User-Agent")
				fmt.Fprint(w, "for ", r.UserAgent())
			})
			opts := withCache(t, options(scrape.Direct()))
			opts.AgentPer = per
			pool := &sequence{}
			opts.UserAgents = pool
			var pages []scrape.Page
			opts.Hooks.OnPage = func(p scrape.Page) { pages = append(pages, p) }
			c := newClient(t, opts)
			for range 4 {
				_, body, err := get(t, c, site.URL)
				if err != nil || body != "for "+pages[len(pages)-1].Agent {
					t.Errorf("%q, %v with the agent %q", body, err, pages[len(pages)-1].Agent)
				}
			}
			// The agents of a sequence all differ, so that with one for each
			// request no stored answer fits.
			want := map[scrape.AgentPer]int64{scrape.PerRequest: 4, scrape.PerIdentity: 2}[per]
			if n := served.Load(); n > want {
				t.Errorf("%d requests at the site, want at most %d", n, want)
			}
		})
	}
}

func TestCacheAndLimits(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, strings.Repeat("x", 1000))
	})
	opts := withCache(t, options(scrape.Direct()))
	opts.Limits.MaxBodyBytes = 500
	small := newClient(t, opts)
	if _, _, err := get(t, small, site.URL); !errors.Is(err, scrape.ErrBodyTooLarge) {
		t.Errorf("Get = %v, want ErrBodyTooLarge", err)
	}
	opts.Limits.MaxBodyBytes = 1000
	if _, _, err := get(t, newClient(t, opts), site.URL); err != nil || served.Load() != 2 {
		t.Errorf("Get = %v after %d requests: what is too large was stored", err, served.Load())
	}
	if _, _, err := get(t, small, site.URL); !errors.Is(err, scrape.ErrBodyTooLarge) {
		t.Errorf("Get of a stored page = %v, want ErrBodyTooLarge", err)
	}
	// A ban page is no page, stored or not.
	opts.Banned = func(*http.Response, []byte) bool { return true }
	if _, _, err := get(t, newClient(t, opts), site.URL+"/banned"); !errors.Is(err, scrape.ErrBanned) {
		t.Errorf("Get = %v, want ErrBanned", err)
	}
	opts.Banned = nil
	before := served.Load()
	if _, _, err := get(t, newClient(t, opts), site.URL+"/banned"); err != nil || served.Load() != before+1 {
		t.Errorf("Get = %v after %d requests: the ban page was stored", err, served.Load()-before)
	}
}

// TestConditionsOfTheCaller: who asks by himself gets the 304.
func TestConditionsOfTheCaller(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "page")
	})
	c := newClient(t, withCache(t, options(scrape.Direct())))
	for _, own := range []string{"", `"1"`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if own != "" {
			req.Header.Set("If-None-Match", own)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if want := map[string]int{"": 200, `"1"`: 304}[own]; res.StatusCode != want {
			t.Errorf("with If-None-Match %q: status %d, want %d", own, res.StatusCode, want)
		}
	}
}

func TestContact(t *testing.T) {
	t.Parallel()
	var headers []http.Header
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) { headers = append(headers, r.Header) })
	const agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/154.0.0.0 Safari/537.36"
	opts := options(scrape.Direct())
	opts.Robots = scrape.Robots{}
	opts.Contact = "https://example.com/bot"
	pool, err := useragent.NewPool(agent)
	if err != nil {
		t.Fatal(err)
	}
	opts.UserAgents = pool
	c := newClient(t, opts)
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers { // robots.txt and the page
		if got := h.Get("User-Agent"); got != agent+" (+https://example.com/bot)" {
			t.Errorf("User-Agent: %s", got)
		}
		// Loopback is a secure origin. The contact makes no other browser of it.
		if got := h.Get("Sec-Ch-Ua"); !strings.Contains(got, "Google Chrome") {
			t.Errorf("Sec-CH-UA: %s", got)
		}
	}
	if len(headers) != 2 {
		t.Errorf("%d requests, want 2", len(headers))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "my own")
	res, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := headers[2].Get("User-Agent"); got != "my own" {
		t.Errorf("a caller's own User-Agent became %s", got)
	}

	for contact, says := range map[string]string{
		"https://example.com/bot": "", "mailto:bot@example.com": "", "http://example.com": "",
		"bot@example.com": "write a URL", "https://": "write a URL", "mailto:": "write a URL", "ftp://example.com/": "write a URL",
		"https://user:canary@example.com/": "user name", "https://example.com/a b": "printable", "https://example.com/(": "printable",
		"https://bücher.example/": "printable", "https://example.com/\r\nX: y": "write a URL", "https://example.com/" + strings.Repeat("x", 200): "more than 200",
	} {
		opts := options(scrape.Direct())
		opts.Contact = contact
		c, err := scrape.New(t.Context(), opts)
		if err == nil {
			_ = c.Close()
		}
		if (says == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("Contact %q: %v, want %q", contact, err, says)
		}
	}
	opts = options(scrape.SOCKS("127.0.0.1:9050"))
	opts.Contact = "https://example.com/bot"
	if _, err := scrape.New(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "tells sites who you are") {
		t.Errorf("Contact through a proxy: %v", err)
	}
}

// TestPlainHTTPThroughOthers: what one exit writes over http is not believed by
// the next identities.
func TestPlainHTTPThroughOthers(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				w.Header().Set("Cache-Control", "max-age=31536000")
				if r.URL.Path == "/moved" {
					w.Header().Set("Location", "/evil")
					w.WriteHeader(http.StatusMovedPermanently)
				}
			})
			cache, err := diskcache.Open(t.Context(), t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			opts := options(scrape.SOCKS(sockstest.Start(t).Addr))
			opts.Cache, opts.CachePlainHTTP = cache, allowed
			opts.Limits.MaxRedirects = -1
			c := newClient(t, opts)
			for _, path := range []string{"/", "/", "/moved", "/moved"} {
				if _, _, err := get(t, c, site.URL+path); err != nil {
					t.Fatal(err)
				}
			}
			want := int64(4)
			if allowed {
				want = 3 // redirects excepted
			}
			if n := asked.Load(); n != want {
				t.Errorf("the site was asked %d times, want %d", n, want)
			}
		})
	}
}
