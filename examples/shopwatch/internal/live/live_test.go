package live_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/live"
	"github.com/svcblocks/svcblocks/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver counts what it gets, and fails once it is closed.
type receiver struct {
	got     atomic.Int64
	closed  atomic.Bool
	entered chan struct{} // if not nil: told of each message
	leave   chan struct{} // if not nil: waited for
}

var errClosed = errors.New("closed")

func (r *receiver) Send(ctx context.Context, subject, text string) error {
	return r.Notify(ctx, notify.Message{Subject: subject, Text: text})
}

func (r *receiver) Notify(context.Context, notify.Message) error {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.leave
	}
	if r.closed.Load() {
		return errClosed
	}
	r.got.Add(1)
	return nil
}

func (r *receiver) Close() error {
	r.closed.Store(true)
	return nil
}

// some has recipients of its own.
type some struct {
	receiver

	asked []string
}

func (r *some) NotifyRecipients(_ context.Context, _ notify.Message, recipients []string) error {
	r.asked = recipients
	return nil
}

func TestReplaceWaitsForUsers(t *testing.T) {
	t.Parallel()
	first := &receiver{entered: make(chan struct{}), leave: make(chan struct{})}
	r := live.New(first)
	done := make(chan error)
	go func() { done <- r.Send(context.Background(), "s", "t") }()
	<-first.entered
	second := &receiver{}
	r.Replace(second)
	// The new one is in use at once, while the old one is still open.
	if err := r.Send(t.Context(), "s", "t"); err != nil || second.got.Load() != 1 || first.closed.Load() {
		t.Errorf("Send = %v, the new one got %d, the old one is closed: %v", err, second.got.Load(), first.closed.Load())
	}
	close(first.leave)
	if err := <-done; err != nil {
		t.Errorf("the message on its way: %v", err)
	}
	if err := r.Close(); err != nil || !first.closed.Load() || !second.closed.Load() {
		t.Errorf("Close = %v, closed: %v and %v", err, first.closed.Load(), second.closed.Load())
	}
}

func TestNothingIsLostAtReplace(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 500
	all := []*receiver{{}}
	r := live.New(all[0])
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if err := r.Send(context.Background(), "s", "t"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		next := &receiver{}
		all = append(all, next)
		r.Replace(next)
	}
	wg.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var got int64
	for _, one := range all {
		got += one.got.Load()
	}
	if got != senders*each {
		t.Errorf("%d messages arrived, want %d", got, senders*each)
	}
}

func TestWhatAReceiverCannotDo(t *testing.T) {
	t.Parallel()
	r := live.New(&receiver{})
	m := notify.Message{Subject: "s", Text: "t"}
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}
	if err := r.NotifyRecipients(t.Context(), m, []string{"a"}); err != nil {
		t.Errorf("NotifyRecipients = %v", err)
	}
	if text, err := r.Preview(m); err != nil || string(text) != "s\n\nt\n" {
		t.Errorf("Preview = %q, %v", text, err)
	}
	if r.Secrets() != nil {
		t.Error("there are secrets")
	}
	with := &some{}
	r.Replace(with)
	if err := r.NotifyRecipients(t.Context(), m, []string{"a"}); err != nil || len(with.asked) != 1 {
		t.Errorf("NotifyRecipients = %v, asked for %q", err, with.asked)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// locked refuses the credentials.
type locked struct {
	receiver

	asked atomic.Int64
}

func (r *locked) Notify(context.Context, notify.Message) error {
	r.asked.Add(1)
	return errors.Join(&notify.Error{Op: "AUTH", Class: notify.ClassAuth, Code: 535, Reason: "no"})
}

// TestRefusedCredentials: they are not tried again for minutes, new ones are at
// once, and the hub hears of neither as a reason to stop.
func TestRefusedCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := &locked{}
		r := live.New(old)
		send := func() *notify.Error {
			err := r.Notify(context.Background(), notify.Message{Subject: "s"})
			e, _ := errors.AsType[*notify.Error](err)
			return e
		}
		for range 3 {
			if e := send(); e == nil || !e.Temporary() || e.Class == notify.ClassAuth || e.Wait != 5*time.Second || !strings.Contains(e.Reason, "535") {
				t.Errorf("Notify = %+v", e)
			}
		}
		if n := old.asked.Load(); n != 1 {
			t.Errorf("refused credentials were tried %d times", n)
		}
		time.Sleep(5*time.Minute + time.Second)
		if send(); old.asked.Load() != 2 {
			t.Error("they were not tried again after a while")
		}
		good := &receiver{}
		r.Replace(good)
		if e := send(); e != nil || good.got.Load() != 1 {
			t.Errorf("with new ones: %v", e)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
