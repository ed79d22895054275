// Package metrics teaches how the counters of the four blocks become metrics:
// every block has a method Stats, and what is listed here is read from it when
// somebody asks, for Prometheus or for OpenTelemetry. Copy what is of use.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

// Blocks are the Stats methods of the blocks that a service has; nil for one
// that it has not. They are safe for concurrent use, as the methods are.
type Blocks struct {
	Settings func() config.Stats
	Logs     func() logging.Stats
	Hub      func() notify.Stats
	Client   func() scrape.Stats
}

// figure is one value. A counter only grows while the process lives.
type figure struct {
	name, help string
	counter    bool
	value      float64
	receiver   string // of a message; empty for what has none
}

// figures reads all counters. Which ones are worth an alert: whatever is lost
// or dropped (any growth), and what has waited for longer than usual.
func (b Blocks) figures() (list []figure) {
	counter := func(name, help string, v float64) { list = append(list, figure{name, help, true, v, ""}) }
	gauge := func(name, help string, v float64) { list = append(list, figure{name, help, false, v, ""}) }

	if b.Settings != nil {
		s := b.Settings()
		gauge("config_generation", "Number of the settings that are in force.", float64(s.Generation))
		gauge("config_loaded_timestamp_seconds", "When they were read.", seconds(s.LoadedAt))
		counter("config_failures_total", "Reloads that were refused; the settings before stay in force.", float64(s.Failures))
	}

	if b.Logs != nil {
		s := b.Logs()
		counter("log_records_total", "Records written.", float64(s.Written))
		counter("log_dropped_total", "Records lost: the disk was full, or the quota reached.", float64(s.Dropped))
		counter("log_shipped_total", "Events that the receiver took.", float64(s.Ship.Events))
		counter("log_quarantined_total", "Events that the receiver refused for good.", float64(s.Ship.Quarantined))
		gauge("log_waiting", "Events that are not shipped yet.", float64(s.Ship.WaitingEvents))
		gauge("log_waiting_bytes", "Their size on the disk.", float64(s.Ship.WaitingBytes))
	}

	if b.Hub != nil {
		s := b.Hub()
		gauge("notify_stored", "Messages in the outbox.", float64(s.Stored))
		counter("notify_dead_total", "Messages that were given up.", float64(s.Dead))
		for _, r := range s.Receivers {
			list = append(list,
				figure{"notify_sent_total", "Messages that the receiver took.", true, float64(r.Sent), r.Name},
				figure{"notify_failed_total", "Messages that did not reach it.", true, float64(r.Failed), r.Name},
				figure{"notify_waiting", "Messages that wait for it.", false, float64(r.Waiting), r.Name},
			)
		}
	}

	if b.Client != nil {
		s := b.Client()
		counter("scrape_requests_total", "Requests sent, retries and robots.txt included.", float64(s.Requests))
		counter("scrape_pages_total", "Answers delivered.", float64(s.Pages))
		counter("scrape_failures_total", "Requests that ended in an error.", float64(s.Failures))
		counter("scrape_rotations_total", "Changes of identity.", float64(s.Rotations))
		counter("scrape_wire_bytes_total", "Bytes of bodies as they were sent.", float64(s.WireBytes))
		counter("scrape_waited_seconds_total", "Time spent waiting out of politeness.", s.Waited.Seconds())
		gauge("scrape_direct", "1 while requests leave from this machine's own address.", truth(s.Egress.Direct))
		gauge("scrape_egress_up", "1 while the way out works.", truth(s.Egress.Available))
	}

	return list
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements [prometheus.Collector]: what there is depends on the
// receivers, so it is told when it is collected.
func (b Blocks) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector]. Register b with a
// prometheus.Registry.
func (b Blocks) Collect(out chan<- prometheus.Metric) {
	for _, f := range b.figures() {
		var labels, values []string
		if f.receiver != "" {
			labels, values = []string{"receiver"}, []string{f.receiver}
		}
		kind := prometheus.GaugeValue
		if f.counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(f.name, f.help, labels, nil), kind, f.value, values...)
	}
}

// Observe registers all figures with meter, which reads them at each of its
// exports.
func (b Blocks) Observe(meter metric.Meter) error {
	instruments := map[string]metric.Float64Observable{}
	var all []metric.Observable
	for _, f := range b.figures() {
		if instruments[f.name] != nil {
			continue // the same for another receiver
		}

		var one metric.Float64Observable
		var err error
		if f.counter {
			one, err = meter.Float64ObservableCounter(f.name, metric.WithDescription(f.help))
		} else {
			one, err = meter.Float64ObservableGauge(f.name, metric.WithDescription(f.help))
		}
		if err != nil {
			return err
		}
		instruments[f.name] = one
		all = append(all, one)
	}

	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, f := range b.figures() {
			if f.receiver != "" {
				o.ObserveFloat64(instruments[f.name], f.value, metric.WithAttributes(attribute.String("receiver", f.receiver)))
			} else {
				o.ObserveFloat64(instruments[f.name], f.value)
			}
		}
		return nil
	}, all...)
	return err
}
