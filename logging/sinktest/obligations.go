package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

func confirms(h *Harness) error {
	s, sink, err := start(h, nil)
	if err != nil {
		return err
	}
	defer s.stop()

	b, messages := batch("confirmed", 25)
	if err := sink.Send(context.Background(), b); err != nil {
		return fmt.Errorf("the receiver took the batch, Send returned: %w", err)
	}

	if err := s.got(messages, 1); err != nil {
		return err
	}

	// A connection that ends before the answer confirms nothing.
	cut, sink, err := start(h, func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return true
	})
	if err != nil {
		return err
	}
	defer cut.stop()

	if err := sink.Send(context.Background(), b); err == nil {
		return errors.New("the connection was cut before an answer, Send returned nil")
	} else if se, ok := errors.AsType[*logging.SinkError](err); ok && se.Kind != logging.KindRetry {
		return fmt.Errorf("the connection was cut before an answer, the kind is %q, want %q", se.Kind, logging.KindRetry)
	}

	return nil
}

// kindsByDefault is what a sink makes of a status.
var kindsByDefault = map[int]logging.Kind{
	408: logging.KindRetry, 429: logging.KindRetry, 500: logging.KindRetry, 502: logging.KindRetry, 503: logging.KindRetry, 504: logging.KindRetry,
	413: logging.KindTooLarge,
	400: logging.KindRejected,
	301: logging.KindConfig, 302: logging.KindConfig, 307: logging.KindConfig, 401: logging.KindConfig, 403: logging.KindConfig, 404: logging.KindConfig,
}

func kinds(h *Harness) error {
	var status int
	s, sink, err := start(h, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false // a redirect was followed
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return true
	})
	if err != nil {
		return err
	}
	defer s.stop()

	want := maps.Clone(kindsByDefault)
	maps.Copy(want, h.Kinds)
	b, _ := batch("refused", 3)

	var broken []error
	for _, status = range slices.Sorted(maps.Keys(want)) {
		err := sink.Send(context.Background(), b)
		if err == nil {
			broken = append(broken, fmt.Errorf("status %d: Send returned nil", status))
			continue
		}
		se, ok := errors.AsType[*logging.SinkError](err)
		if !ok {
			broken = append(broken, fmt.Errorf("status %d: %T is no *logging.SinkError", status, err))
		} else if se.Kind != want[status] {
			broken = append(broken, fmt.Errorf("status %d: the kind is %q, want %q", status, se.Kind, want[status]))
		}
	}

	return errors.Join(broken...)
}

func retryAfter(h *Harness) error {
	s, sink, err := start(h, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	if err != nil {
		return err
	}
	defer s.stop()

	b, _ := batch("later", 1)
	err = sink.Send(context.Background(), b)
	se, ok := errors.AsType[*logging.SinkError](err)
	if !ok || se.RetryAfter != 7*time.Second {
		return fmt.Errorf("status 429 with Retry-After: 7 gave %#v, want RetryAfter 7s", err)
	}
	return nil
}

// patience bounds what is expected to end at once.
const patience = 5 * time.Second

func cancels(h *Harness) error {
	arrived := make(chan struct{})
	release := make(chan struct{})

	s, sink, err := start(h, func(http.ResponseWriter, *http.Request) bool {
		close(arrived)
		<-release
		return true
	})
	if err != nil {
		return err
	}
	defer s.stop()
	defer close(release)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	b, _ := batch("stalled", 1)
	go func() { done <- sink.Send(ctx, b) }()

	select {
	case <-arrived:
	case err := <-done:
		return fmt.Errorf("the sink's Send returned before the receiver answered: %w", err)
	}

	cancel()
	select {
	case err := <-done:
		if err == nil {
			return errors.New("the sink's Send returned nil though ctx ended before an answer")
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the sink's Send goes on %v after ctx ended", patience)
	}
}

func leavesBatch(h *Harness) error {
	s, sink, err := start(h, nil)
	if err != nil {
		return err
	}
	defer s.stop()
	b, _ := batch("untouched", 10)

	var want [][]byte
	for i := range b.Events {
		want = append(want, slices.Clone(b.Events[i].Line))
		// Room behind a line is somebody else's: appending to it would show.
		room := append(slices.Clone(b.Events[i].Line), "next"...)
		b.Events[i].Line = room[:len(room)-4]
	}

	if err := sink.Send(context.Background(), b); err != nil {
		return err
	}

	for i, e := range b.Events {
		if !bytes.Equal(e.Line, want[i]) || string(e.Line[:len(e.Line)+4][len(e.Line):]) != "next" {
			return fmt.Errorf("event %d was changed", i)
		}
	}

	return nil
}

func limits(h *Harness) error {
	s, sink, err := start(h, nil)
	if err != nil {
		return err
	}
	defer s.stop()
	a, b := sink.Limits(), sink.Limits()
	if a != b {
		return fmt.Errorf("the sink's Limits returned %+v, then %+v", a, b)
	}
	if a.MaxBatchBytes < 0 || a.MaxBatchEvents < 0 || a.MaxEventBytes < 0 || a.Overhead < 0 {
		return fmt.Errorf("the sink's Limits returned a negative field: %+v", a)
	}
	return nil
}

func noSecret(h *Harness) error {
	if h.Secret == "" {
		return nil
	}

	s, sink, err := start(h, func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "no access to %s with %v: %s", r.RequestURI, r.Header, h.Secret)
		return true
	})
	if err != nil {
		return err
	}

	b, _ := batch("secret", 1)
	answered := sink.Send(context.Background(), b)
	s.stop()

	away := sink.Send(context.Background(), b)
	for _, err := range []error{answered, away} {
		if err == nil {
			return errors.New("the sink's Send returned nil though it failed")
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(fmt.Sprintf("%v %+v", e, e), h.Secret) {
				return errors.New("an error text shows the secret")
			}
		}
	}

	return nil
}

func concurrent(h *Harness) error {
	s, sink, err := start(h, nil)
	if err != nil {
		return err
	}
	defer s.stop()
	const senders = 8
	var all []string
	var wg sync.WaitGroup
	errs := make([]error, senders)
	for i := range senders {
		b, messages := batch(fmt.Sprint("sender", i), 20)
		all = append(all, messages...)
		wg.Go(func() { errs[i] = sink.Send(context.Background(), b) })
	}

	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.got(all, 1)
}

func oddLines(h *Harness) error {
	s, sink, err := start(h, nil)
	if err != nil {
		return err
	}
	defer s.stop()
	b := &logging.Batch{ID: "20260102150405000000-000000-0"}
	messages := []string{`plain text`, `{"msg":"torn`, `tab	and "quotes"`}
	for i, m := range messages {
		b.Events = append(b.Events, logging.Event{ID: fmt.Sprint("20260102150405000000-000000-", i*20), Line: []byte(m)})
	}
	if err := sink.Send(context.Background(), b); err != nil {
		return err
	}
	return s.got(messages, 1)
}
