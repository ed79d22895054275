package email

import (
	"net"
	"syscall"
)

// ackQuickly makes a connection acknowledge at once while it is set up. The
// server's session tickets and its next reply are small packets, of which Nagle's
// algorithm holds the second until the first is acknowledged, 40 ms later.
func ackQuickly(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		return &quickConn{TCPConn: tcp}
	}
	return c
}

type quickConn struct {
	*net.TCPConn
	reads int
}

// quickReads covers greeting, EHLO, STARTTLS, handshake and EHLO; the kernel
// leaves the mode by itself, so it is set before each.
const quickReads = 16

func (c *quickConn) Read(p []byte) (int, error) {
	if c.reads < quickReads {
		c.reads++
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
			})
		}
	}
	return c.TCPConn.Read(p)
}
