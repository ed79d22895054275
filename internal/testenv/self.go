package testenv

import (
	"os"
	"os/exec"
)

// emulator names the program that runs this test binary where the machine does
// not by itself, such as qemu-aarch64-static.
const emulator = "SVCBLOCKS_EMULATOR"

// Self returns the command that runs this test binary again, under the emulator
// that SVCBLOCKS_EMULATOR names, if there is one.
func Self(args ...string) *exec.Cmd { return Program(os.Args[0], args...) }

// Program returns the command that runs a program which was built as this test
// binary was, under the same emulator.
func Program(path string, args ...string) *exec.Cmd {
	if with := os.Getenv(emulator); with != "" {
		return exec.Command(with, append([]string{path}, args...)...)
	}
	return exec.Command(path, args...)
}
