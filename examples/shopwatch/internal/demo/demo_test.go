package demo_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
)

// client keeps no connection, so that a test leaves no goroutine behind.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func TestStartAndClose(t *testing.T) {
	t.Parallel()
	w, err := demo.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{w.Shop.Addr(), w.Logs.Addr(), w.Mail.Addr(), w.Slack.Addr()} {
		if !strings.HasPrefix(addr, "127.0.0.1:") {
			t.Errorf("listens on %s, want a port of 127.0.0.1", addr)
		}
	}
	res, err := client(t).Get(w.Shop.URL())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	// A page whose name was turned to this machine reads nothing.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Shop.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebind.attacker.example"
	if res, err = client(t).Do(req); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by a stranger's name: %s", res.Status)
	}

	for range 2 {
		if err := w.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if res, err := client(t).Get(w.Shop.URL()); err == nil {
		res.Body.Close()
		t.Error("the shop answers after Close")
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	held, err := demo.StartShop(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	for name, tc := range map[string]struct {
		opts demo.Options
		want string
	}{
		"port in use":      {demo.Options{Logs: demo.LogOptions{Addr: held.Addr()}}, "start log receiver: listen tcp " + held.Addr()},
		"no loopback":      {demo.Options{Shop: demo.ShopOptions{Addr: "0.0.0.0:0"}}, `start shop: address "0.0.0.0:0": not a loopback address`},
		"no address":       {demo.Options{Mail: demo.MailOptions{Addr: "loopback"}}, `start mail catcher: address "loopback"`},
		"negative step":    {demo.Options{Shop: demo.ShopOptions{Step: -1}}, "Step -1ns"},
		"negative keep":    {demo.Options{Slack: demo.SlackOptions{Keep: -1}}, "start slack receiver: Keep"},
		"negative limit":   {demo.Options{Logs: demo.LogOptions{MaxBytes: -1}}, "start log receiver: Keep"},
		"negative maximum": {demo.Options{Mail: demo.MailOptions{MaxBytes: -1}}, "start mail catcher: Keep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, err := demo.Start(t.Context(), &tc.opts)
			if err == nil {
				w.Close()
				t.Fatalf("Start succeeded, want an error with %q", tc.want)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Start: %v\nwant it to hold %q", err, tc.want)
			}
		})
	}
}
