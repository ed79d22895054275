//go:build !unix

package atomicfile

import "os"

// keepOwner does nothing: a new file inherits its owner here.
func keepOwner(*os.File, string) {}
