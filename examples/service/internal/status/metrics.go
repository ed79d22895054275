package status

import (
	"io"
	"strconv"

	"github.com/VictoriaMetrics/metrics"

	"github.com/svcblocks/svcblocks/examples/service/internal/history"
	"github.com/svcblocks/svcblocks/notify"
)

// WriteMetrics writes the counters of all blocks in Prometheus text format.
func (s *Sources) WriteMetrics(w io.Writer) {
	counter := func(name string, v int64) { metrics.WriteCounterUint64(w, name, uint64(max(0, v))) }
	gauge := func(name string, v int64) { metrics.WriteGaugeUint64(w, name, uint64(max(0, v))) }

	for _, r := range s.Health.Results() {
		up := int64(0)
		if r.Err == nil && !r.At.IsZero() {
			up = 1
		}
		gauge(`service_part_up{part="`+r.Name+`"}`, up)
	}

	sc := s.Scrape.Stats()
	counter("scrape_requests_total", sc.Requests)
	counter("scrape_pages_total", sc.Pages)
	counter("scrape_failures_total", sc.Failures)
	counter("scrape_body_bytes_total", sc.Bytes)
	counter("scrape_wire_bytes_total", sc.WireBytes)
	counter("scrape_retries_total", sc.Retries)
	counter("scrape_bans_total", sc.Bans)
	counter("scrape_rotations_total", sc.Rotations)
	counter("scrape_fallbacks_total", sc.Fallbacks)
	counter("scrape_robots_denied_total", sc.RobotsDenied)
	metrics.WriteCounterFloat64(w, "scrape_waited_seconds_total", sc.Waited.Seconds())
	gauge("scrape_egress_available", flag(sc.Egress.Available))
	gauge("scrape_direct", flag(sc.Egress.Direct))

	lg := s.Logs.Stats()
	counter("logging_written_total", lg.Written)
	counter("logging_written_bytes_total", lg.WrittenBytes)
	counter("logging_dropped_total", lg.Dropped+lg.DroppedForQuota)
	counter("logging_suppressed_total", lg.Suppressed)
	counter("logging_shipped_total", lg.Ship.Events)
	counter("logging_shipped_bytes_total", lg.Ship.Bytes)
	counter("logging_ship_retries_total", lg.Ship.Retries)
	counter("logging_quarantined_total", lg.Ship.Quarantined)
	gauge("logging_waiting_events", lg.ActiveEvents+lg.Ship.WaitingEvents)
	gauge("logging_waiting_bytes", lg.ActiveBytes+lg.Ship.WaitingBytes)

	if s.Hub != nil {
		st := s.Hub.Stats()
		// The format wants all lines of one metric together.
		each := func(name string, write func(string, int64), value func(notify.ReceiverStats) int64) {
			for _, r := range st.Receivers {
				write(name+`{receiver=`+strconv.Quote(r.Name)+`}`, value(r))
			}
		}
		each("notify_sent_total", counter, func(r notify.ReceiverStats) int64 { return int64(r.Sent) })
		each("notify_failed_total", counter, func(r notify.ReceiverStats) int64 { return int64(r.Failed) })
		each("notify_retried_total", counter, func(r notify.ReceiverStats) int64 { return int64(r.Retried) })
		each("notify_waiting", gauge, func(r notify.ReceiverStats) int64 { return int64(r.Waiting) })
		counter("notify_suppressed_total", int64(st.Suppressed))
		counter("notify_dead_total", int64(st.Dead))
		gauge("notify_outbox_messages", int64(st.Stored))
		gauge("notify_outbox_bytes", st.StoredBytes)
	}

	s.writeRuns(w, gauge)
	metrics.WriteProcessMetrics(w)
}

// writeRuns writes what the history holds; a history that cannot be read shows
// in service_part_up.
func (s *Sources) writeRuns(w io.Writer, gauge func(string, int64)) {
	runs, err := s.History.Runs(shownRuns)
	if err != nil {
		return
	}
	for _, r := range runs {
		if r.Status == history.Running {
			continue
		}
		gauge("run_last_items", int64(r.Items))
		gauge("run_last_pages", int64(r.Pages))
		gauge("run_last_failures", int64(r.Failures))
		gauge("run_last_ok", flag(r.Status == history.OK))
		metrics.WriteGaugeFloat64(w, "run_last_duration_seconds", r.Finished.Sub(r.Started).Seconds())
		metrics.WriteGaugeFloat64(w, "run_last_end_timestamp_seconds", float64(r.Finished.UnixMilli())/1000)
		return
	}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
