package sinktest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a right sink with a switch for each obligation to break.
type sink struct {
	url    string
	wrong  string
	client *http.Client
	calls  int
}

func (s *sink) Limits() logging.Limits {
	s.calls++
	if s.wrong == "5" {
		return logging.Limits{MaxBatchEvents: s.calls}
	}
	return logging.Limits{}
}

func (s *sink) Send(ctx context.Context, b *logging.Batch) error {
	if s.wrong == "3" {
		ctx = context.WithoutCancel(ctx)
	}
	var body bytes.Buffer
	for i, e := range b.Events {
		switch {
		case s.wrong == "4":
			e.Line[0] = ' '
		case s.wrong == "8" && e.Line[len(e.Line)-1] != '}':
			continue
		case s.wrong == "7" && i == 7:
			continue
		}
		if json.Valid(e.Line) {
			body.Write(e.Line)
		} else {
			line, err := json.Marshal(map[string]string{"message": string(e.Line)})
			if err != nil {
				return err
			}
			body.Write(line)
		}
		body.WriteByte('\n')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Token", "hunter2")
	resp, err := s.client.Do(req)
	if err != nil {
		if s.wrong == "1" || s.wrong == "3 nil" && ctx.Err() != nil {
			return nil
		}
		return &logging.SinkError{Err: errors.New("no answer")}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	kind := logging.KindConfig
	switch status := resp.StatusCode; {
	case status == 200:
		return nil
	case status == 413:
		kind = logging.KindTooLarge
	case status == 400:
		kind = logging.KindRejected
	case status == 408 || status == 429 || status >= 500:
		kind = logging.KindRetry
	}
	if s.wrong == "2" && resp.StatusCode == 503 {
		kind = logging.KindRejected
	}
	se := &logging.SinkError{Kind: kind, Err: errors.New(resp.Status)}
	if s.wrong == "6" {
		se.Err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if resp.Header.Get("Retry-After") == "7" && s.wrong != "2 Retry" {
		se.RetryAfter = 7 * time.Second
	}
	return se
}

func harness(wrong string) sinktest.Harness {
	return sinktest.Harness{
		New: func(url string) (logging.Sink, error) {
			return &sink{url: url, wrong: wrong, client: &http.Client{
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}}, nil
		},
		Receive: func(_ *http.Request, body []byte) (messages []string, err error) {
			for l := range bytes.Lines(body) {
				var e struct{ Msg, Message string }
				if err := json.Unmarshal(l, &e); err != nil {
					return nil, err
				}
				messages = append(messages, e.Msg+e.Message)
			}
			return messages, nil
		},
		Secret: "hunter2",
	}
}

func TestRightSinkPasses(t *testing.T) {
	sinktest.Run(t, harness(""))
}

// TestWrongSinksFail holds each obligation against a sink that breaks it.
func TestWrongSinksFail(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"1", "2", "2 Retry", "3", "3 nil", "4", "5", "6", "7", "8"} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			err := sinktest.Check(harness(wrong))
			if err == nil || !strings.Contains(err.Error(), "obligation "+wrong[:1]+"/") || wrong == "3" && strings.Count(err.Error(), "obligation ") != 1 {
				t.Errorf("a sink that breaks obligation %s gets %v", wrong, err)
			}
		})
	}
	if err := sinktest.Check(sinktest.Harness{}); err == nil {
		t.Error("an empty harness passes")
	}
}

func ExampleHarness() {
	h := sinktest.Harness{
		New: func(url string) (logging.Sink, error) { return silent{}, nil },
		Receive: func(*http.Request, []byte) ([]string, error) {
			return nil, errors.New("nothing is ever sent")
		},
	}
	err := sinktest.Check(h)
	first, _, _ := strings.Cut(err.Error(), "\n")
	fmt.Println(first)
	// Output: obligation 1/confirms only what the receiver took: event "confirmed 0 of 25: ü \"quoted\" <tag>" arrived 0 times, want 1
}

// silent sends nothing and says that all was taken.
type silent struct{}

func (silent) Limits() logging.Limits                     { return logging.Limits{} }
func (silent) Send(context.Context, *logging.Batch) error { return nil }
