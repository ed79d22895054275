package notifytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// Harness tells the suite how to handle a receiver and what stands behind it.
// New and Received are required; an obligation whose switch is nil is not
// checked.
type Harness struct {
	// New returns a receiver. The suite closes it if it has a Close.
	New func() (notify.Notifier, error)
	// Received returns what arrived at the far end so far, one text per
	// message, in which the message's subject can be found.
	Received func() []string
	// Stall makes the far end silent. Heal undoes it.
	Stall func()
	// Busy makes the far end refuse for the moment. Heal undoes it.
	Busy func()
	// Refuse makes the far end refuse for good. Heal undoes it.
	Refuse func()
	// Heal makes the far end work again. Required with any of the above.
	Heal func()
	// Secrets must show in no error.
	Secrets []string
}

// obligation is one of those that the comment of notify.Notifier numbers.
type obligation struct {
	name  string
	check func(Harness, notify.Notifier) error
}

func obligations() []obligation {
	return []obligation{
		{"1: nil means that the message arrived", arrives},
		{"2: returns soon after ctx ends", endsWithContext},
		{"3: is safe for concurrent use", isConcurrent},
		{"4: says whether another try can help", classifies},
		{"5: shows no secret", hidesSecrets},
		{"6: sends again under the same ID", repeatsWithID},
	}
}

// Check returns an error for each obligation of a [notify.Notifier] that the
// receiver breaks, nil if there is none.
func Check(h Harness) error {
	var errs []error
	for _, o := range obligations() {
		if err := h.run(o); err != nil {
			errs = append(errs, fmt.Errorf("obligation %s: %w", o.name, err))
		}
	}
	return errors.Join(errs...)
}

// Run runs [Check] with a subtest per obligation.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, o := range obligations() {
		t.Run(o.name, func(t *testing.T) {
			if err := h.run(o); err != nil {
				t.Error(err)
			}
		})
	}
}

func (h Harness) run(o obligation) error {
	n, err := h.New()
	if err != nil {
		return fmt.Errorf("new receiver: %w", err)
	}
	defer func() {
		if h.Heal != nil {
			h.Heal()
		}
		if c, ok := n.(interface{ Close() error }); ok {
			_ = c.Close()
		}
	}()
	return o.check(h, n)
}

// patience bounds what is to succeed.
const patience = 20 * time.Second

func (h Harness) count(subject string) int {
	n := 0
	for _, text := range h.Received() {
		if strings.Contains(text, subject) {
			n++
		}
	}
	return n
}

func subjectOf(what string) string { return fmt.Sprintf("suite-%s-%s", what, notify.NewID()) }

func arrives(h Harness, n notify.Notifier) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	subject := subjectOf("arrives")
	if err := n.Send(ctx, subject, "text"); err != nil {
		return fmt.Errorf("a message to a good far end: %w", err)
	}
	if got := h.count(subject); got != 1 {
		return fmt.Errorf("Send returned nil and the message arrived %d times, want once", got)
	}
	return nil
}

func endsWithContext(h Harness, n notify.Notifier) error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := timed(ended, n); err != nil {
		return fmt.Errorf("ctx ended before the call: %w", err)
	}
	if h.Stall == nil {
		return nil
	}

	h.Stall()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := timed(ctx, n); err != nil {
		return fmt.Errorf("the far end is silent: %w", err)
	}
	return nil
}

// timed calls Send with a ctx that ends within 200 ms, or has.
func timed(ctx context.Context, n notify.Notifier) error {
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- n.Send(ctx, subjectOf("late"), "text") }()

	select {
	case err := <-done:
		switch {
		case err == nil:
			return errors.New("Send returned nil")
		case !errors.Is(err, ctx.Err()):
			return fmt.Errorf("the error does not match %w: %w", ctx.Err(), err)
		}
		return nil
	case <-time.After(2 * time.Second):
		return fmt.Errorf("Send has not returned after %v", time.Since(begin).Round(time.Millisecond))
	}
}

func isConcurrent(h Harness, n notify.Notifier) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const callers = 8
	subject := subjectOf("concurrent")
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { errs[i] = n.Send(ctx, fmt.Sprintf("%s-%d.", subject, i), "text") })
	}

	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%d calls at once: %w", callers, err)
	}

	for i := range callers {
		if got := h.count(fmt.Sprintf("%s-%d.", subject, i)); got != 1 {
			return fmt.Errorf("message %d of %d at once arrived %d times, want once", i, callers, got)
		}
	}

	return nil
}

func classifies(h Harness, n notify.Notifier) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	for _, c := range []struct {
		name      string
		arrange   func()
		temporary bool
	}{{"refuses for the moment", h.Busy, true}, {"refuses for good", h.Refuse, false}} {
		if c.arrange == nil {
			continue
		}
		c.arrange()
		err := n.Send(ctx, subjectOf("refused"), "text")
		h.Heal()

		if err == nil {
			return fmt.Errorf("the far end %s: Send returned nil", c.name)
		}
		if got := temporary(err); got != c.temporary {
			return fmt.Errorf("the far end %s: Temporary is %v, want %v: %w", c.name, got, c.temporary, err)
		}
	}

	if err := n.Send(ctx, subjectOf("healed"), "text"); err != nil {
		return fmt.Errorf("the far end works again: %w", err)
	}
	return nil
}

// temporary asks as the Hub does.
func temporary(err error) bool {
	list := notify.Errors(err)
	if len(list) == 0 {
		return notify.NewError("send", err).Temporary()
	}
	for _, e := range list {
		if !e.Temporary() {
			return false
		}
	}
	return true
}

func hidesSecrets(h Harness, n notify.Notifier) error {
	for _, arrange := range []func(){h.Stall, h.Busy, h.Refuse} {
		if arrange == nil {
			continue
		}
		arrange()
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		err := n.Send(ctx, subjectOf("secret"), "text")
		cancel()
		h.Heal()

		for _, s := range h.Secrets {
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), s) {
					return errors.New("an error shows a secret (it is not repeated here)")
				}
			}
		}
	}

	return nil
}

func repeatsWithID(h Harness, n notify.Notifier) error {
	m, ok := n.(notify.MessageNotifier)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	message := notify.Message{ID: notify.NewID(), Subject: subjectOf("again"), Text: "text"}
	for range 2 {
		if err := m.Notify(ctx, message); err != nil {
			return fmt.Errorf("the same message again: %w", err)
		}
	}

	if got := h.count(message.Subject); got != 1 && got != 2 {
		return fmt.Errorf("a message sent twice arrived %d times, want once or twice", got)
	}
	return nil
}
