package tor

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/textproto"
	"time"

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Reply asks for the keys of Status and for the circuits on a connection that
// answers with text.
func Reply(ctx context.Context, text string) (Status, error) {
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		go func() { _, _ = io.WriteString(far, text); _ = far.Close() }()
		_, _ = io.Copy(io.Discard, far)
	}()
	c := newController("unix:/nonexistent/control", secret.Secret{}, "", time.Second)
	c.conn = &session{net: near, bine: control.NewConn(textproto.NewConn(near))}
	t, _ := Dial(ctx, &Options{Control: "127.0.0.1:1", DisableStartCheck: true})
	t.at.Store(&place{control: c})
	status, err := t.Status(ctx)
	if err == nil {
		_, err = c.circuits(ctx)
	}
	_ = near.Close()
	<-done
	return status, err
}

// Command sends a control command as it is.
func (t *Tor) Command(ctx context.Context, line string) error {
	c, err := t.controlAt(ctx)
	if err != nil {
		return err
	}
	_, err = c.command(ctx, line)
	return err
}

// ParseCircuit reads a line of circuit-status.
func ParseCircuit(line string) (status string, path []string, user string, ok bool) {
	c, ok := parseCircuit(line)
	return c.status, c.path, c.fields["SOCKS_USERNAME"], ok
}

// PID is the process that Start runs.
func (t *Tor) PID() int {
	t.child.mu.Lock()
	defer t.child.mu.Unlock()
	if t.child.process == nil {
		return 0
	}
	return t.child.process.cmd.Process.Pid
}

// Field reads key=value in a line of Tor's.
func Field(line, key string) string { return field(line, key) }

// Candidates returns the addresses of a port of a container that is inspected
// as text, on a machine; "" is this one.
func Candidates(text, host, port string) []string {
	var i inspection
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		return []string{err.Error()}
	}
	return i.places(host).candidates(port)
}
