package email

import (
	"context"
	"errors"
	"net"
	"net/textproto"
	"strings"

	"github.com/svcblocks/svcblocks/notify"
)

// failure makes a typed error of what a step of the protocol gave.
func failure(ctx context.Context, op string, err error) *notify.Error {
	if err == nil {
		return nil
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return refusal(op, reply.Code, reply.Msg)
	}
	if known, ok := errors.AsType[*notify.Error](err); ok {
		return notify.NewError(op, known)
	}

	if ctx.Err() != nil {
		e := notify.NewError(op, context.Cause(ctx))
		e.Reason = "no answer from the server in time: " + e.Reason
		return e
	}

	e := notify.NewError(op, err)
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		e.Reason = "server does not speak SMTP: " + e.Reason
		return e
	}

	if e.Class == notify.ClassOther {
		if _, isAuth := errors.AsType[net.Error](err); op == "AUTH" && !isAuth {
			e.Class = notify.ClassAuth
		}
	}

	return e
}

// refusal makes an error of a reply that says no.
func refusal(op string, code int, text string) *notify.Error {
	e := &notify.Error{Op: op, Code: code}
	e.Enhanced = enhanced(text)
	e.Class = replyClass(op, code, e.Enhanced)
	reason := notify.NewError(op, errors.New(strings.TrimSpace(text)))
	e.Reason = reason.Reason
	return e
}

// replyClass says what a reply code means at a step (RFC 5321 §4.2.3, RFC 4954
// §6, RFC 3463).
func replyClass(op string, code int, enhanced string) notify.Class {
	switch {
	case code == 454 && op == "STARTTLS":
		return notify.ClassServer // TLS is not available for the moment
	case code == 454 && op == "AUTH", code == 432:
		return notify.ClassServer
	case code == 421, code == 454, code == 450 && strings.HasPrefix(enhanced, "4.7."), code == 452 && enhanced == "4.5.3":
		return notify.ClassThrottled
	case code >= 400 && code < 500:
		return notify.ClassServer
	case op == "STARTTLS" && code >= 500:
		return notify.ClassTLS
	case code == 530, code == 534, code == 535, code == 538, op == "AUTH" && code >= 500:
		return notify.ClassAuth
	case code >= 500 && code < 600:
		return notify.ClassRejected
	default:
		return notify.ClassOther
	}
}

// enhanced returns the status code at the start of a reply's text, as "5.1.1"
// (RFC 3463 §2, RFC 2034 §4), or "" where there is none.
func enhanced(text string) string {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(text)
	} else if text[end] > ' ' {
		return "" // a word that only begins like a status code
	}

	code := text[:end]
	class, rest, _ := strings.Cut(code, ".")
	subject, detail, _ := strings.Cut(rest, ".")
	if class != "2" && class != "4" && class != "5" {
		return ""
	}

	for _, part := range []string{subject, detail} {
		if len(part) < 1 || len(part) > 3 || strings.Contains(part, ".") {
			return ""
		}
	}

	return code
}
