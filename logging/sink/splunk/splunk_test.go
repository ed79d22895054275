package splunk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/splunk"
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

// receive reads a request as the HTTP Event Collector documents it.
func receive(r *http.Request, body []byte) (messages []string, err error) {
	if r.URL.Path != "/services/collector/event" || r.Header.Get("Authorization") != "Splunk "+token {
		return nil, fmt.Errorf("%s, headers %v", r.URL.Path, r.Header)
	}
	if len(body) > 2<<20 {
		return nil, fmt.Errorf("%d bytes", len(body))
	}
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var e struct {
			Time   json.Number
			Event  json.RawMessage
			Index  string
			Fields map[string]string
		}
		if err := d.Decode(&e); err == io.EOF {
			return messages, nil
		} else if err != nil {
			return nil, err
		}
		if e.Index != "shop" || !strings.HasPrefix(e.Time.String(), "1767") || !strings.HasPrefix(e.Fields["event_id"], "20260102") || len(e.Event) > 1<<20 {
			return nil, fmt.Errorf("event %+v", e)
		}
		var line string
		if json.Unmarshal(e.Event, &line) != nil {
			line = string(e.Event)
		}
		messages = append(messages, text(line))
	}
}

func harness() sinktest.Harness {
	return sinktest.Harness{
		New: func(url string) (logging.Sink, error) {
			return splunk.New(&splunk.Options{URL: url, Token: secret.New(token), Index: "shop"})
		},
		Receive: receive,
		Accept: func(w http.ResponseWriter, _ *http.Request, _ int) {
			_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
		},
		Secret: token,
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, harness())
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		body   string
		want   logging.Kind
	}{
		{200, `{"text":"Success"}`, logging.KindRetry},
		{200, `<html>`, logging.KindRetry},
		{400, `{"text":"Invalid data format","code":6,"invalid-event-number":1}`, logging.KindRejected},
		{400, `{"text":"Event field is required","code":12}`, logging.KindRejected},
		{400, `{"text":"Incorrect index","code":7}`, logging.KindConfig},
		{400, `{"text":"Data channel is missing","code":10}`, logging.KindConfig},
		{403, `{"text":"Invalid token","code":4}`, logging.KindConfig},
		{503, `{"text":"Server is busy","code":9}`, logging.KindRetry},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		sink, err := splunk.New(&splunk.Options{URL: srv.URL, Token: secret.New(token)})
		if err != nil {
			t.Fatal(err)
		}
		err = sink.Send(context.Background(), &logging.Batch{Events: []logging.Event{{ID: "x", Line: []byte("{}")}}})
		if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != tt.want {
			t.Errorf("%d %s gives %v, want kind %v", tt.status, tt.body, err, tt.want)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

// FuzzAnswer has a receiver answer 200 with any bytes: only its documented
// confirmation counts.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"text":"Success","code":0}`, `{"code":9}`, `[`, ``} {
		f.Add(s)
	}
	var answer atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	f.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	sink, err := splunk.New(&splunk.Options{URL: srv.URL, Token: secret.New(token)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		answer.Store(body)
		err := sink.Send(context.Background(), &logging.Batch{ID: "x", Events: []logging.Event{{ID: "x", Line: []byte("{}")}}})
		if err == nil {
			var said map[string]any
			if json.Unmarshal([]byte(body), &said) != nil || !strings.Contains(body, "0") {
				t.Errorf("%q counts as taken", body)
			}
			return
		}
		if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRetry {
			t.Errorf("%q gives %v", body, err)
		}
	})
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := splunk.New(nil)
	mistakes(t, err, "URL: is missing", "Token: is missing")
	_, err = splunk.New(&splunk.Options{URL: "http://h", Token: secret.New("canary\x00"), HTTP: sink.HTTP{Timeout: -1}})
	mistakes(t, err, "Token: holds", "Timeout: -1ns")
}

func ExampleSink() {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Print(string(body))
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	}))
	defer collector.Close()
	sink, err := splunk.New(&splunk.Options{URL: collector.URL, Token: secret.New("token"), SourceType: "_json", DisableGzip: true, HTTP: sink.HTTP{Client: collector.Client()}})
	if err != nil {
		panic(err)
	}
	err = sink.Send(context.Background(), &logging.Batch{ID: "1-0", Events: []logging.Event{
		{ID: "20260102150405000000-123456-0", Line: []byte(`{"time":"2026-01-02T15:04:05.25Z","level":"INFO","msg":"hello"}`)},
	}})
	fmt.Println(err)
	// Output:
	// {"time":1767366245.250000,"event":{"time":"2026-01-02T15:04:05.25Z","level":"INFO","msg":"hello"},"fields":{"event_id":"20260102150405000000-123456-0"},"sourcetype":"_json"}
	// <nil>
}

func ExampleOptions() {
	_, err := splunk.New(&splunk.Options{URL: "https://localhost:8088"})
	fmt.Println(err)
	// Output: splunk: new: Token: is missing: the receiver asks for it
}
