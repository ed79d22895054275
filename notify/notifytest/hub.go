package notifytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// Hub is what [CheckHub] holds to its promises: a [notify.Hub], or what a service
// makes of one.
type Hub interface {
	Notify(ctx context.Context, m notify.Message) error
	Close() error
}

// HubHarness tells the suite how a service makes its hub. New is required.
type HubHarness struct {
	// New returns the hub as the service makes it, with an outbox in dir, and with
	// receiver(name) in the place of the Notifier of each receiver.
	New func(dir string, receiver func(name string) notify.Notifier) (Hub, error)
	// Takes says whether m is for the receiver called name, whatever MinLevel and
	// Match say. Defaults to yes.
	Takes func(name string, m notify.Message) bool
	// Interval is the least time between two messages about one trouble that do not
	// go out at once. Defaults to 5m, as that of [notify.Group].
	Interval time.Duration
	// PerHour bounds what a receiver gets in an hour. Defaults to 100, which
	// [notify.Rate] makes of its defaults: 20 at once, 20 on credit, one per minute.
	PerHour int
}

// promise is one of those that people on call rely on.
type promise struct {
	name  string
	check func(*hubTrial) error
}

func promises() []promise {
	return []promise{
		{"1: everyone concerned is told, and nobody else", tellsEveryone},
		{"2: the end reaches whoever heard the start, and nobody else", tellsTheEnd},
		{"3: nothing is told twice across restarts", tellsOnce},
		{"4: what is told in an hour is bounded, and all of it is counted", isBounded},
		{"5: nothing is accepted that nobody can get, and what is accepted arrives", acceptsWhatArrives},
	}
}

// CheckHub returns an error for each promise that the hub breaks, nil if there is
// none. It lets hours pass: call it in a bubble of testing/synctest.
func CheckHub(h HubHarness) error {
	var errs []error
	for _, p := range promises() {
		if err := h.run(p); err != nil {
			errs = append(errs, fmt.Errorf("promise %s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// RunHub runs [CheckHub] with a subtest in virtual time per promise.
func RunHub(t *testing.T, h HubHarness) {
	t.Helper()
	for _, p := range promises() {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := h.run(p); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func (h HubHarness) run(p promise) error {
	if h.Takes == nil {
		h.Takes = func(string, notify.Message) bool { return true }
	}
	if h.Interval <= 0 {
		h.Interval = 5 * time.Minute
	}
	if h.PerHour <= 0 {
		h.PerHour = 100
	}

	dir, err := os.MkdirTemp("", "notifytest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	t := &hubTrial{HubHarness: h, dir: dir, heard: map[string]*Recorder{}}
	if err := t.start(); err != nil {
		return err
	}
	return errors.Join(p.check(t), t.hub.Close())
}

// hubTrial is one hub, and what its receivers heard.
type hubTrial struct {
	HubHarness
	dir  string
	hub  Hub
	away atomic.Bool

	mu    sync.Mutex
	heard map[string]*Recorder
}

// start makes a hub, the first one or that of the next process.
func (t *hubTrial) start() (err error) {
	t.hub, err = t.New(t.dir, t.receiver)
	if err != nil {
		return fmt.Errorf("new hub: %w", err)
	}
	return nil
}

func (t *hubTrial) receiver(name string) notify.Notifier {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heard[name] == nil {
		t.heard[name] = &Recorder{Fail: func(context.Context, notify.Message) error {
			if t.away.Load() {
				return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
			}
			return nil
		}}
	}
	return t.heard[name]
}

// each calls check for each receiver in the order of their names, with what it
// heard once all that goes out soon is out.
func (t *hubTrial) each(check func(name string, got []notify.Message) error) error {
	time.Sleep(2 * time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(t.heard))
	for name := range t.heard {
		names = append(names, name)
	}
	slices.Sort(names)

	var errs []error
	for _, name := range names {
		if err := check(name, t.heard[name].Messages()); err != nil {
			errs = append(errs, fmt.Errorf("receiver %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// send gives m to the hub, which must accept it if it is for some receiver.
func (t *hubTrial) send(m notify.Message) error {
	err := t.hub.Notify(context.Background(), m)
	if err != nil && t.anybody(m) {
		return fmt.Errorf("%q of level %v: %w", m.Subject, m.Level, err)
	}
	return nil
}

// anybody reports whether m is for some receiver.
func (t *hubTrial) anybody(m notify.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.heard {
		if t.Takes(name, m) {
			return true
		}
	}
	return false
}

var levels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelError + 4}

// trouble is the start of a trouble of its own for each level.
func trouble(level slog.Level) notify.Message {
	return notify.Message{Level: level, Key: fmt.Sprint("suite-", level), Subject: fmt.Sprint("trouble of level ", level)}
}

// over is the end of m, by somebody who gives no level.
func over(m notify.Message) notify.Message {
	return notify.Message{Key: m.Key, Subject: m.Subject + " is over", Resolved: true}
}

// about counts what was heard about key.
func about(got []notify.Message, key string, resolved bool) (n int) {
	for _, m := range got {
		if m.Key == key && m.Resolved == resolved {
			n++
		}
	}
	return n
}

// starts sends a trouble of each level.
func (t *hubTrial) starts() error {
	for _, level := range levels {
		if err := t.send(trouble(level)); err != nil {
			return err
		}
	}
	return nil
}

// ends sends the end of each of them.
func (t *hubTrial) ends() error {
	for _, level := range levels {
		if err := t.send(over(trouble(level))); err != nil {
			return err
		}
	}
	return nil
}

// eachTrouble calls check for each receiver and trouble, with how often its start
// and its end were heard.
func (t *hubTrial) eachTrouble(check func(name string, m notify.Message, starts, ends int) error) error {
	return t.each(func(name string, got []notify.Message) error {
		for _, level := range levels {
			m := trouble(level)
			if err := check(name, m, about(got, m.Key, false), about(got, m.Key, true)); err != nil {
				return err
			}
		}
		return nil
	})
}

func tellsEveryone(t *hubTrial) error {
	if err := t.starts(); err != nil {
		return err
	}
	return t.eachTrouble(func(name string, m notify.Message, starts, _ int) error {
		want := 0
		if t.Takes(name, m) {
			want = 1
		}
		if starts != want {
			return fmt.Errorf("a message of level %v came %d times, want %d", m.Level, starts, want)
		}
		return nil
	})
}

func tellsTheEnd(t *hubTrial) error {
	if err := t.starts(); err != nil {
		return err
	}

	time.Sleep(time.Minute)
	if err := t.ends(); err != nil {
		return err
	}

	return t.eachTrouble(func(_ string, m notify.Message, starts, ends int) error {
		if starts != ends {
			return fmt.Errorf("trouble of level %v: %d starts and %d ends were told", m.Level, starts, ends)
		}
		return nil
	})
}

func tellsOnce(t *hubTrial) error {
	const restarts = 10
	for range restarts {
		if err := errors.Join(t.starts(), t.each(func(string, []notify.Message) error { return nil }), t.hub.Close(), t.start()); err != nil {
			return err
		}
	}
	if err := t.ends(); err != nil {
		return err
	}

	return t.eachTrouble(func(name string, m notify.Message, starts, ends int) error {
		// Close sends what is held: one word of the repeats in an interval.
		if t.Takes(name, m) && (starts < 1 || starts > 2 || ends != 1) {
			return fmt.Errorf("trouble of level %v was told %d times in %d starts of the service, want once and one word of repeats; its end %d times, want once", m.Level, starts, restarts, ends)
		}
		return nil
	})
}

func isBounded(t *hubTrial) error {
	const flaps, texts = 300, 1500
	m := trouble(slog.LevelError)
	for range flaps {
		if err := errors.Join(t.send(m), t.send(over(m))); err != nil {
			return err
		}
		time.Sleep(time.Hour / flaps)
	}

	err := t.each(func(_ string, got []notify.Message) error {
		if most := 2 + int(time.Hour/t.Interval); len(got) > most {
			return fmt.Errorf("trouble that comes and goes %d times in an hour gives %d messages, at most %d are right", flaps, len(got), most)
		}
		return nil
	})
	if err != nil {
		return err
	}

	time.Sleep(2 * time.Hour)
	before := map[string]int{}
	_ = t.each(func(name string, got []notify.Message) error { before[name] = len(got); return nil })
	for i := range texts {
		if err := t.send(notify.Message{Level: slog.LevelError, Subject: fmt.Sprint("order ", i, " failed")}); err != nil {
			return err
		}
	}

	time.Sleep(time.Hour)
	return t.each(func(name string, got []notify.Message) error {
		got = got[before[name]:]
		told := 0
		for _, m := range got {
			told += m.New
		}
		switch {
		case !t.Takes(name, notify.Message{Level: slog.LevelError}):
			return nil
		case len(got) > t.PerHour:
			return fmt.Errorf("%d different texts give %d messages in an hour, at most %d are right", texts, len(got), t.PerHour)
		case told != texts:
			return fmt.Errorf("%d different texts were accepted, and %d are told or counted an hour later", texts, told)
		}
		return nil
	})
}

func acceptsWhatArrives(t *hubTrial) error {
	for _, level := range levels {
		m := trouble(level)
		if err := t.hub.Notify(context.Background(), m); err == nil && !t.anybody(m) {
			return fmt.Errorf("a message of level %v is for nobody, and was accepted", level)
		}
	}

	// What is accepted while nobody is there arrives later, after a restart too.
	late := notify.Message{Level: slog.LevelError + 4, Key: "suite-late", Subject: "nobody is there"}
	t.away.Store(true)
	accepted := make(chan error, 1)
	hub := t.hub
	go func() { accepted <- hub.Notify(context.Background(), late) }() // without an outbox it waits
	time.Sleep(10 * time.Second)
	_ = t.hub.Close()

	if err := <-accepted; err != nil {
		return errors.Join(fmt.Errorf("a message is not accepted while the receivers are away: %w", err), t.start())
	}
	if err := t.start(); err != nil {
		return err
	}

	time.Sleep(10 * time.Minute)
	t.away.Store(false)
	time.Sleep(time.Hour)
	return t.each(func(name string, got []notify.Message) error {
		if n := about(got, late.Key, false); t.Takes(name, late) && n != 1 {
			return fmt.Errorf("a message was accepted while the receivers were away, and arrived %d times", n)
		}
		return nil
	})
}
