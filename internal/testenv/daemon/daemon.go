// Package daemon runs a daemon in the foreground for the length of a test.
//
// The daemon ends with the test, and with the test binary however that ends:
// on Linux the kernel then sends it a SIGTERM.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// stopTimeout is how long a daemon has to end before it is killed.
const stopTimeout = 10 * time.Second

// A Process is a running daemon. It is safe for concurrent use.
type Process struct {
	cmd    *exec.Cmd
	output string // file
	done   chan struct{}
	err    error // read after done
}

// Start starts cmd, which must stay in the foreground, and ends it with t.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()

	// Waiting for a pipe would be waiting for all that the daemon starts.
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatalf("daemon: %v", err)
	}
	defer output.Close()

	p := &Process{cmd: cmd, output: output.Name(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = attributes()
	if err := adopt(); err != nil {
		t.Fatalf("daemon: %v", err)
	}

	started := make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that starts the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			reap(cmd)
		}
		close(p.done)
	}()

	if err := <-started; err != nil {
		t.Fatalf("daemon: starting %s: %v", cmd.Path, err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Done is closed when the process and those that it started have ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid returns the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what the process wrote, until the end of the test.
func (p *Process) Output() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop asks the process to end, ends it by force where it does not, and waits
// for its end. It may be called more than once.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	terminate(p.cmd)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Kill ends the process, and those it started, by force and waits for its
// end.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	kill(p.cmd)
	<-p.done
}

// Await calls ready every few milliseconds until it returns nil. It fails t
// when ctx ends first, or the process does.
func (p *Process) Await(ctx context.Context, t testing.TB, ready func() error) {
	t.Helper()
	if err := p.await(ctx, ready); err != nil {
		t.Fatalf("daemon: %s: %v\n%s", p.cmd.Path, err, strings.TrimSpace(p.Output()))
	}
}

func (p *Process) await(ctx context.Context, ready func() error) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()

	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-p.done:
			return fmt.Errorf("ended: %w", errors.Join(p.err, err))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// Listening returns a check for Await: that a TCP connection to addr succeeds.
func Listening(addr string) func() error {
	return func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Port returns a TCP port of 127.0.0.1 that was free just now, for a daemon
// that cannot let the kernel pick one.
func Port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
