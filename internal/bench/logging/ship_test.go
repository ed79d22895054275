package logging_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/internal/testenv/syslogng"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

const (
	childVariable = "BENCH_SHIP_DIR" // this binary becomes the shipper of that folder
	batchLines    = 10_000
	lineBytes     = 282
	shipTimeout   = 2 * time.Minute
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := childShip(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		syscall.Exit(0) // os.Exit sleeps for a second or more under the race detector
	}
	goleak.VerifyTestMain(m)
}

// childShip ships the segments in dir and prints its peak of memory.
func childShip(dir string) error {
	sink, err := httpjson.New(&httpjson.Options{
		URL:  os.Getenv("BENCH_SHIP_URL"),
		Gzip: os.Getenv("BENCH_SHIP_GZIP") != "",
	})
	if err != nil {
		return err
	}
	shipper, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: batchLines * lineBytes})
	if err != nil {
		return err
	}
	if _, err := shipper.SendBulk(context.Background()); err != nil {
		return err
	}
	peak, err := peakMemory(os.Getpid())
	if err != nil {
		return err
	}
	fmt.Println(peak)
	return nil
}

// peakMemory returns the most memory that a process had, in KiB. (The
// ru_maxrss of a child is no measure: it begins at its parent's.)
func peakMemory(pid int) (kib int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib, nil
		}
	}
	return 0, errors.New("no VmHWM")
}

// receiver counts the lines that are posted to it. Their sum is that of the
// lines' hashes, whatever their order.
type receiver struct {
	*httptest.Server
	seed maphash.Seed

	mu    sync.Mutex
	count int
	sum   uint64
	wire  int64
	err   error
	all   chan struct{} // closed when there are want lines
	want  int
}

func newReceiver(t testing.TB, seed maphash.Seed, want int) *receiver {
	r := &receiver{seed: seed, want: want, all: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	wire := &counter{r: req.Body}
	count, sum, err := sumLines(wire, r.seed, req.Header.Get("Content-Encoding") == "gzip")
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.err = errors.Join(r.err, err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	before := r.count
	r.count, r.sum, r.wire = r.count+count, r.sum+sum, r.wire+wire.n
	if before < r.want && r.count >= r.want {
		close(r.all)
	}
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func sumLines(r io.Reader, seed maphash.Seed, gzipped bool) (count int, sum uint64, err error) {
	if gzipped {
		z, err := gzip.NewReader(r)
		if err != nil {
			return 0, 0, err
		}
		r = z
	}
	in := bufio.NewScanner(r)
	for in.Scan() {
		count++
		sum += maphash.Bytes(seed, in.Bytes())
	}
	return count, sum, in.Err()
}

// logFile writes n lines of a service's log to a sealed segment and returns
// its path.
func logFile(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: -1, MaxTotalBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	for i := range n {
		from := buf.Len()
		fmt.Fprintf(&buf, `{"time":"2026-03-01T12:%02d:%02d.%09dZ","level":"INFO","msg":"order placed","component":"orders.http","seq":%d,"customer":"%016x","route":"/v1/orders","items":%d,"took":%d,"express":%t,"note":"`,
			i/60%60, i%60, i*7919%1e9, i, uint64(i)*0x9e3779b97f4a7c15, i%50, i*31%9_000_000, i%2 == 0)
		for k := i; buf.Len()-from < lineBytes-3; k++ {
			buf.WriteByte("the quick brown fox jumps over the lazy dog "[k%44])
		}
		buf.WriteString("\"}\n")
		if i%1000 == 999 || i == n-1 {
			if _, err := f.Write(buf.Bytes()); err != nil {
				t.Fatal(err)
			}
			buf.Reset()
		}
	}
	if err := errors.Join(f.Seal(), f.Close()); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %q, error %v", segments, err)
	}
	return segments[0]
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// spent is what a shipper took.
type spent struct {
	cpu  time.Duration
	peak int64 // KiB
}

// shipper ships the file at path to a receiver in a process of its own.
type shipper struct {
	name string
	ship func(t testing.TB, path string, to *receiver) spent
}

var shippers = []shipper{
	{"syslog-ng", shipSyslogNG},
	{"ours", func(t testing.TB, path string, to *receiver) spent { return shipOurs(t, path, to, "") }},
	{"ours-gzip", func(t testing.TB, path string, to *receiver) spent { return shipOurs(t, path, to, "yes") }},
}

func shipOurs(t testing.TB, path string, to *receiver, gzipped string) spent {
	t.Helper()
	dir := t.TempDir()
	copyFile(t, path, filepath.Join(dir, filepath.Base(path))) // it is removed when it has been shipped
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), shipTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childVariable+"="+dir, "BENCH_SHIP_URL="+to.URL, "BENCH_SHIP_GZIP="+gzipped)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var peak int64
	if _, err := fmt.Sscan(string(out), &peak); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return spent{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: peak}
}

// shipSyslogNG lets syslog-ng read the file from its beginning, with flow
// control and as many lines in a batch as ours.
func shipSyslogNG(t testing.TB, path string, to *receiver) spent {
	t.Helper()
	ng := syslogng.New(t, path, to.URL, &syslogng.Options{BatchLines: batchLines})
	ng.Start(t)
	defer ng.Stop()
	select {
	case <-to.all:
	case <-time.After(shipTimeout):
		t.Fatalf("syslog-ng did not deliver all within %v\n%s", shipTimeout, ng.Output())
	}
	peak, err := peakMemory(ng.Pid())
	if err != nil {
		t.Fatal(err)
	}
	cpu, err := cpuSoFar(ng.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return spent{cpu: cpu, peak: peak}
}

// cpuSoFar returns the processor time that another process took.
func cpuSoFar(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected stat %q", stat)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick, nil
}

// check reports whether r got each line of the file once.
func (r *receiver) check(t testing.TB, sum uint64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || r.count != r.want || r.sum != sum {
		t.Fatalf("received %d lines with sum %x, want %d with %x; error %v", r.count, r.sum, r.want, sum, r.err)
	}
}

func sumOf(t testing.TB, path string, seed maphash.Seed) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, sum, err := sumLines(f, seed, false)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestShippersAgree(t *testing.T) {
	t.Parallel()
	const n = 3*batchLines + 1
	path, seed := logFile(t, n), maphash.MakeSeed()
	sum := sumOf(t, path, seed)
	for _, s := range shippers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, seed, n)
			s.ship(t, path, to)
			to.check(t, sum)
		})
	}
}

func BenchmarkShip(b *testing.B) {
	const n = 1_000_000
	path, seed := logFile(b, n), maphash.MakeSeed()
	sum := sumOf(b, path, seed)
	var impls []bench.Impl
	for _, s := range shippers {
		impls = append(impls, bench.Impl{Name: s.name, Run: func(b *testing.B) {
			var total spent
			var wire int64
			ops := 0
			for b.Loop() {
				to := newReceiver(b, seed, n)
				took := s.ship(b, path, to)
				to.check(b, sum)
				total.cpu += took.cpu
				total.peak = max(total.peak, took.peak)
				wire += to.wire
				ops++
			}
			b.ReportMetric(float64(ops)*n/total.cpu.Seconds(), "events/cpu-s")
			b.ReportMetric(float64(total.peak)/1024, "peak-MiB")
			b.ReportMetric(float64(wire)/float64(ops)/1e6, "wire-MB")
		}})
	}
	bench.Compare(b, impls...)
}
