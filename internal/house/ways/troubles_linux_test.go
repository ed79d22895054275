package ways

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

type netipAddr = netip.Addr

var localhost = netip.MustParseAddr("127.0.0.1")

// troubles makes each trouble, and returns what ends it.
var troubles = map[string]func(w *world, both []subject) (end func()){
	"wrong host": func(w *world, _ []subject) func() {
		w.set(func() { w.known = false })
		return func() { w.set(func() { w.known = true }) }
	},
	"untrusted certificate": func(w *world, _ []subject) func() {
		w.set(func() { w.trusted = false })
		return func() { w.set(func() { w.trusted = true }) }
	},
	"https to an http port": func(w *world, _ []subject) func() {
		w.set(func() { w.tls = false })
		return func() { w.set(func() { w.tls = true }) }
	},
	"closed port": func(w *world, _ []subject) func() {
		w.closePort()
		return func() { w.listen(w.addr) }
	},
	"401":                      status(http.StatusUnauthorized),
	"403":                      status(http.StatusForbidden),
	"nobody takes the message": status(http.StatusBadRequest),
	"no space":                 func(w *world, _ []subject) func() { return w.fill() },
	"no inodes":                func(w *world, _ []subject) func() { return w.fillInodes() },
	"folder removed": func(w *world, both []subject) func() {
		for _, s := range both {
			w.must(os.RemoveAll(filepath.Dir(s.file())))
		}
		return func() {
			for _, s := range both {
				s.restore()
			}
		}
	},
	"file replaced": func(w *world, both []subject) func() {
		for _, s := range both {
			path := s.file()
			w.must(os.Rename(path, path+".away"))
			w.must(os.WriteFile(path, []byte(replaced), 0o600))
		}
		return func() {
			for _, s := range both {
				s.restore()
			}
		}
	},
	"lock held by a stopped process": func(w *world, both []subject) func() {
		var ends []func()
		for _, s := range both {
			ends = append(ends, w.stopped(s))
		}
		return func() {
			for _, end := range ends {
				end()
			}
		}
	},
}

func status(code int) func(w *world, _ []subject) func() {
	return func(w *world, _ []subject) func() {
		w.set(func() { w.status = code })
		return func() { w.set(func() { w.status = 0 }) }
	}
}

// replaced stands in a file that took another one's place.
const replaced = "replaced\n"

// overTLS are the ways that need a server with TLS.
func overTLS(way string) bool {
	return way == "untrusted certificate" || way == "https to an http port"
}

// holderVariable makes a process one that takes a lock, says so and waits:
// "block folder url".
const holderVariable = "SVCBLOCKS_WAYS_HOLDER"

// stopped starts a process that holds the lock of s, and stops it.
func (w *world) stopped(s subject) (end func()) {
	cmd := testenv.Self("-test.run=^TestHolder$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), holderVariable+"="+strings.Join([]string{s.block(), s.folder(), w.url()}, " "))
	cmd.Stderr = os.Stdout
	arrived := make(chan struct{}, 1)
	if s.block() == "logging" {
		w.set(func() { w.hang = arrived }) // it holds the lock as long as it is not answered
	} else {
		arrived <- struct{}{}
	}
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	end = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // by that
	}
	w.t.Cleanup(end)

	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "holding" {
			<-arrived // some request of its own
			w.must(cmd.Process.Signal(syscall.SIGSTOP))
			return end
		}
		fmt.Println(lines.Text())
	}
	w.t.Fatal("the holder of the lock ended")
	return nil
}
