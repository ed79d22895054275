package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"
	"go.yaml.in/yaml/v3"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

const runbook = "../../docs/runbook.md"

// rules is a file of alert rules, as Prometheus reads it.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string        `yaml:"alert"`
	Expr        string        `yaml:"expr"`
	For         time.Duration `yaml:"for"`
	Labels      map[string]string
	Annotations struct {
		Summary     string `yaml:"summary"`
		Description string `yaml:"description"`
		RunbookURL  string `yaml:"runbook_url"`
	} `yaml:"annotations"`
}

// metricNames returns the metrics that the service writes, once it has run.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	w, idp := newWorld(t), authtest.Start(t)
	w.more = "discord: {webhook: 'http://127.0.0.1:1/'}\n"
	p := w.guarded(t, idp)
	idp.Register(p.url)
	p.get("/healthz") // a request is counted once it is answered
	var text string
	testenv.Eventually(t, func() error {
		if _, text = p.get("/metrics"); !strings.Contains(text, "\nrun_last_ok ") {
			return fmt.Errorf("no run has ended: %s", text)
		}
		return nil
	})
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			names[regexp.MustCompile(`^\w+`).FindString(line)] = true
		}
	}
	return names
}

// queried returns the metrics that a query asks for.
func queried(t *testing.T, query string) (out []string) {
	t.Helper()
	// The variables of a dashboard stand for a window, or for anything.
	query = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(query)
	e, err := metricsql.Parse(query)
	if err != nil {
		t.Errorf("%s: %v", query, err)
		return nil
	}
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		if m, ok := e.(*metricsql.MetricExpr); ok {
			for _, filters := range m.LabelFilterss {
				for _, f := range filters {
					if f.Label == "__name__" {
						out = append(out, f.Value)
					}
				}
			}
		}
	})
	return out
}

// Alerts, dashboard and runbook speak of metrics that there are, and each
// alert leads to a section of the runbook that names it.
func TestObserve(t *testing.T) {
	t.Parallel()
	names := metricNames(t)
	names["up"] = true // Prometheus' own
	use := func(where, query string) {
		t.Helper()
		metrics := queried(t, query)
		if len(metrics) == 0 {
			t.Errorf("%s asks for no metric: %s", where, query)
		}
		for _, m := range metrics {
			if !names[m] {
				t.Errorf("%s asks for %s, which is not in /metrics", where, m)
			}
		}
	}

	text, err := os.ReadFile("observe/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var alerts rules
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&alerts); err != nil {
		t.Fatal(err)
	}
	sections := sections(t)
	count := 0
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			count++
			use("alert "+r.Alert, r.Expr)
			_, anchor, _ := strings.Cut(r.Annotations.RunbookURL, "/docs/runbook.md#")
			if body, ok := sections[anchor]; !ok || !strings.Contains(body, "`"+r.Alert+"`") {
				t.Errorf("alert %s leads to %q, which has no section that names it; there are %q", r.Alert, anchor, slices.Sorted(maps.Keys(sections)))
			}
			if r.Annotations.Summary == "" || r.Annotations.Description == "" || r.Labels["severity"] == "" {
				t.Errorf("alert %s lacks a summary, a description or a severity", r.Alert)
			}
		}
	}
	if count < 15 {
		t.Errorf("%d alerts were read", count)
	}

	if text, err = os.ReadFile("observe/dashboard.json"); err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, shown := map[int]bool{}, 0
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id, title or place", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			shown++
			use("panel "+p.Title, target.Expr)
		}
	}
	if shown < 30 {
		t.Errorf("%d queries were read", shown)
	}
	// What the service counts is shown somewhere.
	for name := range names {
		block, _, _ := strings.Cut(name, "_")
		known := slices.Contains([]string{"scrape", "logging", "notify", "config", "run", "auth"}, block)
		if known && !bytes.Contains(text, []byte(name)) && !slices.Contains(notShown, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}

	// So does the runbook.
	book := strings.Join(slices.Collect(maps.Values(sections)), "\n")
	prefix := regexp.MustCompile("`((?:scrape|logging|notify|config|run|auth|service)_[a-z_]+)")
	for _, m := range prefix.FindAllStringSubmatch(book, -1) {
		if !names[m[1]] && !strings.Contains(book, "site."+m[1]) {
			t.Errorf("the runbook speaks of %s, which is not in /metrics", m[1])
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(book, -1) {
		if _, ok := sections[link[1]]; !ok {
			t.Errorf("the runbook links to #%s, which is not there", link[1])
		}
	}
}

// notShown are metrics that alerts or people ask for, not the dashboard.
var notShown = []string{
	"config_loads_total", "config_last_load_success_timestamp_seconds", "config_references", "logging_written_bytes_total",
	"logging_shipped_bytes_total", "logging_shipped_batches_total", "logging_ship_last_success_timestamp_seconds", "logging_waiting_events",
	"notify_abandoned_total", "notify_last_success_timestamp_seconds", "notify_outbox_bytes", "run_active",
}

// sections are the runbook's, by the anchors that GitHub gives them.
func sections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		out[strings.ReplaceAll(strings.ToLower(title), " ", "-")] = body
	}
	return out
}
