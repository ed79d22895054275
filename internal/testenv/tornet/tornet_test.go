package tornet_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tornet.Wrap(m)) }

// fetch gets a page through the client's SOCKS port as the given user, which
// is what isolates circuits.
func fetch(ctx context.Context, c *tornet.Client, user, page string) (string, error) {
	proxy := &url.URL{Scheme: "socks5h", User: url.UserPassword(user, "x"), Host: c.SOCKSAddr}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// echo answers with the address that a request came from.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprint(w, host)
})

// TestExits shows what the network is for: a site sees four sources, which
// are the exits, and its names are resolved there and nowhere else.
func TestExits(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, echo)
	const name = "four-exits.test"
	for i := range 200 {
		if _, err := fetch(t.Context(), network.Client, fmt.Sprintf("exits-%d", i), site.URL(name, "/")); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if len(site.Sources()) == 4 {
			t.Logf("four sources after %d identities", i+1)
			break
		}
	}
	want := network.ExitAddrs()
	got := slices.SortedFunc(maps.Keys(site.Sources()), func(a, b netip.Addr) int { return a.Compare(b) })
	if !slices.Equal(got, want) {
		t.Errorf("sources %v, want the exits %v", got, want)
	}
	if s := site.Strangers(); len(s) > 0 {
		t.Errorf("strangers %v, want none", s)
	}
	asked := map[string]bool{}
	for _, q := range network.Queries() {
		if q.Name == name {
			asked[q.From.String()] = true
		}
	}
	for _, addr := range want {
		if !asked[addr.String()] {
			t.Errorf("exit %v did not resolve %s: %v", addr, name, network.Queries())
		}
	}
	for _, q := range network.LocalQueries() {
		if q.Name == name {
			t.Errorf("the local resolver was asked: %+v", q)
		}
	}
}

// TestLeaksShow bypasses Tor, and expects to be caught.
func TestLeaksShow(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, echo)
	conn, err := net.Dial("tcp", fmt.Sprintf("%v:%d", network.SiteAddr, site.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the site answered a stranger")
	}
	if len(site.Strangers()) != 1 {
		t.Errorf("strangers %v, want one", site.Strangers())
	}
	const name = "leak.test"
	_, _ = net.DefaultResolver.LookupHost(t.Context(), name)
	if !slices.ContainsFunc(network.LocalQueries(), func(q testdns.Query) bool { return q.Name == name }) {
		t.Errorf("local queries %v, want one for %s", network.LocalQueries(), name)
	}
}

// TestIdentityKeepsItsExit holds the recipe's promise that one SOCKS user is
// one circuit. Each request is a connection of its own; Tor itself may put one
// on another circuit while the first set of circuits is still being linked.
func TestIdentityKeepsItsExit(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, echo)
	for i := range 10 {
		if _, err := fetch(t.Context(), network.Client, "keeps", site.URL("same.test", "/")); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	most := 0
	for _, n := range site.Sources() {
		most = max(most, n)
	}
	if most < 8 {
		t.Errorf("sources %v, want one for at least 8 of 10", site.Sources())
	}
}

// TestUnknownName shows that a name below "invalid" fails at the exit.
func TestUnknownName(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, echo)
	if _, err := fetch(t.Context(), network.Client, "unknown", site.URL("shop.invalid", "/")); err == nil {
		t.Error("a name that does not exist was reached")
	}
}

// TestClientRestarts stops a client of the test's own and starts it again.
func TestClientRestarts(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, echo)
	begin := time.Now()
	client := network.NewClient(t, &tornet.ClientOptions{DisablePassword: true})
	if client.Password != "" || client.SOCKSAddr == network.Client.SOCKSAddr {
		t.Errorf("client %+v, want no password and a port of its own", client)
	}
	get := func(name string) error {
		_, err := fetch(t.Context(), client, name, site.URL("restart.test", "/"))
		return err
	}
	if err := get("before"); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begin))
	client.Kill()
	if err := get("between"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("without tor: %v, want a refused connection", err)
	}
	begin = time.Now()
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("again ready after %v", time.Since(begin))
	if err := client.Start(t.Context()); err == nil {
		t.Error("a running client started again")
	}
	if err := get("after"); err != nil {
		t.Error(err)
	}
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
}
