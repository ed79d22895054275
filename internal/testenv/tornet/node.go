package tornet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// controlPorts is where the control ports of the network begin: below the
// ports that the kernel picks, so that nothing else takes one.
const controlPorts = 9100

// A node is one tor process.
type node struct {
	name    string
	tor     string
	dir     string
	control string // host:port of the control port
	cookie  string // file

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // why; read after done
}

// newNode describes a node whose files lie in dir; number is its own.
func newNode(tor, dir, name string, number int) *node {
	return &node{
		name:    name,
		tor:     tor,
		dir:     dir,
		control: "127.0.0.1:" + strconv.Itoa(controlPorts+number),
		cookie:  filepath.Join(dir, "cookie"),
	}
}

// write puts the node's torrc, what every node is told and more, into its
// folder and returns the file.
func (n *node) write(torrc string) (string, error) {
	if err := os.MkdirAll(filepath.Join(n.dir, "data"), 0o700); err != nil {
		return "", err
	}
	text := everyNode + fmt.Sprintf(
		"Nickname %s\nDataDirectory %s\nLog notice file %s\nControlPort %s\n"+
			"CookieAuthentication 1\nCookieAuthFile %s\n",
		n.name, filepath.Join(n.dir, "data"), n.log(), n.control, n.cookie) + torrc
	file := filepath.Join(n.dir, "torrc")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// makeIdentity makes the node's relay keys and returns their fingerprint.
func (n *node) makeIdentity(ctx context.Context, torrc string) (string, error) {
	file, err := n.write(torrc)
	if err != nil {
		return "", err
	}
	// The authority's own keys belong into its data folder.
	if err := os.Rename(filepath.Join(n.dir, "keys"), filepath.Join(n.dir, "data", "keys")); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, n.tor, "--defaults-torrc", "/dev/null", "-f", file, "--list-fingerprint").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tor --list-fingerprint: %w: %s", err, out)
	}
	return n.fingerprint()
}

// fingerprint returns the relay's identity, as it wrote it.
func (n *node) fingerprint() (string, error) {
	text, err := os.ReadFile(filepath.Join(n.dir, "data", "fingerprint"))
	if err != nil {
		return "", err
	}
	_, fingerprint, ok := strings.Cut(strings.TrimSpace(string(text)), " ")
	if !ok {
		return "", fmt.Errorf("fingerprint of %s: %q", n.name, text)
	}
	return fingerprint, nil
}

// start starts the process with a new torrc.
func (n *node) start(torrc string) error {
	if _, err := n.write(torrc); err != nil {
		return err
	}
	return n.restart()
}

// restart starts the process with the torrc that it has.
func (n *node) restart() error {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.cmd != nil {
		select {
		case <-n.done:
		default:
			return fmt.Errorf("%s is running", n.name)
		}
	}

	// A cookie of the last run would be taken for this one's.
	if err := os.Remove(n.cookie); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(n.tor, "--defaults-torrc", "/dev/null", "-f", filepath.Join(n.dir, "torrc"), "--quiet")
	cmd.Dir = n.dir
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", n.name, err)
	}

	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		n.err = err
		close(done)
	}()
	return nil
}

// forget removes the consensus that a stopped node holds.
func (n *node) forget() error {
	for _, flavor := range []string{"cached-consensus", "cached-microdesc-consensus"} {
		err := os.Remove(filepath.Join(n.dir, "data", flavor))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// stop ends the process, at last by force, and waits for its end.
func (n *node) stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	_ = n.cmd.Process.Signal(os.Interrupt)
	select {
	case <-n.done:
		return nil
	case <-time.After(5 * time.Second):
	}
	_ = n.cmd.Process.Kill()
	<-n.done
	return nil
}

// kill ends the process by force and waits for its end.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
}

func (n *node) log() string { return filepath.Join(n.dir, "log") }

// tail returns the end of the node's log, for messages.
func (n *node) tail() string {
	text, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// wait waits until a node lacks nothing.
func (n *node) wait(ctx context.Context, lacks func(*control) ([]string, error)) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()

	for {
		missing, err := n.ask(ctx, lacks)
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-n.done:
			return fmt.Errorf("%s ended: %w\n%s", n.name, n.err, n.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s has no %v (%v): %w\n%s", n.name, missing, err, context.Cause(ctx), n.tail())
		}
	}
}

// ask asks a node once what it lacks.
func (n *node) ask(ctx context.Context, lacks func(*control) ([]string, error)) ([]string, error) {
	c, err := n.dialControl(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return lacks(c)
}
