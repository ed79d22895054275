package patient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
)

// What many wait for is told once, and once that it is over.
func TestToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := patient.New(slog.New(slog.NewTextHandler(&out, nil)))
		from := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				err := a.Ask(t.Context(), "store results", func(context.Context) error {
					if time.Since(from) < 8*time.Second {
						return nats.ErrNoResponders
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if strings.Count(out.String(), "level=WARN") != 1 || strings.Count(out.String(), "level=INFO") != 1 || !strings.Contains(out.String(), "no leader") {
			t.Errorf("told:\n%s", &out)
		}
	})
}

// An election keeps all waiting, and is told once. A full disk is told beside it.
func TestToldByReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := patient.New(slog.New(slog.NewTextHandler(&out, nil)))
		from := time.Now()
		var wg sync.WaitGroup
		wait := func(what string, until time.Duration, err error) {
			wg.Go(func() {
				if err := a.Ask(t.Context(), what, func(context.Context) error {
					if time.Since(from) < until {
						return err
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wait("store results", 8*time.Second, nats.ErrNoResponders)
		wait("take turns", 12*time.Second, nats.ErrTimeout)
		wait("queue jobs", 10*time.Second, &jetstream.APIError{Code: 503, ErrorCode: 10008})
		wait("keep dead letters", 9*time.Second, &jetstream.APIError{Code: 503, ErrorCode: 10023, Description: "disk"})
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Ask(gone, "never mind", func(context.Context) error { return patient.ErrFull }); err == nil {
			t.Error("no error after the end of its context")
		}
		wg.Wait()
		synctest.Wait()
		if strings.Count(out.String(), "level=WARN") != 2 || strings.Count(out.String(), "level=INFO") != 2 || !strings.Contains(out.String(), "to=\"take turns\" after=12") {
			t.Errorf("told:\n%s", &out)
		}
	})
}

// A request that nobody answers is asked again, and what ends soon is not told.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := patient.New(slog.New(slog.NewTextHandler(&out, nil)))
		calls := 0
		err := a.Ask(t.Context(), "open", func(ctx context.Context) error {
			if calls++; calls == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		if err != nil || calls != 2 || out.Len() > 0 {
			t.Errorf("%d calls, %v, told %q", calls, err, &out)
		}

		// Who may be slow gets more time each time.
		var bounds []time.Duration
		_ = a.Ask(t.Context(), "open", func(ctx context.Context) error {
			from := time.Now()
			if len(bounds) == 5 {
				return nil
			}
			<-ctx.Done()
			bounds = append(bounds, time.Since(from))
			return ctx.Err()
		})
		if want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second, 8 * time.Second}; !slices.Equal(bounds, want) {
			t.Errorf("requests got %v, want %v", bounds, want)
		}
		out.Reset()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("not within 1s"))
		defer cancel()
		if err := a.Ask(ctx, "open", func(context.Context) error { return nats.ErrTimeout }); err == nil || !strings.Contains(err.Error(), "not within 1s") {
			t.Errorf("error %v", err)
		}
	})
}

func TestFinal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nats.ErrMaxPayload, true},
		{nats.ErrAuthorization, true},
		{jetstream.ErrInvalidOption, true},
		{&jetstream.APIError{Code: 400, ErrorCode: 10052}, true},
		{&jetstream.APIError{Code: 500, ErrorCode: 10074}, true},
		{&jetstream.APIError{Code: 400, ErrorCode: 10054}, true},
		{&jetstream.APIError{Code: 409, ErrorCode: 10158}, false}, // the first copy is under way
		{&jetstream.APIError{Code: 503, ErrorCode: 10077}, false}, // full
		{&jetstream.APIError{Code: 503, ErrorCode: 10023}, false}, // disk
		{&jetstream.APIError{Code: 503, ErrorCode: 10008}, false}, // no leader
		{&jetstream.APIError{Code: 404, ErrorCode: 10059}, false}, // no stream yet
		{nats.ErrNoResponders, false},
		{nats.ErrDisconnected, false},
		{context.DeadlineExceeded, false},
		{errors.New("never seen before"), false},
	} {
		if got := patient.Final(fmt.Errorf("queue: %w", tt.err)); got != tt.want {
			t.Errorf("Final(%v) = %v", tt.err, got)
		}
	}
}
