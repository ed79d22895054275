package scrape_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// forbidden are addresses that lead to no public host, however they are
// written.
var forbidden = []string{
	"http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/",
	"http://0177.0.0.1/", "http://127.0.0.1./", "http://0/", "http://0.0.0.0/", "http://localhost/", "http://LOCALHOST/",
	"http://localhost./", "http://a.localhost/", "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/",
	"http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://192.0.0.1/",
	"http://192.0.2.1/", "http://198.18.0.1/", "http://198.51.100.1/", "http://203.0.113.1/", "http://224.0.0.1/",
	"http://239.255.255.255/", "http://240.0.0.1/", "http://255.255.255.255/", "http://192.88.99.1/",
	"http://[::]/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
	"http://[::ffff:8.8.8.8]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/",
	"http://[fc00::1]/", "http://[fd12:3456::1]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[ff02::1]/",
	"http://[2001:db8::1]/", "http://[2001::1]/", "http://[2002:7f00:1::]/", "http://[100::1]/", "http://[3fff::1]/", "http://[5f00::1]/",
	"http://intranet/", "http://printer.local/", "http://printer.local./", "http://db.internal/", "http://metadata.google.internal/",
	"http://router.home.arpa/", "http://user:secret@127.0.0.1/", "http://127.0.0.1:8080/", "https://127.0.0.1/",
	"http://１２７.0.0.1/", "http://127。0。0。1/", "http://ⓛocalhost/",
	"http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/", "http://localhost%00.example.com/", "http://[127.0.0.1]/", "http://[::1/", "http://::1/",
	"http://8.8.8.8\\@127.0.0.1/", "http://127.0.0.1\t/", "http://01.02.03.04/", "http://0x7f.1/", "http://0/", "http://0000:80/", "http://[::1%25lo]/",
	"http://[64:ff9b::169.254.169.254]/", "http://user@8.8.8.8:80@127.0.0.1/", "http://ｌｏｃａｌｈｏｓｔ/", "http://loc\u00adalhost/", "http://example.local。/",
	"javascript:alert(1)", "about:blank", "http:127.0.0.1/", "ws://8.8.8.8/",
	"ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "data:text/plain,x", "http:///path", "unix:///var/run/docker.sock",
}

// counting is an egress that makes no connection and counts the wish for one.
type counting struct{ dials atomic.Int64 }

func (c *counting) Check(context.Context) error { return nil }

func (c *counting) DialContext(context.Context, string, string, string) (net.Conn, error) {
	c.dials.Add(1)
	return nil, errors.New("dialled")
}

func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	if len(forbidden) < 40 {
		t.Fatalf("%d addresses", len(forbidden))
	}
	remote := &counting{}
	for name, egress := range map[string]scrape.Egress{"remote": remote, "direct": scrape.Direct()} {
		opts := options(egress)
		opts.Allow = nil
		c := newClient(t, opts)
		for _, address := range forbidden {
			_, _, err := get(t, c, address)
			if !errors.Is(err, scrape.ErrForbiddenAddress) {
				t.Errorf("%s: %s: %v, want ErrForbiddenAddress", name, address, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error shows a password: %v", name, err)
			}
		}
	}
	if n := remote.dials.Load(); n != 0 {
		t.Errorf("%d connections were asked for", n)
	}
	opts := options(remote)
	opts.Allow = nil
	c := newClient(t, opts)
	for _, address := range []string{"http://example.com/", "http://8.8.8.8/", "http://[2606:4700::1]/", "http://xn--bcher-kva.example/", "http://bücher.example/", "http://expyuzz4wqqyqhjn.onion/"} {
		if _, _, err := get(t, c, address); errors.Is(err, scrape.ErrForbiddenAddress) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if n := remote.dials.Load(); n != 6 {
		t.Errorf("%d connections were asked for, want 6", n)
	}
}

func TestForbiddenRedirects(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	inside := newSite(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	outside := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(http.StatusFound)
	})
	// The outer site has a public name, by a proxy that leads to it.
	proxy := sockstest.Start(t)
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Allow = nil
	c := newClient(t, opts)
	base := "http://shop.example.com:" + port(t, outside) + "/?to="
	for _, to := range append([]string{inside.URL, "//127.0.0.1:" + port(t, inside) + "/"}, forbidden...) {
		if strings.HasPrefix(to, "http:///") { // no absolute URL: a path of the same site
			continue
		}
		_, _, err := get(t, c, base+url.QueryEscape(to))
		if !errors.Is(err, scrape.ErrForbiddenAddress) {
			t.Errorf("redirect to %s: %v, want ErrForbiddenAddress", to, err)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests reached the inner site", hits.Load())
	}
	for _, r := range proxy.Requests() {
		if r.Host != "shop.example.com" {
			t.Errorf("the proxy was asked for %s", r.Host)
		}
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	remote := &counting{}
	opts := options(remote)
	opts.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	c := newClient(t, opts)
	for address, want := range map[string]bool{
		"http://10.1.2.3/": true, "http://[::ffff:10.1.2.3]/": true, "http://[fd00::1]/": true,
		"http://10.2.0.1/": false, "http://127.0.0.1/": false, "http://intranet/": false,
	} {
		if _, _, err := get(t, c, address); errors.Is(err, scrape.ErrForbiddenAddress) == want {
			t.Errorf("%s: %v, allowed is %v", address, err, want)
		}
	}
}

// TestRebinding has a name server that gives a public address first and a
// local one after, as an attack by rebinding does.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	inside.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	inside.Start()
	t.Cleanup(inside.Close)
	testenv.Datagrams(t)
	// 192.0.2.1 stands for a public address: it leads nowhere from here.
	public, local := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")
	var asked atomic.Int64
	dns, err := testdns.Listen("127.0.0.1:0", func(name string) ([]netip.Addr, bool) {
		switch {
		case strings.HasPrefix(name, "always"):
			return []netip.Addr{local}, true
		case strings.HasPrefix(name, "both"):
			return []netip.Addr{local, public}, true
		case asked.Add(1)%2 == 1:
			return []netip.Addr{public}, true
		}
		return []netip.Addr{local}, true
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dns.Addr())
	}}
	opts := options(scrape.DirectVia(resolver))
	opts.Allow = nil
	opts.Limits.Timeout = 2 * time.Second
	c := newClient(t, opts)
	for _, name := range []string{"always.example.com", "both.example.com", "rebind.example.com", "rebind.example.com", "rebind.example.com"} {
		if _, _, err := get(t, c, "http://"+name+":"+port(t, inside)+"/"); !errors.Is(err, scrape.ErrForbiddenAddress) {
			t.Errorf("%s: %v, want ErrForbiddenAddress", name, err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to the inner site", n)
	}
	if len(dns.Queries()) == 0 {
		t.Error("the name server was not asked: the test says nothing")
	}
}

// TestUnreadableRedirect: what cannot be read is not followed, and not shown.
func TestUnreadableRedirect(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/second", http.StatusFound)
			return
		}
		w.Header().Set("Location", "http://user:canary@%31%32%37.0.0.1/?canary")
		w.WriteHeader(http.StatusFound)
	})
	c := newClient(t, options(scrape.Direct()))
	for _, path := range []string{"/", "/first"} {
		_, _, err := get(t, c, site.URL+path)
		if _, ok := errors.AsType[*scrape.Error](err); !ok || !errors.Is(err, scrape.ErrForbiddenAddress) || strings.Contains(err.Error(), "canary") {
			t.Errorf("Get %s = %v, want ErrForbiddenAddress without the address", path, err)
		}
	}
	opts := options(scrape.Direct())
	opts.Limits.MaxRedirects = -1
	if status, _, err := get(t, newClient(t, opts), site.URL); err != nil || status != http.StatusFound {
		t.Errorf("without following: %d, %v", status, err)
	}
}
