//go:build !linux

package testenv

import (
	"errors"
	"os/exec"
)

// NamespaceCommand returns a command that fails: there are no namespaces. Tests
// call Require with "netns" before.
func NamespaceCommand(path string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: path, Args: append([]string{path}, args...), Err: namespaces()}
}

// namespaces returns why there are no network namespaces.
func namespaces() error {
	return errors.New("network namespaces exist on Linux only")
}
