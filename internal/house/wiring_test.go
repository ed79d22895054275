package house_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/notify"
)

// The tests of this file run the wirings that the root's package text shows, in
// a process of their own that gets SIGTERM in the middle of its work.

const wiringForm = "SVCBLOCKS_WIRING" // the variable that makes a process a service

// wiringSettings are the settings of the service.
type wiringSettings struct {
	Dir, Receiver string
}

// TestWiringService is the service; it is no test unless the variable is set.
func TestWiringService(t *testing.T) {
	form := testenv.Child(t, wiringForm, "TestWiring")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	run := runDeferred
	if form == "errgroup" {
		run = runGrouped
	}
	if err := run(ctx); err != nil {
		fmt.Println("ended:", err)
		os.Exit(3)
	}
}

// runDeferred is the wiring with defers alone.
func runDeferred(ctx context.Context) (err error) {
	store, err := config.Load(ctx, wiringSettings{}, config.Env("SERVICE"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	settings := store.Get()

	logs, err := logging.New(wiringLog(settings))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()

	hub, err := notify.New(wiringHub(settings, logs.Logger("notify")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hub.Close()) }()

	return serveWiring(ctx, logs, hub)
}

// runGrouped is the wiring in an errgroup, whose context ends.
func runGrouped(ctx context.Context) (err error) {
	store, err := config.Load(ctx, wiringSettings{}, config.Env("SERVICE"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	settings := store.Get()

	logs, err := logging.New(wiringLog(settings))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	hub, err := notify.New(wiringHub(settings, logs.Logger("notify")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hub.Close()) }()

	group, ctx := newGroup(ctx)
	group.Go(func() error { return store.Run(ctx) })
	group.Go(func() error { return logs.Run(ctx) })
	group.Go(func() error { return hub.Run(ctx) })
	group.Go(func() error { return serveWiring(ctx, logs, hub) })
	return group.Wait()
}

// group is what golang.org/x/sync/errgroup does, which this module does not
// require.
type group struct {
	wg     sync.WaitGroup
	once   sync.Once
	cancel context.CancelFunc
	err    error
}

func newGroup(ctx context.Context) (*group, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	return &group{cancel: cancel}, ctx
}

func (g *group) Go(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.once.Do(func() { g.err = err; g.cancel() })
		}
	})
}

func (g *group) Wait() error {
	g.wg.Wait()
	g.cancel()
	return g.err
}

func wiringLog(s *wiringSettings) *logging.Options {
	sink, err := httpjson.New(&httpjson.Options{URL: s.Receiver + "/log", IDField: "event_id"})
	if err != nil {
		panic(err)
	}
	return &logging.Options{
		File: logging.FileOptions{Path: filepath.Join(s.Dir, "log", "app.log")}, Console: logging.ConsoleOptions{Format: "off"},
		Sink: sink, Logger: slog.New(slog.DiscardHandler),
	}
}

func wiringHub(s *wiringSettings, logger *slog.Logger) *notify.Options {
	return &notify.Options{
		Receivers: []notify.Receiver{{
			Name: "ops", Notifier: poster(s.Receiver + "/alert"), Concurrency: 8,
			Rate: notify.Rate{Per: -1},
		}},
		Group:  notify.Group{Interval: -1},
		Outbox: notify.Outbox{Dir: filepath.Join(s.Dir, "outbox")},
		Logger: logger,
	}
}

// poster is a notifier that posts the subject.
type poster string

func (p poster) Send(ctx context.Context, subject, _ string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(p), strings.NewReader(subject))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// serveWiring answers requests until ctx ends, and those that are open then.
// Each writes a line and sends an alert as its last deed.
func serveWiring(ctx context.Context, logs *logging.Logs, hub *notify.Hub) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	log := logs.Logger("http")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		time.Sleep(20 * time.Millisecond) // work, in the midst of which the signal comes
		if err := hub.Send(context.WithoutCancel(r.Context()), "alert-"+id+".", "text"); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		log.Info("served", "line", "line-"+id+".")
	})}
	fmt.Println("listening on", listener.Addr())

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(ending)
}

// taker is the receiver of lines and alerts.
type taker struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]int
	hole bool          // answers nobody
	took chan struct{} // gets one when something was taken
}

var marks = regexp.MustCompile(`(line|alert)-\d+\.`)

func newTaker(t *testing.T) *taker {
	t.Helper()
	r := &taker{seen: map[string]int{}, took: make(chan struct{}, 1)}
	stop := make(chan struct{})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		hole := r.hole
		if !hole {
			for _, mark := range marks.FindAllString(string(body), -1) {
				r.seen[mark]++
			}
		}
		r.mu.Unlock()
		select {
		case r.took <- struct{}{}:
		default:
		}
		if hole {
			select {
			case <-req.Context().Done():
			case <-stop:
			}
		}
	}))
	t.Cleanup(func() { close(stop); r.Close() })
	return r
}

// missing returns what was accepted and did not arrive.
func (r *taker) missing(accepted []string) (missing []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range accepted {
		for _, mark := range []string{"line-" + id + ".", "alert-" + id + "."} {
			if r.seen[mark] == 0 {
				missing = append(missing, mark)
			}
		}
	}
	return missing
}

// await waits until nothing of that is missing, or for as long.
func (r *taker) await(accepted []string, bound time.Duration) {
	deadline := time.After(bound)
	for len(r.missing(accepted)) > 0 {
		select {
		case <-r.took:
		case <-deadline:
			return
		}
	}
}

// wiringProcess is a running service.
type wiringProcess struct {
	cmd  *exec.Cmd
	addr string
	out  bytes.Buffer
	done chan error
}

func startWiring(t *testing.T, form, dir string, r *taker) *wiringProcess {
	t.Helper()
	p := &wiringProcess{cmd: exec.Command(os.Args[0], "-test.run=^TestWiringService$", "-test.v"), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), wiringForm+"="+form, "SERVICE_DIR="+dir, "SERVICE_RECEIVER="+r.URL)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })

	listening := make(chan string, 1)
	go func() {
		var text bytes.Buffer
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			text.Write(buf[:n])
			if _, rest, ok := strings.Cut(text.String(), "listening on "); ok && strings.Contains(rest, "\n") {
				select {
				case listening <- strings.SplitN(rest, "\n", 2)[0]:
				default:
				}
			}
			if err != nil {
				p.done <- errors.Join(p.cmd.Wait(), ended(text.String()))
				return
			}
		}
	}()
	select {
	case p.addr = <-listening:
	case err := <-p.done:
		t.Fatalf("the service did not start: %v\n%s", err, &p.out)
	case <-time.After(time.Minute):
		t.Fatal("the service did not start within a minute")
	}
	return p
}

// ended returns what the service said about its end.
func ended(out string) error {
	if _, text, ok := strings.Cut(out, "ended: "); ok {
		return errors.New(text)
	}
	return nil
}

// work sends requests from some clients until the service refuses them, and
// returns the IDs of those that were answered. After some of them it sends
// SIGTERM.
func (p *wiringProcess) work(t *testing.T, from int) (accepted []string) {
	t.Helper()
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		signal sync.Once
	)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for c := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				id := strconv.Itoa(from + 1000*c + i)
				res, err := client.Get("http://" + p.addr + "/?id=" + id)
				if err != nil {
					return // the service is ending
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("request %s: status %d", id, res.StatusCode)
					return
				}
				mu.Lock()
				accepted = append(accepted, id)
				n := len(accepted)
				mu.Unlock()
				if n >= 20 {
					signal.Do(func() { _ = p.cmd.Process.Signal(syscall.SIGTERM) })
				}
			}
		})
	}
	wg.Wait()
	return accepted
}

// TestWiring ends a real process by SIGTERM in the middle of requests, in both
// usual wirings: every line and alert of a request that was answered arrives.
func TestWiring(t *testing.T) {
	t.Parallel()
	testenv.Signals(t)
	testenv.Slow(t)
	for _, form := range []string{"defers", "errgroup"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			for run := range testenv.Reps(20) {
				r := newTaker(t)
				p := startWiring(t, form, t.TempDir(), r)
				accepted := p.work(t, 0)
				select {
				case err := <-p.done:
					if err != nil {
						t.Errorf("run %d: the service ended with %v\n%s", run, err, &p.out)
					}
				case <-time.After(time.Minute):
					t.Fatalf("run %d: the service goes on", run)
				}
				if missing := r.missing(accepted); len(missing) > 0 || len(accepted) < 20 {
					t.Errorf("run %d: of %d requests these are missing: %v", run, len(accepted), missing)
				}
			}
		})
	}
}

// TestWiringBlackHole ends it while nobody answers: it ends within the two
// CloseTimeouts and a little, says what stayed, and the next start delivers it.
func TestWiringBlackHole(t *testing.T) {
	t.Parallel()
	testenv.Signals(t)
	testenv.Slow(t)
	for _, form := range []string{"defers", "errgroup"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r, dir := newTaker(t), t.TempDir()
			r.hole = true
			p := startWiring(t, form, dir, r)
			accepted := p.work(t, 0)
			began := time.Now()
			select {
			case err := <-p.done:
				if err == nil {
					t.Error("the service ended without a word about what stayed")
				}
				if took := time.Since(began); took > testenv.Within(12*time.Second, 40*time.Second) {
					t.Errorf("it took %v to end", took)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal("the service goes on")
			}

			r.mu.Lock()
			r.hole = false
			r.mu.Unlock()
			again := startWiring(t, form, dir, r)
			r.await(accepted, time.Minute)
			_ = again.cmd.Process.Signal(syscall.SIGTERM)
			<-again.done
			if missing := r.missing(accepted); len(missing) > 0 {
				t.Errorf("of %d requests these are missing: %v", len(accepted), missing)
			}
		})
	}
}
