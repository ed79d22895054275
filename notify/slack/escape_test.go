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
		{"ab&", 4, "ab", 5},
		{"ab&", 7, "ab&", 0},
		{"äöü", 2, "äö", 1},
		{"abc", 0, "", 3},
		{"<>", 4, "<", 4},
		{"a😀", 2, "a", 2},
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
		kept, left := slack.Cut(s, n)
		if !strings.HasPrefix(s, kept) || slack.Width(kept) > max(n, 0) || slack.Width(kept)+left != slack.Width(s) {
			t.Errorf("Cut(%q, %d) = %q, %d", s, n, kept, left)
		}
		if utf8.ValidString(s) && !utf8.ValidString(kept) {
			t.Errorf("Cut(%q, %d) = %q splits a character", s, n, kept)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(429, "2", "rate_limited")
	f.Add(404, "", "no_service")
	f.Add(302, "", "<html>")
	f.Fuzz(func(t *testing.T, code int, header, body string) {
		e := slack.StatusError(code, header, body)
		if (e == nil) != (code >= 200 && code < 300) {
			t.Fatalf("%d gave %v", code, e)
		}
		if e == nil {
			return
		}
		if e.Class == "" || len(e.Error()) > 600 || strings.ContainsAny(e.Error(), "\r\n\x00") || e.Wait < 0 {
			t.Errorf("%+v", e)
		}
		if code == 429 && (e.Class != notify.ClassThrottled || e.Wait == 0 && strings.Trim(header, "0 ") != "" && header == "") {
			t.Errorf("%+v", e)
		}
		if code >= 500 && !e.Temporary() || code >= 300 && code < 400 && e.Temporary() {
			t.Errorf("%d: temporary %v", code, e.Temporary())
		}
	})
}
