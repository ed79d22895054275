// Package testdns is a DNS server for tests that notes what it is asked.
package testdns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A Query is one question that a Server was asked.
type Query struct {
	Time time.Time
	// Name is in lower case and has no final dot.
	Name string
	// Type is the record asked for: "A", "AAAA", "PTR" …
	Type string
	// From is who asked.
	From netip.Addr
}

// Resolve answers a query for the addresses of a name, in lower case and
// without final dot; ok false means that there is no such name.
type Resolve func(name string) (addrs []netip.Addr, ok bool)

// A Server answers over UDP and TCP and notes every query. It is safe for
// concurrent use.
type Server struct {
	resolve Resolve
	packets net.PacketConn
	streams net.Listener
	wg      sync.WaitGroup

	mu      sync.Mutex
	queries []Query
	conns   map[net.Conn]struct{}
	closed  bool
}

// Listen starts a server on addr, host:port, for UDP and TCP alike. With port
// 0 the kernel picks one. A nil resolve knows no name.
func Listen(addr string, resolve Resolve) (*Server, error) {
	if resolve == nil {
		resolve = func(string) ([]netip.Addr, bool) { return nil, false }
	}
	streams, packets, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("testdns: %w", err)
	}
	s := &Server{resolve: resolve, packets: packets, streams: streams, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.servePackets)
	s.wg.Go(s.serveStreams)
	return s, nil
}

// listen returns sockets for TCP and UDP at the same port.
func listen(addr string) (streams net.Listener, packets net.PacketConn, err error) {
	// A port that the kernel picks for TCP may be taken for UDP.
	for range 10 {
		streams, err = net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		packets, err = net.ListenPacket("udp", streams.Addr().String())
		if err == nil {
			return streams, packets, nil
		}
		_ = streams.Close()
	}
	return nil, nil, err
}

// Addr returns the address that the server answers on.
func (s *Server) Addr() string { return s.streams.Addr().String() }

// Queries returns what was asked so far, in order.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Close stops the server and waits for its goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	err := errors.Join(s.packets.Close(), s.streams.Close())
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) servePackets() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.packets.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if answer := s.answer(buf[:n], from); answer != nil {
			_, _ = s.packets.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveStreams() {
	for {
		conn, err := s.streams.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() { s.serveStream(conn) })
	}
}

// serveStream answers the queries of one connection, each with its length
// before it (RFC 1035 §4.2.2).
func (s *Server) serveStream(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		_ = conn.Close()
	}()

	for {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}

		answer := s.answer(query, conn.RemoteAddr())
		if answer == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer notes the questions of a message and answers them; nil for what is
// no query.
func (s *Server) answer(query []byte, from net.Addr) []byte {
	var msg dnsmessage.Message
	if err := msg.Unpack(query); err != nil || msg.Response {
		return nil
	}

	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: msg.ID, Response: true, Authoritative: true,
			RecursionDesired: msg.RecursionDesired, RecursionAvailable: true,
		},
		Questions: msg.Questions,
	}

	for _, q := range msg.Questions {
		name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
		s.note(Query{
			Time: time.Now(), Name: name,
			Type: strings.TrimPrefix(q.Type.String(), "Type"), From: address(from),
		})
		addrs, ok := s.resolve(name)
		if !ok {
			reply.RCode = dnsmessage.RCodeNameError
		}
		for _, addr := range addrs {
			if body := record(q.Type, addr); body != nil {
				header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
			}
		}
	}

	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// record returns addr as a record of the type asked for, or nil where it is
// of another type.
func record(kind dnsmessage.Type, addr netip.Addr) dnsmessage.ResourceBody {
	switch {
	case kind == dnsmessage.TypeA && addr.Is4():
		return &dnsmessage.AResource{A: addr.As4()}
	case kind == dnsmessage.TypeAAAA && addr.Is6():
		return &dnsmessage.AAAAResource{AAAA: addr.As16()}
	}
	return nil
}

func (s *Server) note(q Query) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, q)
}

// address returns the host of a UDP or TCP address.
func address(from net.Addr) netip.Addr {
	addr, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}
