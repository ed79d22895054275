// Package sockstest is a SOCKS5 server for tests, with a switch for each thing
// that may go wrong, and a record of what it was asked.
package sockstest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what the server does wrong.
type Fault int

// The faults, by the step of the protocol.
const (
	None           Fault = iota
	HangAccept           // takes the connection and says nothing
	Garbage              // answers the greeting like another protocol
	RefuseAuth           // refuses user name and password
	NoUserPass           // does not take user names
	HangRequest          // says nothing to the request
	ResetRequest         // closes the connection instead of a reply
	CutReply             // closes in the middle of the reply
	ReplyGeneral         // replies 1
	ReplyHost            // replies 4
	ReplyOnionGone       // replies 0xF0
)

// Request is what a client asked for.
type Request struct {
	Command byte // 1 connect, 0xF0 resolve
	User    string
	Host    string
	Port    uint16
}

// Server is a SOCKS5 proxy. Every name leads to the address that Lookup gives.
type Server struct {
	Addr string
	// Lookup gives the address to connect to for a host and port. Defaults to the
	// loopback address with the same port.
	Lookup func(host string, port uint16) string

	listener net.Listener
	mu       sync.Mutex
	fault    Fault
	requests []Request
	conns    map[net.Conn]struct{}
	wg       sync.WaitGroup
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{conns: map[net.Conn]struct{}{}}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Listen begins to serve at addr, as after a Stop.
func (s *Server) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.listener, s.Addr = l, l.Addr().String()
	s.mu.Unlock()

	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})

	return nil
}

// Stop closes the listener and every connection.
func (s *Server) Stop() {
	s.mu.Lock()
	_ = s.listener.Close()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Fail makes the server do something wrong from now on.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	s.fault = f
	s.mu.Unlock()
}

// Requests returns what was asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Users returns the user names of the connections, in order, each once.
func (s *Server) Users() []string {
	var users []string
	seen := map[string]bool{}
	for _, r := range s.Requests() {
		if r.Command == 1 && !seen[r.User] {
			seen[r.User] = true
			users = append(users, r.User)
		}
	}
	return users
}

// Open returns how many connections are open, of clients and to sites.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) track(conn net.Conn) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = struct{}{}
	return s.fault
}

func (s *Server) untrack(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

func (s *Server) serve(conn net.Conn) {
	fault := s.track(conn)
	defer s.untrack(conn)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if err := s.talk(conn, fault); err != nil {
		return
	}
}

func (s *Server) talk(conn net.Conn, fault Fault) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(conn, methods); err != nil {
		return err
	}

	var r Request
	switch {
	case fault == HangAccept:
		_, err := io.Copy(io.Discard, conn)
		return err
	case fault == Garbage:
		_, err := io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return err
	case fault == NoUserPass:
		_, err := conn.Write([]byte{5, 0xff})
		return err
	case methods[0] == 2:
		user, err := authenticate(conn, fault)
		if err != nil {
			return err
		}
		r.User = user
	default:
		if _, err := conn.Write([]byte{5, 0}); err != nil {
			return err
		}
	}

	return s.request(conn, fault, r)
}

// authenticate asks for a user and a password, as RFC 1929 has it, and takes any.
func authenticate(conn net.Conn, fault Fault) (string, error) {
	if _, err := conn.Write([]byte{5, 2}); err != nil {
		return "", err
	}

	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return "", err
	}
	user := make([]byte, int(head[1])+1)
	if _, err := io.ReadFull(conn, user); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, make([]byte, user[head[1]])); err != nil {
		return "", err
	}

	status := byte(0)
	if fault == RefuseAuth {
		status = 1
	}
	_, err := conn.Write([]byte{1, status})
	return string(user[:head[1]]), err
}

func (s *Server) request(conn net.Conn, fault Fault, r Request) error {
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	r.Command = head[1]
	size := map[byte]int{1: 4, 4: 16}[head[3]]

	if head[3] == 3 {
		var n [1]byte
		if _, err := io.ReadFull(conn, n[:]); err != nil {
			return err
		}
		size = int(n[0])
	}

	rest := make([]byte, size+2)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return err
	}
	r.Host = string(rest[:size])
	if head[3] != 3 {
		r.Host = net.IP(rest[:size]).String()
	}

	r.Port = binary.BigEndian.Uint16(rest[size:])
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.mu.Unlock()

	reply := []byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0}
	switch fault {
	case HangRequest:
		_, err := io.Copy(io.Discard, conn)
		return err
	case ResetRequest:
		return nil
	case CutReply:
		_, err := conn.Write(reply[:5])
		return err
	case ReplyGeneral, ReplyHost, ReplyOnionGone:
		reply[1] = map[Fault]byte{ReplyGeneral: 1, ReplyHost: 4, ReplyOnionGone: 0xf0}[fault]
	}

	if r.Command == 0xf0 || reply[1] != 0 {
		_, err := conn.Write(reply)
		return err
	}
	target := fmt.Sprintf("127.0.0.1:%d", r.Port)
	if s.Lookup != nil {
		target = s.Lookup(r.Host, r.Port)
	}

	far, err := net.Dial("tcp", target)
	if err != nil {
		reply[1] = 5
		_, err := conn.Write(reply)
		return err
	}

	s.track(far)
	defer s.untrack(far)
	if _, err := conn.Write(reply); err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	done := make(chan struct{})

	go func() {
		defer close(done)
		_, _ = io.Copy(far, conn)
		_ = far.Close()
	}()

	_, err = io.Copy(conn, far)
	_ = conn.Close()
	<-done
	return err
}
