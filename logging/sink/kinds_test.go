package sink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/datadog"
	"github.com/svcblocks/svcblocks/logging/sink/elastic"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/logging/sink/loggly"
	"github.com/svcblocks/svcblocks/logging/sink/loki"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
	"github.com/svcblocks/svcblocks/logging/sink/splunk"
)

// receiver answers each request by answer, and keeps the bodies.
func receiver(t *testing.T, answer func(w http.ResponseWriter, body string)) (url string, bodies *[]string) {
	t.Helper()
	bodies = new([]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*bodies = append(*bodies, string(body))
		answer(w, string(body))
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.URL, bodies
}

// ExampleHTTP gives a sink the authority of the receiver's certificate.
func ExampleHTTP() {
	_, err := datadog.New(&datadog.Options{APIKey: secret.New("key"), HTTP: sink.HTTP{CAFile: "none.pem"}})
	fmt.Println(strings.Contains(err.Error(), "CAFile: open none.pem"))
	// Output: true
}

func batch(lines ...string) *logging.Batch {
	b := &logging.Batch{}
	for i, l := range lines {
		b.Events = append(b.Events, logging.Event{ID: fmt.Sprint("20260102150405000000-000007-", i*100), Line: []byte(l)})
	}
	b.ID = b.Events[0].ID
	return b
}

const twice = `{"time":"2026-01-02T15:04:05.678Z","level":"INFO","msg":"m","id":1,"g":{"k":1,"k":2},"id":2}`

// TestKeysAreUnique sends a line with keys that stand twice to receivers that
// ask for unique ones: the last wins.
func TestKeysAreUnique(t *testing.T) {
	t.Parallel()
	token := secret.New("canary-token")

	url, bodies := receiver(t, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, `{"errors":false}`) })
	es, err := elastic.New(&elastic.Options{URL: url, Index: "logs", APIKey: token, DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := es.Send(t.Context(), batch(twice)); err != nil {
		t.Fatal(err)
	}
	if got := (*bodies)[0]; !strings.Contains(got, `"g":{"k":2},"id":2}`) || strings.Contains(got, `"id":1`) {
		t.Errorf("Elasticsearch gets %s", got)
	}

	url, bodies = receiver(t, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, `{}`) })
	o, err := otlp.New(&otlp.Options{URL: url, Encoding: "json", DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Send(t.Context(), batch(twice)); err != nil {
		t.Fatal(err)
	}
	if got := (*bodies)[0]; strings.Count(got, `"key":"id"`) != 1 || strings.Count(got, `"key":"k"`) != 1 || !strings.Contains(got, `"intValue":"2"`) {
		t.Errorf("OTLP gets %s", got)
	}
}

// TestTimeOfTheEvent has receivers that take the time of delivery unless an entry
// carries its own under a key of theirs.
func TestTimeOfTheEvent(t *testing.T) {
	t.Parallel()
	url, bodies := receiver(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusAccepted) })
	d, err := datadog.New(&datadog.Options{URL: url, APIKey: secret.New("canary-token"), DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Send(t.Context(), batch(twice)); err != nil {
		t.Fatal(err)
	}
	if got := (*bodies)[0]; !strings.Contains(got, `"timestamp":1767366245678,`) {
		t.Errorf("Datadog gets %s", got)
	}

	url, bodies = receiver(t, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, `{"response":"ok"}`) })
	l, err := loggly.New(&loggly.Options{URL: url, Token: secret.New("canary-token"), DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Send(t.Context(), batch(twice, `{}`, `text`)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines((*bodies)[0]) {
		var v struct{ Timestamp string }
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Timestamp == "" {
			t.Errorf("Loggly gets %s: %v", line, err)
		}
	}
	if !strings.HasPrefix((*bodies)[0], `{"timestamp":"2026-01-02T15:04:05.678Z",`) {
		t.Errorf("Loggly gets %s", (*bodies)[0])
	}
}

// TestLongAnswer has a bulk answer that is longer than we read: the batch is
// halved, and not sent again as it is.
func TestLongAnswer(t *testing.T) {
	t.Parallel()
	url, _ := receiver(t, func(w http.ResponseWriter, _ string) {
		_, _ = io.WriteString(w, `{"errors":true,"items":[`+strings.Repeat(" ", 5<<20))
	})
	es, err := elastic.New(&elastic.Options{URL: url, Index: "logs", DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	err = es.Send(t.Context(), batch(`{"a":1}`, `{"a":2}`))
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindTooLarge {
		t.Errorf("Send = %v", err)
	}
}

// TestInvalidEventNumber has a collector that takes what stands before the event
// it refuses, and names that: nothing is sent twice.
func TestInvalidEventNumber(t *testing.T) {
	t.Parallel()
	indexed := 0
	url, bodies := receiver(t, func(w http.ResponseWriter, body string) {
		for i, e := range strings.Split(strings.TrimSpace(body), "\n") {
			if strings.Contains(e, "poison") {
				w.WriteHeader(400)
				_, _ = fmt.Fprintf(w, `{"text":"Error in handling indexed fields","code":15,"invalid-event-number":%d}`, i)
				return
			}
			indexed++
		}
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	s, err := splunk.New(&splunk.Options{URL: url, Token: secret.New("canary-token"), DisableGzip: true, Channel: "7b1f"})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Send(context.Background(), batch(`{"n":0}`, `{"n":"poison"}`, `{"n":2}`, `{"n":3}`, `{"n":"poison"}`))
	se, ok := errors.AsType[*logging.SinkError](err)
	if !ok || se.Kind != logging.KindRejected || len(se.Rejected) != 2 || se.Rejected[0].Index != 1 || se.Rejected[1].Index != 4 ||
		se.Rejected[0].Reason != "Error in handling indexed fields" {
		t.Errorf("Send = %#v", err)
	}
	if indexed != 3 || len(*bodies) != 2 {
		t.Errorf("%d indexed in %d requests", indexed, len(*bodies))
	}
}

// TestPageForPeople has what stands before a receiver, such as a log-in, answer
// 200 with its page: nothing was taken.
func TestPageForPeople(t *testing.T) {
	t.Parallel()
	url, _ := receiver(t, func(w http.ResponseWriter, _ string) {
		_, _ = io.WriteString(w, "\ufeff\n<!DOCTYPE html>\n<html><form action=/login></form></html>")
	})
	token := secret.New("canary-token")
	for name, err := range map[string]error{
		"datadog":  send(t, datadog.New, &datadog.Options{URL: url, APIKey: token}),
		"elastic":  send(t, elastic.New, &elastic.Options{URL: url, Index: "logs"}),
		"httpjson": send(t, httpjson.New, &httpjson.Options{URL: url}),
		"loggly":   send(t, loggly.New, &loggly.Options{URL: url, Token: token}),
		"loki":     send(t, loki.New, &loki.Options{URL: url, Labels: map[string]string{"a": "b"}}),
		"otlp":     send(t, otlp.New, &otlp.Options{URL: url}),
		"splunk":   send(t, splunk.New, &splunk.Options{URL: url, Token: token}),
	} {
		if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRetry || !strings.Contains(err.Error(), "page") {
			t.Errorf("%s: Send = %v", name, err)
		}
	}
}

// send sends an event by a sink with these options.
func send[O any, S logging.Sink](t *testing.T, newSink func(*O) (S, error), opts *O) error {
	t.Helper()
	s, err := newSink(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(t.Context(), batch(`{"a":1}`))
}

// TestOptionsOfSettings has options that came from settings: mistakes lead to
// their fields, and a sink that is not used has none.
func TestOptionsOfSettings(t *testing.T) {
	t.Parallel()
	bad := sink.HTTP{Timeout: -1}
	const url = "http://127.0.0.1/"
	token := secret.New("canary-token")
	for name, o := range map[string]struct {
		unused, used interface{ Validate() error }
	}{
		"datadog":  {datadog.Options{HTTP: bad}, datadog.Options{HTTP: bad, APIKey: token}},
		"elastic":  {elastic.Options{HTTP: bad}, elastic.Options{HTTP: bad, URL: url, Index: "logs"}},
		"httpjson": {httpjson.Options{HTTP: bad}, httpjson.Options{HTTP: bad, URL: url}},
		"loggly":   {loggly.Options{HTTP: bad}, loggly.Options{HTTP: bad, Token: token}},
		"loki":     {loki.Options{HTTP: bad}, loki.Options{HTTP: bad, URL: url, Labels: map[string]string{"a": "b"}}},
		"otlp":     {otlp.Options{HTTP: bad}, otlp.Options{HTTP: bad, URL: url}},
		"splunk":   {splunk.Options{HTTP: bad}, splunk.Options{HTTP: bad, URL: url, Token: token}},
	} {
		if err := o.unused.Validate(); err != nil {
			t.Errorf("%s: the options of a sink that is not used: %v", name, err)
		}
		err := o.used.Validate()
		if wrong, ok := errors.AsType[options.Mistakes](err); !ok || len(wrong) != 1 || wrong[0].Field != "Timeout" {
			t.Errorf("%s: Validate = %v, want a mistake in Timeout", name, err)
		}
	}
}
