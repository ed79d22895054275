package metrics_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/metrics"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nobody struct{}

func (nobody) Send(context.Context, string, string) error { return nil }

// blocks are the four at work: one record, one message, one page.
func blocks(t *testing.T) metrics.Blocks {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	t.Cleanup(site.Close)

	store, err := config.Load(t.Context(), struct{ Name string }{"x"})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: nobody{}}, {Name: "dev", Notifier: nobody{}}}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := scrape.New(t.Context(), &scrape.Options{Egress: scrape.Direct(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range []func() error{client.Close, hub.Close, logs.Close, store.Close} {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})

	logs.Logger("test").Info("one")
	if err := hub.Send(t.Context(), "one", "message"); err != nil {
		t.Fatal(err)
	}
	res, err := client.Get(t.Context(), site.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return metrics.Blocks{Settings: store.Stats, Logs: logs.Stats, Hub: hub.Stats, Client: client.Stats}
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	b := blocks(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b)
	want := `
# HELP log_records_total Records written.
# TYPE log_records_total counter
log_records_total 1
# HELP notify_sent_total Messages that the receiver took.
# TYPE notify_sent_total counter
notify_sent_total{receiver="dev"} 1
notify_sent_total{receiver="ops"} 1
# HELP scrape_direct 1 while requests leave from this machine's own address.
# TYPE scrape_direct gauge
scrape_direct 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "log_records_total", "notify_sent_total", "scrape_direct"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestOpenTelemetry(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	if err := blocks(t).Observe(provider.Meter("svcblocks")); err != nil {
		t.Fatal(err)
	}
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}

	sums := map[string]float64{}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				for _, p := range data.DataPoints {
					sums[m.Name] += p.Value
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					sums[m.Name] += p.Value
				}
			}
		}
	}
	for name, want := range map[string]float64{"config_generation": 1, "log_records_total": 1, "notify_sent_total": 2, "scrape_direct": 1} {
		if sums[name] != want {
			t.Errorf("%s = %v, want %v", name, sums[name], want)
		}
	}
}
