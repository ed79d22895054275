package scrape_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/scrapetest"
)

func TestEgressSuite(t *testing.T) {
	t.Parallel()
	newSOCKS := func(t *testing.T) (scrapetest.Harness, func(addr string) scrape.Egress) {
		proxy, hung := sockstest.Start(t), sockstest.Start(t)
		hung.Fail(sockstest.HangAccept)
		h := scrapetest.Harness{Asked: func() (hosts []string) {
			for _, r := range proxy.Requests() {
				hosts = append(hosts, r.Host)
			}
			return hosts
		}}
		build := func(addr string) scrape.Egress {
			switch addr {
			case "down":
				return scrape.SOCKS("127.0.0.1:1")
			case "hang":
				return scrape.SOCKS(hung.Addr)
			}
			return scrape.SOCKS(proxy.Addr)
		}
		return h, build
	}
	t.Run("SOCKS", func(t *testing.T) {
		t.Parallel()
		h, build := newSOCKS(t)
		h.New = func() (scrape.Egress, error) { return build("up"), nil }
		h.Down = func() (scrape.Egress, error) { return build("down"), nil }
		h.Hang = func() (scrape.Egress, error) { return build("hang"), nil }
		scrapetest.Run(t, h)
	})
	t.Run("Proxies by CONNECT", func(t *testing.T) {
		t.Parallel()
		proxy, _ := connectProxy(t, "", "")
		scrapetest.Run(t, scrapetest.Harness{
			New:  func() (scrape.Egress, error) { return scrape.Proxies(proxy.URL), nil },
			Down: func() (scrape.Egress, error) { return scrape.Proxies("http://127.0.0.1:1"), nil },
		})
	})
	t.Run("Direct", func(t *testing.T) {
		t.Parallel()
		scrapetest.Run(t, scrapetest.Harness{
			New: func() (scrape.Egress, error) { return scrape.DirectAllowing(loopback...), nil },
		})
	})
}

func TestHostileSite(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(scrapetest.Hostile())
	t.Cleanup(site.Close)
	opts := options(scrape.Direct())
	opts.Robots = scrape.Robots{}
	opts.Limits.Timeout = 3 * time.Second
	opts.Retry = scrape.Retry{Attempts: 2, Base: time.Millisecond}
	opts.Banned = func(_ *http.Response, body []byte) bool { return string(body) == "access denied" }
	c := newClient(t, opts)
	for path, want := range map[string]error{
		"/page": nil, "/private/": scrape.ErrRobots, "/banned": scrape.ErrBanned, "/announced": scrape.ErrBodyTooLarge,
		"/endless": scrape.ErrBodyTooLarge, "/bomb": scrape.ErrBodyTooLarge, "/drip": context.DeadlineExceeded,
		"/hang": context.DeadlineExceeded, "/headers": scrape.ErrHeaderTooLarge, "/cut": io.ErrUnexpectedEOF,
		"/not-gzip": scrape.ErrEncoding, "/loop": scrape.ErrTooManyRedirects, "/inside": scrape.ErrForbiddenAddress,
		"/scheme": scrape.ErrForbiddenAddress,
	} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			t.Parallel()
			_, _, err := get(t, c, site.URL+path)
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if se, ok := errors.AsType[*scrape.Error](err); want != nil && (!ok || se.URL == "") {
				t.Errorf("%v is no *scrape.Error that names the page", err)
			}
		})
	}
	t.Run("garbage", func(t *testing.T) {
		t.Parallel()
		_, _, err := get(t, c, site.URL+"/garbage")
		if se, ok := errors.AsType[*scrape.Error](err); !ok || !strings.Contains(se.Error(), "malformed HTTP") {
			t.Errorf("%v, want a *scrape.Error that says malformed HTTP", err)
		}
	})
}

func FuzzCheckHost(f *testing.F) {
	for _, s := range []string{"example.com", "127.1", "0x7f.1", "::1", "[::1]", "１２７.0.0.1", "a.onion", "localhost.", "fe80::1%eth0", "1.2.3.4.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if scrape.CheckHost(host) != nil {
			return
		}
		// What passes is no address of this machine, as the standard library
		// reads addresses.
		if ip := net.ParseIP(strings.TrimRight(host, ".")); ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast()) {
			t.Errorf("%q passes", host)
		}
		if lower := strings.ToLower(strings.TrimRight(host, ".")); lower == "localhost" || strings.HasSuffix(lower, ".localhost") || lower == "" {
			t.Errorf("%q passes", host)
		}
	})
}
