package jsontext_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// asSlog returns s as slog.JSONHandler writes it.
func asSlog(t *testing.T, s string) string {
	var line strings.Builder
	if err := slog.NewJSONHandler(&line, nil).Handle(t.Context(), slog.NewRecord(time.Time{}, 0, s, 0)); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(line.String(), `{"level":"INFO","msg":`), "}\n")
}

// FuzzText compares what is written with slog, and what is scanned with
// encoding/json.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"plain", "\x00\b\f\"\\\n\x7f\xff\u2028ü<>", `{"a":[1,"}",{"b":null}],"a" : "\"" ,"":{"":[]}}`, `[ 1 , [2,"]"], {} , []]`, `{"a":"\`, `{"a`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		written := jsontext.AppendString(nil, s)
		if want := asSlog(t, s); string(written) != want {
			t.Errorf("%q is written as %s, slog writes %s", s, written, want)
		}
		if got, ok := jsontext.Text(written); !ok || utf8.ValidString(s) && got != s {
			t.Errorf("%q came back as %q, %v", s, got, ok)
		}

		last := 0
		jsontext.Tokens([]byte(s), func(from, to int, _ bool) {
			if from < last || to <= from || to > len(s) {
				t.Fatalf("token [%d:%d] behind %d of %q", from, to, last, s)
			}
			last = to
		})

		var members map[string]json.RawMessage
		if strings.HasPrefix(s, "{") && json.Unmarshal([]byte(s), &members) == nil {
			got := map[string]json.RawMessage{}
			jsontext.Members([]byte(s), func(key string, raw []byte) { got[key] = raw })
			if diff := cmp.Diff(members, got); diff != "" && utf8.ValidString(s) {
				t.Errorf("members of %q (-want +got):\n%s", s, diff)
			}
		}
		var elements []json.RawMessage
		if strings.HasPrefix(s, "[") && json.Unmarshal([]byte(s), &elements) == nil {
			got := []json.RawMessage{}
			jsontext.Elements([]byte(s), func(raw []byte) { got = append(got, raw) })
			if diff := cmp.Diff(elements, got); diff != "" {
				t.Errorf("elements of %q (-want +got):\n%s", s, diff)
			}
		}
	})
}
