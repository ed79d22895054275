package email

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"

	"github.com/svcblocks/svcblocks/notify"
)

// envelope is a mail and who it goes to.
type envelope struct {
	id      string
	from    string
	to      []string
	content []byte
	dsn     bool
}

// outcome is what became of a transaction.
type outcome struct {
	refused []*notify.Error // one per recipient that did not get the mail
	err     *notify.Error   // nobody got it
	broken  bool            // the connection is of no use any more
	again   bool            // nothing was handed over: another connection may try
}

// transact sends e over c. The envelope and DATA go in one write where the
// server allows it (RFC 2920); every reply is read.
func (c *conn) transact(ctx context.Context, e *envelope) outcome {
	release := c.watch(ctx)
	out := c.exchange(ctx, e)
	if !release() { // the deadline may be set any moment: not for the next mail
		out.broken = true
	}
	return out
}

func (c *conn) exchange(ctx context.Context, e *envelope) outcome {
	utf8 := !isASCII(e.from)
	for _, r := range e.to {
		utf8 = utf8 || !isASCII(r)
	}
	if c.maxSize > 0 && int64(len(e.content)) > c.maxSize {
		return outcome{err: &notify.Error{
			Op: "MAIL", Class: notify.ClassInvalid,
			Reason: fmt.Sprintf("mail has %d bytes, the server takes %d", len(e.content), c.maxSize),
		}}
	}
	if utf8 && !c.ext.utf8 {
		return outcome{err: &notify.Error{
			Op: "MAIL", Class: notify.ClassRejected,
			Reason: "an address is not ASCII, and the server does not offer SMTPUTF8",
		}}
	}
	var cmds []string
	reset := c.dirty
	if reset {
		cmds = append(cmds, "RSET")
	}
	mail := "MAIL FROM:<" + e.from + ">"
	if c.ext.size {
		mail += fmt.Sprintf(" SIZE=%d", len(e.content))
	}
	if utf8 {
		mail += " BODY=8BITMIME SMTPUTF8"
	}
	if e.dsn && c.ext.dsn {
		mail += " RET=HDRS ENVID=" + e.id
	}
	cmds = append(cmds, mail)
	for _, r := range e.to {
		rcpt := "RCPT TO:<" + r + ">"
		if e.dsn && c.ext.dsn {
			rcpt += " NOTIFY=FAILURE"
		}
		cmds = append(cmds, rcpt)
	}
	cmds = append(cmds, "DATA")
	x := &exchange{text: c.text(), cmds: cmds, pipelined: c.ext.pipelining}

	broken := func(op string, err error) outcome {
		f := failure(ctx, op, err)
		return outcome{err: f, broken: true, again: ctx.Err() == nil && (f.Class == notify.ClassTransport || f.Code == 421)}
	}
	c.dirty = true
	if reset {
		if _, err := x.next(250); err != nil && !isReply(err) {
			return broken("RSET", err)
		} else if isGoodbye(err) {
			return broken("RSET", err)
		}
	}
	_, mailErr := x.next(250)
	if mailErr != nil && (!isReply(mailErr) || isGoodbye(mailErr)) {
		return broken("MAIL", mailErr)
	}
	var out outcome
	var taken int
	for _, r := range e.to {
		if mailErr != nil && !x.pipelined {
			break
		}
		_, err := x.next(25)
		switch {
		case err == nil:
			taken++
		case !isReply(err) || isGoodbye(err):
			return broken("RCPT", err)
		default:
			f := failure(ctx, "RCPT", err)
			f.Recipient = r
			out.refused = append(out.refused, f)
		}
	}
	if mailErr != nil || taken == 0 {
		if !x.pipelined {
			return c.nobody(ctx, out, mailErr)
		}
		// DATA is out already. A server that takes it gets an empty mail
		// without recipients, which it must refuse (RFC 2920 §3.1).
		_, err := x.next(354)
		if err != nil && (!isReply(err) || isGoodbye(err)) {
			return broken("DATA", err)
		}
		if err == nil {
			if err := x.line("."); err != nil {
				return broken("DATA", err)
			}
			if _, _, err := x.text.ReadResponse(0); err != nil && !isReply(err) {
				return broken("DATA", err)
			}
			c.dirty = false
		}
		return c.nobody(ctx, out, mailErr)
	}
	if _, err := x.next(354); err != nil {
		if !isReply(err) || isGoodbye(err) {
			return broken("DATA", err)
		}
		return outcome{err: failure(ctx, "DATA", err)}
	}
	w := x.text.DotWriter()
	if _, err := w.Write(e.content); err != nil {
		f := failure(ctx, "send data", err)
		return outcome{err: f, broken: true, again: ctx.Err() == nil && f.Class == notify.ClassTransport}
	}
	if err := w.Close(); err != nil {
		return outcome{err: failure(ctx, "send data", err), broken: true}
	}
	// From here on the server may have the mail: no other connection tries.
	if _, _, err := x.text.ReadResponse(250); err != nil {
		f := failure(ctx, "end of data", err)
		if !isReply(err) {
			f.Reason = "connection ended before the server confirmed the mail, which may arrive: " + f.Reason
			return outcome{err: f, broken: true}
		}
		c.dirty = false
		return outcome{err: f, broken: isGoodbye(err)}
	}
	c.dirty = false
	return out
}

// nobody returns the outcome when no recipient can get the mail.
func (c *conn) nobody(ctx context.Context, out outcome, mailErr error) outcome {
	if mailErr != nil {
		return outcome{err: failure(ctx, "MAIL", mailErr)}
	}
	return out
}

// exchange reads the replies to commands, which it writes all at once or one
// by one.
type exchange struct {
	text      *textproto.Conn
	cmds      []string
	pipelined bool
	sent      int
}

// next writes what is to be written before the next reply, and reads it.
func (x *exchange) next(expect int) (string, error) {
	if x.pipelined && x.sent == 0 {
		x.sent = len(x.cmds)
		if err := x.line(strings.Join(x.cmds, "\r\n")); err != nil {
			return "", err
		}
	} else if !x.pipelined {
		x.sent++
		if err := x.line(x.cmds[x.sent-1]); err != nil {
			return "", err
		}
	}
	_, text, err := x.text.ReadResponse(expect)
	return text, err
}

func (x *exchange) line(s string) error {
	if _, err := io.WriteString(x.text.W, s+"\r\n"); err != nil {
		return err
	}
	return x.text.W.Flush()
}

// isReply reports whether err is a refusal by the server, after which the
// connection is in order.
func isReply(err error) bool {
	_, ok := errors.AsType[*textproto.Error](err)
	return ok
}

// isGoodbye reports whether the server said 421: it closes the connection.
func isGoodbye(err error) bool {
	reply, ok := errors.AsType[*textproto.Error](err)
	return ok && reply.Code == 421
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
