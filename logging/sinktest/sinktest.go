// Package sinktest checks that a [logging.Sink] keeps its obligations.
//
// A package that implements a sink calls [Run] from a test with a [Harness],
// which says how to make the sink and how its receiver reads a request. The
// suite plays the receiver: it accepts, fails in every way that HTTP knows,
// stalls, and cuts the connection. The subtests carry the numbers of the
// obligations of [logging.Sink]. [Check] is the same without testing.
package sinktest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// Harness adapts the suite to one sink.
type Harness struct {
	// New returns the sink to check, which sends to the receiver at url. It
	// gives the sink Secret as its token, if it takes one. Required.
	New func(url string) (logging.Sink, error)
	// Receive reads a request as the receiver does, its body already
	// decompressed, and returns each event's "msg", or the text of a line that
	// is no JSON object. An error is a breach of the receiver's protocol.
	// Required.
	Receive func(r *http.Request, body []byte) (messages []string, err error)
	// Accept answers a request whose events were all taken. Nil: status 200
	// and an empty body.
	Accept func(w http.ResponseWriter, r *http.Request, events int)
	// Secret is what New configures as token: no error may show it. Empty: not
	// checked.
	Secret string
	// Kinds overrides what the sink makes of a status. By default 408, 429,
	// 500, 502, 503 and 504 are logging.KindRetry, 413 logging.KindTooLarge,
	// 400 logging.KindRejected, 301, 302, 307, 401, 403 and 404
	// logging.KindConfig.
	Kinds map[int]logging.Kind
}

// obligation is one case of the suite; what it returns explains the breach.
type obligation struct {
	name  string
	check func(h *Harness) error
}

var obligations = []obligation{
	{"1/confirms only what the receiver took", confirms},
	{"2/says what to do after each status", kinds},
	{"2/passes Retry-After on", retryAfter},
	{"3/returns soon after ctx ends", cancels},
	{"4/leaves the batch alone", leavesBatch},
	{"5/limits are constant", limits},
	{"6/shows no secret", noSecret},
	{"7/is safe for concurrent use", concurrent},
	{"8/sends lines that are no JSON objects", oddLines},
}

// Check returns an error for each obligation that the sink of h breaks.
func Check(h Harness) error {
	if h.New == nil || h.Receive == nil {
		return errors.New("sinktest: Harness.New and Harness.Receive are required")
	}
	var broken []error
	for _, o := range obligations {
		if err := o.check(&h); err != nil {
			broken = append(broken, fmt.Errorf("obligation %s: %w", o.name, err))
		}
	}
	return errors.Join(broken...)
}

// Run runs the suite, each obligation as a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil || h.Receive == nil {
		t.Fatal("sinktest: Harness.New and Harness.Receive are required")
	}
	for _, o := range obligations {
		t.Run(strings.ReplaceAll(o.name, " ", "_"), func(t *testing.T) {
			if err := o.check(&h); err != nil {
				t.Error(err)
			}
		})
	}
}
