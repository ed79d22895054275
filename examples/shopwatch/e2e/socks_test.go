package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// tap is a relay before Tor's SOCKS port. It changes nothing and notes which
// user, which is what Tor isolates circuits by, asked for which pages.
type tap struct {
	addr     string
	upstream string

	mu    sync.Mutex
	users []string            // in order of their first page
	pages map[string][]string // by user
	other []string            // what was neither a name nor HTTP
	conns map[net.Conn]struct{}
	done  bool
	wg    sync.WaitGroup
}

// startTap starts a relay to the SOCKS port at upstream, until the end of t.
func startTap(t *testing.T, upstream string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{
		addr: listener.Addr().String(), upstream: upstream,
		pages: map[string][]string{}, conns: map[net.Conn]struct{}{},
	}
	p.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.relay(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.done = true
		for conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// keep notes a connection, to close it at the end of the test.
func (p *tap) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

// relay relays one connection and reads along in the client's direction.
func (p *tap) relay(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer client.Close()
	tor, err := net.Dial("tcp", p.upstream)
	if err != nil || !p.keep(tor) {
		return
	}
	defer tor.Close()
	p.wg.Go(func() {
		_, _ = io.Copy(client, tor)
		_ = client.Close()
	})
	// What is read is sent on before it is looked at.
	in := bufio.NewReader(io.TeeReader(client, tor))
	if err := p.read(in); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		p.mu.Lock()
		p.other = append(p.other, err.Error())
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, in)
}

// read reads a SOCKS5 handshake with user name (RFC 1928, RFC 1929) and the
// HTTP requests that follow it.
func (p *tap) read(in *bufio.Reader) error {
	if _, err := block(in, 1); err != nil { // version, methods
		return err
	}
	if version, err := in.ReadByte(); err != nil || version != 1 {
		return fmt.Errorf("no user name: version %d, %w", version, err)
	}
	user, err := text(in)
	if err != nil {
		return err
	}
	if _, err := text(in); err != nil { // password
		return err
	}
	request, err := fixed(in, 4) // version, command, reserved, address type
	if err != nil {
		return err
	}
	const domain, connect = 3, 1
	if request[3] != domain {
		return fmt.Errorf("an address, not a name, was asked for: type %d", request[3])
	}
	if _, err := text(in); err != nil {
		return err
	}
	if _, err := fixed(in, 2); err != nil { // port
		return err
	}
	if request[1] != connect { // Tor's RESOLVE, which carries no pages
		return nil
	}
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
		p.note(user, r.URL.Path)
	}
}

func (p *tap) note(user, page string) {
	if page == "/robots.txt" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pages[user]) == 0 {
		p.users = append(p.users, user)
	}
	p.pages[user] = append(p.pages[user], page)
}

// block skips n bytes and reads a text with its length before it.
func block(in *bufio.Reader, n int) (string, error) {
	if _, err := fixed(in, n); err != nil {
		return "", err
	}
	return text(in)
}

// text reads a text with its length before it.
func text(in *bufio.Reader) (string, error) {
	length, err := in.ReadByte()
	if err != nil {
		return "", err
	}
	b, err := fixed(in, int(length))
	return string(b), err
}

// fixed reads n bytes.
func fixed(in *bufio.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(in, b)
	return b, err
}
