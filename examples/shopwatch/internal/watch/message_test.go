package watch_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMessageOfChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000).set(2, 2000).set(3, 3000)
	s.run(t)
	s.set(1, 900).remove(3)
	s.run(t)
	s.set(3, 3100)
	s.run(t)

	got := s.sent.all()
	if len(got) != 2 {
		t.Fatalf("%d messages, want 2: %+v", len(got), got)
	}
	m := got[0]
	if diff := cmp.Diff("shop: 1 price changed, 1 item gone", m.Subject); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	want := "item 1: 10.00 EUR → 9.00 EUR (-10.0 %)\n  https://shop.example/item/1\n" +
		"item 3: gone, last at 30.00 EUR\n  https://shop.example/item/3\n"
	if diff := cmp.Diff(want, m.Text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if m.Level != slog.LevelWarn || m.Key == got[1].Key || !strings.HasPrefix(m.ID, "changes-") {
		t.Errorf("level %v, key %q, id %q", m.Level, m.Key, m.ID)
	}
	if m = got[1]; m.Subject != "shop: 1 item back" || m.Text != "item 3: back at 31.00 EUR, before 30.00 EUR\n  https://shop.example/item/3\n" {
		t.Errorf("message = %q, %q", m.Subject, m.Text)
	}
}

func TestMessageListIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 80 {
		s.set(i, 1000)
	}
	s.run(t)
	for i := range 80 {
		s.set(i, 1100)
	}
	s.run(t)
	m := s.sent.all()[0]
	if m.Subject != "shop: 80 prices changed" {
		t.Errorf("subject = %q", m.Subject)
	}
	if n := strings.Count(m.Text, "→"); n != 50 || !strings.Contains(m.Text, "and 30 more") {
		t.Errorf("%d changes are listed:\n%s", n, m.Text)
	}
}

func TestMessagesOfFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.run(t)
	s.fail(fmt.Errorf("scrape: %w", errDown))
	s.run(t)
	s.fail(nil)
	s.run(t)
	s.garbage(2)
	s.run(t)

	got := s.sent.all()
	if len(got) != 3 {
		t.Fatalf("%d messages, want 3: %+v", len(got), got)
	}
	for i, want := range []struct {
		level    slog.Level
		resolved bool
		subject  string
		text     string
	}{
		{slog.LevelError, false, "shop: run 2 failed", "scrape: site down"},
		{slog.LevelInfo, true, "shop: runs are complete again", "Run 3 read 1 pages and 1 items"},
		{slog.LevelWarn, false, "shop: run 4 is incomplete", "1 items could not be read"},
	} {
		m := got[i]
		if m.Level != want.level || m.Resolved != want.resolved || m.Subject != want.subject || !strings.Contains(m.Text, want.text) {
			t.Errorf("message %d = %+v, want %+v", i, m, want)
		}
		if m.Key != got[0].Key {
			t.Errorf("message %d has key %q, want the site's, %q", i, m.Key, got[0].Key)
		}
	}
}
