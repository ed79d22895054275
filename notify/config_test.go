package notify_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// The settings of a service load as they are.
func TestSettingsLoad(t *testing.T) {
	t.Parallel()
	type settings struct {
		Notify notify.Options
		Mail   email.Options
		Slack  slack.Options
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	const text = `
notify:
  receivers:
    - {name: ops-mail, min_level: WARN, timeout: 20s, fallback: ops-slack, retry: {attempts: 3, base: 2s, max_elapsed: 1h}}
    - {name: ops-slack, rate: {per: 1s, burst: 4}, concurrency: 2}
  group: {interval: 10m, repeat: 2h, by: [host], max_groups: 50}
  outbox: {dir: /var/lib/shop/outbox, max_bytes: 1000000, max_age: 12h}
mail:
  host: mail.example.com
  port: 465
  tls: implicit
  username: shop
  password: hunter22
  from: Shop <shop@example.com>
  to: [ops@example.com]
  bcc: [archive@example.com]
  ca_file: ""
  max_conns: 2
slack:
  mention: here
  mention_level: WARN
  no_edit: true
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings{}, config.File(path))
	if err != nil {
		t.Fatal(err)
	}
	got := store.Get()
	want := notify.Options{
		Receivers: []notify.Receiver{
			{
				Name: "ops-mail", MinLevel: slog.LevelWarn, Timeout: 20 * time.Second, Fallback: "ops-slack", FallbackAfter: 2 * time.Minute,
				Rate: notify.Rate{Per: time.Minute, Burst: 20}, Concurrency: 1,
				Retry: notify.Retry{Attempts: 3, Base: 2 * time.Second, Max: 5 * time.Minute, MaxElapsed: time.Hour},
			},
			{
				Name: "ops-slack", Timeout: 30 * time.Second, FallbackAfter: 2 * time.Minute, Rate: notify.Rate{Per: time.Second, Burst: 4},
				Concurrency: 2, Retry: notify.Retry{Base: time.Second, Max: 5 * time.Minute},
			},
		},
		StuckAfter: time.Minute, CloseTimeout: 5 * time.Second,
		Group:  notify.Group{Interval: 10 * time.Minute, Repeat: 2 * time.Hour, By: []string{"host"}, MaxGroups: 50},
		Outbox: notify.Outbox{Dir: "/var/lib/shop/outbox", MaxBytes: 1_000_000, MaxAge: 12 * time.Hour},
	}
	if diff := cmp.Diff(want, got.Notify); diff != "" {
		t.Errorf("notify (-want +got):\n%s", diff)
	}
	m := got.Mail
	if m.TLS != email.Implicit || m.Password.Reveal() != "hunter22" || m.MaxConns != 2 || len(m.Bcc) != 1 {
		t.Errorf("mail: %+v", m)
	}
	mail, err := email.New(&m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mail.Close() }()
	if got.Slack.Mention != "here" || got.Slack.MentionLevel == nil || *got.Slack.MentionLevel != slog.LevelWarn || !got.Slack.NoEdit {
		t.Errorf("slack: %+v", got.Slack)
	}
	got.Notify.Outbox.Dir = t.TempDir()
	bound := got.Notify
	bound.Bind(map[string]notify.Notifier{"ops-mail": mail, "ops-slack": &fake{}, "more": &fake{}})
	hub, err := notify.New(&bound)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
	if n := len(hub.Stats().Receivers); n != 3 {
		t.Errorf("%d receivers, want those of the settings and one more", n)
	}
	got.Notify.Bind(map[string]notify.Notifier{"ops-mail": mail})
	_, err = notify.New(&got.Notify)
	if err == nil || err.Error() != `notify: new: Receivers[1].Notifier: is nil: give what sends for "ops-slack"` {
		t.Errorf("a name without a notifier: %v", err)
	}
}

// What cannot be is found while the settings load, with its place.
func TestSettingsOutOfRange(t *testing.T) {
	t.Parallel()
	type settings struct {
		Notify notify.Options
		Mail   email.Options
		Slack  slack.Options
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	const text = `
notify:
  receivers:
    - {name: a, concurrency: -1}
    - {name: b, rate: {burst: -1}, retry: {base: -1s}}
    - {name: c, retry: {max: -1s}}
    - {name: c, retry: {base: 1h, max: 1s}}
    - {timeout: 0, fallback_after: -1s}
  group: {wait: -1s, max_groups: -1}
  outbox: {max_bytes: -1}
mail: {port: 70000, max_conns: -1, max_per_conn: -1, max_conn_age: -1s}
slack: {burst: -1}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(t.Context(), settings{}, config.File(path))
	if err == nil {
		t.Fatal("loaded")
	}
	for _, key := range []string{
		"notify.receivers[0].concurrency", "notify.receivers[1].rate.burst", "notify.receivers[1].retry.base", "notify.receivers[2].retry.max",
		"notify.receivers[4].name", "notify.receivers[4].timeout", "notify.receivers[4].fallback_after",
		"notify.group.wait", "notify.group.max_groups", "notify.outbox.max_bytes",
		"mail.port", "mail.max_conns", "mail.max_per_conn", "mail.max_conn_age", "slack.burst",
	} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("report does not name %s:\n%v", key, err)
		}
	}
}
