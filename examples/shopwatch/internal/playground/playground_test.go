//go:build !nodemo

package playground_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/playground"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlayground(t *testing.T) {
	t.Parallel()
	p, err := playground.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	a, err := p.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(a.MailHost, strconv.Itoa(a.MailPort)))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	post := func(url, contentType, body string) {
		t.Helper()
		res, err := client.Post(url, contentType, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s answered %s", contentType, res.Status)
		}
	}
	post(a.Logs, "application/x-ndjson", `{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"hello","event_id":"1"}`+"\n")
	post(a.Slack.Reveal(), "application/json", `{"text":"price changed"}`)
	seen := p.Seen()
	if len(seen.Caught) != 1 || seen.Caught[0].Subject != "price changed" {
		t.Errorf("caught = %+v", seen.Caught)
	}
	if r := seen.Received; r.Events != 1 || len(r.Last) != 1 || r.Last[0].Message != "hello" {
		t.Errorf("received = %+v", r)
	}
	if !strings.HasPrefix(a.Site, "http://127.0.0.1:") {
		t.Errorf("site = %s", a.Site)
	}
}
