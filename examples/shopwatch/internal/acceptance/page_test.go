// Package acceptance tests the service as it is built and started by a user.
package acceptance

import (
	"bufio"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/browser"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

var update = flag.Bool("update", false, "write the pictures in docs")

const (
	endBound   = 2 * time.Minute // from SIGTERM to the end, which its own bounds keep earlier
	maxPicture = 200 << 10       // bytes
)

// build builds the service as `make run` does, without the race detector: it
// is a program of its own.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "service")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", binary, "github.com/svcblocks/svcblocks/examples/shopwatch")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// start starts the service in an empty folder with nothing but its defaults,
// on a free port, and returns the address that it prints and a function that
// ends it as Ctrl-C does and expects exit code 0.
func start(t *testing.T, binary string, args ...string) (address string, end func()) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	exited := make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(out)
		for first := true; scanner.Scan(); first = false {
			if first {
				lines <- scanner.Text()
			}
		}
		exited <- cmd.Wait()
	}()
	ended := false
	end = func() {
		t.Helper()
		if ended {
			return
		}
		ended = true
		stop := os.Signal(syscall.SIGTERM)
		if runtime.GOOS == "windows" {
			stop = os.Kill
		}
		if err := cmd.Process.Signal(stop); err != nil {
			t.Errorf("signal: %v", err)
		}
		select {
		case err := <-exited:
			if err != nil && runtime.GOOS != "windows" {
				t.Errorf("the service ended with %v, want exit code 0", err)
			}
		case <-time.After(endBound):
			t.Errorf("the service did not end within %v", endBound)
			_ = cmd.Process.Kill() // its end is awaited next
			<-exited
		}
	}
	t.Cleanup(end)
	select {
	case line := <-lines:
		address = regexp.MustCompile(`http://[^ ]+`).FindString(line)
		if address == "" {
			t.Fatalf("no address in the first line: %q", line)
		}
	case err := <-exited:
		exited <- err
		t.Fatalf("the service ended at once: %v", err)
	case <-time.After(testenv.Within(10*time.Second, 2*time.Minute)):
		t.Fatal("the service printed no address")
	}
	return address, end
}

// TestFirstMinute: within 60 s of the first start (under make soak; a busy machine takes its time) the page, left open and
// never loaded again by hand, shows scraped items with a plot, shipped log
// lines, a caught mail and a caught Slack message.
func TestFirstMinute(t *testing.T) {
	b := browser.Start(t)
	binary := build(t)
	firstMinute := testenv.Within(time.Minute, 5*time.Minute)
	begun := time.Now()
	address, end := start(t, binary)
	tab := b.Open(t, address, browser.Desktop)
	for _, c := range []struct{ what, js string }{
		{"items with a plot", `document.querySelectorAll("#items .plotcard svg.plot path.line").length > 0`},
		{"a run that ended well", `document.querySelector("#runs .state.done")`},
		{"shipped log lines", `[...document.querySelectorAll("#log .numbers div")].some(e => e.querySelector("dt").textContent === "Shipped" && e.querySelector("dd").textContent !== "0")`},
		{"log lines at the receiver", `document.querySelectorAll("#last-lines li").length > 0`},
		{"a plot with a change of price", `document.querySelector("#items .plotcard svg.plot circle.dot")`},
		{"a caught mail", `document.querySelector("#notifications .kind.mail")`},
		{"a caught Slack message", `document.querySelector("#notifications .kind.slack")`},
	} {
		if !tab.Until(c.js, time.Until(begun.Add(firstMinute))) {
			t.Errorf("after %v the page shows no sign of %s", firstMinute, c.what)
			continue
		}
		t.Logf("%s after %v", c.what, time.Since(begun).Round(100*time.Millisecond))
	}
	tab.Press("#scrape button")
	if !tab.Until(`[...document.querySelectorAll("#runs tbody tr")].some(e => e.querySelector("th").textContent.includes("request"))`, firstMinute) {
		t.Error("after Scrape now there is no run on request")
	}
	tab.OpenDetails()
	if diff := cmp.Diff([]string{}, tab.Overflow()); diff != "" {
		t.Errorf("beyond the screen (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, tab.Axe(t)); diff != "" {
		t.Errorf("axe-core finds (-want +got):\n%s", diff)
	}
	if got := tab.Problems(); len(got) > 0 {
		t.Errorf("the page complains: %q", got)
	}
	if got := tab.Hosts(); len(got) != 1 {
		t.Errorf("the page asked %q, want its own host only", got)
	}
	end() // with the page still open, as it is when a person presses Ctrl-C
}

// TestPictures writes the pictures of the page for docs/ with -update, from a
// service that has run for some minutes.
func TestPictures(t *testing.T) {
	if !*update {
		t.Log("nothing to write without -update")
		return
	}
	b := browser.Start(t)
	address, _ := start(t, build(t))
	tab := b.Open(t, address, browser.Desktop)
	if !tab.Until(`document.querySelectorAll("#items .plotcard svg.plot circle.dot").length > 30`, 5*time.Minute) {
		t.Fatal("too few changes of price within 5 minutes")
	}
	tab.Close()
	for _, v := range []browser.View{browser.Desktop, browser.Desktop.Dark(), browser.Phone, browser.Phone.Dark()} {
		tab := b.Open(t, address, v)
		// A wide picture ends below the notifications, a narrow one below the
		// first items: the page goes on from there.
		last := "#notifications"
		if v.Mobile {
			last = "#items .plotcard:nth-child(2)"
		}
		browser.Eval[bool](tab, `document.querySelector(".caught details").open = true`)
		height := browser.Eval[float64](tab, `document.querySelector("`+last+`").getBoundingClientRect().bottom + window.scrollY + 16`)
		picture, err := browser.Shrink(tab.Screenshot(int64(height)))
		if err != nil {
			t.Fatal(err)
		}
		if len(picture) > maxPicture {
			t.Errorf("%s %s: %d bytes, want at most %d", v.Name, v.Scheme, len(picture), maxPicture)
		}
		name := filepath.Join("..", "..", "..", "..", "docs", "status-"+v.Name+"-"+v.Scheme+".png")
		if err := os.WriteFile(name, picture, 0o644); err != nil {
			t.Fatal(err)
		}
		tab.Close()
	}
}
