package email

import (
	"net"

	"github.com/svcblocks/svcblocks/notify"
)

// maxReplies is what a server may say while a connection is set up or a mail
// is sent: its replies are lines of a few hundred bytes, and are kept in memory.
const maxReplies = 1 << 20

// boundedConn ends a connection that says too much.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, &notify.Error{Class: notify.ClassRejected, Reason: "server says more than a mail server does, and was cut off"}
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
