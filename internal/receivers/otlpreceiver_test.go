package receivers_test

import (
	"context"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"

	"github.com/svcblocks/svcblocks/logging/sink/otlp"
)

// collector is OpenTelemetry's own receiver, which counts what it reads.
type collector struct {
	mu      sync.Mutex
	records int
	uids    map[string]int
	odd     []string
}

func (c *collector) consume(_ context.Context, logs plog.Logs) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rl := range logs.ResourceLogs().All() {
		service, _ := rl.Resource().Attributes().Get("service.name")
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				c.records++
				uid, _ := r.Attributes().Get("log.record.uid")
				c.uids[uid.Str()]++
				n, ok := r.Attributes().Get("n")
				items, _ := r.Attributes().Get("items")
				ids := 0
				for key, id := range r.Attributes().All() {
					if key == "request_id" && id.Str() == "last" {
						ids++
					}
				}
				if !ok || n.Int() < 0 || n.Int() >= events || service.Str() != "shop" || r.Body().Str() != `order placed: ü "quoted" <tag>` ||
					r.SeverityNumber() != plog.SeverityNumberInfo || !r.Timestamp().AsTime().Equal(timeOf(int(n.Int()))) || ids != 1 || items.AsString() != `["a","b"]` {
					c.odd = append(c.odd, r.Body().AsString()+" "+n.AsString()+" "+items.AsString())
				}
			}
		}
	}
	return nil
}

func TestOTLPReceiver(t *testing.T) {
	for _, o := range []otlp.Options{{Encoding: "protobuf"}, {Encoding: "json"}, {Encoding: "json", DisableGzip: true}} {
		t.Run(o.Encoding, func(t *testing.T) {
			addr := freeAddress(t)
			factory := otlpreceiver.NewFactory()
			cfg := factory.CreateDefaultConfig()
			if err := confmap.NewFromStringMap(map[string]any{
				"protocols": map[string]any{"http": map[string]any{"endpoint": addr}},
			}).Unmarshal(cfg); err != nil {
				t.Fatal(err)
			}
			c := &collector{uids: map[string]int{}}
			next, err := consumer.NewLogs(c.consume)
			if err != nil {
				t.Fatal(err)
			}
			r, err := factory.CreateLogs(t.Context(), receiver.Settings{
				ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings(),
			}, cfg, next)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := r.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			o.URL, o.Resource = "http://"+addr, map[string]string{"service.name": "shop"}
			sink, err := otlp.New(&o)
			if err != nil {
				t.Fatal(err)
			}
			ship(t, sink)
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.records != events || len(c.uids) != events || len(c.odd) > 0 {
				t.Errorf("%d records with %d IDs; %d are not as logged, first %q", c.records, len(c.uids), len(c.odd), append(c.odd, "")[0])
			}
			t.Logf("%d of %d counted at the receiver", c.records, events)
		})
	}
}
