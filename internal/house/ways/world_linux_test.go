package ways

import (
	stdcontext "context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
)

// host is the name of the server that takes everything.
const host = "receiver.test"

// site is the name of the site behind the proxy.
const site = "site.test"

// heldPath is the path of what a process sends that is to hold a lock.
const heldPath = "/held"

func context() stdcontext.Context { return stdcontext.Background() }

// A world is what the blocks of a cell live in: a small file system, and a
// server that is log receiver, webhook, Vault and proxy.
type world struct {
	t      *testing.T
	scheme string
	disk   string        // a file system of its own
	made   int           // folders
	bound  time.Duration // after which a state is told
	writes bool          // settings are changed, as that is what the trouble hits
	caches bool          // pages are cached, as that is what the trouble hits

	mu       sync.Mutex
	known    bool          // the name server knows host
	tls      bool          // the port speaks TLS
	trusted  bool          // with a certificate that this machine trusts
	status   int           // of every answer; 0: all is well
	hang     chan struct{} // gets one when a request of a holder came, which is not answered
	listener net.Listener
	addr     string
	certs    map[bool]tls.Certificate
}

// newWorld makes mounts, a resolver and a server. The process has a mount
// namespace of its own.
func newWorld(t *testing.T, number int, overTLS bool) *world {
	t.Helper()
	w := &world{t: t, disk: t.TempDir(), known: true, trusted: true, certs: map[bool]tls.Certificate{}, scheme: "http"}
	if overTLS {
		w.tls, w.scheme = true, "https"
	}
	w.must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	w.must(syscall.Mount("tmpfs", w.disk, "tmpfs", 0, "size=4m,nr_inodes=200,mode=0755"))
	t.Cleanup(func() { w.must(syscall.Unmount(w.disk, syscall.MNT_DETACH)) })

	// Each cell has a resolver of its own, as they run side by side.
	resolver := fmt.Sprintf("127.0.1.%d", number+1)
	dns, err := testdns.Listen(resolver+":53", w.resolve)
	w.must(err)
	t.Cleanup(func() { _ = dns.Close() })
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	w.must(os.WriteFile(conf, []byte("nameserver "+resolver+"\n"), 0o600))
	w.must(syscall.Mount(conf, "/etc/resolv.conf", "", syscall.MS_BIND, ""))

	for _, trusted := range []bool{true, false} {
		c := testenv.NewCertificate(t, t.TempDir(), host, site)
		w.certs[trusted], err = tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		w.must(err)
		if trusted {
			w.must(os.Setenv("SSL_CERT_FILE", c.CertFile)) // read at the first certificate that is looked at
		}
	}

	w.listen("127.0.0.1:0")
	t.Cleanup(w.closePort)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// set changes the world between two requests.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// url is the address of the server.
func (w *world) url() string { return w.scheme + "://" + w.authority() }

func (w *world) authority() string {
	_, port, err := net.SplitHostPort(w.addr)
	w.must(err)
	return net.JoinHostPort(host, port)
}

// folder makes a folder on the small file system.
func (w *world) folder() string {
	w.made++
	dir := filepath.Join(w.disk, fmt.Sprint("block", w.made))
	w.must(os.Mkdir(dir, 0o700))
	return dir
}

func (w *world) resolve(name string) ([]netipAddr, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name != host || !w.known {
		return nil, false
	}
	return []netipAddr{localhost}, true
}

// listen opens the port and serves it.
func (w *world) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	w.must(err)
	w.addr = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(w.serve), ErrorLog: log.New(io.Discard, "", 0)}
	server.SetKeepAlivesEnabled(false) // a change is seen at once
	w.set(func() { w.listener = l })
	go func() { _ = server.Serve(&changing{l, w}) }() // ends with the port
}

func (w *world) closePort() {
	w.set(func() { _ = w.listener.Close() })
}

// changing is a port that speaks TLS or not, as the world has it.
type changing struct {
	net.Listener
	w *world
}

func (c *changing) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if !c.w.tls {
		return conn, nil
	}
	return tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{c.w.certs[c.w.trusted]}, MinVersion: tls.VersionTLS12}), nil
}

// serve answers as whoever is asked.
func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the client is gone
	}
	w.mu.Lock()
	status, hang := w.status, w.hang
	held := strings.HasPrefix(r.URL.Path, heldPath)
	if held {
		w.hang = nil
	}
	w.mu.Unlock()
	if held {
		if hang != nil {
			hang <- struct{}{}
		}
		<-r.Context().Done() // its process is stopped, and then killed
		return
	}

	switch {
	case r.Method == http.MethodConnect && status == http.StatusUnauthorized:
		status = http.StatusProxyAuthRequired // how a proxy says it
		out.Header().Set("Proxy-Authenticate", "Basic")
		fallthrough
	case status != 0:
		out.WriteHeader(status)
	case r.Method == http.MethodConnect:
		w.tunnel(out)
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		_ = json.NewEncoder(out).Encode(map[string]any{"data": map[string]any{"password": "hunter22"}})
	default:
		fmt.Fprint(out, "ok")
	}
}

// tunnel connects a client of the proxy with a site.
func (w *world) tunnel(out http.ResponseWriter) {
	conn, _, err := out.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
	site := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{w.certs[true]}, MinVersion: tls.VersionTLS12})
	one := &once{conn: site, done: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, "page") })}
	server.SetKeepAlivesEnabled(false)
	_ = server.Serve(one) // ends with the connection
}

// once is a listener of one connection.
type once struct {
	conn net.Conn
	took sync.Once
	done chan struct{}
}

func (o *once) Accept() (conn net.Conn, err error) {
	err = net.ErrClosed
	o.took.Do(func() { conn, err = &ending{o.conn, o}, nil })
	if conn == nil {
		<-o.done
	}
	return conn, err
}
func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return o.conn.LocalAddr() }

// ending tells its listener that it was closed.
type ending struct {
	net.Conn
	of *once
}

func (e *ending) Close() error {
	select {
	case <-e.of.done:
	default:
		close(e.of.done)
	}
	return e.Conn.Close()
}

// fill takes what the file system has left, and what becomes free later, until
// end gives it back.
func (w *world) fill() (end func()) {
	path := filepath.Join(w.disk, "filler")
	f, err := os.Create(path)
	w.must(err)
	stop := w.keep(func() {
		for size := 64 << 10; size > 0; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 2
			}
		}
	})
	return func() {
		stop()
		w.must(errors.Join(f.Close(), os.Remove(path)))
	}
}

// fillInodes is fill for inodes.
func (w *world) fillInodes() (end func()) {
	dir := filepath.Join(w.disk, "fillers")
	w.must(os.Mkdir(dir, 0o700))
	made := 0
	stop := w.keep(func() {
		for {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(made)))
			if err != nil {
				return
			}
			made++
			w.must(f.Close())
		}
	})
	return func() {
		stop()
		w.must(os.RemoveAll(dir))
	}
}

// keep calls take, and again and again until stop, as somebody else who uses
// the disk.
func (w *world) keep(take func()) (stop func()) {
	take()
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
				take()
			}
		}
	}()
	return func() { close(ended); <-done }
}
