//go:build !unix

package logging

import "os"

func writeFile(f *os.File, _ string, _ uintptr, p []byte) (int, error) { return f.Write(p) }
