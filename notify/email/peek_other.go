//go:build !linux && !darwin

package email

import "net"

// nothingToRead reports false: it is not known.
func nothingToRead(net.Conn) bool { return false }
