package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// resting is how long the docs say that a file must not have changed, and held
// what is sure where the system tells that it is open for writing: one that is
// missing is waited for a little less.
const (
	resting = 60 * time.Millisecond
	held    = 1500 * time.Millisecond
)

// halves is what each file of the torture holds: both values are written as one
// version, the first at the head and the second at the tail.
type halves struct {
	A, B struct{ Head, Tail string }
}

// lane is one store with the writers of its files.
type lane struct {
	dir     string
	rng     *rand.Rand
	rest    time.Duration // resting, or held
	begun   time.Time     // the round
	version atomic.Int64
	mu      sync.Mutex
	broken  map[string]string // version to what was wrong
	slow    map[string]bool   // versions whose writer paused for longer than it may
}

func (l *lane) blame(version, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken[version] = what
}

// step is a part of a write, and what is done between it and the one before.
type step struct {
	between, write func() error
}

// tellsOfWriters reports whether the system tells of files that are open for
// writing. All writers here keep theirs open.
func tellsOfWriters(t *testing.T) bool {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	must(t, err)
	defer func() { must(t, f.Close()) }()
	return config.HasWriter(f.Name())
}

// piecewise runs the steps of a writer with pauses between them. Where the
// machine has made a pause longer than files have to rest, a half file is right.
func (l *lane) piecewise(t *testing.T, version string, steps ...step) {
	t.Helper()
	pause := func() { time.Sleep(time.Duration(l.rng.Int64N(int64(resting) * 4 / 10))) }
	before := l.begun
	for i, s := range steps {
		if i > 0 {
			pause()
			if s.between != nil {
				must(t, s.between())
				pause()
			}
		}
		at := time.Now()
		must(t, s.write())
		if time.Since(before) >= l.rest {
			l.mu.Lock()
			l.slow[version] = true
			l.mu.Unlock()
		}
		before = at
	}
}

func pieces(section, version string) []string {
	filler := "  # " + strings.Repeat("filler ", 40) + "\n"
	return []string{
		section + ":\n  head: v" + version + "\n" + filler,
		filler + filler,
		"  tail: v" + version + "\n",
	}
}

// styles are ways in which programs write a file. No step but the last leaves
// the file whole.
var styles = map[string]func(l *lane, t *testing.T, version string){
	"pieces in place": func(l *lane, t *testing.T, version string) {
		l.inPieces(t, version, os.O_TRUNC, nil)
	},
	"pieces with chmod": func(l *lane, t *testing.T, version string) {
		l.inPieces(t, version, os.O_TRUNC, func() error { return os.Chmod(l.path("a"), 0o600+os.FileMode(l.rng.IntN(2))<<5) })
	},
	"pieces over the old text": func(l *lane, t *testing.T, version string) {
		l.inPieces(t, version, 0, nil)
	},
	"pieces while others change": func(l *lane, t *testing.T, version string) {
		l.inPieces(t, version, os.O_TRUNC, func() error {
			return os.WriteFile(filepath.Join(l.dir, "secrets", "unrelated"), []byte(version), 0o600)
		})
	},
	"removed and written anew": func(l *lane, t *testing.T, version string) {
		must(t, os.Remove(l.path("a")))
		l.inPieces(t, version, os.O_CREATE, nil)
	},
	"replaced": func(l *lane, t *testing.T, version string) {
		must(t, os.WriteFile(l.path("a")+".new", []byte(strings.Join(pieces("a", version), "")), 0o600))
		must(t, os.Rename(l.path("a")+".new", l.path("a")))
	},
	"two files in turn": func(l *lane, t *testing.T, version string) {
		a, b := pieces("a", version), pieces("b", version)
		fa, err := os.OpenFile(l.path("a"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		fb, err := os.OpenFile(l.path("b"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		var steps []step
		for i := range a {
			steps = append(steps, step{write: appendText(fa, a[i])}, step{write: appendText(fb, b[i])})
		}
		l.piecewise(t, version, steps...)
		must(t, fa.Close())
		must(t, fb.Close())
	},
}

func appendText(f *os.File, text string) func() error {
	return func() error {
		_, err := f.WriteString(text)
		return err
	}
}

func (l *lane) path(name string) string { return filepath.Join(l.dir, name+".yaml") }

// inPieces writes file a piece by piece, with something else between them.
func (l *lane) inPieces(t *testing.T, version string, flag int, between func() error) {
	f, err := os.OpenFile(l.path("a"), os.O_WRONLY|flag, 0o600)
	must(t, err)
	var steps []step
	for _, piece := range pieces("a", version) {
		steps = append(steps, step{between, appendText(f, piece)})
	}
	l.piecewise(t, version, steps...)
	must(t, f.Close())
}

func (l *lane) run(t *testing.T, rounds int, opts ...config.Option) {
	for _, section := range []string{"a", "b"} {
		must(t, os.WriteFile(l.path(section), []byte(strings.Join(pieces(section, "100000"), "")), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(l.dir, "secrets"), 0o700))
	current := func() string { return fmt.Sprint(100000 + l.version.Load()) }
	logger := slog.New(failures(func(text string) { l.blame(current(), text) }))

	s := load(t, halves{}, append([]config.Option{
		config.File(l.path("a")), config.File(l.path("b")), config.SecretsDir(filepath.Join(l.dir, "secrets")), config.Logger(logger),
	}, opts...)...)
	config.OnChange(s, func(h *halves) halves { return *h }, func(_, now halves) {
		for _, part := range []struct{ Head, Tail string }{now.A, now.B} {
			if part.Head != part.Tail { // the newer one is being written
				l.blame(strings.TrimPrefix(max(part.Head, part.Tail), "v"), fmt.Sprintf("head %s, tail %s", part.Head, part.Tail))
			}
		}
	})
	stop := running(t, s)
	defer stop()

	names := make([]string, 0, len(styles))
	for name := range styles {
		names = append(names, name)
	}
	for range rounds {
		l.version.Add(1)
		version := current()
		l.begun = time.Now()
		styles[names[l.rng.IntN(len(names))]](l, t, version)
		eventually(t, "the last version is reached", func() bool { return s.Get().A.Tail == "v"+version })
	}
}

// failures is a handler that gives the text of reloads that failed.
type failures func(text string)

func (f failures) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (f failures) WithAttrs([]slog.Attr) slog.Handler               { return f }
func (f failures) WithGroup(string) slog.Handler                    { return f }
func (f failures) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	if strings.HasPrefix(r.Message, "reload failed") {
		f(text)
	}
	return nil
}

// TestReloadTorture has writers that write in pieces, pause for almost as long
// as closed files have to rest, change modes, replace, rewrite in place and change
// several files at once: no half file becomes the settings, and the last
// version always does.
func TestReloadTorture(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]config.Option{
		"events":  nil,
		"polling": {config.WithoutEvents(), config.Poll(15 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const lanes = 20
			rounds := testenv.Reps(5000) / lanes
			rest := resting
			if tellsOfWriters(t) {
				rest = held
			}
			var wg sync.WaitGroup
			all := make([]*lane, lanes)
			for i := range all {
				l := &lane{dir: t.TempDir(), rng: rand.New(rand.NewPCG(uint64(i), 7)), rest: rest, broken: map[string]string{}, slow: map[string]bool{}}
				all[i] = l
				wg.Go(func() { l.run(t, rounds, opts...) })
			}
			wg.Wait()

			slow := 0
			for _, l := range all {
				slow += len(l.slow)
				for version, what := range l.broken {
					if !l.slow[version] {
						t.Errorf("version %s: half a file was taken: %s", version, what)
					}
				}
			}
			t.Logf("%d rounds, of which the machine made %d pause too long", lanes*rounds, slow)
		})
	}
}
