package scrape

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// This file is the one place that knows how net/http words what it has no type
// for. Tests hold each text against the standard library.

// streamError has the fields of net/http's error for an HTTP/2 stream that was
// reset, which errors.As fills in by name.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "HTTP/2 stream reset" }

// refusedStream is REFUSED_STREAM: the request was not processed (RFC 9113
// §8.7).
const refusedStream = 0x7

// isUnprocessed reports whether the site has said that it did nothing with a
// request: REFUSED_STREAM, or a GOAWAY below its stream.
func isUnprocessed(err error) bool {
	var reset streamError
	if errors.As(err, &reset) {
		return reset.Code == refusedStream
	}
	text := err.Error()
	return strings.Contains(text, "Server's graceful shutdown GOAWAY") || // above the last stream
		strings.Contains(text, "received GOAWAY from server ErrCode:") || // the same, for the first stream
		strings.Contains(text, "http2: client conn not usable")
}

// isHeaderTooLarge recognises a header beyond Transport.MaxResponseHeaderBytes.
// maybe says that another breach of the protocol looks the same: HTTP/2 ends
// the connection over a header that is far too large.
func isHeaderTooLarge(err error) (yes, maybe bool) {
	var reset streamError
	if errors.As(err, &reset) {
		return false, false // the site's doing
	}
	text := err.Error()
	yes = strings.Contains(text, "server response headers exceeded") || strings.Contains(text, "response header list larger than")
	return yes, strings.HasSuffix(text, "connection error: PROTOCOL_ERROR")
}

// isFinal reports whether a connection that could not be made would fail in the
// same way again. reached says that the site was there, so that the error is
// one of TLS or of the protocol.
func isFinal(err error, reached bool) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) {
		return true
	}
	if errors.As(err, new(tls.RecordHeaderError)) || errors.Is(err, http.ErrSchemeMismatch) {
		return true // no TLS at all
	}

	// An alert is the site's refusal of this handshake, but for those that speak
	// of a moment's trouble (RFC 8446 §6).
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return alert != 80 && alert != 90 // internal_error, user_canceled
	}
	if !reached || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	_, network := errors.AsType[net.Error](err)
	return !network && strings.HasPrefix(err.Error(), "tls: ")
}
