package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// agreeWithin is how long page, /readyz, log and stderr may take to say the same.
// On a machine of its own a minute is enough.
const agreeWithin = 3 * time.Minute

// broken is what is to be seen of one trouble.
type broken struct {
	part   string // that does not work
	ready  int    // status of /readyz
	says   []string
	noFile bool // the log cannot be written, so that it need not say it
}

// agree waits until the page, /readyz, the log and stderr tell of the trouble.
func (p *process) agree(t *testing.T, w *world, want broken) {
	t.Helper()
	begun := time.Now()
	lacks := func(where, text string) error {
		for _, say := range want.says {
			if !strings.Contains(text, say) {
				return fmt.Errorf("%s lacks %q:\n%s", where, say, text)
			}
		}
		return nil
	}
	testenv.EventuallyWithin(t, agreeWithin, func() error {
		status, body := p.get("/readyz")
		var answer struct {
			Parts []struct {
				Name, Error, Advice string
				OK                  bool
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			return fmt.Errorf("%w: %s", err, body)
		}
		var text string
		for _, part := range answer.Parts {
			if part.Name == want.part && !part.OK {
				text = part.Error + "\n" + part.Advice
			}
		}
		if status != want.ready {
			return fmt.Errorf("readyz answers %d, want %d: %s", status, want.ready, body)
		}
		if err := lacks("readyz", text); err != nil {
			return err
		}
		_, page := p.get("/")
		if err := lacks("the page", html.UnescapeString(page)); err != nil {
			return err
		}
		_, stderr := p.output()
		if err := lacks("stderr", strings.ReplaceAll(stderr, `\"`, `"`)); err != nil {
			return err
		}
		if n := w.logs.holds(append([]string{"part does not work", `"part":"` + want.part + `"`}, want.says...)...); n == 0 && !want.noFile {
			return errors.New("the log does not say it")
		}
		return nil
	})
	t.Logf("seen everywhere after %v", time.Since(begun).Round(time.Second))
}

// startOn starts the service with its data on a file system of its own, and
// returns where the test sees that.
func (w *world) startOn(t *testing.T, options string, args ...string) (p *process, data string) {
	t.Helper()
	testenv.Require(t, "netns")
	w.configure(t)
	if err := os.MkdirAll(filepath.Join(w.dir, "var"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := `mount -t tmpfs -o "$1" none var && shift && exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", options, binary, "-listen", "127.0.0.1:0"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	p = startCommand(t, w.dir, cmd, nil)
	return p, filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "root", w.dir, "var")
}

// fill takes all space of dir.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is full
	for block := make([]byte, 512); err == nil; _, err = f.Write(block) {
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// Twelve ways of breaking a running service: whoever looks at the page, asks
// /readyz, reads the log or the standard error learns what it is and what to do.
func TestBreaks(t *testing.T) {
	t.Parallel()

	t.Run("data removed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		if err := os.RemoveAll(filepath.Join(w.dir, "var")); err != nil {
			t.Fatal(err)
		}
		p.agree(t, w, broken{"history", http.StatusServiceUnavailable, []string{"var/history.db", "does not exist", "data_dir"}, false})
		p.agree(t, w, broken{"notify", http.StatusServiceUnavailable, []string{"outbox"}, false})
	})

	t.Run("disk full", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p, data := w.startOn(t, "size=2m")
		p.awaitAddress().awaitPage(t, "item 3")
		fill(t, data)
		p.agree(t, w, broken{"log", http.StatusServiceUnavailable, []string{"no space left", "is full: free some space", "log.file.path"}, true})
		if err := os.Remove(filepath.Join(data, "filler")); err != nil {
			t.Fatal(err)
		}
		p.awaitReady(t)
	})

	t.Run("no inodes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p, data := w.startOn(t, "size=64m,nr_inodes=40", "-log.file.max-segment-bytes", "4096", "-log.file.max-total-bytes", "1048576")
		p.awaitAddress().awaitPage(t, "item 3")
		testenv.EventuallyWithin(t, agreeWithin, func() error { // what segments leave is taken again
			for i := 0; ; i++ {
				f, err := os.CreateTemp(data, "filler")
				if errors.Is(err, syscall.ENOSPC) {
					break
				}
				if err != nil {
					return err
				}
				_ = f.Close()
			}
			if _, body := p.get("/readyz"); !strings.Contains(body, "no inodes left") {
				return errors.New(body)
			}
			return nil
		})
		p.agree(t, w, broken{"ship", http.StatusOK, []string{"no inodes left (df -i)"}, true}) // lines go on into the file that is there
	})

	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p, _ := w.startOn(t, "ro")
		if code := p.wait(); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		_, stderr := p.output()
		want(t, "stderr", stderr, "history", "is mounted read-only: mount it for writing", "data_dir")
	})

	// A clock that is wrong shows where certificates are not valid by it.
	t.Run("clock", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		ca, address := startAhead(t)
		w.configure(t)
		p := startEnv(t, w.dir, []string{"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=/nowhere"}, "-ship.url", address, "-log.stuck-after", "1s").awaitAddress()
		p.agree(t, w, broken{"ship", http.StatusOK, []string{"not yet valid", "this machine's clock", "ship.url"}, true})
	})

	t.Run("port", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		first := w.start(t).awaitAddress()
		second := start(t, t.TempDir(), "-listen", strings.Trim(strings.TrimPrefix(first.url, "http://"), "/"))
		if code := second.wait(); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		_, stderr := second.output()
		want(t, "stderr", stderr, "in use", "choose another port: -listen")
	})

	t.Run("Tor gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := w.start(t, "-tor.disabled=false", "-tor.socks", closedPort(t)).awaitAddress()
		p.agree(t, w, broken{"egress", http.StatusOK, []string{"egress unavailable", "connection refused", "start Tor", "tor.socks"}, false})
		p.agree(t, w, broken{"runs", http.StatusOK, []string{"no page was asked for", "egress unavailable"}, false})
	})

	t.Run("mail gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		if err := w.mail.Close(); err != nil {
			t.Fatal(err)
		}
		p.agree(t, w, broken{"notify", http.StatusOK, []string{"mail", "connection refused", "outbox"}, false})
	})

	t.Run("Slack 403", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		refuse := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rw, "invalid_token")
		}))
		defer refuse.Close()
		w.webhook = refuse.URL + "/services/hook"
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		w.site.change(func() { w.site.price[3] = 900 })
		p.agree(t, w, broken{"notify", http.StatusOK, []string{"slack", "invalid_token"}, false})
	})

	t.Run("config broken", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		path := filepath.Join(w.dir, "config", "config.yaml")
		if err := os.WriteFile(path, []byte("site: [\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.agree(t, w, broken{"config", http.StatusOK, []string{"config.yaml:", "correct the settings"}, false})
		w.configure(t)
		p.awaitReady(t)
	})

	// The old address is refused, the new one is in the file: no restart.
	t.Run("secret rotated", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		var now atomic.Value
		now.Store("/first")
		var took atomic.Int32
		hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != now.Load() {
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			took.Add(1)
			_, _ = io.WriteString(rw, "ok")
		}))
		defer hook.Close()
		file := filepath.Join(w.dir, "webhook")
		rotate := func(path string) {
			if err := os.WriteFile(file, []byte(hook.URL+path), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		rotate("/first")
		w.webhook = "ref+file://" + file
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		now.Store("/second")
		w.site.change(func() { w.site.price[3] = 900 })
		p.agree(t, w, broken{"notify", http.StatusOK, []string{"slack", "403"}, false})
		rotate("/second")
		testenv.EventuallyWithin(t, agreeWithin, func() error {
			if took.Load() == 0 {
				return errors.New("the message has not arrived")
			}
			return nil
		})
		p.awaitReady(t)
	})

	t.Run("kill -9", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := w.start(t).awaitAddress()
		p.awaitPage(t, "item 3")
		w.site.change(func() { w.site.gate = make(chan struct{}) }) // it dies in the middle of a run
		testenv.Eventually(t, func() error {
			if runs := p.runs(); len(runs) == 0 || runs[0].Status != "running" {
				return errors.New("no run is under way")
			}
			return nil
		})
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.exited
		w.site.change(func() { close(w.site.gate); w.site.gate = nil })
		p = w.start(t).awaitAddress()
		p.awaitPage(t, "the service ended before the run did", "item 3")
		p.awaitReady(t)
		w.awaitMail(t, "was cut short")
	})
}

// startAhead serves with a certificate that is valid by a later clock alone, and
// returns the file of who signed it.
func startAhead(t *testing.T) (ca, address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}

	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return ca, s.URL
}

// awaitReady waits until all parts work.
func (p *process) awaitReady(t *testing.T) {
	t.Helper()
	testenv.EventuallyWithin(t, agreeWithin, func() error {
		if status, body := p.get("/readyz"); status != http.StatusOK || !strings.Contains(body, `"status": "ok"`) {
			return fmt.Errorf("readyz: %d %s", status, body)
		}
		return nil
	})
}
