package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tornet.Wrap(m)) }

// loopback lets tests reach their own servers.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// options returns what most tests want: no waiting, no robots.txt.
func options(egress scrape.Egress) *scrape.Options {
	return &scrape.Options{
		Egress:    egress,
		Allow:     loopback,
		HostLimit: scrape.HostLimit{PerSecond: -1, InFlight: -1},
		Robots:    scrape.Robots{Ignore: true},
		Retry:     scrape.Retry{Attempts: 1},
	}
}

func newClient(t testing.TB, opts *scrape.Options) *scrape.Client {
	t.Helper()
	c, err := scrape.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newSite(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	site := httptest.NewServer(handler)
	t.Cleanup(site.Close)
	return site
}

func get(t testing.TB, c *scrape.Client, address string) (int, string, error) {
	t.Helper()
	res, err := c.Get(t.Context(), address)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func port(t testing.TB, site *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(site.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func TestGetThroughSOCKS(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "page of ", r.Host)
	})
	c := newClient(t, options(scrape.SOCKS(proxy.Addr)))
	address := "http://shop.example.com:" + port(t, site) + "/"
	status, body, err := get(t, c, address)
	if err != nil || status != 200 || body != "page of shop.example.com:"+port(t, site) {
		t.Fatalf("Get = %d, %q, %v", status, body, err)
	}
	for _, r := range proxy.Requests() {
		if r.Host != "shop.example.com" {
			t.Errorf("the proxy was asked for %q, want the name as it is", r.Host)
		}
	}
	s := c.Stats()
	if s.Pages != 1 || s.Requests != 1 || !s.Egress.Available || s.Egress.Direct {
		t.Errorf("Stats = %+v", s)
	}
}

func TestRotationEvery(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			proxy := sockstest.Start(t)
			var mu sync.Mutex
			var peers []string
			handler := func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				peers = append(peers, r.RemoteAddr)
				fmt.Fprint(w, r.Proto)
			}
			site := httptest.NewUnstartedServer(http.HandlerFunc(handler))
			opts := options(scrape.SOCKS(proxy.Addr))
			if scheme == "https" {
				site.EnableHTTP2 = true
				site.StartTLS()
				opts.TLS = site.Client().Transport.(*http.Transport).TLSClientConfig
			} else {
				site.Start()
			}
			t.Cleanup(site.Close)
			opts.Rotation = scrape.Rotation{Every: 25}
			var rotated []int
			opts.Hooks.OnRotate = func(_, next scrape.Identity) { rotated = append(rotated, next.Number) }
			c := newClient(t, opts)
			for range 300 {
				_, body, err := get(t, c, scheme+"://example.com:"+port(t, site)+"/")
				if err != nil {
					t.Fatal(err)
				}
				if want := map[string]string{"http": "HTTP/1.1", "https": "HTTP/2.0"}[scheme]; body != want {
					t.Fatalf("protocol %s, want %s", body, want)
				}
			}
			if users := proxy.Users(); len(users) != 12 {
				t.Errorf("%d identities, want 12", len(users))
			}
			if len(rotated) != 12 {
				t.Errorf("OnRotate was called %d times, want 12", len(rotated))
			}
			for i := 0; i < 300; i += 25 { // one connection each, so that the peer tells them apart
				for j := i; j < i+25; j++ {
					if peers[j] != peers[i] {
						t.Fatalf("request %d left by another identity than request %d", j, i)
					}
				}
				if i > 0 && peers[i] == peers[i-1] {
					t.Errorf("requests %d and %d left by the same identity", i-1, i)
				}
			}
		})
	}
}

func TestFailClosed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault sockstest.Fault
	}{
		{"hangs", sockstest.HangAccept},
		{"not SOCKS", sockstest.Garbage},
		{"refuses the user", sockstest.RefuseAuth},
		{"takes no users", sockstest.NoUserPass},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var hits int
			site := newSite(t, func(http.ResponseWriter, *http.Request) { hits++ })
			proxy := sockstest.Start(t)
			proxy.Fail(tc.fault)
			opts := options(scrape.SOCKS(proxy.Addr))
			if _, err := scrape.New(t.Context(), opts); !errors.Is(err, scrape.ErrEgressUnavailable) {
				t.Errorf("New = %v, want ErrEgressUnavailable", err)
			}
			opts.DisableStartCheck = true
			c := newClient(t, opts)
			began := time.Now()
			_, _, err := get(t, c, site.URL)
			if !errors.Is(err, scrape.ErrEgressUnavailable) || time.Since(began) > 6*time.Second {
				t.Errorf("Get = %v after %v, want ErrEgressUnavailable within 5s", err, time.Since(began))
			}
			if hits != 0 {
				t.Error("a request reached the site")
			}
			if s := c.Stats(); s.Egress.Available || s.Egress.Direct || !strings.Contains(s.Egress.Why, "no request is sent") {
				t.Errorf("Stats.Egress = %+v", s.Egress)
			}
			proxy.Fail(sockstest.None)
			if _, _, err := get(t, c, site.URL); err != nil || hits != 1 {
				t.Errorf("Get after recovery = %v, %d requests at the site", err, hits)
			}
		})
	}
}

func TestProxyGoneAndBack(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	proxy := sockstest.Start(t)
	c := newClient(t, options(scrape.SOCKS(proxy.Addr)))
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Fatal(err)
	}
	proxy.Stop()
	if _, _, err := get(t, c, site.URL); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Get = %v, want ErrEgressUnavailable", err)
	}
	if err := c.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Check = %v, want ErrEgressUnavailable", err)
	}
	if err := proxy.Listen(proxy.Addr); err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Errorf("Get after restart = %v", err)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("Check after restart = %v", err)
	}
}

func TestDirectWithWarning(t *testing.T) {
	t.Parallel()
	var agents []string
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
		fmt.Fprint(w, "ok")
	})
	proxy := sockstest.Start(t)
	proxy.Stop()
	log := &logBook{}
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Fallback = scrape.DirectWithWarning
	opts.Logger = log.logger()
	fallbacks := 0
	opts.Hooks.OnFallback = func(scrape.Attempt) { fallbacks++ }
	c := newClient(t, opts)
	for range 5 {
		if _, body, err := get(t, c, site.URL); err != nil || body != "ok" {
			t.Fatalf("Get = %q, %v", body, err)
		}
	}
	if n := log.count("request leaves from this machine's own address"); n != 5 || fallbacks != 5 {
		t.Errorf("%d warnings and %d calls of OnFallback, want 5", n, fallbacks)
	}
	s := c.Stats()
	if s.Fallbacks != 5 || !s.Egress.Direct || s.Egress.Available || !strings.Contains(s.Egress.Why, "refused") {
		t.Errorf("Stats: Fallbacks %d, Egress %+v", s.Fallbacks, s.Egress)
	}
	if diff := cmp.Diff([]scrape.ExitCount{{Name: "direct", Count: 5}}, s.Exits); diff != "" {
		t.Errorf("Exits (-want +got):\n%s", diff)
	}
	if slices.Contains(agents, "Go-http-client/1.1") {
		t.Error("Go's own user agent was sent")
	}
	_, _, err := get(t, c, "http://abcdefghij.onion/")
	if !errors.Is(err, scrape.ErrForbiddenAddress) {
		t.Errorf(".onion without Tor: %v, want ErrForbiddenAddress", err)
	}
}

func TestFarEndAtFault(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	opts := options(scrape.SOCKS(proxy.Addr))
	c := newClient(t, opts)
	for _, tc := range []struct {
		fault sockstest.Fault
		text  string
	}{
		{sockstest.ReplyGeneral, "general failure"},
		{sockstest.ReplyHost, "does not resolve"},
		{sockstest.ReplyOnionGone, "descriptor not found"},
	} {
		proxy.Fail(tc.fault)
		_, _, err := get(t, c, "http://gone.example.com/")
		if err == nil || errors.Is(err, scrape.ErrEgressUnavailable) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("fault %d: %v, want %q and not ErrEgressUnavailable", tc.fault, err, tc.text)
		}
	}
}

func TestOptionsReportAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := scrape.New(t.Context(), &scrape.Options{
		Fallback: 7, AgentPer: -1, Rotation: scrape.Rotation{By: 9, Distinct: true}, Allow: []netip.Prefix{{}},
	})
	for _, want := range []string{"Egress: is missing", "Fallback: 7 is none", "AgentPer: -1 is none", "Rotation.By: 9 is none", "Allow[0]: invalid Prefix is no prefix"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v\nlacks %q", err, want)
		}
	}
	_, err = scrape.New(t.Context(), &scrape.Options{Egress: scrape.SOCKS("nonsense"), Rotation: scrape.Rotation{By: scrape.NewNym, Distinct: true}})
	for _, want := range []string{`"nonsense"`, "NewIdentity", "Distinct"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v\nlacks %q", err, want)
		}
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	c := newClient(t, options(scrape.Direct()))
	var urls []string
	for i := range 100 {
		urls = append(urls, fmt.Sprintf("%s/%d", site.URL, i))
	}
	urls = append(urls, "http://user:hunter2@bad host/", "ftp://example.com/")
	var mu sync.Mutex
	calls := map[string]int{}
	var failed []error
	err := c.Each(t.Context(), slices.Values(urls), 8, func(u string, res *http.Response, err error) error {
		mu.Lock()
		defer mu.Unlock()
		calls[u]++
		if err != nil {
			failed = append(failed, err)
			return nil
		}
		body, err := io.ReadAll(res.Body)
		if !strings.HasSuffix(u, string(body)) {
			t.Errorf("%s gave %q", u, body)
		}
		return err
	})
	if err != nil || len(failed) != 2 {
		t.Errorf("Each = %v, failures %v, want two", err, failed)
	}
	for _, err := range failed {
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error shows a password: %v", err)
		}
	}
	for _, u := range urls {
		if calls[u] != 1 {
			t.Errorf("%s: called %d times, want once", u, calls[u])
		}
	}
	enough := errors.New("enough")
	n := 0
	err = c.Each(t.Context(), slices.Values(urls), 3, func(string, *http.Response, error) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n == 10 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n > 13 {
		t.Errorf("Each = %v after %d calls, want the function's error after about 10", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Each(ctx, slices.Values(urls), 3, func(string, *http.Response, error) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Each with a cancelled context = %v", err)
	}
}

func TestCookiesBelongToTheIdentity(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("id"); err == nil {
			fmt.Fprint(w, cookie.Value)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "seen", Path: "/"})
		fmt.Fprint(w, "new")
	})
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Rotation.Every = 3
	c := newClient(t, opts)
	var got []string
	for range 6 {
		_, body, err := get(t, c, site.URL)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, body)
	}
	if diff := cmp.Diff([]string{"new", "seen", "seen", "new", "seen", "seen"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestRedirectChainStaysOnItsIdentity(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	var mu sync.Mutex
	agents := map[string]int{}
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		agents[r.UserAgent()]++
		mu.Unlock()
		switch r.URL.Path {
		case "/a":
			http.SetCookie(w, &http.Cookie{Name: "hop", Value: "a", Path: "/"})
			http.Redirect(w, r, "/b", http.StatusFound)
		case "/b":
			http.Redirect(w, r, "/c", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			cookie, err := r.Cookie("hop")
			fmt.Fprint(w, cookie, err)
		}
	})
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Rotation.Every = 1
	opts.Rotation.Warm = -1
	opts.UserAgents = &sequence{}
	c := newClient(t, opts)
	for range 4 {
		_, body, err := get(t, c, site.URL+"/a")
		if err != nil || !strings.Contains(body, "hop=a") {
			t.Fatalf("Get = %q, %v; want the cookie of the first hop", body, err)
		}
	}
	if users := proxy.Users(); len(users) != 4 {
		t.Errorf("%d identities for 4 chains, want 4", len(users))
	}
	for agent, n := range agents {
		if n != 3 {
			t.Errorf("agent %s was sent %d times, want on all 3 hops of one chain", agent, n)
		}
	}
	if _, _, err := get(t, c, site.URL+"/loop"); !errors.Is(err, scrape.ErrTooManyRedirects) {
		t.Errorf("Get of a loop = %v, want ErrTooManyRedirects", err)
	}
}

func TestRotateAndClose(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	c := newClient(t, options(scrape.SOCKS(proxy.Addr)))
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Fatal(err)
	}
	id, err := c.Rotate(t.Context())
	if err != nil || id.Number < 2 {
		t.Fatalf("Rotate = %+v, %v", id, err)
	}
	if _, _, err := get(t, c, site.URL); err != nil {
		t.Fatal(err)
	}
	if users := proxy.Users(); len(users) != 2 || users[1] != id.Isolation {
		t.Errorf("users %v, want two, the second %s", users, id.Isolation)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, _, err := get(t, c, site.URL); !errors.Is(err, scrape.ErrClosed) {
		t.Errorf("Get after Close = %v, want ErrClosed", err)
	}
	if _, err := c.Rotate(t.Context()); !errors.Is(err, scrape.ErrClosed) {
		t.Errorf("Rotate after Close = %v, want ErrClosed", err)
	}
	if err := c.Check(t.Context()); !errors.Is(err, scrape.ErrClosed) || err.Error() != "scrape: check: client closed" {
		t.Errorf("Check after Close = %v, want ErrClosed", err)
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	block := make(chan struct{})
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	})
	defer close(block)
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Limits.Timeout = 800 * time.Millisecond
	c := newClient(t, opts)
	_, _, err := get(t, c, site.URL)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, scrape.ErrEgressUnavailable) || !strings.Contains(err.Error(), "Limits.Timeout") {
		t.Errorf("slow site: %v, want a timeout that names Limits.Timeout", err)
	}
	done := make(chan error)
	go func() {
		_, _, err := get(t, c, site.URL)
		done <- err
	}()
	testenv.Eventually(t, func() error {
		if n := len(proxy.Requests()); n < 2 {
			return fmt.Errorf("%d requests at the proxy, want 2", n)
		}
		return nil
	})
	proxy.Fail(sockstest.HangAccept)
	if err := <-done; !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("stopped proxy: %v, want ErrEgressUnavailable", err)
	}
}

func TestDirectResolvesAndChecks(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	opts := options(scrape.Direct())
	opts.Allow = nil
	c := newClient(t, opts)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if _, _, err := get(t, c, "http://"+net.JoinHostPort(host, port(t, site))); !errors.Is(err, scrape.ErrForbiddenAddress) {
			t.Errorf("Get %s = %v, want ErrForbiddenAddress", host, err)
		}
	}
	c = newClient(t, options(scrape.Direct()))
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if _, body, err := get(t, c, "http://"+net.JoinHostPort(host, port(t, site))); err != nil || body != "ok" {
			t.Errorf("Get %s with Allow = %q, %v", host, body, err)
		}
	}
}
