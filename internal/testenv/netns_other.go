//go:build !linux

package testenv

import "errors"

// namespaces returns why there are no network namespaces.
func namespaces() error {
	return errors.New("network namespaces exist on Linux only")
}
