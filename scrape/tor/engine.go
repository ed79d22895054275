package tor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// defaultEngine is where the Docker Engine is if nothing says otherwise.
const defaultEngine = "unix:///var/run/docker.sock"

// sshTimeout bounds the start of ssh, which takes longer than a socket.
const sshTimeout = 15 * time.Second

// engine is where the Docker Engine is, as DOCKER_HOST names it.
type engine struct {
	network, addr string   // unix, tcp or ssh
	ssh           *url.URL // for ssh
	tls           bool
	host          string // where published ports are; "" is this machine
}

// newEngine reads what option says, else DOCKER_HOST. Docker's contexts are not
// looked at.
func newEngine(option string) (*engine, error) {
	if option != "" {
		return parseEngine(option)
	}
	e, err := parseEngine(cmp.Or(os.Getenv("DOCKER_HOST"), defaultEngine))
	if err != nil {
		return nil, fmt.Errorf("DOCKER_HOST: %w", err)
	}
	return e, nil
}

func parseEngine(text string) (*engine, error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok && path != "" {
		return &engine{network: "unix", addr: path}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is no Docker Engine: write unix:///path, tcp://host:port or ssh://user@host", shownEngine(text))
	}

	e := &engine{network: "tcp", host: u.Hostname()}
	if isLoopback(e.host) {
		e.host = ""
	}

	switch u.Scheme {
	case "tcp", "http", "https":
		e.tls = u.Scheme == "https" || os.Getenv("DOCKER_TLS_VERIFY") != "" || os.Getenv("DOCKER_TLS") != ""
		port := "2375"
		if e.tls {
			port = "2376"
		}
		e.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	case "ssh":
		// What ssh would read as an option is refused.
		if strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-") {
			return nil, fmt.Errorf("%q is no host for ssh: write ssh://user@host", shownEngine(text))
		}
		e.network, e.addr, e.ssh = "ssh", u.Host, u
	default:
		return nil, fmt.Errorf("%q is no Docker Engine that is spoken to here: write unix:///path, tcp://host:port or ssh://user@host", shownEngine(text))
	}
	return e, nil
}

// shownEngine is text without a password, should somebody write one.
func shownEngine(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "…"
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String names the engine, for people.
func (e *engine) String() string { return e.network + "://" + e.addr }

// get asks the engine, and returns its answer's status and body.
func (e *engine) get(ctx context.Context, limit time.Duration, path string) (status int, body []byte, err error) {
	if e.network == "ssh" {
		limit = max(limit, sshTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel() // ends ssh too
	transport := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return e.dial(ctx) },
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }() // what counts was read
	body, err = io.ReadAll(io.LimitReader(res.Body, maxInspect))
	return res.StatusCode, body, err
}

// dial connects to the engine. The connection ends with ctx.
func (e *engine) dial(ctx context.Context) (net.Conn, error) {
	if e.network == "ssh" {
		return dialSSH(ctx, e.ssh)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, e.network, e.addr)
	if err != nil || !e.tls {
		return conn, err
	}
	config, err := engineTLS(e.addr)
	if err != nil {
		_ = conn.Close() // only opened
		return nil, err
	}
	return tls.Client(conn, config), nil
}

// engineTLS is the configuration of Docker's own client: ca.pem, cert.pem and
// key.pem in DOCKER_CERT_PATH, else in ~/.docker.
func engineTLS(addr string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}

	dir := os.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(home, ".docker")
	}

	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}

	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.pem"))
	}

	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{own}
	return config, nil
}

// sshConn is a connection to the engine of another machine, by the ssh program
// there and "docker system dial-stdio", as Docker's own client makes it.
type sshConn struct {
	io.Reader
	io.WriteCloser
	cmd    *exec.Cmd
	wait   func() error // of cmd, however often it is called
	stderr bytes.Buffer
}

func dialSSH(ctx context.Context, u *url.URL) (net.Conn, error) {
	args := []string{"-T", "-o", "BatchMode=yes"}
	if user := u.User.Username(); user != "" {
		args = append(args, "-l", user)
	}
	if port := u.Port(); port != "" {
		args = append(args, "-p", port)
	}

	c := &sshConn{cmd: exec.CommandContext(ctx, "ssh", append(args, "--", u.Hostname(), "docker", "system", "dial-stdio")...)}
	c.cmd.Env = childEnviron("SSH_AUTH_SOCK", "KRB5CCNAME") // where the user's keys and tickets are
	c.wait = sync.OnceValue(c.cmd.Wait)
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = time.Second

	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}

	c.Reader, c.WriteCloser = out, in
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// Read reads what the engine says. At the end, what ssh has to say is the error.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) && n == 0 {
		if failed := c.wait(); failed != nil {
			return 0, fmt.Errorf("ssh: %w: %s", failed, bytes.TrimSpace(c.stderr.Bytes()))
		}
	}
	return n, err
}

// Write asks the engine. That ssh has ended is told by Read, which knows why.
func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.WriteCloser.Write(p)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return len(p), nil
	}
	return n, err
}

// Close ends ssh.
func (c *sshConn) Close() error {
	_ = c.WriteCloser.Close() // it may have ended
	_ = c.cmd.Process.Kill()  // the same
	_ = c.wait()              // it was killed, or has ended
	return nil
}

// LocalAddr, RemoteAddr and the deadlines are those of a pipe: none.
func (c *sshConn) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "ssh", Net: "pipe"} }
func (c *sshConn) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *sshConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *sshConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *sshConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
