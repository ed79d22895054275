package scrape_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/corpix/uarand"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// uarand's type serves as it is.
var _ scrape.UserAgents = uarand.Default

// TestHints holds the client hints of 1,000 requests against their user agent.
func TestHints(t *testing.T) {
	t.Parallel()
	major := regexp.MustCompile(`Chrome/(\d+)`)
	var mu sync.Mutex
	agents, hinted := map[string]bool{}, 0
	check := func(w http.ResponseWriter, r *http.Request) {
		ua, hints := r.UserAgent(), r.Header.Get("Sec-Ch-Ua")
		m := major.FindStringSubmatch(ua)
		mu.Lock()
		defer mu.Unlock()
		agents[ua] = true
		switch {
		case (m != nil && r.TLS != nil) != (hints != ""):
			t.Errorf("%s: Sec-CH-UA %q over TLS %v", ua, hints, r.TLS != nil)
		case hints != "":
			hinted++
			if !strings.Contains(hints, `"Chromium";v="`+m[1]+`"`) {
				t.Errorf("%s: Sec-CH-UA %s", ua, hints)
			}
			a, _ := useragent.Parse(ua)
			if got := r.Header.Get("Sec-Ch-Ua-Platform"); got != `"`+a.Platform+`"` {
				t.Errorf("%s: platform %s", ua, got)
			}
		}
		if r.Header.Get("Accept") == "" || r.Header.Get("Accept-Encoding") == "" || r.Header.Get("Accept-Language") == "" {
			t.Errorf("%s: header %v", ua, r.Header)
		}
		fmt.Fprint(w, "ok")
	}
	secure := newTLSSite(t, check)
	plain := newSite(t, check)
	proxy := sockstest.Start(t) // a public name, so that plain http is no secure origin
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.TLS = secure.config
	opts.AgentPer = scrape.PerRequest
	c := newClient(t, opts)
	for i := range 1000 {
		address := "http://example.com:" + port(t, plain)
		if i%2 == 0 {
			address = "https://example.com" + secure.url[strings.LastIndexByte(secure.url, ':'):]
		}
		if _, _, err := get(t, c, address); err != nil {
			t.Fatal(err)
		}
	}
	if len(agents) < 50 || hinted < 300 {
		t.Errorf("%d user agents and %d requests with hints of 500 over TLS", len(agents), hinted)
	}
	counted := int64(0)
	for _, n := range c.Stats().UserAgents {
		counted += n.Count
		if !agents[n.Name] {
			t.Errorf("Stats counts %s, which was not sent", n.Name)
		}
	}
	if counted != 1000 {
		t.Errorf("Stats counts %d user agents, want 1000", counted)
	}
}

func TestAgentPerIdentity(t *testing.T) {
	t.Parallel()
	var seen []string
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.UserAgent()) })
	opts := options(scrape.SOCKS(sockstest.Start(t).Addr))
	opts.UserAgents = &sequence{}
	opts.Rotation.Warm = -1
	opts.Rotation.Every = 3
	c := newClient(t, opts)
	for range 6 {
		if _, _, err := get(t, c, site.URL); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(seen, " "); got != "agent/1 agent/1 agent/1 agent/2 agent/2 agent/2" {
		t.Errorf("user agents %s", got)
	}
}

func TestHeadersOfTheCallerStay(t *testing.T) {
	t.Parallel()
	var got http.Header
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	c := newClient(t, options(scrape.Direct()))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "shopbot/1.0")
	req.Header.Set("Accept-Language", "de")
	req.Header.Set("Cookie", "a=b")
	before := fmt.Sprint(req.Header)
	res, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got.Get("User-Agent") != "shopbot/1.0" || got.Get("Accept-Language") != "de" || got.Get("Cookie") != "a=b" || got.Get("Sec-Ch-Ua") != "" {
		t.Errorf("sent %v", got)
	}
	if after := fmt.Sprint(req.Header); after != before {
		t.Errorf("the request's own header changed: %s", after)
	}
}
