package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/postfix"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// binaryVariable names the built service to the process in the namespace,
// which could not download anything to build it.
const binaryVariable = "SVCBLOCKS_E2E_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(binaryVariable) != "" {
		goleak.VerifyTestMain(tornet.Wrap(m))
	}
	dir, err := os.MkdirTemp("", "svcblocks-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary := filepath.Join(dir, "service")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	os.Setenv(binaryVariable, binary)
	goleak.VerifyTestMain(tornet.Wrap(m), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const (
	pages = 400 // of the site
	every = 25  // requests of one identity
	limit = 5 * time.Minute
)

// TestService runs the built service through everything that it is for, with
// real parts: two runs over a site that only Tor's exits reach, log lines
// shipped in bulk, and the change that the second run finds told by mail and
// Slack.
func TestService(t *testing.T) {
	network := tornet.Shared(t)
	mail := postfix.Start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	shop := &shop{pages: pages, cents: map[int]int{}, reads: map[string]int{}}
	site := network.ServeSite(t, shop)
	socks := startTap(t, network.Client.SOCKSAddr)
	logs := startReceiver(t)
	slack := notifytest.StartSlack(nil)
	defer slack.Close()

	host, port, _ := strings.Cut(mail.Addr, ":")
	dir := t.TempDir()
	configure(t, dir, fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: data
shutdown_timeout: 20s
site: {name: Lamps, url: "%s", every: 24h, workers: 8}
tor: {socks: "%s", control: "%s", cookie_file: "%s"}
scrape:
  fallback: never
  rotation: {every: %d}
  host_limit: {per_second: -1}
log:
  file: {path: log/service.log, max_segment_bytes: 65536}
  console: {format: json}
ship: {url: "%s"}
mail: {host: "%s", port: %s, tls: mandatory, ca_file: "%s", from: watch@service.test, to: [operator@service.test]}
slack: {webhook: "%s"}
`, site.URL("shop.test", "/"), socks.addr, network.Client.ControlAddr, network.Client.CookieFile,
		every, logs.url, host, port, mail.CAFile, slack.WebhookURL()))
	service := start(ctx, t, dir)

	service.complete(ctx, t, 1, pages)
	shop.price(1250, 7, 133, 400)
	service.request(ctx, t, http.MethodPost, "/scrape")
	service.complete(ctx, t, 2, pages)

	t.Run("exits", func(t *testing.T) {
		sources := site.Sources()
		t.Logf("connections by exit: %v", sources)
		if len(sources) < 3 {
			t.Errorf("the site saw %d source addresses, want 3 at least", len(sources))
		}
		if strangers := site.Strangers(); len(strangers) > 0 {
			t.Errorf("the site was reached from %v, which are no exits", strangers)
		}
		shop.mu.Lock()
		defer shop.mu.Unlock()
		if len(shop.reads) != pages {
			t.Errorf("%d pages were read, want %d", len(shop.reads), pages)
		}
	})
	t.Run("identities", func(t *testing.T) {
		// A stream that Tor could not open counts, but carried no request.
		retries := 0
		for _, line := range service.lines() {
			if strings.Contains(line, `"trying again"`) {
				retries++
			}
		}
		socks.mu.Lock()
		defer socks.mu.Unlock()
		total, missing := 0, 0
		for i, user := range socks.users {
			count := len(socks.pages[user])
			total += count
			if count > every {
				t.Errorf("identity %d (%s) asked for %d pages, want %d at most", i+1, user, count, every)
			}
			if i < len(socks.users)-1 {
				missing += every - count
			}
		}
		t.Logf("%d identities asked for %d pages, %d retries", len(socks.users), total, retries)
		if missing > retries {
			t.Errorf("identities changed %d requests early, with %d retries", missing, retries)
		}
		if total < 2*pages || len(socks.users) < 2*pages/every {
			t.Errorf("%d identities asked for %d pages, want %d for %d", len(socks.users), total, 2*pages/every, 2*pages)
		}
		if len(socks.other) > 0 {
			t.Errorf("on the way to Tor: %q", socks.other)
		}
	})
	t.Run("names", func(t *testing.T) {
		if queries := network.LocalQueries(); len(queries) > 0 {
			t.Errorf("the local resolver was asked: %v", queries)
		}
		asked := 0
		for _, q := range network.Queries() {
			if q.Name == "shop.test" {
				asked++
			}
		}
		if asked < 3 {
			t.Errorf("the exits resolved shop.test %d times, want 3 at least", asked)
		}
	})
	t.Run("mail", func(t *testing.T) {
		got := mail.Wait(ctx, t, 1)[0]
		if got.Recipient != "operator@service.test" {
			t.Errorf("the mail went to %s", got.Recipient)
		}
		// Who speaks is the program and its host.
		subject := got.Header.Get("Subject")
		if !strings.HasPrefix(subject, "[INFO ") || !strings.HasSuffix(subject, "] Lamps: 3 prices changed") {
			t.Errorf("subject %q", subject)
		}
	})
	t.Run("slack", func(t *testing.T) {
		messages := waitSlack(ctx, t, slack)
		if len(messages) != 1 || !strings.Contains(messages[0].Text, "3 prices changed") {
			t.Errorf("messages %+v, want one of 3 prices changed", messages)
		}
	})
	// The end of the service is what ships the last lines.
	code := service.terminate(t)
	t.Run("logs", func(t *testing.T) {
		if code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		compare(t, service.lines(), logs)
	})
}

// compare holds the lines that arrived against those that the service also
// wrote to its console.
func compare(t *testing.T, written []string, logs *receiver) {
	t.Helper()
	logs.mu.Lock()
	defer logs.mu.Unlock()
	if len(logs.bad) > 0 {
		t.Errorf("%d lines cannot be told from others, as %s", len(logs.bad), logs.bad[0])
	}
	arrived := map[string]int{}
	for _, line := range logs.lines {
		arrived[line]++
	}
	fetched := 0
	for _, line := range written {
		if strings.Contains(line, `"page read"`) {
			fetched++
		}
		if arrived[line] == 0 {
			t.Errorf("did not arrive: %s", line)
			continue
		}
		arrived[line]--
	}
	for line, count := range arrived {
		if count != 0 {
			t.Errorf("arrived %d times too often: %s", count, line)
		}
	}
	if fetched != 2*pages {
		t.Errorf("%d pages in the log, want %d", fetched, 2*pages)
	}
	repeats := logs.count - len(logs.lines)
	if repeats < largeLines {
		t.Errorf("%d lines were repeated, though the receiver took %d at least without saying so", repeats, largeLines)
	}
	t.Logf("%d lines written, %d arrived, %d of them repeats", len(written), logs.count, repeats)
}

// waitSlack waits for the first message.
func waitSlack(ctx context.Context, t *testing.T, slack *notifytest.Slack) []notifytest.SlackMessage {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if messages := slack.Messages(); len(messages) > 0 {
			return messages
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("no Slack message: %v", context.Cause(ctx))
		}
	}
}
