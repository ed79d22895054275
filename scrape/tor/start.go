package tor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/safefile"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

// ErrStart reports that the process could not be started or ended early.
var ErrStart = errors.New("tor: start")

const (
	pollInterval = 50 * time.Millisecond // between looks at Tor's progress
	stopTimeout  = 5 * time.Second       // for a clean end
	keptLog      = 8 << 10               // of Tor's log, for messages
)

// Start runs a Tor process of its own on ports of 127.0.0.1 that the kernel
// picks, and returns when it can be used: bootstrapped, with a circuit open. On
// the public network that takes some seconds to a minute; ctx bounds it. The
// process ends with [Tor.Close], and when this process ends, however it does:
// Tor watches both the connection that owns it and the process.
//
// If Tor ends by itself it is run again with the same data, at once and then
// after waits of up to 30 s. Until it can be used, everything fails with
// scrape.ErrEgressUnavailable; [Status] counts the restarts.
func Start(ctx context.Context, opts *Options) (*Tor, error) {
	o, err := opts.withDefaults(true)
	if err != nil {
		return nil, err
	}
	t, err := start(ctx, o)
	if err != nil {
		return nil, named.Wrap("tor", "", fmt.Errorf("%w: %w: %w", scrape.ErrEgressUnavailable, ErrStart, err))
	}
	return t, nil
}

func start(ctx context.Context, o Options) (*Tor, error) {
	binary, err := exec.LookPath(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("%w: install Tor (apt-get install tor, brew install tor), or set Options.Binary", err)
	}
	dir, err := os.MkdirTemp("", "svcblocks-tor-")
	if err != nil {
		return nil, err
	}

	p, at, err := run(ctx, binary, dir, o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir)) // nothing runs that could use it
	}
	c := &child{binary: binary, opts: o, dir: dir, process: p, at: at, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background()) // ends with Close
	t := newTor(at, "Tor of this process", c.locate)

	t.child = c
	go c.supervise(t)
	return t, nil
}

// run starts a process and returns it when it can be used, with the Options
// that lead to it.
func run(ctx context.Context, binary, dir string, o Options) (*process, Options, error) {
	p := &process{dir: dir, ended: make(chan struct{})}
	if err := p.start(binary, o); err != nil {
		return nil, Options{}, err
	}
	at, err := p.ready(ctx, o)
	if err != nil {
		p.stop()
		return nil, Options{}, err
	}
	return p, at, nil
}

// process is a Tor that was started here.
type process struct {
	dir   string // torrc, cookie and control port
	cmd   *exec.Cmd
	log   tail
	owner *session // Tor ends when this connection does

	ended   chan struct{} // closed when the process has ended
	exitErr error         // read after ended
}

// start starts the process.
func (p *process) start(binary string, o Options) error {
	data := o.DataDir
	if data == "" {
		data = filepath.Join(p.dir, "data")
	}
	if err := safefile.MakeDir(data, safefile.Policy{Shared: o.Shared, OptOut: "tor.Options.Shared"}); err != nil {
		return err
	}

	quote := func(path string) string { return `"` + strings.ReplaceAll(filepath.ToSlash(path), `"`, `\"`) + `"` }
	lines := append([]string{
		"SocksPort 127.0.0.1:auto",
		"ControlPort 127.0.0.1:auto",
		"ControlPortWriteToFile " + quote(p.file("control")),
		"CookieAuthentication 1",
		"CookieAuthFile " + quote(p.file("cookie")),
		"DataDirectory " + quote(data),
		"__OwningControllerProcess " + strconv.Itoa(os.Getpid()),
		"Log notice stdout",
		"RunAsDaemon 0",
		"ShutdownWaitLength 0",
	}, o.countries()...)
	lines = append(lines, o.Torrc...)

	if err := os.WriteFile(p.file("torrc"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(p.file("defaults"), nil, 0o600); err != nil {
		return err
	}

	for _, name := range []string{"control", "cookie"} { // of the one before
		if err := os.Remove(p.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}

	p.cmd = exec.Command(binary, "--defaults-torrc", p.file("defaults"), "-f", p.file("torrc"))
	p.cmd.Env = childEnviron()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return err
	}

	go func() {
		defer close(p.ended)
		p.exitErr = p.cmd.Wait()
	}()
	return nil
}

// childEnviron is what a program that is started here, and those that it starts,
// get to know of this process's environment: where programs and folders are, and
// what is named as well. Tor reads what anybody sends, and the environment often
// holds every secret of a service.
func childEnviron(more ...string) []string {
	var env []string
	for _, name := range append(more,
		"PATH", "HOME", "TMPDIR",
		"SYSTEMROOT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "USERPROFILE", // Windows
	) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (p *process) file(name string) string { return filepath.Join(p.dir, name) }

// ready waits until Tor can be used, and returns o with its ports.
func (p *process) ready(ctx context.Context, o Options) (Options, error) {
	var addr string
	if err := p.await(ctx, "its control port", func() (bool, error) {
		text, err := os.ReadFile(p.file("control"))
		if err != nil {
			return false, nil // not written yet
		}
		var ok bool
		addr, ok = strings.CutPrefix(strings.TrimSpace(string(text)), "PORT=")
		return ok, nil
	}); err != nil {
		return o, err
	}

	o.Control, o.CookieFile = addr, p.file("cookie")
	c := newController(addr, o.Password, o.CookieFile, o.Timeout)
	owner, err := c.open(ctx)
	if err != nil {
		return o, err
	}
	p.owner = owner

	if _, err := owner.send(ctx, o.Timeout, "TAKEOWNERSHIP"); err != nil {
		return o, fmt.Errorf("TAKEOWNERSHIP: %w", err)
	}
	if err := owner.net.SetDeadline(time.Time{}); err != nil { // it stays open
		return o, err
	}

	listeners, err := c.info(ctx, "net/listeners/socks")
	c.close()
	if err != nil {
		return o, err
	}
	o.SOCKS = strings.Trim(strings.TrimSpace(listeners["net/listeners/socks"]), `"`)
	if _, _, err := net.SplitHostPort(o.SOCKS); err != nil {
		return o, fmt.Errorf("Tor opened no SOCKS port: %s", p.log.String())
	}

	t := newTor(o, "", nil)
	defer t.at.Load().control.close()

	last := error(ErrNotReady)
	if err := p.await(ctx, "a circuit", func() (bool, error) {
		err := t.ready(ctx)
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil // a Tor that starts may be silent for seconds
	}); err != nil {
		return o, fmt.Errorf("%w; %w", last, err)
	}

	return o, t.Check(ctx)
}

// await looks until done says so, the process ends, or ctx does.
func (p *process) await(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("Tor ended while waiting for %s (%w): %s", what, p.exitErr, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %s", what, context.Cause(ctx), p.log.String())
		}
	}
}

// stop ends the process.
func (p *process) stop() {
	if p.owner != nil {
		p.owner.close() // which alone ends Tor
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // where there are signals; it may have ended
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = p.cmd.Process.Kill() // it may have ended just now
		<-p.ended
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - keptLog; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// String returns the last lines, those that say what is wrong.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.buf), []byte("\n"))
	lines = lines[max(0, len(lines)-5):]
	return "its log ends: " + string(bytes.Join(lines, []byte(" | ")))
}
