package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/crawl"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/status"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/watch"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings struct {
	Mode  string        `koanf:"mode" doc:"what it runs as"`
	Token config.Secret `koanf:"token"`
	Empty config.Secret `koanf:"empty"`
}

const canary = "s3cr3t-canary"

// sources are real blocks that have done a little.
func sources(t *testing.T, egress scrape.Egress, egressErr error) *status.Sources {
	t.Helper()
	dir := t.TempDir()
	store, err := config.Load(t.Context(), settings{Mode: "dev", Token: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "service.log")}})
	if err != nil {
		t.Fatal(err)
	}
	past, err := history.Open(filepath.Join(dir, "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := scrape.New(t.Context(), &scrape.Options{Egress: egress, DisableStartCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "mail", Notifier: taker{}}}})
	if err != nil {
		t.Fatal(err)
	}
	monitor := health.New([]health.Check{
		{Name: "history", Required: true, Func: past.Check},
		{Name: "log", Required: true, Func: func(context.Context) error { return errors.New("disk full") }, Advice: func(error) string { return "free some space" }},
		{Name: "egress", Func: func(context.Context) error { return egressErr }},
	}, health.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	monitored := make(chan error, 1)
	go func() { monitored <- monitor.Run(ctx) }()
	<-monitor.Asked()
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{<-monitored, hub.Close(), client.Close(), past.Close(), logs.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return &status.Sources{
		Name: "Shop watch", Version: "v1", Profile: "dev", Address: "http://127.0.0.1:1/", Started: time.Now(),
		Explain: store.Explain, Settings: store.Stats, DataDir: dir, Health: monitor, History: past, Scrape: client, Used: new(status.Used), Logs: logs,
		Watcher: watch.New(watch.Options{Crawl: crawl.Options{Start: "https://shop.example/"}, Store: past, Fetcher: client, Notifier: hub}),
		Tor:     status.Tor{Required: true, RotateEvery: 25},
		LogPath: "var/log/service.log", LogSink: "logs.example",
		Hub: hub, Receivers: []status.Receiver{{Name: "mail", Kind: "email", Target: "ops@service.example"}},
		Logger: slog.New(slog.DiscardHandler),
	}
}

type taker struct{}

func (taker) Send(context.Context, string, string) error { return nil }

// fill makes two runs, in the second of which a price changes and an item
// leaves, and begins a third.
func fill(t *testing.T, s *history.Store) {
	t.Helper()
	page := history.Page{URL: &url.URL{Scheme: "https", Host: "shop.example"}, Bytes: 10}
	for run, prices := range [][]int64{{1000, 2000}, {900}, {800}} {
		r, err := s.Begin("schedule")
		if err != nil {
			t.Fatal(err)
		}
		page.Items = nil
		for i, cents := range prices {
			page.Items = append(page.Items, extract.Item{
				Name: fmt.Sprintf("item %d", i), URL: fmt.Sprintf("https://shop.example/%d", i), Category: "mugs",
				Price: extract.Price{Cents: cents, Currency: "EUR"},
			})
		}
		if _, _, err := s.Put(r.ID, page); err != nil {
			t.Fatal(err)
		}
		switch run {
		case 0:
			_, _, err = s.Finish(r.ID, history.Failed, errors.New("site down"))
		case 1:
			_, _, err = s.Finish(r.ID, history.OK, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	s := sources(t, scrape.Direct(), errors.New("no Tor"))
	fill(t, s.History)
	s.Logs.Logger("test").Info("hello")
	if err := s.Hub.Send(t.Context(), "subject", "text"); err != nil {
		t.Fatal(err)
	}
	s.Watcher.Trigger(t.Context(), "request")
	s.Used.OnPage(scrape.Page{Agent: "Firefox", Identity: scrape.Identity{Number: 1, Isolation: "sb-ABCDEFGH", Exit: "EXIT1"}})
	p := s.Page(t.Context())

	wantChecks := []web.Check{
		{Name: "history", State: web.OK},
		{Name: "log", State: web.Failed, Detail: "disk full", Advice: "free some space"},
		{Name: "egress", State: web.Degraded, Detail: "no Tor"},
	}
	if diff := cmp.Diff(wantChecks, p.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	wantRuns := []web.Run{
		{ID: "next", Trigger: "request", State: web.RunWaiting},
		{ID: "3", Trigger: "schedule", State: web.RunRunning, PagesDone: 1, Items: 1, Bytes: 10, Changes: 1},
		{ID: "2", Trigger: "schedule", State: web.RunDone, PagesDone: 1, PagesTotal: 1, Items: 1, Bytes: 10, Changes: 1, Gone: 1},
		{ID: "1", Trigger: "schedule", State: web.RunFailed, PagesDone: 1, PagesTotal: 1, Items: 2, Bytes: 10, Error: "site down"},
	}
	if diff := cmp.Diff(wantRuns, p.Runs, cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if len(p.Items) != 2 || p.Items[0].Gone || !p.Items[1].Gone || p.Items[0].Category != "mugs" || p.Items[0].Currency != "EUR" {
		t.Errorf("items = %+v", p.Items)
	}
	if h := p.Items[0].History; len(h) < 3 || h[0].Cents != 1000 || h[len(h)-1].Cents != 800 {
		t.Errorf("history = %+v", h)
	}
	if p.Log.Written != 1 || p.Log.Waiting != 1 || p.Log.Sink != "logs.example" {
		t.Errorf("log = %+v", p.Log)
	}
	if len(p.Receivers) != 1 || p.Receivers[0].Sent != 1 || p.Receivers[0].Kind != "email" || p.Receivers[0].Target != "ops@service.example" {
		t.Errorf("receivers = %+v", p.Receivers)
	}
	if len(p.Exits) != 1 || p.Exits[0].Address != "EXIT1" || p.Exits[0].Identity != "CDEFGH" || len(p.Agents) != 1 {
		t.Errorf("exits = %+v, agents = %+v", p.Exits, p.Agents)
	}
	wantConfig := []web.Setting{
		{Key: "mode", Value: "dev", Origin: "default", Doc: "what it runs as"},
		{Key: "token", Secret: true, Set: true, Origin: "default"},
		{Key: "empty", Origin: "default"},
	}
	if diff := cmp.Diff(wantConfig, p.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprintf("%+v", p), canary) {
		t.Error("the secret shows")
	}
}

func TestPageTor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		egress scrape.Egress
		direct string
		use    bool
		err    error
		want   web.State
	}{
		{"on purpose", scrape.Direct(), "tor.disabled is set", false, nil, web.Off},
		{"not asked yet", scrape.SOCKS("127.0.0.1:1"), "", false, nil, web.Starting},
		{"missing", scrape.SOCKS("127.0.0.1:1"), "", true, scrape.ErrEgressUnavailable, web.Failed},
		{"not ready", scrape.SOCKS("127.0.0.1:1"), "", true, fmt.Errorf("tor: %w: at 50 %%", tor.ErrNotReady), web.Starting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := sources(t, tt.egress, tt.err)
			s.Tor.Direct = tt.direct
			if tt.use {
				if err := s.Scrape.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
					t.Fatal(err)
				}
			}
			got := s.Page(t.Context()).Tor
			if got.State != tt.want || got.Reason == "" || got.RotateEvery != 25 || got.Required != (tt.direct == "") {
				t.Errorf("tor = %+v, want %s", got, tt.want)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := sources(t, scrape.Direct(), errors.New("no Tor"))
	fill(t, s.History)
	var out bytes.Buffer
	s.WriteMetrics(&out)
	sample := regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{[^{}]*\})? [-+0-9.eE]+$`)
	head := regexp.MustCompile(`^# (HELP|TYPE) ([a-z_][a-z0-9_]*) .+$`)
	names := map[string]bool{}
	last := ""
	for text := range strings.Lines(out.String()) {
		text = strings.TrimSuffix(text, "\n")
		name := ""
		if m := sample.FindStringSubmatch(text); m != nil {
			name = m[1]
		} else if m := head.FindStringSubmatch(text); m != nil {
			name = m[2]
		} else {
			t.Errorf("no line of the format: %q", text)
			continue
		}
		if name != last && names[name] {
			t.Errorf("the lines of %s are not together", name)
		}
		names[name], last = true, name
	}
	for _, want := range []string{
		`service_part_up{part="history"} 1`, `service_part_up{part="log"} 0`, `scrape_direct 1`, `notify_sent_total{receiver="mail"} 0`,
		"run_last_ok 1", "run_last_items 1", "logging_written_total 0", "process_resident_memory_bytes", "config_loads_total 1",
		"config_last_load_successful 1", `notify_paused{receiver="mail"} 0`, "# TYPE run_last_ok gauge", "# TYPE scrape_pages_total counter",
		"run_active 1", `service_build_info{version="`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("metrics lack %q:\n%s", want, out.String())
		}
	}
}

// What programs are told is JSON, and agrees with the page.
func TestReport(t *testing.T) {
	t.Parallel()
	s := sources(t, scrape.Direct(), errors.New("no Tor"))
	fill(t, s.History)
	text, err := json.Marshal(s.Report(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var got status.Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []status.Part{
		{Name: "history", State: web.OK},
		{Name: "log", State: web.Failed, Error: "disk full", Advice: "free some space"},
		{Name: "egress", State: web.Degraded, Error: "no Tor"},
	}
	if diff := cmp.Diff(want, got.Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if len(got.Notify) != 1 || got.Notify[0].Kind != "email" || got.Run != nil || got.Asked || got.Started.IsZero() {
		t.Errorf("report = %s", text)
	}
	if strings.Contains(string(text), canary) {
		t.Error("the secret shows")
	}
}

func TestUsedIsBounded(t *testing.T) {
	t.Parallel()
	var u status.Used
	for i := range 1000 {
		u.OnPage(scrape.Page{Agent: "Firefox", Identity: scrape.Identity{Number: i, Isolation: fmt.Sprintf("sb-%06d", i), Exit: fmt.Sprintf("E%04d", i)}})
	}
	exits := u.Exits(scrape.Identity{Number: 999, Isolation: "sb-000999", Exit: "E0999"})
	if len(exits) != 200 {
		t.Errorf("%d exits are kept, want 200", len(exits))
	}
	if exits[0].Address != "E0999" || !exits[0].Current || exits[1].Current {
		t.Errorf("the latest is %+v", exits[0])
	}
	if agents := u.Agents(); len(agents) != 1 || agents[0].Requests != 1000 {
		t.Errorf("agents = %+v", agents)
	}
	u.OnPage(scrape.Page{Agent: "Chrome", Identity: scrape.Identity{Direct: true}})
	if exits := u.Exits(scrape.Identity{}); exits[0].Address != "direct" || exits[0].Current {
		t.Errorf("the latest is %+v", exits[0])
	}
}
