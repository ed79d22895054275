package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	fleet "github.com/svcblocks/svcblocks/examples/fleet"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/site"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// asCommand makes this test's binary the fleet command: its processes can be
// killed.
const asCommand = "FLEETTEST_COMMAND"

// asServer makes this test's binary a server of a cluster: name, folder, port
// for clients, port for the others, and the addresses of all.
const asServer = "FLEETTEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(fleet.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if os.Getenv(asServer) != "" {
		os.Exit(serve(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// serve runs a server of a cluster.
func serve(args []string) int {
	var port, route int
	if _, err := fmt.Sscan(args[2]+" "+args[3], &port, &route); err != nil {
		return 2
	}
	s, err := server.NewServer(&server.Options{
		ServerName: args[0], Host: "127.0.0.1", Port: port, NoSigs: true, JetStream: true, StoreDir: args[1],
		Cluster: server.ClusterOpts{Name: "fleet", Host: "127.0.0.1", Port: route}, Routes: server.RoutesFromStr(args[4]),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.Start()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	return 0
}

// process is a running fleet command. It is killed at the end of the test.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	line   string // the first of its standard output
}

// start starts a command and waits for its first line.
// An argument that begins with FLEET_ is a variable, as secrets are no flags.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	isVariable := func(arg string) bool { return strings.HasPrefix(arg, "FLEET_") }
	p := &process{cmd: exec.Command(os.Args[0], slices.DeleteFunc(slices.Clone(args), isVariable)...)}
	variables := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !isVariable(arg) })
	p.cmd.Env = append(append(os.Environ(), asCommand+"=1", "FLEET_SCRAPE_ALLOW=127.0.0.0/8", "FLEET_SCRAPE_ROBOTS_IGNORE=true", "FLEET_LOG_LEVEL=error"), variables...)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.kill()
		t.Fatalf("fleet %v printed no line: %v\n%s", args, err, &p.stderr)
	}
	return p
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// run runs a command to its end.
func run(t testing.TB, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = fleet.Run(args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// world is a queue and a site in this process; workers are processes.
type world struct {
	queue *queue.Queue
	crew  *crew.Crew
	url   string
	site  *site.Site

	started int // times that workers were started
}

func newWorld(t testing.TB, delay time.Duration, opts queue.Options) *world {
	t.Helper()
	s, err := broker.StartServer(context.Background(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nc, err := s.Connect(context.Background(), t.Name(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	pages, err := site.Start(context.Background(), delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.Close() })
	q, err := queue.Create(context.Background(), nc, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	members, err := crew.Open(context.Background(), js, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &world{queue: q, crew: members, url: s.URL(), site: pages}
}

// workers starts n worker processes, and waits until all of them work.
func (w *world) workers(t testing.TB, n int, args ...string) (all []*process) {
	t.Helper()
	w.started++
	for i := range n {
		name := fmt.Sprintf("w%d-%d", w.started, i)
		all = append(all, start(t, append([]string{"worker", "-nats.url", w.url, "-worker.name", name, "-egress", "direct"}, args...)...))
	}
	testenv.EventuallyWithin(t, time.Minute, func() error {
		members, err := w.crew.Members(context.Background(), time.Now())
		working := 0
		for _, m := range members {
			if strings.HasPrefix(m.Name, fmt.Sprintf("w%d-", w.started)) {
				working++
			}
		}
		if err == nil && working != n {
			err = fmt.Errorf("%d workers report, want %d", working, n)
		}
		return err
	})
	return all
}

// pages are jobs for pages that are there: those that end in 99 are not.
func (w *world) pages(from, n int) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		for i := from; n > 0; i++ {
			if i%100 == 99 {
				continue
			}
			n--
			if !yield(queue.Job{ID: fmt.Sprintf("page-%d", i), URL: w.site.URL(i)}, nil) {
				return
			}
		}
	}
}

// await waits until so many results are there, and no job is left if all are.
func (w *world) await(t testing.TB, bound time.Duration, check func(queue.Stats) bool) queue.Stats {
	t.Helper()
	var last queue.Stats
	testenv.EventuallyWithin(t, bound, func() error {
		st, err := w.queue.Stats(context.Background())
		if err == nil && !check(st) {
			err = fmt.Errorf("stats %+v", st)
		}
		last = st
		return err
	})
	return last
}

const (
	fast      = "-host.per-second=100000" // of a hub
	perSecond = 100000                    // of a queue
)

// TestWorkerKilled kills one of three workers at a random point: no job is
// lost, and each has one result. Repeats are counted by what the site was
// asked for.
func TestWorkerKilled(t *testing.T) {
	rounds, jobs := 10, 10_000
	if !testenv.Soak() {
		rounds, jobs = 1, 600
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			w := newWorld(t, 5*time.Millisecond, queue.Options{AckWait: 3 * time.Second, PerSecond: perSecond})
			workers := w.workers(t, 3, "-worker.concurrency=50")
			published, err := w.queue.Publish(t.Context(), w.pages(0, jobs))
			if err != nil || published.Stored != jobs {
				t.Fatalf("%+v, %v", published, err)
			}
			at := int64(rand.IntN(jobs * 9 / 10))
			victim := rand.IntN(3)
			w.await(t, 5*time.Minute, func(s queue.Stats) bool { return s.Results >= at })
			workers[victim].kill()
			w.await(t, 10*time.Minute, func(s queue.Stats) bool { return s.Waiting+s.Working == 0 })

			results := map[string]int{}
			for r, err := range w.queue.Results(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				results[r.ID]++
			}
			lost, double, fetched := 0, 0, 0
			hits := w.site.Hits()
			for job := range w.pages(0, jobs) {
				number := strings.TrimPrefix(job.ID, "page-")
				fetched += hits[number]
				switch n := results[job.ID]; {
				case n == 0 || hits[number] == 0:
					lost++
				case n > 1:
					double++
				}
			}
			st, err := w.queue.Stats(t.Context())
			if err != nil || st != (queue.Stats{Results: int64(jobs)}) || lost != 0 || double != 0 {
				t.Errorf("%d jobs lost, %d with two results, stats %+v, %v", lost, double, st, err)
			}
			t.Logf("w%d killed at %d results: %d of %d lost, %d fetched twice", victim, at, lost, jobs, fetched-jobs)
		})
	}
}

var queueAddress = regexp.MustCompile(`queue at (nats://127\.0\.0\.1:(\d+))`)

// hub starts a hub process whose queue listens on port, or on a free one.
func hub(t *testing.T, dir, port string, args ...string) (p *process, url, used string) {
	t.Helper()
	p = start(t, append([]string{"hub", "-listen", "127.0.0.1:0", "-nats.listen", "127.0.0.1:" + port, "-data-dir", dir}, args...)...)
	m := queueAddress.FindStringSubmatch(p.line)
	if m == nil {
		t.Fatalf("the hub printed %q", p.line)
	}
	return p, m[1], m[2]
}

func dial(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := broker.Dial(t.Context(), broker.DialOptions{URL: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func numbered(n int, each func(i int)) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		for i := range n {
			each(i)
			if !yield(queue.Job{ID: fmt.Sprintf("job-%d", i), URL: fmt.Sprintf("http://site.example/%d", i)}, nil) {
				return
			}
		}
	}
}

// TestServerKilled kills the server while jobs are published. A publisher that
// gives up has counted no more than is stored; one that goes on has all of them
// stored, and none twice.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	jobs := 5000
	if !testenv.Soak() {
		jobs = 1200
	}
	for _, goOn := range []bool{false, true} {
		t.Run(fmt.Sprintf("going on %v", goOn), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			server, url, port := hub(t, dir, "0")
			q, err := queue.Open(t.Context(), dial(t, url), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			at := jobs/4 + rand.IntN(jobs/2)
			killed := make(chan struct{})
			published, err := q.Publish(ctx, numbered(jobs, func(i int) {
				if i == at {
					// While the window is under way.
					go func() {
						time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // any point will do
						server.kill()
						if goOn {
							server, _, _ = hub(t, dir, port)
						} else {
							cancel()
						}
						close(killed)
					}()
				}
			}))
			<-killed
			if goOn {
				if err != nil || published.Stored != jobs {
					t.Fatalf("%+v, %v: want %d stored", published, err, jobs)
				}
			} else {
				if err == nil && published.Stored != jobs { // it may have been faster
					t.Errorf("%+v without an error", published)
				}
				_, url, _ = hub(t, dir, port)
			}
			fresh, err := queue.Open(t.Context(), dial(t, url), nil)
			if err != nil {
				t.Fatal(err)
			}
			st, err := fresh.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("killed at job %d: %d acknowledged, %d stored, %d were sent twice", at, published.Stored, st.Waiting, published.Repeats)
			if goOn && st.Waiting != int64(jobs) || st.Waiting < int64(published.Stored) {
				t.Errorf("%d jobs are stored, %d were acknowledged, of %d", st.Waiting, published.Stored, jobs)
			}
		})
	}
}

// TestHostLimit holds the limit over three workers, one of which dies.
func TestHostLimit(t *testing.T) {
	t.Parallel()
	perSecond, jobs := 40.0, 200 // of this host
	if testenv.Soak() {
		jobs = 2000
	}
	w := newWorld(t, 10*time.Millisecond, queue.Options{AckWait: 2 * time.Second, PerSecond: perSecond})
	workers := w.workers(t, 3, "-worker.concurrency=10")
	if _, err := w.queue.Publish(t.Context(), w.pages(0, jobs)); err != nil {
		t.Fatal(err)
	}
	w.await(t, 5*time.Minute, func(s queue.Stats) bool { return s.Results >= int64(jobs/2) })
	workers[1].kill()
	w.await(t, 5*time.Minute, func(s queue.Stats) bool { return s.Waiting+s.Working == 0 })

	at := w.site.Times()
	took := at[len(at)-1].Sub(at[0]).Seconds()
	t.Logf("%d requests in %.2fs: %.1f a second, limit %g", len(at), took, float64(len(at)-1)/took, perSecond)
	if most := 1.1*perSecond*took + 1; float64(len(at)) > most {
		t.Errorf("%d requests in %.2fs, want at most %.0f", len(at), took, most)
	}
	if !testenv.Soak() {
		return
	}
	// While there is work for all: before the jobs of the dead worker are all
	// that is left.
	busy := at[:len(at)*9/10]
	if rate := float64(len(busy)-1) / busy[len(busy)-1].Sub(busy[0]).Seconds(); rate < 0.9*perSecond {
		t.Errorf("%.1f requests a second, want at least %.1f: the limit is not made use of", rate, 0.9*perSecond)
	}
	const window = 5 * time.Second
	for i, j := 0, 0; j < len(at); j++ {
		for at[j].Sub(at[i]) > window {
			i++
		}
		if n := j - i + 1; float64(n) > 1.1*perSecond*window.Seconds()+1 {
			t.Fatalf("%d requests within %v, want at most %.0f", n, window, 1.1*perSecond*window.Seconds()+1)
		}
	}
}

// TestHubRestarts kills the hub, and with it the server, while a worker works:
// it goes on with the next one, at its limit.
func TestHubRestarts(t *testing.T) {
	t.Parallel()
	pages, err := site.Start(t.Context(), 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.Close() })
	jobs := func(yield func(queue.Job, error) bool) {
		for i := range 90 {
			if !yield(queue.Job{ID: fmt.Sprintf("page-%d", i), URL: pages.URL(i)}, nil) {
				return
			}
		}
	}
	dir := t.TempDir()
	server, url, port := hub(t, dir, "0", "-host.per-second=60")
	nc := dial(t, url)
	q, err := queue.Open(t.Context(), nc, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Publish(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	start(t, "worker", "-nats.url", url, "-egress", "direct")
	results := func(want int64) {
		t.Helper()
		testenv.EventuallyWithin(t, time.Minute, func() error {
			st, err := q.Stats(t.Context())
			if err == nil && st.Results < want {
				err = fmt.Errorf("stats %+v, want %d results", st, want)
			}
			return err
		})
	}
	results(20)
	server.kill()
	p, _, _ := hub(t, dir, port, "-host.per-second=60")
	results(90)
	// The worker reports to the new one.
	_, at, _ := strings.Cut(p.line, "page at ")
	at, _, _ = strings.Cut(at, ",")
	testenv.Eventually(t, func() error {
		res, err := http.Get(at + "/api/status")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err == nil && !strings.Contains(string(text), `"done":`) {
			err = fmt.Errorf("no worker reports: %s", text)
		}
		return err
	})
}

// The queue may be on a server elsewhere, by one setting, and operators are
// told of what was given up.
func TestServerElsewhere(t *testing.T) {
	t.Parallel()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), DisableSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	pages, err := site.Start(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.Close() })
	told := make(chan string, 10)
	slack := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		told <- string(text)
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(slack.Close)
	start(t, "hub", "-listen", "127.0.0.1:0", "-nats.url", s.URL(), "-data-dir", t.TempDir(), "-workers", "1", "-egress", "direct",
		"FLEET_SLACK_WEBHOOK="+slack.URL+"/services/T0/B0/hunter2")
	if stdout, stderr, code := run(t, pages.URL(99)+"\n"+pages.URL(1)+"\n", "submit", "-nats.url", s.URL(), "-"); code != 0 {
		t.Fatalf("submit: %d %s%s", code, stdout, stderr)
	}
	select {
	case text := <-told:
		if !strings.Contains(text, "404 Not Found") || !strings.Contains(text, "/page/99") {
			t.Errorf("told %s", text)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody was told of the page that was given up")
	}
}

// The commands together, on a hub with a worker of its own.
func TestCommands(t *testing.T) {
	t.Parallel()
	pages, err := site.Start(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.Close() })
	p := start(t, "hub", "-listen", "127.0.0.1:0", "-nats.listen", "127.0.0.1:0", "-data-dir", t.TempDir(), "-workers", "1", "-egress", "direct", fast)
	m := queueAddress.FindStringSubmatch(p.line)
	if m == nil {
		t.Fatalf("the hub printed %q", p.line)
	}
	url := m[1]
	list := "# three pages\n\n" + pages.URL(1) + "\n" + pages.URL(2) + "\n" + pages.URL(99) + "\n"
	if stdout, stderr, code := run(t, list, "submit", "-nats.url", url, "-"); code != 0 || !strings.Contains(stdout, "3 jobs stored, 0 of them") {
		t.Fatalf("submit: %d %s%s", code, stdout, stderr)
	}
	testenv.Eventually(t, func() error {
		stdout, stderr, code := run(t, "", "results", "-nats.url", url, "-bodies")
		if code != 0 || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, `"status":200`) || !strings.Contains(stdout, `"body"`) {
			return fmt.Errorf("results: %d %s%s", code, stdout, stderr)
		}
		return nil
	})
	testenv.Eventually(t, func() error {
		stdout, stderr, code := run(t, "", "dead", "-nats.url", url)
		if code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, `"reason":"the site answers 404 Not Found","tries":1`) {
			return fmt.Errorf("dead: %d %s%s", code, stdout, stderr)
		}
		return nil
	})
	if stdout, stderr, code := run(t, list, "submit", "-nats.url", url, "-"); code != 0 || !strings.Contains(stdout, "3 of them were there already") {
		t.Errorf("submit again: %d %s%s", code, stdout, stderr)
	}
	if stdout, stderr, code := run(t, "", "dead", "-nats.url", url, "-requeue"); code != 0 || !strings.Contains(stdout, "1 jobs put back") {
		t.Errorf("requeue: %d %s%s", code, stdout, stderr)
	}
	for list, want := range map[string]string{
		"http://ok.example/\nnot an address\n":                        `line 2: queue: job "not an address"`,
		"\ufeffhttp://ok.example/\r\n\r\nftp://a/":                    `line 3: queue: job "ftp://a/"`,
		"http://ok.example/\nhttp://a/" + strings.Repeat("x", 70<<10): "line 2: queue: job",
	} {
		if _, stderr, code := run(t, list, "submit", "-nats.url", url, "-"); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("submit %.60q: %d %s, want %q", list, code, stderr, want)
		}
	}
	_, at, _ := strings.Cut(p.line, "page at http://")
	at, _, _ = strings.Cut(at, ",")
	if _, stderr, code := run(t, "", "healthcheck", "-listen", at); code != 0 {
		t.Errorf("healthcheck: %d %s", code, stderr)
	}
	// Another address than 127.0.0.1 is asked as it is.
	_, port, _ := strings.Cut(at, ":")
	if _, _, code := run(t, "", "healthcheck", "-listen", "127.0.0.2:"+port); code != 1 {
		t.Errorf("healthcheck of an address where nobody listens: %d", code)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the hub did not end cleanly: %v\n%s", err, &p.stderr)
	}
	if _, _, code := run(t, "", "healthcheck", "-listen", at); code != 1 {
		t.Errorf("healthcheck of nothing: %d", code)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, "", "demo", "-listen", "127.0.0.1:0", "-jobs", "150")
	if code != 0 || !strings.Contains(stdout, "149 results and 1 given up") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "hub, worker, submit"},
		{[]string{"serve"}, 2, `"serve" is no command`},
		{[]string{"hub", "-listen", "8080"}, 2, "write host:port"},
		{[]string{"worker", "-egress", "tor"}, 2, "egress"},
		{[]string{"worker", "-host.per-second", "0"}, 2, "host.per_second 0"},
		{[]string{"worker", "-worker.concurrency", "0"}, 2, "concurrency"},
		{[]string{"hub", "now"}, 2, `no "now"`},
		{[]string{"submit"}, 1, "one file"},
		{[]string{"submit", "-end", "-again", "-"}, 1, "goes with neither"},
		{[]string{"submit", "/does/not/exist"}, 1, "no such file"},
		{[]string{"hub", "-nats.listen", "0.0.0.0:0", "-listen", "127.0.0.1:0", "-data-dir", t.TempDir()}, 1, "set nats.token"},
		{[]string{"worker", "-nats.token", "x"}, 2, "not defined: -nats.token (fleet worker -help lists the flags)"},
		{[]string{"hub", "-help"}, 0, "-nats.url"},
	} {
		stdout, stderr, code := run(t, "", tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || code != 0 && strings.Count(stderr, "\n") > 5 {
			t.Errorf("fleet %v: %d, want %d with %q:\n%s%s", tt.args, code, tt.code, tt.want, stdout, stderr)
		}
	}
}

// BenchmarkWorkers measures one worker process and two, each for the same
// number of pages that take 200 ms, alternating, and reports the ratio of their
// throughputs.
func BenchmarkWorkers(b *testing.B) {
	const jobs, concurrency = 240, 8
	w := newWorld(b, 200*time.Millisecond, queue.Options{PerSecond: perSecond})
	next := 0
	measure := func(n int) float64 {
		workers := w.workers(b, n, fmt.Sprintf("-worker.concurrency=%d", concurrency))
		before := w.await(b, time.Minute, func(queue.Stats) bool { return true })
		from := next
		next += jobs * 2 // some numbers are left out
		started := time.Now()
		if _, err := w.queue.Publish(context.Background(), w.pages(from, jobs)); err != nil {
			b.Fatal(err)
		}
		w.await(b, 5*time.Minute, func(s queue.Stats) bool { return s.Results == before.Results+jobs })
		took := time.Since(started)
		for _, p := range workers {
			p.kill()
		}
		return jobs / took.Seconds()
	}
	var one, two float64
	for b.Loop() {
		one += measure(1)
		two += measure(2)
	}
	b.ReportMetric(one/float64(b.N), "pages/s-1")
	b.ReportMetric(two/float64(b.N), "pages/s-2")
	b.ReportMetric(two/one, "ratio-2-to-1")
}

// A page whose name its owner turned to this machine reads nothing.
func TestRebinding(t *testing.T) {
	t.Parallel()
	p := start(t, "hub", "-listen", "127.0.0.1:0", "-nats.listen", "127.0.0.1:0", "-data-dir", t.TempDir(), "-hosts", "fleet.example")
	_, rest, _ := strings.Cut(p.line, "page at ")
	at, _, _ := strings.Cut(rest, ",")
	for host, want := range map[string]int{"rebind.attacker.example": http.StatusMisdirectedRequest, "fleet.example:80": http.StatusOK, "": http.StatusOK} {
		for _, path := range []string{"/", "/api/status"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host // empty: that of the address
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s by %q: %d, want %d", path, host, resp.StatusCode, want)
			}
		}
	}
}
