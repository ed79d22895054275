package email

import (
	"context"

	"github.com/svcblocks/svcblocks/notify"
)

// Failure is what a reply becomes.
func Failure(op string, err error) *notify.Error { return failure(context.Background(), op, err) }
