package receivers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/datadog"
	"github.com/svcblocks/svcblocks/logging/sink/elastic"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/logging/sink/loki"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
	"github.com/svcblocks/svcblocks/logging/sink/splunk"
)

// events is how many are shipped to each receiver.
const events = 10_000

// outage is how long before its delivery an event was logged.
const outage = 6 * time.Hour

// began is when the first event was logged.
var began = time.Now().Add(-outage).Truncate(time.Millisecond)

// timeOf returns when event n was logged: a millisecond after the one before, some
// of them in another zone.
func timeOf(n int) time.Time {
	at := began.Add(time.Duration(n) * time.Millisecond)
	if n%7 == 0 {
		return at.In(time.FixedZone("", 5*3600+45*60))
	}
	return at.UTC()
}

// ship logs events, each with a key that stands twice, and ships them to sink
// after an outage.
func ship(t *testing.T, sink logging.Sink) {
	t.Helper()
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, Sink: sink, OnError: func(err error) { t.Error(err) }, Ship: logging.ShipperOptions{Interval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	for i := range events {
		log := logs.Logger("orders.http").With("request_id", "first")
		r := slog.NewRecord(timeOf(i), slog.LevelInfo, "order placed: ü \"quoted\" <tag>", 0)
		r.Add("n", i, "ok", i%2 == 0, "took", 1.5, "items", []string{"a", "b"}, "request_id", "last")
		r.Add(odd(i)...)
		if err := log.Handler().Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := logs.SendBulk(ctx)
	if err != nil || res.Events != events || res.Quarantined > 0 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
}

// odd returns what a program also logs now and then, and what receivers have
// refused events for: one key with values of two types, text that is none, numbers
// beyond a float, keys that look like paths, depth and length.
func odd(i int) []any {
	if i%100 != 7 {
		return []any{"user", "alice"}
	}
	deep := any("leaf")
	for range 30 {
		deep = map[string]any{"level": deep}
	}
	return []any{
		"user",
		map[string]any{"id": i, "name.first": "bob"},
		"raw", "a\xff\x00\u2028\ufffe", "nan", math.NaN(), "huge", json.Number("1e400"), "most", uint64(math.MaxUint64),
		"a.b", 1, "a",
		map[string]any{"b": "two"},
		"", "no key", "_time", "yesterday", "timestamp", "tomorrow", "level.value", -1, "deep", deep,
		"long", strings.Repeat("x", 30_000), "null", nil, "empty",
		map[string]any{},
		"list",
		[]any{1, "two", nil, map[string]any{"k": []int{}}},
	}
}

// victoriaLogs builds the program from its module, which the go.mod names as a
// tool. Its dependencies ask for versions that proxies do not serve; the
// replacements there are the nearest ones that they do.
func victoriaLogs(dir string) (string, error) {
	path := filepath.Join(dir, "victoria-logs")
	out, err := exec.Command("go", "build", "-o", path, "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build VictoriaLogs: %w\n%s", err, out)
	}
	return path, nil
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startVictoriaLogs returns the address of a receiver without data.
func startVictoriaLogs(t *testing.T, path string) string {
	t.Helper()
	addr := freeAddress(t)
	cmd := exec.Command(path, "-httpListenAddr="+addr, "-storageDataPath="+t.TempDir(), "-futureRetention=100y", "-loggerLevel=ERROR")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testenv.EventuallyWithin(t, 30*time.Second, func() error {
		resp, err := http.Get("http://" + addr + "/health")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return "http://" + addr
}

// count asks a receiver how many events it has.
func count(t *testing.T, base string) string {
	t.Helper()
	if resp, err := http.Get(base + "/internal/force_flush"); err == nil {
		_ = resp.Body.Close()
	}
	resp, err := http.PostForm(base+"/select/logsql/query", url.Values{"query": {"* | stats count() rows"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Rows string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return strings.TrimSpace(string(body))
	}
	return answer.Rows
}

// spans asks a receiver for its oldest and newest event, which hold the times of
// the log calls.
func spans(t *testing.T, base string) {
	t.Helper()
	resp, err := http.PostForm(base+"/select/logsql/query", url.Values{"query": {"* | stats min(_time) oldest, max(_time) newest"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Oldest, Newest time.Time }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	oldest, newest := answer.Oldest.Truncate(time.Millisecond), answer.Newest.Truncate(time.Millisecond)
	if !oldest.Equal(timeOf(0)) || !newest.Equal(timeOf(events-1)) {
		t.Errorf("events from %v to %v, want %v to %v", oldest, newest, timeOf(0), timeOf(events-1))
	}
}

// fieldHeaders tells VictoriaLogs which fields hold time and message.
type fieldHeaders struct{}

func (fieldHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("VL-Time-Field", "@timestamp")
	r.Header.Set("VL-Msg-Field", "msg")
	return http.DefaultTransport.RoundTrip(r)
}

func TestVictoriaLogs(t *testing.T) {
	path, err := victoriaLogs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, sink := range map[string]func(base string) (logging.Sink, error){
		"JSON lines": func(base string) (logging.Sink, error) {
			return httpjson.New(&httpjson.Options{URL: base + "/insert/jsonline?_time_field=time&_msg_field=msg&_stream_fields=component", IDField: "event_id"})
		},
		"JSON lines by sendfile": func(base string) (logging.Sink, error) {
			return httpjson.New(&httpjson.Options{URL: base + "/insert/jsonline?_time_field=time&_msg_field=msg&_stream_fields=component"})
		},
		"Elasticsearch bulk": func(base string) (logging.Sink, error) {
			return elastic.New(&elastic.Options{URL: base + "/insert/elasticsearch", Index: "logs-shop-prod", HTTP: sink.HTTP{Client: &http.Client{Transport: fieldHeaders{}}}})
		},
		"Loki": func(base string) (logging.Sink, error) {
			return loki.New(&loki.Options{URL: base + "/insert", Labels: map[string]string{"service": "shop"}, IDField: "event_id"})
		},
		"Splunk HEC": func(base string) (logging.Sink, error) {
			return splunk.New(&splunk.Options{URL: base + "/insert/splunk", Token: secret.New("token")})
		},
		"Datadog": func(base string) (logging.Sink, error) {
			return datadog.New(&datadog.Options{URL: base + "/insert/datadog", APIKey: secret.New("key"), Service: "shop"})
		},
		"OTLP": func(base string) (logging.Sink, error) {
			return otlp.New(&otlp.Options{URL: base + "/insert/opentelemetry", Resource: map[string]string{"service.name": "shop"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := startVictoriaLogs(t, path)
			s, err := sink(base)
			if err != nil {
				t.Fatal(err)
			}
			ship(t, s)
			testenv.Eventually(t, func() error {
				if got := count(t, base); got != fmt.Sprint(events) {
					return fmt.Errorf("%s of %d counted at the receiver", got, events)
				}
				return nil
			})
			spans(t, base)
		})
	}
}
