package loggly_test

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
	"github.com/svcblocks/svcblocks/logging/sink/loggly"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0a1b2c3d-canary-4e5f"

// receive reads a bulk request as Loggly documents it, and holds its limits.
func receive(r *http.Request, body []byte) (messages []string, err error) {
	if want := "/bulk/" + token + "/tag/prod,shop-1/"; r.URL.Path != want {
		return nil, fmt.Errorf("path is %q, want %q", r.URL.Path, want)
	}
	if got := r.Header.Get("Content-Type"); got != "text/plain" {
		return nil, fmt.Errorf("content type is %q", got)
	}
	if len(body) > 5_000_000 {
		return nil, fmt.Errorf("%d bytes in one batch", len(body))
	}
	for l := range bytes.Lines(body) {
		var e struct{ Msg, Message string }
		if err := json.Unmarshal(l, &e); err != nil || len(l) > 1_000_001 {
			return nil, fmt.Errorf("a line of %d bytes: %v", len(l), err)
		}
		messages = append(messages, e.Msg+e.Message)
	}
	return messages, nil
}

func accept(w http.ResponseWriter, _ *http.Request, _ int) {
	_, _ = io.WriteString(w, `{"response" : "ok"}`)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for _, o := range []loggly.Options{{}, {DisableGzip: true, IDField: "event_id"}} {
		t.Run(fmt.Sprint("ids=", o.IDField != ""), func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Harness{
				New: func(url string) (logging.Sink, error) {
					o.URL, o.Token, o.Tags = url, secret.New(token), []string{"prod", "shop-1"}
					return loggly.New(&o)
				},
				Receive: receive, Accept: accept, Secret: token,
			})
		})
	}
}

// TestWrongAnswer has a proxy answer 200 in Loggly's place.
func TestWrongAnswer(t *testing.T) {
	t.Parallel()
	err := sinktest.Check(sinktest.Harness{
		New: func(url string) (logging.Sink, error) {
			return loggly.New(&loggly.Options{URL: url, Token: secret.New(token), Tags: []string{"prod", "shop-1"}})
		},
		Receive: receive,
		Accept: func(w http.ResponseWriter, _ *http.Request, _ int) {
			_, _ = io.WriteString(w, "<html>Welcome</html>")
		},
	})
	if err == nil || !strings.Contains(err.Error(), `the answer is not`) {
		t.Errorf("Check = %v", err)
	}
}

// TestLimits sends lines that are too large only when they are quoted.
func TestLimits(t *testing.T) {
	t.Parallel()
	got := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = receive(r, body)
		}
		if err != nil {
			t.Error(err)
		}
		got += bytes.Count(body, []byte("\n"))
		accept(w, r, 0)
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	sink, err := loggly.New(&loggly.Options{URL: srv.URL, Token: secret.New(token), Tags: []string{"prod", "shop-1"}, DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	line := func(text string) logging.Event { return logging.Event{ID: "1-0", Line: []byte(text)} }
	large := line(strings.Repeat(`"`, 600_000))
	err = sink.Send(t.Context(), &logging.Batch{Events: []logging.Event{line("a"), large, line("b")}})
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRejected || fmt.Sprint(refused(se)) != "[1]" || got != 2 {
		t.Errorf("Send = %v; %d arrived", err, got)
	}
	err = sink.Send(t.Context(), &logging.Batch{Events: []logging.Event{large}})
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRejected || fmt.Sprint(refused(se)) != "[0]" {
		t.Errorf("Send of it alone = %v", err)
	}
	b := &logging.Batch{}
	for range 12 {
		b.Events = append(b.Events, line(strings.Repeat(`"`, 400_000)))
	}
	if se, ok := errors.AsType[*logging.SinkError](sink.Send(t.Context(), b)); !ok || se.Kind != logging.KindTooLarge || got != 2 {
		t.Errorf("9.6 MB give %v; %d arrived", se, got)
	}
}

// FuzzAnswer has a receiver answer 200 with any bytes: only its documented
// confirmation counts.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"response" : "ok"}`, `{"response":null}`, `[`, ``} {
		f.Add(s)
	}
	var answer atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	f.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	sink, err := loggly.New(&loggly.Options{URL: srv.URL, Token: secret.New(token)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		answer.Store(body)
		err := sink.Send(context.Background(), &logging.Batch{ID: "x", Events: []logging.Event{{ID: "x", Line: []byte("{}")}}})
		if err == nil {
			var said map[string]any
			if json.Unmarshal([]byte(body), &said) != nil || !strings.Contains(body, "ok") {
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
	_, err := loggly.New(&loggly.Options{URL: "logs.example.com", Token: secret.New("a/canary"), Tags: []string{"ok", "no good", ""}, HTTP: sink.HTTP{Timeout: -1}})
	for _, want := range []string{"URL", "Token", `Tags[1]: "no good"`, "Tags[2]", "Timeout: -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("error %v shows the token", err)
	}
	if _, err := loggly.New(nil); err == nil {
		t.Error("no token is taken")
	}
}

func ExampleSink() {
	sink, err := loggly.New(&loggly.Options{Token: secret.New("customer-token"), Tags: []string{"prod"}})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", sink.Limits())
	// Output: {MaxBatchBytes:5000000 MaxBatchEvents:0 MaxEventBytes:999958 Overhead:42}
}

func ExampleOptions() {
	_, err := loggly.New(&loggly.Options{Tags: []string{"two words"}})
	fmt.Println(err)
	// Output:
	// loggly: new: Token: is missing: give the customer token
	// loggly: new: Tags[0]: "two words" is not made of letters, digits, "-", "_" and "."
}

// refused returns the indices of the events that were not taken.
func refused(se *logging.SinkError) (indices []int) {
	for _, r := range se.Rejected {
		indices = append(indices, r.Index)
	}
	return indices
}
