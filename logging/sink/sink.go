// Package sink holds what the sinks below it share: the options of their
// requests. Each receiver has a package of its own: httpjson, loggly, loki,
// elastic, splunk, datadog and otlp.
package sink

import (
	"crypto/x509"
	"net/http"
	"time"
)

// HTTP says how a sink makes its requests. The zero HTTP is ready to use.
type HTTP struct {
	// Timeout bounds a request, also one of Client. Defaults to 30s.
	Timeout time.Duration `koanf:"timeout" default:"30s" zero:"default" doc:"bound of a request"`
	// CAFile holds, in PEM, the authorities that the receiver's certificate is
	// checked against, in place of the system's.
	CAFile string `koanf:"ca_file" doc:"authorities of the receiver's certificate, PEM; empty: the system's"`
	// CertFile and KeyFile hold, in PEM, the certificate that is shown to the
	// receiver. Empty: none.
	CertFile string `koanf:"cert_file" doc:"own certificate, PEM"`
	KeyFile  string `koanf:"key_file" doc:"its key, PEM"`
	// AllowPlainHTTP lets a token travel over http to another machine, where
	// everybody on the way can read it.
	AllowPlainHTTP bool `koanf:"allow_plain_http" doc:"let a token travel unencrypted"`

	// Client makes the requests; redirects are not followed. Nil: one of the
	// sink's own. It excludes CAFile, RootCAs, CertFile and KeyFile.
	Client *http.Client `koanf:"-"`
	// RootCAs is CAFile for authorities at hand.
	RootCAs *x509.CertPool `koanf:"-"`
}
