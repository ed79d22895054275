package slack_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/slack"
)

func TestEscapeAndCut(t *testing.T) {
	t.Parallel()
	if got, want := slack.Escape("a & b < c > d &amp; <!channel>\x00\r\n"), "a &amp; b &lt; c &gt; d &amp;amp; &lt;!channel&gt;\n"; got != want {
		t.Errorf("Escape = %q, want %q", got, want)
	}
	for _, tc := range []struct {
		text string
		n    int
		want string
		left int
	}{
		{"abc", 3, "abc", 0},
		{"abcd", 3, "abc", 1},
		{"ab&amp;", 4, "ab", 5},
		{"ab&amp;", 7, "ab&amp;", 0},
		{"äöü", 2, "äö", 1},
		{"abc", 0, "", 3},
		{"&lt;&gt;", 4, "&lt;", 4},
	} {
		if got, left := slack.Cut(tc.text, tc.n); got != tc.want || left != tc.left {
			t.Errorf("Cut(%q, %d) = %q, %d; want %q, %d", tc.text, tc.n, got, left, tc.want, tc.left)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a & <b> ```", 5)
	f.Add("\xff&amp;\u202e", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		escaped := slack.Escape(s)
		if strings.ContainsAny(escaped, "<>\r\x00") || !utf8.ValidString(escaped) {
			t.Errorf("Escape(%q) = %q", s, escaped)
		}
		kept, left := slack.Cut(escaped, n)
		if !strings.HasPrefix(escaped, kept) || slack.Width(kept) > max(n, 0) || slack.Width(kept)+left != slack.Width(escaped) {
			t.Errorf("Cut(%q, %d) = %q, %d", escaped, n, kept, left)
		}
		// Nothing but whole entities: what is left of & without them is none.
		bare := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(kept)
		if strings.Contains(bare, "&") {
			t.Errorf("Cut(%q, %d) = %q splits an entity", escaped, n, kept)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(429, "2", "rate_limited")
	f.Add(404, "", "no_service")
	f.Add(302, "", "<html>")
	f.Fuzz(func(t *testing.T, code int, header, body string) {
		e := slack.StatusError(code, header, body)
		if (e == nil) != (code == 200) {
			t.Fatalf("%d gave %v", code, e)
		}
		if e == nil {
			return
		}
		if e.Class == "" || len(e.Error()) > 600 || strings.ContainsAny(e.Error(), "\r\n\x00") || e.RetryAfter < 0 {
			t.Errorf("%+v", e)
		}
		if code == 429 && (e.Class != notify.ClassThrottled || e.RetryAfter == 0 && strings.Trim(header, "0 ") != "" && header == "") {
			t.Errorf("%+v", e)
		}
		if code >= 500 && !e.Temporary() || code >= 300 && code < 400 && e.Temporary() {
			t.Errorf("%d: temporary %v", code, e.Temporary())
		}
	})
}
