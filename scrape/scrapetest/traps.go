package scrapetest

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Trap is a site that misbehaves in one way. What it does to a request is the
// same whatever the request was for, but for robots.txt.
type Trap struct {
	// Name says what the site does.
	Name string
	// Robots says that the trap lies in robots.txt. The others have none, so that
	// it is best not asked for.
	Robots bool
	// Unprocessed says that the site does nothing with a request and lets the
	// client know, so that a POST may come again.
	Unprocessed bool
	// Circles says that the site answers with redirects without end.
	Circles bool
	// Closed says that the first answer asks to be left alone for longer than
	// anybody waits.
	Closed bool
	// Delay is the time between requests that robots.txt asks for.
	Delay time.Duration

	secure    bool                      // TLS
	handshake func(c net.Conn)          // in place of all that follows
	frames    func(f *framed)           // HTTP/2; nil: HTTP/1.1
	answer    func(a *answer) (ok bool) // HTTP/1.1; ok: the connection goes on
	robots    func(a *answer) (ok bool) // nil: 404
}

// Seen is what a trap was sent.
type Seen struct {
	// Connections that were made, the requests that came on them but for those
	// for robots.txt, and those.
	Connections, Requests, Robots int
	// Effects is how many requests the site has acted upon, as an order that is
	// placed.
	Effects int
	// Last is when the last request came, robots.txt included.
	Last time.Time
}

// TrapSite is a running trap.
type TrapSite struct {
	// URL is the page to ask for.
	URL string
	// TLS trusts the site; nil without TLS.
	TLS *tls.Config

	trap   Trap
	listen net.Listener
	config *tls.Config
	done   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	seen  Seen
	conns map[net.Conn]struct{}
}

// Start serves the trap on a port of 127.0.0.1, until Close.
func (t Trap) Start() (*TrapSite, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &TrapSite{URL: "http://" + l.Addr().String() + "/page", trap: t, listen: l, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	if t.secure {
		if err := s.certify(); err != nil {
			_ = l.Close() // the certificate is the error to report
			return nil, err
		}
		s.URL = "https://" + l.Addr().String() + "/page"
	}
	s.wg.Go(s.accept)
	return s, nil
}

// certify makes a certificate for 127.0.0.1.
func (s *TrapSite) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}

	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	s.TLS = &tls.Config{RootCAs: pool}
	s.config = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if s.trap.frames != nil {
		s.config.NextProtos = []string{"h2"}
	}
	return nil
}

// Seen returns what came so far.
func (s *TrapSite) Seen() Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Close ends the site with its connections. It returns nil.
func (s *TrapSite) Close() error {
	close(s.done)
	_ = s.listen.Close() // fails only if it was closed
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close() // whoever uses it notices
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

func (s *TrapSite) accept() {
	for {
		c, err := s.listen.Accept()
		if err != nil {
			return
		}

		s.mu.Lock()
		s.seen.Connections++
		s.conns[c] = struct{}{}
		s.mu.Unlock()

		s.wg.Go(func() {
			s.serve(c)
			_ = c.Close() // it may be closed
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *TrapSite) serve(c net.Conn) {
	if s.trap.handshake != nil {
		s.trap.handshake(c)
		return
	}

	plain := c
	if s.trap.secure {
		c = tls.Server(c, s.config)
	}
	if s.trap.frames != nil {
		s.serveFrames(c, plain)
		return
	}

	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}

		_, _ = io.Copy(io.Discard, req.Body) // what is missing of it does not matter
		robots := req.URL.Path == "/robots.txt"
		a := &answer{conn: c, plain: plain, site: s, n: s.note(robots)}

		do := s.trap.answer
		if robots {
			if do = s.trap.robots; do == nil {
				do = func(a *answer) bool { return a.say("404 Not Found", "") }
			}
		}
		if !do(a) {
			return
		}
	}
}

// note counts a request and returns its number among those of its kind, from 1.
func (s *TrapSite) note(robots bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Last = time.Now()
	if robots {
		s.seen.Robots++
		return s.seen.Robots
	}
	s.seen.Requests++
	return s.seen.Requests
}

// act counts a request that the site has acted upon.
func (s *TrapSite) act() {
	s.mu.Lock()
	s.seen.Effects++
	s.mu.Unlock()
}

// answer is a request over HTTP/1.1 that waits for what the trap has for it.
type answer struct {
	conn, plain net.Conn
	site        *TrapSite
	n           int
}

// say writes a status with header lines, and the status as its body.
func (a *answer) say(status string, header string) bool {
	_, err := fmt.Fprintf(a.conn, "HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, header, len(status), status)
	return err == nil
}

// done acts upon the request and says so.
func (a *answer) done() bool {
	a.site.act()
	return a.say("200 OK", "")
}

// reset acts upon the request, writes the beginning of an answer, and resets
// the connection.
func (a *answer) reset(text string) bool {
	a.site.act()
	if _, err := io.WriteString(a.conn, text); err != nil {
		return false
	}
	hangUp(a.plain)
	return false
}

// hang waits for the end of the site.
func (a *answer) hang() bool {
	<-a.site.done
	return false
}

// hangUp resets a connection.
func hangUp(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else the reset is a plain end
	}
	_ = c.Close() // that is the aim
}

// framed is a request over HTTP/2 that waits for what the trap has for it.
type framed struct {
	*http2.Framer
	plain  net.Conn
	site   *TrapSite
	stream uint32
	over   bool // the connection ends
}

func (s *TrapSite) serveFrames(c, plain net.Conn) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}

	framer := http2.NewFramer(c, c)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if framer.WriteSettings() != nil {
		return
	}

	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}

		switch frame := frame.(type) {
		case *http2.PingFrame:
			if !frame.IsAck() && framer.WritePing(true, frame.Data) != nil {
				return
			}
		case *http2.MetaHeadersFrame:
			s.note(false)
			f := &framed{Framer: framer, plain: plain, site: s, stream: frame.StreamID}
			if !s.trap.Unprocessed {
				s.act()
			}
			if s.trap.frames(f); f.over {
				return
			}
		}
	}
}

// header writes a header block.
func (f *framed) header(end bool, fields ...string) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	f.over = f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end}) != nil
}

// reset ends the stream.
func (f *framed) reset(code http2.ErrCode) { f.over = f.WriteRSTStream(f.stream, code) != nil }

// Budget is what a client promises to sites.
type Budget struct {
	// Attempts are the requests for one page, redirects not counted; Redirects
	// those that are followed.
	Attempts, Redirects int
	// PerSecond is how many requests one site gets in a second.
	PerSecond float64
}

// Check reports how a client went beyond the budget that has fetched the page
// of t so often by method since began, one fetch after another.
func (b Budget) Check(t Trap, seen Seen, method string, fetches int, began time.Time) error {
	each, robots := b.Attempts, 0
	if method == http.MethodPost && !t.Unprocessed {
		each = 1
	}
	if t.Circles {
		each = b.Redirects + 1
	}
	if t.Robots {
		robots = fetches * b.Attempts * (b.Redirects + 1)
	}
	most := fetches * each
	if t.Closed {
		most = 1
	}

	var errs []error
	if seen.Requests > most || seen.Robots > robots {
		errs = append(errs, fmt.Errorf("%d requests, and %d for robots.txt; the budget is %d and %d", seen.Requests, seen.Robots, most, robots))
	}
	if seen.Connections > most+robots || seen.Connections == 0 {
		errs = append(errs, fmt.Errorf("%d connections; the budget is %d, and 1 is needed", seen.Connections, most+robots))
	}
	if method == http.MethodPost && seen.Effects > fetches {
		errs = append(errs, fmt.Errorf("%d effects of %d requests", seen.Effects, fetches))
	}

	// However late a request arrives, it cannot come before its turn.
	n, gap := seen.Requests+seen.Robots, time.Duration(float64(time.Second)/b.PerSecond)
	if t.Delay > gap {
		n, gap = seen.Requests, t.Delay
	}
	if took, least := seen.Last.Sub(began), time.Duration(n-1)*gap; n > 0 && took < least {
		errs = append(errs, fmt.Errorf("%d requests in %v, less than %v", n, took, least))
	}
	return errors.Join(errs...)
}

// Traps returns one site of each kind.
func Traps() []Trap { return slices.Concat(framedTraps(), brokenTraps(), busyTraps(), robotsTraps()) }

// framedTraps are what HTTP/2 can do to a client: net/http's Transport repeats
// requests after most of it.
func framedTraps() []Trap {
	list := []Trap{
		{Name: "GOAWAY", Unprocessed: true, frames: func(f *framed) { f.over = f.WriteGoAway(0, http2.ErrCodeNo, nil) != nil }},
		{Name: "GOAWAY with an error", Unprocessed: true, frames: func(f *framed) { f.over = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) != nil }},
		{Name: "GOAWAY behind the stream", frames: func(f *framed) { _, f.over = f.WriteGoAway(f.stream, http2.ErrCodeNo, nil), true }},
		{Name: "REFUSED_STREAM", Unprocessed: true, frames: func(f *framed) { f.reset(http2.ErrCodeRefusedStream) }},
		{Name: "PROTOCOL_ERROR", frames: func(f *framed) { f.reset(http2.ErrCodeProtocol) }},
		{Name: "INTERNAL_ERROR", frames: func(f *framed) { f.reset(http2.ErrCodeInternal) }},
		{Name: "HTTP/2 that hangs up", frames: func(f *framed) { f.over = true }},
		{Name: "HTTP/2 that is reset", frames: func(f *framed) { hangUp(f.plain); f.over = true }},
		{Name: "HTTP/2 that falls silent", frames: func(*framed) {}},
		{Name: "HTTP/2 with half a body", frames: func(f *framed) {
			f.header(false, ":status", "200", "content-length", "100")
			f.over = f.over || f.WriteData(f.stream, false, []byte("half")) != nil
			f.reset(http2.ErrCodeCancel)
		}},
		{Name: "421 over HTTP/2", Unprocessed: true, frames: func(f *framed) { f.header(true, ":status", "421") }},
	}

	for i := range list {
		list[i].secure = true
	}
	return list
}

// brokenTraps are connections that end too early, too late, or never begin.
func brokenTraps() []Trap {
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	return []Trap{
		{Name: "reset before the request", Unprocessed: true, handshake: hangUp},
		{Name: "reset without an answer", answer: func(a *answer) bool { return a.reset("") }},
		{Name: "reset after a byte of the header", answer: func(a *answer) bool { return a.reset("H") }},
		{Name: "reset after the header", answer: func(a *answer) bool { return a.reset(whole) }},
		{Name: "an end without an answer", answer: func(a *answer) bool { a.site.act(); return false }},
		{Name: "TLS that says nothing", secure: true, Unprocessed: true, handshake: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		{Name: "TLS that hangs up", secure: true, Unprocessed: true, handshake: func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 64)) }},
		{Name: "no answer", answer: func(a *answer) bool { a.site.act(); return a.hang() }},
		{Name: "a header that drips", answer: func(a *answer) bool {
			a.site.act()
			if _, err := io.WriteString(a.conn, "HTTP/1.1 200 OK\r\nX-Drip: "); err != nil {
				return false
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-a.site.done:
					return false
				}
				if _, err := io.WriteString(a.conn, "."); err != nil {
					return false
				}
			}
		}},
		{Name: "a slow first byte", answer: func(a *answer) bool {
			a.site.act()
			select {
			case <-time.After(200 * time.Millisecond):
			case <-a.site.done:
			}
			return a.say("200 OK", "")
		}},
		{Name: "an end after each page", answer: func(a *answer) bool { a.done(); return false }},
		{Name: "redirects that circle", Circles: true, answer: func(a *answer) bool {
			return a.say("307 Temporary Redirect", fmt.Sprintf("Location: /page?%d\r\n", a.n%2))
		}},
	}
}

// busyTraps are sites that want to be left alone.
func busyTraps() []Trap {
	busy := func(status string, header func() string) func(a *answer) bool {
		return func(a *answer) bool { return a.say(status, header()) }
	}
	line := func(text string) func() string { return func() string { return text } }

	later := func(base, wait time.Duration) func() string {
		return func() string {
			now := time.Now().Add(base).UTC()
			return "Date: " + now.Format(http.TimeFormat) + "\r\nRetry-After: " + now.Add(wait).Format(http.TimeFormat) + "\r\n"
		}
	}

	return []Trap{
		{Name: "429 without a time", Unprocessed: true, answer: busy("429 Too Many Requests", line(""))},
		{Name: "Retry-After of 0", Unprocessed: true, answer: busy("429 Too Many Requests", line("Retry-After: 0\r\n"))},
		{Name: "Retry-After of an hour", Closed: true, Unprocessed: true, answer: busy("503 Service Unavailable", line("Retry-After: 3600\r\n"))},
		{Name: "Retry-After in the past", Unprocessed: true, answer: busy("503 Service Unavailable", later(0, -24*time.Hour))},
		{Name: "Retry-After by a clock that is years off", Closed: true, Unprocessed: true, answer: busy("503 Service Unavailable", later(-10*365*24*time.Hour, time.Hour))},
		{Name: "425", Unprocessed: true, answer: busy("425 Too Early", line(""))},
		{Name: "503 now and then", answer: func(a *answer) bool {
			a.site.act() // it may have, and does not tell
			if a.n%2 == 1 {
				return a.say("503 Service Unavailable", "")
			}
			return a.say("200 OK", "")
		}},
		{Name: "500", answer: func(a *answer) bool { a.site.act(); return a.say("500 Internal Server Error", "") }},
		{Name: "100 Continue without end", answer: func(a *answer) bool {
			a.site.act()
			for {
				if _, err := io.WriteString(a.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return false
				}
			}
		}},
	}
}

// robotsTraps lie in robots.txt.
func robotsTraps() []Trap {
	done := func(a *answer) bool { return a.done() }
	return []Trap{
		{Name: "Crawl-delay", Robots: true, Delay: 500 * time.Millisecond, answer: done, robots: func(a *answer) bool {
			const rules = "User-agent: *\nCrawl-delay: 0.5\n"
			_, err := fmt.Fprintf(a.conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(rules), rules)
			return err == nil
		}},
		{Name: "robots.txt 503 once", Robots: true, answer: done, robots: func(a *answer) bool {
			if a.n == 1 {
				return a.say("503 Service Unavailable", "")
			}
			return a.say("404 Not Found", "")
		}},
		{Name: "robots.txt that hangs", Robots: true, answer: done, robots: (*answer).hang},
		{Name: "robots.txt that circles", Robots: true, answer: done, robots: func(a *answer) bool {
			return a.say("302 Found", "Location: /robots.txt\r\n")
		}},
	}
}
