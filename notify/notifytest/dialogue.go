package notifytest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
)

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

// inject does what the fault asks for in place of an answer. done tells that it
// did so, goOn whether the dialogue goes on.
func (d *dialogue) inject(f Fault) (done, goOn bool) {
	switch {
	case f.Silent:
		<-d.s.quit
		return true, false
	case f.Close:
		return true, false
	case f.Reply != "":
		return true, d.say(f.Reply) && !strings.HasPrefix(f.Reply, "421")
	}
	return false, true
}

// transaction answers a command and, unless it is refused, does what it says.
func (d *dialogue) transaction(step Step, line string, do func()) bool {
	f := d.s.fault(step, line)
	if done, goOn := d.inject(f); done {
		return goOn
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
	f.Reply = "" // there is nobody to read one yet
	if done, goOn := d.inject(f); done {
		return goOn
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
	if done, goOn := d.inject(f); done {
		return goOn
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
	if done, goOn := d.inject(f); done {
		return goOn
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

	return d.take(content.Bytes())
}

// take ends a mail.
func (d *dialogue) take(content []byte) bool {
	m := d.mail
	m.Data = content
	d.mail = nil
	f := d.s.fault(StepDot, m.From)
	if done, goOn := d.inject(f); done {
		return goOn
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
