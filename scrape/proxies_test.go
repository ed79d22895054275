package scrape_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// connectProxy is an HTTP proxy that refuses CONNECT to port 80, as squid does,
// and takes http pages in absolute form; every name leads to this machine. user may be empty.
func connectProxy(t testing.TB, user, password string) (proxy *httptest.Server, tunnels *atomic.Int64) {
	t.Helper()
	tunnels = new(atomic.Int64)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	proxy = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case user != "" && r.Header.Get("Proxy-Authorization") != want:
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		case strings.HasPrefix(r.Host, "blocked."):
			w.WriteHeader(http.StatusForbidden)
			return
		case r.Method != http.MethodConnect:
			if !r.URL.IsAbs() || r.Header.Get("Proxy-Authorization") != "" && user == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			tunnels.Add(1)
			r.URL.Host = "127.0.0.1:" + r.URL.Port()
			httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.URL.Host}).ServeHTTP(w, r)
			return
		}
		_, port, _ := net.SplitHostPort(r.Host)
		far, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		tunnels.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(far, conn)
			_ = far.Close()
		}()
		_, _ = io.Copy(conn, far)
		_ = conn.Close()
	})
	return proxy, tunnels
}

func TestProxies(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") })
	secure := newTLSSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	first, firstTunnels := connectProxy(t, "me", "hunter2")
	second, secondTunnels := connectProxy(t, "", "")
	socks := sockstest.Start(t)
	opts := options(scrape.Proxies(strings.Replace(first.URL, "http://", "http://me:hunter2@", 1), second.URL, "socks5h://"+socks.Addr))
	opts.TLS = secure.config
	opts.Rotation = scrape.Rotation{Every: 2, Distinct: true}
	c := newClient(t, opts)
	for i := range 12 {
		address, want := "http://shop.example.com:"+port(t, site)+"/", "plain"
		if i%2 == 1 {
			address, want = "https://example.com"+secure.url[strings.LastIndexByte(secure.url, ':'):], "HTTP/2.0"
		}
		if _, body, err := get(t, c, address); err != nil || body != want {
			t.Fatalf("request %d: %q, %v", i, body, err)
		}
	}
	if a, b, s := firstTunnels.Load(), secondTunnels.Load(), len(socks.Requests()); a != 4 || b != 4 || s != 4 {
		t.Errorf("%d, %d and %d connections by three proxies in turn, want 4 each", a, b, s)
	}
	if exits := c.Stats().Exits; len(exits) != 3 || exits[0].Count != 4 {
		t.Errorf("Stats.Exits = %+v", exits)
	}
	for _, r := range socks.Requests() {
		if r.Host != "shop.example.com" && r.Host != "example.com" {
			t.Errorf("the proxy was asked for %s", r.Host)
		}
	}
}

// TestProxiesThatHang has three proxies, one gone and one that hangs at some
// step: no page is lost, and none leaves from this machine's own address.
func TestProxiesThatHang(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
	for name, fault := range map[string]sockstest.Fault{
		"at the greeting": sockstest.HangAccept, "at the request": sockstest.HangRequest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone, hanging, working := sockstest.Start(t), sockstest.Start(t), sockstest.Start(t)
			gone.Stop()
			hanging.Fail(fault)
			opts := options(scrape.Proxies("socks5h://"+gone.Addr, "socks5h://"+hanging.Addr, "socks5h://"+working.Addr))
			opts.Fallback = scrape.DirectWithWarning
			opts.Rotation = scrape.Rotation{Every: 10}
			opts.Limits.Timeout = 2 * time.Second
			opts.Retry = scrape.Retry{Attempts: 3, Base: time.Millisecond}
			c := newClient(t, opts)

			const pages = 300
			urls := func(yield func(string) bool) {
				for i := 0; i < pages && yield(fmt.Sprintf("http://shop.example.com:%s/%d", port(t, site), i)); i++ {
				}
			}
			err := c.Each(t.Context(), urls, 4, func(_ string, _ *http.Response, err error) error { return err })
			if s := c.Stats(); err != nil || s.Pages != int64(pages) || s.Fallbacks > 0 {
				t.Errorf("%d of %d pages, %d of them directly: %v", s.Pages, pages, s.Fallbacks, err)
			}
		})
	}
}

func TestProxiesFail(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	picky, _ := connectProxy(t, "me", "right")
	open, _ := connectProxy(t, "", "")
	gone := httptest.NewServer(nil)
	gone.Close()
	page := "http://shop.example.com:" + port(t, site) + "/"
	for _, tc := range []struct {
		name, proxy, url string
		unavailable      bool
		says             string
	}{
		{"wrong password", strings.Replace(picky.URL, "http://", "http://me:hunter2@", 1), page, true, "password refused (407 Proxy Authentication Required): see user:password@"},
		{"wrong password, tunnel", strings.Replace(picky.URL, "http://", "http://me:hunter2@", 1), "https://example.com/", true, "password refused (407 Proxy Authentication Required): see user:password@"},
		{"no password", picky.URL, page, true, "give user:password@"},
		{"not there", gone.URL, page, true, "refused"},
		{"no proxy", "http://" + newListener(t, "SSH-2.0-OpenSSH_9.2\r\n"), "https://example.com/", true, ""},
		{"refuses the site", open.URL, "https://blocked.example.com/", false, "403"},
		{"cannot reach the site", open.URL, "https://shop.example.com:1/", false, "502"},
		{"onion by HTTP", open.URL, "http://expyuzz4wqqyqhjn.onion/", false, "RFC 7686"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			opts := options(scrape.Proxies(tc.proxy))
			opts.DisableStartCheck = true
			_, _, err := get(t, newClient(t, opts), tc.url)
			if errors.Is(err, scrape.ErrEgressUnavailable) != tc.unavailable || err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Get = %v, unavailable should be %v", err, tc.unavailable)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
	for _, list := range [][]string{{}, {"ftp://user:hunter2@example.com"}, {"://hunter2"}, {"http://"}, {"example.com:3128"}} {
		if _, err := scrape.New(t.Context(), &scrape.Options{Egress: scrape.Proxies(list...)}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New with proxies %d = %v", len(list), err)
		}
	}
}

// TestProxiesCheck asks proxies that can be reached whether they work.
func TestProxiesCheck(t *testing.T) {
	t.Parallel()
	picky, tunnels := connectProxy(t, "me", "right")
	untunnelled := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			panic(http.ErrAbortHandler) // hangs up, as some do that know no tunnels
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	named := newSite(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	other := newListener(t, "SSH-2.0-OpenSSH_9.2\r\n")
	refuses, wants := sockstest.Start(t), newListener(t, "\x05\xff")
	refuses.Fail(sockstest.RefuseAuth)
	socks := sockstest.Start(t)
	as := func(credentials, address string) string {
		return strings.Replace(address, "://", "://"+credentials+"@", 1)
	}

	for _, tc := range []struct{ name, proxy, says string }{
		{"right password", as("me:right", picky.URL), ""},
		{"wrong password", as("me:hunter2", picky.URL), "user or password refused (407 Proxy Authentication Required): see user:password@ in its URL"},
		{"no password", picky.URL, "it wants a user and a password (407 Proxy Authentication Required): give user:password@ in its URL"},
		{"no tunnels", untunnelled.URL, ""},
		{"no such names", named.URL, ""},
		{"no proxy", "http://" + other, "malformed HTTP response"},
		{"SOCKS", "socks5://" + socks.Addr, ""},
		{"SOCKS, wrong password", "socks5://me:hunter2@" + refuses.Addr, "user name or password refused: see user:password@ in its URL"},
		{"SOCKS, no password", "socks5://" + wants, "wants a user name and a password: give user:password@ in its URL"},
		{"SOCKS, takes no password", "socks5://me:hunter2@" + wants, "leave user:password@ out of its URL"},
		{"no SOCKS", "socks5://" + other, "is something else listening there?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := scrape.New(t.Context(), &scrape.Options{Egress: scrape.Proxies(tc.proxy)})
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says == "":
			case !errors.Is(err, scrape.ErrEgressUnavailable), !strings.Contains(err.Error(), tc.says), strings.Contains(err.Error(), "Tor"), strings.Contains(err.Error(), "hunter2"):
				t.Errorf("New = %v, want it unavailable and to say %q", err, tc.says)
			}
		})
	}
	t.Cleanup(func() {
		if n := tunnels.Load(); n != 0 {
			t.Errorf("%d tunnels for Check", n)
		}
	})
}

// TestProxiesStayLost: a proxy that can be reached and refuses the password is
// passed by until it takes it, whoever asks.
func TestProxiesStayLost(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	picky, _ := connectProxy(t, "me", "right")
	open, _ := connectProxy(t, "", "")
	opts := options(scrape.Proxies(strings.Replace(picky.URL, "http://", "http://me:hunter2@", 1), open.URL))
	opts.DisableStartCheck, opts.Rotation.Every = true, 1
	c := newClient(t, opts)

	for range 4 {
		if _, _, err := get(t, c, "http://shop.example.com:"+port(t, site)+"/"); err != nil {
			t.Error(err)
		}
		if err := c.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if ways := c.Stats().Egress.Ways; ways[0].Works || !ways[1].Works || !strings.Contains(ways[0].Why, "password refused") {
		t.Errorf("Stats.Ways = %+v, want the first one lost", ways)
	}
}

// newListener says the same to everybody, and reads nothing.
func newListener(t *testing.T, says string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, says)
			_ = conn.(*net.TCPConn).CloseWrite() // a reset could overtake what was said
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}
