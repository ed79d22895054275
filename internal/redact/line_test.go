package redact_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/internal/redact"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{`Post "https://hooks.slack.com/services/T/B/x": dial tcp`, `Post "https://hooks.slack.com/…": dial tcp`},
		{"smtp://user:p@ss/word@mail.example.com:25", "smtp://mail.example.com:25/…"},
		{"https://api.telegram.org/bot123:abc/sendMessage", "https://api.telegram.org/…"},
		{"https://example.com", "https://example.com"},
		{"see https://example.com.", "see https://example.com."},
		{"https://example.com?token=1 and http://b/#x", "https://example.com/… and http://b/…"},
		{"no address :// here", "no address :// here"},
		{"a://b/c://d/e f", "a://b/… f"},
		{"", ""},
	} {
		if got := redact.URLs(tc.text); got != tc.want {
			t.Errorf("URLs(%q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	got := redact.Reason("550 no\r\n\tsuch\x00user \u202e" + strings.Repeat("ä", 300))
	if strings.ContainsAny(got, "\r\n\t\x00") || len(got) > 260 || !utf8.ValidString(got) || !strings.HasPrefix(got, "550 no such user") {
		t.Errorf("Reason = %q (%d bytes)", got, len(got))
	}
}

// A secret shows neither with its spaces made one, nor cut off at the end.
func TestReasonAndSecret(t *testing.T) {
	t.Parallel()
	const s = "two  words\tand-a-long-tail"
	r := newRedactor(s)
	if got := r.String(redact.Reason("535 wrong: " + s)); got != "535 wrong: "+redact.Mask {
		t.Errorf("got %q", got)
	}
	for n := range 300 {
		got := r.String(redact.Reason(strings.Repeat("x", n) + " two words and-a-long-tail and more" + strings.Repeat("y", 300)))
		if strings.Contains(got, "two ") {
			t.Fatalf("after %d bytes: %q", n, got)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add("Post \"https://a:b@c/d\": x")
	f.Add("://://@/")
	f.Fuzz(func(t *testing.T, s string) {
		got := redact.Reason("https://user:canary@host/canary?canary " + s)
		if strings.Contains(strings.ReplaceAll(got, s, ""), "canary") && !strings.Contains(s, "canary") {
			t.Errorf("Reason of %q = %q", s, got)
		}
		if len(got) > 260 || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("Reason of %q = %q", s, got)
		}
	})
}
