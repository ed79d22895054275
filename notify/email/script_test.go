package email_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a mail server in plain text that answers as a test says.
type script struct {
	// ehlo are the lines of the answer to EHLO behind the first one.
	ehlo []string
	// reply answers a line of the dialogue; "" is the proper answer. A reply of
	// 421 closes.
	reply func(line string) string
	// got gets each mail, before its final answer, which waits for confirm.
	got     chan string
	confirm chan struct{}

	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  map[net.Conn]bool
	said  []string
	mails []string
}

// start starts the server and returns its port.
func (s *script) start(t *testing.T) (port int) {
	t.Helper()
	var err error
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.open = map[net.Conn]bool{}
	s.wg.Go(func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = s.ln.Close()
		s.mu.Lock()
		for c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s.ln.Addr().(*net.TCPAddr).Port // we listen on TCP
}

// lines returns what clients said, and mails what they sent.
func (s *script) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

func (s *script) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

func (s *script) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 script.test ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.said = append(s.said, line)
		s.mu.Unlock()
		if s.reply != nil {
			if answer := s.reply(line); answer != "" {
				say(answer)
				if strings.HasPrefix(answer, "421") {
					return
				}
				continue
			}
		}
		switch {
		case strings.HasPrefix(line, "EHLO"):
			for _, e := range s.ehlo {
				say("250-" + e)
			}
			say("250 HELP") // the name is the first of them
		case line == "DATA":
			say("354 go on")
			if !s.data(r) {
				return
			}
			say("250 2.0.0 taken")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// data reads a mail.
func (s *script) data(r *bufio.Reader) bool {
	var mail strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		mail.WriteString(line)
	}
	s.mu.Lock()
	s.mails = append(s.mails, mail.String())
	s.mu.Unlock()
	if s.got != nil {
		s.got <- mail.String()
	}
	if s.confirm != nil {
		_, more := <-s.confirm
		return more
	}
	return true
}

// testTimeout is the bound of a step that a test lets pass.
const testTimeout = 500 * time.Millisecond

// lossy is a script behind something that lets one command of each write
// through, as a filter does that does not know PIPELINING.
type lossy struct{ script }

func (l *lossy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &oneCommand{Conn: c}, err
}

type oneCommand struct {
	net.Conn
	data bool
}

func (c *oneCommand) Write(p []byte) (int, error) {
	first, _, found := strings.Cut(string(p), "\r\n")
	if c.data || !found {
		return c.Conn.Write(p)
	}
	c.data = first == "DATA"
	if _, err := c.Conn.Write([]byte(first + "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
