package caller_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/caller"
	"github.com/svcblocks/svcblocks/internal/backoff"
)

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

// TestCall: tries end by their number and by the time for all of them, and a
// server may ask for a longer wait, up to Max.
func TestCall(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retry      backoff.Retry
		after      string
		status     int
		least      time.Duration // that it takes
		most       time.Duration
		tries      int
		permanent  bool
		wantAnswer bool
	}{
		"at once":     {retry: backoff.Retry{Attempts: 3, Base: time.Second, Max: time.Minute}, status: 200, tries: 1, wantAnswer: true},
		"attempts":    {retry: backoff.Retry{Attempts: 3, Base: time.Second, Max: time.Minute}, status: 503, tries: 3, most: 3 * time.Second},
		"permanent":   {retry: backoff.Retry{Attempts: 3, Base: time.Second, Max: time.Minute}, status: 404, tries: 1, permanent: true},
		"retry after": {retry: backoff.Retry{Attempts: 2, Base: time.Second, Max: time.Minute}, after: "20", status: 429, tries: 2, least: 20 * time.Second, most: 20 * time.Second},
		"up to max":   {retry: backoff.Retry{Attempts: 2, Base: time.Second, Max: 5 * time.Second}, after: "20", status: 429, tries: 2, least: 5 * time.Second, most: 5 * time.Second},
		"elapsed":     {retry: backoff.Retry{Attempts: -1, Base: time.Second, Max: time.Second, MaxElapsed: 2500 * time.Millisecond}, after: "1", status: 503, tries: 3, least: 2 * time.Second, most: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := &caller.Caller{Retry: tc.retry, MaxBytes: 10, Client: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
					tries++
					return &http.Response{StatusCode: tc.status, Header: http.Header{"Retry-After": {tc.after}}, Body: io.NopCloser(strings.NewReader("hello"))}, nil
				})}}
				begun := time.Now()
				var last caller.Answer
				err := c.Call(t.Context(), get, func(a caller.Answer, err error) error {
					last = a
					switch {
					case err != nil || a.Status == 200:
						return err
					case tc.permanent:
						return errors.New("no")
					}
					return temporary{errors.New("busy")}
				})
				took := time.Since(begun)
				if tries != tc.tries || took < tc.least || took > tc.most || (err == nil) != tc.wantAnswer || string(last.Body) != "hello" {
					t.Errorf("%d tries in %s, answer %q, error %v", tries, took, last.Body, err)
				}
			})
		})
	}
}

func get(ctx context.Context) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, "https://host.example/secret", nil)
}

// TestCallBounds: an answer that is too large, one that does not come, and a
// context that ends while it waits.
func TestCallBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reply := transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("0123456789a"))}, nil
		})
		c := &caller.Caller{Client: &http.Client{Transport: reply}, MaxBytes: 10}
		err := c.Call(t.Context(), get, func(_ caller.Answer, err error) error { return err })
		if err == nil || err.Error() != "the answer is larger than 10 bytes" {
			t.Errorf("too large: %v", err)
		}

		c.Timeout = time.Second
		c.Client = &http.Client{Transport: transport(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})}
		err = c.Call(t.Context(), get, func(_ caller.Answer, err error) error { return err })
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "host.example") || !strings.Contains(err.Error(), "no answer within 1s") {
			t.Errorf("no answer: %v", err)
		}

		ctx, cancel := context.WithTimeoutCause(t.Context(), 90*time.Second, errors.New("enough"))
		defer cancel()
		c.Retry = backoff.Retry{Attempts: -1, Base: time.Hour, Max: time.Hour}
		c.Client = &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"3000"}}, Body: http.NoBody}, nil
		})}
		err = c.Call(ctx, get, func(caller.Answer, error) error { return temporary{errors.New("busy")} })
		if err == nil || !strings.Contains(err.Error(), "busy") || !strings.Contains(err.Error(), "enough") {
			t.Errorf("ended context: %v", err)
		}
	})
}
