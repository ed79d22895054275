package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

type watched struct {
	N    int
	Name string
}

// running starts Run and stops it, and waits, when the test ends.
func running[T any](t testing.TB, s *config.Store[T]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "Run is watching", func() bool { return s.Stats().Watching != "" })
	return stop
}

// eventually waits for what the operating system tells in its own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
}

func load[T any](t testing.TB, def T, opts ...config.Option) *config.Store[T] {
	t.Helper()
	s, err := config.Load(t.Context(), def, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRunFollowsSaves changes a file in the ways that editors, tools and
// administrators do.
func TestRunFollowsSaves(t *testing.T) {
	t.Parallel()
	ways := map[string]func(t *testing.T, path, content string){
		"write and rename (vim, sed -i)": func(t *testing.T, path, content string) {
			must(t, os.WriteFile(path+".tmp", []byte(content), 0o600))
			must(t, os.Rename(path+".tmp", path))
		},
		"backup and write (emacs)": func(t *testing.T, path, content string) {
			must(t, os.Rename(path, path+"~"))
			must(t, os.WriteFile(path, []byte(content), 0o600))
		},
		"truncate and write": func(t *testing.T, path, content string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			time.Sleep(5 * time.Millisecond) // the window that must not be loaded
			_, err = f.WriteString(content)
			must(t, errors.Join(err, f.Close()))
		},
		"remove and create": func(t *testing.T, path, content string) {
			must(t, os.Remove(path))
			time.Sleep(5 * time.Millisecond)
			must(t, os.WriteFile(path, []byte(content), 0o600))
		},
		"replace the folder": func(t *testing.T, path, content string) {
			dir := filepath.Dir(path)
			must(t, os.Mkdir(dir+".new", 0o755))
			must(t, os.WriteFile(filepath.Join(dir+".new", filepath.Base(path)), []byte(content), 0o600))
			testenv.BusyFolders(t)
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
			must(t, os.RemoveAll(dir+".old"))
		},
		"remove the folder and create it": func(t *testing.T, path, content string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(content), 0o600))
		},
	}
	for name, save := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "etc/app/s.yaml", "n: 1\nname: x\n")
			s := load(t, watched{}, config.File(path), config.Poll(-1))
			var torn atomic.Int64
			stop := config.OnChange(s, func(w *watched) watched { return *w }, func(_, now watched) {
				if now.Name != "x" {
					torn.Add(1)
				}
			})
			defer stop()
			running(t, s)
			for i := 2; i < 2+testenv.Reps(40); i++ {
				save(t, path, fmt.Sprintf("n: %d\nname: x\n", i))
				eventually(t, fmt.Sprintf("n is %d", i), func() bool { return s.Get().N == i })
			}
			if torn.Load() > 0 {
				t.Errorf("%d times a file was loaded while it was written", torn.Load())
			}
		})
	}
}

// TestRunKubernetesSwaps replaces ..data as the kubelet does, 200 times at
// speed, and wants the last value each time.
func TestRunKubernetesSwaps(t *testing.T) {
	t.Parallel()
	testenv.Symlinks(t)
	for rep := range testenv.Reps(20) {
		t.Run(fmt.Sprint(rep), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			swap := func(i int) {
				version := fmt.Sprintf("..2026_%d", i)
				write(t, dir, version+"/s.yaml", fmt.Sprintf("n: %d\n", i))
				write(t, dir, version+"/name", fmt.Sprintf("v%d", i))
				must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
				must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
				if i > 0 {
					must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", i-1))))
				}
			}
			swap(0)
			must(t, os.Symlink("..data/s.yaml", filepath.Join(dir, "s.yaml")))
			must(t, os.Symlink("..data/name", filepath.Join(dir, "name")))
			s := load(t, watched{}, config.File(filepath.Join(dir, "s.yaml")), config.SecretsDir(dir), config.Lenient(), config.Poll(-1))
			running(t, s)
			for i := 1; i <= 200; i++ {
				swap(i)
			}
			eventually(t, "the last value", func() bool { return s.Get().N == 200 && s.Get().Name == "v200" })
			swap(201) // the watch is still there
			eventually(t, "one more value", func() bool { return s.Get().N == 201 && s.Get().Name == "v201" })
		})
	}
}

// TestRunFollowsPath changes what leads to a file, and nothing in its folder.
func TestRunFollowsPath(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // found by polling there
	}
	dir := t.TempDir()
	for i := range 4 {
		write(t, dir, fmt.Sprintf("releases/v%d/etc/s.yaml", i), fmt.Sprintf("n: %d\n", i))
	}
	point := func(i int) {
		must(t, os.Symlink(fmt.Sprintf("releases/v%d", i), filepath.Join(dir, "next")))
		must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	}
	point(0)
	later := filepath.Join(dir, "not/yet/there/s.yaml")
	s := load(t, watched{}, config.File(filepath.Join(dir, "current/etc/s.yaml")), config.File(later, config.Optional()), config.Poll(-1))
	running(t, s)
	for i := 1; i < 4; i++ {
		point(i)
		eventually(t, fmt.Sprintf("release %d", i), func() bool { return s.Get().N == i })
	}
	// A link to a link: what it names changes in another folder.
	live := func(i int) {
		must(t, os.Symlink(fmt.Sprintf("v%d", i), filepath.Join(dir, "releases/next")))
		must(t, os.Rename(filepath.Join(dir, "releases/next"), filepath.Join(dir, "releases/live")))
	}
	live(3)
	must(t, os.Symlink("releases/live", filepath.Join(dir, "next")))
	must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
	must(t, s.Reload(t.Context()))
	for i := range 3 {
		live(i)
		eventually(t, fmt.Sprintf("live release %d", i), func() bool { return s.Get().N == i })
	}
	write(t, dir, "not/yet/there/s.yaml", "name: here\n")
	eventually(t, "the file that appeared", func() bool { return s.Get().Name == "here" })
	must(t, os.RemoveAll(filepath.Join(dir, "not")))
	eventually(t, "the file that went", func() bool { return s.Get().Name == "" })
	if err := s.Stats().Err; err != nil {
		t.Error(err)
	}
}

// TestBadReloadKeepsLastGood breaks and repairs a file.
func TestBadReloadKeepsLastGood(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
	var logged lockedBuffer
	s := load(t, watched{}, config.File(path), config.Logger(slog.New(slog.NewTextHandler(&logged, nil))))
	running(t, s)
	must(t, os.WriteFile(path, []byte("n: many\n"), 0o600))
	eventually(t, "the failure shows", func() bool { return s.Stats().Err != nil })
	for range 5 {
		if err := s.Reload(t.Context()); err == nil {
			t.Fatal("a bad file was loaded")
		}
	}
	if s.Get().N != 1 {
		t.Errorf("n = %d, want the last good 1", s.Get().N)
	}
	if got := strings.Count(logged.String(), "reload failed"); got != 1 {
		t.Errorf("reported %d times, want once:\n%s", got, logged.String())
	}
	var report *config.Report
	if !errors.As(s.Stats().Err, &report) || report.Problems[0].Line != 1 || report.Problems[0].File != path {
		t.Errorf("status holds %v", s.Stats().Err)
	}
	must(t, os.WriteFile(path, []byte("n: 2\n"), 0o600))
	eventually(t, "recovery", func() bool { return s.Get().N == 2 && s.Stats().Err == nil })
	must(t, os.WriteFile(path, nil, 0o600))
	eventually(t, "the empty file is refused", func() bool { return s.Stats().Err != nil })
	if s.Get().N != 2 {
		t.Errorf("an emptied file was loaded: n = %d", s.Get().N)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestReadersSeeNoTornSnapshot reads on 4 goroutines through 10,000 reloads.
func TestReadersSeeNoTornSnapshot(t *testing.T) {
	t.Parallel()
	type pair struct{ A, B, C int }
	var n atomic.Int64
	src := mapProvider(func() map[string]any { v := n.Add(1); return map[string]any{"a": v, "b": v, "c": v} })
	s := load(t, pair{}, config.Source("counter", src, nil))
	var torn, reads atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := s.Get()
				if p.A != p.B || p.B != p.C || p.A < last {
					torn.Add(1)
				}
				last = p.A
				reads.Add(1)
			}
		})
	}
	for range testenv.Reps(10_000) {
		must(t, s.Reload(t.Context()))
	}
	close(stop)
	wg.Wait()
	if torn.Load() != 0 || s.Get().A != testenv.Reps(10_000)+1 {
		t.Errorf("%d of %d snapshots were torn; the last is %+v", torn.Load(), reads.Load(), *s.Get())
	}
}

type mapProvider func() map[string]any

func (p mapProvider) Read() (map[string]any, error) { return p(), nil }
func (mapProvider) ReadBytes() ([]byte, error)      { return nil, errors.New("no bytes") }

func TestRunLifecycle(t *testing.T) {
	t.Parallel()
	s := load(t, watched{}, config.Poll(-1))
	stop := running(t, s)
	if err := s.Run(t.Context()); !errors.Is(err, config.ErrRunning) {
		t.Errorf("second Run: %v, want ErrRunning", err)
	}
	stop()
	running(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for name, call := range map[string]func() error{
		"Run": func() error { return s.Run(t.Context()) }, "Reload": func() error { return s.Reload(t.Context()) },
		"Refresh": func() error { return s.Refresh(t.Context()) },
	} {
		if err := call(); !errors.Is(err, config.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if s.Get() == nil {
		t.Error("Get after Close gives nothing")
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
	lifetest.Stress(t, lifetest.Subject{
		New:        func() (any, error) { return config.Load(context.Background(), watched{}, config.File(path)) },
		ErrRunning: config.ErrRunning,
		ErrClosed:  config.ErrClosed,
	})
}

// TestRunPolls covers systems that do not tell of changes.
func TestRunPolls(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
	s := load(t, watched{}, config.File(path), config.Poll(20*time.Millisecond), config.WithoutEvents())
	running(t, s)
	if got := s.Stats().Watching; got != "polling" {
		t.Errorf("watching by %q, want polling", got)
	}
	must(t, os.WriteFile(path, []byte("n: 2\n"), 0o600))
	eventually(t, "the change is polled", func() bool { return s.Get().N == 2 })
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("n: 3\n"), 0o600))
	eventually(t, "the new file is polled", func() bool { return s.Get().N == 3 })
}
