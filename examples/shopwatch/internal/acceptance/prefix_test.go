package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestBelowPrefix puts the service below /watch/, as a proxy does that takes the
// prefix away: the page is styled, refreshes and asks for runs in a browser, and
// the form leads back to it without JavaScript.
func TestBelowPrefix(t *testing.T) {
	b := browser.Start(t)
	address, end := start(t, build(t))
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	outside := httptest.NewServer(http.StripPrefix("/watch", proxy))
	defer outside.Close()

	patience := testenv.Within(20*time.Second, time.Minute)
	tab := b.Open(t, outside.URL+"/watch/", browser.Desktop)
	for _, c := range []struct{ what, js string }{
		{"the style", `getComputedStyle(document.querySelector("main > section")).borderRadius !== "0px"`},
		{"the icon", `document.querySelector("header img").naturalWidth > 0`},
		{"a run, without a reload", `document.querySelector("#runs .state.done")`},
	} {
		if !tab.Until(c.js, patience) {
			t.Errorf("the page lacks %s", c.what)
		}
	}
	tab.Press("#scrape button")
	if !tab.Until(`[...document.querySelectorAll("#runs tbody tr")].some(e => e.querySelector("th").textContent.includes("request"))`, patience) {
		t.Error("the button starts no run")
	}
	if at := browser.Eval[string](tab, `location.pathname`); at != "/watch/" {
		t.Errorf("the button leads to %s", at)
	}
	if got := tab.Problems(); len(got) > 0 {
		t.Errorf("the page complains: %q", got)
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, outside.URL+"/watch/scrape", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.Request.URL.Path != "/watch/" || res.StatusCode != http.StatusOK || !strings.Contains(string(body), `action="scrape"`) {
		t.Errorf("the form leads to %s: %s, %v", res.Request.URL, res.Status, err)
	}
	end()
}
