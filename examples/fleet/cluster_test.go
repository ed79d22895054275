//go:build unix

package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/site"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// cluster is three servers, each a process.
type cluster struct {
	t     *testing.T
	args  [3][]string
	procs [3]*exec.Cmd
	urls  []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var routes []string
	var ports [3][2]int
	for i := range c.procs {
		for j := range 2 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }() // once all ports are known, and differ
			ports[i][j] = l.Addr().(*net.TCPAddr).Port
		}
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i][0]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i][1]))
	}
	dir := t.TempDir()
	for i := range c.procs {
		name := fmt.Sprintf("s%d", i)
		c.args[i] = []string{name, filepath.Join(dir, name), fmt.Sprint(ports[i][0]), fmt.Sprint(ports[i][1]), strings.Join(routes, ",")}
	}
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	cmd := exec.Command(os.Args[0], c.args[i]...)
	cmd.Env = append(os.Environ(), asServer+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.procs[i] = cmd
	c.t.Cleanup(func() { c.kill(i) })
}

// kill ends a server as a power cut would, also one that is frozen.
func (c *cluster) kill(i int) {
	_ = c.procs[i].Process.Kill() // it may have ended
	_ = c.procs[i].Wait()
}

func (c *cluster) freeze(i int, frozen bool) {
	c.t.Helper()
	sig := syscall.SIGCONT
	if frozen {
		sig = syscall.SIGSTOP
	}
	if err := c.procs[i].Process.Signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

// leader returns which server leads a stream, -1 if none does now.
func (c *cluster) leader(ctx context.Context, js jetstream.JetStream, stream string) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil || s.CachedInfo().Cluster == nil {
		return -1
	}
	var i int
	if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "s%d", &i); err != nil {
		return -1
	}
	return i
}

// wait is time that passes while something is away.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// TestFailover kills and freezes what a fleet on three servers is made of, in
// random order, while jobs are published and worked at: none is lost, none is
// given up, and nobody has to be started who was not killed.
func TestFailover(t *testing.T) {
	testenv.Slow(t)
	jobs, faults := testenv.Reps(10_000), testenv.Reps(20)
	c := newCluster(t)
	for i := range c.procs {
		c.start(i)
	}
	urls := strings.Join(c.urls, ",")
	// So slow that there is work at each of the faults.
	pages, err := site.Start(t.Context(), 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.Close() })

	// Hub and workers start before the cluster has a leader.
	dir, ackWait := t.TempDir(), "-queue.ack-wait=5s"
	if testenv.Soak() {
		ackWait = "-queue.ack-wait=30s" // the default: what a killed worker held comes back late
	}
	startHub := func() *process {
		return start(t, "hub", "-listen", "127.0.0.1:0", "-nats.url", urls, "-nats.replicas=3", "-data-dir", dir, "-host.per-second=100000", ackWait, "FLEET_LOG_LEVEL=warn")
	}
	worked := 0
	startWorker := func() *process {
		worked++
		return start(t, "worker", "-nats.url", urls, "-egress", "direct", "-worker.name", fmt.Sprintf("w%d", worked), "-worker.concurrency=8", "FLEET_LOG_LEVEL=warn")
	}
	hub, workers := startHub(), []*process{startWorker(), startWorker(), startWorker()}

	nc := dial(t, urls)
	q, err := queue.Open(t.Context(), nc, nil)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{queue: q, site: pages}
	published := make(chan error, 1)
	go func() {
		done, err := q.Publish(t.Context(), w.pages(0, jobs))
		if err == nil && done.Stored != jobs {
			err = fmt.Errorf("%d of %d jobs stored", done.Stored, jobs)
		}
		published <- err
	}()

	restart := func(i int) {
		c.kill(i)
		wait(t, 2*time.Second)
		c.start(i)
	}
	kinds := []struct {
		name string
		do   func() (majority time.Time) // since when there is one
	}{
		{"leader", func() time.Time {
			began := time.Now()
			restart(max(0, c.leader(t.Context(), js, "FLEET_JOBS")))
			return began
		}},
		{"follower", func() time.Time {
			began := time.Now()
			restart((max(0, c.leader(t.Context(), js, "FLEET_JOBS")) + 1) % 3)
			return began
		}},
		{"bucket's leader", func() time.Time {
			began := time.Now()
			restart(max(0, c.leader(t.Context(), js, "KV_fleet_hosts")))
			return began
		}},
		{"two frozen", func() time.Time {
			i := rand.IntN(3)
			for _, n := range []int{i, (i + 1) % 3} {
				c.freeze(n, true)
			}
			wait(t, 5*time.Second)
			for _, n := range []int{i, (i + 1) % 3} {
				c.freeze(n, false)
			}
			return time.Now()
		}},
		{"worker", func() time.Time { i := rand.IntN(3); workers[i].kill(); workers[i] = startWorker(); return time.Now() }},
		{"hub", func() time.Time { hub.kill(); hub = startHub(); return time.Now() }},
	}
	order := rand.Perm(len(kinds))
	idle, longest := 0, time.Duration(0)
	for n := range faults {
		kind := kinds[order[n%len(order)]]
		majority := kind.do()
		before := len(pages.Hits())
		if before == jobs {
			idle++
			continue
		}
		// More than what the workers had in their hands before.
		testenv.EventuallyWithin(t, 2*time.Minute, func() error {
			if n := len(pages.Hits()); n < min(before+30, jobs) {
				return fmt.Errorf("%d pages since %s", n-before, kind.name)
			}
			return nil
		})

		pause := quiet(pages.Times(), majority)
		t.Logf("%s, with %d pages asked for: %v without a page", kind.name, before, pause)
		if most := testenv.Within(10*time.Second, time.Minute); pause > most {
			t.Errorf("%s: %v without a page, want at most %v", kind.name, pause, most)
		}
		longest = max(longest, pause)
	}
	if idle > 0 {
		t.Errorf("%d of %d faults came when all was done", idle, faults)
	}

	if err := <-published; err != nil {
		t.Error(err)
	}
	st := w.await(t, 10*time.Minute, func(s queue.Stats) bool { return s.Waiting+s.Working == 0 })
	if st.Results != int64(jobs) || st.Dead != 0 {
		t.Errorf("%+v, want %d results and none given up", st, jobs)
	}
	for _, p := range append(workers, hub) {
		if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("%v ended by itself: %v", p.cmd.Args[1], err)
		}
	}
	asked := 0
	for _, n := range pages.Hits() {
		asked += n
	}
	t.Logf("%d jobs, %d faults: %d results, %d given up, %d asked for twice, %v without a page at most",
		jobs, faults, st.Results, st.Dead, asked-len(pages.Hits()), longest)
	for _, p := range append(workers, hub) {
		p.kill()
		if n := strings.Count(p.stderr.String(), " WARN "); n > faults+1 { // one for the start before there is a leader
			t.Errorf("%d warnings of one process in %d faults:\n%s", n, faults, &p.stderr)
		}
	}
}

// quiet returns the longest time without a page since some moment.
func quiet(pages []time.Time, since time.Time) (longest time.Duration) {
	for _, at := range pages {
		if at.After(since) {
			longest, since = max(longest, at.Sub(since)), at
		}
	}
	return longest
}
