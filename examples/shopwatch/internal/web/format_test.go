package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

// plain turns the spaces that break no line into common ones.
func plain(s string) string { return strings.ReplaceAll(s, "\u00a0", " ") }

func TestSpanAndAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		d         time.Duration
		span, ago string
	}{
		{-time.Second, "0 ms", "now"},
		{0, "0 ms", "now"},
		{850 * time.Millisecond, "850 ms", "now"},
		{time.Second, "1.0 s", "1 s ago"},
		{9990 * time.Millisecond, "9.9 s", "9 s ago"},
		{10 * time.Second, "10 s", "10 s ago"},
		{59999 * time.Millisecond, "59 s", "59 s ago"},
		{time.Minute, "1 min", "1 min ago"},
		{185 * time.Second, "3 min 5 s", "3 min ago"},
		{time.Hour, "1 h", "1 h ago"},
		{130 * time.Minute, "2 h 10 min", "2 h ago"},
		{24 * time.Hour, "1 d", "1 d ago"},
		{123 * time.Hour, "5 d 3 h", "5 d 3 h ago"},
	} {
		if got := plain(web.Span(tc.d)); got != tc.span {
			t.Errorf("span(%v) = %q, want %q", tc.d, got, tc.span)
		}
		if got := plain(web.Ago(now, now.Add(-tc.d))); got != tc.ago {
			t.Errorf("ago(%v) = %q, want %q", tc.d, got, tc.ago)
		}
	}
	if got := web.Ago(now, time.Time{}); got != "never" {
		t.Errorf("ago of no time = %q, want never", got)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{web.Count(0), "0"},
		{web.Count(999), "999"},
		{web.Count(1000), "1,000"},
		{web.Count(-1234567), "-1,234,567"},
		{web.Size(0), "0 B"},
		{web.Size(1023), "1023 B"},
		{web.Size(1024), "1.0 KiB"},
		{web.Size(5 << 20), "5.0 MiB"},
		{web.Size(3 << 30), "3.0 GiB"},
		{web.Size(2 << 40), "2.0 TiB"},
		{web.Money(1290, "EUR"), "€12.90"},
		{web.Money(-5, "USD"), "−$0.05"},
		{web.Money(123456789, "GBP"), "£1,234,567.89"},
		{web.Money(100, "CHF"), "1.00 CHF"},
		{web.Money(100, ""), "1.00"},
	} {
		if got := plain(tc.got); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestShortAgent(t *testing.T) {
	t.Parallel()
	const webkit = "AppleWebKit/537.36 (KHTML, like Gecko) "
	for agent, want := range map[string]string{
		"":       "",
		"Go/1.1": "Go/1.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/154.0.0.0 Safari/537.36":                                                 "Chrome 154, Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + webkit + "Chrome/154.0.0.0 Safari/537.36 Edg/154.0.0.0":                                   "Edge 154, Windows",
		"Mozilla/5.0 (Linux; Android 10; K) " + webkit + "Chrome/154.0.0.0 Mobile Safari/537.36":                                                 "Chrome 154, Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605.1.15":                  "Safari 19, macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/154.0 Mobile/15E148 Safari/604.1": "Chrome 154, iPhone",
		"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0":                                                                 "Firefox 150, Linux",
		"Mozilla/5.0 Firefox/1234567": "Firefox",
	} {
		if got := web.ShortAgent(agent); got != want {
			t.Errorf("shortAgent(%q) = %q, want %q", agent, got, want)
		}
	}
}
