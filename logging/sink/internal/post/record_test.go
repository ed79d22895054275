package post_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "20260102150405123456-000001-77"

var sealed = time.Date(2026, 1, 2, 15, 4, 5, 123456000, time.UTC)

func TestParse(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
	for _, tt := range []struct {
		name, line string
		want       post.Record
	}{
		{
			"slog", `{"time":"2026-05-06T07:08:09.5Z","level":"WARN","msg":"hello","n":1,"g":{"a":[1,"}"]}}`,
			post.Record{Time: at, Level: "WARN", Message: "hello", Fields: []post.Field{{Key: "n", Raw: json.RawMessage("1")}, {Key: "g", Raw: json.RawMessage(`{"a":[1,"}"]}`)}}},
		},
		{"zerolog", ` {"level":"warn","time":1778051289,"message":"h\"i"}`, post.Record{Time: sealed, Message: ` {"level":"warn","time":1778051289,"message":"h\"i"}`}},
		{"zerolog seconds", `{"level":"warn","time":1778051289,"message":"h\"i"}`, post.Record{Time: at.Truncate(time.Second), Level: "warn", Message: `h"i`}},
		{"milliseconds", `{"ts":1778051289500}`, post.Record{Time: at}},
		{"microseconds", `{"ts":1778051289500000}`, post.Record{Time: at}},
		{"nanoseconds", `{"ts":1778051289500000000}`, post.Record{Time: at}},
		{"zap", `{"level":"info","ts":1778051289.5,"msg":"m"}`, post.Record{Time: at, Level: "info", Message: "m"}},
		{
			"trace", `{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"}`,
			post.Record{Time: sealed, Trace: "0af7651916cd43dd8448eb211c80319c", Span: "b7ad6b7169203331"},
		},
		{"other types", `{"level":3,"msg":null,"time":"soon","trace_id":"x"}`, post.Record{Time: sealed, Fields: []post.Field{
			{Key: "level", Raw: json.RawMessage("3")}, {Key: "msg", Raw: json.RawMessage("null")}, {Key: "time", Raw: json.RawMessage(`"soon"`)}, {Key: "trace_id", Raw: json.RawMessage(`"x"`)},
		}}},
		{"spaces", `{ "a" : 1 , "msg" : "m" }`, post.Record{Time: sealed, Message: "m", Fields: []post.Field{{Key: "a", Raw: json.RawMessage("1")}}}},
		{"empty", `{}`, post.Record{Time: sealed}},
		{"text", `plain`, post.Record{Time: sealed, Message: "plain"}},
		{"torn", `{"a":{"b":1}`, post.Record{Time: sealed, Message: `{"a":{"b":1}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := logging.Event{ID: id, Line: []byte(tt.line)}
			if diff := cmp.Diff(tt.want, post.Parse(e)); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
			if got := post.Time(e); !got.Equal(tt.want.Time) {
				t.Errorf("Time = %v, want %v", got, tt.want.Time)
			}
			if got := post.Level(e); got != tt.want.Level {
				t.Errorf("Level = %q, want %q", got, tt.want.Level)
			}
		})
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]int{
		"DEBUG": 5, "info": 9, "INFO+2": 11, "WARN-1": 12, "warning": 13, "ERROR": 17, "ERROR+100": 24, "DEBUG-100": 1, "fatal": 21, "": 0, "loud": 0, "INFO+x": 0,
	} {
		if got := post.Severity(level); got != want {
			t.Errorf("Severity(%q) = %d, want %d", level, got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for status := 300; status < 600; status++ {
		want := logging.KindConfig
		switch {
		case status == 413:
			want = logging.KindTooLarge
		case status == 400 || status == 422:
			want = logging.KindRejected
		case status == 408 || status == 409 || status == 421 || status == 425 || status == 429 || status >= 500 && status != 501 && status != 505:
			want = logging.KindRetry
		}
		if got := post.KindOf(status); got != want {
			t.Errorf("KindOf(%d) = %v, want %v", status, got, want)
		}
	}
}

func TestAppendObject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, field, want string }{
		{`{"a":1}`, "", `{"a":1}`},
		{`{"a":1}`, "id", `{"id":"7","a":1}`},
		{`{}`, "id", `{"id":"7"}`},
		{`{ }`, "id", `{"id":"7"}`},
		{`text "x"`, "", `{"message":"text \"x\""}`},
		{`text`, "i\"d", `{"i\"d":"7","message":"text"}`},
		{``, "", `{"message":""}`},
		{`{`, "", `{"message":"{"}`},
		{`{"g":{"k":1}`, "", `{"message":"{\"g\":{\"k\":1}"}`}, // cut behind a brace
		{`{"g":{"k":1}`, "id", `{"id":"7","message":"{\"g\":{\"k\":1}"}`},
	} {
		got := string(post.AppendObject(nil, logging.Event{ID: "7", Line: []byte(tt.line)}, tt.field))
		if got != tt.want || !json.Valid([]byte(got)) {
			t.Errorf("AppendObject(%s, %s) = %s, want %s", tt.line, tt.field, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"time":"2026-05-06T07:08:09.5Z","level":"WARN","msg":"hello","g":{"a":[1,"}"]}}`, `{"a`, `{"a":"\"}`, `{"":{"":[]}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e := logging.Event{ID: id, Line: []byte(line)}
		r := post.Parse(e)
		_, _ = post.Time(e), post.Level(e)
		var m map[string]json.RawMessage
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") || json.Unmarshal([]byte(line), &m) != nil {
			if r.Message != line {
				t.Errorf("%q has message %q", line, r.Message)
			}
			return
		}
		for _, field := range r.Fields {
			if !json.Valid(field.Raw) {
				t.Errorf("%q: field %q is %q", line, field.Key, field.Raw)
			}
			if _, ok := m[field.Key]; !ok && utf8.ValidString(line) {
				t.Errorf("%q has no member %q", line, field.Key)
			}
		}
	})
}

func ExampleSeverity() {
	fmt.Println(post.Severity("WARN+1"))
	// Output: 14
}
