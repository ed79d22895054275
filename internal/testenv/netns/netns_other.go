//go:build !linux

package netns

import (
	"errors"
	"net/netip"
)

var errLinux = errors.New("network namespaces exist on Linux only")

func again() (int, error) { return 0, errLinux }

func setUp(string) (func(), error) { return nil, errLinux }

func addAddr(netip.Addr) error { return errLinux }
