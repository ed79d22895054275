package scrape_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// source answers with the address that the request came from.
func source(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprint(w, host)
}

// dialTor connects to a client of the private network.
func dialTor(t testing.TB, client *tornet.Client) *tor.Tor {
	t.Helper()
	egress, err := tor.Dial(t.Context(), &tor.Options{SOCKS: client.SOCKSAddr, Control: client.ControlAddr, Password: secret.New(client.Password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = egress.Close() })
	return egress
}

// secureSite serves handler over TLS and HTTP/2 where only exits reach it.
func secureSite(t testing.TB, network *tornet.Network, handler http.HandlerFunc) (port int, config *tls.Config) {
	t.Helper()
	site := httptest.NewUnstartedServer(handler)
	_ = site.Listener.Close()
	listener, err := net.Listen("tcp", net.JoinHostPort(network.SiteAddr.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	site.Listener = listener
	site.EnableHTTP2 = true
	site.StartTLS()
	t.Cleanup(site.Close)
	return listener.Addr().(*net.TCPAddr).Port, site.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestTorIdentities(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	plain := network.ServeSite(t, http.HandlerFunc(source))
	securePort, config := secureSite(t, network, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, "not HTTP/2", http.StatusHTTPVersionNotSupported)
			return
		}
		source(w, r)
	})
	for _, tc := range []struct {
		name, url string
		distinct  bool
	}{
		{"http", plain.URL("shop.test", "/"), false},
		{"http distinct", plain.URL("shop.test", "/"), true},
		{"http2 distinct", "https://example.com:" + strconv.Itoa(securePort) + "/", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := options(dialTor(t, network.Client))
			opts.Allow = nil
			opts.TLS = config
			opts.Rotation = scrape.Rotation{Every: 25, Distinct: tc.distinct}
			identities := 0
			opts.Hooks.OnRotate = func(scrape.Identity, scrape.Identity) { identities++ }
			c := newClient(t, opts)
			var sources []string
			for i := range 300 {
				status, body, err := get(t, c, tc.url)
				if err != nil || status != http.StatusOK {
					t.Fatalf("request %d: %d %q %v", i, status, body, err)
				}
				sources = append(sources, body)
			}
			if identities != 12 {
				t.Errorf("%d identities, want 12", identities)
			}
			changes := 0
			for i, from := range sources {
				if i == 0 || i%25 != 0 {
					if i > 0 && from != sources[i-1] {
						t.Errorf("request %d came from %s, %d before it from %s: one identity, two exits", i, from, i%25, sources[i-1])
					}
					continue
				}
				if from != sources[i-1] {
					changes++
				}
			}
			// Tor draws by chance: an exit follows itself only when the eight
			// circuits of a change have all come out at it.
			s := c.Stats()
			if tc.distinct && changes != 11 && s.Redraws < 8 {
				t.Errorf("%d of 11 changes led to another exit, and only %d circuits were drawn again", changes, s.Redraws)
			}
			if s.Redraws > 11*7 {
				t.Errorf("%d circuits were drawn in vain in 11 changes, want at most 7 each", s.Redraws)
			}
			t.Logf("12 identities, %d of 11 changes to another exit; %+v", changes, c.Stats().Exits)
		})
	}
	if s := plain.Strangers(); len(s) > 0 {
		t.Errorf("connections that bypassed Tor: %v", s)
	}
}

func TestTorRotate(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(source))
	opts := options(dialTor(t, network.Client))
	c := newClient(t, opts)
	var times []time.Duration
	for range 40 {
		began := time.Now()
		if _, err := c.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(began))
		if len(times)%10 == 0 { // in between it is used as well
			if _, _, err := get(t, c, site.URL("rotate.test", "/")); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(times)
	t.Logf("Rotate by isolation: p50 %v, max %v", times[20], times[39])
	if times[39] > time.Second {
		t.Errorf("slowest of 40 rotations took %v, want at most 1s", times[39])
	}
}

func TestTorRotateByNewNym(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	var mu sync.Mutex
	var peers []string
	site := network.ServeSite(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		peers = append(peers, r.RemoteAddr)
		mu.Unlock()
	}))
	client := network.NewClient(t, nil)
	opts := options(dialTor(t, client))
	opts.Rotation = scrape.Rotation{By: scrape.NewNym, Every: -1}
	c := newClient(t, opts)
	for range 2 {
		if _, _, err := get(t, c, site.URL("newnym.test", "/")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		began := time.Now()
		if _, err := c.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("rotation %d by NEWNYM: %v", i, time.Since(began))
		if took := time.Since(began); i > 0 && took < 5*time.Second {
			t.Errorf("the second NEWNYM returned after %v: Tor delays it to 10s after the first", took)
		}
		if _, _, err := get(t, c, site.URL("newnym.test", "/")); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(peers) != 4 || peers[0] != peers[1] || peers[1] == peers[2] || peers[2] == peers[3] {
		t.Errorf("connections %v, want one for the first two requests and a new one after each rotation", peers)
	}
}

// TestTorKilled kills Tor in the middle of 400 requests.
func TestTorKilled(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(source))
	client := network.NewClient(t, nil)
	opts := options(dialTor(t, client))
	c := newClient(t, opts)
	var served, refused int
	for i := range 400 {
		if i == 200 {
			client.Kill()
		}
		began := time.Now()
		_, _, err := get(t, c, site.URL("killed.test", "/"))
		switch {
		case err == nil && i < 200:
			served++
		case errors.Is(err, scrape.ErrEgressUnavailable) && i >= 200:
			refused++
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("request %d failed after %v, want at most 5s", i, took)
			}
		default:
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for {
		_, _, err := get(t, c, site.URL("killed.test", "/"))
		if err == nil {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("30s after the restart: %v", err)
		}
	}
	t.Logf("%d served, %d refused, served again %v after the restart", served, refused, time.Since(began))
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("Check after the restart: %v", err)
	}
	if s := site.Strangers(); len(s) > 0 {
		t.Errorf("connections that bypassed Tor: %v", s)
	}
	for _, q := range network.LocalQueries() { // other tests may have asked for other names
		if strings.HasSuffix(q.Name, ".test") {
			t.Errorf("a question to the local resolver: %v", q)
		}
	}
	names := map[string]bool{}
	for _, q := range network.Queries() {
		names[q.Name] = true
	}
	if !names["killed.test"] {
		t.Errorf("the exits' resolvers were not asked for killed.test")
	}
}

func TestTorDownFallsBackOnlyIfAllowed(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	_ = network
	site := newSite(t, source)
	client := network.NewClient(t, nil)
	log := &logBook{}
	opts := options(dialTor(t, client))
	opts.Fallback = scrape.DirectWithWarning
	opts.Logger = log.logger()
	c := newClient(t, opts)
	client.Kill()
	for range 10 {
		if _, body, err := get(t, c, site.URL); err != nil || body != "127.0.0.1" {
			t.Fatalf("Get = %q, %v", body, err)
		}
	}
	if n := log.count("request leaves from this machine's own address"); n != 10 {
		t.Errorf("%d warnings for 10 requests", n)
	}
}

// TestTorBan has a site ban one exit.
func TestTorBan(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	const sentence = "access denied for your address"
	banned := network.Exits[0].Addr.String()
	site := network.ServeSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := net.SplitHostPort(r.RemoteAddr); host == banned {
			fmt.Fprint(w, sentence) // with status 200, as many do
			return
		}
		source(w, r)
	}))
	for _, retry := range []bool{false, true} {
		t.Run(fmt.Sprintf("retry %v", retry), func(t *testing.T) {
			opts := options(dialTor(t, network.Client))
			opts.Rotation = scrape.Rotation{Every: 1}
			opts.Retry = scrape.Retry{Attempts: 12, Bans: retry}
			opts.Banned = func(_ *http.Response, body []byte) bool { return string(body) == sentence }
			c := newClient(t, opts)
			errs := 0
			// Tor may pass an exit by for a while: go on until it was met.
			for n := 0; n < testenv.Reps(200) || c.Stats().Bans == 0 && n < 1000; n++ {
				_, body, err := get(t, c, site.URL("ban.test", "/"))
				switch {
				case errors.Is(err, scrape.ErrBanned) && !retry:
					errs++
				case err != nil:
					t.Fatal(err)
				case body == sentence || body == banned:
					t.Fatalf("the ban page was returned: %q", body)
				}
			}
			s := c.Stats()
			if s.Bans == 0 {
				t.Error("no ban was met: the test says nothing")
			}
			t.Logf("%d bans, %d errors, %d retries", s.Bans, errs, s.Retries)
		})
	}
}

// TestTorEach fetches the pages of a site with many workers.
func TestTorEach(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(source))
	opts := options(dialTor(t, network.Client))
	c := newClient(t, opts)
	urls := func(yield func(string) bool) {
		for i := range 400 {
			if !yield(site.URL("each.test", "/"+strconv.Itoa(i))) {
				return
			}
		}
	}
	err := c.Each(t.Context(), urls, 8, func(_ string, res *http.Response, err error) error {
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Pages != 400 || s.Rotations != 15 {
		t.Errorf("%d pages and %d rotations, want 400 and 15", s.Pages, s.Rotations)
	}
	if n := len(site.Sources()); n < 3 {
		t.Errorf("%d source addresses, want at least 3", n)
	}
}
