// Package trace carries a W3C trace context from an incoming request to log
// lines and to outgoing requests. It makes no spans: whoever records those
// finds the log lines by their trace_id.
//
// https://www.w3.org/TR/trace-context-1/
package trace

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"

	"github.com/svcblocks/svcblocks/logging"
)

// Header is the name of the header.
const Header = "Traceparent"

// Context is the part of a trace that one piece of work is. The zero Context
// is none.
type Context struct {
	trace [16]byte
	span  [8]byte
	flags byte
}

// New begins a trace.
func New() Context {
	var c Context
	_, _ = rand.Read(c.trace[:]) // it never fails
	_, _ = rand.Read(c.span[:])  // as above
	return c
}

// Parse reads a header; ok is false where it is not valid, and must be ignored
// (§3.2.2).
func Parse(header string) (c Context, ok bool) {
	const length = 55 // of version 00
	if len(header) < length || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return Context{}, false
	}
	version, err := lowerHex(header[:2])
	if err != nil || version[0] == 0xff {
		return Context{}, false
	}

	// A later version may have more, behind another dash.
	if len(header) > length && (version[0] == 0 || header[length] != '-') {
		return Context{}, false
	}
	trace, err1 := lowerHex(header[3:35])
	span, err2 := lowerHex(header[36:52])
	flags, err3 := lowerHex(header[53:55])
	if err1 != nil || err2 != nil || err3 != nil {
		return Context{}, false
	}

	copy(c.trace[:], trace)
	copy(c.span[:], span)
	if c.trace == ([16]byte{}) || c.span == ([8]byte{}) {
		return Context{}, false
	}
	c.flags = flags[0] & 1 // sampled; the others mean nothing in version 00
	return c, true
}

// lowerHex decodes hex, whose letters must be small (§3.2).
func lowerHex(text string) ([]byte, error) {
	for _, c := range []byte(text) {
		if 'A' <= c && c <= 'F' {
			return nil, hex.InvalidByteError(c)
		}
	}
	return hex.DecodeString(text)
}

// FromRequest returns what r's header says as the parent of work that begins
// now, or begins a trace where there is no valid one. Several headers count as
// none.
func FromRequest(r *http.Request) Context {
	if lines := r.Header.Values(Header); len(lines) == 1 {
		if c, ok := Parse(lines[0]); ok {
			return c.Child()
		}
	}
	return New()
}

// Child is a further piece of work of the same trace.
func (c Context) Child() Context {
	if c.IsZero() {
		return New()
	}
	_, _ = rand.Read(c.span[:]) // as above
	return c
}

// IsZero reports whether there is none.
func (c Context) IsZero() bool { return c.trace == [16]byte{} }

// String is the header's value; empty for the zero Context.
func (c Context) String() string {
	if c.IsZero() {
		return ""
	}
	return "00-" + hex.EncodeToString(c.trace[:]) + "-" + hex.EncodeToString(c.span[:]) + "-" + hex.EncodeToString([]byte{c.flags})
}

// TraceID is the trace in hex, as in log lines; empty for the zero Context.
func (c Context) TraceID() string {
	if c.IsZero() {
		return ""
	}
	return hex.EncodeToString(c.trace[:])
}

type key struct{}

// With returns ctx with c in it, for log lines and for [From].
func With(ctx context.Context, c Context) context.Context {
	return context.WithValue(logging.WithTraceparent(ctx, c.String()), key{}, c)
}

// From returns what [With] put into ctx.
func From(ctx context.Context) Context {
	c, _ := ctx.Value(key{}).(Context)
	return c
}

// Transport writes the header into each request. It is for hosts of one's own:
// a stranger would see which requests belong together.
type Transport struct {
	// Next makes the requests. Defaults to http.DefaultTransport.
	Next http.RoundTripper
}

// RoundTrip is for [http.RoundTripper].
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	next := t.Next
	if next == nil {
		next = http.DefaultTransport
	}
	if c := From(req.Context()); !c.IsZero() {
		req = req.Clone(req.Context())
		req.Header.Set(Header, c.Child().String())
	}
	return next.RoundTrip(req)
}

// CloseIdleConnections is for [http.Client.CloseIdleConnections].
func (t Transport) CloseIdleConnections() {
	if c, ok := t.Next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
