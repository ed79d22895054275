package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// What the service promises on a machine that has nothing else to do.
const (
	readyBound  = 100 * time.Millisecond // from its start to /readyz, without Tor's bootstrap
	memoryBound = 40 << 20               // bytes resident while it scrapes
)

// production builds the service as it is deployed, without the race detector.
func production(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "service")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nodemo", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// launch starts the binary on a shop at site, and returns how long it took
// until /readyz answered 200.
func launch(tb testing.TB, binary, site string) (took time.Duration, address string, cmd *exec.Cmd) {
	tb.Helper()
	cmd = exec.Command(binary, "-listen", "127.0.0.1:0", "-profile", "", "-config", "settings.yaml")
	cmd.Dir = tb.TempDir()
	text := fmt.Sprintf("site: {url: %q, every: 100ms}\ntor: {disabled: true}\nscrape: {allow: [127.0.0.1/32], host_limit: {per_second: -1, in_flight: -1}}\n", site)
	if err := os.WriteFile(filepath.Join(cmd.Dir, "settings.yaml"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait() // it says why on stderr
		tb.Fatalf("the service ended: %v\n%s", err, stderr.String())
	}
	address = regexp.MustCompile(`http://[^ ]+`).FindString(line)
	for time.Since(begin) < 30*time.Second {
		res, err := http.Get(address + "readyz")
		if err != nil {
			tb.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return time.Since(begin), address, cmd
		}
		time.Sleep(time.Millisecond) // a part has not been asked yet
	}
	tb.Fatal("not ready within 30 s")
	return 0, "", nil
}

// end ends the service.
func end(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		tb.Fatal(err)
	}
}

// scraped waits until the service has read n pages, and returns what it had
// resident meanwhile, and at most since its start.
func scraped(tb testing.TB, address string, n int) (resident, peak int64) {
	tb.Helper()
	metric := func(text, name string) int64 {
		_, rest, _ := strings.Cut(text, "\n"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0
		}
		return int64(f)
	}
	testenv.EventuallyWithin(tb, 2*time.Minute, func() error {
		res, err := http.Get(address + "metrics")
		if err != nil {
			return err
		}
		var text bytes.Buffer
		_, err = text.ReadFrom(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		resident = max(resident, metric(text.String(), "process_resident_memory_bytes"))
		peak = metric(text.String(), "process_resident_memory_peak_bytes")
		if pages := metric(text.String(), "scrape_pages_total"); pages < int64(n) {
			return fmt.Errorf("%d pages", pages)
		}
		return nil
	})
	return resident, peak
}

// The service is ready soon after its start, and stays small while it
// scrapes. Only a machine with nothing else to do can hold the first bound.
func TestReadyAndSmall(t *testing.T) {
	if !testenv.Soak() {
		t.Log("the bounds are for SVCBLOCKS_SOAK=1, on a machine with nothing else to do")
	}
	binary, shop := production(t), newSite(t)
	best := time.Hour
	for range testenv.Reps(10) {
		took, _, cmd := launch(t, binary, shop.URL)
		best = min(best, took)
		end(t, cmd)
	}
	if bound := testenv.Within(readyBound, 10*time.Second); best > bound {
		t.Errorf("ready after %v at best, want %v", best, bound)
	}
	_, address, cmd := launch(t, binary, shop.URL)
	resident, peak := scraped(t, address, testenv.Reps(2000))
	end(t, cmd)
	if bound := int64(memoryBound); resident > bound || peak > bound {
		t.Errorf("%d MB resident while it scraped, %d MB at most, want at most %d", resident>>20, peak>>20, bound>>20)
	}
	t.Logf("ready after %v at best, %d MB resident while it scraped, %d MB at most", best.Round(time.Millisecond), resident>>20, peak>>20)
}

func BenchmarkReady(b *testing.B) {
	binary := production(b)
	shop := newSite(b)
	for b.Loop() {
		_, _, cmd := launch(b, binary, shop.URL)
		b.StopTimer()
		end(b, cmd)
		b.StartTimer()
	}
}
