package email

import (
	"context"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// SetTrust sets how long after its last reply a connection is trusted with a
// whole mail, before c connects.
func SetTrust(c *Client, d time.Duration) { c.s.trust = d }

// Failure is what a reply becomes.
func Failure(op string, err error) *notify.Error { return failure(context.Background(), op, err) }
