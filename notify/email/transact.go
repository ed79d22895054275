package email

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/notify"
)

// envelope is a mail and who it goes to.
type envelope struct {
	id   string
	from *address
	to   []*address
	dsn  bool
	// utf8 says that a header cannot be written without SMTPUTF8, whoever it
	// goes to.
	utf8 bool
	// build renders the mail. Without utf8 it leaves recipients out of the
	// header that need it.
	build func(utf8 bool) ([]byte, error)
}

// outcome is what became of a mail up to its final dot.
type outcome struct {
	refused []*notify.Error // one per recipient that will not get the mail
	err     *notify.Error   // the others will not get it either
	handed  bool            // the whole mail is out: the server's answer is to come
	broken  bool            // the connection is of no use any more
	again   bool            // nothing was handed over: another connection may try
	// mute says that the server answered to the first of several commands and
	// then no more: it may not keep its offer of PIPELINING.
	mute bool
}

// transaction sends one envelope over a connection.
type transaction struct {
	*conn
	*envelope
}

// offer sends it up to the final dot. The commands go in one write where the
// server allows it (RFC 2920), and every reply is read before the content goes: so
// a connection that breaks before has not taken the mail.
func (t transaction) offer(ctx context.Context) outcome {
	release := t.watch(ctx)
	defer release()
	t.mails++

	to, refused := t.reachable()
	if t.envelope.utf8 && !t.ext.utf8 {
		return outcome{err: &notify.Error{Op: "MAIL", Class: notify.ClassRejected, Reason: "From, EnvelopeFrom or ReplyTo is not ASCII" + noUTF8}}
	}
	if len(to) == 0 {
		return outcome{refused: refused}
	}

	content, err := t.build(t.ext.utf8)
	if err != nil {
		return outcome{err: notify.NewError("build", err)}
	}

	if t.ext.maxSize > 0 && int64(len(content)) > t.ext.maxSize {
		return outcome{err: &notify.Error{
			Op: "MAIL", Class: notify.ClassInvalid,
			Reason: fmt.Sprintf("mail has %d bytes, the server takes %d", len(content), t.ext.maxSize),
		}}
	}

	out := t.transact(ctx, to, content)
	out.refused = append(refused, out.refused...)
	return out
}

const noUTF8 = ", and the server does not offer SMTPUTF8"

// reachable splits the recipients into those that can be named to the server
// and an error for each that cannot.
func (t transaction) reachable() (to []*address, refused []*notify.Error) {
	for _, a := range t.to {
		if a.utf8() && !t.ext.utf8 {
			refused = append(refused, &notify.Error{Op: "RCPT", Recipient: a.given, Class: notify.ClassRejected, Reason: "what stands before the @ is not ASCII" + noUTF8})
			continue
		}
		to = append(to, a)
	}
	return to, refused
}

func (t transaction) transact(ctx context.Context, to []*address, content []byte) (out outcome) {
	x := &exchange{c: t.conn, cmds: t.commands(to, content), pipelined: t.ext.pipelining}
	reset := t.dirty
	t.dirty = true
	// broken is the end of a connection before the content went out.
	broken := func(op string, err error) outcome {
		out.err, out.broken = failure(ctx, op, err), true
		out.again = ctx.Err() == nil && (out.err.Class == notify.ClassTransport || out.err.Code == 421)
		out.mute = x.mute(err)
		return out
	}

	if reset {
		if err := x.next(ctx, 250); err != nil && isEnd(err) {
			return broken("RSET", err)
		}
	}

	mailErr := x.next(ctx, 250)
	if mailErr != nil && isEnd(mailErr) {
		return broken("MAIL", mailErr)
	}
	if mailErr != nil {
		out.err = failure(ctx, "MAIL", mailErr)
	}

	// A refused recipient is remembered whatever comes after it.
	taken := 0
	for _, r := range to {
		if mailErr != nil && !x.pipelined {
			break
		}
		err := x.next(ctx, 25)
		switch {
		case err == nil:
			taken++
		case isEnd(err):
			return broken("RCPT", err)
		case mailErr == nil:
			f := failure(ctx, "RCPT", err)
			f.Recipient = r.given
			out.refused = append(out.refused, f)
		}
	}

	if taken == 0 || mailErr != nil {
		if x.pipelined {
			if err := x.empty(ctx); err != nil {
				return broken("DATA", err)
			}
		}
		return out
	}

	if err := x.next(ctx, 354); err != nil {
		if isEnd(err) {
			return broken("DATA", err)
		}
		out.err = failure(ctx, "DATA", err)
		return out
	}
	return t.content(ctx, content, out)
}

// block is how much of a mail has the time of one step (RFC 5321 §4.5.3.2.5).
const block = 64 << 10

// content sends the mail and the final dot.
func (t transaction) content(ctx context.Context, content []byte, out outcome) outcome {
	w := t.text.DotWriter()
	for part := range slices.Chunk(content, block) {
		t.step(ctx)
		if _, err := w.Write(part); err != nil {
			out.err, out.broken = failure(ctx, "send data", err), true
			return out
		}
	}

	t.step(ctx)
	if err := w.Close(); err != nil {
		// The dot may have got through.
		out.err, out.broken, out.handed = failure(ctx, "send data", err), true, true
		return out
	}

	out.handed = true
	return out
}

// commands returns what is sent before the content.
func (t transaction) commands(to []*address, content []byte) []string {
	var cmds []string
	if t.dirty {
		cmds = append(cmds, "RSET\r\n")
	}

	mail := "MAIL FROM:" + t.from.path
	if t.ext.size {
		mail += fmt.Sprintf(" SIZE=%d", len(content))
	}
	// Addresses are all that may not be ASCII, in the envelope and the header.
	if t.envelope.utf8 || !isASCII(content) || slices.ContainsFunc(to, (*address).utf8) {
		mail += " BODY=8BITMIME SMTPUTF8"
	}
	if t.dsn && t.ext.dsn {
		mail += " RET=HDRS ENVID=" + xtext(t.id, 100)
	}
	cmds = append(cmds, mail+"\r\n")

	for _, r := range to {
		rcpt := "RCPT TO:" + r.path
		if t.dsn && t.ext.dsn {
			rcpt += " NOTIFY=FAILURE"
		}
		cmds = append(cmds, rcpt+"\r\n")
	}
	return append(cmds, "DATA\r\n")
}

// exchange reads the replies to commands, which it writes all at once or one by
// one.
type exchange struct {
	c         *conn
	cmds      []string
	pipelined bool
	sent, got int
}

// next writes what is to be written before the next reply, and reads it.
func (x *exchange) next(ctx context.Context, expect int) error {
	x.c.step(ctx)
	if x.pipelined && x.sent == 0 {
		x.sent = len(x.cmds)
		if err := x.c.write(strings.Join(x.cmds, "")); err != nil {
			return err
		}
	} else if !x.pipelined {
		x.sent++
		if err := x.c.write(x.cmds[x.sent-1]); err != nil {
			return err
		}
	}

	_, _, err := x.c.text.ReadResponse(expect)
	x.got++
	return err
}

// mute reports whether err means silence behind the first of several answers.
func (x *exchange) mute(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout() && x.pipelined && x.got > 1
}

// empty reads the answer to a DATA that is out already although nobody is to get
// the mail. A server that takes it gets an empty mail without recipients, which
// it must refuse (RFC 2920 §3.1).
func (x *exchange) empty(ctx context.Context) error {
	if err := x.next(ctx, 354); err != nil {
		if isEnd(err) {
			return err
		}
		return nil
	}

	x.c.step(ctx)
	if err := x.c.write(".\r\n"); err != nil {
		return err
	}
	if _, _, err := x.c.text.ReadResponse(0); err != nil && !isReply(err) {
		return err
	}

	x.c.dirty = false
	return nil
}

// xtext returns s in the form of an argument (RFC 3461 §4), at most limit bytes
// of it.
func xtext(s string, limit int) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		piece := string(rune(c))
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			piece = fmt.Sprintf("+%02X", c)
		}
		if b.Len()+len(piece) > limit {
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}

// isReply reports whether err is a refusal by the server.
func isReply(err error) bool {
	_, ok := errors.AsType[*textproto.Error](err)
	return ok
}

// isEnd reports whether the connection is of no use after err: it broke, or the
// server said 421, by which it closes.
func isEnd(err error) bool {
	reply, ok := errors.AsType[*textproto.Error](err)
	return !ok || reply.Code == 421
}
