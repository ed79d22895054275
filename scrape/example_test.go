package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// shop is a site on this machine, which the examples may ask because of
// Options.Allow.
func shop() (address string, stop func()) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/robots.txt":
			fmt.Fprint(w, "User-agent: *\nDisallow: /private\n")
		case "/gone":
			http.NotFound(w, r)
		case "/banned":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "access denied")
		default:
			fmt.Fprint(w, "page ", r.URL.Path)
		}
	}))
	return site.URL, site.Close
}

var allowLocal = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func Example() {
	address, stop := shop()
	defer stop()
	ctx := context.Background()
	c, err := scrape.New(ctx, &scrape.Options{
		Egress: scrape.Direct(), // a *tor.Tor or scrape.SOCKS("127.0.0.1:9050") in earnest
		Allow:  allowLocal,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	res, err := c.Get(ctx, address+"/a")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, string(body), err)
	// Output: 200 page /a <nil>
}

func ExampleClient_Each() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress:    scrape.Direct(),
		Allow:     allowLocal,
		HostLimit: scrape.HostLimit{PerSecond: 100, InFlight: 2},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	urls := slices.Values([]string{address + "/a", address + "/b", address + "/private/c"})
	err = c.Each(context.Background(), urls, 1, func(url string, res *http.Response, err error) error {
		path := strings.TrimPrefix(url, address)
		if err != nil {
			fmt.Println(path, "failed:", errors.Is(err, scrape.ErrRobots))
			return nil // go on with the others
		}
		body, err := io.ReadAll(res.Body)
		fmt.Println(path, string(body))
		return err
	})
	fmt.Println(err, c.Stats().Pages)
	// Output:
	// /a page /a
	// /b page /b
	// /private/c failed: true
	// <nil> 2
}

// The transport of a Client fits whatever takes an http.Client.
func ExampleClient_Transport() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct(), Allow: allowLocal})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	res, err := (&http.Client{Transport: c.Transport()}).Head(address + "/gone")
	if err != nil {
		log.Fatal(err)
	}
	_ = res.Body.Close()
	fmt.Println(res.Status)
	// Output: 404 Not Found
}

func ExampleClient_Rotate() {
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	id, err := c.Rotate(context.Background())
	fmt.Println(id.Number, id.Direct, err)
	id, err = c.Rotate(context.Background())
	fmt.Println(id.Number, id.Direct, err)
	// Output:
	// 1 true <nil>
	// 2 true <nil>
}

// Without Tor there is no request, unless the fallback is allowed in code.
func ExampleFallback() {
	_, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.SOCKS("127.0.0.1:1")})
	fmt.Println(errors.Is(err, scrape.ErrEgressUnavailable))

	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress:   scrape.SOCKS("127.0.0.1:1"),
		Fallback: scrape.DirectWithWarning,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Stats().Egress.Direct)
	// Output:
	// true
	// true
}

func ExampleRotation() {
	// A new identity every 25 requests or 5 minutes, with the next one ready
	// before it is needed.
	fmt.Printf("%+v\n", scrape.Rotation{Every: 25, MaxAge: 5 * time.Minute, Warm: 1, By: scrape.Isolation})
	// Output: {Every:25 MaxAge:5m0s Distinct:false Warm:1 By:isolation}
}

func ExampleRotationBy() {
	var by scrape.RotationBy
	fmt.Println(by)
	err := by.UnmarshalText([]byte("newnym"))
	fmt.Println(by, err)
	fmt.Println(by.UnmarshalText([]byte("magic")))
	// Output:
	// isolation
	// newnym <nil>
	// unknown name "magic": use isolation or newnym
}

func ExampleAgentPer() {
	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress:   scrape.Direct(),
		AgentPer: scrape.PerIdentity, // one exit is one browser
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	id, err := c.Rotate(context.Background())
	fmt.Println(strings.HasPrefix(id.Agent, "Mozilla/5.0 ("), err)
	// Output: true <nil>
}

// A program that does not hide says who it is, and follows the rules for it.
func ExampleUserAgents() {
	name, err := useragent.NewPool("shopbot/1.0 (+https://example.com/bot)")
	if err != nil {
		log.Fatal(err)
	}
	var agents scrape.UserAgents = name
	opts := scrape.Options{
		Egress:     scrape.Direct(),
		UserAgents: agents,
		Robots:     scrape.Robots{Agent: "shopbot"},
	}
	fmt.Println(opts.UserAgents.GetRandom())
	// Output: shopbot/1.0 (+https://example.com/bot)
}

func ExampleRetry() {
	// Five tries at most; a site that asks to wait for more than a minute fails
	// at once with ErrRetryLater.
	r := scrape.Retry{Attempts: 5, Base: 500 * time.Millisecond, Max: time.Minute, Bans: true}
	fmt.Println(r.Attempts, r.Max)
	// Output: 5 1m0s
}

func ExampleLimits() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress: scrape.Direct(),
		Allow:  allowLocal,
		Limits: scrape.Limits{MaxBodyBytes: 4, Timeout: 10 * time.Second},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Get(context.Background(), address+"/long")
	fmt.Println(errors.Is(err, scrape.ErrBodyTooLarge))
	// Output: true
}

func ExampleRobots() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct(), Allow: allowLocal, Robots: scrape.Robots{Agent: "shopbot"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Get(context.Background(), address+"/private/")
	fmt.Println(errors.Is(err, scrape.ErrRobots))
	// Output: true
}

func ExampleHooks() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress: scrape.Direct(),
		Allow:  allowLocal,
		Retry:  scrape.Retry{Attempts: 2, Bans: true},
		Banned: func(res *http.Response, body []byte) bool {
			return res.StatusCode == http.StatusForbidden && strings.Contains(string(body), "denied")
		},
		Hooks: scrape.Hooks{
			OnPage:   func(p scrape.Page) { fmt.Println("page", p.Status, p.Bytes) },
			OnBan:    func(a scrape.Attempt) { fmt.Println("ban of identity", a.Identity.Number) },
			OnRotate: func(_, next scrape.Identity) { fmt.Println("identity", next.Number) },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Get(context.Background(), address+"/banned")
	fmt.Println(errors.Is(err, scrape.ErrBanned))
	// Output:
	// identity 1
	// ban of identity 1
	// identity 2
	// ban of identity 2
	// true
}

func ExampleStats() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct(), Allow: allowLocal})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if res, err := c.Get(context.Background(), address+"/a"); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	var s scrape.Stats = c.Stats()
	var egress scrape.EgressStats = s.Egress
	fmt.Println(s.Pages, s.Bytes, egress.Name, "-", egress.Why)
	for _, n := range []scrape.ExitCount(s.Exits) {
		fmt.Println(n.Name, n.Count)
	}
	for _, n := range []scrape.Count(s.UserAgents) {
		fmt.Println(n.Count, "page by one agent")
	}
	for _, h := range []scrape.HostStats(s.Hosts) {
		fmt.Println(h.Pages, h.Requests) // with robots.txt
	}
	// Output:
	// 1 7 direct - chosen: requests leave from this machine's own address
	// direct 1
	// 1 page by one agent
	// 1 2
}

func ExampleError() {
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct()})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Get(context.Background(), "http://user:password@169.254.169.254/latest?token=secret")
	var se *scrape.Error
	if errors.As(err, &se) {
		fmt.Println(se.Temporary(), se.RetryAfter())
		fmt.Println(se)
	}
	// Output:
	// false 0s
	// scrape: get http://169.254.169.254/latest: forbidden address: 169.254.169.254 is not a public address; Options.Allow makes exceptions
}

// office is an egress of one's own: the address of another network interface.
type office struct{ local net.Addr }

func (o office) DialContext(ctx context.Context, _, network, addr string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: o.local}).DialContext(ctx, network, addr)
}

func (o office) Check(context.Context) error { return nil }

func ExampleEgress() {
	address, stop := shop()
	defer stop()
	var egress scrape.Egress = office{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: egress, Allow: allowLocal})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	res, err := c.Get(context.Background(), address)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	fmt.Println(res.StatusCode, c.Stats().Egress.Direct)
	// Output: 200 false
}

// viaDialer is the egress of anybody's dialer, here that of x/net/proxy.
type viaDialer struct{ addr string }

func (v viaDialer) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	dialer, err := proxy.SOCKS5("tcp", v.addr, &proxy.Auth{User: isolation, Password: "x"}, nil)
	if err != nil {
		return nil, err
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, network, addr)
}

func (v viaDialer) Check(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", v.addr)
	if err != nil {
		return fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, err)
	}
	return conn.Close()
}

func ExampleEgress_dialer() {
	// Nothing listens on port 1: there is no client, and no request leaves.
	_, err := scrape.New(context.Background(), &scrape.Options{Egress: viaDialer{"127.0.0.1:1"}})
	fmt.Println(errors.Is(err, scrape.ErrEgressUnavailable))
	// Output: true
}

func ExampleOptions() {
	_, err := scrape.New(context.Background(), &scrape.Options{
		Contact: "me", Retry: scrape.Retry{Base: time.Minute, Max: time.Second}, HostLimit: scrape.HostLimit{Burst: -1},
	})
	fmt.Println(err)
	// Output:
	// scrape: new: HostLimit.Burst: -1 is below 1: give at least 1, or leave it out for 1
	// scrape: new: Retry.Base: 1m0s is above Max, 1s: give at most that, or a larger Max
	// scrape: new: Contact: is no address: write a URL, as https://example.com/bot or mailto:bot@example.com
	// scrape: new: Egress: is missing: give a *tor.Tor, scrape.SOCKS(addr), scrape.Proxies(urls...), or scrape.Direct() to use your own address
}

func ExampleCache() {
	dir, err := os.MkdirTemp("", "pages-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	disk, err := diskcache.Open(context.Background(), dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var cache scrape.CheckCache = disk // or one of your own: a scrape.Cache, which need not tell whether it works
	c, err := scrape.New(context.Background(), &scrape.Options{
		Egress: scrape.Direct(), Cache: cache, Contact: "https://example.com/bot",
		// Sites that give everyone a cookie can be cached only without cookies.
		Cookies: func(scrape.Identity) http.CookieJar { return nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
	fmt.Println(c.Stats().CacheHits, "hits so far")
	// Output: 0 hits so far
}
