package post

import (
	"fmt"
	"net/url"

	"github.com/svcblocks/svcblocks/logging"
)

// Body is an encoded batch within what the receiver takes. Encoding can make
// more of an event than the shipper counts: a line that is no JSON is quoted.
type Body struct {
	// Bytes is what was encoded so far.
	Bytes []byte
	// MaxEventBytes and MaxBatchBytes are the receiver's limits. 0: none.
	MaxEventBytes, MaxBatchBytes int

	large []logging.Rejection
	kept  int
}

// Keep ends event i, which was appended behind from: it is taken back if it is
// too large for the receiver.
func (b *Body) Keep(i, from int) {
	if b.MaxEventBytes > 0 && len(b.Bytes)-from > b.MaxEventBytes {
		b.Bytes = b.Bytes[:from]
		b.large = append(b.large, logging.Rejection{Index: i, Unsent: true, Reason: fmt.Sprintf("not sent: the event exceeds the receiver's %d bytes", b.MaxEventBytes)})
		return
	}
	b.kept++
}

// Check returns an error for a batch that is not to be sent, as it is too large
// or has no events left.
func (b *Body) Check(p *Poster, u *url.URL) error {
	if b.MaxBatchBytes > 0 && len(b.Bytes) > b.MaxBatchBytes {
		return p.fail(logging.KindTooLarge, u, fmt.Sprintf("not sent: %d bytes exceed the receiver's %d", len(b.Bytes), b.MaxBatchBytes))
	}
	if b.kept == 0 {
		return b.Left(p, u)
	}
	return nil
}

// Left returns an error that names the events which were taken back, if any:
// all others were received.
func (b *Body) Left(p *Poster, u *url.URL) error {
	if b.large == nil {
		return nil
	}
	se := p.fail(logging.KindRejected, u, fmt.Sprintf("not sent: an event exceeds the receiver's %d bytes", b.MaxEventBytes))
	se.Rejected = b.large
	return se
}
