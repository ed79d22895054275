package ways

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// run goes through an episode: all is well, the trouble begins and goes on, and
// it ends. One block has everything set, another one nothing.
func (c cell) run(t *testing.T, number int) {
	w := newWorld(t, number, overTLS(c.way))
	w.writes, w.caches, w.bound = c.returned, c.way == "no inodes", cmp.Or(c.bound, usualBound)
	stderr := captureStderr(t)
	logged, told := &lines{}, &notices{}
	block := blocks[c.block]
	full := block.start(w, w.folder(), hearing{logger: slog.New(slog.NewTextHandler(logged, nil)), onError: told.add})
	bare := block.start(w, w.folder(), hearing{})
	both := []subject{full, bare}

	c.expect(t, both, "all is well", func() error {
		for _, s := range both {
			if err := errors.Join(s.used(), s.Check(t.Context())); err != nil {
				return err
			}
		}
		return nil
	})

	end := troubles[c.way](w, both)
	if c.returned {
		c.expect(t, both, "the caller gets it", func() error {
			if err := full.used(); err == nil || !strings.Contains(err.Error(), c.advice) {
				return fmt.Errorf("the error is %w; %q should be in it", orNone(err), c.advice)
			}
			return nil
		})
	} else {
		c.expect(t, both, "the trouble is told", func() error { return c.begun(full, bare, told, logged, stderr) })
		if !c.heals {
			c.goOn(both, 4*w.bound)
		}
	}

	end()
	if c.slow && !testenv.Soak() {
		c.once(t, told, logged, stderr, 1)
		return
	}
	c.expect(t, both, "it is over", func() error {
		for _, s := range both {
			if err := errors.Join(s.used(), s.Check(t.Context())); err != nil {
				return err
			}
		}
		if want := 2; !c.returned && (told.count() < want || logged.count() < want || stderr.count() < want) {
			return fmt.Errorf("the end is not told: %v, %v, %v", told, logged, stderr)
		}
		return nil
	})

	for _, s := range both {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if c.returned {
		c.once(t, told, logged, stderr, 0)
		return
	}
	c.once(t, told, logged, stderr, 2)
}

// begun reports whether everybody was told of the trouble.
func (c cell) begun(full, bare subject, told *notices, logged, stderr *lines) error {
	sentinel := blocks[c.block].stuck
	if c.lost {
		sentinel = blocks[c.block].lost
	}
	for _, s := range []subject{full, bare} {
		_ = s.used() // what comes of it is what the others are asked
		if err := s.Check(context()); !errors.Is(err, sentinel) || !strings.Contains(err.Error(), c.advice) {
			return fmt.Errorf("Check: %w\nshould match %q and say %q", orNone(err), sentinel, c.advice)
		}
	}
	if first := told.first(); !errors.Is(first, sentinel) || !strings.Contains(first.Error(), c.advice) {
		return fmt.Errorf("OnError: %w\nshould match %q and say %q", orNone(first), sentinel, c.advice)
	}
	for who, l := range map[string]*lines{"Logger": logged, "stderr": stderr} {
		if text := l.String(); !strings.Contains(text, c.advice) || !strings.Contains(text, "level=ERROR") {
			return fmt.Errorf("%s: %q should say %q", who, text, c.advice)
		}
	}
	return nil
}

// once checks how often everybody was told.
func (c cell) once(t *testing.T, told *notices, logged, stderr *lines, want int) {
	t.Helper()
	if told.count() != want || logged.count() != want || stderr.count() != want {
		t.Errorf("told %d, %d and %d times, want %d:\nOnError: %v\nLogger: %v\nstderr: %v",
			told.count(), logged.count(), stderr.count(), want, told, logged, stderr)
	}
}

// expect uses the blocks until check is content.
func (c cell) expect(t *testing.T, _ []subject, what string, check func() error) {
	t.Helper()
	testenv.EventuallyWithin(t, c.patience(), func() error {
		c.pace()
		if err := check(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

func (c cell) patience() time.Duration {
	if c.slow && testenv.Soak() {
		return 12 * time.Minute
	}
	return 30 * time.Second
}

// goOn uses the blocks for a while, in which nothing more may be told.
func (c cell) goOn(both []subject, d time.Duration) {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		c.pace()
		for _, s := range both {
			_ = s.used() // the trouble goes on
		}
	}
}

// pace keeps a block that is used in a loop from a storm.
func (c cell) pace() { <-time.After(20 * time.Millisecond) }

func orNone(err error) error {
	if err == nil {
		return errors.New("nothing")
	}
	return err
}

// notices collects what OnError is told.
type notices struct {
	mu  sync.Mutex
	all []error
}

func (n *notices) add(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, err)
}

func (n *notices) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.all)
}

func (n *notices) first() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.all) == 0 {
		return nil
	}
	return n.all[0]
}

func (n *notices) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(n.all)
}

// lines collects what is logged at Error.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	n    int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("level=ERROR")) {
		l.n++
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureStderr takes what this process writes to its standard error.
func captureStderr(t *testing.T) *lines {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = w
	taken := &lines{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(r); s.Scan(); {
			if !strings.Contains(s.Text(), "level=ERROR") {
				fmt.Fprintln(was, s.Text())
			}
			_, _ = taken.Write(append(s.Bytes(), '\n')) // never fails
		}
	}()
	t.Cleanup(func() {
		os.Stderr = was
		_ = w.Close()
		<-ended
	})
	return taken
}
