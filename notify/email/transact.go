package email

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
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

// utf8 reports whether an address needs SMTPUTF8: one of the envelope, or one
// in the header, the only thing in the content that may not be ASCII.
func (e *envelope) utf8() bool {
	return !isASCII(e.from) || !isASCII(e.content) || slices.ContainsFunc(e.to, isBeyondASCII)
}

func isBeyondASCII(s string) bool { return !isASCII(s) }

// outcome is what became of a transaction.
type outcome struct {
	refused   []*notify.Error // one per recipient that did not get the mail
	err       *notify.Error   // nobody got it
	broken    bool            // the connection is of no use any more
	again     bool            // nothing was handed over: another connection may try
	unchunked bool            // the server does not keep its offer of CHUNKING
}

// transact sends e over c. The envelope goes in one write where the server
// allows it (RFC 2920), the content with it where that is safe; every reply is
// read.
func (c *conn) transact(ctx context.Context, e *envelope) outcome {
	release := c.watch(ctx)
	out := c.exchange(ctx, e)
	if !release() { // the deadline may be set any moment: not for the next mail
		out.broken = true
	}
	return out
}

func (c *conn) exchange(ctx context.Context, e *envelope) outcome {
	if c.maxSize > 0 && int64(len(e.content)) > c.maxSize {
		return outcome{err: &notify.Error{
			Op: "MAIL", Class: notify.ClassInvalid,
			Reason: fmt.Sprintf("mail has %d bytes, the server takes %d", len(e.content), c.maxSize),
		}}
	}
	if e.utf8() && !c.ext.utf8 {
		return outcome{err: &notify.Error{
			Op: "MAIL", Class: notify.ClassRejected,
			Reason: "an address is not ASCII, and the server does not offer SMTPUTF8; a domain can be written in ASCII, as xn--bcher-kva.example",
		}}
	}
	reset, chunks := c.dirty, c.chunks(e)
	x := &exchange{text: c.text(), cmds: c.commands(e, chunks), pipelined: c.ext.pipelining, whole: len(chunks) == 1}
	c.dirty = true

	broken := func(op string, err error) outcome {
		f := failure(ctx, op, err)
		if x.handed && !isReply(err) {
			return unknown(f)
		}
		return outcome{err: f, broken: true, again: ctx.Err() == nil && (f.Class == notify.ClassTransport || f.Code == 421)}
	}
	if reset {
		if _, err := x.next(250); err != nil && (!isReply(err) || isGoodbye(err)) {
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
		if mailErr != nil {
			out = outcome{err: failure(ctx, "MAIL", mailErr)}
		}
		if !x.pipelined {
			return out
		}
		x.handed = false // there is nobody to have it
		if err := c.drain(x, len(chunks) > 0); err != nil {
			return broken("DATA", err)
		}
		// Without BDAT the server has answered to the chunk's line as well.
		out.broken = len(chunks) > 0 && !c.proven
		return out
	}
	switch len(chunks) {
	case 0:
		if _, err := x.next(354); err != nil {
			if !isReply(err) || isGoodbye(err) {
				return broken("DATA", err)
			}
			return outcome{err: failure(ctx, "DATA", err)}
		}
		w := x.text.DotWriter()
		if _, err := w.Write(e.content); err != nil {
			return broken("send data", err)
		}
		if err := w.Close(); err != nil {
			return unknown(failure(ctx, "send data", err))
		}
	case 2:
		if _, err := x.next(250); err != nil {
			if !isReply(err) || isGoodbye(err) {
				return broken("BDAT", err)
			}
			return unchunked(failure(ctx, "BDAT", err))
		}
		c.proven = true
		if err := x.write(chunks[1]); err != nil {
			return broken("send data", err)
		}
	}
	// From here on the server may have the mail: no other connection tries.
	if _, _, err := x.text.ReadResponse(250); err != nil {
		f := failure(ctx, "end of data", err)
		if !isReply(err) {
			return unknown(f)
		}
		if len(chunks) > 0 && !isGoodbye(err) {
			return unchunked(f) // RSET must follow (RFC 3030 §2)
		}
		c.dirty = false
		return outcome{err: f, broken: isGoodbye(err)}
	}
	c.dirty = false
	return out
}

// commands returns what is sent before the content, the first chunk included.
func (c *conn) commands(e *envelope, chunks []string) []string {
	var cmds []string
	if c.dirty {
		cmds = append(cmds, "RSET\r\n")
	}
	mail := "MAIL FROM:<" + e.from + ">"
	if c.ext.size {
		mail += fmt.Sprintf(" SIZE=%d", len(e.content))
	}
	if e.utf8() {
		mail += " BODY=8BITMIME SMTPUTF8"
	}
	if e.dsn && c.ext.dsn {
		mail += " RET=HDRS ENVID=" + xtext(e.id, 100)
	}
	cmds = append(cmds, mail+"\r\n")
	for _, r := range e.to {
		rcpt := "RCPT TO:<" + r + ">"
		if e.dsn && c.ext.dsn {
			rcpt += " NOTIFY=FAILURE"
		}
		cmds = append(cmds, rcpt+"\r\n")
	}
	if len(chunks) > 0 {
		return append(cmds, chunks[0])
	}
	return append(cmds, "DATA\r\n")
}

// unknown is the outcome when the connection ends after the whole mail was
// sent and before the server said what it did with it.
func unknown(f *notify.Error) outcome {
	f.Reason = "connection ended before the server confirmed the mail, which may arrive: " + f.Reason
	return outcome{err: f, broken: true}
}

// drain reads the answer to DATA or to a chunk when nobody is to get the mail.
func (c *conn) drain(x *exchange, chunked bool) error {
	if chunked {
		// A server must refuse the chunk (RFC 3030 §4.2). One that took it has
		// no mail of it: RSET goes before the next one.
		if _, _, err := x.text.ReadResponse(0); err != nil && (!isReply(err) || isGoodbye(err)) {
			return err
		}
		return nil
	}
	// DATA is out already. A server that takes it gets an empty mail without
	// recipients, which it must refuse (RFC 2920 §3.1).
	if _, err := x.next(354); err != nil {
		if !isReply(err) || isGoodbye(err) {
			return err
		}
		return nil
	}
	if err := x.write(".\r\n"); err != nil {
		return err
	}
	if _, _, err := x.text.ReadResponse(0); err != nil && !isReply(err) {
		return err
	}
	c.dirty = false
	return nil
}

// exchange reads the replies to commands, which it writes all at once or one
// by one.
type exchange struct {
	text      *textproto.Conn
	cmds      []string
	pipelined bool
	sent      int
	whole     bool // the commands hold the whole mail
	handed    bool // they were written: the server may have the mail
}

// next writes what is to be written before the next reply, and reads it.
func (x *exchange) next(expect int) (string, error) {
	if x.pipelined && x.sent == 0 {
		x.sent = len(x.cmds)
		if err := x.write(x.cmds...); err != nil {
			return "", err
		}
		x.handed = x.whole
	} else if !x.pipelined {
		x.sent++
		if err := x.write(x.cmds[x.sent-1]); err != nil {
			return "", err
		}
	}
	_, text, err := x.text.ReadResponse(expect)
	return text, err
}

// write sends pieces at once: what is longer than the buffer goes past it.
func (x *exchange) write(pieces ...string) error {
	if _, err := x.text.W.Write([]byte(strings.Join(pieces, ""))); err != nil {
		return err
	}
	return x.text.W.Flush()
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

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
