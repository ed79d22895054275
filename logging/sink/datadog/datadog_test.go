package datadog_test

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

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/datadog"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "canary-9c4e"

// text returns the message of a line.
func text(line string) string {
	var e struct{ Msg, Message string }
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return line
	}
	return e.Msg + e.Message
}

// mistakes fails t unless err names each of want, and not the token.
func mistakes(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not contain %q", err, w)
		}
	}
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("error %v shows a secret", err)
	}
}

// receive reads a request as Datadog documents its intake, and holds its
// limits.
func receive(r *http.Request, body []byte) (messages []string, err error) {
	if r.URL.Path != "/api/v2/logs" || r.Header.Get("DD-API-KEY") != token || r.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("%s, headers %v", r.URL.Path, r.Header)
	}
	if len(body) > 5_000_000 {
		return nil, fmt.Errorf("%d bytes", len(body))
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || len(raw) > 1000 || len(raw) == 0 {
		return nil, fmt.Errorf("%d entries: %w", len(raw), err)
	}
	for _, entry := range raw {
		// All but the time is a text, so that receivers which take nothing else are
		// content too.
		var when struct {
			Timestamp *int64 `json:"timestamp"`
		}
		all, e := map[string]any{}, map[string]string{}
		if err := errors.Join(json.Unmarshal(entry, &all), json.Unmarshal(entry, &when)); err != nil || len(entry) > 1_000_000 || when.Timestamp == nil {
			return nil, fmt.Errorf("an entry of %d bytes: %w", len(entry), err)
		}
		delete(all, "timestamp")
		for k, v := range all {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("%s is no text", k)
			}
			e[k] = text
		}
		if e["ddsource"] != "go" || e["service"] != "shop" || e["ddtags"] != "env:prod,team:a" || e["event_id"] == "" {
			return nil, fmt.Errorf("entry %v", e)
		}
		messages = append(messages, text(e["message"]))
	}
	return messages, nil
}

func newSink(url string) (logging.Sink, error) {
	return datadog.New(&datadog.Options{URL: url, APIKey: secret.New(token), Service: "shop", Tags: []string{"env:prod", "team:a"}})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Harness{
		New: newSink, Receive: receive, Secret: token,
		Accept: func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusAccepted) },
	})
}

func TestLargeEntries(t *testing.T) {
	t.Parallel()
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Content-Encoding")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		messages, err := receive(r, body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		got = append(got, messages...)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	sink, err := datadog.New(&datadog.Options{URL: srv.URL, APIKey: secret.New(token), Service: "shop", Tags: []string{"env:prod", "team:a"}, DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	line := func(n int, fill string) logging.Event {
		return logging.Event{ID: fmt.Sprint("id-", n), Line: fmt.Appendf(nil, `{"msg":"%d","x":%q}`, n, strings.Repeat(fill, n))}
	}
	// 600 kB of quotes take 1.8 MB in an entry.
	b := &logging.Batch{Events: []logging.Event{line(1, "x"), line(300_000, `"`), line(2, "x")}}
	err = sink.Send(context.Background(), b)
	se, ok := errors.AsType[*logging.SinkError](err)
	if !ok || se.Kind != logging.KindRejected || fmt.Sprint(refused(se)) != "[1]" || fmt.Sprint(got) != "[1 2]" {
		t.Errorf("Send = %v, %+v; got %v", err, se, got)
	}
	b = &logging.Batch{}
	for range 10 {
		b.Events = append(b.Events, line(600_000, "x"))
	}
	if se, ok := errors.AsType[*logging.SinkError](sink.Send(context.Background(), b)); !ok || se.Kind != logging.KindTooLarge {
		t.Errorf("6 MB give %v", se)
	}
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := datadog.New(nil)
	mistakes(t, err, "APIKey: is missing")
	_, err = datadog.New(&datadog.Options{URL: "h", APIKey: secret.New("canary\n"), Tags: []string{"a,b", ""}, HTTP: sink.HTTP{Timeout: -1}})
	mistakes(t, err, "URL", "APIKey: holds", `Tags[0]: "a,b"`, "Tags[1]", "Timeout: -1ns")
}

func ExampleSink() {
	sink, err := datadog.New(&datadog.Options{APIKey: secret.New("key"), Site: "datadoghq.eu", Service: "shop"})
	if err != nil {
		panic(err)
	}
	l := sink.Limits()
	fmt.Println(l.MaxBatchBytes, l.MaxBatchEvents, l.MaxEventBytes)
	// Output: 5000000 1000 1000000
}

func ExampleOptions() {
	_, err := datadog.New(&datadog.Options{Service: "shop"})
	fmt.Println(err)
	// Output: datadog: new: APIKey: is missing: the receiver asks for it
}

// refused returns the indices of the events that were not taken.
func refused(se *logging.SinkError) (indices []int) {
	for _, r := range se.Rejected {
		indices = append(indices, r.Index)
	}
	return indices
}
