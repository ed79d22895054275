package scrape_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

func TestTemporary(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		scrape.ErrEgressUnavailable: true, scrape.ErrBanned: true, scrape.ErrRetryLater: true, context.DeadlineExceeded: true,
		io.ErrUnexpectedEOF: true, syscall.ECONNRESET: true, error(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}): true,
		fmt.Errorf("%w (%w)", scrape.ErrForbiddenAddress, context.Canceled): false,
		scrape.ErrForbiddenAddress: false, scrape.ErrRobots: false, scrape.ErrBodyTooLarge: false, scrape.ErrHeaderTooLarge: false,
		scrape.ErrEncoding: false, scrape.ErrTooManyRedirects: false, scrape.ErrClosed: false, context.Canceled: false,
		error(x509.UnknownAuthorityError{}): false, errors.New("malformed HTTP response"): false,
	} {
		if got := (&scrape.Error{Op: "get", Err: err}).Temporary(); got != want {
			t.Errorf("%v: temporary %v, want %v", err, got, want)
		}
	}
}

// TestFallbackSendsNothingTwice has the egress hang after a request was sent
// through it: only what may arrive twice is sent again from here.
func TestFallbackSendsNothingTwice(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]int64{http.MethodGet: 2, http.MethodPost: 1} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			proxy := sockstest.Start(t)
			var arrived atomic.Int64
			site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // as a server does
				if arrived.Add(1) == 1 {
					proxy.Fail(sockstest.HangAccept)
					<-r.Context().Done()
					return
				}
				fmt.Fprint(w, "ok")
			})
			opts := options(scrape.SOCKS(proxy.Addr))
			opts.Fallback = scrape.DirectWithWarning
			opts.Limits.Timeout = 2 * time.Second
			c := newClient(t, opts)
			req, err := http.NewRequestWithContext(t.Context(), method, site.URL, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Transport().RoundTrip(req)
			if err == nil {
				_ = res.Body.Close()
			}
			if (err == nil) != (want == 2) || err != nil && !errors.Is(err, scrape.ErrEgressUnavailable) || arrived.Load() != want {
				t.Errorf("%v, arrived %d times, want %d", err, arrived.Load(), want)
			}
		})
	}
}
