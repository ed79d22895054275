package status

import (
	"io"
	"runtime"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/prom"
	"github.com/svcblocks/svcblocks/notify"
)

// WriteMetrics writes what all blocks count, in Prometheus' text format.
func (s *Sources) WriteMetrics(w io.Writer) {
	p := prom.NewWriter(w)
	s.writeService(p)
	s.writeConfig(p)
	s.writeLogging(p)
	s.writeNotify(p)
	s.writeScrape(p)
	s.writeRuns(p)
	s.writeAuth(p)
	metrics.WriteProcessMetrics(w)
}

func (s *Sources) writeService(p *prom.Writer) {
	p.Gauges("service_build_info", "Always 1; the labels say what runs.", []prom.Sample{
		{Labels: []string{"version", s.Version, "goversion", runtime.Version(), "profile", s.Profile}, Value: 1},
	})
	var up []prom.Sample
	for _, r := range s.Health.Results() {
		up = append(up, prom.Sample{Labels: []string{"part", r.Name}, Value: prom.Flag(r.Err == nil && !r.At.IsZero())})
	}
	p.Gauges("service_part_up", "1 while the part's check succeeds.", up)
	if size, free, ok := disk(s.DataDir); ok {
		p.Gauge("service_disk_size_bytes", "Size of the disk that holds data_dir.", float64(size))
		p.Gauge("service_disk_free_bytes", "What the service may still use of it.", float64(free))
	}
}

func (s *Sources) writeConfig(p *prom.Writer) {
	st := s.Settings()
	p.Counter("config_loads_total", "Times that settings were read and taken, the start included.", float64(st.Generation))
	p.Gauge("config_last_load_successful", "1 while the settings in use are what the files say.", prom.Flag(st.Err == nil))
	p.Gauge("config_last_load_success_timestamp_seconds", "When the settings in use were read.", seconds(st.LoadedAt))
	p.Gauge("config_references", "References to a vault, a file or a variable in the settings.", float64(len(st.References)))
}

func (s *Sources) writeLogging(p *prom.Writer) {
	st := s.Logs.Stats()
	p.Counter("logging_written_total", "Records written to the log file.", float64(st.Written))
	p.Counter("logging_written_bytes_total", "Their size.", float64(st.WrittenBytes))
	p.Counter("logging_dropped_total", "Records that the disk did not take, or that were dropped for its quota.", float64(st.Dropped+st.DroppedForQuota))
	p.Counter("logging_suppressed_total", "Records that sampling left out.", float64(st.Suppressed))
	p.Gauge("logging_write_failing", "1 while the last record could not be written.", prom.Flag(st.WriteError != ""))
	p.Counter("logging_shipped_total", "Records that the receiver confirmed.", float64(st.Ship.Events))

	p.Counter("logging_shipped_bytes_total", "Their size.", float64(st.Ship.Bytes))
	p.Counter("logging_shipped_batches_total", "Requests that they came in.", float64(st.Ship.Batches))
	p.Counter("logging_ship_retries_total", "Requests that failed and are made again.", float64(st.Ship.Retries))
	p.Gauge("logging_ship_consecutive_failures", "Requests that failed since the last one that did not.", float64(st.Ship.Failures))
	p.Gauge("logging_ship_refused", "1 while the receiver refuses the token or the address.", prom.Flag(st.Ship.Delivery.Condition == "refuses"))
	p.Gauge("logging_ship_last_success_timestamp_seconds", "When a batch was last confirmed; 0: not yet.", seconds(st.Ship.LastSent))
	p.Counter("logging_quarantined_total", "Records that the receiver will never take.", float64(st.Ship.Quarantined))

	p.Gauge("logging_waiting_events", "Records on disk that wait for the receiver.", float64(st.ActiveEvents+st.Ship.WaitingEvents))
	p.Gauge("logging_waiting_bytes", "Their size.", float64(st.ActiveBytes+st.Ship.WaitingBytes))
}

func (s *Sources) writeNotify(p *prom.Writer) {
	if s.Hub == nil {
		return
	}
	st := s.Hub.Stats()

	each := func(value func(notify.ReceiverStats) float64) (out []prom.Sample) {
		for _, r := range st.Receivers {
			out = append(out, prom.Sample{Labels: []string{"receiver", r.Name}, Value: value(r)})
		}
		return out
	}

	p.Counters("notify_sent_total", "Messages that the receiver took.", each(func(r notify.ReceiverStats) float64 { return float64(r.Sent) }))
	p.Counters("notify_failed_total", "Messages that were given up or went to the fallback.", each(func(r notify.ReceiverStats) float64 { return float64(r.Failed) }))
	p.Counters("notify_retried_total", "Tries after a first one.", each(func(r notify.ReceiverStats) float64 { return float64(r.Retried) }))
	p.Counters("notify_abandoned_total", "Calls that ignored their bound.", each(func(r notify.ReceiverStats) float64 { return float64(r.Abandoned) }))
	p.Gauges("notify_waiting", "Messages that are not delivered yet.", each(func(r notify.ReceiverStats) float64 { return float64(r.Waiting) }))
	p.Gauges("notify_paused", "1 while the receiver is left alone, as it asked for, or because it refused the credentials.", each(func(r notify.ReceiverStats) float64 {
		return prom.Flag(time.Now().Before(r.PausedUntil))
	}))

	p.Gauges("notify_last_success_timestamp_seconds", "When the receiver last took a message; 0: not yet.", each(func(r notify.ReceiverStats) float64 { return seconds(r.LastSent) }))
	p.Counter("notify_suppressed_total", "Repeats that were not sent one by one.", float64(st.Suppressed))
	p.Counter("notify_silenced_total", "Messages that a silence hid.", float64(st.Silenced))
	p.Counter("notify_dead_total", "Deliveries that were given up for good.", float64(st.Dead))
	p.Counter("notify_not_durable_total", "Messages that the outbox could not store.", float64(st.NotDurable))
	p.Gauge("notify_groups", "Troubles that are told apart now.", float64(st.Groups))
	p.Gauge("notify_outbox_messages", "Messages in the outbox that some receiver has not got.", float64(st.Stored))

	p.Gauge("notify_outbox_bytes", "Size of the outbox's journal.", float64(st.StoredBytes))
}

func (s *Sources) writeScrape(p *prom.Writer) {
	st := s.Scrape.Stats()
	p.Counter("scrape_requests_total", "Requests sent, retries, redirects and robots.txt included.", float64(st.Requests))
	p.Counter("scrape_pages_total", "Answers that were delivered.", float64(st.Pages))
	p.Counter("scrape_failures_total", "Requests that ended in an error.", float64(st.Failures))
	p.Counter("scrape_body_bytes_total", "Bodies, decoded.", float64(st.Bytes))
	p.Counter("scrape_wire_bytes_total", "Bodies, as sent.", float64(st.WireBytes))
	p.Counter("scrape_retries_total", "Tries after a first one.", float64(st.Retries))

	p.Counter("scrape_bans_total", "Answers that said that the exit is banned.", float64(st.Bans))
	p.Counter("scrape_rotations_total", "Changes of the identity.", float64(st.Rotations))
	p.Counter("scrape_redraws_total", "Identities dropped because their exit was not a new one.", float64(st.Redraws))
	p.Counter("scrape_fallbacks_total", "Requests sent from this machine's own address because Tor was missing.", float64(st.Fallbacks))
	p.Counter("scrape_robots_denied_total", "Requests that robots.txt forbids.", float64(st.RobotsDenied))
	p.Counter("scrape_waited_seconds_total", "Time that requests waited for host limits, Retry-After and backoff.", st.Waited.Seconds())
	p.Gauge("scrape_egress_available", "1 while the way out worked when it was last used or checked.", prom.Flag(st.Egress.Available))

	p.Gauge("scrape_direct", "1 while requests leave from this machine's own address.", prom.Flag(st.Egress.Direct))
}

// writeRuns writes what the history holds of the last run; a history that
// cannot be read shows in service_part_up.
func (s *Sources) writeRuns(p *prom.Writer) {
	p.Gauge("run_active", "1 while a run is under way.", prom.Flag(s.Watcher.State().Run.ID != 0))
	runs, err := s.History.Runs(shownRuns)
	if err != nil {
		return
	}

	for _, r := range runs {
		if r.Status == history.Running {
			continue
		}
		p.Gauge("run_last_items", "Items that the last run read.", float64(r.Items))
		p.Gauge("run_last_pages", "Pages that it read.", float64(r.Pages))
		p.Gauge("run_last_failures", "Pages that it could not fetch or read.", float64(r.Failures))
		p.Gauge("run_last_problems", "Items that it could not read.", float64(r.Problems))
		p.Gauge("run_last_changed", "Prices that it found to differ.", float64(r.Changed))
		p.Gauge("run_last_ok", "1 if it read everything.", prom.Flag(r.Status == history.OK))
		p.Gauge("run_last_duration_seconds", "How long it took.", r.Finished.Sub(r.Started).Seconds())
		p.Gauge("run_last_end_timestamp_seconds", "When it ended.", seconds(r.Finished))
		return
	}
}

func (s *Sources) writeAuth(p *prom.Writer) {
	if s.Auth == nil {
		return
	}
	st := s.Auth.Stats()
	p.Gauge("auth_provider_up", "1 while the identity provider answered when it was last asked.", prom.Flag(st.Available))

	p.Counters("auth_requests_total", "Guarded requests by what became of them.", []prom.Sample{
		{Labels: []string{"result", "passed"}, Value: float64(st.Passed)},
		{Labels: []string{"result", "missing"}, Value: float64(st.Missing)},
		{Labels: []string{"result", "refused"}, Value: float64(st.Refused)},
		{Labels: []string{"result", "unavailable"}, Value: float64(st.Unavailable)},
	})

	p.Counters("auth_logins_total", "Logins to the page by what became of them.", []prom.Sample{
		{Labels: []string{"result", "passed"}, Value: float64(st.Logins)},
		{Labels: []string{"result", "failed"}, Value: float64(st.FailedLogins)},
	})
}

// seconds is a time as Prometheus wants it; 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
