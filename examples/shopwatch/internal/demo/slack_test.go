package demo_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
)

func startSlack(t *testing.T, opts *demo.SlackOptions) *demo.SlackReceiver {
	t.Helper()
	r, err := demo.StartSlackReceiver(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

func TestSlackReceiverKeepsMessages(t *testing.T) {
	t.Parallel()
	r := startSlack(t, &demo.SlackOptions{Keep: 3, Burst: 10})
	form := url.Values{"payload": {`{"text":"from a form"}`}}.Encode()
	for _, m := range [][2]string{
		{`{"text":"falls out"}`, "application/json"},
		{`{"text":"a &lt;b&gt; &amp; c\nsecond line"}`, "application/json"},
		{`{"text":"short","blocks":[{"type":"header","text":{"type":"plain_text","text":"Price fell"}},
			{"type":"section","text":{"type":"mrkdwn","text":"*Tea* &lt;now&gt;"},"fields":[{"type":"mrkdwn","text":"*was*\n5"}]},
			{"type":"divider"},{"type":"context","elements":[{"type":"mrkdwn","text":"run 7"}]}]}`, "application/json; charset=utf-8"},
		{form, "application/x-www-form-urlencoded"},
	} {
		if status, answer := post(t, r.URL(), []byte(m[0]), "Content-Type", m[1]); status != 200 || answer != "ok" {
			t.Errorf("status %d, answer %q", status, answer)
		}
	}
	want := []demo.SlackMessage{
		{Number: 4, Channel: "#alerts", Title: "from a form", Text: "from a form"},
		{Number: 3, Channel: "#alerts", Title: "Price fell", Text: "*Tea* <now>\n*was* 5\nrun 7"},
		{Number: 2, Channel: "#alerts", Title: "a <b> & c", Text: "a <b> & c\nsecond line"},
	}
	if diff := cmp.Diff(want, r.Last(), cmpopts.IgnoreFields(demo.SlackMessage{}, "Arrived")); diff != "" {
		t.Errorf("Last (-want +got):\n%s", diff)
	}
}

func blocks(t *testing.T, b ...any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"text": "x", "blocks": b})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func textBlock(kind, textKind string, runes int) map[string]any {
	return map[string]any{"type": kind, "text": map[string]string{"type": textKind, "text": strings.Repeat("ä", runes)}}
}

func TestSlackReceiverAnswers(t *testing.T) {
	t.Parallel()
	r := startSlack(t, &demo.SlackOptions{Burst: 1000, MaxBytes: 1 << 16})
	many := func(n int, b any) (out []any) {
		for range n {
			out = append(out, b)
		}
		return out
	}
	fields := map[string]any{"type": "section", "fields": many(11, map[string]string{"type": "mrkdwn", "text": "x"})}
	for name, tc := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"no JSON":               {"hello", 400, "invalid_payload"},
		"empty body":            {"", 400, "invalid_payload"},
		"nothing to say":        {"{}", 400, "no_text"},
		"text of another type":  {`{"text":5}`, 400, "invalid_payload"},
		"header at its limit":   {blocks(t, textBlock("header", "plain_text", 150)), 200, "ok"},
		"header above":          {blocks(t, textBlock("header", "plain_text", 151)), 400, "invalid_blocks"},
		"header as mrkdwn":      {blocks(t, textBlock("header", "mrkdwn", 5)), 400, "invalid_blocks"},
		"header without text":   {blocks(t, map[string]any{"type": "header"}), 400, "invalid_blocks"},
		"section at its limit":  {blocks(t, textBlock("section", "mrkdwn", 3000)), 200, "ok"},
		"section above":         {blocks(t, textBlock("section", "mrkdwn", 3001)), 400, "invalid_blocks"},
		"section empty":         {blocks(t, textBlock("section", "mrkdwn", 0)), 400, "invalid_blocks"},
		"text of unknown type":  {blocks(t, textBlock("section", "html", 3)), 400, "invalid_blocks"},
		"too many fields":       {blocks(t, fields), 400, "invalid_blocks"},
		"50 blocks":             {blocks(t, many(50, map[string]any{"type": "divider"})...), 200, "ok"},
		"51 blocks":             {blocks(t, many(51, map[string]any{"type": "divider"})...), 400, "invalid_blocks"},
		"block without type":    {blocks(t, map[string]any{}), 400, "invalid_blocks"},
		"context without parts": {blocks(t, map[string]any{"type": "context"}), 400, "invalid_blocks"},
		"too large":             {`{"text":"` + strings.Repeat("x", 1<<17) + `"}`, 413, "invalid_payload"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer := post(t, r.URL(), []byte(tc.body), "Content-Type", "application/json")
			if status != tc.status || answer != tc.answer {
				t.Errorf("status %d, answer %q; want %d %q", status, answer, tc.status, tc.answer)
			}
		})
	}
	t.Run("another webhook", func(t *testing.T) {
		t.Parallel()
		if status, answer := post(t, r.URL()+"x", []byte(`{"text":"x"}`)); status != 404 || answer != "no_service" {
			t.Errorf("status %d, answer %q", status, answer)
		}
	})
	t.Run("GET", func(t *testing.T) {
		t.Parallel()
		if res, _ := get(t, r.URL()); res.StatusCode != 405 || res.Header.Get("Allow") != http.MethodPost {
			t.Errorf("status %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
		}
	})
}

func TestSlackReceiverLimitsTheRate(t *testing.T) {
	t.Parallel()
	r := startSlack(t, &demo.SlackOptions{PerSecond: 0.01, Burst: 2})
	c := client(t)
	var got []string
	for range 4 {
		res, err := c.Post(r.URL(), "application/json", strings.NewReader(`{"text":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		after := res.Header.Get("Retry-After")
		if res.StatusCode == http.StatusTooManyRequests {
			if n, err := strconv.Atoi(after); err != nil || n < 1 || n > 100 {
				t.Errorf("Retry-After %q, want 1 to 100 seconds", after)
			}
		} else if after != "" {
			t.Errorf("Retry-After %q with status %d", after, res.StatusCode)
		}
		got = append(got, strconv.Itoa(res.StatusCode))
	}
	if diff := cmp.Diff([]string{"200", "200", "429", "429"}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(demo.SlackStats{Caught: 2, Limited: 2}, r.Stats()); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func FuzzSlackPayload(f *testing.F) {
	f.Add([]byte(`{"text":"x","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"y"}}]}`))
	f.Add([]byte(`{"blocks":[{"type":"header"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p demo.SlackPayload
		if json.Unmarshal(raw, &p) != nil {
			return
		}
		if word, title, text := demo.SlackWord(&p); word == "ok" && (!utf8.ValidString(title) || !utf8.ValidString(text)) {
			t.Errorf("title %q or text %q is not UTF-8", title, text)
		}
	})
}
