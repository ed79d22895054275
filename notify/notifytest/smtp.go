package notifytest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
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
	return s.ln.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // we listen on TCP
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

// dialogue is one connection.
type dialogue struct {
	s      *SMTP
	raw    net.Conn
	c      net.Conn
	r      *bufio.Reader
	n      int
	tls    *tls.Conn
	authed bool
	mail   *Mail
}

func (d *dialogue) use(c net.Conn) { d.c, d.r = c, bufio.NewReader(c) }

// answer sends reply unless a fault says otherwise. It reports whether the
// dialogue goes on.
func (d *dialogue) answer(step Step, command, reply string) bool {
	f := d.s.fault(step, command)
	switch {
	case f.Silent:
		<-d.s.quit
		return false
	case f.Close, f.NoAnswer:
		return false
	case f.Reply != "":
		return d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	return d.say(reply) && !f.CloseAfter
}

func (d *dialogue) say(reply string) bool {
	_, err := io.WriteString(d.c, strings.ReplaceAll(reply, "\n", "\r\n")+"\r\n")
	return err == nil
}

func (d *dialogue) run() {
	if d.s.opts.ImplicitTLS && !d.handshake() {
		return
	}
	if !d.answer(StepGreeting, "", "220 mail.test ESMTP") {
		return
	}
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		d.s.mu.Lock()
		d.s.said = append(d.s.said, line)
		d.s.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if !d.command(verb, line) {
			return
		}
	}
}

func (d *dialogue) command(verb, line string) bool {
	switch verb {
	case "EHLO", "HELO":
		return d.answer(StepEHLO, line, d.hello())
	case "STARTTLS":
		if d.s.opts.NoSTARTTLS || d.tls != nil {
			return d.say("502 5.5.1 not offered")
		}
		return d.answer(StepSTARTTLS, line, "220 2.0.0 go ahead") && d.handshake()
	case "AUTH":
		return d.auth(line)
	case "MAIL":
		if d.s.opts.Username != "" && !d.authed {
			return d.say("530 5.7.0 authentication required")
		}
		if d.mail != nil {
			return d.say("503 5.5.1 nested MAIL command")
		}
		return d.transaction(StepMAIL, line, func() { d.mail = d.newMail(line) })
	case "RCPT":
		if d.mail == nil {
			return d.say("503 5.5.1 need MAIL first")
		}
		return d.transaction(StepRCPT, line, func() {
			to, args := path(line)
			d.mail.To = append(d.mail.To, to)
			d.mail.RcptArgs = append(d.mail.RcptArgs, args)
		})
	case "DATA":
		return d.data(line)
	case "RSET":
		d.mail = nil
		return d.answer(StepRSET, line, "250 2.0.0 ok")
	case "NOOP":
		return d.say("250 2.0.0 ok")
	case "QUIT":
		d.answer(StepQUIT, line, "221 2.0.0 bye")
		return false
	default:
		return d.say("500 5.5.2 unknown command")
	}
}

// transaction answers a command and, unless it is refused, does what it says.
func (d *dialogue) transaction(step Step, line string, do func()) bool {
	f := d.s.fault(step, line)
	switch {
	case f.Silent:
		<-d.s.quit
		return false
	case f.Close:
		return false
	case f.Reply != "":
		return d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	do()
	if f.NoAnswer {
		return false
	}
	return d.say("250 2.1.0 ok") && !f.CloseAfter
}

func (d *dialogue) newMail(line string) *Mail {
	m := &Mail{Conn: d.n, TLS: d.tls != nil}
	m.From, m.MailArgs = path(line)
	if d.tls != nil {
		m.Resumed = d.tls.ConnectionState().DidResume
	}
	return m
}

// path returns the address between angle brackets and what follows.
func path(line string) (address, args string) {
	_, rest, _ := strings.Cut(line, "<")
	address, args, _ = strings.Cut(rest, ">")
	return address, strings.TrimSpace(args)
}

func (d *dialogue) hello() string {
	list := []string{"mail.test greets you", "8BITMIME", "ENHANCEDSTATUSCODES"}
	o := d.s.opts
	if !o.NoPipelining {
		list = append(list, "PIPELINING")
	}
	if !o.NoSTARTTLS && d.tls == nil {
		list = append(list, "STARTTLS")
	}
	if o.Username != "" && (d.tls != nil || o.NoSTARTTLS) {
		list = append(list, "AUTH PLAIN LOGIN")
	}
	if !o.NoUTF8 {
		list = append(list, "SMTPUTF8")
	}
	if o.DSN {
		list = append(list, "DSN")
	}
	if o.MaxBytes > 0 {
		list = append(list, fmt.Sprintf("SIZE %d", o.MaxBytes))
	}
	var b strings.Builder
	for i, l := range list {
		sep := "-"
		if i == len(list)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + l)
		if i < len(list)-1 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (d *dialogue) handshake() bool {
	f := d.s.fault(StepHandshake, "")
	if f.Silent {
		<-d.s.quit
		return false
	}
	if f.Close {
		return false
	}
	t := tls.Server(d.raw, d.s.tls)
	if err := t.Handshake(); err != nil {
		return false
	}
	d.tls, d.mail = t, nil
	d.use(t)
	return true
}

func (d *dialogue) auth(line string) bool {
	f := d.s.fault(StepAUTH, line)
	switch {
	case f.Silent:
		<-d.s.quit
		return false
	case f.Close:
		return false
	case f.Reply != "":
		return d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	parts := strings.Fields(line)
	if len(parts) < 2 {
		return d.say("501 5.5.4 which mechanism?")
	}
	var user, password string
	ask := func(prompt string) string {
		if !d.say("334 " + base64.StdEncoding.EncodeToString([]byte(prompt))) {
			return ""
		}
		answer, _ := d.r.ReadString('\n')
		plain, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(answer))
		return string(plain)
	}
	switch strings.ToUpper(parts[1]) {
	case "PLAIN":
		var raw string
		if len(parts) > 2 {
			plain, _ := base64.StdEncoding.DecodeString(parts[2])
			raw = string(plain)
		} else {
			raw = ask("")
		}
		if fields := strings.Split(raw, "\x00"); len(fields) == 3 {
			user, password = fields[1], fields[2]
		}
	case "LOGIN":
		user = ask("Username:")
		password = ask("Password:")
	default:
		return d.say("504 5.5.4 mechanism is not offered")
	}
	if user != d.s.opts.Username || password != d.s.opts.Password {
		return d.say("535 5.7.8 wrong credentials")
	}
	d.authed = true
	return d.say("235 2.7.0 welcome")
}

func (d *dialogue) data(line string) bool {
	if d.mail == nil || len(d.mail.To) == 0 {
		return d.say("554 5.5.1 no valid recipients")
	}
	f := d.s.fault(StepDATA, line)
	switch {
	case f.Silent:
		<-d.s.quit
		return false
	case f.Close:
		return false
	case f.Reply != "":
		return d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	if !d.say("354 go on") {
		return false
	}
	var content bytes.Buffer
	for {
		l, err := d.r.ReadBytes('\n')
		if err != nil {
			return false
		}
		if string(l) == ".\r\n" {
			break
		}
		content.Write(bytes.TrimPrefix(l, []byte(".")))
	}
	m := d.mail
	m.Data = content.Bytes()
	d.mail = nil
	f = d.s.fault(StepDot, m.From)
	switch {
	case f.Silent:
		<-d.s.quit
		return false
	case f.Close:
		return false
	case f.Reply != "":
		return d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	if d.s.opts.MaxBytes > 0 && len(m.Data) > d.s.opts.MaxBytes {
		return d.say("552 5.3.4 too big")
	}
	d.s.mu.Lock()
	d.s.mails = append(d.s.mails, *m)
	close(d.s.more)
	d.s.more = make(chan struct{})
	d.s.mu.Unlock()
	if f.NoAnswer {
		return false
	}
	return d.say("250 2.0.0 taken") && !f.CloseAfter
}

// certificate makes a self-signed one for 127.0.0.1 and localhost.
func certificate(wrongName bool) (*tls.Config, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "notifytest"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if wrongName {
		c.DNSNames, c.IPAddresses = []string{"elsewhere.test"}, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return conf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
