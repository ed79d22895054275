package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

func TestOpenEgress(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		name   string
		demo   bool
		change func(*settings.Tor)
		direct string
		late   bool
	}{
		{"demo", true, nil, "the demo shop is on this machine", false},
		{"disabled", false, func(c *settings.Tor) { c.Disabled = true }, "tor.disabled is set", false},
		{"address", false, nil, "", false},
		{"container", false, func(c *settings.Tor) { c.Container = "tor" }, "", false},
		{"start", false, func(c *settings.Tor) { c.Start = true }, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := settings.Defaults()
			if tt.change != nil {
				tt.change(&cfg.Tor)
			}
			e, err := openEgress(t.Context(), cfg, tt.demo, logger)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(e.direct, tt.direct) || (tt.direct == "") != (e.direct == "") || (e.run != nil) != tt.late {
				t.Errorf("direct %q, runs in the background: %v", e.direct, e.run != nil)
			}
			if err := e.close(); err != nil {
				t.Error(err)
			}
		})
	}
	cfg := settings.Defaults()
	cfg.Tor.SOCKS = "nonsense"
	if _, err := openEgress(t.Context(), cfg, false, logger); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("error = %v", err)
	}
}

// A Tor that starts at the third try: until then requests fail as they do
// without Tor.
func TestLateTor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		l := &lateTor{log: slog.New(slog.DiscardHandler), err: errors.New("not looked for"), open: func(context.Context) (*tor.Tor, error) {
			if looks.Add(1) < 3 {
				return nil, errors.New("no such program")
			}
			return tor.Dial(t.Context(), &tor.Options{SOCKS: "127.0.0.1:1", DisableStartCheck: true})
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.run(ctx) }()
		synctest.Wait()
		_, err := l.DialContext(ctx, "a", "tcp", "shop.example:80")
		for name, err := range map[string]error{
			"DialContext": err, "Check": l.Check(ctx), "Probe": l.Probe(ctx), "Warm": l.Warm(ctx, "a", "b"), "NewIdentity": l.NewIdentity(ctx),
		} {
			if !errors.Is(err, scrape.ErrEgressUnavailable) || !strings.Contains(err.Error(), "no such program") {
				t.Errorf("%s = %v, want ErrEgressUnavailable with the reason", name, err)
			}
		}
		if l.String() != "Tor" {
			t.Errorf("String = %q", l.String())
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if l.String() != "Tor at 127.0.0.1:1" {
			t.Errorf("String = %q", l.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run = %v", err)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTorAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{tor.ErrNotReady, "wait"},
		{tor.ErrAuth, "tor.password"},
		{scrape.ErrEgressUnavailable, "start Tor"},
		{errors.New("else"), "tor.socks"},
	} {
		if got := torAdvice(tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("advice for %v = %q, want %q", tt.err, got, tt.want)
		}
	}
}
