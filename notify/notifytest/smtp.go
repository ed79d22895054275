package notifytest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// Step is a step of the SMTP dialogue at which a [Fault] can be set.
type Step string

// The steps, in the order in which a client comes to them.
const (
	StepGreeting  Step = "greeting"
	StepEHLO      Step = "EHLO"
	StepSTARTTLS  Step = "STARTTLS"
	StepHandshake Step = "handshake"
	StepAUTH      Step = "AUTH"
	StepMAIL      Step = "MAIL"
	StepRCPT      Step = "RCPT"
	StepDATA      Step = "DATA"
	StepDot       Step = "dot" // the end of the mail
	StepRSET      Step = "RSET"
	StepQUIT      Step = "QUIT"
)

// Fault is something that a mail server does wrong, or a refusal. Of Silent,
// Close and Reply the first one set happens in place of the proper answer.
type Fault struct {
	// Step is where it happens.
	Step Step
	// Match restricts it to commands that contain this text, as the address of
	// a recipient. Empty means all.
	Match string
	// Skip lets that many pass first.
	Skip int
	// Times is how often it happens. Zero means always.
	Times int
	// Silent never answers, with the connection open.
	Silent bool
	// Close closes the connection without an answer.
	Close bool
	// Reply is the answer, as "451 4.3.0 try later". Code 421 closes.
	Reply string
	// CloseAfter does what is proper, takes the mail if Step is StepDot, and
	// then closes the connection.
	CloseAfter bool
	// NoAnswer does what is proper but for the answer, and closes.
	NoAnswer bool
}

// SMTPOptions are the settings of a [SMTP] server.
type SMTPOptions struct {
	// NoSTARTTLS does not offer STARTTLS.
	NoSTARTTLS bool
	// ImplicitTLS speaks TLS from the first byte.
	ImplicitTLS bool
	// WrongName makes the certificate one for another host.
	WrongName bool
	// Username and Password, if set, are demanded before MAIL. AUTH is offered
	// under TLS alone unless NoSTARTTLS is set.
	Username, Password string
	// NoPipelining does not offer PIPELINING.
	NoPipelining bool
	// MaxBytes is offered as SIZE if not zero, and kept.
	MaxBytes int
	// NoUTF8 does not offer SMTPUTF8.
	NoUTF8 bool
	// DSN offers DSN.
	DSN bool
}

// Mail is a mail that a [SMTP] server took.
type Mail struct {
	// From and To are the envelope's addresses.
	From string
	To   []string
	// MailArgs and RcptArgs are what followed the addresses.
	MailArgs string
	RcptArgs []string
	// Data is the content, without the dots that the transport adds.
	Data []byte
	// Conn numbers the connection, from 1.
	Conn int
	// TLS and Resumed tell whether the connection was private, and whether it
	// took up an earlier TLS session.
	TLS, Resumed bool
}

// SMTP is a mail server on loopback that keeps what it gets. Start one with
// [StartSMTP]. All methods are safe for concurrent use.
type SMTP struct {
	opts SMTPOptions
	ln   net.Listener
	tls  *tls.Config
	pem  []byte
	wg   sync.WaitGroup

	mu     sync.Mutex
	faults []*Fault
	mails  []Mail
	conns  map[net.Conn]bool
	count  int
	wire   bytes.Buffer
	said   []string
	more   chan struct{} // closed and replaced when a mail comes
	closed bool
	quit   chan struct{}
}

// StartSMTP starts a server on a port of 127.0.0.1. nil opts are a good server
// with STARTTLS. Close it when done.
func StartSMTP(opts *SMTPOptions) (*SMTP, error) {
	s := &SMTP{conns: map[net.Conn]bool{}, more: make(chan struct{}), quit: make(chan struct{})}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.tls, s.pem, err = certificate(s.opts.WrongName); err != nil {
		return nil, fmt.Errorf("notifytest: make certificate: %w", err)
	}
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("notifytest: listen: %w", err)
	}
	s.wg.Go(s.accept)
	return s, nil
}

// Host returns "127.0.0.1".
func (s *SMTP) Host() string { return "127.0.0.1" }

// Port returns the port.
func (s *SMTP) Port() int {
	return s.ln.Addr().(*net.TCPAddr).Port // we listen on TCP
}

// TLSConfig returns client settings that trust the server's certificate.
func (s *SMTP) TLSConfig() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.pem)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// CertificatePEM returns the certificate, for an option that takes a file.
func (s *SMTP) CertificatePEM() []byte { return slices.Clone(s.pem) }

// Inject adds a fault. Faults are tried in the order in which they were added.
func (s *SMTP) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal removes all faults.
func (s *SMTP) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Mails returns what was taken so far.
func (s *SMTP) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Wait returns the mails when there are at least n, or when ctx ends, with its
// error.
func (s *SMTP) Wait(ctx context.Context, n int) ([]Mail, error) {
	for {
		s.mu.Lock()
		mails, more := slices.Clone(s.mails), s.more
		s.mu.Unlock()
		if len(mails) >= n {
			return mails, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return mails, context.Cause(ctx)
		}
	}
}

// Conns returns the number of connections that were made so far.
func (s *SMTP) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Wire returns every byte that clients sent, as an eavesdropper sees it.
func (s *SMTP) Wire() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wire.Bytes())
}

// Commands returns every command that was understood, without mails' content.
func (s *SMTP) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

// Drop closes every open connection, as a server does with idle ones.
func (s *SMTP) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Close ends the server.
func (s *SMTP) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.quit)
	s.mu.Unlock()
	_ = s.ln.Close()
	s.Drop()
	s.wg.Wait()
}

// fault returns the fault for a command, if there is one.
func (s *SMTP) fault(step Step, command string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()

	for i, f := range s.faults {
		if f.Step != step || !strings.Contains(command, f.Match) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}

		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}

		return *f
	}

	return Fault{}
}

func (s *SMTP) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}

		s.count++
		n := s.count
		s.conns[c] = true
		s.mu.Unlock()

		s.wg.Go(func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				_ = c.Close()
			}()
			d := &dialogue{s: s, raw: &tap{Conn: c, s: s}, n: n}
			d.use(d.raw)
			d.run()
		})
	}
}

// tap keeps what clients send.
type tap struct {
	net.Conn
	s *SMTP
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.s.mu.Lock()
	t.s.wire.Write(p[:n])
	t.s.mu.Unlock()
	return n, err
}
