package email

import (
	"context"

	"github.com/svcblocks/svcblocks/notify"
)

// Failure is what a reply becomes.
func Failure(op string, err error) *notify.Error { return failure(context.Background(), op, err) }

// Remembered is the number of messages whose fate is not known.
func Remembered(c *Client) int {
	c.answers.mu.Lock()
	defer c.answers.mu.Unlock()
	if c.answers.order.Len() != len(c.answers.byID) {
		return -1
	}
	return len(c.answers.byID)
}
